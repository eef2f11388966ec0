/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  Reads what one snapshot sees of the outbox and a position did not.
 *
 * First the rows of the transactions that ran at the position, then, over
 * the three tables together in the order of their transactions, the rows
 * from its xmax on.  Whoever stops between two transactions of the second
 * part has a position of his own: everything before, seen by the snapshot.
 * Such a cut does not follow the order of commits; it need not, because what
 * is read are touches, not values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

/* A scan of one table, and the row it stands on. */
typedef struct TableReader
{
	Relation table;
	Relation index;
	SysScanDesc scan; /* NULL: at the end, or not begun */
	HeapTuple head;	  /* owned by the scan; NULL: at the end */
	uint64 xid;		  /* of head */
} TableReader;

struct OutboxReader
{
	Snapshot snapshot;
	OutboxPosition *from;
	OutboxPosition *seen; /* what the snapshot sees */
	TableReader tables[CG_OUTBOX_TABLES];
	int table;		 /* the table that the last row is of, -1: none */
	int straggler;	 /* index into from->running, or its count: second part */
	uint64 last_xid; /* of the last row of the second part */
};

static void
advance(TableReader *table)
{
	bool is_null;

	table->head = systable_getnext_ordered(table->scan, ForwardScanDirection);
	if (table->head)
		table->xid = DatumGetUInt64(heap_getattr(
			table->head, OUTBOX_XID, RelationGetDescr(table->table), &is_null));
}

static void
open_table(TableReader *table, int number)
{
	table->table = cg_outbox_open(number, AccessShareLock);
	table->index = cg_outbox_open_index(number, table->table, AccessShareLock);
}

static void
close_table(TableReader *table)
{
	index_close(table->index, AccessShareLock);
	table_close(table->table, AccessShareLock);
}

static void
end_scan(TableReader *table)
{
	if (table->scan)
		systable_endscan_ordered(table->scan);
	table->scan = NULL;
	table->head = NULL;
}

/* Scan the table for rows whose xid stands so to the given one. */
static void
begin_scan(TableReader *table, Snapshot snapshot, StrategyNumber strategy, uint64 xid)
{
	ScanKeyData key;

	ScanKeyInit(&key, OUTBOX_XID, strategy,
				strategy == BTEqualStrategyNumber ? F_XID8EQ : F_XID8GE,
				UInt64GetDatum(xid));
	end_scan(table);
	table->scan =
		systable_beginscan_ordered(table->table, table->index, snapshot, 1, &key);
	advance(table);
}

static void
begin_scans(OutboxReader *reader, StrategyNumber strategy, uint64 xid)
{
	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
		begin_scan(&reader->tables[i], reader->snapshot, strategy, xid);
	reader->table = -1;
}

/* The table whose head is to be read next, -1 if none has one. */
static int
first_table(const OutboxReader *reader)
{
	int first = -1;

	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
	{
		const TableReader *table = &reader->tables[i];

		if (table->head && (first < 0 || table->xid < reader->tables[first].xid))
			first = i;
	}
	return first;
}

/* Go on to the next straggler that the snapshot sees, or to the second part. */
static void
begin_next_part(OutboxReader *reader)
{
	const OutboxPosition *from = reader->from;

	while (++reader->straggler < from->running_count)
	{
		uint64 xid = from->running[reader->straggler];

		if (cg_outbox_position_covers(reader->seen, xid))
		{
			begin_scans(reader, BTEqualStrategyNumber, xid);
			return;
		}
	}
	reader->straggler = from->running_count;
	begin_scans(reader, BTGreaterEqualStrategyNumber, from->xmax);
}

/*
 * Begin to read the batch that lies between the position and the snapshot,
 * which must be registered or active until the end, and not older than the
 * position.
 */
OutboxReader *
cg_outbox_read_begin(const OutboxPosition *from, Snapshot snapshot)
{
	OutboxReader *reader = palloc0(sizeof(OutboxReader));

	reader->snapshot = snapshot;
	reader->from = cg_outbox_position_copy(from);
	reader->seen = cg_outbox_position_of(snapshot);
	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
		open_table(&reader->tables[i], i);
	reader->straggler = -1;
	begin_next_part(reader);
	return reader;
}

