/*-------------------------------------------------------------------------
 *
 * unfinished.c
 *	  Rows of the outbox that no snapshot shows: of transactions that are
 *	  still under way, prepared ones among them, and of those that were rolled
 *	  back.
 *
 * A consumer that begins asks for them, because its predecessor may have done
 * for such a transaction what must be undone.  Nothing removes them before the
 * table is truncated: the tables are not vacuumed.  An index may have
 * forgotten those that were rolled back, so the tables themselves are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

/* Is the tuple in the slot not of a committed transaction? */
static bool
is_unfinished(TupleTableSlot *slot, TransactionId oldest)
{
	BufferHeapTupleTableSlot *tuple = (BufferHeapTupleTableSlot *) slot;
	HTSV_Result result;

	LockBuffer(tuple->buffer, BUFFER_LOCK_SHARE);
	result = HeapTupleSatisfiesVacuum(tuple->base.tuple, oldest, tuple->buffer);
	LockBuffer(tuple->buffer, BUFFER_LOCK_UNLOCK);
	return result == HEAPTUPLE_DEAD || result == HEAPTUPLE_INSERT_IN_PROGRESS;
}

static void
read_table(Relation table, void (*take)(const OutboxRow *row, void *argument),
		   void *argument)
{
	TransactionId oldest = GetOldestNonRemovableTransactionId(table);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan = table_beginscan(table, SnapshotAny, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool should_free;
		HeapTuple tuple;
		OutboxRow row;

		CHECK_FOR_INTERRUPTS();
		if (!is_unfinished(slot, oldest))
			continue;
		tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
		cg_outbox_fill_row(tuple, RelationGetDescr(table), &row);
		take(&row, argument);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Hand each of them to take.  Reads all tables from the start to the end. */
void
cg_outbox_read_unfinished(void (*take)(const OutboxRow *row, void *argument),
						  void *argument)
{
	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
	{
		Relation table = cg_outbox_open(i, AccessShareLock);

		read_table(table, take, argument);
		table_close(table, AccessShareLock);
	}
}
