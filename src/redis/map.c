/*-------------------------------------------------------------------------
 *
 * map.c
 *	  Reads where nodes are, from what other nodes tell: replies to CLUSTER
 *	  SLOTS, and redirections.
 *
 * Every node that is named is known to the grid afterwards; whether it is there
 * is another question.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "redis/redis_internal.h"

/* Node names of a server are shown in messages and given to the resolver. */
bool
cg_redis_is_host(const char *host)
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
	return cg_redis_is_host(host) ? cg_redis_find_node(asked->grid, host, port) : NULL;
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

/*
 * Finds the node that [host, port, ...] describes in a map told by source; *node
 * NULL: source does not know where it is, ":0" or "?".  False: this describes none.
 */
static bool
read_owner(RedisNode *source, const RedisReply *owner, RedisNode **node)
{
	const char *host = NULL;
	int64 port;

	*node = NULL;
	if (!is_kind(owner, 1, REDIS_INTEGER))
		return false;
	port = owner->elements[1]->integer;
	if (port < 0 || port > 65535)
		return false;
	if (port == 0)
		return true;

	if (is_kind(owner, 0, REDIS_STRING))
		host = owner->elements[0]->data;
	if (!host || host[0] == '\0')
		host = source->host;
	else if (strcmp(host, "?") == 0)
		host = find_ip(owner);
	if (!host || strcmp(host, "?") == 0)
		return true;
	if (!cg_redis_is_host(host))
		return false;
	*node = cg_redis_find_node(source->grid, host, port);
	return true;
}

/* Notes the replicas of a range's owner, of those whose place source knows. */
static bool
read_replicas(RedisNode *source, const RedisReply *range, RedisNode *owner)
{
	List *replicas = NIL;

	for (int i = 3; i < range->element_count; i++)
	{
		RedisNode *replica;

		if (!is_kind(range, i, REDIS_ARRAY) ||
			!read_owner(source, range->elements[i], &replica))
			return false;
		if (replica)
			replicas = list_append_unique_ptr(replicas, replica);
	}
	cg_redis_set_replicas(owner, replicas);
	return true;
}

/*
 * Fills slots with what source told, of whose owners it knows where they are;
 * false if it is no map.
 */
bool
cg_redis_read_map(RedisNode *source, const RedisReply *map, RedisNode **slots)
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
		if (first < 0 || first > last || last >= REDIS_SLOT_COUNT ||
			!read_owner(source, range->elements[2], &owner))
			return false;
		if (source->grid->read_from == REDIS_READ_REPLICA && owner &&
			!read_replicas(source, range, owner))
			return false;
		for (int64 slot = first; slot <= last; slot++)
			slots[slot] = owner;
	}
	return true;
}

/* How many slots have an owner. */
int
cg_redis_count_served(RedisNode *const *slots)
{
	int served = 0;

	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
		served += slots[slot] != NULL;
	return served;
}
