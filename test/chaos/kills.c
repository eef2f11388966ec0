/*-------------------------------------------------------------------------
 *
 * kills.c
 *	  Kills and restarts backends, the worker, the server and Redis masters;
 *	  and has the proxy disturb the network.
 *
 * One kill at a time, so that each meets a mirror that works; the network is
 * disturbed all the while, too.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "chaos.h"

/* So long the mirror may take to find and mend what a dead master lost. */
#define RECOVERY_SECONDS 90

#define MASTERS 3

/* Transactions that killed sessions left behind end as their names say. */
void
finish_prepared(PGconn *conn)
{
	PGresult *result = PQexec(conn, "SELECT gid FROM pg_prepared_xacts");

	for (int i = 0; i < PQntuples(result); i++)
	{
		char sql[128];
		const char *name = PQgetvalue(result, i, 0);

		snprintf(sql, sizeof(sql), "%s PREPARED '%s'",
				 strstr(name, "commit") ? "COMMIT" : "ROLLBACK", name);
		PQclear(PQexec(conn, sql));
	}
	PQclear(result);
}

/* A process of the server, 0 if there is none. */
static long
find_process(PGconn *conn, bool worker)
{
	PGresult *result = PQexec(conn, worker ? "SELECT pid FROM pg_stat_activity "
											 "WHERE backend_type = 'cachegrid worker'"
										   : "SELECT pid FROM pg_stat_activity "
											 "WHERE application_name LIKE 'writer%' "
											 "ORDER BY random() LIMIT 1");
	long pid = PQntuples(result) > 0 ? atol(PQgetvalue(result, 0, 0)) : 0;

	PQclear(result);
	return pid;
}

/* The server tells it to all; until then, or a second later if it was a mere end. */
static void
await_crash(PGconn *conn)
{
	for (int i = 0; i < 200 && PQstatus(conn) == CONNECTION_OK; i++)
	{
		PQclear(PQexec(conn, "SELECT 1"));
		pause_for(5);
	}
}

static void
end_process(Trouble trouble, bool worker, int signal_number)
{
	PGconn *conn = connect_for_long();
	long pid = find_process(conn, worker);

	if (pid > 1 && kill((pid_t) pid, signal_number) == 0)
	{
		report_event(trouble, "");
		if (signal_number == SIGKILL)
			await_crash(conn);
	}
	PQfinish(conn);
}

static void
bring_server_down(Trouble trouble)
{
	bool good;

	report_event(trouble, "");
	if (trouble == POSTMASTER_KILLED)
		good = server_kill(chaos.data);
	else
		good = server_control(chaos.data, "-m immediate restart");
	if (!good)
		report_wrong(WRONG_UNEXPECTED, "the server did not come back");
}

static int
draw_node(uint64_t *random, bool master)
{
	int first = (int) draw(random, NODES);

	for (int i = 0; i < NODES; i++)
		if (node_is_master((first + i) % NODES) == master)
			return (first + i) % NODES;
	return first;
}

/* A replica leaves a file of what its master sent at first: old, or to be removed. */
static void
start_node(int node, bool from_file)
{
	char command[1024];

	snprintf(command, sizeof(command), "%s/dump.rdb", chaos.nodes[node].folder);
	if (!from_file)
		(void) unlink(command);
	snprintf(command, sizeof(command),
			 "redis-server %s/redis.conf --cluster-announce-port %d >/dev/null 2>&1 "
			 "</dev/null",
			 chaos.nodes[node].folder, chaos.nodes[node].announced);
	if (system(command) != 0)
		report_wrong(WRONG_UNEXPECTED, "a Redis node did not come back");
}

static void
await_end_of(long pid)
{
	for (int i = 0; i < 2000 && kill((pid_t) pid, 0) == 0; i++)
		pause_for(5);
}

/* Three masters, each with a replica that follows it, and all say that all is well. */
static bool
cluster_is_whole(void)
{
	int masters = 0;

	for (int i = 0; i < NODES; i++)
	{
		redisReply *info = node_command(i, "CLUSTER INFO");
		redisReply *replication = node_command(i, "INFO replication");
		bool good = info && info->type == REDIS_REPLY_STRING &&
					strstr(info->str, "cluster_state:ok") && replication &&
					replication->type == REDIS_REPLY_STRING &&
					!strstr(replication->str, "master_link_status:down");

		if (good && strstr(replication->str, "role:master"))
			masters++;
		if (info)
			freeReplyObject(info);
		if (replication)
			freeReplyObject(replication);
		if (!good)
			return false;
	}
	return masters == MASTERS;
}

static void
await_cluster(void)
{
	double patience = now() + 60;

	while (!cluster_is_whole() && now() < patience)
		pause_for(50);
	if (now() >= patience)
		report_wrong(WRONG_UNEXPECTED, "the Redis cluster did not come together");
}

