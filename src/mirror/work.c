/*-------------------------------------------------------------------------
 *
 * work.c
 *	  The worker's part: which mirrors and channels there are, a round of
 *	  each, and the outbox's housekeeping.
 *
 * The catalog is read again every second, and at once when the outbox speaks
 * of a mirror that is not known: touches of it may be passed over, because a
 * mirror begins with a sweep.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "mirror/mirror_internal.h"

#define RELOAD_INTERVAL_MS 1000
#define SOON_MS			   10

/* The worker's own; everything in TopMemoryContext or below. */
static List *channels = NIL; /* of MirrorChannel * */
static MemoryContext definitions_context = NULL;
static int64 reload_at = 0;			/* of cg_clock_ms() */
static bool removals_known = false; /* what the last worker removed was looked for */

/* Read the catalog again before the next round. */
void
cg_mirror_reload_soon(void)
{
	reload_at = 0;
}

/* The outbox speaks of a mirror: of a new one, if no channel has it. */
void
cg_mirror_heard_of(int32 mirror)
{
	ListCell *cell;

	foreach (cell, channels)
	{
		if (cg_mirror_find_state(lfirst(cell), mirror))
			return;
	}
	cg_mirror_reload_soon();
}

static MirrorChannel *
find_channel(const char *server, Oid owner)
{
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);

		if (channel->owner == owner && strcmp(channel->server, server) == 0)
			return channel;
	}
	return NULL;
}

static MirrorChannel *
add_channel(const char *server, Oid owner)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "cachegrid channel",
												  ALLOCSET_DEFAULT_SIZES);
	MirrorChannel *channel = MemoryContextAllocZero(context, sizeof(MirrorChannel));
	MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);

	channel->context = context;
	channel->server = MemoryContextStrdup(context, server);
	channel->owner = owner;
	channel->batch = cg_mirror_batch(context);
	channel->events = cg_mirror_batch(context);
	channel->barred = cg_mirror_batch(context);
	channels = lappend(channels, channel);
	MemoryContextSwitchTo(previous);
	return channel;
}

static MirrorState *
add_mirror(MirrorChannel *channel, MirrorDefinition *definition)
{
	MirrorState *mirror = MemoryContextAllocZero(channel->context, sizeof(MirrorState));
	MemoryContext previous = MemoryContextSwitchTo(channel->context);

	mirror->definition = definition;
	channel->mirrors = lappend(channel->mirrors, mirror);
	MemoryContextSwitchTo(previous);
	cg_mirror_load_mirror(mirror);
	cg_mirror_set_state(definition->id, "starting");
	channel->checked_at = 0;
	return mirror;
}

static void
place_definition(MirrorDefinition *definition)
{
	MirrorChannel *channel = find_channel(definition->server, definition->owner);
	MirrorState *mirror;

	if (!channel)
		channel = add_channel(definition->server, definition->owner);
	mirror = cg_mirror_find_state(channel, definition->id);
	if (!mirror)
		mirror = add_mirror(channel, definition);
	mirror->definition = definition;
	mirror->listed = true;
	if (mirror->broken)
	{
		/* It is tried again, but not before it is known to have its prefix. */
		mirror->broken = NULL;
		channel->checked_at = 0;
	}
	if (definition->dropped && !mirror->gone)
	{
		mirror->gone = true;
		cg_mirror_want_sweep(mirror);
	}
}

static bool
has_mode(const MirrorChannel *channel, MirrorMode mode)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		const MirrorState *mirror = lfirst(cell);

		if (mirror->definition->mode == mode)
			return true;
	}
	return false;
}

static void
remove_unlisted(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		if (mirror->listed)
		{
			mirror->listed = false;
			continue;
		}
		cg_mirror_stop_scan(mirror);
		cg_mirror_forget_keys(mirror);
		cg_mirror_forget_status(mirror->definition->id);
		if (mirror->reported)
			pfree(mirror->reported);
		channel->mirrors = foreach_delete_current(channel->mirrors, cell);
		pfree(mirror);
	}
}

