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
 * A lease may be lent to a program that computes outside of this server, and so outlive
 * the call that it was taken in.  It lapses after a time, or when the session exits; and it
 * is returned by its grant, a number that no other lease of its group ever had: by any
 * session, for the program may have several, but never when it has lapsed and is somebody
 * else's.  To the session that it was lent to it is lent again: one connection may serve
 * several programs, and who waits on it keeps the others from returning what they have.
 *
 * A session may wait for one lease while it holds others, for a query may
 * fetch.  Each tells what it waits for before it asks who holds that, what he
 * waits for, and so on: so of those who would wait in a circle one at least sees
 * it, and computes instead.  A circle with the lock of a table lasts until the deadline.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache.h"
#include "load/lease.h"
#include "load/load.h"

#define LEASE_GROUPS	 1024 /* a power of two */
#define LEASES_IN_GROUP	 8
#define LEASES_HELD		 16	   /* by one session without asking for more: nested loads */
#define LEASES_LENT		 16	   /* to one session, besides */
#define BACKOFF_DOUBLES	 6	   /* so often, and no more */
#define CIRCLE_STEPS	 64	   /* of a longer chain nobody waits for the end */
#define LONGEST_SLEEP_MS 60000 /* a condition variable knows no long ones */

#define NOBODY (-1)

/* In shared memory, guarded by the lock of its group. */
typedef struct Lease
{
	uint64 id;		  /* 0: the place was never used */
	int64 not_before; /* until then it is not given to anybody, 0: at any time */
	int64 lapses_at;  /* it is lent till then; 0: held as long as its holder computes */
	uint64 grant;	  /* tells this holder's from others' */
	int holder;		  /* number of the process that computes, or NOBODY */
	bool fruitless;	  /* the last computation left no value */
	uint8 failures;	  /* in a row, that are followed by a pause */
} Lease;

/* In shared memory; on cache lines of its own. */
typedef struct LeaseGroup
{
	slock_t lock;  /* guards grants and leases */
	uint64 grants; /* how many leases were taken */
	Lease leases[LEASES_IN_GROUP];
	ConditionVariable released; /* synchronises itself */
} LeaseGroup;

typedef union PaddedLeaseGroup
{
	LeaseGroup group;
	char padding[3 * PG_CACHE_LINE_SIZE];
} PaddedLeaseGroup;

StaticAssertDecl(sizeof(PaddedLeaseGroup) == 3 * PG_CACHE_LINE_SIZE,
				 "a group of leases fills cache lines");

/* In shared memory. */
typedef struct SharedLeases
{
	uint64 secret; /* never changes after initialisation */
	PaddedLeaseGroup groups[LEASE_GROUPS];
	pg_atomic_uint64 waits_for[FLEXIBLE_ARRAY_MEMBER]; /* id by process, 0: nothing */
} SharedLeases;

/* A lease of this session.  Backend-local. */
typedef struct HeldLease
{
	uint64 id;
	uint64 grant;
	int64 lapses_at; /* 0: it is not lent */
} HeldLease;

/* Backend-local: a pointer to shared memory, and the leases held here. */
static SharedLeases *leases = NULL;
static HeldLease first_held[LEASES_HELD + LEASES_LENT];
static HeldLease *held = first_held;
static int held_count = 0;
static int held_size = lengthof(first_held);

/* Every process that can compute. */
static int
process_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

Size
cg_load_leases_size(void)
{
	return add_size(offsetof(SharedLeases, waits_for),
					mul_size(process_count(), sizeof(pg_atomic_uint64)));
}

static void
init_group(LeaseGroup *group)
{
	SpinLockInit(&group->lock);
	ConditionVariableInit(&group->released);
	for (int i = 0; i < LEASES_IN_GROUP; i++)
		group->leases[i].holder = NOBODY;
}

