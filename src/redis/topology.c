/*-------------------------------------------------------------------------
 *
 * topology.c
 *	  The map of hash slots: which node owns which.
 *
 * Asked for with CLUSTER SLOTS, which every version of Redis Cluster knows, from
 * any node that answers: whom a redirection named, who is connected, the rest of
 * the old map, the seeds.  The map is replaced as a whole, while no command is
 * in flight; nodes that own nothing any more are forgotten then.
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

/* Node names of a server are shown in messages and given to the resolver. */
static bool
is_host(const char *host)
{
	for (const char *c = host; *c; c++)
	{
		if (*c <= ' ' || *c > '~' || *c == '"')
			return false;
	}
	return *host != '\0' && strcmp(host, "?") != 0;
}

/*
 * The node that "MOVED slot host:port" or "ASK slot host:port" names; no host
 * means the one that was asked.  NULL if the reply names none.
 */
RedisNode *
cg_redis_find_target(RedisNode *asked, const RedisReply *redirect)
{
	const char *address = strrchr(redirect->data, ' ');
	const char *colon = address ? strrchr(address, ':') : NULL;
	char host[256];
	int port;

	if (!colon || colon - address - 1 >= sizeof(host))
		return NULL;
	port = atoi(colon + 1);
	if (port < 1 || port > 65535)
		return NULL;
	strlcpy(host, address + 1, colon - address);
	if (host[0] == '\0')
		return cg_redis_find_node(asked->grid, asked->host, port);
	return is_host(host) ? cg_redis_find_node(asked->grid, host, port) : NULL;
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

static bool
is_kind(const RedisReply *reply, int element, RedisReplyKind kind)
{
	return reply->kind == REDIS_ARRAY && element < reply->element_count &&
		   reply->elements[element]->kind == kind;
}

/* The address among a node's metadata, [..., "ip", address, ...]; NULL: none. */
static const char *
find_ip(const RedisReply *owner)
{
	const RedisReply *pairs;

	if (!is_kind(owner, 3, REDIS_ARRAY))
		return NULL;
	pairs = owner->elements[3];
	for (int i = 0; i + 1 < pairs->element_count; i += 2)
	{
		if (is_kind(pairs, i, REDIS_STRING) && is_kind(pairs, i + 1, REDIS_STRING) &&
			strcmp(pairs->elements[i]->data, "ip") == 0)
			return pairs->elements[i + 1]->data;
	}
	return NULL;
}

/* The node that [host, port, ...] describes in a map told by source; NULL: none. */
static RedisNode *
read_owner(RedisNode *source, const RedisReply *owner)
{
	const char *host = NULL;
	int64 port;

	if (!is_kind(owner, 1, REDIS_INTEGER))
		return NULL;
	port = owner->elements[1]->integer;
	if (port < 1 || port > 65535)
		return NULL;

	if (is_kind(owner, 0, REDIS_STRING))
		host = owner->elements[0]->data;
	if (!host || host[0] == '\0')
		host = source->host;
	else if (strcmp(host, "?") == 0)
		host = find_ip(owner);
	return host && is_host(host) ? cg_redis_find_node(source->grid, host, port) : NULL;
}

/* Fills slots with what source told; false if it is no map. */
static bool
read_map(RedisNode *source, const RedisReply *map, RedisNode **slots)
{
	if (map->kind != REDIS_ARRAY)
		return false;
	for (int i = 0; i < map->element_count; i++)
	{
		const RedisReply *range = map->elements[i];
		RedisNode *owner;
		int64 first;
		int64 last;

		if (!is_kind(range, 0, REDIS_INTEGER) || !is_kind(range, 1, REDIS_INTEGER) ||
			!is_kind(range, 2, REDIS_ARRAY))
			return false;
		first = range->elements[0]->integer;
		last = range->elements[1]->integer;
		owner = read_owner(source, range->elements[2]);
		if (first < 0 || first > last || last >= REDIS_SLOT_COUNT || !owner)
			return false;
		for (int64 slot = first; slot <= last; slot++)
			slots[slot] = owner;
	}
	return true;
}

static void
forget_node(RedisNode *node)
{
	cg_redis_unlink_node(node);
	dlist_delete(&node->link);
	MemoryContextDelete(node->replies);
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

/* Puts the map in force.  No command may be in flight. */
static void
install_map(RedisGrid *grid, RedisNode **slots)
{
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

	dlist_foreach_modify(iter, &grid->nodes)
	{
		dlist_container(RedisNode, link, iter.cur)->in_map = false;
	}
	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
	{
		if (slots[slot])
			slots[slot]->in_map = true;
	}

	list_free(grid->masters);
	grid->masters = NIL;
	dlist_foreach_modify(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);
		MemoryContext old = MemoryContextSwitchTo(grid->context);

		if (node->in_map)
			grid->masters = lappend(grid->masters, node);
		else
			forget_node(node);
		MemoryContextSwitchTo(old);
	}
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

/* Asks source for the map of the cluster; false and an error if that fails. */
static bool
ask_for_map(RedisNode *source)
{
	RedisGrid *grid = source->grid;
	const RedisReply *reply;
	RedisNode **slots;

	if (!cg_redis_link_node(source))
		return false;
	reply = cg_redis_ask_words(source, 2, "CLUSTER", "SLOTS");
	if (!reply)
		return false;

	slots = make_slots(grid);
	if (!read_map(source, reply, slots))
	{
		fail_map_reply(source, reply);
		pfree(slots);
		return false;
	}
	if (reply->element_count == 0)
	{
		cg_redis_fail(grid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  "Redis node \"%s\" knows no hash slot that is served",
					  source->name);
		cg_redis_fail_detail(grid, "Its map of the cluster is empty.");
		cg_redis_fail_hint(grid, "Make a cluster of the Redis nodes first.");
		pfree(slots);
		return false;
	}
	install_map(grid, slots);
	return true;
}

/* A single server owns all slots, unless it belongs to a cluster after all. */
static bool
ask_single_server(RedisGrid *grid)
{
	const RedisEndpoint *seed = linitial(grid->seeds);
	RedisNode *node = cg_redis_find_node(grid, seed->host, seed->port);
	const RedisReply *reply;
	RedisNode **slots;

	if (!cg_redis_link_node(node))
		return false;
	reply = cg_redis_ask_words(node, 2, "INFO", "cluster");
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

/* Asks one after the other; false and an error that speaks for all of them. */
static bool
ask_candidates(RedisGrid *grid)
{
	StringInfoData attempts;
	RedisError telling = {0};
	ListCell *cell;

	initStringInfo(&attempts);
	foreach (cell, list_candidates(grid))
	{
		if (ask_for_map(lfirst(cell)))
			return true;
		appendStringInfo(&attempts, "%s%s", attempts.len ? "; " : "",
						 grid->error.message);
		if (grid->error.detail)
			appendStringInfo(&attempts, " (%s)", grid->error.detail);

		/* A node that is there but will not have us says more than one that is not. */
		if (grid->error.sqlstate != ERRCODE_CONNECTION_FAILURE)
			telling = grid->error;
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
