/*-------------------------------------------------------------------------
 *
 * stampede.c
 *	  What a database is asked when a thousand keys expire in the same second:
 *	  queries a second over time, for each answer to that; a curve, not a row.
 *
 *	  A hundred sessions read keys of a skewed popularity, with a pause after each read.
 *	  Whatever is missing costs them a query of 100 ms, which does nothing but wait: so
 *	  the figures tell how often it is run, and not how fast the machine is.  All keys
 *	  were put within a moment, with the same time to live.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define SESSIONS	   100
#define KEYS		   1000
#define TTL_TEXT	   "5 s"
#define SECONDS		   12	/* of a run: two expiries, and the rest of the second */
#define SLOT		   0.25 /* seconds of a point of the curve */
#define QUERY_SECONDS  0.1
#define PAUSE_USECONDS 20000
#define MAX_READS	   2000 /* of a session */
#define LENGTH(array)  (sizeof(array) / sizeof((array)[0]))

/* An answer to the stampede. */
typedef struct Answer
{
	const char *series;	 /* its name in the picture */
	const char *options; /* of its cache; NULL: get, query, set, as one would by hand */
	const char *needs;	 /* an option that this version must have; NULL: none */
} Answer;

static const Answer answers[] = {
	{"no answer", NULL, NULL},
	{"leases", "", NULL},
	{"stale values", ", stale_ttl => '5 seconds'", NULL},
	{"jitter", ", ttl_jitter => 0.5", NULL},
	{"early refresh", ", early_beta => 1", "early_beta"},
	{"refresh ahead", ", refresh_ahead => 0.8", "refresh_ahead"},
};

/* A session, for its thread; read by others when that has ended. */
typedef struct Reader
{
	PGconn *conn;
	const Answer *answer;
	int number; /* of the answer: its keys */
	double until;
	uint64_t random;
	int reads;
	double times[MAX_READS];
	bool failed;
} Reader;

/* How often keys up to each are drawn: Zipf's law, the sum is 1. */
static double popularity[KEYS];

static void
init_popularity(void)
{
	double sum = 0;

	for (int i = 0; i < KEYS; i++)
		popularity[i] = sum += 1.0 / (i + 1);
	for (int i = 0; i < KEYS; i++)
		popularity[i] /= sum;
}

