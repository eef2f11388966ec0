/*-------------------------------------------------------------------------
 *
 * fence.c
 *	  Ends the connections that a predecessor left on a node.
 *
 * Bytes of a dead writer that Redis has not read yet would be carried out after
 * newer ones of ours.  So every writer's connection carries a name, and who
 * connects ends all others of that name on that node, after it bears the name
 * itself and before it writes anything: of two that connect at the same time at
 * least one is ended, and finds out at its next command.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "redis/redis_internal.h"

/* False and an error; the node is unlinked. */
static bool
fail_to_fence(RedisNode *node, const RedisReply *reply)
{
	char reason[REDIS_REASON_BYTES];

	if (!reply)
		return false;
	if (reply->kind != REDIS_ERROR)
		cg_redis_fail_nonsense(node, "It did not answer a CLIENT command as Redis does.");
	else if (strncmp(reply->data, "NOPERM", 6) != 0)
		cg_redis_fail_reply(node, reply);
	else
	{
		cg_redis_copy_reason(node->grid, reply->data, reason);
		cg_redis_fail(node->grid, ERRCODE_INSUFFICIENT_PRIVILEGE,
					  "not permitted to end an earlier writer's connections on Redis "
					  "node \"%s\"",
					  node->name);
		cg_redis_fail_detail(node->grid, "The node said: %s", reason);
		cg_redis_fail_hint(node->grid, "Grant the Redis user +client|setname +client|id "
									   "+client|list +client|kill.");
		cg_redis_count_error(node, reason);
	}
	cg_redis_unlink_node(node);
	return false;
}

/*
 * The value of a field in a line of CLIENT LIST, "id=7 addr=1.2.3.4:5 name=x ...";
 * NULL if it has none.  name begins with a space, or stands at the line's start.
 */
static const char *
find_field(const char *line, const char *end, const char *name, Size *size)
{
	Size name_size = strlen(name);

	for (const char *word = line; word < end;)
	{
		const char *word_end = memchr(word, ' ', end - word);

		if (!word_end)
			word_end = end;
		if (word_end - word >= name_size && strncmp(word, name, name_size) == 0)
		{
			*size = word_end - word - name_size;
			return word + name_size;
		}
		word = word_end + 1;
	}
	return NULL;
}

/* Adds the client of this line to victims, if it bears our name and is not us. */
static List *
add_victim(List *victims, const RedisGrid *grid, const char *own_id, const char *line,
		   const char *end)
{
	Size id_size;
	Size name_size;
	const char *id = find_field(line, end, "id=", &id_size);
	const char *name = find_field(line, end, "name=", &name_size);

	if (!id || !name || name_size != strlen(grid->name) ||
		strncmp(name, grid->name, name_size) != 0)
		return victims;
	if (id_size == strlen(own_id) && strncmp(id, own_id, id_size) == 0)
		return victims;
	return lappend(victims, pnstrdup(id, id_size));
}

static List *
find_victims(const RedisGrid *grid, const RedisReply *clients, const char *own_id)
{
	List *victims = NIL;
	const char *end = clients->data + clients->size;

	for (const char *line = clients->data; line < end;)
	{
		const char *line_end = memchr(line, '\n', end - line);

		if (!line_end)
			line_end = end;
		victims = add_victim(victims, grid, own_id, line, line_end);
		line = line_end + 1;
	}
	return victims;
}

static bool
end_victims(RedisNode *node, const List *victims)
{
	ListCell *cell;

	foreach (cell, victims)
	{
		const RedisReply *reply =
			cg_redis_ask_words(node, 4, "CLIENT", "KILL", "ID", lfirst(cell));

		/* 0: it went by itself. */
		if (!reply || reply->kind != REDIS_INTEGER)
			return fail_to_fence(node, reply);
	}
	return true;
}

/*
 * Fences a linked node.  True if the grid has no name or all others of its name
 * are ended; false and an error otherwise, with the connection closed.
 */
bool
cg_redis_fence_node(RedisNode *node)
{
	const RedisGrid *grid = node->grid;
	const RedisReply *reply;
	List *victims;
	char own_id[32];

	if (grid->name)
	{
		reply = cg_redis_ask_words(node, 3, "CLIENT", "SETNAME", grid->name);
		if (!reply || reply->kind != REDIS_STATUS)
			return fail_to_fence(node, reply);
		reply = cg_redis_ask_words(node, 2, "CLIENT", "ID");
		if (!reply || reply->kind != REDIS_INTEGER)
			return fail_to_fence(node, reply);
		snprintf(own_id, sizeof(own_id), INT64_FORMAT, reply->integer);
		reply = cg_redis_ask_words(node, 2, "CLIENT", "LIST");
		if (!reply || reply->kind != REDIS_STRING)
			return fail_to_fence(node, reply);
		victims = find_victims(grid, reply, own_id);
		if (!end_victims(node, victims))
			return false;
		list_free_deep(victims);
	}
	node->fenced = true;
	return true;
}
