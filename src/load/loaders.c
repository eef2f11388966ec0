/*-------------------------------------------------------------------------
 *
 * loaders.c
 *	  The processes that load in the background: who there is, who is wanted, and how
 *	  much they may do.
 *
 * A loader is a process connected to one database as one role: the role that computed
 * a value and is served it.  It is that role from its first moment, and in no respect more:
 * so nobody's functions are run by a superuser.  Values of superusers, and of roles that
 * may not log in, are left to their sessions.
 *
 * A place is given by the launcher to whoever has something to do, as long as there are
 * fewer than cachegrid.refresh_workers; a loader without anything to do for a while ends,
 * and sooner if others wait for a place.  One that was started and does not come, as
 * its role may not connect, say, costs its role all that it has asked for; and so does
 * one that comes and must not work, as its role is a superuser by now: else the launcher
 * would start the next one at once.
 *
 * The time that loaders spend computing is limited, too, all of them together: each load
 * moves a mark ahead, by its time as a part of what a second may have.  While the
 * mark is more than a second ahead of the clock, all rest.
 *
 * One lightweight lock guards all of it but the mark.  Latches are set outside of it:
 * those of other processes are never unmapped, so that at worst somebody wakes in vain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "load/load.h"
#include "load/loaders.h"
#include "load/requests.h"

#define LOADERS_MAX 64
#define PARTIES_MAX 64
#define WARMS_MAX	256

/* A loader that was started has so long to come. */
#define START_MS 10000
/* One loader more for a role that has so many requests waiting for each. */
#define REQUESTS_PER_LOADER 4

/* In shared memory. */
typedef struct SharedLoader
{
	Oid database; /* InvalidOid: free */
	Oid role;
	pid_t pid; /* 0: it was started, and has not come yet */
	Latch *latch;
	int64 started_at; /* by cg_clock_ms() */
} SharedLoader;

/* Something to be loaded since the server started. */
typedef struct SharedWarm
{
	Oid database; /* InvalidOid: free */
	Oid role;
	bool taken;
} SharedWarm;

/* In shared memory. */
typedef struct SharedLoaders
{
	Latch *launcher;			 /* NULL: not running */
	bool crowded;				 /* somebody waits for a place; read without the lock */
	pg_atomic_uint64 busy_until; /* the mark, in microseconds of cg_store_now() */
	SharedLoader places[LOADERS_MAX];
	SharedWarm warms[WARMS_MAX];
} SharedLoaders;

/* Backend-local: pointers to shared memory, and this process's place. */
static SharedLoaders *shared = NULL;
static LWLock *lock = NULL;
static SharedLoader *mine = NULL;
static bool is_connected = false;

Size
cg_loaders_size(void)
{
	return sizeof(SharedLoaders);
}

void
cg_loaders_init(LWLock *their_lock)
{
	bool found;

	lock = their_lock;
	shared = ShmemInitStruct("cachegrid loaders", cg_loaders_size(), &found);
	if (found)
		return;
	memset(shared, 0, cg_loaders_size());
	pg_atomic_init_u64(&shared->busy_until, 0);
}

void
cg_loader_wake(Oid database, Oid role)
{
	Latch *latch;

	LWLockAcquire(lock, LW_SHARED);
	latch = shared->launcher;
	for (int i = 0; i < LOADERS_MAX; i++)
	{
		const SharedLoader *place = &shared->places[i];

		if (place->database == database && place->role == role && place->latch)
			latch = place->latch;
	}
	LWLockRelease(lock);
	if (latch)
		SetLatch(latch);
}

static void
forget_launcher(int code, Datum argument)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->launcher == MyLatch)
		shared->launcher = NULL;
	LWLockRelease(lock);
}

void
cg_loader_set_launcher(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	LWLockRelease(lock);
	before_shmem_exit(forget_launcher, (Datum) 0);
}

static void
detach(int code, Datum argument)
{
	Latch *launcher;

	cg_load_abandon_wishes();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine->pid = 0;
	mine->latch = NULL;
	mine->started_at = cg_clock_ms();
	if (is_connected)
		memset(mine, 0, sizeof(SharedLoader));
	launcher = shared->launcher;
	LWLockRelease(lock);
	if (launcher)
		SetLatch(launcher);
}

bool
cg_loader_attach(int place, Oid *database, Oid *role)
{
	SharedLoader *loader = &shared->places[place];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	*database = loader->database;
	*role = loader->role;
	if (OidIsValid(loader->database) && loader->pid == 0)
	{
		loader->pid = MyProcPid;
		loader->latch = MyLatch;
		mine = loader;
	}
	LWLockRelease(lock);
	if (mine)
		before_shmem_exit(detach, (Datum) 0);
	return mine != NULL;
}

void
cg_loader_connected(void)
{
	is_connected = true;
}

/* Nobody comes for what this role is to have loaded. */
static void
settle_warms_locked(Oid database, Oid role)
{
	for (int i = 0; i < WARMS_MAX; i++)
		if (shared->warms[i].database == database && shared->warms[i].role == role)
			shared->warms[i].taken = true;
}

void
cg_loader_decline(void)
{
	/* Nobody else writes these two as long as this process is there. */
	Oid database = mine->database;
	Oid role = mine->role;

	cg_load_forget_wishes(database, role);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	settle_warms_locked(database, role);
	LWLockRelease(lock);
}

bool
cg_loader_is_crowded(void)
{
	return shared->crowded;
}

int64
cg_loader_pause(void)
{
	int64 ahead = (int64) pg_atomic_read_u64(&shared->busy_until) - cg_store_now();

	return Max(ahead - USECS_PER_SEC, 0);
}

