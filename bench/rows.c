/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  The rows of the bench that are more than two SQL texts, but for those
 *	  of the mirror.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define SESSIONS 100

/* So many evictions, and no part of the memory has room left. */
#define ENOUGH_EVICTIONS 100000

/* Fill the memory until it must be full everywhere; the share that is keys and values. */
double
row_memory(Bench *bench)
{
	double share = NAN;
	char sql[256];

	for (int batch = 0; batch < 1000; batch++)
	{
		double evictions;

		snprintf(sql, sizeof(sql),
				 "SELECT count(cachegrid.set('fill:' || lpad(i::text, 7, '0'),"
				 " repeat('v', 100))) FROM generate_series(%d, %d) i",
				 batch * 8000, batch * 8000 + 7999);
		if (!bench_run(bench, sql))
			return NAN;
		evictions =
			bench_number(bench, "SELECT sum(evictions) FROM cachegrid.stat_cache");
		if (isnan(evictions) || evictions > ENOUGH_EVICTIONS)
			break;
	}
	share = bench_number(bench, "SELECT 112.0 * sum(entries) /"
								" pg_size_bytes(current_setting('cachegrid.memory'))"
								" FROM cachegrid.stat_cache");
	return bench_run(bench, "SELECT cachegrid.clear()") ? share : NAN;
}

/* Microseconds of mget for each key. */
double
row_mget_key(Bench *bench)
{
	return bench_median(bench, side_query,
						"SELECT sum(cardinality(cachegrid.mget(ks))) FROM keyrings") /
		   bench->keys * 1e6;
}

/* How often the loader runs when a hundred sessions miss one key at once. */
double
row_herd(Bench *bench)
{
	PGconn *conns[SESSIONS];
	const char *loads = "SELECT coalesce(sum(loads), 0) FROM cachegrid.stat_cache";
	double before = bench_number(bench, loads);
	bool good = true;

	for (int i = 0; i < SESSIONS; i++)
	{
		conns[i] = PQconnectdb("");
		good = good && PQstatus(conns[i]) == CONNECTION_OK;
	}
	for (int i = 0; good && i < SESSIONS; i++)
		good = PQsendQuery(conns[i],
						   "SELECT cachegrid.fetch('herd:1', 'SELECT to_jsonb(count(*))"
						   " FROM one_bare, pg_sleep(1)', ttl => '1 minute')");
	for (int i = 0; i < SESSIONS; i++)
	{
		PGresult *result;

		while ((result = PQgetResult(conns[i])) != NULL)
		{
			good = good && PQresultStatus(result) == PGRES_TUPLES_OK;
			if (!good && !*bench->why)
				bench_fail(bench, "fetch", PQerrorMessage(conns[i]));
			PQclear(result);
		}
		PQfinish(conns[i]);
	}
	return good ? bench_number(bench, loads) - before
				: bench_fail(bench, "herd", bench->why);
}

double
compare_updates(Bench *bench, int clients, const char *table)
{
	char statement[128];
	Talk bare = {.clients = clients,
				 .statement = "UPDATE one_bare SET n = n + 1 WHERE id = $1",
				 .by_id = true};
	Talk ours = bare;

	snprintf(statement, sizeof(statement), "UPDATE %s SET n = n + 1 WHERE id = $1",
			 table);
	ours.statement = statement;
	return bench_compare(bench, side_talk, &ours, side_talk, &bare);
}

double
row_update_watched(Bench *bench)
{
	return compare_updates(bench, 2, "one_watched");
}

double
row_update_watched_alone(Bench *bench)
{
	return compare_updates(bench, 1, "one_watched");
}

/* A side: update every row of a table in one statement, on a clean table. */
static double
side_update_all(Bench *bench, const void *what)
{
	char sql[128];
	double took;

	snprintf(sql, sizeof(sql), "UPDATE %s SET n = n + 1", (const char *) what);
	took = side_query(bench, sql);
	snprintf(sql, sizeof(sql), "VACUUM %s", (const char *) what);
	return bench_run(bench, sql) ? took : NAN;
}

double
compare_bulk(Bench *bench, const char *table)
{
	return 1 / bench_compare(bench, side_update_all, table, side_update_all, "all_bare");
}

double
row_bulk_watched(Bench *bench)
{
	return compare_bulk(bench, "all_watched");
}
