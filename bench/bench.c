/*-------------------------------------------------------------------------
 *
 * bench.c
 *	  The bench of cachegrid: measures it beside its peers, as ratios of one
 *	  run, and prints a row for each.
 *
 *	  bench ROUNDS KEYS CALLS BULK [WORDS]: all rows, or those whose names hold
 *	  the words; --curves, --stampede: what there are pictures of, instead.
 *	  Connects as libpq's environment says; REDIS_SOCKET is a single Redis, REDIS_PORTS are the masters of a
 *	  cluster.  Exit status 1 if a row could not be measured; a row that
 *	  falls short is no failure.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A row: two SQL texts, or two talks, or a function that measures.  Mark 0: none. */
typedef struct Row
{
	const char *name;
	double mark;
	bool at_most; /* the mark is an upper bound */
	const char *unit;
	const char *ours;
	const char *theirs;
	const Talk *our_talk;
	const Talk *their_talk;
	double (*measure)(Bench *bench);
	Side side; /* ... or one that is told what */
	const void *what;
} Row;

static const Talk get_1 = {.clients = 1, .statement = "SELECT cachegrid.get($1)"};
static const Talk get_2 = {.clients = 2, .statement = "SELECT cachegrid.get($1)"};
static const Talk one = {.clients = 1, .statement = "SELECT 1"};
static const Talk by_key = {.clients = 1, .statement = "SELECT v FROM kv WHERE k = $1"};
static const Talk redis_1 = {.clients = 1};
static const Talk redis_2 = {.clients = 2};

/* A trace through the store, values of some hundred bytes and more, or of 100. */
#define MISSES(trace_name, text, ...)                                               \
	{.name = "miss ratio, " trace_name ", " text,                                   \
	 .mark = 1.02,                                                                  \
	 .at_most = true,                                                               \
	 .side = row_misses,                                                            \
	 .what = &(const Trace){trace_name, __VA_ARGS__, .small = false}},              \
	{                                                                               \
		.name = "miss ratio, " trace_name ", " text ", small values", .mark = 1.02, \
		.at_most = true, .side = row_misses,                                        \
		.what = &(const Trace){trace_name, __VA_ARGS__, .small = true},             \
	}

/* The same with a trace that is made up, beside LRU. */
#define MISSES_MADE(trace_name, text, wanted, number)                              \
	{                                                                              \
		.name = "miss ratio, " text " / LRU", .at_most = true, .side = row_misses, \
		.what = &(const Trace){trace_name, wanted, .policy = "LRU", .small = true, \
							   .made_of = number},                                 \
	}

/* All that 32 sessions do in a second, beside the best number of sessions. */
#define CROWD(text, series, ...)                                                        \
	{                                                                                   \
		.name = text ", 32 sessions / best of 1 to 32", .mark = 0.8, .side = row_crowd, \
		.what = &(const Crowd){series, __VA_ARGS__},                                    \
	}

#define GET_ALL "SELECT count(cachegrid.get(k)) FROM probe"

