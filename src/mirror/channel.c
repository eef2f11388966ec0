/*-------------------------------------------------------------------------
 *
 * channel.c
 *	  One round of one channel: connect, take a batch from the outbox, apply
 *	  it, go on with a sweep, save.
 *
 * Whatever is not settled when Redis stops to answer is done again from the
 * channel's position.  An outage is logged once when it begins and once when
 * it has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

/* Touches of a batch, after which the outbox is read on later. */
#define BATCH_TOUCHES 100000

/* The same if sessions may wait for the end of a batch. */
#define SHORT_BATCH_TOUCHES 2000

#define SAVE_INTERVAL_MS	200
#define PUBLISH_INTERVAL_MS 1000

/* So long all mirrors of a channel wait for a table that is locked. */
#define PATIENCE_MS 5000

MirrorState *
cg_mirror_find_state(const MirrorChannel *channel, int32 mirror)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *state = lfirst(cell);

		if (state->definition->id == mirror)
			return state;
	}
	return NULL;
}

/*
 * The mirror cannot be worked on because of its table; it will be tried, and
 * then swept, again.
 */
void
cg_mirror_break(MirrorState *mirror, const char *error)
{
	if (!mirror->reported || strcmp(mirror->reported, error) != 0)
	{
		ereport(LOG, errmsg("mirror %d to server \"%s\" is stopped: %s",
							mirror->definition->id, mirror->definition->server, error));
		if (mirror->reported)
			pfree(mirror->reported);
		mirror->reported = MemoryContextStrdup(TopMemoryContext, error);
	}
	mirror->broken = mirror->reported;
	cg_mirror_set_error(mirror->definition->id, error);
	/* One that is barred has its sweep, which looks at the table in the end. */
	if (mirror->bars == 0)
		cg_mirror_want_sweep(mirror);
}

static bool
lock_parts(Oid relid)
{
	Relation relation = table_open(relid, NoLock);
	bool locked = cg_mirror_lock_parts(relation);

	table_close(relation, NoLock);
	return locked;
}

/* Lock a mirror's table, and what it takes to read it, if nobody else has. */
static bool
try_to_lock(MirrorState *mirror)
{
	Oid relation = mirror->definition->relation;

	if (!cg_mirror_is_stream(mirror) &&
		!ConditionalLockRelationOid(relation, AccessShareLock))
		return false;
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		return mirror->definition->mode == MIRROR_INVALIDATE ||
			   cg_mirror_is_stream(mirror) || lock_parts(relation);
	mirror->gone = true;
	cg_mirror_want_sweep(mirror);
	return true;
}

/*
 * Lock a mirror's table; false if it is to be waited for, because somebody else has
 * locked it.  Who keeps it for long, or waits for it behind a third, must not hold
 * the other tables up: then the mirror is stopped, and swept when it can be locked.
 */
static bool
lock_table(MirrorState *mirror)
{
	int64 now;

	if (try_to_lock(mirror))
	{
		mirror->locked_since = 0;
		return true;
	}
	if (mirror->broken)
		return true;

	now = cg_clock_ms();
	if (mirror->locked_since == 0)
		mirror->locked_since = now;
	if (now < mirror->locked_since + PATIENCE_MS)
		return false;
	cg_mirror_break(mirror, "its table is locked");
	return true;
}

/*
 * Lock the channel's tables against DDL to the end of the transaction, those of
 * stopped mirrors if that is possible; false if one of them is locked by somebody
 * else now.  Never waits, so that it is never part of a deadlock.  A snapshot
 * taken after that sees what DDL left.  May stop a mirror.
 */
bool
cg_mirror_lock_tables(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		if (!mirror->gone && !lock_table(mirror))
			return false;
	}
	return true;
}

/*
 * Wait until the transaction, which we see as committed, has told everybody what
 * to forget: that comes later, but before its locks are released.  Who changes a
 * table has locked it; who changes a type or a function has locked nothing that
 * we come across.
 */
static void
await_end(uint64 xid)
{
	LOCKTAG tag;

	SET_LOCKTAG_TRANSACTION(tag, (TransactionId) xid);
	(void) LockAcquire(&tag, ShareLock, false, false);
	(void) LockRelease(&tag, ShareLock, false);
}

