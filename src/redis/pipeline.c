/*-------------------------------------------------------------------------
 *
 * pipeline.c
 *	  Commands on their way: chunks out, replies in, callbacks.
 *
 * Each node has a row of chunks.  The last one is being filled; the first
 * REDIS_CHUNKS_IN_FLIGHT are handed to hiredis piece by piece, as the socket takes
 * them.  Replies come in the order of the commands, so the oldest command without
 * an answer is always the one that the next reply belongs to.
 *
 * When a connection is lost, all commands of its node are answered RETRY: nobody
 * knows which of them were carried out.  A MOVED is RETRY too and the map is
 * asked for before the drain returns.  Only an ASK is followed from here, once,
 * with the bytes of the command, which stay in their chunk until it is answered.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <hiredis/sds.h>

#include "utils/memutils.h"

#include "base/settings.h"
#include "redis/redis_internal.h"

/* Drains in a row that may see a MOVED before it is called trouble. */
#define MAX_MOVED_DRAINS 8

/* A spare chunk keeps at most this much of its buffer. */
#define SPARE_BYTES (4 * REDIS_CHUNK_BYTES)

static RedisChunk *
first_chunk(const RedisNode *node)
{
	return node->last ? slist_container(RedisChunk, link, node->chunks.head.next) : NULL;
}

static RedisChunk *
add_chunk(RedisNode *node)
{
	RedisGrid *grid = node->grid;
	RedisChunk *chunk;

	if (slist_is_empty(&grid->spare))
	{
		MemoryContext old = MemoryContextSwitchTo(grid->context);

		chunk = palloc(sizeof(RedisChunk));
		initStringInfo(&chunk->bytes);
		MemoryContextSwitchTo(old);
	}
	else
		chunk = slist_container(RedisChunk, link, slist_pop_head_node(&grid->spare));

	resetStringInfo(&chunk->bytes);
	chunk->sent = 0;
	chunk->count = 0;
	chunk->answered = 0;
	if (node->last)
		slist_insert_after(&node->last->link, &chunk->link);
	else
		slist_push_head(&node->chunks, &chunk->link);
	node->last = chunk;
	node->chunk_count++;
	return chunk;
}

/* Puts the oldest chunk of a node away, all of whose commands are answered. */
static void
retire_chunk(RedisNode *node)
{
	RedisGrid *grid = node->grid;
	RedisChunk *chunk =
		slist_container(RedisChunk, link, slist_pop_head_node(&node->chunks));

	node->chunk_count--;
	if (slist_is_empty(&node->chunks))
		node->last = NULL;
	if (chunk->bytes.maxlen > SPARE_BYTES)
	{
		pfree(chunk->bytes.data);
		pfree(chunk);
	}
	else
		slist_push_head(&grid->spare, &chunk->link);
}

static bool
chunk_is_full(const RedisChunk *chunk)
{
	return chunk->count == REDIS_CHUNK_COMMANDS || chunk->bytes.len >= REDIS_CHUNK_BYTES;
}

/* Enters a command whose bytes were appended to the chunk from command.begin on. */
void
cg_redis_end_command(RedisNode *node, RedisChunk *chunk, RedisCommand command)
{
	command.end = chunk->bytes.len;
	chunk->commands[chunk->count++] = command;
	node->stat.commands++;
	node->grid->unanswered++;
}

/* Takes the node's oldest command out and tells its handler. */
static void
answer(RedisNode *node, const RedisResult *result)
{
	RedisChunk *chunk = first_chunk(node);
	RedisHandler handler = chunk->commands[chunk->answered++].handler;

	node->grid->unanswered--;
	node->stat.retries += result->outcome == REDIS_RETRY;
	if (chunk->answered == chunk->count)
		retire_chunk(node);
	if (handler.callback)
		handler.callback(result, handler.user_data);
}

/* Gives a node up for the error just remembered; all its commands are to retry. */
static void
lose_node(RedisNode *node)
{
	RedisResult result = {.outcome = REDIS_RETRY, .reason = node->reason};

	cg_redis_mark_down(node);
	node->parts = 0;
	node->part_error[0] = '\0';
	while (!slist_is_empty(&node->chunks))
		answer(node, &result);
}

/* The first of the chunks that may be in flight not all handed to hiredis; NULL. */
static RedisChunk *
find_unsent_chunk(const RedisNode *node)
{
	int position = 0;
	slist_iter iter;

	slist_foreach(iter, (slist_head *) &node->chunks)
	{
		RedisChunk *chunk = slist_container(RedisChunk, link, iter.cur);

		if (chunk->sent < chunk->bytes.len)
			return chunk;
		if (++position == REDIS_CHUNKS_IN_FLIGHT)
			break;
	}
	return NULL;
}

/* Whether bytes wait for room in the node's socket. */
bool
cg_redis_has_unsent(const RedisNode *node)
{
	return node->connection &&
		   (sdslen(node->connection->obuf) > 0 || find_unsent_chunk(node) != NULL);
}

/*
 * Writes as much as the socket takes.  hiredis gets it in pieces, since it moves
 * the rest of its buffer after each write.
 */
