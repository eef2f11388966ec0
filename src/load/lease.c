/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  One computation of a value at a time, across all sessions.
 *
 * What is known of a computation is a place in a small table in shared memory:
 * the ids hash to groups, each with a few places, a spinlock and a condition
 * variable.  Who finds the id of its computation held there waits until it is
 * not, with a deadline, and then looks into the cache again.  Who finds all
 * places of its group held computes without a lease: a lease saves work and
 * decides nothing about correctness.
 *
 * A place outlives its holder for as long as the id is not to be computed again,
 * or until another id needs it.
 *
 * A lease is released when its computation ends, with a value or an error,
 * and at the latest when its session exits.
 *
 * A session may wait for one lease while it holds others, for a query may
 * fetch.  Each tells what it waits for before it asks who holds that, what he
 * waits for, and so on: so of those who would wait in a circle one at least sees
 * it, and computes instead.  With the locks of tables leases can be in a circle, too;
 * that lasts until the deadline.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache.h"
#include "load/failures.h"
#include "load/lease.h"
#include "load/load.h"
#include "load/loaders.h"
#include "load/progress.h"
#include "load/requests.h"

#define LEASE_GROUPS	 1024 /* a power of two */
#define LEASES_IN_GROUP	 8
#define MAX_LEASES_HELD	 16	   /* by one session: nested loads */
#define BACKOFF_DOUBLES	 6	   /* so often, and no more */
#define CIRCLE_STEPS	 64	   /* of a longer chain nobody waits for the end */
#define LONGEST_SLEEP_MS 60000 /* a condition variable knows no long ones */

#define NOBODY (-1)

/* In shared memory, guarded by the lock of its group. */
typedef struct Lease
{
	uint64 id;		  /* 0: the place was never used */
	int64 not_before; /* until then it is not given to anybody, 0: at any time */
	int holder;		  /* number of the process that computes, or NOBODY */
	bool fruitless;	  /* the last computation left no value */
	uint8 failures;	  /* in a row, that are followed by a pause */
} Lease;

/* In shared memory; on cache lines of its own. */
typedef struct LeaseGroup
{
	slock_t lock; /* guards the leases */
	Lease leases[LEASES_IN_GROUP];
	ConditionVariable released; /* synchronises itself */
} LeaseGroup;

typedef union PaddedLeaseGroup
{
	LeaseGroup group;
	char padding[2 * PG_CACHE_LINE_SIZE];
} PaddedLeaseGroup;

StaticAssertDecl(sizeof(PaddedLeaseGroup) == 2 * PG_CACHE_LINE_SIZE,
				 "a group of leases fills cache lines");

/* In shared memory. */
typedef struct SharedLeases
{
	uint64 secret; /* never changes after initialisation */
	PaddedLeaseGroup groups[LEASE_GROUPS];
	pg_atomic_uint64 waits_for[FLEXIBLE_ARRAY_MEMBER]; /* id by process, 0: nothing */
} SharedLeases;

/* Backend-local: a pointer to shared memory, and the leases held here. */
static SharedLeases *leases = NULL;
static uint64 held[MAX_LEASES_HELD];
static int held_count = 0;

/* Every process that can compute. */
static int
process_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static Size
leases_size(void)
{
	return add_size(offsetof(SharedLeases, waits_for),
					mul_size(process_count(), sizeof(pg_atomic_uint64)));
}

void
cg_load_shmem_request(void)
{
	Size size = add_size(leases_size(), cg_load_failures_size());

	size = add_size(size, cg_load_progress_size());
	size = add_size(size, cg_load_requests_size());
	size = add_size(size, cg_loaders_size());
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche("cachegrid_load", 2);
}

static void
init_group(LeaseGroup *group)
{
	SpinLockInit(&group->lock);
	ConditionVariableInit(&group->released);
	for (int i = 0; i < LEASES_IN_GROUP; i++)
		group->leases[i].holder = NOBODY;
}

