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
#include "mirror/table.h"

#define WALK_CHUNK		 10000
#define SHORT_WALK_CHUNK 1000 /* if sessions may wait for its end */
#define COMPARE_CHUNK	 512

/* Show how far the sweep is, after so many more keys and rows. */
void
cg_mirror_show_sweep(MirrorState *mirror, int keys, int rows)
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
	cg_mirror_show_sweep(mirror, 0, 0);
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
bool
cg_mirror_keeps_none(const MirrorState *mirror)
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
		if (mirror->phase == SWEEP_SCAN && cg_mirror_keeps_none(mirror))
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
	bool ended;	 /* the walk */
	int rows;	 /* of this chunk of it */
	bool failed; /* a row could not be compared */
} SweepStep;

/* Read the walk's next chunk into the batch. */
static void
read_walk_chunk(void *argument)
{
	SweepStep *step = argument;
	int limit = walk_chunk(step->channel);
	MirrorTable *table = cg_mirror_table_open(step->mirror->definition,
											  GetActiveSnapshot(), MIRROR_LOCKS_TRIED);

	step->rows = cg_mirror_table_walk(table, step->mirror, step->channel->batch, limit);
	step->ended = step->rows < limit;
	step->mirror->progress.row_total = cg_mirror_row_estimate(table->relation);
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
	cg_mirror_show_sweep(mirror, 0, step.rows);
	if (step.ended && mirror->phase == SWEEP_WALK)
		enter_phase(mirror, SWEEP_DONE);
	return true;
}

/* One chunk of the scan.  False if Redis does not answer. */
static bool
scan_step(MirrorChannel *channel, MirrorState *mirror)
{
	RedisScanState state = cg_mirror_delete_surplus(channel, mirror);

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
