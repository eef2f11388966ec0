/*-------------------------------------------------------------------------
 *
 * chaos.c
 *	  What befalls the sessions and servers: cancels, terminations, kill -9,
 *	  restarts, dumps and restores.
 *
 * Rows are changed in prepared transactions, which are committed only when
 * readers have had time to keep values from before.  Before the primary goes
 * down that is the boot floor's case; at other times the floor's of a slot:
 * there are more of them than a slot remembers, and the first commits last.
 *
 *-------------------------------------------------------------------------
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"

/* Not one of the targets' own: the sampler uses those. */
static PGconn *
connect_control(const Checker *checker, const Target *target)
{
	PGconn *conn = NULL;

	while (!checker->stopping)
	{
		PQfinish(conn);
		conn = session_connect(target, "control");
		if (PQstatus(conn) == CONNECTION_OK)
			break;
		pause_for(50);
	}
	return conn;
}

static const Target *
draw_target(const Checker *checker, uint64_t *random)
{
	return &checker->targets[draw(random, checker->target_count)];
}

/* The process of one of the sessions, 0 if there is none. */
static long
draw_backend(PGconn *conn)
{
	PGresult *result =
		PQexec(conn, "SELECT pid FROM pg_stat_activity "
					 "WHERE application_name LIKE 'checker %' ORDER BY random() LIMIT 1");
	long pid = PQntuples(result) == 1 ? atol(PQgetvalue(result, 0, 0)) : 0;

	PQclear(result);
	return pid;
}

/* How it is said is seen by PostgreSQL, so that no other process can be hit. */
static void
disturb(Checker *checker, uint64_t *random)
{
	const Target *target = draw_target(checker, random);
	PGconn *conn = session_connect(target, "control");
	bool harder = draw(random, 4) == 0;
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT pg_%s_backend(%ld)",
			 harder ? "terminate" : "cancel", draw_backend(conn));
	PQclear(PQexec(conn, sql));
	if (PQstatus(conn) == CONNECTION_OK)
		atomic_fetch_add(harder ? &checker->terminated : &checker->cancelled, 1);
	PQfinish(conn);
}

/* Transactions that scripts left prepared end one way or the other. */
static void
end_prepared(Checker *checker, PGconn *conn, const char *pattern)
{
	char sql[256];
	PGresult *result;

	snprintf(sql, sizeof(sql), "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE '%s'",
			 pattern);
	result = PQexec(conn, sql);
	for (int i = 0; i < PQntuples(result); i++)
	{
		snprintf(sql, sizeof(sql), "%s PREPARED '%s'", i % 3 > 0 ? "COMMIT" : "ROLLBACK",
				 PQgetvalue(result, i, 0));
		PQclear(PQexec(conn, sql));
		atomic_fetch_add(&checker->left_prepared, 1);
	}
	PQclear(result);
}

/* Rows of a group that is read much are changed, and the changes are kept in suspense. */
static void
hold(PGconn *conn, uint64_t *random, int count)
{
	char sql[512];
	int group = 1 + (int) draw(random, 4);

	for (int i = 0; i < count; i++)
	{
		snprintf(sql, sizeof(sql),
				 "BEGIN; UPDATE item SET n = n + 1 WHERE id = %d;"
				 "UPDATE twin SET mark = 'held' WHERE id = %d; PREPARE TRANSACTION 'held "
				 "%d %d'",
				 group + 20 * i, 1 + 2 * i + (int) draw(random, 2), i,
				 (int) draw(random, 1000000));
		PQclear(PQexec(conn, sql));
		PQclear(PQexec(conn, "ROLLBACK"));
	}
}

/* One after the other, the latest first. */
static void
let_go(Checker *checker, PGconn *conn, int pause)
{
	char sql[256];
	PGresult *result =
		PQexec(conn, "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'held%' "
					 "ORDER BY prepared DESC");

	for (int i = 0; i < PQntuples(result); i++)
	{
		pause_for(pause);
		snprintf(sql, sizeof(sql), "COMMIT PREPARED '%s'", PQgetvalue(result, i, 0));
		PQclear(PQexec(conn, sql));
		atomic_fetch_add(&checker->left_prepared, 1);
	}
	PQclear(result);
}

