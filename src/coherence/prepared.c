/*-------------------------------------------------------------------------
 *
 * prepared.c
 *	  What a prepared transaction has stamped, for after a restart.
 *
 * A transaction that is prepared writes what it touches to a file, named by
 * its xid, before it is prepared.  A file alone proves nothing: a crash may
 * lose the transaction and give its xid to another, a backup may bring along
 * files of another history.  So the file has a random number, and the
 * transaction holds a lock by that number, which nobody else ever asks for:
 * PostgreSQL keeps the locks of prepared transactions through restarts,
 * crashes, recovery and promotion, and no other transaction has this one.  One
 * that touches nothing, and had no subtransactions, holds a lock by number 0, in
 * common, and has no file.
 *
 * Where the file cannot be written the lock is not taken, and the transaction
 * is believed by nobody after a restart (boot.c).
 *
 * In this server's life a prepared transaction has a place in shared memory,
 * as it outlives its process.  Who needs a place frees those of transactions
 * that have ended and removes their files; files of an earlier life are
 * removed at the first use.
 *
 * The files are for standbys, too: from time to time what they say is logged again
 * (wal.c), for who began to read the log when it had been logged already.  A standby's
 * snapshots list subtransactions, so the files do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/snapmgr.h"

#include "coherence/prepared.h"
#include "coherence/slots.h"

/* Where it stands what a prepared transaction has stamped, all of it. */
typedef enum Proof
{
	PROOF_NONE,	   /* in the slots alone */
	PROOF_NOTHING, /* it has stamped nothing */
	PROOF_FILE
} Proof;

/* A prepared transaction's place. */
typedef struct PreparedPlace
{
	pg_atomic_uint64 xid;	 /* 0: free */
	pg_atomic_uint64 stamps; /* dependencies that it stamped */
	Proof proof;			 /* guarded by the lock */
} PreparedPlace;

/* In shared memory; places are taken and freed under the lock, and read without. */
typedef struct PreparedShared
{
	int count; /* fixed */
	PreparedPlace places[FLEXIBLE_ARRAY_MEMBER];
} PreparedShared;

static PreparedShared *shared = NULL;
static LWLock *places_lock = NULL;

/* Backend-local, of the transaction that is being prepared. */
static PreparedPlace *own_place = NULL;
static LOCKTAG own_lock;
static LOCKMODE own_mode = NoLock;

/* Twice as many, for those that are being prepared while others of them end. */
static int
place_count(void)
{
	return 2 * max_prepared_xacts;
}

Size
cg_prepared_shmem_size(void)
{
	return add_size(offsetof(PreparedShared, places),
					mul_size(place_count(), sizeof(PreparedPlace)));
}

void
cg_prepared_shmem_init(LWLock *lock)
{
	bool found;

	places_lock = lock;
	shared = ShmemInitStruct("cachegrid prepared", cg_prepared_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, cg_prepared_shmem_size());
	shared->count = place_count();
	for (int i = 0; i < shared->count; i++)
	{
		pg_atomic_init_u64(&shared->places[i].xid, 0);
		pg_atomic_init_u64(&shared->places[i].stamps, 0);
	}
}

/* Beside the locks of pg_advisory_lock(), which are of class 1 and 2. */
static LOCKTAG
lock_of(uint64 number)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, (uint32) (number >> 32), (uint32) number, 0xCA);
	return tag;
}

/* Under the lock: nobody asks for a place of who has ended, or for his file. */
static void
free_places(Snapshot fresh)
{
	uint64 xmin = cg_snapshot_xmin(fresh);

	for (int i = 0; i < shared->count; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->places[i].xid);

		if (xid == 0 || !cg_snapshot_finished(xid, fresh, xmin))
			continue;
		pg_atomic_write_u64(&shared->places[i].xid, 0);
		cg_prepared_file_remove(xid);
	}
}

