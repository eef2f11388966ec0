/*-------------------------------------------------------------------------
 *
 * replica.c
 *	  Reads keys from replicas: which there are, and which will do.
 *
 * The replicas of a master are those that the map of the cluster names; those of
 * a single server are those that it says are online.  The keys of a slot are asked
 * of one of them, always the same as long as it is well, so that they are spread
 * and a second look is one at the same copy.
 *
 * A replica is behind its master at any moment.  It is read only after it had, once
 * since the grid was connected last, all that its master had by then: what it shows
 * is never older than that.  Both tell how far they are by INFO: an offset in the
 * stream of the master's writes, which has an id.
 *
 * A replica that does not answer, that is loading or has lost its master and says
 * so, that does not catch up within cachegrid.redis_timeout, or that is none any
 * more, is left alone for a while, and its keys are asked of the next one.  Without
 * any that will do the keys of its master cannot be read: the master itself is not
 * asked in its place, since the caller wants to spare it, or to know the replicas.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"
#include "redis/redis_internal.h"

#define POLL_MS 10

#define REPLICATION_ID_BYTES 40

/* How far a node is in the stream of a master's writes. */
typedef struct RedisPosition
{
	bool is_master;
	char id[REPLICATION_ID_BYTES + 1]; /* of the stream */
	int64 offset;					   /* bytes of it that it has carried out */
} RedisPosition;

/*
 * Has a node serve keys that it has as a replica.  Masters are told, too: it does
 * them no harm, and they may be replicas tomorrow.  False and an error; the node is
 * unlinked.
 */
bool
cg_redis_allow_replica(RedisNode *node)
{
	const RedisReply *reply;

	if (node->grid->read_from == REDIS_READ_MASTER ||
		node->grid->mode == REDIS_MODE_SINGLE)
		return true;
	reply = cg_redis_ask_words(node, 1, "READONLY");
	if (reply && reply->kind == REDIS_STATUS)
		return true;
	if (reply && reply->kind == REDIS_ERROR)
		cg_redis_fail_reply(node, reply);
	else if (reply)
		cg_redis_fail_nonsense(node, "It did not answer READONLY as Redis does.");
	cg_redis_unlink_node(node);
	return false;
}

/* From now on these are the replicas of the master; the list is copied. */
void
cg_redis_set_replicas(RedisNode *master, List *replicas)
{
	MemoryContext old = MemoryContextSwitchTo(master->grid->context);

	list_free(master->replicas);
	master->replicas = list_copy(replicas);
	MemoryContextSwitchTo(old);
}

/* What a linked node says of its replication; NULL and an error if it does not. */
static const char *
ask_replication(RedisNode *node)
{
	const RedisReply *reply = cg_redis_ask_words(node, 2, "INFO", "replication");

	if (!reply)
		return NULL;
	if (reply->kind == REDIS_STRING)
		return reply->data;
	if (reply->kind == REDIS_ERROR)
		cg_redis_fail_reply(node, reply);
	else
		cg_redis_fail_nonsense(node, "It did not answer INFO as Redis does.");
	return NULL;
}

/* What stands behind "name:", or behind "name=" in a line; NULL: nothing. */
static const char *
find_value(const char *text, const char *name, int *size)
{
	const char *found = strstr(text, name);

	*size = 0;
	if (!found)
		return NULL;
	found += strlen(name);
	*size = strcspn(found, ",\r\n");
	return found;
}

static bool
is_word(const char *value, int size, const char *word)
{
	return size == strlen(word) && strncmp(value, word, size) == 0;
}

/* The node that "slave0:ip=127.0.0.1,port=7000,state=online,..." names; or NULL. */
static RedisNode *
read_replica(RedisNode *master, const char *line)
{
	int host_size;
	int port_size;
	int state_size;
	const char *host = find_value(line, ":ip=", &host_size);
	const char *port = find_value(line, ",port=", &port_size);
	const char *state = find_value(line, ",state=", &state_size);
	char *name;

	if (!host || !port || !state || atoi(port) < 1 || atoi(port) > 65535 ||
		!is_word(state, state_size, "online"))
		return NULL;
	name = pnstrdup(host, host_size);
	return cg_redis_is_host(name) ? cg_redis_find_node(master->grid, name, atoi(port))
								  : NULL;
}

/*
 * Asks a linked single server for its replicas, and notes those that are online.
 * False and an error if it does not tell.
 */
bool
cg_redis_ask_replicas(RedisNode *master)
{
	const char *replication = ask_replication(master);
	List *replicas = NIL;
	char *lines;
	char *rest = NULL;

	if (!replication)
		return false;
	lines = pstrdup(replication);
	for (char *line = strtok_r(lines, "\r\n", &rest); line;
		 line = strtok_r(NULL, "\r\n", &rest))
	{
		RedisNode *replica = NULL;

		if (strncmp(line, "slave", 5) == 0 && line[5] >= '0' && line[5] <= '9')
			replica = read_replica(master, line);
		if (replica)
			replicas = list_append_unique_ptr(replicas, replica);
	}
	cg_redis_set_replicas(master, replicas);
	return true;
}

