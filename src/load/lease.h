/*-------------------------------------------------------------------------
 *
 * lease.h
 *	  The right to compute a value while the others wait.
 *
 * Times are milliseconds of the clock that never steps, cg_clock_ms().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_LEASE_H
#define CACHEGRID_LEASE_H

#include "c.h"

typedef enum LeaseOutcome
{
	LEASE_TAKEN, /* compute, then release it */
	LEASE_BUSY,	 /* another session computes, or has lately: wait for it */
	LEASE_NONE,	 /* compute, without a lease */
	LEASE_OFF,	 /* it has failed, and is not to be tried again yet */
} LeaseOutcome;

/* How a computation has ended. */
typedef enum LeaseEnd
{
	LEASE_END_QUIET,	 /* with a value in the cache, or cancelled */
	LEASE_END_FRUITLESS, /* with a value that could not be published: who waited need
						  * not wait for the next in turn */
	LEASE_END_FAILED
} LeaseEnd;

typedef enum LeaseWait
{
	LEASE_ENDED,	 /* look again */
	LEASE_FRUITLESS, /* it ended without a value in the cache: compute */
	LEASE_TIMEOUT,	 /* the deadline has come */
	LEASE_CIRCLE,	 /* who computes it waits for us: compute */
} LeaseWait;

/* Functions in lease.c */

/*
 * Take the lease with this id, a hash of key and identity; for interval
 * milliseconds from now on, 0: none, nobody will get it again.  Never raises an error,
 * never waits.
 */
extern LeaseOutcome cg_load_lease_take(uint64 id, int64 interval);
/* Make room to hold so many more; may raise out of memory. */
extern void cg_load_lease_reserve(int count);
/*
 * The same for a program that computes outside of this server: the lease outlives the
 * call.  It lapses after duration milliseconds, or when the session exits, if it is not
 * returned before, with what is stored in *grant.
 */
extern LeaseOutcome cg_load_lease_lend(uint64 id, int64 interval, int64 duration,
									   uint64 *grant);
/*
 * Return a lease that was lent, from whatever session, and wake who waits.  False: it has
 * lapsed, was returned before, or there never was such a one.
 */
extern bool cg_load_lease_return(uint64 id, uint64 grant, LeaseEnd end);
/*
 * Sleep until nobody holds the lease and it may be taken, or until the deadline;
 * interruptible.
 */
extern LeaseWait cg_load_lease_wait(uint64 id, int64 deadline);
/*
 * Release it and wake who waits.  backoff: after so many milliseconds a failed
 * computation may be tried again, after twice as many if it fails then, and so on, up to
 * 64 times as many; 0: at once.
 */
extern void cg_load_lease_release(uint64 id, LeaseEnd end, int64 backoff);
/* A random number of this server's run; raises an error if not preloaded. */
extern uint64 cg_load_secret(void);

/* Shared memory of the leases; init: the caller holds AddinShmemInitLock. */
extern Size cg_load_leases_size(void);
extern void cg_load_leases_init(void);

#endif /* CACHEGRID_LEASE_H */
