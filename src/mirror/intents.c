/*-------------------------------------------------------------------------
 *
 * intents.c
 *	  What sessions that are about to commit want of the worker: their keys
 *	  removed from Redis.
 *
 * They stand in the outbox, in rows that nobody else sees as yet.  They are
 * barred (removal.c), deleted, and then the session is told.  All who want it
 * at the time share a round trip.
 *
 * A worker that begins finds what its predecessor had removed in the outbox,
 * too: in rows of transactions that have not committed.  After a crash some
 * may be missing there; then the mirrors concerned are swept.
 *
 * Nothing here needs a lock on a table, since who waits for it may hold one
 * that excludes everybody.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* So many keys of one transaction are kept; beyond it the mirror is barred. */
#define MAX_KEYS 100000

#define MAX_TRIES 5

/* What reads rows of the outbox into removals. */
typedef struct RemovalReader
{
	List *channels;
	bool unknown; /* there was a mirror that no channel has */
} RemovalReader;

static void
take_record(RemovalReader *reader, uint64 xid, const OutboxRecord *record)
{
	ListCell *cell;

	foreach (cell, reader->channels)
	{
		MirrorChannel *channel = lfirst(cell);
		MirrorState *mirror = cg_mirror_find_state(channel, record->mirror);
		MirrorRemoval *removal;

		if (!mirror)
			continue;
		removal = cg_mirror_find_removal(channel, xid);
		if (!removal)
			removal = cg_mirror_add_removal(channel, xid);
		removal->demanded |= !mirror->definition->degrades;
		if (record->kind == OUTBOX_SWEEP || removal->batch->count >= MAX_KEYS)
			cg_mirror_hold_whole(removal, mirror);
		else
			cg_mirror_batch_add(removal->batch, record->mirror, record->key,
								record->key_size, &record->tid);
		return;
	}
	reader->unknown = true;
}

static void
take_row(const OutboxRow *row, void *argument)
{
	const char *cursor = row->payload;
	OutboxRecord record;

	while (cg_outbox_next_record(&cursor, row->payload + row->size, &record))
	{
		if (record.remove)
			take_record(argument, row->xid, &record);
	}
}

/* Bar what the transaction's removals hold, for this intent. */
static void
bar_taken(List *channels, uint64 xid, uint32 number)
{
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorRemoval *removal = cg_mirror_find_removal(lfirst(cell), xid);

		if (!removal)
			continue;
		removal->number = number;
		cg_mirror_batch_sort(removal->batch);
		cg_mirror_bar(lfirst(cell), removal);
	}
}

/* A transaction that writes once more before it ends is read again. */
static void
forget_taken(List *channels, uint64 xid)
{
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorRemoval *removal = cg_mirror_find_removal(lfirst(cell), xid);

		if (removal)
			cg_mirror_drop_removal(lfirst(cell), removal);
	}
}

static bool
is_taken(List *channels, const OutboxIntent *intent)
{
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorRemoval *removal = cg_mirror_find_removal(lfirst(cell), intent->xid);

		if (removal && removal->number == intent->number)
			return true;
	}
	return false;
}

/*
 * Read the keys of who wants some removed, and bar them, in a transaction.  False
 * if there was a mirror that no channel has, unless those may be passed over.
 */
static bool
take_intents(List *channels, const OutboxIntent *intents, int count, bool pass_over)
{
	RemovalReader reader = {.channels = channels};

	for (int i = 0; i < count; i++)
	{
		const OutboxIntent *intent = &intents[i];

		if (intent->wish != OUTBOX_WISH_REMOVAL || is_taken(channels, intent))
			continue;
		forget_taken(channels, intent->xid);
		cg_outbox_read_own(intent->xid, take_row, &reader);
		bar_taken(channels, intent->xid, intent->number);
		if (reader.unknown && !pass_over)
		{
			forget_taken(channels, intent->xid);
			return false;
		}
	}
	return true;
}

static void
deleted(const RedisResult *result, void *user_data)
{
	MirrorTouch *touch = user_data;

	touch->state = result->outcome == REDIS_DONE ? TOUCH_DONE : TOUCH_PENDING;
}

/* Queue what is still to be deleted; returns how many keys, -1 if that cannot be known. */
static int
queue_removal(MirrorChannel *channel, MirrorRemoval *removal)
{
	const MirrorKeys *keys = NULL;
	int32 mirror = 0;
	int queued = 0;

	for (int i = 0; i < removal->batch->count; i++)
	{
		MirrorTouch *touch = &removal->batch->touches[i];
		char key[CG_KEY_MAX_BYTES];
		int size;

		CHECK_FOR_INTERRUPTS();
		if (touch->state != TOUCH_PENDING)
			continue;
		if (!keys || touch->mirror != mirror)
		{
			mirror = touch->mirror;
			keys = cg_mirror_current_keys(cg_mirror_find_state(channel, mirror));
			if (!keys)
				return -1;
		}
		size = cg_mirror_render(keys, touch, key);
		touch->state = size > 0 ? TOUCH_SENT : TOUCH_SKIPPED;
		if (size == 0)
			continue;
		cg_redis_queue_delete(channel->grid, (RedisString){key, size},
							  (RedisHandler){deleted, touch});
		queued++;
	}
	return queued;
}

