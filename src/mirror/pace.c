/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  How soon the worker may look into the outbox again.
 *
 * A round costs the worker, Redis and the kernel as much as many changes do.  While
 * few changes come, each is taken at once.  While many come, rounds close upon each
 * other would be small all the same, and take the processors from those who write: so
 * the worker lets more of them gather first.  It does not rest on its latch then, so
 * that who commits meanwhile need not wake it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "mirror/mirror_internal.h"

/* How often the changes are counted, in ticks. */
#define WINDOW (20 * 1000 * CG_TICKS_PER_MICROSECOND)

/* Many changes a second; so few that they are not many any more. */
#define MANY 8000
#define FEW	 6000

/* A round that has so many is worth its cost. */
#define ENOUGH 64

#define NAP_US 3000

/* The worker's own. */
static uint64 window_began = 0; /* ticks */
static int64 changes = 0;		/* since then */
static bool many = false;		/* in the window before */

/*
 * A round has taken so many changes from the outbox: for so many microseconds nobody
 * need look for more.
 */
long
cg_mirror_pace(int taken)
{
	uint64 now = cg_clock_ticks();

	changes += taken;
	if (now - window_began >= WINDOW)
	{
		many = changes >=
			   (int64) ((now - window_began) * (many ? FEW : MANY) / CG_TICKS_PER_SECOND);
		window_began = now;
		changes = 0;
	}
	return many && taken > 0 && taken < ENOUGH ? NAP_US : 0;
}
