/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Brings a whole mirror up to date: at first, after TRUNCATE and DDL, and
 *	  whenever it is in doubt what Redis has.
 *
 * First a scan of Redis looks for keys of the prefix whose rows are gone: at
 * the beginning of a mirror there are none.  Then a walk through the table
 * sets every row.  Chunks, each under a new snapshot, are sent between
 * batches, by the same process under the same rising snapshots: so a sweep
 * never moves a key backwards, and needs no lock on the table.  A walk goes on
 * where it was after a restart; a scan begins anew.
 *
 * A comparison is a sweep that asks Redis for the rows' values, before it sets
 * those that differ: for who knows that most are right.  It is never what replaces
 * a sweep that is under way: who has that be wanted does not trust what Redis shows.
 *
 * While a chunk is sent, a sweep from the start may come to be wanted, because
 * the table turns out to be gone or broken: then the chunk ends nothing.
 *
 * Of a mirror in mode invalidate, of one that is gone, and of one that is barred
 * (see removal.c), every key is deleted; a walk waits until the bar is lifted.
 *
 * A stream has no keys in Redis: its sweep is an event, see events.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define WALK_CHUNK		 10000
#define SHORT_WALK_CHUNK 1000 /* if sessions may wait for its end */
#define COMPARE_CHUNK	 512
#define SCAN_PAGES		 16

/* Show how far the sweep is, after so many more keys and rows. */
static void
show_progress(MirrorState *mirror, int keys, int rows)
{
	static const char *const phases[] = {[SWEEP_DONE] = NULL,
										 [SWEEP_SCAN] = "scanning Redis",
										 [SWEEP_WALK] = "walking the table"};
	static const char *const comparing = "comparing the table";
	SweepProgress *progress = &mirror->progress;

	if (!progress->phase)
		*progress = (SweepProgress){.started = GetCurrentTimestamp(), .row_total = -1};
	progress->phase = phases[mirror->phase];
	if (mirror->phase == SWEEP_WALK && mirror->differences)
		progress->phase = comparing;
	progress->keys += keys;
	progress->rows += rows;
	cg_mirror_show_progress(mirror->definition->id, progress);
}

static void
enter_phase(MirrorState *mirror, SweepPhase phase)
{
	mirror->phase = phase;
	mirror->unsaved = true;
	mirror->last_size = 0;
	if (phase == SWEEP_DONE)
		cg_mirror_count_sweep(mirror->definition->id);
	if (phase == SWEEP_SCAN)
		mirror->progress.phase = NULL;
	show_progress(mirror, 0, 0);
}

static void
begin_anew(MirrorState *mirror, bool differences)
{
	cg_mirror_stop_scan(mirror);
	if (mirror->phase == SWEEP_SCAN && mirror->differences == differences)
		return;
	mirror->differences = differences;
	enter_phase(mirror, SWEEP_SCAN);
}

/* Sweep the mirror, from the start if it is being swept already. */
void
cg_mirror_want_sweep(MirrorState *mirror)
{
	begin_anew(mirror, false);
}

/* The same, but write only what differs; unless every row is to be written already. */
void
cg_mirror_want_comparison(MirrorState *mirror)
{
	begin_anew(mirror, mirror->phase == SWEEP_DONE || mirror->differences);
}

/* The sweep of a stream is over: it was told of, or the stream has ended. */
void
cg_mirror_end_sweep(MirrorState *mirror)
{
	enter_phase(mirror, SWEEP_DONE);
}

void
cg_mirror_want_sweeps(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
		cg_mirror_want_sweep(lfirst(cell));
}

/* Also to be called before the channel's grid is closed. */
void
cg_mirror_stop_scan(MirrorState *mirror)
{
	if (mirror->scan)
		cg_redis_scan_end(mirror->scan);
	mirror->scan = NULL;
}