/* Put the records of a row into the batch; wishes for sweeps are granted. */
static void
collect_row(MirrorChannel *channel, const OutboxRow *row)
{
	const char *cursor = row->payload;
	OutboxRecord record;

	while (cg_outbox_next_record(&cursor, row->payload + row->size, &record))
	{
		MirrorState *mirror = cg_mirror_find_state(channel, record.mirror);

		if (!mirror)
			cg_mirror_heard_of(record.mirror);
		else if (cg_mirror_is_stream(mirror))
			cg_mirror_collect_event(channel, mirror, &record);
		else if (record.kind == OUTBOX_SWEEP)
		{
			await_end(row->xid);
			cg_mirror_want_sweep(mirror);
		}
		else if (record.kind == OUTBOX_COMPARISON)
			cg_mirror_want_comparison(mirror);
		else
			cg_mirror_batch_add(channel->batch, record.mirror, record.key,
								record.key_size, &record.tid);
	}
}

/* What has been read of the outbox in one transaction. */
typedef struct OutboxBatch
{
	OutboxReader *reader;
	bool any;	/* there were rows */
	bool more;	/* the batch was full before the reader was at its end */
	bool async; /* some may not be on disk yet */
} OutboxBatch;

static void
collect(MirrorChannel *channel, OutboxBatch *outbox)
{
	int limit = channel->writes_through ? SHORT_BATCH_TOUCHES : BATCH_TOUCHES;
	OutboxRow row;

	outbox->more = false;
	while (cg_outbox_read_next(outbox->reader, &row))
	{
		CHECK_FOR_INTERRUPTS();
		outbox->any = true;
		if (row.flags & CG_OUTBOX_ASYNC)
			outbox->async = true;
		collect_row(channel, &row);
		if (channel->batch->count >= limit)
		{
			outbox->more = true;
			break;
		}
	}
	cg_mirror_batch_sort(channel->batch);
}

/*
 * Read from the outbox and queue, in the open transaction.  A transaction
 * that touched more than a batch holds is settled batch by batch; only then
 * can the position move.  So it is with a channel that publishes: in events the
 * order of commits must be kept, which a cut does not follow.  Who is about to
 * commit need not wait for all of them.  False if Redis did not take one.
 */
static bool
read_and_send(MirrorChannel *channel, OutboxBatch *outbox)
{
	for (;;)
	{
		bool last;

		collect(channel, outbox);
		last = !outbox->more ||
			   (!channel->publishes && cg_outbox_read_may_end(outbox->reader));
		if (channel->batch->count > 0)
		{
			/* Rows may be newer than a batch that was cut. */
			if (outbox->async || outbox->more)
				cg_mirror_flush_wal();
			cg_mirror_send(channel);
		}
		if (last)
			return true;
		if (!cg_mirror_settle(channel))
			return false;
		cg_mirror_batch_reset(channel->batch);
		cg_mirror_serve();
	}
}

/* Of none of its mirrors has Redis refused a key of this batch, as yet. */
static void
begin_batch(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
		((MirrorState *) lfirst(cell))->refused = false;
}

static void
move_position(MirrorChannel *channel, OutboxPosition *position, bool unsaved)
{
	pfree(channel->position);
	channel->position = position;
	if (unsaved)
		channel->unsaved = true;
}

/* What a round came to. */
typedef enum RoundResult
{
	ROUND_IDLE,	 /* nothing to do */
	ROUND_DONE,	 /* something done, there may be more */
	ROUND_BUSY,	 /* a table is locked: try soon */
	ROUND_FAILED /* Redis did not take it */
} RoundResult;

/* Take the next batch from the outbox and apply it. */
static RoundResult
apply_batch(MirrorChannel *channel)
{
	OutboxBatch outbox = {NULL};
	OutboxPosition *position;
	MemoryContext previous;
	bool publishes;
	bool sent;

	cg_mirror_begin();
	if (!cg_mirror_lock_tables(channel))
	{
		cg_mirror_commit();
		return ROUND_BUSY;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	begin_batch(channel);
	cg_mirror_begin_events(channel);
	if (channel->removals != NIL)
		cg_mirror_lift_removals(channel, cg_outbox_position_of(GetActiveSnapshot()));
	outbox.reader = cg_outbox_read_begin(channel->position, GetActiveSnapshot());
	sent = read_and_send(channel, &outbox);
	publishes = cg_mirror_end_events(channel, outbox.async);
	previous = MemoryContextSwitchTo(channel->context);
	position = cg_outbox_read_end(outbox.reader);
	MemoryContextSwitchTo(previous);
	PopActiveSnapshot();
	cg_mirror_commit();

	sent = sent && cg_mirror_settle(channel);
	cg_mirror_end_removals(channel, sent);
	sent = sent && (!publishes || cg_mirror_publish(channel));
	if (!sent)
	{
		if (position)
			pfree(position);
		return ROUND_FAILED;
	}
	move_position(channel, position, outbox.any);
	return outbox.any || publishes ? ROUND_DONE : ROUND_IDLE;
}

static RoundResult
sweep(MirrorChannel *channel, bool locked)
{
	MirrorState *mirror = cg_mirror_next_sweep(channel, locked);

	if (!mirror)
		return ROUND_IDLE;
	if (!cg_mirror_sweep_step(channel, mirror))
		return ROUND_FAILED;
	if (mirror->gone && mirror->phase == SWEEP_DONE)
	{
		if (!cg_mirror_shares_channel(channel, mirror) &&
			!cg_mirror_disown(channel->grid, channel->server, mirror->definition->prefix))
			return ROUND_FAILED;
		cg_mirror_bury(mirror);
	}
	return ROUND_DONE;
}

static bool
has_unsaved(const MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		if (((MirrorState *) lfirst(cell))->unsaved)
			return true;
	}
	return channel->unsaved;
}

