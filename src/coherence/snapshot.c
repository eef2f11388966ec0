/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  The rule: is a slot settled in a snapshot?
 *
 * Slots hold full top-level xids.  A snapshot's 32-bit xids are widened by
 * the next xid to be assigned, from which they are never half the circle
 * away, so that nothing in a slot ever ages.  Top-level xids always stand in
 * the snapshot's own arrays, even when it overflowed with subtransactions,
 * so pg_subtrans is never asked.  A snapshot of a standby has all xids, of
 * either kind, in the array of subtransactions.
 *
 * Whether a snapshot is young enough for what the slots know is told by boot.c,
 * on a standby by recovery.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "coherence/slots.h"

/* The full xid of one that a snapshot may list. */
uint64
cg_snapshot_widen(TransactionId xid)
{
	uint64 next = cg_next_full_xid();

	return next + (int32) (xid - (TransactionId) next);
}

/* The oldest xid that runs in the snapshot, widened. */
uint64
cg_snapshot_xmin(Snapshot snapshot)
{
	return cg_snapshot_widen(snapshot->xmin);
}

/* For qsort() and bsearch(), of full xids. */
int
cg_snapshot_compare(const void *left, const void *right)
{
	uint64 a = *(const uint64 *) left;
	uint64 b = *(const uint64 *) right;

	return (a > b) - (a < b);
}

/* Is this top-level xid finished in the snapshot, whose widened xmin is given? */
bool
cg_snapshot_finished(uint64 xid, Snapshot snapshot, uint64 xmin)
{
	TransactionId low = (TransactionId) xid;
	const TransactionId *running = snapshot->xip;
	uint32 count = snapshot->xcnt;

	if (xid < xmin)
		return true;
	if (xid >= xmin + (TransactionId) (snapshot->xmax - snapshot->xmin))
		return false;
	if (snapshot->takenDuringRecovery)
	{
		running = snapshot->subxip;
		count = snapshot->subxcnt;
	}
	for (uint32 i = 0; i < count; i++)
		if (running[i] == low)
			return false;
	return true;
}

/* Is the snapshot young enough for what this memory knows? */
bool
cg_coherence_believes(Snapshot snapshot)
{
	if (snapshot->takenDuringRecovery != RecoveryInProgress())
		return false;
	if (snapshot->takenDuringRecovery)
		return cg_recovery_believes(snapshot, cg_snapshot_xmin(snapshot));
	return cg_boot_knows(snapshot);
}

const char *
cg_coherence_refusal(void)
{
	Snapshot snapshot = GetLatestSnapshot();

	if (snapshot->takenDuringRecovery && cg_recovery_doubt() != DOUBT_NONE)
		return cg_recovery_explain(cg_recovery_doubt());
	if (cg_coherence_believes(snapshot))
		return NULL;
	if (snapshot->takenDuringRecovery)
		return "A transaction of the primary that is older than what is known of it has "
			   "not ended.";
	return "A transaction that was prepared before the start has not ended.";
}

/*
 * The active snapshot if the rule can be applied in it, else NULL: derived
 * entries must then be bypassed.
 */
Snapshot
cg_coherence_snapshot(void)
{
	Snapshot snapshot;

	if (!ActiveSnapshotSet() || IsolationIsSerializable() || IsParallelWorker() ||
		cg_coherence_catalog_command_runs())
		return NULL;
	snapshot = GetActiveSnapshot();
	if (snapshot->snapshot_type != SNAPSHOT_MVCC)
		return NULL;
	return cg_coherence_believes(snapshot) ? snapshot : NULL;
}

/* What kept cg_coherence_snapshot from returning one. */
CoherenceObstacle
cg_coherence_obstacle(void)
{
	if (cg_coherence_catalog_command_runs())
		return OBSTACLE_OWN_CATALOG_CHANGE;
	if (!ActiveSnapshotSet() || IsolationIsSerializable() || IsParallelWorker() ||
		GetActiveSnapshot()->snapshot_type != SNAPSHOT_MVCC)
		return OBSTACLE_ISOLATION;
	return OBSTACLE_RECOVERY;
}

/*
 * Is everybody who stamped the dependency's slot finished in the snapshot?
 * *gen is the slot's gen in either case.
 */
bool
cg_coherence_settled(Dependency dependency, Snapshot snapshot, uint64 *gen)
{
	uint64 xmin = cg_snapshot_xmin(snapshot);
	SlotState slot;

	cg_slots_read(cg_slots_index(dependency), &slot);
	*gen = slot.gen;
	if (slot.floor >= xmin)
		return false;
	for (uint32 i = 0; i < slot.count; i++)
		if (!cg_snapshot_finished(slot.xids[i], snapshot, xmin))
			return false;
	return !snapshot->takenDuringRecovery || cg_recovery_believes(snapshot, xmin);
}

/* The gen that the dependency's slot has now; whoever stamped it may still run. */
uint64
cg_coherence_gen(Dependency dependency)
{
	return cg_slots_gen(cg_slots_index(dependency));
}