/* A dropped mirror ends: whatever is still in Redis is not its own any more. */
void
cg_mirror_bury(MirrorState *mirror)
{
	cg_mirror_stop_scan(mirror);
	mirror->phase = SWEEP_DONE;
	cg_mirror_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	cg_mirror_delete(mirror->definition->id);
	PopActiveSnapshot();
	cg_mirror_commit();
	cg_mirror_forget_status(mirror->definition->id);
	cg_mirror_reload_soon();
}

/* Are there rows to be set? */
static bool
walks(const MirrorState *mirror)
{
	return !mirror->gone && mirror->definition->mode != MIRROR_INVALIDATE &&
		   !cg_mirror_is_stream(mirror);
}

/* Is every key to be deleted, whether it has a row or not? */
static bool
keeps_none(const MirrorState *mirror)
{
	return mirror->bars > 0 || !walks(mirror);
}

/*
 * The mirror whose sweep is to go on, NULL if there is none.  With a table that
 * somebody has locked only those can that look at no row.
 */
MirrorState *
cg_mirror_next_sweep(const MirrorChannel *channel, bool locked)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		/* A stream tells of it with its next batch. */
		if (cg_mirror_is_stream(mirror) && !mirror->gone)
			continue;
		if (mirror->phase == SWEEP_SCAN && keeps_none(mirror))
			return mirror;
		if (mirror->phase != SWEEP_DONE && mirror->bars == 0 && !mirror->broken &&
			!locked)
			return mirror;
	}
	return NULL;
}

static int
walk_chunk(const MirrorChannel *channel)
{
	return channel->writes_through ? SHORT_WALK_CHUNK : WALK_CHUNK;
}

/* What a step works on, for cg_mirror_try(). */
typedef struct SweepStep
{
	MirrorChannel *channel;
	MirrorState *mirror;
	bool ended; /* the walk */
	int rows;	/* of this chunk of it */
	const RedisString *keys;
	int key_count;
	bool failed; /* a surplus key could not be deleted, or a row not be compared */
} SweepStep;

/* Read the walk's next chunk into the batch. */
static void
read_walk_chunk(void *argument)
{
	SweepStep *step = argument;
	int limit = walk_chunk(step->channel);
	MirrorTable *table =
		cg_mirror_table_open(step->mirror->definition, GetActiveSnapshot());

	step->rows = cg_mirror_table_walk(table, step->mirror, step->channel->batch, limit);
	step->ended = step->rows < limit;
	step->mirror->progress.row_total = table->relation->rd_rel->reltuples;
	cg_mirror_table_close(table);
	cg_mirror_batch_sort(step->channel->batch);
}

/* Where a walk is, to return to. */
typedef struct WalkMark
{
	char last[CG_OUTBOX_MAX_KEY_BYTES];
	Size last_size;
} WalkMark;

static void
set_mark(WalkMark *mark, const MirrorState *mirror)
{
	mark->last_size = mirror->last_size;
	memcpy(mark->last, mirror->last, mirror->last_size);
}

/* Unless a sweep from the start is wanted since the mark was set. */
static void
return_to_mark(const WalkMark *mark, MirrorState *mirror)
{
	if (mirror->phase != SWEEP_WALK)
		return;
	mirror->last_size = mark->last_size;
	memcpy(mirror->last, mark->last, mark->last_size);
}

/*
 * Of the chunk in the batch, leave those alone that Redis has as they are.  False if
 * Redis does not answer.
 */