static const Row rows[] = {
	{.name = "get, server side / SELECT by key, UNLOGGED",
	 .mark = 7,
	 .ours = GET_ALL,
	 .theirs = "SELECT count((SELECT v FROM kv WHERE kv.k = probe.k)) FROM probe"},
	{.name = "time of get, server side / of reading an array",
	 .mark = 1.3,
	 .at_most = true,
	 .ours = "SELECT count(bench_array_get(n)) FROM probe",
	 .theirs = GET_ALL},
	{.name = "SELECT get($1) / SELECT 1",
	 .mark = 0.97,
	 .our_talk = &get_1,
	 .their_talk = &one},
	{.name = "SELECT get($1) / SELECT by key",
	 .mark = 1.25,
	 .our_talk = &get_1,
	 .their_talk = &by_key},
	{.name = "SELECT get($1) / Redis GET, 1 client",
	 .mark = 1,
	 .our_talk = &get_1,
	 .their_talk = &redis_1},
	{.name = "SELECT get($1) / Redis GET, 2 clients",
	 .mark = 1.5,
	 .our_talk = &get_2,
	 .their_talk = &redis_2},
	{.name = "mget of 500 keys / = ANY, UNLOGGED",
	 .mark = 20,
	 .ours = "SELECT sum(cardinality(cachegrid.mget(ks))) FROM keyrings",
	 .theirs = "SELECT sum((SELECT count(v) FROM kv WHERE k = ANY (ks))) FROM keyrings"},
	{.name = "mget of 500 keys, each key",
	 .mark = 0.16,
	 .at_most = true,
	 .unit = "µs",
	 .measure = row_mget_key},
	{.name = "set, server side / upsert, UNLOGGED",
	 .mark = 10,
	 .ours = "SELECT count(cachegrid.set(k, v)) FROM probe WHERE batch < 5",
	 .theirs = "INSERT INTO kv SELECT k, v FROM probe WHERE batch < 5"
			   " ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v"},
	{.name = "memory that is keys (12 B) and values (100 B)",
	 .mark = 0.85,
	 .measure = row_memory},
	{.name = "100 sessions miss one key: runs of its loader",
	 .mark = 1,
	 .at_most = true,
	 .measure = row_herd},
	{.name = "single-row UPDATE, watched / bare, 1 client",
	 .mark = 0.93,
	 .measure = row_update_watched_alone},
	{.name = "single-row UPDATE, watched / bare, 2 clients",
	 .mark = 0.93,
	 .measure = row_update_watched},
	{.name = "single-row UPDATE, mirrored / bare, worker stopped",
	 .mark = 0.93,
	 .measure = row_update_mirrored_alone},
	{.name = "single-row UPDATE, mirrored / bare, worker running",
	 .mark = 0.80,
	 .measure = row_update_mirrored},
	{.name = "single-row UPDATE, write-through / bare", .measure = row_update_through},
	{.name = "single-row UPDATE, write-through, not strict / bare",
	 .measure = row_update_waiting},
	{.name = "rows a second into the cluster, in bulk",
	 .mark = 200000,
	 .measure = row_rows_in_bulk},
	{.name = "time of a large UPDATE, watched / bare",
	 .mark = 1.4,
	 .at_most = true,
	 .measure = row_bulk_watched},
	{.name = "time of a large UPDATE, mirrored / bare",
	 .mark = 1.5,
	 .at_most = true,
	 .measure = row_bulk_mirrored},
	{.name = "rows a second into the cluster, single transactions",
	 .mark = 100000,
	 .measure = row_rows_one_by_one},
	{.name = "commit to visible in Redis, 5,000 writes a second: p50",
	 .mark = 0.3,
	 .at_most = true,
	 .unit = "ms",
	 .measure = row_visible_median},
	{.name = "commit to visible in Redis, 5,000 writes a second: p99",
	 .mark = 2,
	 .at_most = true,
	 .unit = "ms",
	 .measure = row_visible_99},

	/* These start the server anew. */
	CROWD("get", "get", "get", 200000, 200000),
	CROWD("get of one key", "get of one key", "get hot", 200000, 200000),
	CROWD("get, all misses", "get, all misses", "get missing", 200000, 200000),
	CROWD("set, full cache", "set, full cache", "set", 1200000, 4000000),
	{.name = "slowest call in a million, a million expire",
	 .mark = 1,
	 .at_most = true,
	 .unit = "ms",
	 .measure = row_expiry},
	{.name = "slowest call in a million, beside entries()",
	 .mark = 1,
	 .at_most = true,
	 .unit = "ms",
	 .measure = row_listing},
	MISSES("web07", "204 objects", 204, .5621, "S3-FIFO"),
	MISSES("web07", "1,024 objects", 1024, .4578, "S3-FIFO"),
	MISSES("web07", "4,096 objects", 4096, .3718, "ARC"),
	MISSES("orm-busy", "763 objects", 763, .2297, "LRU"),
	MISSES("orm-busy", "3,817 objects", 3817, .1475, "S3-FIFO"),
	MISSES("orm-busy", "15,269 objects", 15269, .0673, "W-TinyLFU"),
	MISSES_MADE("zipf", "zipf", 10000, 100000),
	MISSES_MADE("scan", "zipf with scans", 10000, 100000),
	MISSES_MADE("loop", "loop", 50000, 60000),
};

static double
measure(Bench *bench, const Row *row)
{
	bench->why[0] = '\0';
	bench->note[0] = '\0';
	bench->left_out = NULL;
	if (row->side)
		return row->side(bench, row->what);
	if (row->measure)
		return row->measure(bench);
	if (row->ours)
		return bench_compare(bench, side_query, row->ours, side_query, row->theirs);
	return bench_compare(bench, side_talk, row->our_talk, side_talk, row->their_talk);
}