/* How far a prepared node is; false and an error if it does not tell. */
static bool
ask_position(RedisNode *node, RedisPosition *position)
{
	const char *replication = ask_replication(node);
	const char *role;
	const char *id;
	const char *offset;
	int size;

	if (!replication)
		return false;
	role = find_value(replication, "role:", &size);
	position->is_master = role && is_word(role, size, "master");
	id = find_value(replication, "\nmaster_replid:", &size);
	if (id)
		strlcpy(position->id, id, Min(size, REPLICATION_ID_BYTES) + 1);
	offset = find_value(
		replication,
		position->is_master ? "\nmaster_repl_offset:" : "\nslave_repl_offset:", &size);
	if (!role || !id || !offset)
	{
		cg_redis_fail_nonsense(node, "It does not tell how far its replication is.");
		return false;
	}
	position->offset = strtoi64(offset, NULL, 10);
	return true;
}

/* Waits until a prepared replica is as far as this; false and an error if it does not come. */
static bool
catch_up(RedisNode *replica, const RedisPosition *goal)
{
	int64 deadline = cg_redis_now() + cg_redis_timeout;
	RedisPosition position = {0};
	int64 farthest = -1;

	for (;;)
	{
		if (!ask_position(replica, &position))
			return false;
		if (position.is_master)
		{
			cg_redis_fail(replica->grid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						  "Redis node \"%s\" is no replica any more", replica->name);
			cg_redis_count_error(replica, replica->grid->error.message);
			return false;
		}
		if (strcmp(position.id, goal->id) == 0)
		{
			if (position.offset >= goal->offset)
				return true;
			if (position.offset > farthest)
				deadline = cg_redis_now() + cg_redis_timeout;
			farthest = Max(farthest, position.offset);
		}
		if (cg_redis_now() >= deadline)
		{
			cg_redis_fail(replica->grid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						  "Redis node \"%s\" is behind its master, and came no nearer "
						  "within %d ms",
						  replica->name, cg_redis_timeout);
			cg_redis_count_error(replica, replica->grid->error.message);
			return false;
		}
		cg_redis_rest(replica->grid, POLL_MS, cg_redis_replica_event());
	}
}

/* Has a replica ready to be read; false and an error if it will not do. */
static bool
prepare_replica(RedisNode *replica, const RedisPosition *goal)
{
	if (!cg_redis_prepare_node(replica))
		return false;
	replica->caught_up = catch_up(replica, goal);
	if (!replica->caught_up)
		cg_redis_mark_down(replica);
	return replica->caught_up;
}

/* None of a master's replicas will do: says of each why. */
static void
fail_without_replica(const RedisNode *master)
{
	RedisGrid *grid = master->grid;
	StringInfoData reasons;
	ListCell *cell;

	initStringInfo(&reasons);
	foreach (cell, master->replicas)
	{
		const RedisNode *replica = lfirst(cell);

		if (replica->down)
			appendStringInfo(&reasons, "%s%s", reasons.len ? "; " : "", replica->reason);
	}
	cg_redis_fail(grid, ERRCODE_CONNECTION_FAILURE,
				  "no replica of Redis node \"%s\" can be read from", master->name);
	if (reasons.len > 0)
		cg_redis_fail_detail(grid, "Tried all of them: %s.", reasons.data);
	else
		cg_redis_fail_detail(grid, "It has none that is online.");
	cg_redis_fail_hint(grid, "Mend its replicas, or set the option \"read_from\" of the "
							 "server to 'master'.");
	pfree(reasons.data);
}

/* Has the replicas of one master ready; false and an error if none is. */
static bool
prepare_replicas_of(RedisNode *master)
{
	RedisPosition goal = {0};
	int ready = 0;
	ListCell *cell;

	if (!cg_redis_prepare_node(master) || !ask_position(master, &goal))
		return false;
	foreach (cell, master->replicas)
		ready += prepare_replica(lfirst(cell), &goal);
	if (ready == 0)
		fail_without_replica(master);
	return ready > 0;
}

/*
 * Has the replicas ready that can be: connected, and with all that their masters
 * have now.  False and an error if a master has none.
 */
bool
cg_redis_prepare_replicas(RedisGrid *grid)
{
	MemoryContext old = MemoryContextSwitchTo(grid->round_context);
	bool ready = true;
	ListCell *cell;

	foreach (cell, grid->masters)
	{
		ready = prepare_replicas_of(lfirst(cell));
		if (!ready)
			break;
	}
	MemoryContextSwitchTo(old);
	return ready;
}

/*
 * A replica of the master that is ready, the one that this number leads to, if it
 * is; NULL and an error if none is.
 */
RedisNode *
cg_redis_find_replica(RedisNode *master, int number)
{
	int count = list_length(master->replicas);

	for (int i = 0; i < count; i++)
	{
		RedisNode *replica = list_nth(master->replicas, (number + i) % count);

		if (replica->caught_up)
			return replica;
	}
	fail_without_replica(master);
	return NULL;
}
