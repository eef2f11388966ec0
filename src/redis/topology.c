/*-------------------------------------------------------------------------
 *
 * topology.c
 *	  The map of hash slots: which node owns which.
 *
 * Asked for with CLUSTER SLOTS, which every version of Redis Cluster knows, from
 * any node that answers: whom a redirection named, who is connected, the rest of
 * the old map, the seeds.  The map is replaced as a whole, while no command is
 * in flight; nodes that own nothing any more, and are no replicas that are read,
 * are forgotten then.
 *
 * A node is known by host and port as the cluster announces them.  A seed of
 * another spelling is another node and closed before the real one is fenced, so
 * that we do not end our own connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "redis/redis_internal.h"

/* The node at this address, made if it is not known yet. */
RedisNode *
cg_redis_find_node(RedisGrid *grid, const char *host, int port)
{
	MemoryContext old;
	RedisNode *node;
	dlist_iter iter;

	dlist_foreach(iter, &grid->nodes)
	{
		node = dlist_container(RedisNode, link, iter.cur);
		if (node->port == port && strcmp(node->host, host) == 0)
			return node;
	}

	old = MemoryContextSwitchTo(grid->context);
	node = palloc0(sizeof(RedisNode));
	node->grid = grid;
	node->host = pstrdup(host);
	node->port = port;
	node->name = psprintf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
	node->replies =
		AllocSetContextCreate(grid->context, "Redis replies", ALLOCSET_DEFAULT_SIZES);
	slist_init(&node->chunks);
	dlist_push_tail(&grid->nodes, &node->link);
	MemoryContextSwitchTo(old);
	return node;
}

static RedisNode **
make_slots(RedisGrid *grid)
{
	return MemoryContextAllocZero(grid->context, REDIS_SLOT_COUNT * sizeof(RedisNode *));
}

/*
 * "MOVED slot host:port": ask the node it names for the map, and believe it
 * about this slot whatever the map says.  While slots move, no node need know
 * about all of them.
 */
void
cg_redis_note_move(RedisNode *asked, const RedisReply *moved)
{
	RedisGrid *grid = asked->grid;
	const char *space = strchr(moved->data, ' ');
	int slot = space ? atoi(space) : -1;

	grid->map_witness = cg_redis_find_target(asked, moved);
	if (!grid->map_witness || slot < 0 || slot >= REDIS_SLOT_COUNT)
		return;
	if (!grid->moves)
		grid->moves = make_slots(grid);
	grid->moves[slot] = grid->map_witness;
}

static void
forget_node(RedisNode *node)
{
	cg_redis_unlink_node(node);
	dlist_delete(&node->link);
	MemoryContextDelete(node->replies);
	list_free(node->replicas);
	pfree(node->host);
	pfree(node->name);
	pfree(node);
}

/* Lets what MOVEDs have told since the last map prevail over a new one. */
static void
apply_moves(RedisGrid *grid, RedisNode **slots)
{
	if (!grid->moves)
		return;
	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
	{
		if (grid->moves[slot])
			slots[slot] = grid->moves[slot];
	}
	pfree(grid->moves);
	grid->moves = NULL;
}

/* Marks the owners of slots, and of readers of replicas, theirs. */
static void
mark_nodes(RedisGrid *grid)
{
	dlist_iter iter;
	ListCell *cell;

	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		node->in_map = false;
		node->is_replica = false;
	}
	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
	{
		if (grid->slots[slot])
			grid->slots[slot]->in_map = true;
	}
	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		/* Who owns nothing has none: they may be forgotten. */
		if (!node->in_map)
			cg_redis_set_replicas(node, NIL);
		foreach (cell, node->replicas)
			((RedisNode *) lfirst(cell))->is_replica = true;
	}
}

