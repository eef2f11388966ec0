/*-------------------------------------------------------------------------
 *
 * table.c
 *	  A mirrored table: its unique index, and the row behind a key.
 *
 * A key's columns are the columns of its mirror's template, each once, in
 * the order in which they first appear.  The columns of a unique index are
 * among them, so that at most one row has a key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_index.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

static int
find_attnum(const AttrNumber *attnums, int count, AttrNumber attnum)
{
	for (int i = 0; i < count; i++)
	{
		if (attnums[i] == attnum)
			return i;
	}
	return -1;
}

/* Unique for all rows, over these columns and no others, none of which is NULL? */
static bool
index_fits(Relation index, TupleDesc desc, const AttrNumber *attnums, int count)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indisvalid || !form->indisready ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		form->indnkeyatts > CG_OUTBOX_MAX_COLUMNS)
		return false;

	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber attnum = form->indkey.values[i];

		if (find_attnum(attnums, count, attnum) < 0 ||
			!TupleDescAttr(desc, attnum - 1)->attnotnull || index->rd_indoption[i] != 0)
			return false;
	}
	return true;
}

/*
 * A unique, not partial, ascending index whose columns are all NOT NULL and
 * among these; the primary key if it is one, else InvalidOid if there is
 * none.
 */
Oid
cg_mirror_find_index(Relation relation, const AttrNumber *attnums, int count)
{
	List *indexes = RelationGetIndexList(relation);
	Oid found = InvalidOid;
	ListCell *cell;

	foreach (cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index_fits(index, RelationGetDescr(relation), attnums, count) &&
			(!OidIsValid(found) || index->rd_index->indisprimary))
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* Scan keys for equality; their arguments are filled in for each lookup. */
static void
prepare_lookup(MirrorTable *table)
{
	Relation index = table->index;

	table->index_count = index->rd_index->indnkeyatts;
	table->lookup_keys = palloc0(table->index_count * sizeof(ScanKeyData));
	for (int i = 0; i < table->index_count; i++)
	{
		Oid type = index->rd_opcintype[i];
		Oid equal =
			get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		table->index_keys[i] = find_attnum(table->keys.attnums, table->keys.count,
										   index->rd_index->indkey.values[i]);
		ScanKeyEntryInitialize(&table->lookup_keys[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, index->rd_indcollation[i], get_opcode(equal),
							   (Datum) 0);
	}
}

static void
open_index(MirrorTable *table)
{
	Oid index =
		cg_mirror_find_index(table->relation, table->keys.attnums, table->keys.count);

	if (!OidIsValid(index))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" has no unique index for its mirror's key any more",
					   RelationGetRelationName(table->relation)),
				errdetail("Several rows could have one key."),
				errhint("Create it again, or unmirror the table."));
	table->index = index_open(index, AccessShareLock);
	prepare_lookup(table);
}

/*
 * Open a mirrored table to read it under the snapshot, which stays active or
 * registered until the table is closed.  The caller holds ACCESS SHARE on
 * it.  Everything is palloc'd in the current context, which must not be
 * reset before.  Raises an error if the mirror's columns or index are gone.
 */
MirrorTable *
cg_mirror_table_open(const MirrorDefinition *definition, Snapshot snapshot)
{
	MirrorTable *table = palloc0(sizeof(MirrorTable));

	table->definition = definition;
	table->snapshot = snapshot;
	table->relation = table_open(definition->relation, AccessShareLock);
	table->blocks = RelationGetNumberOfBlocks(table->relation);
	cg_mirror_keys_open(&table->keys, definition, table->relation);
	if (definition->mode != MIRROR_INVALIDATE)
	{
		open_index(table);
		table->encoder = cg_mirror_encoder(table->relation, definition);
	}
	table->slot = table_slot_create(table->relation, NULL);
	return table;
}

/* Its lock stays with the transaction. */
void
cg_mirror_table_close(MirrorTable *table)
{
	if (table->lookup)
		index_endscan(table->lookup);
	ExecDropSingleTupleTableSlot(table->slot);
	if (table->index)
		index_close(table->index, AccessShareLock);
	table_close(table->relation, NoLock);
}

/* Is the row in the slot the one that was touched? */
static bool
has_key(MirrorTable *table, const MirrorTouch *touch)
{
	char key[CG_OUTBOX_MAX_KEY_BYTES];
	Size size = cg_outbox_encode_row_key(key, table->slot, table->keys.attnums,
										 table->keys.count);

	return size == touch->key_size && memcmp(key, touch->key, size) == 0;
}

/*
 * The row version at the hint, if it is visible and still the same row.  A
 * freed place may hold another row; the table may have been truncated since.
 */
static bool
fetch_by_hint(MirrorTable *table, const MirrorTouch *touch)
{
	ItemPointerData tid = touch->tid;

	return ItemPointerIsValid(&tid) &&
		   table->relation->rd_tableam == GetHeapamTableAmRoutine() &&
		   ItemPointerGetBlockNumber(&tid) < table->blocks &&
		   table_tuple_fetch_row_version(table->relation, &tid, table->snapshot,
										 table->slot) &&
		   has_key(table, touch);
}

static bool
fetch_by_index(MirrorTable *table, const MirrorTouch *touch)
{
	OutboxRecord record = {.key = touch->key, .key_size = touch->key_size};
	Datum values[CG_OUTBOX_MAX_COLUMNS];

	if (!cg_outbox_decode_key(&record, RelationGetDescr(table->relation),
							  table->keys.attnums, table->keys.count, values))
		return false;

	if (!table->lookup)
		table->lookup = index_beginscan(table->relation, table->index, table->snapshot,
										NULL, table->index_count, 0);
	for (int i = 0; i < table->index_count; i++)
		table->lookup_keys[i].sk_argument = values[table->index_keys[i]];
	index_rescan(table->lookup, table->lookup_keys, table->index_count, NULL, 0);
	return index_getnext_slot(table->lookup, ForwardScanDirection, table->slot) &&
		   has_key(table, touch);
}

/*
 * Put the row that has the touched key, under the table's snapshot, into the
 * table's slot; false if there is none.
 *
 * To be called in a context that lives as long as the table: the index scan
 * allocates its list of dead entries when it first meets one.
 */
bool
cg_mirror_table_fetch(MirrorTable *table, const MirrorTouch *touch)
{
	ExecClearTuple(table->slot);
	return fetch_by_hint(table, touch) || fetch_by_index(table, touch);
}
