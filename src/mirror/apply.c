/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Sends a batch: reads the rows behind its keys and gives Redis what the
 *	  table has.
 *
 * A chunk of keys is read and encoded in a subtransaction before anything of
 * it is sent: so a row that cannot be encoded harms only itself, and no key
 * has two commands in flight.  A key that must be sent again is read again,
 * under a newer snapshot.
 *
 * A row that cannot be encoded, or that Redis refuses, is withdrawn: its key is
 * deleted, so that Redis has nothing older than the table, and then parked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

#define CHUNK 512

/* So often a batch is sent again before it counts as an outage. */
#define MAX_TRIES 10

/* More keys than these refused by Redis at once: then it is Redis, not the keys. */
#define MAX_REFUSED 100

/* A command that is ready to be queued. */
typedef struct ReadyCommand
{
	MirrorTouch *touch;
	bool has_row;
	int key; /* offsets into the chunk's bytes */
	int key_size;
	int value;
	int value_size;
} ReadyCommand;

/* Touches of one mirror, and what became of them. */
typedef struct ReadyChunk
{
	const MirrorChannel *channel;
	const MirrorState *mirror;
	MirrorTouch *touches;
	int touch_count;
	bool opened; /* the table could be opened */
	int columns; /* that are written */
	int count;	 /* of commands */
	StringInfoData bytes;
	ReadyCommand commands[CHUNK];
} ReadyChunk;

/* Where the reasons of refused keys are kept: the batch that is in flight. */
static MemoryContext answer_context = NULL;

/*
 * Rows of an asynchronous commit may be visible before it is on disk, and
 * Redis must not show what a crash can still undo.  The insert position right
 * behind a page's header lies past the end of what can be flushed.
 */
void
cg_mirror_flush_wal(void)
{
	XLogRecPtr position = GetXLogInsertRecPtr();
	uint64 offset = position % XLOG_BLCKSZ;
	bool first_page = XLogSegmentOffset(position, wal_segment_size) < XLOG_BLCKSZ;

	if (offset == (first_page ? SizeOfXLogLongPHD : SizeOfXLogShortPHD))
		position -= offset;
	if (position > GetFlushRecPtr(NULL))
		XLogFlush(position);
}

static void
answered(const RedisResult *result, void *user_data)
{
	MirrorTouch *touch = user_data;

	switch (result->outcome)
	{
		case REDIS_DONE:
			touch->state = touch->withdrawn ? TOUCH_REFUSED : TOUCH_DONE;
			break;
		case REDIS_RETRY:
			touch->state = TOUCH_PENDING;
			touch->retries++;
			break;
		case REDIS_REFUSED:
			touch->state = TOUCH_REFUSED;
			touch->refused_by_redis = true;
			if (!touch->withdrawn)
				touch->reason = MemoryContextStrdup(answer_context, result->reason);
			break;
	}
}

/*
 * Read and encode one key's row into the chunk.  A key that is barred has no row
 * to be written; it is read again when the bar is lifted.
 */
static void
prepare_command(ReadyChunk *chunk, MirrorTable *table, MirrorTouch *touch)
{
	ReadyCommand *command = &chunk->commands[chunk->count];
	StringInfo bytes = &chunk->bytes;

	command->touch = touch;
	enlargeStringInfo(bytes, CG_KEY_MAX_BYTES);
	command->key = bytes->len;
	command->key_size = cg_mirror_render(&table->keys, touch, bytes->data + bytes->len);
	if (command->key_size == 0)
	{
		touch->state = TOUCH_SKIPPED;
		return;
	}
	bytes->len += command->key_size;

	command->has_row = !touch->withdrawn &&
					   table->definition->mode != MIRROR_INVALIDATE &&
					   !cg_mirror_is_barred(chunk->channel, chunk->mirror, touch) &&
					   cg_mirror_table_fetch(table, touch);
	/* Of rows that are there, what they make is set, or deleted, by the walk. */
	if (command->has_row && touch->only_delete)
	{
		touch->state = TOUCH_SKIPPED;
		return;
	}
	command->value = bytes->len;
	if (command->has_row)
		command->has_row = cg_mirror_encode(table->encoder, table->slot, bytes);
	command->value_size = bytes->len - command->value;
	chunk->count++;
}