/* A place for this xid, without a proof so far. */
static PreparedPlace *
take_place(uint64 xid, uint64 stamps, Snapshot fresh)
{
	int i = 0;

	LWLockAcquire(places_lock, LW_EXCLUSIVE);
	free_places(fresh);
	while (i < shared->count && pg_atomic_read_u64(&shared->places[i].xid) != 0)
		i++;
	if (i == shared->count)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("too many transactions are being prepared"),
				errdetail("Each needs a place in shared memory until it has ended."),
				errhint("Increase \"max_prepared_transactions\"."));
	shared->places[i].proof = PROOF_NONE;
	pg_atomic_write_u64(&shared->places[i].stamps, stamps);
	pg_write_barrier();
	pg_atomic_write_u64(&shared->places[i].xid, xid);
	LWLockRelease(places_lock);
	return &shared->places[i];
}

static void
set_proof(PreparedPlace *place, Proof proof)
{
	LWLockAcquire(places_lock, LW_EXCLUSIVE);
	place->proof = proof;
	LWLockRelease(places_lock);
}

bool
cg_prepared_runs_below(uint64 floor, Snapshot fresh)
{
	uint64 xmin = cg_snapshot_xmin(fresh);

	for (int i = 0; i < shared->count; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->places[i].xid);

		pg_read_barrier();
		if (xid != 0 && xid <= floor && !cg_snapshot_finished(xid, fresh, xmin) &&
			pg_atomic_read_u64(&shared->places[i].stamps) != 0)
			return true;
	}
	return false;
}

int
cg_coherence_prepared(PreparedStamps *prepared, int size)
{
	int count = 0;

	LWLockAcquire(places_lock, LW_SHARED);
	for (int i = 0; i < shared->count && count < size; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->places[i].xid);
		uint64 stamps = pg_atomic_read_u64(&shared->places[i].stamps);

		if (xid != 0 && stamps != 0)
			prepared[count++] = (PreparedStamps){xid, stamps};
	}
	LWLockRelease(places_lock);
	return count;
}

/* What goes into its file: the dependencies, then its subtransactions; palloc'd. */
static uint64 *
make_body(const PreparedFile *header, const Dependency *dependencies,
		  const TransactionId *children)
{
	uint64 *body = palloc_extended(cg_prepared_file_bytes(header), MCXT_ALLOC_HUGE);

	memcpy(body, dependencies, header->count * sizeof(Dependency));
	for (uint64 i = 0; i < header->children; i++)
		body[header->count + i] = cg_snapshot_widen(children[i]);
	return body;
}

/*
 * This transaction is about to be prepared, and to stamp these with xid, which is not 0:
 * take a place, and leave proof.  To be called before the first stamp.
 */
void
cg_prepared_announce(uint64 xid, const Dependency *dependencies, int count,
					 Snapshot fresh)
{
	PreparedFile header = {.version = PREPARED_FILE_VERSION, .xid = xid, .count = count};
	TransactionId *children;

	own_mode = NoLock;
	own_place = take_place(xid, count, fresh);
	header.children = xactGetCommittedChildren(&children);
	if (count > 0 || header.children > 0)
	{
		uint64 *body = make_body(&header, dependencies, children);

		header.number = pg_prng_uint64(&pg_global_prng_state) | 1;
		header.hash = cg_prepared_file_hash(&header, body);
		if (!cg_prepared_file_write(&header, body))
		{
			ereport(WARNING, errcode_for_file_access(),
					errmsg("could not write what the prepared transaction touches: %m"),
					errdetail("If the server restarts before it has ended, no computed "
							  "value is served until then."));
			return;
		}
		pfree(body);
	}
	own_lock = lock_of(header.number);
	own_mode = header.number != 0 ? ExclusiveLock : ShareLock;
	(void) LockAcquire(&own_lock, own_mode, false, false);
	set_proof(own_place, header.number != 0 ? PROOF_FILE : PROOF_NOTHING);
}

/* It is about to stamp one more: the proof is none. */
void
cg_prepared_announce_late(void)
{
	if (own_place == NULL)
		return;
	if (own_mode != NoLock)
		(void) LockRelease(&own_lock, own_mode, false);
	own_mode = NoLock;
	set_proof(own_place, PROOF_NONE);
	pg_atomic_fetch_add_u64(&own_place->stamps, 1);
}

