/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Finds all keys with a prefix, on every master, or a replica of each.
 *
 * SCAN finds each key that is there from its beginning to its end.  That holds
 * for the cluster as long as no slot moves and no node restarts: both are noticed,
 * and the scan is called broken.  Keys of a slot that is being migrated all the
 * time, and whose owner is the old one at both ends, may be missed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "redis/redis_internal.h"

/* Buckets that Redis looks at for one answer: about a millisecond of its time. */
#define SCAN_COUNT "1000"

struct RedisScan
{
	RedisGrid *grid;
	MemoryContext context;
	MemoryContext keys_context; /* what the last call gave */
	char *pattern;
	uint32 map_version; /* at the beginning */
	int master;			/* whose turn it is */
	RedisNode *node;	/* that is asked: it, or a replica of it */
	uint32 connections; /* of that node, when its turn began */
	char cursor[32];	/* "0": its turn has not begun */
};

/* A glob pattern for the keys that begin with prefix. */
static char *
make_pattern(RedisString prefix)
{
	StringInfoData pattern;

	initStringInfo(&pattern);
	for (Size i = 0; i < prefix.size; i++)
	{
		if (strchr("*?[]\\^-", prefix.data[i]))
			appendStringInfoChar(&pattern, '\\');
		appendStringInfoChar(&pattern, prefix.data[i]);
	}
	appendStringInfoChar(&pattern, '*');
	return pattern.data;
}

/*
 * Begins a scan for keys that begin with prefix; cg_redis_connect has succeeded.
 * Between its steps the grid may be used for other things.
 */
RedisScan *
cg_redis_scan_begin(RedisGrid *grid, RedisString prefix)
{
	MemoryContext context =
		AllocSetContextCreate(grid->context, "Redis scan", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RedisScan *scan = palloc0(sizeof(RedisScan));

	scan->grid = grid;
	scan->context = context;
	scan->keys_context =
		AllocSetContextCreate(context, "Redis scan keys", ALLOCSET_DEFAULT_SIZES);
	scan->pattern = make_pattern(prefix);
	strlcpy(scan->cursor, "0", sizeof(scan->cursor));
	MemoryContextSwitchTo(old);

	/* A map that is behind would look changed at the end; no map fails then. */
	(void) cg_redis_refresh_map(grid);
	scan->map_version = grid->map_version;
	cg_redis_return_latch(grid);
	return scan;
}

/* Copies the keys of an answer; NULL if it is none. */
static RedisString *
copy_keys(RedisScan *scan, const RedisReply *reply, int *count)
{
	const RedisReply *found;
	RedisString *keys;

	if (reply->kind != REDIS_ARRAY || reply->element_count != 2 ||
		reply->elements[0]->kind != REDIS_STRING ||
		reply->elements[0]->size >= sizeof(scan->cursor) ||
		reply->elements[1]->kind != REDIS_ARRAY)
		return NULL;

	found = reply->elements[1];
	keys = MemoryContextAlloc(scan->keys_context,
							  (found->element_count + 1) * sizeof(RedisString));
	for (int i = 0; i < found->element_count; i++)
	{
		const RedisReply *key = found->elements[i];
		char *data;

		if (key->kind != REDIS_STRING)
			return NULL;
		data = MemoryContextAlloc(scan->keys_context, key->size + 1);
		memcpy(data, key->data, key->size + 1);
		keys[i] = (RedisString){.data = data, .size = key->size};
	}
	*count = found->element_count;
	return keys;
}

/* All masters are through: did they stay the masters of the same slots? */
static RedisScanState
finish_scan(RedisScan *scan)
{
	if (!cg_redis_refresh_map(scan->grid))
		return REDIS_SCAN_FAILED;
	return scan->map_version == scan->grid->map_version ? REDIS_SCAN_END
														: REDIS_SCAN_BROKEN;
}

/* The next node's turn begins; NULL and an error if it cannot be asked. */
static RedisNode *
choose_node(const RedisScan *scan)
{
	RedisNode *master = list_nth(scan->grid->masters, scan->master);

	if (scan->grid->read_from == REDIS_READ_REPLICA)
		return cg_redis_find_replica(master, 0);
	return cg_redis_prepare_node(master) ? master : NULL;
}

/* The node that is asked, ready; NULL and what that means if it is not. */
static RedisNode *
find_node(RedisScan *scan, RedisScanState *state)
{
	RedisNode *node = scan->node;

	*state = REDIS_SCAN_FAILED;
	if (strcmp(scan->cursor, "0") == 0)
	{
		node = choose_node(scan);
		scan->node = node;
		scan->connections = node ? node->connections : 0;
		return node;
	}
	if (!cg_redis_prepare_node(node))
		return NULL;
	*state = REDIS_SCAN_BROKEN;
	return scan->connections == node->connections ? node : NULL;
}

static RedisScanState
scan_node(RedisScan *scan, RedisString **keys, int *count)
{
	RedisScanState state;
	RedisNode *node = find_node(scan, &state);
	const RedisReply *reply;

	if (!node)
		return state;
	reply = cg_redis_ask_words(node, 6, "SCAN", scan->cursor, "MATCH", scan->pattern,
							   "COUNT", SCAN_COUNT);
	if (!reply)
		return REDIS_SCAN_FAILED;
	if (reply->kind == REDIS_ERROR)
	{
		cg_redis_fail_reply(node, reply);
		return REDIS_SCAN_FAILED;
	}
	*keys = copy_keys(scan, reply, count);
	if (!*keys)
	{
		cg_redis_fail_nonsense(node, "It is no answer to SCAN.");
		return REDIS_SCAN_FAILED;
	}
	strlcpy(scan->cursor, reply->elements[0]->data, sizeof(scan->cursor));
	if (strcmp(scan->cursor, "0") == 0)
		scan->master++;
	return REDIS_SCAN_KEYS;
}

/*
 * The next keys, with no command in flight.  They live until the next step; a key
 * may come twice.  Any state but REDIS_SCAN_KEYS ends the scan.
 */
RedisScanState
cg_redis_scan_next(RedisScan *scan, RedisString **keys, int *count)
{
	RedisGrid *grid = scan->grid;
	RedisScanState state;

	Assert(grid->unanswered == 0);
	*keys = NULL;
	*count = 0;
	MemoryContextReset(scan->keys_context);
	if (!grid->slots)
		state = REDIS_SCAN_FAILED;
	else if (scan->map_version != grid->map_version)
		state = REDIS_SCAN_BROKEN;
	else if (scan->master == list_length(grid->masters))
		state = finish_scan(scan);
	else
		state = scan_node(scan, keys, count);
	cg_redis_return_latch(grid);
	return state;
}

/* Frees the scan; to be called after its last step, or instead of it. */
void
cg_redis_scan_end(RedisScan *scan)
{
	MemoryContextDelete(scan->context);
}