static int
draw_key(Reader *reader)
{
	double draw;
	int low = 0;
	int high = KEYS - 1;

	reader->random = reader->random * 6364136223846793005u + 1442695040888963407u;
	draw = (double) (reader->random >> 11) / (double) (UINT64_C(1) << 53);
	while (low < high)
	{
		int middle = (low + high) / 2;

		if (popularity[middle] < draw)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Run a statement that begin_reader() has prepared; *is_null: of its one value. */
static bool
ask(Reader *reader, const char *statement, int key, bool *is_null)
{
	char name[32];
	char id[16];
	const char *values[] = {name, id};
	PGresult *result;
	bool good;

	snprintf(name, sizeof(name), "answer%d:%d", reader->number, key);
	snprintf(id, sizeof(id), "%d", key);
	result = PQexecPrepared(reader->conn, statement, strcmp(statement, "put") ? 1 : 2,
							values, NULL, NULL, 0);
	good = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
	*is_null = good && PQgetisnull(result, 0, 0);
	PQclear(result);
	return good;
}

static bool
read_key(Reader *reader, int key)
{
	bool is_null;

	if (reader->answer->options)
		return ask(reader, "fetch", key, &is_null) && !is_null;
	if (!ask(reader, "get", key, &is_null))
		return false;
	return !is_null || ask(reader, "put", key, &is_null);
}

static void *
read_on(void *argument)
{
	Reader *reader = argument;

	while (!reader->failed && reader->reads < MAX_READS)
	{
		double began = bench_now();

		if (began >= reader->until)
			break;
		reader->failed = !read_key(reader, draw_key(reader));
		reader->times[reader->reads++] = bench_now() - began;
		usleep(PAUSE_USECONDS);
	}
	return NULL;
}

static bool
prepare(Bench *bench, PGconn *conn, const char *name, const char *sql)
{
	PGresult *result = PQprepare(conn, name, sql, 0, NULL);
	bool good = PQresultStatus(result) == PGRES_COMMAND_OK;

	PQclear(result);
	if (!good)
		bench_fail(bench, sql, PQerrorMessage(conn));
	return good;
}

static bool
begin_reader(Bench *bench, Reader *reader)
{
	reader->conn = PQconnectdb("user=bench_app");
	if (PQstatus(reader->conn) != CONNECTION_OK)
	{
		bench_fail(bench, "session", PQerrorMessage(reader->conn));
		return false;
	}
	return prepare(bench, reader->conn, "fetch", "SELECT cachegrid.fetch($1)") &&
		   prepare(bench, reader->conn, "get", "SELECT cachegrid.get($1)") &&
		   prepare(bench, reader->conn, "put",
				   "SELECT cachegrid.set($1, bench_slow($2::integer),"
				   " ttl => '" TTL_TEXT "')");
}

/* Run sql as the readers' role, whose values no other role is served. */
static bool
run_as_reader(Bench *bench, const Reader *reader, const char *sql)
{
	PGresult *result = PQexec(reader->conn, sql);
	ExecStatusType status = PQresultStatus(result);

	PQclear(result);
	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
		return true;
	bench_fail(bench, sql, PQerrorMessage(reader->conn));
	return false;
}

/* Put all keys, at no cost; false and bench->why. */
static bool
put_keys(Bench *bench, const Reader *reader)
{
	const Answer *answer = reader->answer;
	int number = reader->number;
	char sql[512];

	if (answer->options)
	{
		snprintf(sql, sizeof(sql),
				 "SELECT cachegrid.create_cache('answer%d', ttl => '" TTL_TEXT "',"
				 " loader => 'SELECT bench_slow($1)'%s)",
				 number, answer->options);
		if (!bench_run(bench, sql))
			return false;
	}
	snprintf(sql, sizeof(sql),
			 answer->options
				 ? "SELECT count(cachegrid.fetch('answer%d:' || k))"
				   " FROM generate_series(0, %d) AS k"
				 : "SELECT count(cachegrid.set('answer%d:' || k, bench_slow(k),"
				   " ttl => '" TTL_TEXT "')) FROM generate_series(0, %d) AS k",
			 number, KEYS - 1);
	return run_as_reader(bench, reader, "SET bench.slow = 0") &&
		   run_as_reader(bench, reader, sql) &&
		   run_as_reader(bench, reader, "RESET bench.slow") &&
		   bench_run(bench, "SELECT cachegrid.set('queries', 0::bigint)");
}

/* Until the end of the run, a point for each slot; the most queries a second, or NAN. */
static double
watch_queries(Bench *bench, const Answer *answer, double began)
{
	double before = 0;
	double most = 0;

	for (int slot = 1; slot * SLOT <= SECONDS; slot++)
	{
		double now;

		usleep((useconds_t) (fmax(began + slot * SLOT - bench_now(), 0) * 1e6));
		now = bench_number(bench, "SELECT cachegrid.get('queries')");
		if (isnan(now))
			return NAN;
		bench_data("stampede", answer->series, slot * SLOT, (now - before) / SLOT);
		most = fmax(most, (now - before) / SLOT);
		before = now;
	}
	return most;
}

/* Say what readers had of it. */
static void
tell(Bench *bench, const Answer *answer, const Reader *readers, double most)
{
	double queries = bench_number(bench, "SELECT cachegrid.get('queries')");
	double longest = 0;
	int waited = 0;
	int reads = 0;

	for (int i = 0; i < SESSIONS; i++)
		for (int j = 0; j < readers[i].reads; j++)
		{
			reads++;
			waited += readers[i].times[j] > QUERY_SECONDS / 2;
			longest = fmax(longest, readers[i].times[j]);
		}
	printf("%-16s%6.0f queries, at most %4.0f a second; of %d reads %5d waited, at most"
		   " %3.0f ms\n",
		   answer->series, queries, most, reads, waited, longest * 1e3);
	fflush(stdout);
}

static bool
measure_answer(Bench *bench, int number)
{
	static Reader readers[SESSIONS];
	const Answer *answer = &answers[number];
	pthread_t threads[SESSIONS];
	double most = NAN;
	double began;
	bool good = true;

	for (int i = 0; i < SESSIONS && good; i++)
	{
		readers[i] = (Reader){
			.answer = answer, .number = number, .random = (uint64_t) i * 7919 + 1};
		good = begin_reader(bench, &readers[i]);
	}
	if (!good || !put_keys(bench, &readers[0]))
		return false;
	began = bench_now();
	for (int i = 0; i < SESSIONS; i++)
	{
		readers[i].until = began + SECONDS;
		pthread_create(&threads[i], NULL, read_on, &readers[i]);
	}
	most = watch_queries(bench, answer, began);
	for (int i = 0; i < SESSIONS; i++)
	{
		pthread_join(threads[i], NULL);
		if (readers[i].failed)
			bench_fail(bench, answer->series, PQerrorMessage(readers[i].conn));
		good &= !readers[i].failed;
		PQfinish(readers[i].conn);
	}
	if (!good || isnan(most))
		return false;
	tell(bench, answer, readers, most);
	return true;
}

/* Has this version the option that the answer needs? */
static bool
has_option(Bench *bench, const Answer *answer)
{
	char sql[192];

	snprintf(sql, sizeof(sql),
			 "SELECT count(*) FROM pg_attribute WHERE attname = '%s'"
			 " AND attrelid = 'cachegrid.cache'::regclass",
			 answer->needs ? answer->needs : "ttl");
	return bench_number(bench, sql) == 1;
}

bool
bench_stampede(Bench *bench)
{
	char sql[128];

	/* No superuser, for whom nothing is computed in the background. */
	snprintf(sql, sizeof(sql),
			 "CREATE ROLE bench_app LOGIN IN ROLE cachegrid_writer;"
			 "ALTER ROLE bench_app SET bench.slow = '%g'",
			 QUERY_SECONDS);
	if (!bench_run(bench, sql) ||
		!bench_run(bench, "CREATE FUNCTION bench_slow(id integer) RETURNS text"
						  " LANGUAGE plpgsql AS $$ BEGIN"
						  " PERFORM cachegrid.incr('queries'),"
						  " pg_sleep(current_setting('bench.slow')::float8);"
						  " RETURN repeat('x', 100); END $$"))
		return false;
	init_popularity();
	printf("%d keys that were put at once, for " TTL_TEXT
		   ", and %d sessions that read them\n",
		   KEYS, SESSIONS);
	for (size_t i = 0; i < LENGTH(answers); i++)
		if (!has_option(bench, &answers[i]))
			printf("%-16snot in this version\n", answers[i].series);
		else if (!measure_answer(bench, (int) i))
			return false;
	return true;
}
