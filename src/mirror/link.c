/*-------------------------------------------------------------------------
 *
 * link.c
 *	  A channel's way to Redis: open, ready, interrupted, open again.
 *
 * The grid is opened with the options that server and user mapping have, and
 * anew when one of them changes.  It stays over an outage: it knows nodes that the
 * options do not name, and which of them are not to be tried yet.  An outage is
 * logged once when it begins and once when it has ended; until then Redis is tried
 * at longer and longer intervals, which are drawn between half and whole, so that
 * not all databases come back to it together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"

#include "base/clock.h"
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

/* How long to wait after so many failures in a row. */
static int64
draw_delay(int failures)
{
	int delay = Min(FIRST_RETRY_MS << Min(failures, 10), LAST_RETRY_MS);

	return delay - (int64) (pg_prng_double(&pg_global_prng_state) * (delay / 2));
}

/* Redis does not take what it should: tell once, and wait longer and longer. */
static void
interrupt_channel(MirrorChannel *channel, const char *message, const char *hint)
{
	int64 delay = draw_delay(channel->failures);
	ListCell *cell;

	if (channel->failures++ == 0)
		ereport(LOG, errmsg("mirroring to server \"%s\" is interrupted", channel->server),
				errdetail("%s", message), hint ? errhint("%s", hint) : 0);
	foreach (cell, channel->mirrors)
		cg_mirror_set_error(((MirrorState *) lfirst(cell))->definition->id, message);
	if (channel->grid)
	{
		cg_mirror_publish_nodes(channel, message);
		delay = Max(delay, cg_redis_wait_ms(channel->grid));
	}
	channel->retry_at = cg_clock_ms() + delay;
	channel->checked_at = 0;
}

/* Something went wrong between the grid and Redis: see cg_redis_error(). */
void
cg_mirror_interrupt_for_grid(MirrorChannel *channel)
{
	const RedisError *error = cg_redis_error(channel->grid);

	if (error)
		interrupt_channel(channel, error->message, error->hint);
	else
		interrupt_channel(channel, "Redis did not take all keys", NULL);
}

/* All is well; it need not have been otherwise. */
void
cg_mirror_end_interruption(MirrorChannel *channel)
{
	if (channel->failures > 0)
	{
		ereport(LOG, errmsg("mirroring to server \"%s\" goes on", channel->server));
		channel->published_at = 0;
	}
	channel->failures = 0;
	channel->overflowed = false;
	channel->retry_at = 0;
}

/* Mirrors that are to end do so, though nobody can remove their keys. */
static void
bury_out_of_reach(MirrorChannel *channel)
{
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		if (!mirror->gone)
			continue;
		if (!cg_mirror_is_stream(mirror))
			ereport(LOG,
					errmsg("keys with prefix \"%s\" are left in Redis",
						   mirror->definition->prefix),
					errdetail("Server \"%s\" is out of reach.", channel->server));
		cg_mirror_bury(mirror);
	}
}

/* Open the grid with the options that the server and the mapping have now. */
static void
open_grid(MirrorChannel *channel)
{
	const char *problem;
	Oid server;

	cg_mirror_begin();
	server = cg_mirror_find_server(channel->server, channel->owner, &problem);
	channel->server_version = cg_mirror_server_version(channel->server, channel->owner);
	if (OidIsValid(server))
		channel->grid =
			cg_redis_open(channel->context,
						  cg_mirror_server_options(
							  server, channel->owner,
							  cg_mirror_writer_name(channel->server, channel->owner)));
	else
		(void) cg_mirror_lock_tables(channel); /* to learn which are gone */
	cg_mirror_commit();

	if (!channel->grid)
	{
		cg_mirror_forget_nodes(channel);
		interrupt_channel(channel, problem, "Mend the server, or unmirror the tables.");
		bury_out_of_reach(channel);
	}
}

/* Have the channel's grid ready for commands; false if it cannot be. */
bool
cg_mirror_connect(MirrorChannel *channel)
{
	if (!channel->grid)
		open_grid(channel);
	if (!channel->grid)
		return false;
	if (!cg_redis_connect(channel->grid))
	{
		cg_mirror_interrupt_for_grid(channel);
		return false;
	}
	return true;
}