/* Puts the map in force.  No command may be in flight. */
static void
install_map(RedisGrid *grid, RedisNode **slots)
{
	List *replicas = grid->replicas;
	dlist_mutable_iter iter;

	Assert(grid->unanswered == 0);
	apply_moves(grid, slots);
	if (!grid->slots ||
		memcmp(grid->slots, slots, REDIS_SLOT_COUNT * sizeof(RedisNode *)) != 0)
		grid->map_version++;
	if (grid->slots)
		pfree(grid->slots);
	grid->slots = slots;
	grid->map_stale = false;
	grid->map_witness = NULL;

	mark_nodes(grid);
	list_free(grid->masters);
	grid->masters = NIL;
	grid->replicas = NIL;
	dlist_foreach_modify(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);
		MemoryContext old = MemoryContextSwitchTo(grid->context);

		if (node->in_map)
			grid->masters = lappend(grid->masters, node);
		else if (node->is_replica)
			grid->replicas = lappend(grid->replicas, node);
		else
			forget_node(node);
		MemoryContextSwitchTo(old);
	}

	/* A scan may have come to one that is gone. */
	if (list_difference_ptr(replicas, grid->replicas) != NIL)
		grid->map_version++;
	list_free(replicas);
}

static void
fail_map_reply(RedisNode *source, const RedisReply *reply)
{
	RedisGrid *grid = source->grid;

	if (reply->kind != REDIS_ERROR)
		cg_redis_fail_nonsense(source, "It is no map of a Redis Cluster.");
	else if (strstr(reply->data, "cluster support disabled"))
	{
		cg_redis_fail(grid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  "Redis node \"%s\" is not part of a cluster", source->name);
		cg_redis_fail_detail(grid, "It says that it supports none.");
		cg_redis_fail_hint(grid, "Set the option \"mode\" of the server to 'single'.");
	}
	else
		cg_redis_fail_reply(source, reply);
}

/*
 * Sends a command of two words to a node, if it is time to; NULL and an error if it
 * does not answer.
 */
static const RedisReply *
ask_source(RedisNode *source, const char *command, const char *argument)
{
	const RedisReply *reply = NULL;

	if (!cg_redis_may_retry(source))
	{
		cg_redis_fail(source->grid, ERRCODE_CONNECTION_FAILURE, "%s", source->reason);
		return NULL;
	}
	if (cg_redis_link_node(source))
		reply = cg_redis_ask_words(source, 2, command, argument);
	if (!reply)
		cg_redis_mark_down(source);
	source->attempt_at = 0;
	return reply;
}

/*
 * Asks source for the map of the cluster, in which at least one slot is served;
 * NULL and an error if that fails.
 */
static RedisNode **
ask_for_map(RedisNode *source)
{
	RedisGrid *grid = source->grid;
	const RedisReply *reply = ask_source(source, "CLUSTER", "SLOTS");
	RedisNode **slots;

	if (!reply)
		return NULL;

	slots = make_slots(grid);
	if (!cg_redis_read_map(source, reply, slots))
	{
		fail_map_reply(source, reply);
		pfree(slots);
		return NULL;
	}
	if (cg_redis_count_served(slots) == 0)
	{
		cg_redis_fail(grid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  "Redis node \"%s\" knows no hash slot that is served",
					  source->name);
		cg_redis_fail_detail(grid, "Its map of the cluster names no node that could be "
								   "connected to.");
		cg_redis_fail_hint(grid, "Make a cluster of the Redis nodes first.");
		pfree(slots);
		return NULL;
	}
	return slots;
}