/* Until the worker must have noticed, and no sweep is under way. */
static void
await_recovery(void)
{
	double noticed = now() + NOTICE_SECONDS;
	double patience = now() + RECOVERY_SECONDS;

	for (bool live = false; !live && now() < patience; pause_for(100))
	{
		PGconn *conn;
		PGresult *result;

		if (now() < noticed)
			continue;
		conn = connect_for_long();
		result =
			PQexec(conn, "SELECT bool_and(state = 'live') FROM cachegrid.stat_mirror");
		live = PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
		PQclear(result);
		PQfinish(conn);
	}
	if (now() >= patience)
		report_wrong(WRONG_UNEXPECTED, "the mirror did not recover from a dead master");
}

/* Its replica takes over, or it comes back before that, empty or with old values. */
static void
kill_master(uint64_t *random)
{
	int node = draw_node(random, true);
	long pid = pid_in_file(chaos.nodes[node].folder, "pid");

	if (pid <= 1)
		return;
	atomic_fetch_add(&chaos.excused, 1);
	if (kill((pid_t) pid, SIGKILL) == 0)
	{
		report_event(MASTER_KILLED, "");
		await_end_of(pid);
		pause_for(draw(random, 2) == 0 ? 100 : 4500);
		if (draw(random, 2) == 0)
			end_process(WORKER_TERMINATED, true, SIGTERM);
		start_node(node, draw(random, 2) == 0);
		await_cluster();
		await_recovery();
	}
	atomic_fetch_sub(&chaos.excused, 1);
}

static void
hand_over(uint64_t *random)
{
	redisReply *reply = node_command(draw_node(random, false), "CLUSTER FAILOVER");

	report_event(MASTER_HANDED_OVER, "");
	if (reply)
		freeReplyObject(reply);
	pause_for(500);
	await_cluster();
}

/* It comes back empty; it has lost everything, so it shows nothing old. */
static void
restart_master(uint64_t *random)
{
	int node = draw_node(random, true);
	long pid = pid_in_file(chaos.nodes[node].folder, "pid");

	if (pid <= 1 || kill((pid_t) pid, SIGTERM) != 0)
		return;
	report_event(MASTER_RESTARTED, "");
	await_end_of(pid);
	start_node(node, false);
	await_cluster();
	chaos.emptied = now();
}

static void
make_trouble(Trouble trouble, uint64_t *random)
{
	switch (trouble)
	{
		case BACKEND_TERMINATED:
			end_process(trouble, false, SIGTERM);
			break;
		case BACKEND_KILLED:
			end_process(trouble, false, SIGKILL);
			break;
		case WORKER_TERMINATED:
			end_process(trouble, true, SIGTERM);
			break;
		case WORKER_KILLED:
			end_process(trouble, true, SIGKILL);
			break;
		case POSTMASTER_KILLED:
		case SERVER_STOPPED:
			bring_server_down(trouble);
			break;
		case MASTER_KILLED:
			kill_master(random);
			break;
		case MASTER_HANDED_OVER:
			hand_over(random);
			break;
		default:
			restart_master(random);
	}
}

/* Each kind once, in this order, before any is drawn. */
void *
kills_main(void *unused)
{
	static const Trouble first[] = {WORKER_TERMINATED, MASTER_HANDED_OVER, BACKEND_KILLED,
									WORKER_KILLED,	   MASTER_RESTARTED,   SERVER_STOPPED,
									POSTMASTER_KILLED, BACKEND_TERMINATED, MASTER_KILLED};
	uint64_t random = chaos.seed * 31 + 7;

	(void) unused;
	for (int round = 0; !chaos.stopping && !chaos.calm; round++)
	{
		int kinds = sizeof(first) / sizeof(first[0]);

		pause_for(300 + (int) draw(&random, 1200));
		if (!chaos.stopping)
			make_trouble(first[round < kinds ? (uint64_t) round : draw(&random, kinds)],
						 &random);
		if (round % 2 == 1 && !chaos.stopping)
			judge_rest();
	}
	return NULL;
}

/* Mostly between the worker and those it writes to. */
void *
network_main(void *unused)
{
	uint64_t random = chaos.seed * 37 + 11;

	(void) unused;
	while (!chaos.stopping && !chaos.calm)
	{
		Trouble trouble =
			NETWORK_CUT + (Trouble) draw(&random, NETWORK_REFUSED - NETWORK_CUT + 1);
		int node;

		pause_for(50 + (int) draw(&random, 1200));
		node =
			draw(&random, 8) == 0 ? (int) draw(&random, NODES) : draw_node(&random, true);
		if (chaos.resting)
			continue;
		report_event(trouble, "");
		proxy_disturb(trouble, node, &random);
	}
	return NULL;
}
