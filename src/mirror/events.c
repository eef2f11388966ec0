/*-------------------------------------------------------------------------
 *
 * events.c
 *	  Publishes what happened to the keys of watched tables.
 *
 * What a batch has of a stream is told at once: one event for each key, whatever
 * happened to it between the batch's two snapshots, or one for the whole table:
 * after TRUNCATE, a change of very many keys, and whenever it is in doubt what
 * subscribers were told (where a mirror would be swept).  So a key's events come
 * in the order of commits, since snapshots do; for which a batch is never cut.  They
 * are published after the batch's mirrors are settled: a mirrored key that
 * is told of is in Redis.
 *
 * Each event has a token: timeline, batch, part.  Batches of a stream are numbered,
 * and their events counted: part 1 to parts.  A batch holds everything since the
 * batch "since": the last that was published whole, as far as we know.  So who has
 * read that one, or a later one, and all parts of this one, has missed nothing.
 * What is published again, because Redis did not answer or the worker had to start
 * from an older position, gets a number that was never used: numbers are reserved
 * on disk before they are, and a worker begins behind those that are reserved.  A
 * new stream begins at the clock's microseconds, so that it is no repetition of one
 * that was there before it.
 *
 * Position and "since" are saved together (progress.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* Keys of one stream and batch; beyond them the table is told of as a whole. */
#define MAX_KEYS 8192

/* So many numbers are reserved at a time: a flush of the WAL for each. */
#define RESERVED_NUMBERS 10000

#define MAX_TRIES 5

#define WORD(text) ((RedisString){.data = (text), .size = strlen(text)})

/* Where the reason of a refusal is kept: the batch that is in flight. */
static MemoryContext answer_context = NULL;

bool
cg_mirror_is_stream(const MirrorState *mirror)
{
	return mirror->definition->mode == MIRROR_STREAM;
}

/* Is it the channel of Redis of another stream, too? */
bool
cg_mirror_shares_channel(const MirrorChannel *channel, const MirrorState *mirror)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		const MirrorState *other = lfirst(cell);

		if (other != mirror && cg_mirror_is_stream(mirror) &&
			strcmp(other->definition->prefix, mirror->definition->prefix) == 0)
			return true;
	}
	return false;
}

/* A batch begins.  Who is in doubt tells of the whole table. */
void
cg_mirror_begin_events(MirrorChannel *channel)
{
	ListCell *cell;

	if (!channel->publishes)
		return;
	cg_mirror_batch_reset(channel->events);
	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);
		MirrorStream *stream = &mirror->stream;

		stream->state = STREAM_SILENT;
		stream->whole = mirror->phase != SWEEP_DONE;
		stream->key_count = 0;
	}
}

/* Put a record of a stream into the batch. */
void
cg_mirror_collect_event(MirrorChannel *channel, MirrorState *mirror,
						const OutboxRecord *record)
{
	MirrorStream *stream = &mirror->stream;
	int before = channel->events->count;
	ItemPointerData no_hint;
	MirrorTouch *touch;

	if (record->kind == OUTBOX_SWEEP)
		stream->whole = true;
	if (stream->whole)
		return;
	ItemPointerSetInvalid(&no_hint);
	touch = cg_mirror_batch_add(channel->events, record->mirror, record->key,
								record->key_size, &no_hint);
	touch->balance += (record->kind == OUTBOX_INSERT) - (record->kind == OUTBOX_DELETE);
	stream->key_count += channel->events->count - before;
	if (stream->key_count > MAX_KEYS)
		stream->whole = true;
}

/* Where the keys of each stream are, in the sorted batch. */
static void
find_keys(MirrorChannel *channel)
{
	const MirrorBatch *batch = channel->events;
	int first = 0;

	cg_mirror_batch_sort(channel->events);
	while (first < batch->count)
	{
		int32 mirror = batch->touches[first].mirror;
		int next = first + 1;

		while (next < batch->count && batch->touches[next].mirror == mirror)
			next++;
		cg_mirror_find_state(channel, mirror)->stream.first = first;
		first = next;
	}
}

/* Look up what events say of the table; false if it is gone, without our knowing. */
static bool
name_table(MemoryContext context, MirrorState *mirror)
{
	Oid table = mirror->definition->relation;
	char *name = get_rel_name(table);

	if (!name)
		return false;
	name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), name);
	mirror->stream.table = MemoryContextStrdup(context, name);
	mirror->stream.timeline = MemoryContextStrdup(context, cg_mirror_history());
	return true;
}

/*
 * The batch has been read, in a transaction that is still open.  True if something
 * is to be published.  Nobody may be told of what a crash can still undo: async:
 * commits are among it that may not be on disk yet.
 */
bool
cg_mirror_end_events(MirrorChannel *channel, bool async)
{
	bool any = false;
	ListCell *cell;

	if (!channel->publishes)
		return false;
	find_keys(channel);
	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);
		MirrorStream *stream = &mirror->stream;

		if (!cg_mirror_is_stream(mirror) || mirror->gone || mirror->broken ||
			!(stream->whole || stream->key_count > 0) ||
			!name_table(channel->events->context, mirror))
			continue;
		stream->state = STREAM_PENDING;
		any = true;
		async |= mirror->phase != SWEEP_DONE;
	}
	if (any && async)
		cg_mirror_flush_wal();
	return any;
}

