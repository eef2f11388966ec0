/*-------------------------------------------------------------------------
 *
 * boot.c
 *	  What a snapshot may believe of slots that are younger than itself, or
 *	  than transactions that it sees running.
 *
 * The slots are empty after a start, and again when recovery has ended, but
 * transactions that were prepared before are still unfinished.  Those that
 * left proof of what they had stamped (prepared.c) are stamped anew at the
 * first use; what the others touched nobody knows.
 *
 * So the first use takes a snapshot of its own.  Who runs in it is known,
 * unless it is a prepared transaction without proof: it was stamped anew, or it
 * will stamp by itself when it ends, as all later ones will.  A reader's
 * snapshot is believed if it sees nobody run from before that moment but who
 * is known.  That leaves out a snapshot that is older than the first use, be
 * it imported, and sees somebody run who had ended by then; and every
 * snapshot in which one without proof runs, until that has ended.
 *
 * Shared memory: written once, under the boot lock, before the floor, which
 * is 0 until then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "coherence/slots.h"

/* In shared memory. */
typedef struct BootShared
{
	pg_atomic_uint64 floor; /* xids from here on began since; 0: not used yet */
	int known_count;
	int unknown_count;
	uint64 *unknown;					 /* prepared transactions without proof */
	uint64 known[FLEXIBLE_ARRAY_MEMBER]; /* who ran at the first use, but for those */
} BootShared;

static BootShared *shared = NULL;
static LWLock *boot_lock = NULL;

/* A snapshot lists this many xids at the most. */
static int
xids_max(void)
{
	return MaxBackends + max_prepared_xacts;
}

Size
cg_boot_shmem_size(void)
{
	return add_size(offsetof(BootShared, known),
					mul_size(2 * xids_max(), sizeof(uint64)));
}

void
cg_boot_shmem_init(LWLock *lock)
{
	bool found;

	boot_lock = lock;
	shared = ShmemInitStruct("cachegrid boot", cg_boot_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, cg_boot_shmem_size());
	pg_atomic_init_u64(&shared->floor, 0);
	shared->unknown = shared->known + xids_max();
}

static bool
is_among(uint64 xid, const uint64 *xids, int count)
{
	for (int i = 0; i < count; i++)
		if (xids[i] == xid)
			return true;
	return false;
}

/* Told of each prepared transaction that left no proof, and maybe of some that have ended. */
static void
note_unknown(uint64 xid)
{
	if (shared->unknown_count < xids_max())
		shared->unknown[shared->unknown_count++] = xid;
}

/* Under the boot lock, for which everybody waits who is about to prepare. */
static void
begin(void)
{
	Snapshot snapshot = GetLatestSnapshot();
	uint64 xmin = cg_snapshot_xmin(snapshot);

	shared->known_count = 0;
	shared->unknown_count = 0;
	cg_prepared_stamp_anew(snapshot, note_unknown);
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		uint64 xid = xmin + (TransactionId) (snapshot->xip[i] - snapshot->xmin);

		if (!is_among(xid, shared->unknown, shared->unknown_count))
			shared->known[shared->known_count++] = xid;
	}
	pg_write_barrier();
	pg_atomic_write_u64(&shared->floor,
						xmin + (TransactionId) (snapshot->xmax - snapshot->xmin));
}

/*
 * To be called, not in recovery, before anybody stamps, prepares, or believes
 * what slots say.
 */
void
cg_boot_begin(void)
{
	if (likely(pg_atomic_read_u64(&shared->floor) != 0))
		return;
	Assert(!RecoveryInProgress());
	LWLockAcquire(boot_lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u64(&shared->floor) == 0)
		begin();
	LWLockRelease(boot_lock);
}

/*
 * Is there nobody, from before the first use after the start or the end of
 * recovery, who runs in this snapshot and of whom it is not known what he
 * touches?  Not in recovery.
 */
bool
cg_boot_knows(Snapshot snapshot)
{
	uint64 xmin = cg_snapshot_xmin(snapshot);
	uint64 floor;

	/* No snapshot can be taken then. */
	if (pg_atomic_read_u64(&shared->floor) == 0 && IsInParallelMode())
		return false;
	cg_boot_begin();
	floor = pg_atomic_read_u64(&shared->floor);
	if (likely(xmin >= floor))
		return true;
	pg_read_barrier();
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		uint64 xid = xmin + (TransactionId) (snapshot->xip[i] - snapshot->xmin);

		if (xid < floor && !is_among(xid, shared->known, shared->known_count))
			return false;
	}

	/* From its xmax on a snapshot sees everybody run. */
	return xmin + (TransactionId) (snapshot->xmax - snapshot->xmin) >= floor;
}

int
cg_coherence_unknown(uint64 *xids, int size)
{
	int count;

	cg_boot_begin();
	count = Min(size, shared->unknown_count);
	memcpy(xids, shared->unknown, count * sizeof(uint64));
	return count;
}
