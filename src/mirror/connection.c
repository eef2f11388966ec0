/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  A channel's connection: made with the options of today, lost, tried
 *	  again after longer and longer times.
 *
 * An outage is logged once when it begins and once when it has ended, which
 * is when a whole round went well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define FIRST_RETRY_MS 100
#define LAST_RETRY_MS  5000

static void
close_grid(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
		cg_mirror_stop_scan(lfirst(cell));
	if (channel->grid)
		cg_redis_close(channel->grid);
	channel->grid = NULL;
}

/*
 * If somebody has altered the server or the user mapping, connect anew at
 * the next round, without delay.  Runs in a transaction.
 */
void
cg_mirror_follow_server(MirrorChannel *channel)
{
	uint64 version = cg_mirror_server_version(channel->server, channel->owner);

	if (version == channel->server_version)
		return;
	channel->server_version = version;
	close_grid(channel);
	channel->checked_at = 0;
	channel->retry_at = 0;
}

/* Redis does not take what it should: tell once, and wait longer and longer. */
static void
interrupt_channel(MirrorChannel *channel, const char *message, const char *hint)
{
	int delay = FIRST_RETRY_MS << Min(channel->failures, 10);
	ListCell *cell;

	if (channel->failures++ == 0)
		ereport(LOG, errmsg("mirroring to server \"%s\" is interrupted", channel->server),
				errdetail("%s", message), hint ? errhint("%s", hint) : 0);
	foreach (cell, channel->mirrors)
		cg_mirror_set_error(((MirrorState *) lfirst(cell))->definition->id, message);
	if (channel->grid)
		cg_mirror_publish_nodes(channel, message);
	channel->retry_at =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(delay, LAST_RETRY_MS));
	channel->checked_at = 0;
}

/* Redis does not take what it should: the grid may know why. */
void
cg_mirror_interrupt(MirrorChannel *channel)
{
	const RedisError *error = cg_redis_error(channel->grid);

	if (error && error->detail)
		interrupt_channel(channel, psprintf("%s: %s", error->message, error->detail),
						  error->hint);
	else if (error)
		interrupt_channel(channel, error->message, error->hint);
	else
		interrupt_channel(channel, "Redis did not take all keys", NULL);
}

/* Redis took everything. */
void
cg_mirror_end_interruption(MirrorChannel *channel)
{
	if (channel->failures > 0)
	{
		ereport(LOG, errmsg("mirroring to server \"%s\" goes on", channel->server));
		channel->published_at = 0;
	}
	channel->failures = 0;
	channel->retry_at = 0;
}

/* The mirror and its keys are gone: let go of it. */
void
cg_mirror_bury(MirrorState *mirror)
{
	cg_mirror_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	cg_mirror_delete(mirror->definition->id);
	PopActiveSnapshot();
	cg_mirror_commit();
	cg_mirror_forget_status(mirror->definition->id);
	cg_mirror_reload_soon();
}

/* The server is gone, too: nobody can remove the keys any more. */
static void
bury_all_gone(MirrorChannel *channel)
{
	ListCell *cell;

	cg_mirror_begin();
	(void) cg_mirror_lock_tables(channel);
	cg_mirror_commit();
	foreach (cell, channel->mirrors)
	{
		if (((MirrorState *) lfirst(cell))->gone)
			cg_mirror_bury(lfirst(cell));
	}
}

/* Open the grid with the options that the server and the mapping have now. */
static void
open_grid(MirrorChannel *channel)
{
	ForeignServer *server;

	cg_mirror_begin();
	server = GetForeignServerByName(channel->server, true);
	if (server)
	{
		RedisOptions *options = cg_mirror_server_options(
			server->serverid, channel->owner,
			cg_mirror_writer_name(channel->server, channel->owner));

		channel->grid = cg_redis_open(channel->context, options);
	}
	cg_mirror_commit();
}

/*
 * Be connected; false, and the channel is interrupted, if that is not
 * possible.  After an outage the grid is opened anew.
 */
bool
cg_mirror_connect(MirrorChannel *channel)
{
	if (channel->failures > 0)
		close_grid(channel);
	if (!channel->grid)
		open_grid(channel);
	if (!channel->grid)
	{
		bury_all_gone(channel);
		cg_mirror_forget_nodes(channel);
		interrupt_channel(channel, "the server does not exist any more",
						  "Create it again, or use cachegrid.unmirror().");
		return false;
	}
	if (!cg_redis_connect(channel->grid))
	{
		cg_mirror_interrupt(channel);
		return false;
	}
	return true;
}
