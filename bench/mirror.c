/*-------------------------------------------------------------------------
 *
 * mirror.c
 *	  The rows of the bench that measure the mirror.
 *
 *	  A stopped worker (SIGSTOP) shows what the writing transaction itself
 *	  pays, and makes a queue whose emptying can be timed.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define PROBES			  1000
#define WRITES_PER_SECOND 5000
#define LIMIT			  120 /* seconds that the mirror may take for anything */

/* Fail, and tell the state of the mirrors. */
static double
fail_with_state(Bench *bench, const char *what)
{
	PGresult *result =
		PQexec(bench->conn, "SELECT string_agg(format('%s %s, %s waiting, error: %s',"
							" \"table\", state, waiting, last_error), '; ')"
							" FROM cachegrid.stat_mirror");
	double nan = bench_fail(bench, what,
							PQntuples(result) > 0 ? PQgetvalue(result, 0, 0)
												  : PQerrorMessage(bench->conn));

	PQclear(result);
	return nan;
}

/* Wait until nothing waits for Redis and every mirror is live; the seconds it took, or NAN. */
static double
wait_for_mirror(Bench *bench)
{
	double began = bench_now();
	double unsettled;

	do
	{
		unsettled =
			bench_number(bench, "SELECT sum(waiting) + count(*) FILTER (WHERE state IS"
								" DISTINCT FROM 'live') FROM cachegrid.stat_mirror");
		if (isnan(unsettled))
			return NAN;
		if (bench_now() - began > LIMIT)
			return fail_with_state(bench, "the mirror does not catch up");
		usleep(1000);
	} while (unsettled > 0);
	return bench_now() - began;
}

/* Send a signal to the worker of this database. */
static bool
signal_worker(Bench *bench, int number)
{
	double pid = bench_number(bench, "SELECT pid FROM pg_stat_activity"
									 " WHERE datname = current_database()"
									 " AND backend_type LIKE 'cachegrid%'");

	return !isnan(pid) && kill((pid_t) pid, number) == 0;
}

/*
 * Mirror a table with these further arguments, unless it is mirrored; returns when all
 * is in Redis, or false.
 */
static bool
ensure_mirror_with(Bench *bench, const char *table, const char *arguments)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
			 "SELECT cachegrid.mirror('%s', 'grid'%s) WHERE NOT EXISTS"
			 " (SELECT FROM cachegrid.stat_mirror WHERE \"table\" = '%s'::regclass)",
			 table, arguments, table);
	return bench_run(bench, sql) && !isnan(wait_for_mirror(bench));
}

static bool
ensure_mirror(Bench *bench, const char *table)
{
	return ensure_mirror_with(bench, table, "");
}

double
row_rows_in_bulk(Bench *bench)
{
	double began;

	if (!bench_run(bench, "SELECT cachegrid.unmirror(\"table\", server)"
						  " FROM cachegrid.stat_mirror"
						  " WHERE \"table\" = 'all_mirrored'::regclass") ||
		isnan(wait_for_mirror(bench)))
		return NAN;
	began = bench_now();
	return ensure_mirror(bench, "all_mirrored") ? bench->bulk / (bench_now() - began)
												: NAN;
}

double
row_update_mirrored_alone(Bench *bench)
{
	double share;

	if (!ensure_mirror(bench, "one_mirrored") || !signal_worker(bench, SIGSTOP))
		return NAN;
	share = compare_updates(bench, 2, "one_mirrored");
	signal_worker(bench, SIGCONT);
	return isnan(wait_for_mirror(bench)) ? NAN : share;
}

double
row_update_mirrored(Bench *bench)
{
	return ensure_mirror(bench, "one_mirrored")
			   ? compare_updates(bench, 2, "one_mirrored")
			   : NAN;
}

double
row_update_through(Bench *bench)
{
	return ensure_mirror_with(bench, "one_through", ", mode => 'write-through'")
			   ? compare_updates(bench, 2, "one_through")
			   : NAN;
}

double
row_update_waiting(Bench *bench)
{
	return ensure_mirror_with(bench, "one_waiting",
							  ", mode => 'write-through', strict => false")
			   ? compare_updates(bench, 2, "one_waiting")
			   : NAN;
}

double
row_bulk_mirrored(Bench *bench)
{
	return ensure_mirror(bench, "all_mirrored") ? compare_bulk(bench, "all_mirrored")
												: NAN;
}