/* Prepare the chunk's pending touches. */
static void
prepare_chunk(void *argument)
{
	ReadyChunk *chunk = argument;
	MirrorTable *table = cg_mirror_table_open(chunk->mirror->definition,
											  GetActiveSnapshot(), MIRROR_LOCKS_TRIED);
	MirrorCaller caller;

	chunk->opened = true;
	if (table->encoder)
		chunk->columns = cg_mirror_encoder_columns(table->encoder);
	cg_mirror_enter_owner(table->relation, &caller);
	for (int i = 0; i < chunk->touch_count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (chunk->touches[i].state == TOUCH_PENDING)
			prepare_command(chunk, table, &chunk->touches[i]);
	}
	cg_mirror_leave_owner(&caller);
	cg_mirror_table_close(table);
}

/* How long a key written now is to live; 0: for ever. */
static int64
draw_ttl(const MirrorDefinition *definition)
{
	double left = 1.0 - definition->ttl_jitter * pg_prng_double(&pg_global_prng_state);

	return definition->ttl_ms == 0 ? 0 : Max((int64) (definition->ttl_ms * left), 1);
}

/*
 * The fields of a hash are set where they are, unless one has become NULL, it is to
 * expire, or a sweep comes upon what may be of another kind.
 */
static void
queue_hash(MirrorChannel *channel, const ReadyChunk *chunk, RedisString key,
		   RedisString value, RedisHandler handler)
{
	const MirrorDefinition *definition = chunk->mirror->definition;
	int count;
	RedisString *fields = cg_mirror_split_strings(value.data, value.size, &count);
	bool anew = count < 2 * chunk->columns || definition->ttl_ms > 0 ||
				chunk->mirror->phase != SWEEP_DONE;

	cg_redis_queue_hash(channel->grid, key, count, fields, anew, draw_ttl(definition),
						handler);
	pfree(fields);
}

static void
queue_chunk(MirrorChannel *channel, ReadyChunk *chunk)
{
	for (int i = 0; i < chunk->count; i++)
	{
		ReadyCommand *command = &chunk->commands[i];
		RedisString key = {chunk->bytes.data + command->key, command->key_size};
		RedisString value = {chunk->bytes.data + command->value, command->value_size};
		RedisHandler handler = {answered, command->touch};

		command->touch->state = TOUCH_SENT;
		if (!command->has_row)
			cg_redis_queue_delete(channel->grid, key, handler);
		else if (chunk->mirror->definition->format == MIRROR_HASH)
			queue_hash(channel, chunk, key, value, handler);
		else
			cg_redis_queue_set(channel->grid, key, value,
							   draw_ttl(chunk->mirror->definition), handler);
	}
}

static void
skip_touches(MirrorTouch *touches, int count)
{
	for (int i = 0; i < count; i++)
		touches[i].state = TOUCH_SKIPPED;
}

/* The key is to be deleted for want of a better value, and parked for this reason. */
static void
withdraw(MirrorTouch *touch, const char *reason)
{
	touch->withdrawn = true;
	touch->state = TOUCH_PENDING;
	touch->reason = MemoryContextStrdup(answer_context, reason);
}

/* Send up to CHUNK touches of one mirror; a row that fails is withdrawn alone. */
static void
send_chunk(MirrorChannel *channel, MirrorState *mirror, ReadyChunk *chunk,
		   MirrorTouch *touches, int count)
{
	char *error;

	chunk->channel = channel;
	chunk->mirror = mirror;
	chunk->touches = touches;
	chunk->touch_count = count;
	chunk->opened = false;
	chunk->count = 0;
	resetStringInfo(&chunk->bytes);

	if (cg_mirror_try(prepare_chunk, chunk, &error))
		queue_chunk(channel, chunk);
	else if (!chunk->opened)
	{
		/* Its sweep will find all of these again. */
		cg_mirror_break(mirror, error);
		skip_touches(touches, count);
	}
	else if (count > 1)
	{
		for (int i = 0; i < count; i++)
			send_chunk(channel, mirror, chunk, &touches[i], 1);
	}
	else if (!touches->withdrawn)
	{
		withdraw(touches, error);
		send_chunk(channel, mirror, chunk, touches, 1);
	}
	else
		touches->state = TOUCH_REFUSED;
}

/* Send the batch's pending touches of one mirror. */
static void
send_mirror(MirrorChannel *channel, ReadyChunk *chunk, MirrorTouch *touches, int count)
{
	MirrorState *mirror = cg_mirror_find_state(channel, touches->mirror);

	/* Of another channel, or dropped, or known later: then it will be swept. */
	if (!mirror || mirror->gone)
	{
		skip_touches(touches, count);
		return;
	}
	for (int i = 0; i < count; i += CHUNK)
	{
		int size = Min(count - i, CHUNK);

		if (mirror->broken)
			skip_touches(&touches[i], size);
		else
			send_chunk(channel, mirror, chunk, &touches[i], size);
	}
}

