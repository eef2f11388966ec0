/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  The databases whose outboxes are in use, and who empties them.
 *
 * A database is registered when it is first known to have a mirror, and
 * forgotten when it or its last mirror is gone.  Its consumer attaches, and
 * detaches by exiting; a registered database without a consumer is an
 * orphan, for which the launcher starts one.
 *
 * One spinlock guards all of it.  Latches are set outside of it: those of
 * other processes are never unmapped, so that at worst somebody wakes in
 * vain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache.h"
#include "outbox/outbox_internal.h"

/* In shared memory. */
typedef struct OutboxDatabaseShared
{
	Oid database;	/* InvalidOid: free */
	pid_t consumer; /* 0: none */
	Latch *latch;	/* the consumer's */
	int64 retry_at; /* of cg_clock_ms(): an orphan before then is left alone */
	bool accounted; /* the consumer's own: it knows what a crash may have lost */

	volatile int current; /* table that is written; read without the lock, may be stale */
} OutboxDatabaseShared;

/* In shared memory. */
typedef struct OutboxShared
{
	slock_t mutex;			   /* guards every field below but for those that say so */
	Latch *launcher;		   /* NULL: not running */
	TimestampTz starved_since; /* there is no process for consumers; 0: there is */
	bool crashed; /* before this start of the server; set once, before anybody looks */
	OutboxDatabaseShared databases[CG_OUTBOX_MAX_DATABASES];
} OutboxShared;

static OutboxShared *shared = NULL;

/*
 * This backend's own database, NULL while it is not registered.  It is
 * forgotten only if nothing is connected to it or it has no mirror left.
 */
static OutboxDatabaseShared *mine = NULL;

void
cg_outbox_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(OutboxShared)));
	RequestAddinShmemSpace(MAXALIGN(cg_intent_shmem_size()));
}

/*
 * Did the server not shut down cleanly before this start?  As the postmaster finds
 * it, before the startup process has begun.
 */
static bool
server_crashed(void)
{
	bool valid;
	ControlFileData *control = get_controlfile(DataDir, &valid);
	bool clean = valid && (control->state == DB_SHUTDOWNED ||
						   control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return !clean;
}

void
cg_outbox_shmem_init(void)
{
	bool found;

	shared = ShmemInitStruct("cachegrid outbox", sizeof(OutboxShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(OutboxShared));
		SpinLockInit(&shared->mutex);
		shared->crashed = server_crashed();
	}
	cg_intent_shmem_init();
}

static OutboxDatabaseShared *
find_database_locked(Oid database)
{
	for (int i = 0; i < CG_OUTBOX_MAX_DATABASES; i++)
	{
		if (shared->databases[i].database == database)
			return &shared->databases[i];
	}
	return NULL;
}

static OutboxDatabaseShared *
my_database(void)
{
	if (shared && (!mine || mine->database != MyDatabaseId))
	{
		SpinLockAcquire(&shared->mutex);
		mine = find_database_locked(MyDatabaseId);
		SpinLockRelease(&shared->mutex);
	}
	return mine;
}

/* False if there is no room.  Cannot fail otherwise. */
bool
cg_outbox_register_database(Oid database)
{
	OutboxDatabaseShared *entry;

	SpinLockAcquire(&shared->mutex);
	entry = find_database_locked(database);
	if (!entry)
	{
		entry = find_database_locked(InvalidOid);
		if (entry)
		{
			memset(entry, 0, sizeof(OutboxDatabaseShared));
			entry->database = database;
		}
	}
	SpinLockRelease(&shared->mutex);
	return entry != NULL;
}

/* Register the current database, or raise an error: something will be mirrored. */
void
cg_outbox_require_database(void)
{
	cg_cache_require_loaded();
	if (!cg_outbox_register_database(MyDatabaseId))
		ereport(ERROR, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("too many databases have mirrors"),
				errdetail("At most %d databases of a server can have mirrors.",
						  CG_OUTBOX_MAX_DATABASES),
				errhint("Call cachegrid.unmirror() for all mirrors of one of them."));
}

/* Forget a database that is no more. */
void
cg_outbox_forget_database(Oid database)
{
	OutboxDatabaseShared *entry;

	SpinLockAcquire(&shared->mutex);
	entry = find_database_locked(database);
	if (entry && entry->consumer == 0)
		entry->database = InvalidOid;
	SpinLockRelease(&shared->mutex);
}

/*
 * The databases that have no consumer and may get one now.  databases holds
 * CG_OUTBOX_MAX_DATABASES; returns how many were filled in.
 */
int
cg_outbox_orphans(Oid *databases)
{
	int64 now = cg_clock_ms();
	int count = 0;

	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < CG_OUTBOX_MAX_DATABASES; i++)
	{
		OutboxDatabaseShared *entry = &shared->databases[i];

		if (OidIsValid(entry->database) && entry->consumer == 0 && entry->retry_at <= now)
			databases[count++] = entry->database;
	}
	SpinLockRelease(&shared->mutex);
	return count;
}

/* A consumer has been started: it is no orphan for so long. */
void
cg_outbox_mark_started(Oid database, int milliseconds)
{
	int64 retry_at = cg_clock_ms() + milliseconds;
	OutboxDatabaseShared *entry;

	SpinLockAcquire(&shared->mutex);
	entry = find_database_locked(database);
	if (entry)
		entry->retry_at = retry_at;
	SpinLockRelease(&shared->mutex);
}

