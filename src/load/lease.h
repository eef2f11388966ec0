/*-------------------------------------------------------------------------
 *
 * lease.h
 *	  The right to compute a value while the others wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_LEASE_H
#define CACHEGRID_LEASE_H

#include "datatype/timestamp.h"

typedef enum LeaseOutcome
{
	LEASE_TAKEN, /* compute, then release it */
	LEASE_BUSY,	 /* another session computes: wait for it */
	LEASE_NONE,	 /* compute, without a lease */
} LeaseOutcome;

typedef enum LeaseWait
{
	LEASE_ENDED,	 /* look again */
	LEASE_FRUITLESS, /* it ended without a value in the cache: compute */
	LEASE_TIMEOUT,	 /* it still runs: compute */
} LeaseWait;

/* Functions in lease.c */

/*
 * Take the lease with this id, a hash of key and identity.  Never raises an
 * error, never waits.
 */
extern LeaseOutcome cg_load_lease_take(uint64 id);
/* Does this session hold any lease?  Then it must not wait for another. */
extern bool cg_load_lease_held(void);
/* Sleep until the holder releases the lease or the deadline; interruptible. */
extern LeaseWait cg_load_lease_wait(uint64 id, TimestampTz deadline);
/*
 * Release it and wake who waits.  Fruitless: the value was computed but could
 * not be published, so who waited need not wait for the next in turn.
 */
extern void cg_load_lease_release(uint64 id, bool fruitless);
/* A random number of this server's run; raises an error if not preloaded. */
extern uint64 cg_load_secret(void);

#endif /* CACHEGRID_LEASE_H */
