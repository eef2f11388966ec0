/*-------------------------------------------------------------------------
 *
 * nodes.c
 *	  Is Redis still what we wrote to?  A master that was restarted or
 *	  replaced may have lost what it had acknowledged; so has one that
 *	  somebody flushed.  Then everything is swept.
 *
 * Every master is asked for the id of its process and how often that was
 * flushed since it began: an id or a count that is new is a loss.  Who resets
 * the counts, by CONFIG RESETSTAT, causes a sweep at worst; a flush before the
 * next look that brings the count to where it was is missed.  Who may not ask,
 * by INFO, has only the mark of ownership, which lies on one master.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define CHECK_INTERVAL_MS 5000

#define RUN_ID		 "run_id:"
#define RUN_ID_BYTES 40

/* "run id/flushes" */
#define MAX_IDENTITY_BYTES (RUN_ID_BYTES + 24)

#define WORD(text) ((RedisString){.data = (text), .size = strlen(text)})

/*
 * A section of what the node tells of itself, until the next call; "" if we may
 * not ask for it; NULL if the node does not answer.
 */
static const char *
ask_info(RedisGrid *grid, int node, const char *section)
{
	RedisString info[] = {WORD("INFO"), WORD(section)};
	const RedisReply *reply = cg_redis_call_node(grid, node, lengthof(info), info);

	if (!reply)
		return NULL;
	return reply->kind == REDIS_STRING ? reply->data : "";
}

/* How often the node's process was emptied, as its statistics tell. */
static uint64
count_flushes(const char *statistics)
{
	static const char *const commands[] = {
		"cmdstat_flushall:calls=", "cmdstat_flushdb:calls=", "cmdstat_swapdb:calls="};
	uint64 count = 0;

	for (int i = 0; i < lengthof(commands); i++)
	{
		const char *found = strstr(statistics, commands[i]);

		if (found)
			count += strtou64(found + strlen(commands[i]), NULL, 10);
	}
	return count;
}

/* Who the node is, and how often it was emptied; "" if we may not ask; see above. */
static bool
ask_identity(RedisGrid *grid, int node, char *identity)
{
	const char *answer = ask_info(grid, node, "server");
	char id[RUN_ID_BYTES + 1] = "";

	if (!answer)
		return false;
	identity[0] = '\0';
	answer = strstr(answer, RUN_ID);
	if (!answer)
		return true;
	strlcpy(id, answer + strlen(RUN_ID), sizeof(id));

	answer = ask_info(grid, node, "commandstats");
	if (!answer)
		return false;
	snprintf(identity, MAX_IDENTITY_BYTES, "%s/" UINT64_FORMAT, id,
			 count_flushes(answer));
	return true;
}

/* All masters' identities, each between commas; NULL if one does not answer. */
static char *
ask_identities(RedisGrid *grid)
{
	StringInfoData identities;

	initStringInfo(&identities);
	appendStringInfoChar(&identities, ',');
	for (int i = 0; i < cg_redis_node_count(grid); i++)
	{
		char identity[MAX_IDENTITY_BYTES];

		if (!ask_identity(grid, i, identity))
			return NULL;
		appendStringInfo(&identities, "%s,", identity);
	}
	return identities.data;
}

/* Is there an identity among these that was not among those? */
static bool
has_new_identity(const char *identities, const char *known)
{
	char *list = pstrdup(identities);
	char *rest = NULL;

	for (char *one = strtok_r(list, ",", &rest); one; one = strtok_r(NULL, ",", &rest))
	{
		if (!strstr(known, psprintf(",%s,", one)))
			return true;
	}
	return false;
}

static bool
check_identities(MirrorChannel *channel)
{
	char *identities = ask_identities(channel->grid);

	if (!identities)
		return false;
	if (channel->nodes && strcmp(channel->nodes, identities) == 0)
		return true;

	if (channel->nodes && has_new_identity(identities, channel->nodes))
	{
		ereport(LOG,
				errmsg("server \"%s\" has restarted, changed or flushed its masters",
					   channel->server),
				errdetail("Its mirrors will be swept."));
		cg_mirror_want_sweeps(channel);
	}
	if (channel->nodes)
		pfree(channel->nodes);
	channel->nodes = MemoryContextStrdup(channel->context, identities);
	channel->unsaved = true;
	return true;
}

/* The mark of ownership goes with the data: if it is gone, so may they be. */
static bool
check_prefix(MirrorChannel *channel, MirrorState *mirror)
{
	MirrorOwnership ownership = {.claim = !mirror->gone};

	if (!cg_mirror_owner(channel->grid, channel->server, mirror->definition->prefix,
						 &ownership))
		return false;
	if (!ownership.mine && mirror->gone)
		cg_mirror_bury(mirror);
	else if (!ownership.mine)
		cg_mirror_break(mirror, psprintf("prefix \"%s\" in Redis belongs to another "
										 "database or server",
										 mirror->definition->prefix));
	else if (!ownership.found && (mirror->phase == SWEEP_DONE || mirror->differences))
		cg_mirror_want_sweep(mirror);
	return true;
}

/*
 * Look whether the channel's nodes have what was written to them, and queue
 * sweeps if not: now and then, and when a connection was made, since the process
 * behind it may be another.  now is of cg_clock_ms().  False if one does not answer.
 */
bool
cg_mirror_check_nodes(MirrorChannel *channel, int64 now)
{
	uint64 connections = cg_redis_connections(channel->grid);
	ListCell *cell;

	if (now < channel->checked_at + CHECK_INTERVAL_MS &&
		connections == channel->checked_connections)
		return true;
	if (!check_identities(channel))
		return false;
	foreach (cell, channel->mirrors)
	{
		if (!check_prefix(channel, lfirst(cell)))
			return false;
	}
	channel->checked_at = now;
	channel->checked_connections = connections;
	return true;
}
