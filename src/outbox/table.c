/*-------------------------------------------------------------------------
 *
 * table.c
 *	  The tables of the outbox: finding them, and inserting without SPI,
 *	  which would cost twice as much as the rest of a small transaction's
 *	  report.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

/* What was looked up, until the relation cache says that it may have changed. */
typedef struct TableLocal
{
	Oid table; /* InvalidOid: not looked up */
	Oid index;
} TableLocal;

static TableLocal known[CG_OUTBOX_TABLES];

static void
relation_changed(Datum argument, Oid relation)
{
	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
	{
		if (relation == InvalidOid || relation == known[i].table)
			known[i].table = InvalidOid;
	}
}

/* InvalidOid if there is no such table. */
static Oid
find_table(int table)
{
	static const char *const names[CG_OUTBOX_TABLES] = {"outbox_0", "outbox_1",
														"outbox_2"};
	Oid schema;

	if (OidIsValid(known[table].table))
		return known[table].table;

	schema = get_namespace_oid("cachegrid", true);
	if (OidIsValid(schema))
	{
		known[table].table = get_relname_relid(names[table], schema);
		known[table].index = InvalidOid;
	}
	return known[table].table;
}

/* Opens cachegrid.outbox_<table>.  Raises an error if it is not there. */
Relation
cg_outbox_open(int table, LOCKMODE lockmode)
{
	Oid relation = find_table(table);

	if (!OidIsValid(relation))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("table \"cachegrid.outbox_%d\" does not exist", table),
				errhint("Create the extension cachegrid anew."));
	return table_open(relation, lockmode);
}

static Oid
find_index(Relation table)
{
	List *indexes = RelationGetIndexList(table);
	Oid index;

	if (list_length(indexes) != 1)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" must have exactly one index",
					   RelationGetRelationName(table)));
	index = linitial_oid(indexes);
	list_free(indexes);
	return index;
}

/* Opens the one index, the btree on xid, of the table of this number. */
Relation
cg_outbox_open_index(int number, Relation table, LOCKMODE lockmode)
{
	TableLocal *local = &known[number];

	if (local->table != RelationGetRelid(table) || !OidIsValid(local->index))
		local->index = find_index(table);
	return index_open(local->index, lockmode);
}

/* Called once, when the library is preloaded. */
void
cg_outbox_table_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

static void
insert_row(Relation table, Relation index, IndexInfo *index_info, Datum *values)
{
	static const bool nulls[CG_OUTBOX_COLUMNS] = {false};
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), values, (bool *) nulls);

	heap_insert(table, tuple, GetCurrentCommandId(true), 0, NULL);
	index_insert(index, values, (bool *) nulls, &tuple->t_self, table, UNIQUE_CHECK_NO,
				 false, index_info);
	heap_freetuple(tuple);
}

/* Bytes of the whole records at the start of records that fit into one row. */
static Size
measure_row(const char *records, Size size)
{
	Size taken = 0;

	while (taken < size)
	{
		OutboxHeader header;
		Size next;

		memcpy(&header, records + taken, CG_OUTBOX_HEADER_BYTES);
		next = taken + CG_OUTBOX_HEADER_BYTES + header.key_size;
		if (next > CG_OUTBOX_ROW_BYTES)
			break;
		taken = next;
	}
	return taken;
}

static void
insert_rows(Relation table, Relation index, const char *records, Size size, int16 flags)
{
	IndexInfo *index_info = BuildIndexInfo(index);
	char payload[VARHDRSZ + CG_OUTBOX_ROW_BYTES];
	Datum values[CG_OUTBOX_COLUMNS];

	values[OUTBOX_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[OUTBOX_WRITTEN - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[OUTBOX_FLAGS - 1] = Int16GetDatum(flags);
	values[OUTBOX_PAYLOAD - 1] = PointerGetDatum(payload);

	while (size > 0)
	{
		Size taken = measure_row(records, size);

		SET_VARSIZE(payload, VARHDRSZ + taken);
		memcpy(VARDATA(payload), records, taken);
		insert_row(table, index, index_info, values);
		records += taken;
		size -= taken;
	}

	pfree(index_info);
}

/*
 * Writes whole records as rows of the table.  Its lock stays until the
 * transaction ends: who can take it exclusively knows that nobody has
 * uncommitted rows in the table.  Does nothing if the transaction has dropped
 * the extension.
 */
void
cg_outbox_insert(int table, const char *records, Size size, int16 flags)
{
	Relation relation;
	Relation index;
	bool pushed = false;

	if (!OidIsValid(find_table(table)))
		return;
	relation = cg_outbox_open(table, RowExclusiveLock);

	/* Before commit there may be no snapshot left. */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}

	index = cg_outbox_open_index(table, relation, RowExclusiveLock);
	insert_rows(relation, index, records, size, flags);
	index_close(index, NoLock);

	if (pushed)
		PopActiveSnapshot();
	table_close(relation, NoLock);
}