/* A single server owns all slots, unless it belongs to a cluster after all. */
static bool
ask_single_server(RedisGrid *grid)
{
	const RedisEndpoint *seed = linitial(grid->seeds);
	RedisNode *node = cg_redis_find_node(grid, seed->host, seed->port);
	const RedisReply *reply = ask_source(node, "INFO", "cluster");
	RedisNode **slots;

	if (!reply)
		return false;

	if (reply->kind == REDIS_ERROR &&
		cg_redis_classify_error(reply) == REDIS_ERROR_TROUBLE)
	{
		cg_redis_fail_reply(node, reply);
		return false;
	}

	/* Who may not look at INFO gets on without: MOVED would tell him. */
	if (reply->kind == REDIS_STRING && strstr(reply->data, "cluster_enabled:1"))
	{
		cg_redis_fail(grid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  "Redis node \"%s\" is part of a cluster", node->name);
		cg_redis_fail_detail(grid, "It holds the keys of some hash slots only.");
		cg_redis_fail_hint(grid, "Set the option \"mode\" of the server to 'cluster'.");
		return false;
	}
	if (grid->read_from == REDIS_READ_REPLICA && !cg_redis_ask_replicas(node))
		return false;
	slots = make_slots(grid);
	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
		slots[slot] = node;
	install_map(grid, slots);
	return true;
}

/* Whom to ask for the map, in this order. */
static List *
list_candidates(RedisGrid *grid)
{
	List *candidates = NIL;
	dlist_iter iter;
	ListCell *cell;

	if (grid->map_witness)
		candidates = lappend(candidates, grid->map_witness);
	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		if (node->connection)
			candidates = list_append_unique_ptr(candidates, node);
	}
	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		if (cg_redis_may_retry(node))
			candidates = list_append_unique_ptr(candidates, node);
	}
	foreach (cell, grid->seeds)
	{
		const RedisEndpoint *seed = lfirst(cell);

		candidates = list_append_unique_ptr(
			candidates, cg_redis_find_node(grid, seed->host, seed->port));
	}
	return candidates;
}

/* Has the fuller one of two maps in *best; NULL is none. */
static void
keep_fuller(RedisNode ***best, RedisNode **slots)
{
	if (*best && cg_redis_count_served(*best) >= cg_redis_count_served(slots))
	{
		pfree(slots);
		return;
	}
	if (*best)
		pfree(*best);
	*best = slots;
}

/*
 * Asks one after the other, until one knows the owners of all slots; else takes the
 * map with the most of them.  False and an error that speaks for all who were asked
 * if there is none.
 */
static bool
ask_candidates(RedisGrid *grid)
{
	StringInfoData attempts;
	RedisError telling = {0};
	RedisNode **best = NULL;
	ListCell *cell;

	initStringInfo(&attempts);
	foreach (cell, list_candidates(grid))
	{
		RedisNode **slots = ask_for_map(lfirst(cell));

		if (slots)
		{
			keep_fuller(&best, slots);
			if (cg_redis_count_served(best) == REDIS_SLOT_COUNT)
				break;
			continue;
		}
		appendStringInfo(&attempts, "%s%s", attempts.len ? "; " : "",
						 grid->error.message);
		if (grid->error.detail)
			appendStringInfo(&attempts, " (%s)", grid->error.detail);

		/* A node that is there but will not have us says more than one that is not. */
		if (grid->error.sqlstate != ERRCODE_CONNECTION_FAILURE)
			telling = grid->error;
	}
	if (best)
	{
		install_map(grid, best);
		return true;
	}
	if (telling.message)
		grid->error = telling;
	else
	{
		cg_redis_fail(grid, ERRCODE_CONNECTION_FAILURE,
					  "could not connect to any Redis node");
		cg_redis_fail_detail(grid, "Tried all that are known: %s.", attempts.data);
	}
	return false;
}

/*
 * Asks for the map and puts it in force.  No command may be in flight.  False and
 * an error if nobody could tell it; the old map, if any, stays.
 */
bool
cg_redis_refresh_map(RedisGrid *grid)
{
	MemoryContext old = MemoryContextSwitchTo(grid->round_context);
	RedisError error = grid->error;
	bool failed = grid->failed;
	bool trouble = grid->trouble;
	bool done =
		grid->mode == REDIS_MODE_SINGLE ? ask_single_server(grid) : ask_candidates(grid);

	MemoryContextSwitchTo(old);

	/* Who was asked in vain before somebody knew is no trouble. */
	if (done)
	{
		grid->error = error;
		grid->failed = failed;
		grid->trouble = trouble;
	}
	return done;
}
