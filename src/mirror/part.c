/*-------------------------------------------------------------------------
 *
 * part.c
 *	  Where the rows of a mirrored table are: in itself, or in partitions.
 *
 * The columns of a unique index of a partitioned table include those that say
 * which partition a row belongs to; and they are among a mirror's key columns.  So
 * a key leads to the one leaf that may hold its row, and a walk through the leaves,
 * in the order of their bounds, finds its place again by the last key it has come to.
 *
 * The tree of parts is opened as it is needed, and read with the snapshot: a
 * partition that is being detached concurrently is part of it for those only in whose
 * snapshot it still is.
 *
 * Partitions, down to the leaves and their indexes, are locked as the table is
 * (channel.c), all of them: who changes one need not have locked the table.  One may
 * be attached while the table is locked: then it is seen by whoever opens the tree,
 * who locks it as well, or fails, before a row is read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

static bool
is_partitioned(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
}

/* A REINDEX leaves the table open to readers, and locks what they look for rows in. */
static bool
lock_indexes(Relation relation)
{
	List *indexes = RelationGetIndexList(relation);
	bool locked = true;
	ListCell *cell;

	foreach (cell, indexes)
		locked = locked && ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
	list_free(indexes);
	return locked;
}

/*
 * Lock what it takes to read the relation, which is locked, to the end of the
 * transaction; false if somebody else has locked some of it.  Never waits.
 */
bool
cg_mirror_lock_parts(Relation relation)
{
	PartitionDesc partitions;

	if (!lock_indexes(relation))
		return false;
	if (!is_partitioned(relation))
		return true;

	partitions = RelationGetPartitionDesc(relation, false);
	for (int i = 0; i < partitions->nparts; i++)
	{
		Relation part;
		bool locked;

		if (!ConditionalLockRelationOid(partitions->oids[i], AccessShareLock))
			return false;
		/* Who has detached it concurrently may have dropped it since. */
		part = try_table_open(partitions->oids[i], NoLock);
		locked = !part || cg_mirror_lock_parts(part);
		if (part)
			table_close(part, NoLock);
		if (!locked)
			return false;
	}
	return true;
}

/*
 * Lock the partitions of a table that is locked, now that a snapshot has been taken.
 * Raises an error if they are only to be tried, and one is locked by somebody else.
 */
void
cg_mirror_lock_partitions(Relation relation, MirrorLocks locks)
{
	if (!is_partitioned(relation))
		return;
	if (locks == MIRROR_LOCKS_AWAITED)
		list_free(find_all_inheritors(RelationGetRelid(relation), AccessShareLock, NULL));
	else if (!cg_mirror_lock_parts(relation))
		ereport(ERROR, errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				errmsg("a partition of table \"%s\" is locked",
					   RelationGetRelationName(relation)),
				errdetail("It has only just become one."),
				errhint("The mirror is swept when it can be locked."));
}

static int
find_attnum(const MirrorPart *part, int count, AttrNumber attnum)
{
	for (int i = 0; i < count; i++)
	{
		if (part->attnums[i] == attnum)
			return i;
	}
	return -1;
}

/* Scan keys for equality; their arguments are filled in for each lookup. */
static void
prepare_lookup(MirrorPart *part, int key_count)
{
	Relation index = part->index;

	part->index_count = index->rd_index->indnkeyatts;
	part->lookup_keys = palloc0(part->index_count * sizeof(ScanKeyData));
	for (int i = 0; i < part->index_count; i++)
	{
		Oid type = index->rd_opcintype[i];
		Oid equal =
			get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		part->index_keys[i] =
			find_attnum(part, key_count, index->rd_index->indkey.values[i]);
		ScanKeyEntryInitialize(&part->lookup_keys[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, index->rd_indcollation[i], get_opcode(equal),
							   (Datum) 0);
	}
}

static Oid
require_index(Relation relation, const AttrNumber *attnums, int count)
{
	Oid index = cg_mirror_find_index(relation, attnums, count);

	if (!OidIsValid(index))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" has no unique index for its mirror's key any more",
					   RelationGetRelationName(relation)),
				errdetail("Several rows could have one key."),
				errhint("Create it again, or unmirror the table."));
	return index;
}

static void
open_leaf(const MirrorTable *table, MirrorPart *part)
{
	Oid index = require_index(part->relation, part->attnums, table->keys.count);

	part->blocks = RelationGetNumberOfBlocks(part->relation);
	part->slot = part->map ? table_slot_create(part->relation, NULL) : table->slot;
	part->index = index_open(index, AccessShareLock);
	prepare_lookup(part, table->keys.count);
}

static void
open_partitions(const MirrorTable *table, MirrorPart *part)
{
	PartitionKey key = RelationGetPartitionKey(part->relation);

	part->partitions = RelationGetPartitionDesc(part->relation, true);
	part->parts = palloc0(part->partitions->nparts * sizeof(MirrorPart *));
	part->routing = palloc(key->partnatts * sizeof(int));
	for (int i = 0; i < key->partnatts; i++)
	{
		part->routing[i] = find_attnum(part, table->keys.count, key->partattrs[i]);
		if (part->routing[i] < 0)
			ereport(
				ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" is partitioned by what is not in its mirror's key",
					   RelationGetRelationName(part->relation)),
				errdetail("Rows of several partitions could have one key."),
				errhint("Unmirror the table, and mirror it with a key that names the "
						"columns it is partitioned by."));
	}
}

