/*-------------------------------------------------------------------------
 *
 * recovery.c
 *	  May derived entries be believed on a standby, and from when on?
 *
 * A standby redoes the stamps of its primary, so the rule of snapshot.c is
 * exact there as well, provided that it has got every stamp.  It has not got
 * those from before it began to read the log, nor any while the primary did
 * not write them.  So it believes nothing until a record says that stamps are
 * being logged.  Then it sets its floor, the next xid: whoever has stamped
 * unseen, or not at all, wrote to the log before that record, so his xid is
 * lower, and a snapshot that is not older than the floor has him finished.  Prepared
 * transactions stay for long.  So that record tells of whom the stamps have all been
 * logged again before it: a snapshot that has nobody unfinished from below the
 * floor but those is believed, too.
 *
 * It ceases to believe with a record that says that logging ends, and with
 * every sign that the primary was started anew, as it may have been without us:
 * first the floor goes, so that whoever takes a snapshot of what comes next
 * finds it gone, then every entry and every fill under way is ended.  A fill
 * asks for the floor after it has read a gen.  If that gen is one from after
 * the end, the floor is gone, or already that of the next beginning, which
 * is above every snapshot that lacks a change from in between.
 *
 * Who stamps in recovery is the startup process alone.  It keeps a list of the
 * transactions that have stamped and not ended, and prunes slots by that: in a
 * snapshot of a standby that has one of them unfinished, the present stamper
 * is unfinished, too.  Whether they have ended says clog, which is sound in
 * this process only: when it redoes a stamp, every commit before is redone as
 * a whole.
 *
 * Shared memory: atomic words, written by the startup process, and the list of those who
 * are known, under a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "coherence/slots.h"

/* How often, and in the later half after how long, to look whether a record is redone. */
#define REDO_TRIES			   40
#define REDO_WAIT_MICROSECONDS 100

/* In shared memory. */
typedef struct RecoveryShared
{
	pg_atomic_uint64 floor; /* snapshots from this xid on are believed; 0: none */
	pg_atomic_uint32 doubt; /* RecoveryDoubt: why the floor is 0 */
	/* Below the floor, but all they stamped is here; sorted. */
	int known_count;
	uint64 known[CG_KNOWN_MAX];
} RecoveryShared;

static RecoveryShared *shared = NULL;
static LWLock *known_lock = NULL; /* guards known, and the floor when it is set */

/* Of the startup process: who has stamped and not ended, as a snapshot shows it. */
static SnapshotData stampers;
static uint32 stamper_size = 0; /* allocated */

/* Of the startup process: has it redone all stamps that are logged again? */
static bool hears_again = false;

Size
cg_recovery_shmem_size(void)
{
	return sizeof(RecoveryShared);
}

void
cg_recovery_shmem_init(LWLock *lock)
{
	bool found;

	known_lock = lock;
	shared = ShmemInitStruct("cachegrid recovery", cg_recovery_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, cg_recovery_shmem_size());
	pg_atomic_init_u64(&shared->floor, 0);
	pg_atomic_init_u32(&shared->doubt, DOUBT_NOTHING_SEEN);
}

/* In the startup process, before it redoes anything: redoing may not allocate. */
void
cg_recovery_begin(void)
{
	stamper_size = cg_slots_stampers_max();
	stampers.subxip =
		MemoryContextAlloc(TopMemoryContext, stamper_size * sizeof(TransactionId));
	stampers.subxcnt = 0;
	stampers.snapshot_type = SNAPSHOT_MVCC;
	stampers.takenDuringRecovery = true;
}

static bool
is_known(uint64 xid)
{
	return bsearch(&xid, shared->known, shared->known_count, sizeof(uint64),
				   cg_snapshot_compare) != NULL;
}

/*
 * Of all who are unfinished in the snapshot, is each one from after the floor, or known?
 * From its xmax on everybody is.
 */
static bool
has_only_known(Snapshot snapshot, uint64 xmin)
{
	uint64 xmax = xmin + (TransactionId) (snapshot->xmax - snapshot->xmin);
	uint64 floor;
	bool only_known;

	LWLockAcquire(known_lock, LW_SHARED);
	floor = pg_atomic_read_u64(&shared->floor);
	only_known = floor != 0;
	for (int32 i = 0; i < snapshot->subxcnt && only_known; i++)
	{
		uint64 xid = xmin + (TransactionId) (snapshot->subxip[i] - snapshot->xmin);

		only_known = xid >= floor || is_known(xid);
	}
	for (uint64 xid = xmax; xid < floor && only_known; xid++)
		only_known = is_known(xid);
	LWLockRelease(known_lock);
	return only_known;
}

/*
 * Is a snapshot of this widened xmin, taken on a standby, not older than what
 * we know?  Any gen that the answer is for is to be read before.
 */
bool
cg_recovery_believes(Snapshot snapshot, uint64 xmin)
{
	uint64 floor = pg_atomic_read_u64(&shared->floor);

	pg_read_barrier();
	if (floor == 0 || likely(xmin >= floor))
		return floor != 0;
	return has_only_known(snapshot, xmin);
}