/* Change rows one by one in random order while the worker stands still. */
double
row_rows_one_by_one(Bench *bench)
{
	int transactions = bench->bulk / 2;
	char sql[512];
	double took;

	if (!ensure_mirror(bench, "all_mirrored") || !signal_worker(bench, SIGSTOP))
		return NAN;
	snprintf(sql, sizeof(sql),
			 "DO $$ DECLARE i integer; BEGIN"
			 " FOR i IN SELECT id FROM all_mirrored ORDER BY hashint4(id) LIMIT %d LOOP"
			 "  UPDATE all_mirrored SET n = n + 1 WHERE id = i; COMMIT;"
			 " END LOOP; END $$",
			 transactions);
	if (!bench_run(bench, sql))
		transactions = 0;
	signal_worker(bench, SIGCONT);
	took = wait_for_mirror(bench);
	return transactions > 0 ? transactions / took : NAN;
}

/* A writer beside the probes. */
typedef struct Background
{
	PGconn *conn;
	atomic_bool stop;
} Background;

static void *
write_on(void *argument)
{
	Background *background = argument;
	double next = bench_now();
	uint32_t random = 1;

	PQclear(PQprepare(background->conn, "write",
					  "UPDATE one_mirrored SET n = n + 1 WHERE id = $1", 0, NULL));
	while (!atomic_load(&background->stop))
	{
		char id[16];
		const char *values[] = {id};

		random = random * 1664525 + 1013904223;
		snprintf(id, sizeof(id), "%u", (random >> 8) % 9999 + 2);
		PQclear(PQexecPrepared(background->conn, "write", 1, values, NULL, NULL, 0));
		next += 1.0 / WRITES_PER_SECOND;
		if (next > bench_now())
			usleep((useconds_t) ((next - bench_now()) * 1e6));
	}
	return NULL;
}

/* The node that has the key: the first that answers without MOVED. */
static redisContext *
connect_to_owner(const char *ports, const char *key)
{
	char *end;

	for (long port = strtol(ports, &end, 10); end != ports;
		 port = strtol(ports, &end, 10))
	{
		redisContext *redis = redisConnect("127.0.0.1", (int) port);
		redisReply *reply = redis ? redisCommand(redis, "GET %s", key) : NULL;
		bool owner = reply && reply->type != REDIS_REPLY_ERROR;

		if (reply)
			freeReplyObject(reply);
		if (owner)
			return redis;
		if (redis)
			redisFree(redis);
		ports = end;
	}
	return NULL;
}

/* Seconds from the commit of a change until Redis gives it, or NAN. */
static double
probe(Bench *bench, redisContext *redis, int number)
{
	char sql[128];
	char wanted[32];
	double committed;

	snprintf(sql, sizeof(sql), "UPDATE one_mirrored SET n = %d WHERE id = 1",
			 1000000 + number);
	snprintf(wanted, sizeof(wanted), "%d", 1000000 + number);
	if (!bench_run(bench, sql))
		return NAN;
	committed = bench_now();
	while (bench_now() - committed < LIMIT)
	{
		redisReply *reply = redisCommand(redis, "GET one_mirrored:1");
		bool there =
			reply && reply->type == REDIS_REPLY_STRING && strstr(reply->str, wanted);

		if (reply)
			freeReplyObject(reply);
		if (there)
			return bench_now() - committed;
		usleep(20);
	}
	return fail_with_state(bench, "the change does not arrive in Redis");
}

/* Probe beside 5,000 writes a second; the milliseconds of that share of them. */
static double
visible(Bench *bench, double share)
{
	static double times[PROBES];
	static int count;
	Background background = {.conn = bench->clients[0]};
	pthread_t thread;
	redisContext *redis;

	if (count == PROBES) /* measured for the row before this one */
		return times[(int) (share * (PROBES - 1))] * 1e3;
	if (!ensure_mirror(bench, "one_mirrored"))
		return NAN;
	count = 0;
	redis = connect_to_owner(bench->ports, "one_mirrored:1");
	if (!redis)
		return bench_fail(bench, "probe", "no Redis node has the key");
	pthread_create(&thread, NULL, write_on, &background);
	while (count < PROBES && !isnan(times[count] = probe(bench, redis, count)))
	{
		count++;
		usleep(2000);
	}
	atomic_store(&background.stop, true);
	pthread_join(thread, NULL);
	redisFree(redis);
	if (count < PROBES)
		return NAN;
	bench_sort(times, PROBES);
	return times[(int) (share * (count - 1))] * 1e3;
}

double
row_visible_median(Bench *bench)
{
	return visible(bench, 0.5);
}

double
row_visible_99(Bench *bench)
{
	return visible(bench, 0.99);
}
