/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  At which moment of a transaction what happens.
 *
 * PRE_COMMIT and PRE_PREPARE, still invisible to everybody: announce the
 * xid, stamp every touched slot once, then have the listener drop the
 * entries of the touched keys.  An error after that (another extension's
 * callback, a serialization failure) costs entries, never correctness:
 * "finished" does not tell commit from abort.
 *
 * COMMIT: the listener installs what the transaction set; it cannot fail.
 * ABORT: local memory is forgotten.  Nothing that decides correctness
 * happens in these two, and COMMIT PREPARED needs nothing at all: the stamps
 * carry the prepared xid, and snapshots resolve it.
 *
 * For standbys the stamps are logged as well, before they are made (wal.c).
 *
 * A transaction without an xid (an invalidation outside any writing) moves
 * the gens only: it must not prune, being unfinished in no snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "coherence/slots.h"

static const TransactionListener *listener = NULL;

/* Backend-local, of the current transaction. */
static bool stamped = false;
static bool is_preparing = false;	/* stamped at PRE_PREPARE */
static uint64 stamped_xid = 0;		/* 0: stamped without one */
static OwnStamp *own_stamps = NULL; /* sorted by slot */
static int own_stamp_count = 0;

/* Who wants to hear of the ends of transactions; the callbacks are static. */
void
cg_coherence_listen(const TransactionListener *new_listener)
{
	Assert(listener == NULL);
	listener = new_listener;
}

bool
cg_coherence_stamped(void)
{
	return stamped;
}

bool
cg_coherence_own_stamp(Dependency dependency, uint64 *before, uint64 *after)
{
	uint32 slot = cg_slots_index(dependency);
	int low = 0;
	int high = own_stamp_count;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (own_stamps[middle].slot < slot)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == own_stamp_count || own_stamps[low].slot != slot)
		return false;
	*before = own_stamps[low].gen_before;
	*after = own_stamps[low].gen_after;
	return true;
}

/* Snapshots skip the xids of such processes: they would count as finished while running. */
static void
refuse_unseen_process(void)
{
	if (MyProc->statusFlags & (PROC_IN_VACUUM | PROC_IN_LOGICAL_DECODING))
		elog(ERROR, "cannot invalidate cache entries in a process that snapshots ignore");
}

/* Show that xid is between its stamps and its end, and return a snapshot of now. */
static Snapshot
announce(uint64 xid)
{
	Snapshot fresh;

	/* Only who has an xid is surely past recovery. */
	cg_boot_begin();
	refuse_unseen_process();
	fresh = GetLatestSnapshot();
	cg_slots_announce(xid);
	return fresh;
}

/* A prepared transaction outlives its process, and perhaps this server's life. */
static void
announce_prepared(uint64 xid, Snapshot fresh)
{
	Dependency *dependencies;
	int count;

	/* PostgreSQL will say so in a moment. */
	if (max_prepared_xacts == 0)
		return;
	count = cg_pending_all(&dependencies);
	cg_prepared_announce(xid, dependencies, count, fresh);
}

/* Before the stamps, so that nothing is stamped if it fails; long before the commit. */
static void
log_touches(void)
{
	Dependency *touched;
	int count;

	if (!cg_coherence_is_logging())
		return;
	count = cg_pending_all(&touched);
	cg_wal_log_stamps(stamped_xid, touched, count, false);
	pfree(touched);
}

static void
before_end(bool preparing)
{
	FullTransactionId xid =
		preparing ? GetTopFullTransactionId() : GetTopFullTransactionIdIfAny();
	Snapshot fresh = NULL;
	Dependency *keys;
	int key_count;

	if (stamped)
		return;
	if (listener)
		listener->before_stamp(preparing);

	own_stamp_count = cg_pending_slots(&own_stamps);
	key_count = cg_pending_keys(&keys);
	stamped_xid = U64FromFullTransactionId(xid);
	is_preparing = preparing;

	if (preparing || (own_stamp_count > 0 && stamped_xid != 0))
		fresh = announce(stamped_xid);
	if (preparing)
		announce_prepared(stamped_xid, fresh);
	if (own_stamp_count > 0)
		log_touches();
	for (int i = 0; i < own_stamp_count; i++)
		cg_slots_stamp(&own_stamps[i], stamped_xid, fresh);

	cg_catalog_announce();

	/* From here on touches are stamped at once. */
	stamped = true;
	if (listener)
		listener->stamped(keys, key_count, preparing);
}

/*
 * Another extension's callback changed a row after our stamps: stamp and
 * drop now, still before the transaction is visible.
 */
void
cg_transaction_stamp_late(Dependency dependency, bool is_key)
{
	uint64 xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	OwnStamp stamp = {.slot = cg_slots_index(dependency)};
	Snapshot fresh = NULL;

	if (xid != 0)
	{
		fresh = announce(xid);
		stamped_xid = xid;
	}
	if (is_preparing)
		cg_prepared_announce_late();
	if (cg_coherence_is_logging())
		cg_wal_log_stamps(xid, &dependency, 1, false);
	cg_slots_stamp(&stamp, xid, fresh);
	if (listener && is_key)
		listener->stamped(&dependency, 1, false);
}

void
cg_coherence_move(Dependency dependency)
{
	OwnStamp stamp = {.slot = cg_slots_index(dependency)};

	if (cg_coherence_is_logging())
		cg_wal_log_stamps(0, &dependency, 1, false);
	cg_slots_stamp(&stamp, 0, NULL);
}

/* A standby redoes a stamp: drop the entries with this key.  Cannot fail. */
void
cg_transaction_redo_drop(Dependency key)
{
	if (listener)
		listener->redone(key);
}

/* A standby has redone DROP DATABASE.  Cannot fail. */
void
cg_transaction_redo_database_drop(Oid database)
{
	if (listener)
		listener->database_dropped(database);
}

static void
after_end(bool committed)
{
	if (stamped_xid != 0)
		cg_slots_withdraw();
	if (listener && committed)
		listener->committed();
	else if (listener)
		listener->aborted();

	cg_pending_reset();
	stamped = false;
	is_preparing = false;
	cg_prepared_forget();
	stamped_xid = 0;
	own_stamps = NULL;
	own_stamp_count = 0;
}

static void
transaction_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_end(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			before_end(true);
			break;
		case XACT_EVENT_COMMIT:
			after_end(true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			after_end(false);
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

static void
subtransaction_callback(SubXactEvent event, SubTransactionId subxid,
						SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		cg_pending_subcommit(level);
		if (listener)
			listener->subcommitted(level);
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		cg_pending_subabort(level);
		if (listener)
			listener->subaborted(level);
	}
}

/* At load time, in the postmaster: every backend inherits the callbacks. */
void
cg_coherence_init(void)
{
	RegisterXactCallback(transaction_callback, NULL);
	RegisterSubXactCallback(subtransaction_callback, NULL);
	cg_catalog_init();
	cg_wal_init();
}