/* The caller holds AddinShmemInitLock. */
void
cg_load_shmem_init(void)
{
	bool found;

	cg_load_failures_init();
	cg_load_progress_init();
	cg_load_requests_init(&GetNamedLWLockTranche("cachegrid_load")[0].lock);
	cg_loaders_init(&GetNamedLWLockTranche("cachegrid_load")[1].lock);
	leases = ShmemInitStruct("leases of cachegrid", leases_size(), &found);
	if (found)
		return;

	memset(leases, 0, leases_size());
	if (!pg_strong_random(&leases->secret, sizeof(leases->secret)))
		ereport(FATAL, errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate a random number"));
	for (int i = 0; i < LEASE_GROUPS; i++)
		init_group(&leases->groups[i].group);
	for (int i = 0; i < process_count(); i++)
		pg_atomic_init_u64(&leases->waits_for[i], 0);
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

/* The caller holds the group's lock.  NULL: there is no such place. */
static Lease *
find_locked(LeaseGroup *group, uint64 id)
{
	for (int i = 0; i < LEASES_IN_GROUP; i++)
		if (group->leases[i].id == id)
			return &group->leases[i];
	return NULL;
}

/*
 * A place for a new id: one that was never used, or that of which the least would be
 * forgotten.  The caller holds the group's lock.  NULL: all are held.
 */
static Lease *
make_room_locked(LeaseGroup *group)
{
	Lease *best = NULL;

	for (int i = 0; i < LEASES_IN_GROUP; i++)
	{
		Lease *lease = &group->leases[i];

		if (lease->id == 0)
			return lease;
		if (lease->holder == NOBODY &&
			(best == NULL || lease->not_before < best->not_before))
			best = lease;
	}
	return best;
}

/* A session that ends in the middle of a load must not leave others waiting. */
static void
release_all(int code, Datum argument)
{
	pg_atomic_write_u64(&leases->waits_for[cg_my_proc_number()], 0);
	while (held_count > 0)
		cg_load_lease_release(held[held_count - 1], LEASE_END_QUIET, 0);
}

static void
register_exit(void)
{
	static bool exit_registered = false;

	if (!exit_registered)
		before_shmem_exit(release_all, (Datum) 0);
	exit_registered = true;
}

LeaseOutcome
cg_load_lease_take(uint64 id, int64 interval)
{
	LeaseGroup *group = group_of(id);
	LeaseOutcome outcome = LEASE_NONE;
	int64 now = cg_clock_ms();
	Lease *lease;

	if (held_count == MAX_LEASES_HELD)
		return LEASE_NONE;
	register_exit();

	SpinLockAcquire(&group->lock);
	lease = find_locked(group, id);
	if (lease && (lease->holder != NOBODY || lease->not_before > now))
		outcome = lease->holder == NOBODY && lease->failures > 0 ? LEASE_OFF : LEASE_BUSY;
	else if (lease || (lease = make_room_locked(group)) != NULL)
	{
		if (lease->id != id)
			lease->failures = 0;
		lease->id = id;
		lease->holder = cg_my_proc_number();
		lease->not_before = interval > 0 ? now + interval : 0;
		lease->fruitless = false;
		outcome = LEASE_TAKEN;
	}
	SpinLockRelease(&group->lock);

	if (outcome == LEASE_TAKEN)
		held[held_count++] = id;
	return outcome;
}

/* The caller holds the group's lock. */
static void
note_end_locked(Lease *lease, LeaseEnd end, int64 backoff, int64 now)
{
	lease->holder = NOBODY;
	lease->fruitless = end == LEASE_END_FRUITLESS;
	if (end != LEASE_END_FAILED)
		lease->failures = 0;
	else if (backoff > 0)
	{
		lease->not_before = Max(lease->not_before,
								now + (backoff << Min(lease->failures, BACKOFF_DOUBLES)));
		lease->failures = Min(lease->failures + 1, PG_UINT8_MAX);
	}
}

void
cg_load_lease_release(uint64 id, LeaseEnd end, int64 backoff)
{
	LeaseGroup *group = group_of(id);
	int64 now = cg_clock_ms();
	Lease *lease;

	SpinLockAcquire(&group->lock);
	lease = find_locked(group, id);
	if (lease)
		note_end_locked(lease, end, backoff, now);
	SpinLockRelease(&group->lock);
	ConditionVariableBroadcast(&group->released);

	for (int i = 0; i < held_count; i++)
		if (held[i] == id)
			held[i--] = held[--held_count];
}

/* The lease as it is now; all zeros, and held by nobody, if nothing is known of it. */
static Lease
read_lease(uint64 id)
{
	LeaseGroup *group = group_of(id);
	Lease copy = {.holder = NOBODY};
	Lease *lease;

	SpinLockAcquire(&group->lock);
	lease = find_locked(group, id);
	if (lease)
		copy = *lease;
	SpinLockRelease(&group->lock);
	return copy;
}

/* Does who holds the lease wait, over however many others, for this session? */
static bool
closes_circle(uint64 id)
{
	for (int i = 0; i < CIRCLE_STEPS; i++)
	{
		int holder = read_lease(id).holder;

		if (holder == NOBODY)
			return false;
		if (holder == cg_my_proc_number())
			return true;
		id = pg_atomic_read_u64(&leases->waits_for[holder]);
		if (id == 0)
			return false;
	}
	return true;
}

/* Sleep until the lease can be had, or the deadline. */
static LeaseWait
sleep_until_free(LeaseGroup *group, uint64 id, int64 deadline)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("CachegridLease");

	ConditionVariablePrepareToSleep(&group->released);
	for (;;)
	{
		Lease lease = read_lease(id);
		int64 now = cg_clock_ms();
		int64 until = deadline;

		if (lease.holder == NOBODY && lease.fruitless)
			return LEASE_FRUITLESS;
		if (lease.holder == NOBODY && (lease.not_before <= now || lease.failures > 0))
			return LEASE_ENDED;
		if (now >= deadline)
			return LEASE_TIMEOUT;
		if (lease.holder == NOBODY)
			until = Min(until, lease.not_before);
		(void) ConditionVariableTimedSleep(
			&group->released, (long) Min(until - now, LONGEST_SLEEP_MS), wait_event);
	}
}

LeaseWait
cg_load_lease_wait(uint64 id, int64 deadline)
{
	pg_atomic_uint64 *mine = &leases->waits_for[cg_my_proc_number()];
	volatile LeaseWait outcome = LEASE_CIRCLE;

	register_exit();
	pg_atomic_write_u64(mine, id);
	PG_TRY();
	{
		/* What we wait for must be known before we ask what others wait for. */
		pg_memory_barrier();
		if (held_count == 0 || !closes_circle(id))
			outcome = sleep_until_free(group_of(id), id, deadline);
	}
	PG_FINALLY();
	{
		ConditionVariableCancelSleep();
		pg_atomic_write_u64(mine, 0);
	}
	PG_END_TRY();
	return outcome;
}
