/*-------------------------------------------------------------------------
 *
 * waiters.c
 *	  Sessions that have committed, and wait to be told that their rows are in
 *	  Redis: when the channels' positions have passed their transactions.
 *
 * To apply their rows it takes a lock on their tables, which they still hold
 * in a mode that lets readers in: but somebody else's wish for an exclusive
 * one may be queued behind them, and we behind that.  So they wait for a table
 * that cannot be locked some time only, and are told then that they wait in
 * vain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* So long who has committed waits for a table that cannot be locked. */
#define BUSY_MS 100

/* Can the mirror's part of a committed transaction be said to be in Redis, or not to be? */
static OutboxAnswer
judge_mirror(const MirrorChannel *channel, const MirrorState *mirror, uint64 xid)
{
	if (mirror->broken || mirror->gone)
		return OUTBOX_REFUSED;
	if (cg_outbox_position_covers(channel->position, xid))
		return mirror->refused ? OUTBOX_REFUSED : OUTBOX_GRANTED;
	if (channel->failures > 0)
		return OUTBOX_REFUSED;
	if (channel->busy_since != 0 && cg_clock_ms() > channel->busy_since + BUSY_MS)
		return OUTBOX_REFUSED;
	return OUTBOX_UNANSWERED;
}

static bool
concerns(const OutboxIntent *intent, const MirrorState *mirror)
{
	if (intent->mirror_count > CG_OUTBOX_INTENT_MIRRORS)
		return true;
	for (int i = 0; i < intent->mirror_count; i++)
	{
		if (intent->mirrors[i] == mirror->definition->id)
			return true;
	}
	return false;
}

/* Of a mirror that was just made the worker may not have heard. */
static bool
knows_all(List *channels, const OutboxIntent *intent)
{
	bool all = true;
	ListCell *cell;

	for (int i = 0; i < Min(intent->mirror_count, CG_OUTBOX_INTENT_MIRRORS); i++)
	{
		bool known = false;

		foreach (cell, channels)
			known |= cg_mirror_find_state(lfirst(cell), intent->mirrors[i]) != NULL;
		if (!known)
			cg_mirror_heard_of(intent->mirrors[i]);
		all &= known;
	}
	return all;
}

/*
 * What all mirrors have to say; refused only when nothing else is to be waited for,
 * and by one that does not go on without Redis.
 */
static OutboxAnswer
judge_application(List *channels, const OutboxIntent *intent)
{
	OutboxAnswer answer = OUTBOX_GRANTED;
	ListCell *cell;
	ListCell *other;

	foreach (cell, channels)
	{
		const MirrorChannel *channel = lfirst(cell);

		foreach (other, channel->mirrors)
		{
			const MirrorState *mirror = lfirst(other);
			OutboxAnswer its;

			if (!concerns(intent, mirror))
				continue;
			its = judge_mirror(channel, mirror, intent->xid);
			if (its == OUTBOX_UNANSWERED)
				return OUTBOX_UNANSWERED;
			if (its == OUTBOX_REFUSED && !mirror->definition->degrades)
				answer = OUTBOX_REFUSED;
		}
	}
	return answer;
}

/* Count an answered intent for the mirrors it concerns. */
static void
count_answered(List *channels, const OutboxIntent *intent)
{
	ListCell *cell;
	ListCell *other;

	foreach (cell, channels)
	{
		const MirrorChannel *channel = lfirst(cell);

		foreach (other, channel->mirrors)
		{
			MirrorState *mirror = lfirst(other);

			if (!concerns(intent, mirror))
				continue;
			if (judge_mirror(channel, mirror, intent->xid) == OUTBOX_GRANTED)
				mirror->released++;
			else
				mirror->disappointed++;
		}
	}
}

/* Show what was counted in this round: who was released together is a group. */
static void
show_counts(List *channels)
{
	ListCell *cell;
	ListCell *other;

	foreach (cell, channels)
	{
		foreach (other, ((MirrorChannel *) lfirst(cell))->mirrors)
		{
			MirrorState *mirror = lfirst(other);

			if (mirror->released > 0 || mirror->disappointed > 0)
				cg_mirror_count_waiters(mirror->definition->id, mirror->released,
										mirror->disappointed);
			mirror->released = mirror->disappointed = 0;
		}
	}
}

/* Tell those who have committed and whose rows are in Redis now. */
void
cg_mirror_release_waiters(List *channels)
{
	OutboxIntent *intents;
	int count = cg_outbox_intents(&intents);
	bool any = false;

	for (int i = 0; i < count; i++)
	{
		OutboxAnswer answer;

		if (intents[i].wish != OUTBOX_WISH_APPLICATION)
			continue;
		if (!knows_all(channels, &intents[i]))
			continue;
		answer = judge_application(channels, &intents[i]);
		if (answer == OUTBOX_UNANSWERED)
			continue;
		count_answered(channels, &intents[i]);
		cg_outbox_answer(&intents[i], answer);
		any = true;
	}
	if (any)
		show_counts(channels);
}
