/*-------------------------------------------------------------------------
 *
 * expiry.c
 *	  The row of the bench about a million entries that expire at once: how
 *	  long the longest call of other sessions takes until they are swept,
 *	  beside the same with entries that stay.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define MEMORY	   192
#define OWN_KEYS   100000 /* of the sessions that are measured */
#define EXPIRING   1000000
#define SESSIONS   2 /* one gets, one sets */
#define SWEEP_TIME 7 /* seconds in which all is swept */
#define SIDES	   2 /* nothing expires, or a million entries do */

/* What bench_stalls returns, of all sessions together. */
typedef struct Stalls
{
	double calls;
	double slow;		 /* above 1 ms */
	double slow_kept;	 /* ... though the machine left it the processor */
	double longest_kept; /* microseconds */
	double longest;
	double most_below; /* 99.99 % of all calls take less */
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
			sscanf(text, "%lf %lf %lf %lf %lf %lf", &one.calls, &one.slow, &one.slow_kept,
				   &one.longest_kept, &one.longest, &one.most_below) != 6)
			return false;
		stalls->calls += one.calls;
		stalls->slow += one.slow;
		stalls->slow_kept += one.slow_kept;
		stalls->longest_kept = fmax(stalls->longest_kept, one.longest_kept);
		stalls->longest = fmax(stalls->longest, one.longest);
		stalls->most_below = fmax(stalls->most_below, one.most_below);
	}
	return good;
}

/* One run, of a server with nothing else in it. */
static bool
run_side(Bench *bench, bool expire, Stalls *stalls)
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
	moment = bench_now() + 4.0 * EXPIRING / OWN_KEYS * (bench_now() - began) + 1;
	snprintf(sql, sizeof(sql), "SELECT bench_fill(%d, %d, 100, %.6f)", OWN_KEYS,
			 OWN_KEYS + EXPIRING - 1, expire ? moment : 0.0);
	if (!bench_run(bench, sql) || !watch_calls(bench, moment + SWEEP_TIME, stalls))
		return false;
	swept = bench_number(
		bench, "SELECT expirations FROM cachegrid.stat_cache WHERE cache = 'now'");
	if (swept == (expire ? EXPIRING : 0))
		return true;
	snprintf(sql, sizeof(sql), "%.0f", swept);
	bench_fail(bench, "entries that have expired and were swept", sql);
	return false;
}

double
row_expiry(Bench *bench)
{
	static const char *const titles[SIDES] = {"without", "with"};
	int rounds = bench->rounds < FULL_ROUNDS ? 1 : 3;
	double longest[SIDES][MAX_ROUNDS];
	double below[SIDES][MAX_ROUNDS];
	Stalls sums[SIDES] = {0};
	size_t used = 0;

	for (int round = 0; round < rounds; round++)
		for (int turn = 0; turn < SIDES; turn++)
		{
			int side = (round + turn) % SIDES;
			Stalls stalls;

			if (!run_side(bench, side == 1, &stalls))
				return NAN;
			longest[side][round] = stalls.longest_kept / 1000;
			below[side][round] = stalls.most_below;
			sums[side].calls += stalls.calls;
			sums[side].slow += stalls.slow;
			sums[side].slow_kept += stalls.slow_kept;
			sums[side].longest = fmax(sums[side].longest, stalls.longest / 1000);
		}
	for (int side = 0; side < SIDES; side++)
		used += snprintf(bench->note + used, sizeof(bench->note) - used,
						 "%s%s: p99.99 %.0f µs; of %.1f million calls %.0f above 1 ms, "
						 "%.0f of them not"
						 " preempted; longest %.1f ms, %.1f",
						 side ? "\n    " : "", titles[side],
						 bench_middle(below[side], rounds), sums[side].calls / 1e6,
						 sums[side].slow, sums[side].slow_kept, sums[side].longest,
						 bench_middle(longest[side], rounds));
	return bench_middle(longest[1], rounds) - bench_middle(longest[0], rounds);
}