static void
send_chunks(RedisNode *node)
{
	bool all = true;

	while (all && node->connection)
	{
		if (sdslen(node->connection->obuf) == 0)
		{
			RedisChunk *chunk = find_unsent_chunk(node);
			int size;

			if (!chunk)
				return;
			size = Min(chunk->bytes.len - chunk->sent, REDIS_CHUNK_BYTES);
			if (redisAppendFormattedCommand(
					node->connection, chunk->bytes.data + chunk->sent, size) != REDIS_OK)
				ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
			if (chunk->sent == 0)
				chunk->sent_us = cg_redis_now_us();
			chunk->sent += size;
			node->progress = cg_redis_now();
		}
		if (!cg_redis_write_bytes(node, &all))
			lose_node(node);
	}
}

/* Sends the oldest command of a node to the one that an ASK names; false: cannot. */
static bool
follow_ask(RedisNode *node, const RedisReply *ask)
{
	static const RedisString asking = {.data = "ASKING", .size = 6};
	const RedisChunk *from = first_chunk(node);
	RedisCommand command = from->commands[from->answered];
	RedisNode *target = cg_redis_find_target(node, ask);
	RedisChunk *to;
	RedisCommand prelude = {
		.slot = command.slot, .replies = 1, .kinds = 1 << REDIS_STATUS};
	int size = command.end - command.begin;

	if (command.asked || !target || target == node || target->down ||
		!cg_redis_prepare_node(target))
		return false;

	to = target->last;
	if (!to || chunk_is_full(to) || to->count == REDIS_CHUNK_COMMANDS - 1)
		to = add_chunk(target);
	prelude.begin = to->bytes.len;
	cg_redis_append_command(&to->bytes, 1, &asking);
	cg_redis_end_command(target, to, prelude);

	appendBinaryStringInfo(&to->bytes, from->bytes.data + command.begin, size);
	command.begin = to->bytes.len - size;
	command.asked = true;
	cg_redis_end_command(target, to, command);

	/* It lives on there; here it is answered without its handler. */
	first_chunk(node)->commands[from->answered].handler.callback = NULL;
	return true;
}

/* Answers the oldest command of a node with an error reply. */
static void
settle_error(RedisNode *node, const RedisReply *error)
{
	RedisGrid *grid = node->grid;
	RedisErrorKind kind = cg_redis_classify_error(error);
	char reason[REDIS_REASON_BYTES];
	RedisResult result = {.outcome = REDIS_RETRY, .reason = reason};

	cg_redis_copy_reason(grid, error->data, reason);
	node->stat.redirects += kind == REDIS_ERROR_MOVED || kind == REDIS_ERROR_ASK;
	if (kind == REDIS_ERROR_COMMAND)
	{
		result.outcome = REDIS_REFUSED;
		cg_redis_count_error(node, reason);
	}
	else if (kind == REDIS_ERROR_TROUBLE || grid->mode == REDIS_MODE_SINGLE)
	{
		cg_redis_fail_reply(node, error);
		grid->map_stale = true;
		if (node->is_replica)
		{
			/* Another one may be well. */
			lose_node(node);
			return;
		}
	}
	else if (kind == REDIS_ERROR_MOVED)
	{
		grid->moved = true;
		grid->map_stale = true;
		cg_redis_note_move(node, error);
	}
	else if (!follow_ask(node, error))
		grid->moved = true;
	answer(node, &result);
}

/* The first error among what EXEC carried out, else the reply itself. */
static const RedisReply *
find_error(const RedisReply *reply)
{
	for (int i = 0; i < reply->element_count; i++)
	{
		if (reply->elements[i]->kind == REDIS_ERROR)
			return reply->elements[i];
	}
	return reply;
}

/*
 * Takes a reply in, one of several.  The last one returns what stands for all of
 * them, in *error if it has to be made: the first error, or what EXEC says.  NULL
 * before that.
 */
static const RedisReply *
take_part(RedisNode *node, const RedisReply *reply, int count, RedisReply *error)
{
	if (++node->parts < count)
	{
		if (reply->kind == REDIS_ERROR && node->part_error[0] == '\0')
			strlcpy(node->part_error, reply->data, sizeof(node->part_error));
		return NULL;
	}
	node->parts = 0;
	if (node->part_error[0] == '\0')
		return find_error(reply);
	error->kind = REDIS_ERROR;
	error->size = strlen(node->part_error);
	error->data = MemoryContextStrdup(node->replies, node->part_error);
	node->part_error[0] = '\0';
	return error;
}

static void
settle(RedisNode *node, const RedisReply *reply)
{
	RedisResult result = {.outcome = REDIS_DONE};
	const RedisChunk *chunk = first_chunk(node);
	const RedisCommand *command = &chunk->commands[chunk->answered];
	bool ours = !command->handler.callback;
	RedisReply error = {0};

	node->backoff = 0;
	if (command->replies > 1)
		reply = take_part(node, reply, command->replies, &error);
	if (!reply)
		return;
	result.reply = reply;
	if (chunk->answered == chunk->count - 1)
		cg_redis_count_round_trip(node, chunk->sent_us);
	if (reply->kind == REDIS_ERROR && !ours)
		settle_error(node, reply);
	else
		answer(node, &result);
}