/*
 * Read the rows behind the channel's sorted batch under the active snapshot
 * and queue their commands.  The caller has locked the channel's tables.
 */
void
cg_mirror_send(MirrorChannel *channel)
{
	MirrorBatch *batch = channel->batch;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cachegrid chunk",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	ReadyChunk *chunk = palloc(sizeof(ReadyChunk));
	int first = 0;

	initStringInfo(&chunk->bytes);
	answer_context = batch->context;
	while (first < batch->count)
	{
		int next = first + 1;

		while (next < batch->count &&
			   batch->touches[next].mirror == batch->touches[first].mirror)
			next++;
		send_mirror(channel, chunk, &batch->touches[first], next - first);
		first = next;
	}
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
}

static int
count_pending(const MirrorBatch *batch)
{
	int pending = 0;

	for (int i = 0; i < batch->count; i++)
		pending += batch->touches[i].state == TOUCH_PENDING;
	return pending;
}

/* Read and queue what must be sent again.  False if a table is locked now. */
static bool
send_again(MirrorChannel *channel)
{
	bool own_transaction = !IsTransactionState();
	bool locked = true;

	if (own_transaction)
	{
		cg_mirror_begin();
		locked = cg_mirror_lock_tables(channel);
	}
	if (locked)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		cg_mirror_flush_wal();
		cg_mirror_send(channel);
		PopActiveSnapshot();
	}
	if (own_transaction)
		cg_mirror_commit();
	return locked;
}

/* Pause, and answer interrupts. */
void
cg_mirror_rest(int milliseconds)
{
	(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds,
					 PG_WAIT_EXTENSION);
	CHECK_FOR_INTERRUPTS();
}

/* False if Redis does not answer, or too often so that it must be tried again. */
static bool
settle_pending(MirrorChannel *channel, bool trouble)
{
	for (int tries = 1; count_pending(channel->batch) > 0; tries++)
	{
		if (tries > MAX_TRIES)
			return false;
		if (trouble || tries > 1)
			cg_mirror_rest(tries * 10);
		if (!cg_redis_connect(channel->grid))
			return false;
		(void) send_again(channel);
		trouble = !cg_redis_drain(channel->grid);
	}
	return true;
}

static int
count_refused(const MirrorBatch *batch)
{
	int refused = 0;

	for (int i = 0; i < batch->count; i++)
		refused += batch->touches[i].refused_by_redis;
	return refused;
}

/* What Redis has refused to set, it may still delete. */
static bool
settle_refused(MirrorChannel *channel)
{
	MirrorBatch *batch = channel->batch;
	int withdrawn = 0;

	for (int i = 0; i < batch->count; i++)
	{
		MirrorTouch *touch = &batch->touches[i];

		if (touch->state != TOUCH_REFUSED || touch->withdrawn)
			continue;
		withdraw(touch, touch->reason);
		withdrawn++;
	}
	return withdrawn == 0 || settle_pending(channel, true);
}

/* False if Redis does not take the batch: see cg_mirror_settle. */
static bool
settle(MirrorChannel *channel)
{
	bool trouble = !cg_redis_drain(channel->grid);

	return settle_pending(channel, trouble) &&
		   count_refused(channel->batch) <= MAX_REFUSED && settle_refused(channel);
}

/* Tell the batch's mirrors; what Redis did not take will be sent again. */
static void
count_touches(const MirrorChannel *channel, bool settled)
{
	const MirrorBatch *batch = channel->batch;
	int first = 0;

	while (first < batch->count)
	{
		int32 mirror = batch->touches[first].mirror;
		MirrorState *state = cg_mirror_find_state(channel, mirror);
		int64 applied = 0;
		int64 retries = 0;
		int next = first;

		for (; next < batch->count && batch->touches[next].mirror == mirror; next++)
		{
			const MirrorTouch *touch = &batch->touches[next];

			applied += settled && touch->state == TOUCH_DONE;
			retries += touch->retries + (!settled && touch->refused_by_redis);
			if (state && touch->state == TOUCH_REFUSED)
				state->refused = true;
		}
		cg_mirror_count(mirror, applied, retries);
		first = next;
	}
}

/*
 * Wait until every key of the batch that was sent is settled in Redis, and
 * send again what must be.  False if Redis does not take it: nothing is in
 * flight then, and the caller starts again from where it began.
 */
bool
cg_mirror_settle(MirrorChannel *channel)
{
	bool settled = settle(channel);

	count_touches(channel, settled);
	if (settled)
		cg_mirror_park(channel);
	return settled;
}
