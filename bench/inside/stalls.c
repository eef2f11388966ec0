/*-------------------------------------------------------------------------
 *
 * stalls.c
 *	  Times every single call, to find the slow ones.
 *
 *	  A call may be slow because the machine gave its processor to somebody
 *	  else meanwhile.  The kernel counts that for the process: those calls are
 *	  told apart.  One that waits for a lock gives the processor away itself,
 *	  and is not among them.
 *
 *-------------------------------------------------------------------------
 */
#include "inside.h"

#include <sys/resource.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define STALL_NS 1000000

/* A histogram in steps of a sixteenth of each power of two. */
#define STEPS 16
#define BINS  (64 * STEPS)

PG_FUNCTION_INFO_V1(bench_stalls);

static int
bin_of(int64 ns)
{
	int power = 0;

	while (ns >> power >= 2 * STEPS)
		power++;
	return power * STEPS + (int) (ns >> power);
}

/* The upper end of a bin. */
static double
bin_end(int bin)
{
	int power = Max(0, bin / STEPS - 1);

	return (double) ((int64) (bin - power * STEPS + 1) << power);
}

static double
percentile(const int64 *bins, int64 calls, double share)
{
	int64 seen = 0;
	int bin = 0;

	while (bin < BINS - 1 && (seen += bins[bin]) < calls * share)
		bin++;
	return bin_end(bin);
}

static long
times_preempted(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nivcsw;
}

/*
 * bench_stalls(what text, keys integer, value_bytes integer, seed integer, until_time
 * double precision) -> double precision[]: the number of calls; those above 1 ms; of
 * these those that kept their processor; microseconds of the longest that kept it,
 * of the longest, of the call that 99.99 % are faster than, and of the one that all but
 * one in a million are faster than, not counting those that lost their processor
 */
Datum
bench_stalls(PG_FUNCTION_ARGS)
{
	bool is_set = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), "set") == 0;
	int keys = PG_GETARG_INT32(1);
	Driver *driver = make_driver(PG_GETARG_INT32(2), PG_GETARG_INT32(3));
	int64 until = (int64) (PG_GETARG_FLOAT8(4) * 1e9);
	int64 *bins = palloc0(sizeof(int64) * BINS);
	int64 *bins_kept = palloc0(sizeof(int64) * BINS);
	int64 calls = 0, kept = 0, slow = 0, slow_kept = 0, longest = 0, longest_kept = 0;
	long preempted = times_preempted();
	Datum figures[7];

	for (int64 began = now_ns(); began < until; began = now_ns())
	{
		uint32 number = draw(&driver->random, keys);
		int64 took;
		long before = preempted;

		if (is_set)
			drive_set(driver, number, NULL);
		else
			(void) drive_get(driver, number);
		took = now_ns() - began;
		preempted = times_preempted();
		bins[bin_of(took)]++;
		calls++;
		slow += took > STALL_NS;
		longest = Max(longest, took);
		if (preempted == before)
		{
			bins_kept[bin_of(took)]++;
			kept++;
			slow_kept += took > STALL_NS;
			longest_kept = Max(longest_kept, took);
		}
		CHECK_FOR_INTERRUPTS();
	}
	figures[0] = Float8GetDatum((double) calls);
	figures[1] = Float8GetDatum((double) slow);
	figures[2] = Float8GetDatum((double) slow_kept);
	figures[3] = Float8GetDatum(longest_kept / 1e3);
	figures[4] = Float8GetDatum(longest / 1e3);
	figures[5] = Float8GetDatum(percentile(bins, calls, 0.9999) / 1e3);
	figures[6] = Float8GetDatum(percentile(bins_kept, kept, 0.999999) / 1e3);
	PG_RETURN_ARRAYTYPE_P(construct_array(figures, lengthof(figures), FLOAT8OID,
										  sizeof(float8), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}