void
cg_load_leases_init(void)
{
	bool found;

	leases = ShmemInitStruct("leases of cachegrid", cg_load_leases_size(), &found);
	if (found)
		return;

	memset(leases, 0, cg_load_leases_size());
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

/* The caller holds the group's lock, or has a copy of the lease. */
static bool
is_held(const Lease *lease, int64 now)
{
	return lease->holder != NOBODY && (lease->lapses_at == 0 || lease->lapses_at > now);
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
make_room_locked(LeaseGroup *group, int64 now)
{
	Lease *best = NULL;

	for (int i = 0; i < LEASES_IN_GROUP; i++)
	{
		Lease *lease = &group->leases[i];

		if (lease->id == 0)
			return lease;
		if (!is_held(lease, now) &&
			(best == NULL || lease->not_before < best->not_before))
			best = lease;
	}
	return best;
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

/* False: it has lapsed, or was returned before. */
static bool
end_grant(uint64 id, uint64 grant, LeaseEnd end, int64 backoff)
{
	LeaseGroup *group = group_of(id);
	int64 now = cg_clock_ms();
	Lease *lease;
	bool ended;

	SpinLockAcquire(&group->lock);
	lease = find_locked(group, id);
	ended = lease && lease->grant == grant && is_held(lease, now);
	if (ended)
		note_end_locked(lease, end, backoff, now);
	SpinLockRelease(&group->lock);
	if (ended)
		ConditionVariableBroadcast(&group->released);
	return ended;
}

/* The caller has seen that there is such a one. */
static void
end_held(int place, LeaseEnd end, int64 backoff)
{
	HeldLease lease = held[place];

	held[place] = held[--held_count];
	(void) end_grant(lease.id, lease.grant, end, backoff);
}

/* A session that ends in the middle of a load must not leave others waiting. */
static void
release_all(int code, Datum argument)
{
	pg_atomic_write_u64(&leases->waits_for[cg_my_proc_number()], 0);
	while (held_count > 0)
		end_held(held_count - 1, LEASE_END_QUIET, 0);
}

static void
register_exit(void)
{
	static bool exit_registered = false;

	if (!exit_registered)
		before_shmem_exit(release_all, (Datum) 0);
	exit_registered = true;
}

/*
 * Give the lease to this session, for lapses_at as in Lease; *grant is set if it is
 * taken.  The caller holds the group's lock.
 */
static LeaseOutcome
take_locked(LeaseGroup *group, uint64 id, int64 interval, int64 lapses_at, uint64 *grant)
{
	Lease *lease = find_locked(group, id);
	int64 now = cg_clock_ms();
	bool again = lease && lapses_at != 0 && lease->holder == cg_my_proc_number();

	if (lease && !again && is_held(lease, now))
		return LEASE_BUSY;
	if (lease && !again && lease->not_before > now)
		return lease->failures > 0 ? LEASE_OFF : LEASE_BUSY;
	if (!lease && (lease = make_room_locked(group, now)) == NULL)
		return LEASE_NONE;

	if (lease->id != id)
		lease->failures = 0;
	lease->id = id;
	lease->holder = cg_my_proc_number();
	lease->not_before = interval > 0 ? now + interval : 0;
	lease->lapses_at = lapses_at;
	lease->grant = ++group->grants;
	lease->fruitless = false;
	*grant = lease->grant;
	return LEASE_TAKEN;
}

/* Forget what was lent here and has lapsed; how many leases that are lent remain. */
static int
count_lent(int64 now)
{
	int count = 0;

	for (int i = held_count - 1; i >= 0; i--)
	{
		if (held[i].lapses_at == 0)
			continue;
		if (held[i].lapses_at > now)
			count++;
		else
			held[i] = held[--held_count];
	}
	return count;
}

/* Forget what was lent here under this id: it is lent anew. */
static void
forget(uint64 id)
{
	for (int i = held_count - 1; i >= 0; i--)
		if (held[i].id == id)
			held[i] = held[--held_count];
}

static LeaseOutcome
take(uint64 id, int64 interval, int64 lapses_at, uint64 *grant)
{
	LeaseGroup *group = group_of(id);
	LeaseOutcome outcome;

	register_exit();
	SpinLockAcquire(&group->lock);
	outcome = take_locked(group, id, interval, lapses_at, grant);
	SpinLockRelease(&group->lock);

	if (outcome == LEASE_TAKEN)
	{
		forget(id);
		held[held_count++] = (HeldLease){id, *grant, lapses_at};
	}
	return outcome;
}

void
cg_load_lease_reserve(int count)
{
	int size = held_count + count + LEASES_HELD + LEASES_LENT;
	HeldLease *larger;

	if (size <= held_size)
		return;
	larger = MemoryContextAlloc(TopMemoryContext, size * sizeof(HeldLease));
	memcpy(larger, held, held_count * sizeof(HeldLease));
	if (held != first_held)
		pfree(held);
	held = larger;
	held_size = size;
}

LeaseOutcome
cg_load_lease_take(uint64 id, int64 interval)
{
	int lent = count_lent(cg_clock_ms());
	uint64 grant;

	if (held_count - lent == held_size - LEASES_LENT)
		return LEASE_NONE;
	return take(id, interval, 0, &grant);
}

LeaseOutcome
cg_load_lease_lend(uint64 id, int64 interval, int64 duration, uint64 *grant)
{
	int64 now = cg_clock_ms();

	if (count_lent(now) == LEASES_LENT)
		return LEASE_NONE;
	return take(id, interval, now + duration, grant);
}

void
cg_load_lease_release(uint64 id, LeaseEnd end, int64 backoff)
{
	for (int i = held_count - 1; i >= 0; i--)
		if (held[i].id == id)
			end_held(i, end, backoff);
}

bool
cg_load_lease_return(uint64 id, uint64 grant, LeaseEnd end)
{
	for (int i = held_count - 1; i >= 0; i--)
		if (held[i].id == id && held[i].grant == grant)
			held[i] = held[--held_count];
	return end_grant(id, grant, end, 0);
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
	if (!is_held(&copy, cg_clock_ms()))
		copy.holder = NOBODY;
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
		else if (lease.lapses_at != 0)
			until = Min(until, lease.lapses_at);
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
