/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  Walks a mirrored table in the order of its unique index, chunk by
 *	  chunk, each under a snapshot of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/*
 * "Behind the row with these values" as one row comparison, the only form in
 * which a btree finds the place in one descent.  members holds one key for
 * each column of the index and stays with the result.
 */
static void
make_behind_row(MirrorTable *table, const Datum *values, ScanKey members, ScanKey key)
{
	Relation index = table->index;
	int last = table->index_count - 1;

	for (int i = 0; i <= last; i++)
		ScanKeyEntryInitialize(
			&members[i], SK_ROW_MEMBER | (i == last ? SK_ROW_END : 0), i + 1,
			BTGreaterStrategyNumber, InvalidOid, index->rd_indcollation[i],
			index_getprocid(index, i + 1, BTORDER_PROC), values[table->index_keys[i]]);

	memset(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = 1;
	key->sk_strategy = BTGreaterStrategyNumber;
	key->sk_argument = PointerGetDatum(members);
}

/* The same for an index of one column: a row of one is none to a btree. */
static void
make_behind_value(MirrorTable *table, const Datum *values, ScanKey key)
{
	Relation index = table->index;
	Oid type = index->rd_opcintype[0];
	Oid behind =
		get_opfamily_member(index->rd_opfamily[0], type, type, BTGreaterStrategyNumber);

	ScanKeyEntryInitialize(key, 0, 1, BTGreaterStrategyNumber, InvalidOid,
						   index->rd_indcollation[0], get_opcode(behind),
						   values[table->index_keys[0]]);
}

/* Where the walk came to last, as a scan key; false: begin at the start. */
static bool
resume_key(MirrorTable *table, const MirrorState *state, ScanKey members, ScanKey key)
{
	OutboxRecord record = {.key = state->last, .key_size = state->last_size};
	Datum values[CG_OUTBOX_MAX_COLUMNS];

	/* If the columns have changed meanwhile, it does not hurt to begin anew. */
	if (state->last_size == 0 ||
		!cg_outbox_decode_key(&record, RelationGetDescr(table->relation),
							  table->keys.attnums, table->keys.count, values))
		return false;

	if (table->index_count == 1)
		make_behind_value(table, values, key);
	else
		make_behind_row(table, values, members, key);
	return true;
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

/*
 * Add the keys of the next rows behind state->last to the batch, at most
 * limit of them, and move state->last.  Returns how many there were: fewer than
 * limit at the end of the table.
 */
int
cg_mirror_table_walk(MirrorTable *table, MirrorState *state, MirrorBatch *batch,
					 int limit)
{
	ScanKeyData members[CG_OUTBOX_MAX_COLUMNS];
	ScanKeyData key;
	int count = 0;
	bool resume = resume_key(table, state, members, &key);
	IndexScanDesc scan = index_beginscan(table->relation, table->index, table->snapshot,
										 NULL, resume ? 1 : 0, 0);

	index_rescan(scan, resume ? &key : NULL, resume ? 1 : 0, NULL, 0);
	while (count < limit && index_getnext_slot(scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		count += add_row(table, state, batch);
	}
	index_endscan(scan);
	return count;
}
