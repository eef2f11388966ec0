/*-------------------------------------------------------------------------
 *
 * expiry.c
 *	  The rows of the bench about what goes through the whole store: a million
 *	  entries that expire at once and are swept, or that are listed again and
 *	  again.  How long do the slowest calls of other sessions take meanwhile,
 *	  beside the same with entries that are left alone?
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define MEMORY	   192
#define OWN_KEYS   100000 /* of the sessions that are measured */
#define OTHERS	   1000000
#define SESSIONS   2 /* one gets, one sets */
#define SWEEP_TIME 7 /* seconds in which all is swept */

/* What happens to the others. */
typedef enum Fate
{
	LEFT_ALONE,
	EXPIRED,
	LISTED
} Fate;

/* What bench_stalls returns, of all sessions together. */
typedef struct Stalls
{
	double calls;
	double slow;		 /* above 1 ms */
	double slow_kept;	 /* ... though the machine left it the processor */
	double longest_kept; /* microseconds */
	double longest;
	double most_below; /* microseconds: 99.99 % of all calls take less */
	double
		in_a_million; /* ... all calls that kept their processor, but for one in so many */
} Stalls;

/* Have two sessions call the cache until some time. */
static bool
watch_calls(Bench *bench, double until, Stalls *stalls)
{
	static const char *const whats[SESSIONS] = {"get", "set"};
	bool good = true;

	memset(stalls, 0, sizeof(*stalls));
	for (int i = 0; i < SESSIONS; i++)
	{
		char sql[256];

		snprintf(sql, sizeof(sql),
				 "SELECT array_to_string(bench_stalls('%s', %d, 100, %d, %.6f), ' ')",
				 whats[i], OWN_KEYS, i, until);
		good &= PQsendQuery(bench->clients[i], sql) == 1;
	}
	for (int i = 0; i < SESSIONS; i++)
	{
		char text[256];
		Stalls one;

		if (!bench_receive(bench, bench->clients[i], text, sizeof(text)) ||
			sscanf(text, "%lf %lf %lf %lf %lf %lf %lf", &one.calls, &one.slow,
				   &one.slow_kept, &one.longest_kept, &one.longest, &one.most_below,
				   &one.in_a_million) != 7)
			return false;
		stalls->calls += one.calls;
		stalls->slow += one.slow;
		stalls->slow_kept += one.slow_kept;
		stalls->longest_kept = fmax(stalls->longest_kept, one.longest_kept);
		stalls->longest = fmax(stalls->longest, one.longest);
		stalls->most_below = fmax(stalls->most_below, one.most_below);
		stalls->in_a_million = fmax(stalls->in_a_million, one.in_a_million);
	}
	return good;
}

/* Have a third session list all entries until some time. */
static bool
list_entries(Bench *bench, double until)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
			 "DO $$ BEGIN WHILE clock_timestamp() < to_timestamp(%.6f) LOOP"
			 " PERFORM count(*) FROM cachegrid.entries(); END LOOP; END $$",
			 until);
	return PQsendQuery(bench->conn, sql) == 1;
}

/* Wait until it has done so. */
static bool
end_listing(Bench *bench)
{
	bool good = true;
	PGresult *result;

	while ((result = PQgetResult(bench->conn)) != NULL)
	{
		good &= PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return good;
}

/* One run, of a server with nothing else in it. */
static bool
run_fate(Bench *bench, Fate fate, Stalls *stalls)
{
	double began;
	double moment;
	double swept;
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT bench_fill(0, %d, 100, 0)", OWN_KEYS - 1);
	if (!bench_restart(bench, MEMORY))
		return false;
	began = bench_now();
	if (!bench_run(bench, sql))
		return false;
	/*
	 * More than the time that it takes to put them, by the clock: the machine may be busy.
	 * Those that are put later all the same expire at once.
	 */
	moment = bench_now() + 4.0 * OTHERS / OWN_KEYS * (bench_now() - began) + 1;
	snprintf(sql, sizeof(sql), "SELECT bench_fill(%d, %d, 100, %.6f)", OWN_KEYS,
			 OWN_KEYS + OTHERS - 1, fate == EXPIRED ? moment : 0.0);
	if (!bench_run(bench, sql) ||
		(fate == LISTED && !list_entries(bench, moment + SWEEP_TIME)) ||
		!watch_calls(bench, moment + SWEEP_TIME, stalls) ||
		(fate == LISTED && !end_listing(bench)))
		return false;
	swept = bench_number(
		bench, "SELECT expirations FROM cachegrid.stat_cache WHERE cache = 'now'");
	if (swept == (fate == EXPIRED ? OTHERS : 0))
		return true;
	snprintf(sql, sizeof(sql), "%.0f", swept);
	bench_fail(bench, "entries that have expired and were swept", sql);
	return false;
}

/* Both fates in turns; returns milliseconds of the slowest call but one in a million. */
static double
row_stalls(Bench *bench, Fate fate, const char *title)
{
	const Fate fates[] = {LEFT_ALONE, fate};
	const char *const titles[] = {"left alone", title};
	int rounds = bench->rounds < FULL_ROUNDS ? 1 : 3;
	double slowest[2][MAX_ROUNDS];
	double below[2][MAX_ROUNDS];
	Stalls sums[2] = {0};
	size_t used = 0;

	for (int round = 0; round < rounds; round++)
		for (int turn = 0; turn < 2; turn++)
		{
			int i = (round + turn) % 2;
			Stalls stalls;

			if (!run_fate(bench, fates[i], &stalls))
				return NAN;
			slowest[i][round] = stalls.in_a_million / 1000;
			below[i][round] = stalls.most_below;
			sums[i].calls += stalls.calls;
			sums[i].slow += stalls.slow;
			sums[i].slow_kept += stalls.slow_kept;
			sums[i].longest = fmax(sums[i].longest, stalls.longest / 1000);
			sums[i].longest_kept = fmax(sums[i].longest_kept, stalls.longest_kept / 1000);
		}
	for (int i = 0; i < 2; i++)
		used +=
			snprintf(bench->note + used, sizeof(bench->note) - used,
					 "%s%s: p99.99 %.0f µs, p99.9999 %.2f ms; of %.1f million calls %.0f"
					 " above 1 ms, %.0f of them not preempted; longest %.1f ms, %.1f",
					 i ? "\n    " : "", titles[i], bench_middle(below[i], rounds),
					 bench_middle(slowest[i], rounds), sums[i].calls / 1e6, sums[i].slow,
					 sums[i].slow_kept, sums[i].longest, sums[i].longest_kept);
	return bench_middle(slowest[1], rounds);
}

double
row_expiry(Bench *bench)
{
	return row_stalls(bench, EXPIRED, "expired and swept");
}

double
row_listing(Bench *bench)
{
	return row_stalls(bench, LISTED, "listed by entries()");
}