/*
 * Whether this may be the answer to the node's oldest command, or to the next of
 * its parts.  If it is not, we do not know which command it belongs to, nor any
 * that comes behind it.
 */
static bool
fits_command(const RedisNode *node, const RedisReply *reply)
{
	const RedisChunk *chunk = first_chunk(node);
	const RedisCommand *command = &chunk->commands[chunk->answered];

	if (reply->kind == REDIS_ERROR)
		return true;
	if (command->replies == 1)
		return (command->kinds & (1 << reply->kind)) != 0;
	if (node->parts + 1 < command->replies)
		return reply->kind == REDIS_STATUS;

	/* EXEC answers with what each command between MULTI and itself came to. */
	return reply->kind == REDIS_ARRAY && reply->element_count == command->replies - 2;
}

/* Whether a command was sent whose answer is still to come. */
static bool
owes_reply(const RedisNode *node)
{
	const RedisChunk *chunk = first_chunk(node);

	return chunk && chunk->sent > chunk->commands[chunk->answered].begin;
}

/* Reads what a node has sent and settles every reply that is complete. */
static void
receive(RedisNode *node)
{
	if (!cg_redis_read_bytes(node))
	{
		lose_node(node);
		return;
	}
	while (node->connection)
	{
		RedisReply *reply;

		if (!cg_redis_next_reply(node, &reply))
		{
			lose_node(node);
			return;
		}
		if (!reply)
			return;
		if (!owes_reply(node) || !fits_command(node, reply))
		{
			cg_redis_fail_nonsense(node, owes_reply(node)
											 ? "It is no answer to what was asked."
											 : "Nothing was asked.");
			lose_node(node);
			return;
		}
		settle(node, reply);
		MemoryContextReset(node->replies);
	}
}

/* Gives a node up that owes a reply and let its time pass without a byte. */
static void
lose_if_silent(RedisNode *node)
{
	int64 progress = node->progress;

	if (!owes_reply(node) || cg_redis_now() < progress + cg_redis_timeout)
		return;

	/* It may have spoken while we were kept waiting by something else. */
	receive(node);
	if (!owes_reply(node) || node->progress != progress)
		return;
	cg_redis_fail(node->grid, ERRCODE_CONNECTION_FAILURE,
				  "Redis node \"%s\" did not answer within %d ms", node->name,
				  cg_redis_timeout);
	cg_redis_count_error(node, node->grid->error.message);
	lose_node(node);
}

/* Sends, waits until something happens, and receives. */
static void
advance(RedisGrid *grid)
{
	int64 deadline = PG_INT64_MAX;
	dlist_iter iter;

	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		send_chunks(node);
		if (owes_reply(node))
			deadline = Min(deadline, node->progress + cg_redis_timeout);
	}
	if (deadline == PG_INT64_MAX)
		return;

	cg_redis_wait_nodes(grid, deadline);
	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		if (node->readable)
		{
			node->readable = false;
			receive(node);
		}
		else
			lose_if_silent(node);
	}
}

/*
 * A chunk of a prepared node with room for one more command.  Waits for replies if
 * too many are outstanding; NULL and an error if the node was lost over that.
 */
RedisChunk *
cg_redis_find_room(RedisNode *node)
{
	if (node->last && !chunk_is_full(node->last))
		return node->last;
	send_chunks(node);
	while (node->connection && node->chunk_count > REDIS_CHUNKS_IN_FLIGHT)
		advance(node->grid);
	if (!node->connection)
		return NULL;
	return node->last && !chunk_is_full(node->last) ? node->last : add_chunk(node);
}

/* Slots may move one after the other, but not for ever. */
static void
follow_moves(RedisGrid *grid)
{
	grid->moved_drains = grid->moved ? grid->moved_drains + 1 : 0;
	if (!grid->moved)
		return;
	grid->moved = false;
	if (grid->moved_drains > MAX_MOVED_DRAINS)
	{
		cg_redis_fail(grid, ERRCODE_CONNECTION_FAILURE,
					  "Redis Cluster redirects commands again and again");
		cg_redis_fail_detail(grid, "%d batches in a row were redirected.",
							 grid->moved_drains);
	}
	if (grid->map_stale && !grid->trouble)
		(void) cg_redis_refresh_map(grid);
}

/*
 * Sends all that is queued and waits until every command has had its callback.
 * False if a node or the cluster had trouble since the last drain or connect: see
 * cg_redis_error, back off, connect.  True though commands are to be retried: their
 * slots moved, the new map is there, send them again at once.
 */
bool
cg_redis_drain(RedisGrid *grid)
{
	bool well;

	while (grid->unanswered > 0)
		advance(grid);
	follow_moves(grid);
	well = !grid->trouble;
	grid->trouble = false;
	cg_redis_return_latch(grid);
	return well;
}