/*
 * The launcher could start a consumer, or could not, because the server has no
 * worker process left.  Returns whether that is news.
 */
bool
cg_outbox_tell_start(bool started)
{
	TimestampTz now = GetCurrentTimestamp();
	bool changed;

	SpinLockAcquire(&shared->mutex);
	changed = started == (shared->starved_since != 0);
	if (changed)
		shared->starved_since = started ? 0 : now;
	SpinLockRelease(&shared->mutex);
	return changed;
}

/*
 * Has the current database a consumer?  If not, *starved_since is since when there
 * is no process for one, or 0 if that is not so.
 */
bool
cg_outbox_is_consumed(TimestampTz *starved_since)
{
	const OutboxDatabaseShared *entry;
	bool consumed;

	*starved_since = 0;
	if (!shared)
		return false;

	SpinLockAcquire(&shared->mutex);
	entry = find_database_locked(MyDatabaseId);
	consumed = entry && entry->consumer != 0;
	if (!consumed)
		*starved_since = shared->starved_since;
	SpinLockRelease(&shared->mutex);
	return consumed;
}

static void
forget_launcher(int code, Datum arg)
{
	SpinLockAcquire(&shared->mutex);
	if (shared->launcher == MyLatch)
		shared->launcher = NULL;
	SpinLockRelease(&shared->mutex);
}

/*
 * For the consumer: may rows of transactions that had not committed be lost,
 * though their sessions were told that they are in the outbox?  So it is after a
 * crash, until the consumer has taken account of it.
 */
bool
cg_outbox_lost_unfinished(void)
{
	return shared->crashed && mine && !mine->accounted;
}

/* It has. */
void
cg_outbox_forget_loss(void)
{
	if (mine)
		mine->accounted = true;
}

/* This process wants to be woken when there may be an orphan. */
void
cg_outbox_set_launcher(void)
{
	SpinLockAcquire(&shared->mutex);
	shared->launcher = MyLatch;
	SpinLockRelease(&shared->mutex);
	on_shmem_exit(forget_launcher, (Datum) 0);
}

static void
detach(int code, Datum arg)
{
	Latch *launcher;

	SpinLockAcquire(&shared->mutex);
	if (mine && mine->consumer == MyProcPid)
	{
		mine->consumer = 0;
		mine->latch = NULL;
	}
	launcher = shared->launcher;
	SpinLockRelease(&shared->mutex);
	if (launcher)
		SetLatch(launcher);
}

/*
 * Become the consumer of the current database, which becomes registered;
 * ends with the process.  False if there is another consumer, or no room.
 */
bool
cg_outbox_attach(void)
{
	bool attached = false;

	if (!cg_outbox_register_database(MyDatabaseId) || !my_database())
		return false;

	SpinLockAcquire(&shared->mutex);
	if (mine->database == MyDatabaseId && mine->consumer == 0)
	{
		mine->consumer = MyProcPid;
		mine->latch = MyLatch;
		attached = true;
	}
	SpinLockRelease(&shared->mutex);

	if (attached)
		on_shmem_exit(detach, (Datum) 0);
	return attached;
}

/* The consumer found no mirror in its database: forget it, unless woken since. */
void
cg_outbox_retire(void)
{
	SpinLockAcquire(&shared->mutex);
	if (mine && mine->consumer == MyProcPid)
	{
		mine->consumer = 0;
		mine->latch = NULL;
		mine->database = InvalidOid;
	}
	SpinLockRelease(&shared->mutex);
}

/* Is this process the consumer of some database? */
bool
cg_outbox_is_consumer(pid_t process)
{
	bool found = false;

	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < CG_OUTBOX_MAX_DATABASES && !found; i++)
		found = shared->databases[i].consumer == process;
	SpinLockRelease(&shared->mutex);
	return found;
}

/*
 * End the consumer of a database that somebody needs for himself, and start
 * no other for so long.  It is told to die rather than asked, so that it
 * leaves from any wait.
 */
void
cg_outbox_dismiss(Oid database, int milliseconds)
{
	int64 retry_at = cg_clock_ms() + milliseconds;
	OutboxDatabaseShared *entry;

	if (!shared)
		return;

	/* Its process can not exit, and its id be used again, before detach(). */
	SpinLockAcquire(&shared->mutex);
	entry = find_database_locked(database);
	if (entry)
	{
		entry->retry_at = retry_at;
		if (entry->consumer != 0)
			kill(entry->consumer, SIGTERM);
	}
	SpinLockRelease(&shared->mutex);
}

/*
 * There may be something in the current database's outbox.  Runs after
 * commit: cannot fail.
 */
void
cg_outbox_wake(void)
{
	OutboxDatabaseShared *entry;
	Latch *latch;

	if (!shared)
		return;

	if (!my_database())
	{
		cg_outbox_register_database(MyDatabaseId);
		my_database();
	}

	entry = mine;
	latch = entry ? entry->latch : NULL;
	if (!latch)
		latch = shared->launcher;
	if (latch)
		SetLatch(latch);
}

int
cg_outbox_current(void)
{
	OutboxDatabaseShared *entry = my_database();

	return entry ? entry->current : 0;
}

void
cg_outbox_set_current(int table)
{
	OutboxDatabaseShared *entry = my_database();

	if (entry)
		entry->current = table;
}