static void
crash_backend(Checker *checker, const Target *target)
{
	PGconn *conn = connect_control(checker, target);
	long pid = draw_backend(conn);

	if (pid > 1 && kill(pid, SIGKILL) == 0)
	{
		checker->killed++;
		/* The server tells it to all. */
		while (PQstatus(conn) == CONNECTION_OK && !checker->stopping)
		{
			PQclear(PQexec(conn, "SELECT 1"));
			pause_for(5);
		}
	}
	PQfinish(conn);
}

static void
bring_down(Checker *checker, bool standby, int how)
{
	const char *data = standby ? checker->standby_data : checker->primary_data;
	const Target *target = &checker->targets[standby ? checker->target_count - 1 : 0];
	bool good = true;

	switch (how)
	{
		case 0:
			crash_backend(checker, target);
			break;
		case 1:
			good = server_kill(data);
			checker->killed++;
			checker->restarted++;
			break;
		default:
			good = server_control(data,
								  how == 2 ? "-m fast restart" : "-m immediate restart");
			checker->restarted++;
	}
	if (!good)
		report_problem(checker, "a server did not come back");
}

static void
shake(Checker *checker, uint64_t *random, int round)
{
	bool standby = checker->standby && round % 3 == 2;
	PGconn *conn = connect_control(checker, &checker->targets[0]);

	if (!standby)
		hold(conn, random, 4);
	bring_down(checker, standby,
			   round < 4 && !standby ? round % 2 : (int) draw(random, 4));
	PQfinish(conn);
	conn = connect_control(checker, &checker->targets[0]);
	/* Readers have their time to keep what is not yet committed. */
	pause_for(700);
	let_go(checker, conn, 0);
	/* Nothing is served before whoever was prepared then has ended. */
	end_prepared(checker, conn, "left%");
	end_prepared(checker, conn, "checker%");
	PQfinish(conn);
}

/* What scripts left behind, and what is kept in suspense for a while. */
static void
tend_prepared(Checker *checker, uint64_t *random, int turn)
{
	PGconn *conn = session_connect(&checker->targets[0], "control");

	end_prepared(checker, conn, "left%");
	/* Whose session was killed between two statements. */
	if (turn % 5 == 4)
		end_prepared(checker, conn, "checker%");
	if (turn % 2 == 1)
	{
		hold(conn, random, 9);
		let_go(checker, conn, 20);
	}
	PQfinish(conn);
}

void *
chaos_main(void *argument)
{
	Checker *checker = argument;
	uint64_t random = checker->seed * 31 + 7;
	double period = checker->seconds > 100 ? 12 : checker->seconds > 30 ? 6 : 4;
	double next = now() + period / 2;
	int round = 0;

	for (int tick = 0; !checker->stopping; tick++)
	{
		pause_for(150);
		if (tick % 10 == 9)
			tend_prepared(checker, &random, tick / 10);
		if (checker->calm)
			continue;
		disturb(checker, &random);
		if (now() > next)
		{
			shake(checker, &random, round++);
			next = now() + period;
		}
	}
	return NULL;
}

/* Dumps the crates and restores them, in both forms, one after the other. */
void *
restore_main(void *argument)
{
	static const char *const forms[] = {
		"pg_dump -Fc -a --disable-triggers -t crate -f '%s' && psql -qXc 'TRUNCATE "
		"crate' && "
		"pg_restore -1 -a --disable-triggers -d postgres '%s'",
		"pg_dump -Fc -t crate -f '%s' && pg_restore -1 --clean --if-exists -d postgres "
		"'%s'",
		"pg_dump -Fc -a -t crate -f '%s' && psql -qXc 'DELETE FROM crate' && "
		"pg_restore -a -d postgres '%s'",
	};
	Checker *checker = argument;
	char dump[1024];

	setenv("PGHOST", checker->primary, 1);
	setenv("PGUSER", "postgres", 1);
	setenv("PGDATABASE", "postgres", 1);
	setenv("PGOPTIONS", "-c lock_timeout=2s", 1);
	snprintf(dump, sizeof(dump), "%s.dump", checker->primary_data);
	for (int i = 0; !checker->stopping; i++)
	{
		char command[4096];
		char form[2048];

		snprintf(form, sizeof(form), forms[i % 3], dump, dump);
		snprintf(command, sizeof(command), "(%s) >'%s.log' 2>&1 </dev/null", form, dump);
		if (system(command) == 0)
			atomic_fetch_add(&checker->restored, 1);
		for (int wait = 0; wait < 20 && !checker->stopping; wait++)
			pause_for(100);
	}
	return NULL;
}