/* Save if it is time to; else tell when it will be. */
static void
save_if_due(MirrorChannel *channel, int64 now, long *wait_ms)
{
	int64 due = channel->saved_at + SAVE_INTERVAL_MS;

	if (!has_unsaved(channel))
		return;
	if (now >= due)
		cg_mirror_save(channel);
	else
		*wait_ms = Min(*wait_ms, due - now);
}

static void
show_states(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);
		const char *state = "live";

		if (mirror->broken)
			state = "stopped";
		else if (channel->failures > 0)
			state = mirror->phase == SWEEP_DONE ? "interrupted" : "sweep pending";
		else if (mirror->gone)
			state = "removing";
		else if (mirror->phase != SWEEP_DONE)
			state = "sweeping";
		if (state != mirror->shown)
			cg_mirror_set_state(mirror->definition->id, state);
		mirror->shown = state;
	}
}

static RoundResult
work_on_redis(MirrorChannel *channel, int64 now)
{
	RoundResult applied;
	RoundResult swept;

	if (!cg_mirror_connect(channel))
		return ROUND_IDLE;
	if (!cg_mirror_check_nodes(channel, now))
	{
		cg_mirror_interrupt_for_grid(channel);
		return ROUND_IDLE;
	}

	applied = apply_batch(channel);
	channel->taken = channel->batch->count;
	cg_mirror_batch_reset(channel->batch);
	if (applied != ROUND_BUSY)
		channel->busy_since = 0;
	else if (channel->busy_since == 0)
		channel->busy_since = now;
	swept = applied == ROUND_FAILED ? ROUND_IDLE : sweep(channel, applied == ROUND_BUSY);
	if (applied == ROUND_FAILED || swept == ROUND_FAILED)
	{
		cg_mirror_interrupt_for_grid(channel);
		return ROUND_IDLE;
	}
	cg_mirror_end_interruption(channel);
	if (applied == ROUND_DONE || swept == ROUND_DONE)
		return ROUND_DONE;
	return applied;
}

/*
 * One round.  True if there may be more to do at once; else *wait_ms is
 * lowered to the time when there will be.
 */
bool
cg_mirror_round(MirrorChannel *channel, long *wait_ms)
{
	int64 now = cg_clock_ms();
	RoundResult result = ROUND_IDLE;

	if (now >= channel->retry_at)
		result = work_on_redis(channel, now);
	if (channel->retry_at > now)
		*wait_ms = Min(*wait_ms, channel->retry_at - now);
	if (result == ROUND_BUSY)
		*wait_ms = Min(*wait_ms, 10);
	show_states(channel);
	if (channel->grid && now >= channel->published_at + PUBLISH_INTERVAL_MS)
		cg_mirror_publish_nodes(channel, NULL);
	save_if_due(channel, now, wait_ms);
	return result == ROUND_DONE;
}

/*
 * The outbox has reached its limit while Redis is away: forget what waits,
 * and sweep everything when it is back.
 */
void
cg_mirror_overflow(MirrorChannel *channel)
{
	MemoryContext previous;

	if (!channel->overflowed)
		ereport(LOG, errmsg("outbox has reached \"cachegrid.outbox_limit\""),
				errdetail(
					"Mirrors to server \"%s\" will be swept as a whole when it is back.",
					channel->server));
	channel->overflowed = true;
	cg_mirror_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	previous = MemoryContextSwitchTo(channel->context);
	move_position(channel, cg_outbox_position_of(GetActiveSnapshot()), true);
	MemoryContextSwitchTo(previous);
	PopActiveSnapshot();
	cg_mirror_commit();
	cg_mirror_want_sweeps(channel);
	cg_mirror_save(channel);
}
