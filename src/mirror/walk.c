/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  Walks a mirrored table in the order of its unique index, chunk by
 *	  chunk, each under a snapshot of its own; a partitioned one partition by
 *	  partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/skey.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

/* A walk on its way. */
typedef struct TableWalk
{
	MirrorTable *table;
	MirrorState *state;
	MirrorBatch *batch;
	int limit;
	int count; /* of rows that were added */
} TableWalk;

/*
 * "Behind the row with these values" as one row comparison, the only form in
 * which a btree finds the place in one descent.  members holds one key for
 * each column of the index and stays with the result.
 */
static void
make_behind_row(const MirrorPart *leaf, const Datum *values, ScanKey members, ScanKey key)
{
	Relation index = leaf->index;
	int last = leaf->index_count - 1;

	for (int i = 0; i <= last; i++)
		ScanKeyEntryInitialize(
			&members[i], SK_ROW_MEMBER | (i == last ? SK_ROW_END : 0), i + 1,
			BTGreaterStrategyNumber, InvalidOid, index->rd_indcollation[i],
			index_getprocid(index, i + 1, BTORDER_PROC), values[leaf->index_keys[i]]);

	memset(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = 1;
	key->sk_strategy = BTGreaterStrategyNumber;
	key->sk_argument = PointerGetDatum(members);
}

/* The same for an index of one column: a row of one is none to a btree. */
static void
make_behind_value(const MirrorPart *leaf, const Datum *values, ScanKey key)
{
	Relation index = leaf->index;
	Oid type = index->rd_opcintype[0];
	Oid behind =
		get_opfamily_member(index->rd_opfamily[0], type, type, BTGreaterStrategyNumber);

	ScanKeyEntryInitialize(key, 0, 1, BTGreaterStrategyNumber, InvalidOid,
						   index->rd_indcollation[0], get_opcode(behind),
						   values[leaf->index_keys[0]]);
}

/* False if the row has no key: it is passed over, a walk cannot stop there. */
static bool
add_row(MirrorTable *table, MirrorState *state, MirrorBatch *batch)
{
	char key[CG_OUTBOX_MAX_KEY_BYTES];
	Size size = cg_outbox_encode_row_key(key, table->slot, table->keys.attnums,
										 table->keys.count);

	if (size == 0)
		return false;

	cg_mirror_batch_add(batch, table->definition->id, key, size, &table->slot->tts_tid);
	memcpy(state->last, key, size);
	state->last_size = size;
	return true;
}

/* The leaf's rows, behind these values; NULL: all. */
static void
walk_leaf(TableWalk *walk, MirrorPart *leaf, const Datum *behind)
{
	ScanKeyData members[CG_OUTBOX_MAX_COLUMNS];
	ScanKeyData key;
	IndexScanDesc scan = index_beginscan(leaf->relation, leaf->index,
										 walk->table->snapshot, NULL, behind ? 1 : 0, 0);

	if (behind && leaf->index_count == 1)
		make_behind_value(leaf, behind, &key);
	else if (behind)
		make_behind_row(leaf, behind, members, &key);
	index_rescan(scan, behind ? &key : NULL, behind ? 1 : 0, NULL, 0);
	while (walk->count < walk->limit &&
		   index_getnext_slot(scan, ForwardScanDirection, leaf->slot))
	{
		CHECK_FOR_INTERRUPTS();
		cg_mirror_part_show(walk->table, leaf);
		walk->count += add_row(walk->table, walk->state, walk->batch);
	}
	index_endscan(scan);
}

/*
 * The same of all leaves, in the order of their bounds.  If none is left for such
 * values, the partitions have changed, and a sweep from the start has been queued.
 */
static void
walk_part(TableWalk *walk, MirrorPart *part, const Datum *behind)
{
	int first;

	if (!part->partitions)
	{
		walk_leaf(walk, part, behind);
		return;
	}
	first = behind ? cg_mirror_part_find(part, behind) : -1;
	for (int i = Max(first, 0); i < part->partitions->nparts; i++)
	{
		if (walk->count == walk->limit)
			return;
		walk_part(walk, cg_mirror_part_at(walk->table, part, i),
				  i == first ? behind : NULL);
	}
}

/*
 * Add the keys of the next rows behind state->last to the batch, at most
 * limit of them, and move state->last.  Returns how many there were: fewer than
 * limit at the end of the table.
 */
int
cg_mirror_table_walk(MirrorTable *table, MirrorState *state, MirrorBatch *batch,
					 int limit)
{
	TableWalk walk = {.table = table, .state = state, .batch = batch, .limit = limit};
	OutboxRecord last = {.key = state->last, .key_size = state->last_size};
	Datum values[CG_OUTBOX_MAX_COLUMNS];

	/* If the columns have changed meanwhile, it does not hurt to begin anew. */
	bool resume = state->last_size > 0 &&
				  cg_outbox_decode_key(&last, RelationGetDescr(table->relation),
									   table->keys.attnums, table->keys.count, values);

	walk_part(&walk, table->part, resume ? values : NULL);
	return walk.count;
}
