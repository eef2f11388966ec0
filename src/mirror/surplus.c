/*-------------------------------------------------------------------------
 *
 * surplus.c
 *	  Removes the keys of a mirror from Redis whose rows are gone.
 *
 * Finds them by their prefix, a few pages at a time, and looks for their rows
 * under a snapshot of now.  Those that no row can have, and all of a mirror that
 * keeps none, go without a look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "mirror/mirror_internal.h"
#include "mirror/table.h"

/* Pages of the scan that are looked at in one transaction. */
#define SCAN_PAGES 16

/* Keys to be sorted out, for cg_mirror_try(). */
typedef struct SurplusStep
{
	MirrorChannel *channel;
	MirrorState *mirror;
	const RedisString *keys;
	int key_count;
	bool failed; /* one could not be deleted */
} SurplusStep;

/* Also to be called before the channel's grid is closed. */
void
cg_mirror_stop_scan(MirrorState *mirror)
{
	if (mirror->scan)
		cg_redis_scan_end(mirror->scan);
	mirror->scan = NULL;
}

/* A key that no row can have: gone from Redis, or not, at the next sweep. */
static void
surplus_deleted(const RedisResult *result, void *user_data)
{
	bool *failed = user_data;

	if (result->outcome != REDIS_DONE)
		*failed = true;
}

static void
delete_key(MirrorChannel *channel, RedisString key, bool *failed)
{
	RedisHandler handler = {surplus_deleted, failed};

	cg_redis_queue_delete(channel->grid, key, handler);
}

/* Sort the found keys out: into the batch, or away. */
static void
examine_keys(void *argument)
{
	SurplusStep *step = argument;
	MirrorChannel *channel = step->channel;
	MirrorDefinition *definition = step->mirror->definition;
	MirrorTable *table = NULL;
	ItemPointerData no_hint;

	ItemPointerSetInvalid(&no_hint);
	if (!cg_mirror_keeps_none(step->mirror))
		table = cg_mirror_table_open(definition, GetActiveSnapshot(), MIRROR_LOCKS_TRIED);
	for (int i = 0; i < step->key_count; i++)
	{
		const RedisString *found = &step->keys[i];
		char key[CG_OUTBOX_MAX_KEY_BYTES];
		Size size = table ? cg_mirror_parse_key(table, found->data, found->size, key) : 0;

		if (size == 0)
			delete_key(channel, *found, &step->failed);
		else
			cg_mirror_batch_add(channel->batch, definition->id, key, size, &no_hint)
				->only_delete = true;
	}
	if (table)
		cg_mirror_table_close(table);
	cg_mirror_batch_sort(channel->batch);
}

/*
 * Delete those of the found keys that have no row.  REDIS_SCAN_KEYS if that is
 * done; else they must be found again: BROKEN if a table is locked now, FAILED if
 * Redis refused.
 */
static RedisScanState
check_keys(MirrorChannel *channel, MirrorState *mirror, const RedisString *keys,
		   int count)
{
	SurplusStep step = {
		.channel = channel, .mirror = mirror, .keys = keys, .key_count = count};
	char *error;
	bool locked;

	cg_mirror_begin();
	locked = cg_mirror_keeps_none(mirror) ||
			 (cg_mirror_lock_tables(channel) && !mirror->broken);
	if (locked)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		cg_mirror_flush_wal();
		if (cg_mirror_try(examine_keys, &step, &error))
			cg_mirror_send(channel);
		else
		{
			cg_mirror_batch_reset(channel->batch);
			cg_mirror_break(mirror, error);
		}
		PopActiveSnapshot();
	}
	cg_mirror_commit();
	if (!cg_mirror_settle(channel) || step.failed)
		return REDIS_SCAN_FAILED;
	return locked ? REDIS_SCAN_KEYS : REDIS_SCAN_BROKEN;
}

/* Keys that the scan has found, in the batch's context. */
typedef struct FoundKeys
{
	MemoryContext context;
	RedisString *keys;
	int count;
} FoundKeys;

/* What the scan returns it keeps only until it goes on. */
static void
keep_keys(FoundKeys *found, const RedisString *keys, int count)
{
	Size size = (found->count + count) * sizeof(RedisString);

	if (count == 0)
		return;
	found->keys = found->keys ? repalloc_huge(found->keys, size)
							  : MemoryContextAllocHuge(found->context, size);
	for (int i = 0; i < count; i++)
	{
		RedisString *key = &found->keys[found->count++];
		char *data = MemoryContextAlloc(found->context, keys[i].size + 1);

		key->data = memcpy(data, keys[i].data, keys[i].size);
		key->size = keys[i].size;
	}
}

static void
begin_scan(MirrorChannel *channel, MirrorState *mirror)
{
	char *prefix = MemoryContextAlloc(channel->batch->context,
									  strlen(mirror->definition->prefix) + 2);
	int size = sprintf(prefix, "%s:", mirror->definition->prefix);

	mirror->scan = cg_redis_scan_begin(channel->grid, (RedisString){prefix, size});
}

/* Find the next keys, as many as are looked at in one transaction. */
static RedisScanState
find_keys(MirrorState *mirror, FoundKeys *found)
{
	RedisScanState state = REDIS_SCAN_KEYS;

	for (int pages = 0; state == REDIS_SCAN_KEYS && pages < SCAN_PAGES; pages++)
	{
		RedisString *keys;
		int count;

		state = cg_redis_scan_next(mirror->scan, &keys, &count);
		if (state == REDIS_SCAN_KEYS)
			keep_keys(found, keys, count);
	}
	return state;
}

/*
 * Go on with the scan for the mirror's keys, and delete those that have no row.
 * REDIS_SCAN_END: all have been looked at; FAILED: Redis does not answer; FAILED and
 * BROKEN: the scan begins anew with the next call.
 */
RedisScanState
cg_mirror_delete_surplus(MirrorChannel *channel, MirrorState *mirror)
{
	FoundKeys found = {.context = channel->batch->context};
	RedisScanState state;
	RedisScanState checked = REDIS_SCAN_KEYS;

	if (!mirror->scan)
		begin_scan(channel, mirror);
	state = find_keys(mirror, &found);
	cg_mirror_show_sweep(mirror, found.count, 0);
	if (found.count > 0)
		checked = check_keys(channel, mirror, found.keys, found.count);
	if (checked != REDIS_SCAN_KEYS)
		state = checked;
	else if (!mirror->scan)
		state = REDIS_SCAN_BROKEN; /* a sweep from the start is wanted */
	if (state != REDIS_SCAN_KEYS)
		cg_mirror_stop_scan(mirror);
	return state;
}
