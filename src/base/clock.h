/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The clock of this server: begins when the machine does, never steps, and
 *	  is the same in every process.
 *
 * A tick is a quarter of a microsecond: so short that nobody puts two entries
 * into one partition of the store, or stamps one slot twice, within one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_CLOCK_H
#define CACHEGRID_CLOCK_H

#include <time.h>

#define CG_TICKS_PER_MICROSECOND 4
#define CG_TICKS_PER_SECOND		 (UINT64CONST(1000000) * CG_TICKS_PER_MICROSECOND)

/* So many ticks had passed when the machine began: there is always a past. */
#define CG_TICKS_BEFORE (UINT64CONST(1) << 40)

static inline uint64
cg_clock_ticks(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * CG_TICKS_PER_SECOND +
		   (uint64) now.tv_nsec / (1000 / CG_TICKS_PER_MICROSECOND) + CG_TICKS_BEFORE;
}

/* The same in milliseconds: for whoever waits.  Never 0. */
static inline int64
cg_clock_ms(void)
{
	return (int64) (cg_clock_ticks() / (CG_TICKS_PER_SECOND / 1000));
}

#endif /* CACHEGRID_CLOCK_H */
