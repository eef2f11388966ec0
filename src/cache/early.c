/*-------------------------------------------------------------------------
 *
 * early.c
 *	  When a value is computed anew before it expires (XFetch).
 *
 * If all who read a key wait until it has expired they find it so at the same time.
 * So each hit throws dice: the closer the end is, measured in times that computing the
 * value took, the more probable it is that this session computes it now.  With times to
 * live in units of load time and beta, the number of units before the end at which the
 * first of many readers does so is distributed as is best (Vattani, Chierichetti,
 * Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015): a reader at
 * the time t computes if t - load * beta * ln(u) is past the end, u even in (0, 1].
 *
 * The load time is kept in one byte, in eighths of an octave of microseconds: to
 * within a twentieth, up to an hour.  What is that wrong is beta by as much.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"

#include "cache/cache_internal.h"

#define STEPS_IN_OCTAVE 8

/* The byte that stands for so many microseconds. */
uint8
cg_early_load_time(int64 microseconds)
{
	if (microseconds <= 1)
		return 0;
	return (uint8) Min(rint(STEPS_IN_OCTAVE * log2((double) microseconds)), PG_UINT8_MAX);
}

/* Is a value that has so many microseconds left, and took that long, to be computed now? */
bool
cg_early_is_due(double beta, uint8 load_time, int64 left)
{
	double load = exp2((double) load_time / STEPS_IN_OCTAVE);
	double dice = 1.0 - pg_prng_double(&pg_global_prng_state);

	return load * beta * -log(dice) >= (double) left;
}
