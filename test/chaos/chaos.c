/*-------------------------------------------------------------------------
 *
 * chaos.c
 *	  The mirror under attack: options, threads, the end.
 *
 * chaos EVIDENCE SOCKET DATA PORT:FOLDER...
 *
 * PORT is that of a Redis node, FOLDER has its redis.conf; first three masters, then
 * their replicas.  The environment says the rest: CHAOS_SECONDS, CHAOS_SEED,
 * CHAOS_CALM, CHAOS_UNTIL_WRONG.  Status 0: all is well; 1: it is not.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chaos.h"

Chaos chaos;

const Table tables[TABLES] = {
	{.name = "behind", .options = "key => 'behind:{id}'"},
	{.name = "hashed", .options = "key => 'hashed:{id}', format => 'hash'", .hash = true},
	{.name = "through",
	 .options = "key => 'through:{id}', mode => 'write-through'",
	 .strict = true},
	{.name = "expiring",
	 .options = "key => 'expiring:{id}', ttl => '1500ms', ttl_jitter => 0.5",
	 .expires = true},
	{.name = "paired",
	 .options = "key => 'paired:{a}:{b}', format => 'hash', mode => 'write-through'",
	 .hash = true,
	 .strict = true},
};

/* The key of the row with this id, as the mirror's template makes it. */
void
key_of(int table, int id, char *key)
{
	if (strcmp(tables[table].name, "paired") == 0)
		snprintf(key, KEY_SIZE, "paired:%d:b%d", id / 8, id % 8);
	else
		snprintf(key, KEY_SIZE, "%s:%d", tables[table].name, id);
}

/* What servers say when they go down is no news. */
static void
ignore_notice(void *argument, const char *message)
{
	(void) argument;
	(void) message;
}

/* Each session is told apart by its name, to those who kill. */
PGconn *
connect_to_server(const char *name)
{
	char info[1024];
	PGconn *conn;

	snprintf(info, sizeof(info),
			 "host='%s' dbname=postgres user=postgres application_name='%s' "
			 "connect_timeout=10 options='-c lock_timeout=1s -c statement_timeout=60s "
			 "-c client_min_messages=warning'",
			 chaos.host, name);
	conn = PQconnectdb(info);
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	return conn;
}

/* The same for who kills and judges: waits until the server is up. */
PGconn *
connect_for_long(void)
{
	PGconn *conn = connect_to_server("control");
	double patience = now() + 60;

	while (PQstatus(conn) != CONNECTION_OK && now() < patience)
	{
		PQfinish(conn);
		pause_for(50);
		conn = connect_to_server("control");
	}
	if (PQstatus(conn) != CONNECTION_OK)
		report_wrong(WRONG_UNEXPECTED, "the server did not come back");
	return conn;
}

static void
require(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK &&
		PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
		exit(2);
	}
	PQclear(result);
}

static void
set_options(int count, char **arguments)
{
	if (count != 4 + NODES)
	{
		fprintf(stderr, "usage: %s EVIDENCE SOCKET DATA PORT:FOLDER...\n", arguments[0]);
		exit(2);
	}
	chaos.seconds = number_of("CHAOS_SECONDS", 60);
	chaos.seed = number_of("CHAOS_SEED", time(NULL) % 1000000);
	chaos.calm = number_of("CHAOS_CALM", 0);
	chaos.until_wrong = number_of("CHAOS_UNTIL_WRONG", 0);
	chaos.evidence = arguments[1];
	chaos.host = arguments[2];
	chaos.data = arguments[3];
	for (int i = 0; i < NODES; i++)
	{
		chaos.nodes[i].port = atoi(arguments[4 + i]);
		chaos.nodes[i].folder = strchr(arguments[4 + i], ':') + 1;
	}
}

/* From here on the nodes send everybody to the proxy. */
static void
announce_ports(void)
{
	for (int i = 0; i < NODES; i++)
		freeReplyObject(node_command(i, "CONFIG SET cluster-announce-port %d",
									 chaos.nodes[i].announced));
	for (int i = 0; i < NODES; i++)
	{
		for (int tries = 0; tries < 200; tries++)
		{
			redisReply *reply = node_command(i, "CLUSTER NODES");
			bool known = reply && reply->type == REDIS_REPLY_STRING;

			for (int j = 0; known && j < NODES; j++)
			{
				char port[16];

				snprintf(port, sizeof(port), ":%d@", chaos.nodes[j].announced);
				known = strstr(reply->str, port) != NULL;
			}
			freeReplyObject(reply);
			if (known)
				break;
			pause_for(50);
		}
	}
}

static void
find_slots(void)
{
	for (int table = 0; table < TABLES; table++)
	{
		for (int id = 0; id < KEYS; id++)
		{
			char key[KEY_SIZE];
			redisReply *reply;

			key_of(table, id, key);
			reply = node_command(0, "CLUSTER KEYSLOT %s", key);
			chaos.slots[table][id] = reply ? (int) reply->integer : 0;
			freeReplyObject(reply);
		}
	}
}

static void
declare_mirrors(void)
{
	PGconn *conn = connect_to_server("control");
	char sql[512] = "CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis "
					"OPTIONS (mode 'cluster', endpoints '";

	for (int i = 0; i < NODES; i++)
		snprintf(sql + strlen(sql), sizeof(sql) - strlen(sql), "%s127.0.0.1:%d",
				 i > 0 ? "," : "", chaos.nodes[i].announced);
	strcat(sql, "')");
	require(conn, sql);
	for (int i = 0; i < TABLES; i++)
	{
		snprintf(sql, sizeof(sql), "SELECT cachegrid.mirror('%s', 'grid', %s)",
				 tables[i].name, tables[i].options);
		require(conn, sql);
	}
	PQfinish(conn);
}

static void
watch(void)
{
	double period = chaos.seconds > 100 ? 10 : 5;
	double progress = now() + period;

	while (now() - chaos.started < chaos.seconds &&
		   !(chaos.until_wrong && chaos.first_wrong > 0))
	{
		pause_for(100);
		if (now() < progress)
			continue;
		report_progress();
		progress += period;
	}
}

int
main(int count, char **arguments)
{
	pthread_t writers[WRITERS];
	pthread_t readers[READERS];
	pthread_t kills;
	pthread_t network;
	pthread_t proxy;

	set_options(count, arguments);
	signal(SIGPIPE, SIG_IGN);
	proxy_listen();
	pthread_create(&proxy, NULL, proxy_main, NULL);
	announce_ports();
	find_slots();
	declare_mirrors();
	chaos.started = now();
	for (intptr_t i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, writer_main, (void *) i);
	for (intptr_t i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reader_main, (void *) i);
	pthread_create(&kills, NULL, kills_main, NULL);
	pthread_create(&network, NULL, network_main, NULL);
	watch();
	atomic_store(&chaos.stopping, true);
	pthread_join(kills, NULL);
	pthread_join(network, NULL);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	proxy_stop_disturbing();
	if (!(chaos.until_wrong && chaos.first_wrong > 0))
		judge_end();
	return report_end() ? 0 : 1;
}
