/*-------------------------------------------------------------------------
 *
 * nodes.c
 *	  Is Redis still what we wrote to?  A master that was restarted or
 *	  replaced may have lost what it had acknowledged; so may a server that
 *	  somebody flushed.  Then everything is swept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define RUN_ID		 "run_id:"
#define RUN_ID_BYTES 40

#define WORD(text) ((RedisString){.data = (text), .size = strlen(text)})

/*
 * The id of the node's process, palloc'd; "" if we may not ask for it; NULL
 * if the node does not answer.
 */
static char *
ask_run_id(RedisGrid *grid, int node)
{
	RedisString info[] = {WORD("INFO"), WORD("server")};
	const RedisReply *reply = cg_redis_call_node(grid, node, lengthof(info), info);
	const char *id;

	if (!reply)
		return NULL;
	id = reply->kind == REDIS_STRING ? strstr(reply->data, RUN_ID) : NULL;
	return id ? pnstrdup(id + strlen(RUN_ID), RUN_ID_BYTES) : pstrdup("");
}

/* The ids of all masters, with commas between; NULL if one does not answer. */
static char *
ask_run_ids(RedisGrid *grid)
{
	StringInfoData ids;

	initStringInfo(&ids);
	for (int i = 0; i < cg_redis_node_count(grid); i++)
	{
		char *id = ask_run_id(grid, i);

		if (!id)
			return NULL;
		appendStringInfo(&ids, "%s%s", i > 0 ? "," : "", id);
	}
	return ids.data;
}

/* Is there an id among these that was not among those? */
static bool
has_new_id(const char *ids, const char *known)
{
	char *list = pstrdup(ids);
	char *rest = NULL;

	for (char *id = strtok_r(list, ",", &rest); id; id = strtok_r(NULL, ",", &rest))
	{
		if (!strstr(known, id))
			return true;
	}
	return false;
}

static bool
check_run_ids(MirrorChannel *channel)
{
	char *ids = ask_run_ids(channel->grid);

	if (!ids)
		return false;
	if (channel->nodes && strcmp(channel->nodes, ids) == 0)
		return true;

	if (channel->nodes && has_new_id(ids, channel->nodes))
	{
		ereport(
			LOG,
			errmsg("server \"%s\" has restarted or changed its masters", channel->server),
			errdetail("Its mirrors will be swept."));
		cg_mirror_want_sweeps(channel);
	}
	if (channel->nodes)
		pfree(channel->nodes);
	channel->nodes = MemoryContextStrdup(channel->context, ids);
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
	else if (!ownership.found && mirror->phase == SWEEP_DONE)
		cg_mirror_want_sweep(mirror);
	return true;
}

/*
 * Look whether the channel's nodes have what was written to them, and queue
 * sweeps if not.  False if one does not answer.
 */
bool
cg_mirror_check_nodes(MirrorChannel *channel)
{
	ListCell *cell;

	if (!check_run_ids(channel))
		return false;
	foreach (cell, channel->mirrors)
	{
		if (!check_prefix(channel, lfirst(cell)))
			return false;
	}
	return true;
}
