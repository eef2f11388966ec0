/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  Redis keys, made of the key columns that a touch has.
 *
 * A key's columns are the columns of its mirror's template, each once, in
 * the order in which they first appear.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* The template's columns, each once; returns how many. */
int
cg_mirror_key_columns(const CaptureTemplate *template, AttrNumber *attnums)
{
	int count = 0;

	for (int i = 0; i < template->column_count; i++)
	{
		AttrNumber attnum = template->columns[i].attnum;
		int j = 0;

		while (j < count && attnums[j] != attnum)
			j++;
		if (j == count)
			attnums[count++] = attnum;
	}
	return count;
}

/* Those of the mirror as its relation is now, for as long as that is open. */
void
cg_mirror_keys_open(MirrorKeys *keys, const MirrorDefinition *definition,
					Relation relation)
{
	keys->desc = RelationGetDescr(relation);
	keys->template = cg_capture_template_from_argument(definition->key, relation);
	keys->count = cg_mirror_key_columns(keys->template, keys->attnums);
}

static void
keep_keys(MirrorState *mirror, Relation relation)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "cachegrid keys", ALLOCSET_SMALL_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	MirrorKeys *keys = palloc(sizeof(MirrorKeys));

	cg_mirror_keys_open(keys, mirror->definition, relation);
	keys->desc = CreateTupleDescCopy(keys->desc);
	MemoryContextSwitchTo(previous);
	cg_mirror_forget_keys(mirror);
	mirror->keys = keys;
	mirror->keys_context = context;
}

void
cg_mirror_forget_keys(MirrorState *mirror)
{
	if (mirror->keys)
		MemoryContextDelete(mirror->keys_context);
	mirror->keys = NULL;
}

/*
 * Those of the mirror, for a session that has touched its rows and not ended: so
 * if the table is locked, or somebody waits for a lock, it is still as it was.
 * (Who has altered it himself has touched it as a whole.)  NULL if it is locked
 * and was never looked at.  Valid until the next call.  In a transaction.
 */
const MirrorKeys *
cg_mirror_current_keys(MirrorState *mirror)
{
	Relation relation;

	if (!ConditionalLockRelationOid(mirror->definition->relation, AccessShareLock))
		return mirror->keys;
	relation = try_table_open(mirror->definition->relation, NoLock);
	if (!relation)
		return mirror->keys;
	keep_keys(mirror, relation);
	table_close(relation, AccessShareLock);
	return mirror->keys;
}

/*
 * Write the touch's Redis key into buffer, which holds CG_KEY_MAX_BYTES;
 * returns its size, 0 if it makes no key.
 */
int
cg_mirror_render(const MirrorKeys *keys, const MirrorTouch *touch, char *buffer)
{
	OutboxRecord record = {.key = touch->key, .key_size = touch->key_size};
	Datum columns[CG_OUTBOX_MAX_COLUMNS];
	Datum *values;
	bool *nulls;
	int size;

	if (!cg_outbox_decode_key(&record, keys->desc, keys->attnums, keys->count, columns))
		return 0;

	/* By attribute number, as the renderer wants them. */
	values = palloc(keys->desc->natts * sizeof(Datum));
	nulls = palloc(keys->desc->natts * sizeof(bool));
	memset(nulls, true, keys->desc->natts * sizeof(bool));
	for (int i = 0; i < keys->count; i++)
	{
		values[keys->attnums[i] - 1] = columns[i];
		nulls[keys->attnums[i] - 1] = false;
	}
	size = cg_capture_render_values(keys->template, values, nulls, buffer);
	pfree(values);
	pfree(nulls);
	return size;
}
