/*-------------------------------------------------------------------------
 *
 * removal.c
 *	  Keys that are removed from Redis before a transaction commits, and stay
 *	  away until it has ended: so Redis never has what the commit makes old.
 *
 * The keys are barred, so that nothing sets them again, whoever has touched
 * them; then deleted, over the connections that all sets go over (intents.c).
 * When a batch's snapshot shows that the transaction has ended, this way or
 * that, the bars are lifted and its keys are read again with that batch.
 *
 * A transaction that touches a whole table, or more keys than are kept, has
 * the whole mirror barred: a sweep then deletes all its keys, and writes none
 * before the bar is lifted.
 *
 * Bars are counted, by mirror and by key, because several transactions may
 * bar one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* When the table of bars is mostly of bars that were lifted, it is made anew. */
#define MIN_REBUILD 1024

/* The transaction's in this channel, or NULL. */
MirrorRemoval *
cg_mirror_find_removal(const MirrorChannel *channel, uint64 xid)
{
	ListCell *cell;

	foreach (cell, channel->removals)
	{
		MirrorRemoval *removal = lfirst(cell);

		if (removal->xid == xid)
			return removal;
	}
	return NULL;
}

/* Bar what it holds. */
void
cg_mirror_bar(MirrorChannel *channel, const MirrorRemoval *removal)
{
	ListCell *cell;

	for (int i = 0; i < removal->batch->count; i++)
	{
		const MirrorTouch *touch = &removal->batch->touches[i];

		cg_mirror_batch_add(channel->barred, touch->mirror, touch->key, touch->key_size,
							&touch->tid)
			->bars++;
	}
	channel->bars += removal->batch->count;
	foreach (cell, removal->whole)
	{
		MirrorState *mirror = cg_mirror_find_state(channel, lfirst_int(cell));

		if (mirror)
			mirror->bars++;
	}
}

static void
unbar(MirrorChannel *channel, const MirrorRemoval *removal)
{
	ListCell *cell;

	for (int i = 0; i < removal->batch->count; i++)
	{
		const MirrorTouch *touch = &removal->batch->touches[i];

		cg_mirror_batch_find(channel->barred, touch->mirror, touch->key, touch->key_size)
			->bars--;
	}
	channel->bars -= removal->batch->count;
	foreach (cell, removal->whole)
	{
		MirrorState *mirror = cg_mirror_find_state(channel, lfirst_int(cell));

		if (mirror && mirror->bars > 0)
			mirror->bars--;
	}
}

/* Forget bars that were lifted, when they are many. */
static void
tidy_bars(MirrorChannel *channel)
{
	ListCell *cell;

	if (channel->barred->count < MIN_REBUILD ||
		channel->barred->count < 4 * channel->bars)
		return;
	foreach (cell, channel->removals)
		unbar(channel, lfirst(cell));
	cg_mirror_batch_reset(channel->barred);
	foreach (cell, channel->removals)
		cg_mirror_bar(channel, lfirst(cell));
}

/* Must the key stay away from Redis now? */
bool
cg_mirror_is_barred(const MirrorChannel *channel, const MirrorState *mirror,
					const MirrorTouch *touch)
{
	const MirrorTouch *bar;

	if (mirror->bars > 0)
		return true;
	if (channel->bars == 0)
		return false;
	bar =
		cg_mirror_batch_find(channel->barred, touch->mirror, touch->key, touch->key_size);
	return bar && bar->bars > 0;
}

/* A new one, which holds nothing and bars nothing. */
MirrorRemoval *
cg_mirror_add_removal(MirrorChannel *channel, uint64 xid)
{
	MemoryContext context = AllocSetContextCreate(channel->context, "cachegrid removal",
												  ALLOCSET_SMALL_SIZES);
	MirrorRemoval *removal = MemoryContextAllocZero(context, sizeof(MirrorRemoval));
	MemoryContext previous = MemoryContextSwitchTo(channel->context);

	removal->context = context;
	removal->xid = xid;
	removal->batch = cg_mirror_batch(context);
	channel->removals = lappend(channel->removals, removal);
	MemoryContextSwitchTo(previous);
	return removal;
}

/* What it holds is not to be barred any more, nor to be read again. */
void
cg_mirror_drop_removal(MirrorChannel *channel, MirrorRemoval *removal)
{
	unbar(channel, removal);
	channel->removals = list_delete_ptr(channel->removals, removal);
	MemoryContextDelete(removal->context);
}

/* All keys of the mirror, once it is barred; queues the sweep that deletes them. */
void
cg_mirror_hold_whole(MirrorRemoval *removal, MirrorState *mirror)
{
	MemoryContext previous;

	if (list_member_int(removal->whole, mirror->definition->id))
		return;
	previous = MemoryContextSwitchTo(removal->context);
	removal->whole = lappend_int(removal->whole, mirror->definition->id);
	MemoryContextSwitchTo(previous);
	cg_mirror_want_sweep(mirror);
}

/*
 * Lift the bars of those that have ended at the position, and have their keys
 * read again: add them to the channel's batch, which is read under a snapshot
 * not older than that.
 */
void
cg_mirror_lift_removals(MirrorChannel *channel, const OutboxPosition *seen)
{
	ListCell *cell;

	foreach (cell, channel->removals)
	{
		MirrorRemoval *removal = lfirst(cell);

		if (!cg_outbox_position_covers(seen, removal->xid))
			continue;
		removal->ending = true;
		unbar(channel, removal);
		for (int i = 0; i < removal->batch->count; i++)
		{
			const MirrorTouch *touch = &removal->batch->touches[i];

			cg_mirror_batch_add(channel->batch, touch->mirror, touch->key,
								touch->key_size, &touch->tid);
		}
	}
}

/* The batch has been settled, or not: those whose bars it lifted end, or go on. */
void
cg_mirror_end_removals(MirrorChannel *channel, bool settled)
{
	ListCell *cell;

	if (channel->removals == NIL)
		return;
	foreach (cell, channel->removals)
	{
		MirrorRemoval *removal = lfirst(cell);

		if (!removal->ending)
			continue;
		removal->ending = false;
		if (settled)
		{
			channel->removals = foreach_delete_current(channel->removals, cell);
			MemoryContextDelete(removal->context);
		}
		else
			cg_mirror_bar(channel, removal);
	}
	tidy_bars(channel);
}