static bool
leave_equal(const SweepStep *step)
{
	MirrorBatch *batch = step->channel->batch;
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "cachegrid comparison", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	bool answered = true;

	for (int i = 0; i < batch->count && answered; i += COMPARE_CHUNK)
	{
		int count = Min(batch->count - i, COMPARE_CHUNK);
		MirrorComparison *comparisons = palloc0(count * sizeof(MirrorComparison));

		answered = cg_mirror_compare(step->mirror->definition, step->channel->grid,
									 &batch->touches[i], count, comparisons, false);
		for (int j = 0; j < count && answered; j++)
		{
			if (!comparisons[j].problem)
				batch->touches[i + j].state = TOUCH_SKIPPED;
		}
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
	return answered;
}

/* Read and queue one chunk of the walk under a new snapshot. */
static void
send_walk_chunk(SweepStep *step)
{
	MirrorState *mirror = step->mirror;
	char *error;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (mirror->last_size == 0)
		cg_mirror_unpark(mirror);
	cg_mirror_flush_wal();
	if (!cg_mirror_try(read_walk_chunk, step, &error))
	{
		cg_mirror_batch_reset(step->channel->batch);
		cg_mirror_break(mirror, error);
	}
	else if (mirror->differences && !leave_equal(step))
	{
		cg_mirror_batch_reset(step->channel->batch);
		step->failed = true;
	}
	else
		cg_mirror_send(step->channel);
	PopActiveSnapshot();
}

/* One chunk of the walk.  False if Redis does not take it. */
static bool
walk_step(MirrorChannel *channel, MirrorState *mirror)
{
	SweepStep step = {.channel = channel, .mirror = mirror};
	WalkMark mark;
	bool locked;

	set_mark(&mark, mirror);
	cg_mirror_begin();
	locked = cg_mirror_lock_tables(channel) && !mirror->gone && !mirror->broken;
	if (locked)
		send_walk_chunk(&step);
	cg_mirror_commit();
	if (!locked)
		return true;

	if (step.failed || !cg_mirror_settle(channel))
	{
		return_to_mark(&mark, mirror);
		return false;
	}
	mirror->unsaved = true;
	show_progress(mirror, 0, step.rows);
	if (step.ended && mirror->phase == SWEEP_WALK)
		enter_phase(mirror, SWEEP_DONE);
	return true;
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
	SweepStep *step = argument;
	MirrorChannel *channel = step->channel;
	MirrorDefinition *definition = step->mirror->definition;
	MirrorTable *table = NULL;
	ItemPointerData no_hint;

	ItemPointerSetInvalid(&no_hint);
	if (!keeps_none(step->mirror))
		table = cg_mirror_table_open(definition, GetActiveSnapshot());
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
	SweepStep step = {
		.channel = channel, .mirror = mirror, .keys = keys, .key_count = count};
	char *error;
	bool locked;

	cg_mirror_begin();
	locked = keeps_none(mirror) || (cg_mirror_lock_tables(channel) && !mirror->broken);
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

/* One chunk of the scan.  False if Redis does not answer. */
static bool
scan_step(MirrorChannel *channel, MirrorState *mirror)
{
	FoundKeys found = {.context = channel->batch->context};
	RedisScanState state;
	RedisScanState checked = REDIS_SCAN_KEYS;

	if (!mirror->scan)
		begin_scan(channel, mirror);
	state = find_keys(mirror, &found);
	show_progress(mirror, found.count, 0);
	if (found.count > 0)
		checked = check_keys(channel, mirror, found.keys, found.count);
	if (checked != REDIS_SCAN_KEYS)
		state = checked;
	else if (!mirror->scan)
		state = REDIS_SCAN_BROKEN; /* a sweep from the start is wanted */
	if (state != REDIS_SCAN_KEYS)
		cg_mirror_stop_scan(mirror);
	if (state == REDIS_SCAN_END)
		enter_phase(mirror, walks(mirror) ? SWEEP_WALK : SWEEP_DONE);
	return state != REDIS_SCAN_FAILED;
}

/*
 * Go on with the mirror's sweep, one chunk.  False if Redis does not take
 * it: then the chunk will be done again.
 */
bool
cg_mirror_sweep_step(MirrorChannel *channel, MirrorState *mirror)
{
	bool done;

	if (cg_mirror_is_stream(mirror))
	{
		cg_mirror_end_sweep(mirror);
		return true;
	}
	if (mirror->phase == SWEEP_WALK && walks(mirror))
		done = walk_step(channel, mirror);
	else
		done = scan_step(channel, mirror);
	cg_mirror_batch_reset(channel->batch);
	return done;
}