static const char *
operation_name(const MirrorTouch *touch)
{
	if (touch->balance > 0)
		return "insert";
	return touch->balance < 0 ? "delete" : "update";
}

/* The event of a key, or without a touch of the whole table; part counts from 1. */
static void
write_event(StringInfo out, const MirrorStream *stream, const MirrorTouch *touch,
			int part)
{
	resetStringInfo(out);
	appendStringInfoString(out, "{\"table\":");
	escape_json(out, stream->table);
	appendStringInfo(
		out, ",\"operation\":\"%s\",\"key\":", touch ? operation_name(touch) : "all");
	if (touch)
	{
		char *key = pnstrdup(touch->key, touch->key_size);

		escape_json(out, key);
		pfree(key);
	}
	else
		appendStringInfoString(out, "null");
	appendStringInfo(out,
					 ",\"timeline\":\"%s\",\"batch\":" INT64_FORMAT
					 ",\"since\":" INT64_FORMAT ",\"part\":%d,\"parts\":%d}",
					 stream->timeline, stream->given, stream->batch, part,
					 stream->whole ? 1 : stream->key_count);
}

static void
answered(const RedisResult *result, void *user_data)
{
	MirrorStream *stream = user_data;

	if (result->outcome == REDIS_DONE)
		stream->answers++;
	else if (result->outcome == REDIS_REFUSED && !stream->refusal)
		stream->refusal = MemoryContextStrdup(answer_context, result->reason);
}

static void
queue_event(MirrorChannel *channel, MirrorState *mirror, StringInfo event)
{
	const MirrorDefinition *definition = mirror->definition;
	RedisString name = WORD(definition->channel);
	RedisString words[] = {WORD(definition->sharded ? "SPUBLISH" : "PUBLISH"),
						   name,
						   {event->data, event->len}};

	cg_redis_queue(channel->grid, name, lengthof(words), words,
				   (RedisHandler){answered, &mirror->stream});
}

/* Queue all that the batch has of the stream, under a new number. */
static void
queue_stream(MirrorChannel *channel, MirrorState *mirror)
{
	MirrorStream *stream = &mirror->stream;
	StringInfoData event;

	stream->given++;
	stream->answers = 0;
	stream->refusal = NULL;
	initStringInfo(&event);
	if (stream->whole)
	{
		write_event(&event, stream, NULL, 1);
		queue_event(channel, mirror, &event);
	}
	for (int i = 0; i < stream->key_count && !stream->whole; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_event(&event, stream, &channel->events->touches[stream->first + i], i + 1);
		queue_event(channel, mirror, &event);
	}
	pfree(event.data);
}

/* Give out no number that is not reserved on disk. */
static void
reserve_numbers(MirrorChannel *channel)
{
	bool reserved = false;
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);
		MirrorStream *stream = &mirror->stream;

		if (stream->state != STREAM_PENDING)
			continue;
		if (stream->reserved == 0)
			stream->batch = stream->reserved = GetCurrentTimestamp();
		/* Those that were reserved before we began may have been given out. */
		stream->given = stream->given == 0 ? stream->reserved : stream->given;
		if (stream->given < stream->reserved)
			continue;
		stream->reserved = stream->given + RESERVED_NUMBERS;
		mirror->unsaved = true;
		reserved = true;
	}
	if (reserved)
	{
		cg_mirror_save(channel);
		cg_mirror_flush_wal();
	}
}

/* What Redis said to a stream's events. */
static void
take_answers(MirrorState *mirror)
{
	MirrorStream *stream = &mirror->stream;
	int events = stream->whole ? 1 : stream->key_count;

	if (stream->refusal)
	{
		/* When it is mended the whole table will be told of. */
		stream->state = STREAM_SILENT;
		cg_mirror_break(mirror, stream->refusal);
		return;
	}
	if (stream->answers < events)
	{
		cg_mirror_count(mirror->definition->id, 0, events);
		return;
	}
	stream->state = STREAM_PUBLISHED;
	stream->batch = stream->given;
	mirror->unsaved = true;
	if (mirror->phase != SWEEP_DONE)
		cg_mirror_end_sweep(mirror);
	cg_mirror_count(mirror->definition->id, events, 0);
}

/* Send what is pending, once; true if nothing is any more. */
static bool
publish_pending(MirrorChannel *channel)
{
	bool all = true;
	ListCell *cell;

	reserve_numbers(channel);
	answer_context = channel->events->context;
	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		if (mirror->stream.state == STREAM_PENDING)
			queue_stream(channel, mirror);
	}
	(void) cg_redis_drain(channel->grid);
	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		if (mirror->stream.state == STREAM_PENDING)
			take_answers(mirror);
		all &= mirror->stream.state != STREAM_PENDING;
	}
	return all;
}

/*
 * Publish the batch's events, in no transaction and with nothing in flight.  False
 * if Redis does not take them: then the batch is to be done again.
 */
bool
cg_mirror_publish(MirrorChannel *channel)
{
	for (int tries = 1; tries <= MAX_TRIES; tries++)
	{
		if (tries > 1)
			cg_mirror_rest(tries * 10);
		if (tries > 1 && !cg_redis_connect(channel->grid))
			return false;
		if (publish_pending(channel))
			return true;
	}
	return false;
}
