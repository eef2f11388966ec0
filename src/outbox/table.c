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
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

/* One, and what REINDEX CONCURRENTLY made: at work now, and when it failed. */
#define MAX_INDEXES 8

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
				errdetail("The extension has been damaged by hand."),
				errhint("Create the extension cachegrid anew."));
	return table_open(relation, lockmode);
}

/* A btree on nothing but xid?  Any other is not for us to keep up. */
static bool
is_on_xid(Relation index)
{
	Form_pg_index form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID && form->indnatts == 1 &&
		   form->indkey.values[0] == OUTBOX_XID &&
		   heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/* REINDEX CONCURRENTLY makes a second index, and leaves it behind if it fails. */
static Oid
find_index(Relation table)
{
	List *indexes = RelationGetIndexList(table);
	Oid found = InvalidOid;
	ListCell *cell;

	foreach (cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && is_on_xid(index))
			found = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (!OidIsValid(found))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" has no index on column \"xid\"",
					   RelationGetRelationName(table)),
				errdetail("The extension has been damaged by hand."),
				errhint("Create the extension cachegrid anew."));
	return found;
}

/* Opens the btree on xid of the table of this number, to read it. */
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

/* The indexes that a new row must be entered into, opened. */
typedef struct OpenIndexes
{
	int count;
	Relation indexes[MAX_INDEXES];
	IndexInfo *infos[MAX_INDEXES];
} OpenIndexes;

static void
open_indexes(Relation table, OpenIndexes *open)
{
	List *indexes = RelationGetIndexList(table);
	ListCell *cell;

	open->count = 0;
	foreach (cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), RowExclusiveLock);

		if (!is_on_xid(index) || open->count == MAX_INDEXES)
			ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\" must have no index \"%s\"",
						   RelationGetRelationName(table),
						   RelationGetRelationName(index)),
					errdetail("Only its own is kept up to date."),
					errhint("Drop the index."));
		open->indexes[open->count] = index;
		open->infos[open->count++] = BuildIndexInfo(index);
	}
	list_free(indexes);
}

/* Their locks stay. */
static void
close_indexes(OpenIndexes *open)
{
	for (int i = 0; i < open->count; i++)
	{
		pfree(open->infos[i]);
		index_close(open->indexes[i], NoLock);
	}
}

static void
insert_row(Relation table, OpenIndexes *open, Datum *values)
{
	static const bool nulls[CG_OUTBOX_COLUMNS] = {false};
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), values, (bool *) nulls);

	heap_insert(table, tuple, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < open->count; i++)
	{
		if (open->infos[i]->ii_ReadyForInserts)
			index_insert(open->indexes[i], values, (bool *) nulls, &tuple->t_self, table,
						 UNIQUE_CHECK_NO, false, open->infos[i]);
	}
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
insert_rows(Relation table, OpenIndexes *open, const char *records, Size size,
			int16 flags)
{
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
		insert_row(table, open, values);
		records += taken;
		size -= taken;
	}
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
	OpenIndexes open;
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

	open_indexes(relation, &open);
	insert_rows(relation, &open, records, size, flags);
	close_indexes(&open);

	if (pushed)
		PopActiveSnapshot();
	table_close(relation, NoLock);
}
