/*-------------------------------------------------------------------------
 *
 * exchange.c
 *	  Bytes out, bytes in, and one command at a time where no pipeline is
 *	  needed: greeting a node, asking for the map, scanning.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <hiredis/sds.h>

#include "utils/memutils.h"

#include "base/settings.h"
#include "redis/redis_internal.h"

/* hiredis reads so much at once, and we so often before looking at it. */
#define READ_BYTES	  (1024 * 16)
#define READS_AT_ONCE 16

/* A reply may be this long before it is complete. */
#define MAX_BUFFERED_BYTES ((Size) REDIS_MAX_COMMAND_BYTES + 64 * 1024)

#define MAX_WORDS 6

static void
fail_to_talk(RedisNode *node)
{
	const char *reason = node->grid->tls.on ? cg_redis_tls_reason() : NULL;

	cg_redis_fail(node->grid, ERRCODE_CONNECTION_FAILURE,
				  "lost the connection to Redis node \"%s\": %s", node->name,
				  reason ? reason : node->connection->errstr);
	cg_redis_count_error(node, node->grid->error.message);
}

/* Writes what hiredis holds; *all: nothing is left.  False and an error: broken. */
bool
cg_redis_write_bytes(RedisNode *node, bool *all)
{
	Size before = sdslen(node->connection->obuf);
	int done;

	if (node->grid->tls.on)
		cg_redis_forget_tls_errors();
	if (redisBufferWrite(node->connection, &done) != REDIS_OK)
	{
		fail_to_talk(node);
		return false;
	}
	node->stat.bytes_sent += before - sdslen(node->connection->obuf);
	*all = done != 0;
	return true;
}

/* Reads what there is, perhaps nothing.  False and an error: broken. */
bool
cg_redis_read_bytes(RedisNode *node)
{
	redisReader *reader = node->connection->reader;

	for (int i = 0; i < READS_AT_ONCE; i++)
	{
		Size before = reader->len;

		if (node->grid->tls.on)
			cg_redis_forget_tls_errors();
		if (redisBufferRead(node->connection) != REDIS_OK)
		{
			/* What came before the end is looked at first; then we are back. */
			if (i > 0)
				break;
			fail_to_talk(node);
			return false;
		}
		if (reader->len != before)
			node->progress = cg_redis_now();
		if (reader->len - before < READ_BYTES)
			break;
	}
	return true;
}

/*
 * Takes the next complete reply out of what was read, *reply = NULL if there is
 * none.  False and an error: these are no replies.  The caller resets the context
 * node->replies when it has looked at one.
 */
bool
cg_redis_next_reply(RedisNode *node, RedisReply **reply)
{
	redisReader *reader = node->connection->reader;
	void *object = NULL;

	if (redisReaderGetReply(reader, &object) != REDIS_OK)
	{
		cg_redis_fail_nonsense(node, "It does not follow the protocol of Redis.");
		return false;
	}
	if (!object && reader->len - reader->pos > MAX_BUFFERED_BYTES)
	{
		cg_redis_fail_nonsense(node, "It is longer than 512 MB.");
		return false;
	}
	*reply = object;
	return true;
}

/* Writes a command and waits for its reply; NULL and an error if none comes. */
static RedisReply *
exchange(RedisNode *node, const StringInfoData *command)
{
	int64 sent_us = cg_redis_now_us();
	bool all = false;
	RedisReply *reply = NULL;

	if (redisAppendFormattedCommand(node->connection, command->data, command->len) !=
		REDIS_OK)
	{
		fail_to_talk(node);
		return NULL;
	}
	node->progress = cg_redis_now();
	node->stat.commands++;
	for (;;)
	{
		if (!all && !cg_redis_write_bytes(node, &all))
			return NULL;
		if (!cg_redis_wait_socket(node->grid, node->connection->fd,
								  WL_SOCKET_READABLE | (all ? 0 : WL_SOCKET_WRITEABLE),
								  node->progress + cg_redis_timeout,
								  cg_redis_reply_event()))
		{
			cg_redis_fail(node->grid, ERRCODE_CONNECTION_FAILURE,
						  "Redis node \"%s\" did not answer within %d ms", node->name,
						  cg_redis_timeout);
			cg_redis_count_error(node, node->grid->error.message);
			return NULL;
		}
		if (!cg_redis_read_bytes(node) || !cg_redis_next_reply(node, &reply))
			return NULL;
		if (reply)
		{
			cg_redis_count_round_trip(node, sent_us);
			return reply;
		}
	}
}

/*
 * Sends one command to a linked node that owes no replies, and waits.  The reply
 * lives until the next command to this node.  NULL and an error: the connection
 * is closed.
 */
const RedisReply *
cg_redis_ask(RedisNode *node, int count, const RedisString *arguments)
{
	RedisGrid *grid = node->grid;
	const RedisReply *reply;

	Assert(slist_is_empty(&node->chunks));
	MemoryContextReset(node->replies);
	resetStringInfo(&grid->scratch);
	cg_redis_append_command(&grid->scratch, count, arguments);
	reply = exchange(node, &grid->scratch);
	if (!reply)
		cg_redis_unlink_node(node);
	return reply;
}

/* The same for a command of count words, const char *. */
const RedisReply *
cg_redis_ask_words(RedisNode *node, int count, ...)
{
	RedisString arguments[MAX_WORDS];
	va_list words;

	Assert(count <= MAX_WORDS);
	va_start(words, count);
	for (int i = 0; i < count; i++)
	{
		const char *word = va_arg(words, const char *);

		arguments[i] = (RedisString){.data = word, .size = strlen(word)};
	}
	va_end(words);
	return cg_redis_ask(node, count, arguments);
}