void
cg_loader_spend(int64 microseconds)
{
	int64 share = microseconds * 1000 / cg_refresh_time;
	uint64 before = pg_atomic_read_u64(&shared->busy_until);

	while (!pg_atomic_compare_exchange_u64(&shared->busy_until, &before,
										   Max((int64) before, cg_store_now()) + share))
		;
}

void
cg_loader_want_warm(Oid role)
{
	SharedWarm *place = NULL;
	bool known = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WARMS_MAX && !known; i++)
	{
		SharedWarm *warm = &shared->warms[i];

		known = warm->database == MyDatabaseId && warm->role == role;
		if (!place && !OidIsValid(warm->database))
			place = warm;
	}
	if (!known && place)
		*place = (SharedWarm){.database = MyDatabaseId, .role = role};
	LWLockRelease(lock);
	if (!known && place)
		cg_loader_wake(MyDatabaseId, role);
}

bool
cg_loader_take_warm(void)
{
	bool ours = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WARMS_MAX && !ours; i++)
	{
		SharedWarm *warm = &shared->warms[i];

		ours =
			warm->database == MyDatabaseId && warm->role == GetUserId() && !warm->taken;
		warm->taken |= ours;
	}
	LWLockRelease(lock);
	return ours;
}

static int
count_loaders_locked(Oid database, Oid role)
{
	int count = 0;

	for (int i = 0; i < LOADERS_MAX; i++)
		if (shared->places[i].database == database && shared->places[i].role == role)
			count++;
	return count;
}

/*
 * Who has something to do and too few loaders; NULL: nobody.  Those without any first,
 * and of these who waits for longest: so all have their turn.
 */
static const LoadParty *
find_neediest_locked(const LoadParty *parties, int count)
{
	const LoadParty *without = NULL;
	const LoadParty *busy = NULL;

	for (int i = 0; i < count; i++)
	{
		const LoadParty *party = &parties[i];
		int loaders = count_loaders_locked(party->database, party->role);

		if (loaders == 0 && (without == NULL || party->since < without->since))
			without = party;
		if (loaders > 0 && party->waiting > loaders * REQUESTS_PER_LOADER)
			busy = party;
	}
	return without ? without : busy;
}

/* The first free place, if there may be one loader more; -1: none. */
static int
find_place_locked(void)
{
	int free = -1;
	int count = 0;

	for (int i = 0; i < LOADERS_MAX; i++)
	{
		if (OidIsValid(shared->places[i].database))
			count++;
		else if (free < 0)
			free = i;
	}
	return count < cg_refresh_workers ? free : -1;
}

/* Those that want to be warm, behind those that have requests. */
static int
add_cold_locked(LoadParty *parties, int count)
{
	for (int i = 0; i < WARMS_MAX && count < PARTIES_MAX; i++)
	{
		const SharedWarm *warm = &shared->warms[i];

		if (OidIsValid(warm->database) && !warm->taken &&
			count_loaders_locked(warm->database, warm->role) == 0)
			parties[count++] = (LoadParty){
				.database = warm->database, .role = warm->role, .since = cg_clock_ms()};
	}
	return count;
}

/* One that was started and did not come: its place is free, and who it was for, is told. */
static bool
expire_start(LoadParty *party)
{
	int64 now = cg_clock_ms();
	bool found = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < LOADERS_MAX && !found; i++)
	{
		SharedLoader *place = &shared->places[i];

		found = OidIsValid(place->database) && place->pid == 0 &&
				place->started_at + START_MS < now;
		if (!found)
			continue;
		*party = (LoadParty){.database = place->database, .role = place->role};
		memset(place, 0, sizeof(SharedLoader));
	}
	if (found)
		settle_warms_locked(party->database, party->role);
	LWLockRelease(lock);
	return found;
}

bool
cg_loader_plan(int *place, Oid *database)
{
	LoadParty parties[PARTIES_MAX];
	const LoadParty *needy;
	int count;

	while (expire_start(&parties[0]))
		cg_load_forget_wishes(parties[0].database, parties[0].role);

	count = cg_load_waiting_parties(parties, PARTIES_MAX);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	count = add_cold_locked(parties, count);
	needy = find_neediest_locked(parties, count);
	*place = needy ? find_place_locked() : -1;
	shared->crowded =
		needy && *place < 0 && count_loaders_locked(needy->database, needy->role) == 0;
	if (*place >= 0)
	{
		*database = needy->database;
		shared->places[*place] = (SharedLoader){.database = needy->database,
												.role = needy->role,
												.started_at = cg_clock_ms()};
	}
	LWLockRelease(lock);
	return *place >= 0;
}

void
cg_loader_withdraw(int place)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->places[place].pid == 0)
		memset(&shared->places[place], 0, sizeof(SharedLoader));
	LWLockRelease(lock);
}

void
cg_loader_dismiss(Oid database)
{
	if (!shared)
		return;
	cg_load_forget_wishes(database, InvalidOid);
	/* A process cannot exit, and its id be used again, before detach(). */
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < LOADERS_MAX; i++)
	{
		SharedLoader *place = &shared->places[i];

		if (place->database != database)
			continue;
		if (place->pid != 0)
			kill(place->pid, SIGTERM);
		else
			memset(place, 0, sizeof(SharedLoader));
	}
	for (int i = 0; i < WARMS_MAX; i++)
		if (shared->warms[i].database == database)
			shared->warms[i].taken = true;
	LWLockRelease(lock);
}