/* Channels without mirrors end; new ones begin. */
static void
tend_channels(void)
{
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);

		remove_unlisted(channel);
		channel->writes_through = has_mode(channel, MIRROR_WRITE_THROUGH);
		channel->publishes = has_mode(channel, MIRROR_STREAM);
		if (channel->mirrors == NIL)
		{
			cg_mirror_forget_channel(channel);
			cg_mirror_forget_nodes(channel);
			channels = foreach_delete_current(channels, cell);
			MemoryContextDelete(channel->context);
		}
		else
		{
			cg_mirror_follow_server(channel);
			if (!channel->position)
				cg_mirror_load_channel(channel);
		}
	}
}

static void
reload(void)
{
	MemoryContext context = AllocSetContextCreate(
		TopMemoryContext, "cachegrid definitions", ALLOCSET_SMALL_SIZES);
	MemoryContext previous;
	List *definitions;
	ListCell *cell;

	cg_mirror_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	previous = MemoryContextSwitchTo(context);
	definitions = cg_mirror_definitions();
	MemoryContextSwitchTo(previous);
	foreach (cell, definitions)
		place_definition(lfirst(cell));
	tend_channels();
	if (!removals_known)
		cg_mirror_find_removals(channels);
	removals_known = true;
	PopActiveSnapshot();
	cg_mirror_commit();

	if (definitions_context)
		MemoryContextDelete(definitions_context);
	definitions_context = context;
}

/* Truncate what everybody has read, as it is on disk. */
static void
rotate(void)
{
	const OutboxPosition **positions =
		palloc((list_length(channels) + 1) * sizeof(OutboxPosition *));
	ListCell *cell;
	int count = 0;

	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);

		if (!channel->saved)
			return;
		positions[count++] = channel->saved;
	}
	cg_outbox_rotate(positions, count, (int64) cg_outbox_limit * 1024 * 1024 / 4);
}

/* Every second: the catalog, the outbox's tables, its limit. */
static void
keep_house(void)
{
	bool full;
	ListCell *cell;

	reload();
	cg_mirror_begin();
	rotate();
	full = cg_outbox_bytes() > (int64) cg_outbox_limit * 1024 * 1024;
	cg_mirror_commit();

	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);

		if (full && channel->failures > 0)
			cg_mirror_overflow(channel);
	}
}

/*
 * Do what sessions wait for that are about to commit; nothing may be in flight.
 * True if there is more of it to be done soon.
 */
static bool
serve_removals(void)
{
	bool soon = false;

	if (!cg_mirror_serve_removals(channels, IsTransactionState(), &soon))
	{
		reload();
		(void) cg_mirror_serve_removals(channels, true, &soon);
	}
	return soon;
}

/* The same between the parts of a batch. */
void
cg_mirror_serve(void)
{
	(void) serve_removals();
}

/* How long nobody need look for more; where sessions wait for the worker, not at all. */
static long
pace(void)
{
	bool awaited = false;
	int taken = 0;
	ListCell *cell;

	foreach (cell, channels)
	{
		MirrorChannel *channel = lfirst(cell);

		awaited = awaited || channel->writes_through;
		taken += channel->taken;
		channel->taken = 0;
	}
	return awaited ? 0 : cg_mirror_pace(taken);
}

/*
 * One round of everything; says when the next is due.  False if the database
 * has no mirror.  Raises what is wrong beyond a row, a table or Redis: the
 * caller ends, and begins anew from what is on disk.
 */
bool
cg_mirror_work(MirrorRest *rest)
{
	int64 now = cg_clock_ms();
	ListCell *cell;

	if (now >= reload_at)
	{
		reload_at = now + RELOAD_INTERVAL_MS;
		keep_house();
	}

	rest->more = false;
	rest->wait_ms = Max(1, reload_at - now);
	if (serve_removals())
		rest->wait_ms = Min(rest->wait_ms, SOON_MS);
	foreach (cell, channels)
	{
		if (cg_mirror_round(lfirst(cell), &rest->wait_ms))
			rest->more = true;
	}
	cg_mirror_release_waiters(channels);
	if (reload_at == 0)
		rest->more = true;
	rest->nap_us = pace();
	return channels != NIL;
}
