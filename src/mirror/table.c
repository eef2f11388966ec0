/*-------------------------------------------------------------------------
 *
 * table.c
 *	  A mirrored table: its unique index, and the row behind a key, in whichever
 *	  of its parts (part.c).
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
#include "utils/rel.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

static bool
has_attnum(const AttrNumber *attnums, int count, AttrNumber attnum)
{
	for (int i = 0; i < count; i++)
	{
		if (attnums[i] == attnum)
			return true;
	}
	return false;
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

		if (!has_attnum(attnums, count, attnum) ||
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

/*
 * Open a mirrored table to read it under the snapshot, which is active until the
 * table is closed.  The caller holds ACCESS SHARE on it, and has tried to lock
 * what is below it unless locks are to be awaited.  Everything is palloc'd in the
 * current context, which must not be reset before.  Raises an error if the mirror's
 * columns or index are gone.
 */
MirrorTable *
cg_mirror_table_open(const MirrorDefinition *definition, Snapshot snapshot,
					 MirrorLocks locks)
{
	MirrorTable *table = palloc0(sizeof(MirrorTable));

	table->definition = definition;
	table->snapshot = snapshot;
	table->relation = table_open(definition->relation, AccessShareLock);
	table->slot = table_slot_create(table->relation, NULL);
	cg_mirror_keys_open(&table->keys, definition, table->relation);
	if (definition->mode != MIRROR_INVALIDATE)
	{
		cg_mirror_lock_partitions(table->relation, locks);
		table->part = cg_mirror_part_open(table);
		table->encoder = cg_mirror_encoder(table->relation, definition);
	}
	return table;
}

/* Its lock stays with the transaction. */
void
cg_mirror_table_close(MirrorTable *table)
{
	/* First of all the slot, whose row may be another's. */
	ExecDropSingleTupleTableSlot(table->slot);
	if (table->part)
		cg_mirror_part_close(table->part);
	table_close(table->relation, NoLock);
}

/* Is the row in the slot the one that was touched? */
static bool
has_key(const MirrorTable *table, const MirrorTouch *touch)
{
	char key[CG_OUTBOX_MAX_KEY_BYTES];
	Size size = cg_outbox_encode_row_key(key, table->slot, table->keys.attnums,
										 table->keys.count);

	return size == touch->key_size && memcmp(key, touch->key, size) == 0;
}

/* The leaf that may hold the touched key's row; NULL: there is none. */
static MirrorPart *
find_leaf(const MirrorTable *table, const Datum *values)
{
	MirrorPart *part = table->part;

	while (part->partitions)
	{
		int place = cg_mirror_part_find(part, values);

		if (place < 0)
			return NULL;
		part = cg_mirror_part_at(table, part, place);
	}
	return part;
}

/*
 * The row version at the hint, if it is visible and still the same row.  A
 * freed place may hold another row, even another partition's if it has a place of that
 * number; the table may have been truncated since.
 */
static bool
fetch_by_hint(MirrorTable *table, MirrorPart *leaf, const MirrorTouch *touch)
{
	ItemPointerData tid = touch->tid;

	if (!ItemPointerIsValid(&tid) ||
		leaf->relation->rd_tableam != GetHeapamTableAmRoutine() ||
		ItemPointerGetBlockNumber(&tid) >= leaf->blocks ||
		!table_tuple_fetch_row_version(leaf->relation, &tid, table->snapshot, leaf->slot))
		return false;
	cg_mirror_part_show(table, leaf);
	return has_key(table, touch);
}

static bool
fetch_by_index(MirrorTable *table, MirrorPart *leaf, const MirrorTouch *touch,
			   const Datum *values)
{
	if (!leaf->lookup)
		leaf->lookup = index_beginscan(leaf->relation, leaf->index, table->snapshot, NULL,
									   leaf->index_count, 0);
	for (int i = 0; i < leaf->index_count; i++)
		leaf->lookup_keys[i].sk_argument = values[leaf->index_keys[i]];
	index_rescan(leaf->lookup, leaf->lookup_keys, leaf->index_count, NULL, 0);
	if (!index_getnext_slot(leaf->lookup, ForwardScanDirection, leaf->slot))
		return false;
	cg_mirror_part_show(table, leaf);
	return has_key(table, touch);
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
	OutboxRecord record = {.key = touch->key, .key_size = touch->key_size};
	Datum values[CG_OUTBOX_MAX_COLUMNS];
	MirrorPart *leaf;

	ExecClearTuple(table->slot);
	if (!table->part->partitions && fetch_by_hint(table, table->part, touch))
		return true;
	if (!cg_outbox_decode_key(&record, RelationGetDescr(table->relation),
							  table->keys.attnums, table->keys.count, values))
		return false;
	leaf = find_leaf(table, values);
	if (!leaf)
		return false;
	return (leaf->map && fetch_by_hint(table, leaf, touch)) ||
		   fetch_by_index(table, leaf, touch, values);
}