static MirrorPart *
open_part(const MirrorTable *table, Relation relation)
{
	MirrorPart *part = palloc0(sizeof(MirrorPart));

	part->relation = relation;
	if (relation != table->relation)
		part->map = build_attrmap_by_name(RelationGetDescr(relation),
										  RelationGetDescr(table->relation), false);
	for (int i = 0; i < table->keys.count; i++)
	{
		AttrNumber attnum = table->keys.attnums[i];

		part->attnums[i] = part->map ? part->map->attnums[attnum - 1] : attnum;
	}
	if (is_partitioned(relation))
		open_partitions(table, part);
	else
		open_leaf(table, part);
	return part;
}

/*
 * The table's own part, palloc'd with all below it in contexts that must live as
 * long.  Keys and slot of the table are set, its locks are had.  Raises an error if
 * the index is gone that tells rows apart.
 */
MirrorPart *
cg_mirror_part_open(const MirrorTable *table)
{
	/* One that is valid stands on all leaves: none fails for want of it later. */
	if (is_partitioned(table->relation))
		(void) require_index(table->relation, table->keys.attnums, table->keys.count);
	return open_part(table, table->relation);
}

/* A partition of part, by its place in part->partitions. */
MirrorPart *
cg_mirror_part_at(const MirrorTable *table, MirrorPart *part, int index)
{
	if (!part->parts[index])
		part->parts[index] =
			open_part(table, table_open(part->partitions->oids[index], AccessShareLock));
	return part->parts[index];
}

/*
 * The place in part->partitions of the one that rows with these values, of the
 * mirror's key, belong to; -1 if there is none.
 */
int
cg_mirror_part_find(const MirrorPart *part, const Datum *values)
{
	PartitionKey key = RelationGetPartitionKey(part->relation);
	PartitionBoundInfo bounds = part->partitions->boundinfo;
	Datum columns[PARTITION_MAX_KEYS];
	bool nulls[PARTITION_MAX_KEYS] = {false};
	bool equal = false;
	int place = -1;
	int offset;

	if (part->partitions->nparts == 0)
		return -1;
	for (int i = 0; i < key->partnatts; i++)
		columns[i] = values[part->routing[i]];

	switch (key->strategy)
	{
		case PARTITION_STRATEGY_HASH:
			return bounds->indexes[compute_partition_hash_value(
									   key->partnatts, key->partsupfunc,
									   key->partcollation, columns, nulls) %
								   bounds->nindexes];
		case PARTITION_STRATEGY_LIST:
			offset = partition_list_bsearch(key->partsupfunc, key->partcollation, bounds,
											columns[0], &equal);
			place = offset >= 0 && equal ? bounds->indexes[offset] : -1;
			break;
		case PARTITION_STRATEGY_RANGE:
			offset =
				partition_range_datum_bsearch(key->partsupfunc, key->partcollation,
											  bounds, key->partnatts, columns, &equal);
			place = bounds->indexes[offset + 1];
			break;
	}
	return place >= 0 ? place : bounds->default_index;
}

/* Its locks stay with the transaction. */
void
cg_mirror_part_close(MirrorPart *part)
{
	for (int i = 0; part->partitions && i < part->partitions->nparts; i++)
	{
		if (part->parts[i])
			cg_mirror_part_close(part->parts[i]);
	}
	if (part->lookup)
		index_endscan(part->lookup);
	if (part->index)
		index_close(part->index, AccessShareLock);
	if (!part->map)
		return; /* the rest is the table's */
	if (part->slot)
		ExecDropSingleTupleTableSlot(part->slot);
	table_close(part->relation, NoLock);
}

/* Have the row in the leaf's slot in the table's, with the table's columns. */
void
cg_mirror_part_show(const MirrorTable *table, const MirrorPart *leaf)
{
	if (!leaf->map)
		return;
	execute_attr_map_slot(leaf->map, leaf->slot, table->slot);
	table->slot->tts_tid = leaf->slot->tts_tid;
}

/*
 * About so many rows the relation has, its partitions' included as far as they were
 * looked at by VACUUM or ANALYZE; below 0 if none was.  It is locked.
 */
double
cg_mirror_row_estimate(Relation relation)
{
	double total = -1;
	ListCell *cell;

	foreach (cell, find_all_inheritors(RelationGetRelid(relation), NoLock, NULL))
	{
		HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_class form;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_class) GETSTRUCT(tuple);
		if (form->relkind != RELKIND_PARTITIONED_TABLE && form->reltuples >= 0)
			total = Max(total, 0) + form->reltuples;
		ReleaseSysCache(tuple);
	}
	return total;
}