/* Queue what all removals still have to delete: how many keys, -1 as above. */
static int
queue_removals(MirrorChannel *channel)
{
	ListCell *cell;
	int queued = 0;

	foreach (cell, channel->removals)
	{
		MirrorRemoval *removal = lfirst(cell);
		int more = removal->deleted ? 0 : queue_removal(channel, removal);

		if (more < 0)
			return -1;
		queued += more;
	}
	return queued;
}

/* The same in a transaction of its own, unless there is one. */
static int
queue_in_transaction(MirrorChannel *channel)
{
	bool own_transaction = !IsTransactionState();
	int queued;

	if (own_transaction)
	{
		cg_mirror_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	queued = queue_removals(channel);
	if (own_transaction)
	{
		PopActiveSnapshot();
		cg_mirror_commit();
	}
	return queued;
}

/* See which removals are done; true if all are. */
static bool
are_deleted(const MirrorChannel *channel)
{
	bool all = true;
	ListCell *cell;

	foreach (cell, channel->removals)
	{
		MirrorRemoval *removal = lfirst(cell);
		int i = 0;

		while (!removal->deleted && i < removal->batch->count &&
			   removal->batch->touches[i].state != TOUCH_PENDING)
			i++;
		removal->deleted |= i == removal->batch->count;
		all &= removal->deleted;
	}
	return all;
}

/* Delete what is to be removed through this channel.  False if Redis does not take it. */
static bool
delete_removed(MirrorChannel *channel)
{
	if (are_deleted(channel))
		return true;
	/* It takes a transaction to open one, and between parts of a batch there is one. */
	if (IsTransactionState() && (channel->failures > 0 || !channel->grid))
		return false;
	if (cg_clock_ms() < channel->retry_at || !cg_mirror_connect(channel))
		return false;
	for (int tries = 0; tries < MAX_TRIES; tries++)
	{
		int queued;

		if (tries > 0)
			cg_mirror_rest(tries * 10);
		if (tries > 0 && !cg_redis_connect(channel->grid))
			break;
		queued = queue_in_transaction(channel);
		(void) cg_redis_drain(channel->grid);
		if (are_deleted(channel))
			return true;
		if (queued < 0)
			return false;
	}
	cg_mirror_interrupt_for_grid(channel);
	return false;
}

/* Are all keys of the mirrors that it bars as a whole gone from Redis? */
static bool
is_swept(const MirrorChannel *channel, const MirrorRemoval *removal)
{
	ListCell *cell;

	foreach (cell, removal->whole)
	{
		const MirrorState *mirror = cg_mirror_find_state(channel, lfirst_int(cell));

		if (mirror && mirror->phase == SWEEP_SCAN)
			return false;
	}
	return true;
}

/* What the channels have to say to an intent. */
static OutboxAnswer
judge(List *channels, const OutboxIntent *intent)
{
	OutboxAnswer answer = OUTBOX_GRANTED;
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);
		MirrorRemoval *removal = cg_mirror_find_removal(channel, intent->xid);

		if (!removal || (removal->deleted && is_swept(channel, removal)))
			continue;
		if (channel->failures == 0)
			answer = answer == OUTBOX_REFUSED ? answer : OUTBOX_UNANSWERED;
		else if (removal->demanded)
			answer = OUTBOX_REFUSED;
	}
	return answer;
}

/*
 * Remove what sessions that are about to commit want to be removed, and tell
 * them.  Nothing may be in flight.  *soon: there is more to be done.  False if
 * there was a mirror that no channel has: then nobody was told; read the
 * catalog, and call again to pass over those that are unknown even then: they
 * are of the very transactions that are about to commit.
 */
bool
cg_mirror_serve_removals(List *channels, bool pass_over, bool *soon)
{
	OutboxIntent *intents;
	int count = cg_outbox_intents(&intents);
	bool own_transaction = !IsTransactionState();
	bool known;
	ListCell *cell;

	while (count > 0 && intents[count - 1].wish != OUTBOX_WISH_REMOVAL)
		count--;
	if (count == 0)
		return true;

	if (own_transaction)
	{
		cg_mirror_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	known = take_intents(channels, intents, count, pass_over);
	if (own_transaction)
	{
		PopActiveSnapshot();
		cg_mirror_commit();
	}
	if (!known)
		return false;

	foreach (cell, channels)
		(void) delete_removed(lfirst(cell));
	for (int i = 0; i < count; i++)
	{
		OutboxAnswer answer;

		if (intents[i].wish != OUTBOX_WISH_REMOVAL)
			continue;
		answer = judge(channels, &intents[i]);
		if (answer == OUTBOX_UNANSWERED)
			*soon = true;
		else
			cg_outbox_answer(&intents[i], answer);
	}
	return true;
}

/* What an earlier worker may have removed is to be read again, and barred till then. */
void
cg_mirror_find_removals(List *channels)
{
	RemovalReader reader = {.channels = channels};
	ListCell *cell;
	ListCell *other;

	cg_outbox_read_unfinished(take_row, &reader);
	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);

		foreach (other, channel->removals)
		{
			MirrorRemoval *removal = lfirst(other);

			cg_mirror_batch_sort(removal->batch);
			cg_mirror_bar(channel, removal);
		}
	}
}