/* Why nothing is believed, whatever the snapshot. */
RecoveryDoubt
cg_recovery_doubt(void)
{
	if (pg_atomic_read_u64(&shared->floor) != 0)
		return DOUBT_NONE;
	return pg_atomic_read_u32(&shared->doubt);
}

static bool
has_ended(TransactionId xid)
{
	/* Of older ones clog may be gone. */
	return TransactionIdPrecedes(xid, cg_oldest_clog_xid()) ||
		   TransactionIdDidCommit(xid) || TransactionIdDidAbort(xid);
}

/* What prepared transactions have stamped follows, once more.  In the startup process. */
void
cg_recovery_hears_again(void)
{
	hears_again = true;
}

/*
 * A record says that from here on stamps are logged, and that those of known, which is
 * sorted, have been, since the record before that said so.  Who has ended meanwhile is
 * not known, as his stamps were not redone.  In the startup process.
 */
void
cg_recovery_believe(const uint64 *known, int count)
{
	bool believed = pg_atomic_read_u64(&shared->floor) != 0;

	LWLockAcquire(known_lock, LW_EXCLUSIVE);
	shared->known_count = 0;
	for (int i = 0; i < count && hears_again; i++)
		if (!has_ended((TransactionId) known[i]))
			shared->known[shared->known_count++] = known[i];
	if (!believed)
		pg_atomic_write_u64(&shared->floor, cg_next_full_xid());
	LWLockRelease(known_lock);
	hears_again = false;
	if (believed)
		return;
	ereport(LOG, errmsg("cachegrid begins to serve values computed from tables"),
			errdetail("The primary logs what its transactions invalidate."));
}

/* From the next record on stamps may be missing.  In the startup process. */
void
cg_recovery_doubts(RecoveryDoubt doubt)
{
	bool believed = pg_atomic_read_u64(&shared->floor) != 0;

	pg_atomic_write_u32(&shared->doubt, doubt);
	stampers.subxcnt = 0;
	if (!believed)
		return;
	pg_atomic_write_u64(&shared->floor, 0);
	pg_memory_barrier();
	cg_slots_move_homes();
	ereport(LOG, errmsg("cachegrid ceases to serve values computed from tables"),
			errdetail("%s", cg_recovery_explain(doubt)));
}

/* Forget who has ended, and find the oldest of the others. */
static void
forget_ended(void)
{
	int32 kept = 0;

	stampers.xmax = (TransactionId) cg_next_full_xid();
	stampers.xmin = stampers.xmax;
	for (int32 i = 0; i < stampers.subxcnt; i++)
	{
		TransactionId xid = stampers.subxip[i];

		if (has_ended(xid))
			continue;
		stampers.subxip[kept++] = xid;
		if (TransactionIdPrecedes(xid, stampers.xmin))
			stampers.xmin = xid;
	}
	stampers.subxcnt = kept;
}

/*
 * A stamp of this xid is being redone: who has stamped and not ended, itself
 * included, as a snapshot in which exactly those are unfinished.  NULL if it has ended,
 * as the stamp is one that was logged again: whom it would drop from a slot may
 * have ended later, and be needed there.
 */
Snapshot
cg_recovery_stampers(uint64 xid)
{
	TransactionId low = (TransactionId) xid;

	if (has_ended(low))
		return NULL;
	forget_ended();
	for (int32 i = 0; i < stampers.subxcnt; i++)
		if (stampers.subxip[i] == low)
			return &stampers;
	if (stampers.subxcnt == stamper_size)
		cg_recovery_doubts(DOUBT_TOO_MANY);
	if (stampers.subxcnt == 0 || TransactionIdPrecedes(low, stampers.xmin))
		stampers.xmin = low;
	stampers.subxip[stampers.subxcnt++] = low;
	return &stampers;
}

/*
 * Is nothing being redone that was when we were called?  What a record changes
 * is visible a moment before the messages about it are sent: if a snapshot
 * sees it, and this is true after the snapshot was taken, they are sent.
 */
bool
cg_recovery_is_between_records(void)
{
	XLogRecPtr current = GetCurrentReplayRecPtr(NULL);

	/* A record takes some microseconds, or as long as others hold a lock. */
	for (int tries = 0; tries < REDO_TRIES; tries++)
	{
		if (GetXLogReplayRecPtr(NULL) >= current)
			return true;
		if (tries >= REDO_TRIES / 2)
			pg_usleep(REDO_WAIT_MICROSECONDS);
	}
	return false;
}

/* In a sentence; untranslated, as every message of ours. */
const char *
cg_recovery_explain(RecoveryDoubt doubt)
{
	switch (doubt)
	{
		case DOUBT_NONE:
			break;
		case DOUBT_NOTHING_SEEN:
			return "Nothing in the log has said so far that the primary logs what its "
				   "transactions invalidate.";
		case DOUBT_OFF:
			return "The primary no longer logs what its transactions invalidate.";
		case DOUBT_RESTARTED:
			return "The primary was started anew, or is another one, and has not said "
				   "since that it logs what its transactions invalidate.";
		case DOUBT_FORMAT:
			return "The primary has another version of cachegrid, whose log this one "
				   "cannot read.";
		case DOUBT_TOO_MANY:
			return "More transactions of the primary are between their stamps and their "
				   "ends than this server can have.";
	}
	return NULL;
}