/* A row from its tuple, for as long as that is there. */
void
cg_outbox_fill_row(HeapTuple tuple, TupleDesc desc, OutboxRow *row)
{
	Datum values[CG_OUTBOX_COLUMNS];
	bool nulls[CG_OUTBOX_COLUMNS];
	const struct varlena *payload;

	heap_deform_tuple(tuple, desc, values, nulls);
	payload = (const struct varlena *) DatumGetPointer(values[OUTBOX_PAYLOAD - 1]);
	row->xid =
		U64FromFullTransactionId(DatumGetFullTransactionId(values[OUTBOX_XID - 1]));
	row->written = DatumGetTimestampTz(values[OUTBOX_WRITTEN - 1]);
	row->flags = DatumGetInt16(values[OUTBOX_FLAGS - 1]);
	row->payload = VARDATA_ANY(payload);
	row->size = VARSIZE_ANY_EXHDR(payload);
}

/* Leave the row that was read last behind. */
static void
leave_row(OutboxReader *reader)
{
	if (reader->table >= 0)
		advance(&reader->tables[reader->table]);
	reader->table = -1;
}

/* The next row; false at the end of the batch. */
bool
cg_outbox_read_next(OutboxReader *reader, OutboxRow *row)
{
	int table;

	leave_row(reader);
	while ((table = first_table(reader)) < 0)
	{
		if (reader->straggler == reader->from->running_count)
			return false;
		begin_next_part(reader);
	}

	reader->table = table;
	cg_outbox_fill_row(reader->tables[table].head,
					   RelationGetDescr(reader->tables[table].table), row);
	if (reader->straggler == reader->from->running_count)
		reader->last_xid = row->xid;
	return true;
}

/*
 * Everything the snapshot sees below xmax.  Who ran at the old position and
 * still runs is below any xmax of the second part.
 */
static OutboxPosition *
cut_position(const OutboxPosition *seen, uint64 xmax)
{
	OutboxPosition *position = cg_outbox_position_copy(seen);

	position->xmax = xmax;
	while (position->running_count > 0 &&
		   position->running[position->running_count - 1] >= xmax)
		position->running_count--;
	return position;
}

/*
 * Would ending here give a position behind all that has been read?  It would
 * not among the rows of one transaction.  Invalidates the last row.
 */
bool
cg_outbox_read_may_end(OutboxReader *reader)
{
	int next;

	if (reader->straggler < reader->from->running_count)
		return false;
	leave_row(reader);
	next = first_table(reader);
	return next < 0 || reader->tables[next].xid != reader->last_xid;
}

/*
 * End reading.  The position that has now been read to, palloc'd: the
 * snapshot's own at the end of the batch; a cut before the first transaction
 * that has not been read whole; NULL if there is none, because the reader
 * stopped among the rows of one that ran at the old position.
 */
OutboxPosition *
cg_outbox_read_end(OutboxReader *reader)
{
	OutboxPosition *position = NULL;

	if (reader->straggler == reader->from->running_count)
	{
		int next;

		leave_row(reader);
		next = first_table(reader);
		if (next < 0)
			position = cg_outbox_position_copy(reader->seen);
		else
			position = cut_position(reader->seen, reader->tables[next].xid);
	}

	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
	{
		end_scan(&reader->tables[i]);
		close_table(&reader->tables[i]);
	}
	return position;
}

/*
 * Hand each row that the transaction has written to take, whether it has ended
 * or not, and what it has taken back, too.
 */
void
cg_outbox_read_own(uint64 xid, void (*take)(const OutboxRow *row, void *argument),
				   void *argument)
{
	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
	{
		TableReader table = {NULL};
		OutboxRow row;

		open_table(&table, i);
		begin_scan(&table, SnapshotAny, BTEqualStrategyNumber, xid);
		for (; table.head; advance(&table))
		{
			cg_outbox_fill_row(table.head, RelationGetDescr(table.table), &row);
			take(&row, argument);
		}
		end_scan(&table);
		close_table(&table);
	}
}

/* Has the position covered every row of the table that the snapshot sees? */
bool
cg_outbox_is_read(int number, const OutboxPosition *position, Snapshot snapshot)
{
	TableReader table = {NULL};
	bool unread;

	open_table(&table, number);
	begin_scan(&table, snapshot, BTGreaterEqualStrategyNumber, position->xmax);
	unread = table.head != NULL;
	for (int i = 0; i < position->running_count && !unread; i++)
	{
		begin_scan(&table, snapshot, BTEqualStrategyNumber, position->running[i]);
		unread = table.head != NULL;
	}
	end_scan(&table);
	close_table(&table);
	return !unread;
}
