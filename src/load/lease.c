/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  One computation of a value at a time, across all sessions.
 *
 * A lease is an id in a small table in shared memory: the ids hash to
 * groups, each with a few places, a spinlock and a condition variable.  Who
 * finds the id of its computation there waits until it is gone, with a
 * deadline, and then looks into the cache again.  Who finds its group full
 * computes without a lease: a lease saves work and decides nothing about
 * correctness.
 *
 * A lease is released when its computation ends, with a value or an error,
 * and at the latest when its session exits.  A session that holds one never
 * waits for another, so leases cannot deadlock among themselves; with the
 * locks of tables they can, until the deadline.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "load/lease.h"
#include "load/load.h"

#define LEASE_GROUPS	1024 /* a power of two */
#define LEASES_IN_GROUP 4
#define MAX_LEASES_HELD 16 /* by one session: nested loads */

/* In shared memory; on cache lines of its own. */
typedef struct LeaseGroup
{
	slock_t lock;				 /* guards ids and fruitless */
	uint64 ids[LEASES_IN_GROUP]; /* 0: free */
	uint64 fruitless;			 /* the last lease here that left no value */
	ConditionVariable released;	 /* synchronises itself */
} LeaseGroup;

typedef union PaddedLeaseGroup
{
	LeaseGroup group;
	char padding[PG_CACHE_LINE_SIZE];
} PaddedLeaseGroup;

/* In shared memory. */
typedef struct SharedLeases
{
	uint64 secret; /* never changes after initialisation */
	PaddedLeaseGroup groups[LEASE_GROUPS];
} SharedLeases;

/* Backend-local: a pointer to shared memory, and the leases held here. */
static SharedLeases *leases = NULL;
static uint64 held[MAX_LEASES_HELD];
static int held_count = 0;

void
cg_load_shmem_request(void)
{
	RequestAddinShmemSpace(sizeof(SharedLeases));
}

/* The caller holds AddinShmemInitLock. */
void
cg_load_shmem_init(void)
{
	bool found;

	leases = ShmemInitStruct("leases of cachegrid", sizeof(SharedLeases), &found);
	if (found)
		return;

	memset(leases, 0, sizeof(SharedLeases));
	if (!pg_strong_random(&leases->secret, sizeof(leases->secret)))
		ereport(FATAL, errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate a random number"));
	for (int i = 0; i < LEASE_GROUPS; i++)
	{
		SpinLockInit(&leases->groups[i].group.lock);
		ConditionVariableInit(&leases->groups[i].group.released);
	}
}

uint64
cg_load_secret(void)
{
	if (unlikely(leases == NULL))
		cg_cache_require_loaded();
	return leases->secret;
}

static LeaseGroup *
group_of(uint64 id)
{
	return &leases->groups[id & (LEASE_GROUPS - 1)].group;
}

/* The caller holds the group's lock. */
static int
find_locked(const LeaseGroup *group, uint64 id)
{
	for (int i = 0; i < LEASES_IN_GROUP; i++)
		if (group->ids[i] == id)
			return i;
	return -1;
}

/* A session that ends in the middle of a load must not leave others waiting. */
static void
release_all(int code, Datum argument)
{
	while (held_count > 0)
		cg_load_lease_release(held[held_count - 1], false);
}

static void
remember_held(uint64 id)
{
	static bool exit_registered = false;

	held[held_count++] = id;
	if (!exit_registered)
		before_shmem_exit(release_all, (Datum) 0);
	exit_registered = true;
}

LeaseOutcome
cg_load_lease_take(uint64 id)
{
	LeaseGroup *group = group_of(id);
	LeaseOutcome outcome = LEASE_NONE;
	int place;

	if (held_count == MAX_LEASES_HELD)
		return LEASE_NONE;

	SpinLockAcquire(&group->lock);
	if (find_locked(group, id) >= 0)
		outcome = LEASE_BUSY;
	else if ((place = find_locked(group, 0)) >= 0)
	{
		group->ids[place] = id;
		if (group->fruitless == id)
			group->fruitless = 0;
		outcome = LEASE_TAKEN;
	}
	SpinLockRelease(&group->lock);

	if (outcome == LEASE_TAKEN)
		remember_held(id);
	return outcome;
}

bool
cg_load_lease_held(void)
{
	return held_count > 0;
}

void
cg_load_lease_release(uint64 id, bool fruitless)
{
	LeaseGroup *group = group_of(id);
	int place;

	SpinLockAcquire(&group->lock);
	place = find_locked(group, id);
	if (place >= 0)
		group->ids[place] = 0;
	if (fruitless)
		group->fruitless = id;
	SpinLockRelease(&group->lock);
	ConditionVariableBroadcast(&group->released);

	for (int i = 0; i < held_count; i++)
		if (held[i] == id)
			held[i--] = held[--held_count];
}

static bool
is_busy(LeaseGroup *group, uint64 id, bool *fruitless)
{
	bool busy;

	SpinLockAcquire(&group->lock);
	busy = find_locked(group, id) >= 0;
	*fruitless = group->fruitless == id;
	SpinLockRelease(&group->lock);
	return busy;
}

LeaseWait
cg_load_lease_wait(uint64 id, TimestampTz deadline)
{
	LeaseGroup *group = group_of(id);
	LeaseWait outcome = LEASE_ENDED;
	bool fruitless = false;
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("CachegridLease");

	ConditionVariablePrepareToSleep(&group->released);
	while (is_busy(group, id, &fruitless))
	{
		long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (rest <= 0)
		{
			outcome = LEASE_TIMEOUT;
			break;
		}
		(void) ConditionVariableTimedSleep(&group->released, rest, wait_event);
	}
	ConditionVariableCancelSleep();
	return outcome == LEASE_ENDED && fruitless ? LEASE_FRUITLESS : outcome;
}