/* The transaction has ended, or is prepared. */
void
cg_prepared_forget(void)
{
	own_place = NULL;
}

/* Does the prepared transaction, which recovery brought back, hold the lock? */
static bool
holds_lock(uint64 xid, uint64 number)
{
	LOCKTAG tag = lock_of(number);
	VirtualTransactionId *holders = GetLockConflicts(&tag, ExclusiveLock, NULL);

	for (int i = 0; VirtualTransactionIdIsValid(holders[i]); i++)
		if (VirtualTransactionIdIsRecoveredPreparedXact(holders[i]) &&
			holders[i].localTransactionId == (TransactionId) xid)
			return true;
	return false;
}

/* False if nobody knows what it has touched. */
static bool
stamp_anew(uint64 xid, Snapshot fresh)
{
	PreparedFile header;
	const Dependency *dependencies;

	if (holds_lock(xid, 0))
	{
		set_proof(take_place(xid, 0, fresh), PROOF_NOTHING);
		return true;
	}
	dependencies = cg_prepared_file_read(xid, &header);
	if (dependencies == NULL || !holds_lock(xid, header.number))
		return false;

	set_proof(take_place(xid, header.count, fresh), PROOF_FILE);
	for (uint64 i = 0; i < header.count; i++)
	{
		OwnStamp stamp = {.slot = cg_slots_index(dependencies[i])};

		cg_slots_stamp(&stamp, xid, fresh);
	}
	return true;
}

/*
 * Stamp anew what transactions that were prepared before the start have stamped, and tell
 * of those of whom that is not known, or of some that have just ended.  fresh is a
 * snapshot of now; nobody prepares meanwhile.
 */
void
cg_prepared_stamp_anew(Snapshot fresh, void (*is_unknown)(uint64 xid))
{
	uint64 *xids = palloc_array(uint64, fresh->xcnt + 1);
	int count = 0;

	for (uint32 i = 0; i < fresh->xcnt; i++)
	{
		/* Who runs and is no process is prepared. */
		if (BackendXidGetPid(fresh->xip[i]) != 0)
			continue;
		xids[count] = cg_snapshot_widen(fresh->xip[i]);
		if (!stamp_anew(xids[count], fresh))
			is_unknown(xids[count]);
		count++;
	}
	cg_prepared_file_remove_others(xids, count);
	pfree(xids);
}

/* Log what one has stamped, and add its xids to those that are known, if all of it is known. */
static void
log_one(uint64 xid, Proof proof, uint64 *known, int *count)
{
	PreparedFile header = {.children = 0};
	uint64 *body = NULL;

	if (proof == PROOF_FILE)
		body = cg_prepared_file_read(xid, &header);
	if (proof == PROOF_NONE || (proof == PROOF_FILE && body == NULL) ||
		header.children >= CG_KNOWN_MAX - *count)
		return;

	if (header.count > 0)
		cg_wal_log_stamps(xid, body, header.count, true);
	known[(*count)++] = xid;
	for (uint64 i = 0; i < header.children; i++)
		known[(*count)++] = body[header.count + i];
}

/*
 * Log anew what prepared transactions have stamped, for those who did not hear it.
 * Returns how many xids, sorted, of those of whom all is logged by then and of their
 * subtransactions, are in known, which has room for CG_KNOWN_MAX.  In a transaction of
 * a server that logs.
 */
int
cg_prepared_log_anew(uint64 *known)
{
	PreparedPlace *places = palloc_array(PreparedPlace, shared->count + 1);
	int count = 0;

	cg_boot_begin();
	LWLockAcquire(places_lock, LW_SHARED);
	memcpy(places, shared->places, shared->count * sizeof(PreparedPlace));
	LWLockRelease(places_lock);
	for (int i = 0; i < shared->count; i++)
	{
		uint64 xid = pg_atomic_read_u64(&places[i].xid);

		if (xid != 0)
			log_one(xid, places[i].proof, known, &count);
	}
	pfree(places);
	qsort(known, count, sizeof(uint64), cg_snapshot_compare);
	return count;
}