static const char *
verdict(const Bench *bench, const Row *row, double figure)
{
	if (isnan(figure))
		return bench->left_out ? bench->left_out : "not measured";
	if (row->mark == 0)
		return "";
	return (row->at_most ? figure <= row->mark : figure >= row->mark) ? "ok" : "short";
}

/* Print one row; false if it could not be measured. */
static bool
print_row(const Bench *bench, const Row *row, double figure)
{
	const char *format = row->mark >= 1000					? "%10.0f"
						 : row->mark > 1 && row->mark < 1.1 ? "%10.3f"
															: "%10.2f";
	char mark[32] = "";

	if (row->mark != 0)
		snprintf(mark, sizeof(mark), "%s %g %s", row->at_most ? "<=" : ">=", row->mark,
				 row->unit ? row->unit : "");
	printf("%-56s", row->name);
	if (isnan(figure))
		printf("%10s", "-");
	else
		printf(format, figure);
	printf("   %-12s%s\n", mark, verdict(bench, row, figure));
	if (*bench->note)
		printf("    %s\n", bench->note);
	fflush(stdout);
	if (isnan(figure) && !bench->left_out)
		fprintf(stderr, "  %s\n", bench->why);
	return !isnan(figure) || bench->left_out;
}

/* Connect everything, and put the keys where they will be asked for. */
static bool
prepare(Bench *bench)
{
	const char *socket = getenv("REDIS_SOCKET");
	PGresult *result;

	bench->ports = getenv("REDIS_PORTS");
	for (int i = 0; i < MAX_CLIENTS; i++)
	{
		bench->redis[i] = redisConnectUnix(socket ? socket : "");
		if (!bench->redis[i] || bench->redis[i]->err || !bench->ports)
		{
			bench_fail(bench, "connection", "no Redis");
			return false;
		}
	}
	if (!bench_connect(bench) ||
		!bench_run(bench,
				   "SELECT bench_array_fill((SELECT count(*)::integer FROM probe), 100)"))
		return false;
	for (int batch = 0; batch * 1000 < bench->keys; batch++)
	{
		char sql[128];

		snprintf(sql, sizeof(sql),
				 "SELECT count(cachegrid.set(k, v)) FROM probe WHERE batch = %d", batch);
		if (!bench_run(bench, sql))
			return false;
	}
	result = PQexec(bench->conn, "SELECT k, v FROM probe");
	for (int i = 0; i < PQntuples(result); i++)
		freeReplyObject(redisCommand(bench->redis[0], "SET %s %s",
									 PQgetvalue(result, i, 0), PQgetvalue(result, i, 1)));
	PQclear(result);
	return true;
}

/* Print the rows whose names hold the words (NULL: all); false if one is missing. */
static bool
print_rows(Bench *bench, const char *words)
{
	bool complete = true;

	for (size_t i = 0; i < LENGTH(rows); i++)
		if (words == NULL || strstr(rows[i].name, words))
			complete &= print_row(bench, &rows[i], measure(bench, &rows[i]));
	return complete;
}

/* What there are pictures of. */
static bool
print_curves(Bench *bench)
{
	if (!bench_connect(bench) || !bench_scale(bench))
	{
		fprintf(stderr, "bench: %s\n", bench->why);
		return false;
	}
	return print_rows(bench, "32 sessions");
}

/* Many keys that expire at once. */
static bool
print_stampede(Bench *bench)
{
	if (bench_connect(bench) && bench_stampede(bench))
		return true;
	fprintf(stderr, "bench: %s\n", bench->why);
	return false;
}

int
main(int argc, char **argv)
{
	Bench bench = {0};

	if (argc < 5)
	{
		fprintf(stderr,
				"usage: bench ROUNDS KEYS CALLS BULK [WORDS | --curves | --stampede]\n");
		return 1;
	}
	bench.rounds = atoi(argv[1]);
	bench.keys = atoi(argv[2]);
	bench.calls = atoi(argv[3]);
	bench.bulk = atoi(argv[4]);
	if (argc > 5 && strcmp(argv[5], "--curves") == 0)
		return print_curves(&bench) ? 0 : 1;
	if (argc > 5 && strcmp(argv[5], "--stampede") == 0)
		return print_stampede(&bench) ? 0 : 1;
	if (!prepare(&bench))
	{
		fprintf(stderr, "bench: %s\n", bench.why);
		return 1;
	}
	return print_rows(&bench, argc > 5 ? argv[5] : NULL) ? 0 : 1;
}
