/*-------------------------------------------------------------------------
 *
 * command.c
 *	  Writes commands the way Redis reads them, and sends them off: to be
 *	  answered later through a handler, or at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "redis/redis_internal.h"

/* Bytes around an argument at most: "$", a length, "\r\n" twice. */
#define FRAME_BYTES 32

/* So often cg_redis_call follows a command whose slot moved. */
#define MAX_CALLS 5

#define WORD(text) ((RedisString){.data = (text), .size = sizeof(text) - 1})

static Size
command_size(int count, const RedisString *arguments)
{
	Size size = FRAME_BYTES;

	for (int i = 0; i < count; i++)
		size = add_size(size, add_size(arguments[i].size, FRAME_BYTES));
	return size;
}

static char *
write_count(char *to, char mark, Size count)
{
	*to++ = mark;
	to += pg_ulltoa_n(count, to);
	*to++ = '\r';
	*to++ = '\n';
	return to;
}

/* Appends a command.  It must not be longer than a StringInfo may be. */
void
cg_redis_append_command(StringInfo bytes, int count, const RedisString *arguments)
{
	char *to;

	enlargeStringInfo(bytes, command_size(count, arguments));
	to = write_count(bytes->data + bytes->len, '*', count);
	for (int i = 0; i < count; i++)
	{
		to = write_count(to, '$', arguments[i].size);
		memcpy(to, arguments[i].data, arguments[i].size);
		to += arguments[i].size;
		*to++ = '\r';
		*to++ = '\n';
	}
	*to = '\0';
	bytes->len = to - bytes->data;
}

/* The node that owns a slot, ready or not; NULL and an error if none does. */
static RedisNode *
find_owner_in_map(RedisGrid *grid, uint16 slot)
{
	RedisNode *node = grid->slots ? grid->slots[slot] : NULL;

	if (node)
		return node;
	cg_redis_fail(grid, ERRCODE_CONNECTION_FAILURE, "no Redis node serves hash slot %u",
				  slot);
	grid->map_stale = true;
	return NULL;
}

/* The node that owns a slot, ready for commands; NULL and an error if none is. */
static RedisNode *
find_owner(RedisGrid *grid, uint16 slot)
{
	RedisNode *node = find_owner_in_map(grid, slot);

	if (!node)
		return NULL;
	if (node->down)
	{
		cg_redis_fail(grid, ERRCODE_CONNECTION_FAILURE, "%s", node->reason);
		return NULL;
	}
	return cg_redis_prepare_node(node) ? node : NULL;
}

/* The node to be asked for the keys of a slot: its owner, or a replica of it. */
static RedisNode *
find_reader(RedisGrid *grid, uint16 slot)
{
	RedisNode *owner;

	if (grid->read_from == REDIS_READ_MASTER)
		return find_owner(grid, slot);
	owner = find_owner_in_map(grid, slot);
	return owner ? cg_redis_find_replica(owner, slot) : NULL;
}

static void
answer_at_once(RedisHandler handler, RedisOutcome outcome, const char *reason)
{
	RedisResult result = {.outcome = outcome, .reason = reason};

	handler.callback(&result, handler.user_data);
}

/* What the reply to a command may be. */
#define KIND(kind) (1 << (kind))
#define ANY_KIND   UINT8_MAX

/* A command: its name and its arguments. */
typedef struct RedisWords
{
	int count;
	const RedisString *arguments;
} RedisWords;

/*
 * Queues commands that are carried out as one, as many as it has replies, for the
 * node that its slot belongs to, or if it only reads, for one that may be asked.
 */
static void
queue_words(RedisGrid *grid, RedisCommand command, const RedisWords *words, bool reads)
{
	RedisHandler handler = command.handler;
	RedisNode *node;
	RedisChunk *chunk = NULL;
	Size size = 0;

	for (int i = 0; i < command.replies; i++)
		size = add_size(size, command_size(words[i].count, words[i].arguments));
	if (size > REDIS_MAX_COMMAND_BYTES)
	{
		answer_at_once(handler, REDIS_REFUSED, "longer than the 512 MB that Redis takes");
		return;
	}
	node = reads ? find_reader(grid, command.slot) : find_owner(grid, command.slot);
	if (node)
		chunk = cg_redis_find_room(node);
	if (chunk)
	{
		command.begin = chunk->bytes.len;
		for (int i = 0; i < command.replies; i++)
			cg_redis_append_command(&chunk->bytes, words[i].count, words[i].arguments);
		cg_redis_end_command(node, chunk, command);
	}
	else
		answer_at_once(handler, REDIS_RETRY, grid->error.message);
	cg_redis_return_latch(grid);
}

/* kinds says what the reply may be if there is only one. */
static RedisCommand
make_command(RedisString key, int replies, uint8 kinds, RedisHandler handler)
{
	return (RedisCommand){.handler = handler,
						  .slot = cg_redis_key_slot(key),
						  .replies = replies,
						  .kinds = kinds};
}

static void
queue_command(RedisGrid *grid, RedisString key, int count, const RedisString *arguments,
			  uint8 kinds, RedisHandler handler)
{
	RedisWords words = {count, arguments};

	queue_words(grid, make_command(key, 1, kinds, handler), &words, false);
}

/* Queues a command of a name and a key, which changes nothing. */
static void
queue_read(RedisGrid *grid, RedisString name, RedisString key, uint8 kinds,
		   RedisHandler handler)
{
	RedisString arguments[] = {name, key};
	RedisWords words = {lengthof(arguments), arguments};

	queue_words(grid, make_command(key, 1, kinds, handler), &words, true);
}

/*
 * Queues a command, its name and its arguments, for the node that key belongs
 * to.  The bytes are copied.  The handler is called once, perhaps before this
 * returns; other handlers may be, too.  May wait for replies of earlier commands.
 */
void
cg_redis_queue(RedisGrid *grid, RedisString key, int count, const RedisString *arguments,
			   RedisHandler handler)
{
	queue_command(grid, key, count, arguments, ANY_KIND, handler);
}

/* Queues SET key value; ttl_ms: milliseconds to live, 0: for ever. */
void
cg_redis_queue_set(RedisGrid *grid, RedisString key, RedisString value, int64 ttl_ms,
				   RedisHandler handler)
{
	char milliseconds[24];
	RedisString arguments[] = {WORD("SET"), key, value, WORD("PX"), {milliseconds, 0}};

	Assert(ttl_ms >= 0);
	arguments[4].size = pg_ulltoa_n(ttl_ms, milliseconds);
	queue_command(grid, key, ttl_ms > 0 ? 5 : 3, arguments, KIND(REDIS_STATUS), handler);
}

/*
 * Queues HSET key field value ...: fields holds two strings for each, count
 * together; whatever else the hash has stays.  With anew it is a new hash, that
 * lives ttl_ms milliseconds, or 0: for ever; nobody sees anything in between.
 */
void
cg_redis_queue_hash(RedisGrid *grid, RedisString key, int count,
					const RedisString *fields, bool anew, int64 ttl_ms,
					RedisHandler handler)
{
	char milliseconds[24];
	RedisString multi = WORD("MULTI");
	RedisString exec = WORD("EXEC");
	RedisString delete[] = {WORD("DEL"), key};
	RedisString expire[] = {WORD("PEXPIRE"), key, {milliseconds, 0}};
	RedisString *set = palloc((count + 2) * sizeof(RedisString));
	RedisWords words[5];
	int commands = 0;

	Assert(ttl_ms == 0 || anew);
	set[0] = WORD("HSET");
	set[1] = key;
	memcpy(&set[2], fields, count * sizeof(RedisString));
	expire[2].size = pg_ulltoa_n(ttl_ms, milliseconds);
	if (anew)
	{
		words[commands++] = (RedisWords){1, &multi};
		words[commands++] = (RedisWords){2, delete};
	}
	words[commands++] = (RedisWords){count + 2, set};
	if (ttl_ms > 0)
		words[commands++] = (RedisWords){3, expire};
	if (anew)
		words[commands++] = (RedisWords){1, &exec};
	queue_words(grid, make_command(key, commands, KIND(REDIS_INTEGER), handler), words,
				false);
	pfree(set);
}

/* Queues DEL key; the reply is the INTEGER 1 or 0. */
void
cg_redis_queue_delete(RedisGrid *grid, RedisString key, RedisHandler handler)
{
	RedisString arguments[] = {WORD("DEL"), key};

	queue_command(grid, key, 2, arguments, KIND(REDIS_INTEGER), handler);
}

/* Queues GET key; the reply is a STRING or NIL. */
void
cg_redis_queue_get(RedisGrid *grid, RedisString key, RedisHandler handler)
{
	queue_read(grid, WORD("GET"), key, KIND(REDIS_STRING) | KIND(REDIS_NIL), handler);
}

/* Queues HGETALL key; the reply is an ARRAY of fields and values, in turn. */
void
cg_redis_queue_get_hash(RedisGrid *grid, RedisString key, RedisHandler handler)
{
	queue_read(grid, WORD("HGETALL"), key, KIND(REDIS_ARRAY), handler);
}

/* Has the map asked for anew and finds who owns the slot then. */
static RedisNode *
find_new_owner(RedisNode *node, const RedisReply *moved, uint16 slot)
{
	RedisGrid *grid = node->grid;

	node->stat.redirects++;
	cg_redis_note_move(node, moved);
	return cg_redis_refresh_map(grid) ? find_owner(grid, slot) : NULL;
}

static const RedisReply *
ask_asking(RedisNode *node, const RedisReply *ask, int count,
		   const RedisString *arguments)
{
	RedisNode *target = cg_redis_find_target(node, ask);

	node->stat.redirects++;
	if (!target)
	{
		cg_redis_fail_nonsense(node, "It is a redirection to nowhere.");
		return NULL;
	}
	if (!cg_redis_prepare_node(target) || !cg_redis_ask_words(target, 1, "ASKING"))
		return NULL;
	return cg_redis_ask(target, count, arguments);
}

/* An error reply that is the caller's matter: remembered, but no trouble. */
static const RedisReply *
describe(RedisNode *node, const RedisReply *reply)
{
	bool trouble = node->grid->trouble;

	cg_redis_fail_reply(node, reply);
	node->grid->trouble = trouble;
	return reply;
}

/* The reply of whoever owns the slot, redirections followed; NULL and an error. */
static const RedisReply *
call_owner(RedisGrid *grid, uint16 slot, int count, const RedisString *arguments)
{
	RedisNode *node = find_owner(grid, slot);

	for (int i = 0; node && i < MAX_CALLS; i++)
	{
		const RedisReply *reply = cg_redis_ask(node, count, arguments);

		if (reply && reply->kind == REDIS_ERROR &&
			cg_redis_classify_error(reply) == REDIS_ERROR_ASK)
			reply = ask_asking(node, reply, count, arguments);
		if (!reply || reply->kind != REDIS_ERROR)
			return reply;

		switch (cg_redis_classify_error(reply))
		{
			case REDIS_ERROR_COMMAND:
				return describe(node, reply);
			case REDIS_ERROR_TROUBLE:
			case REDIS_ERROR_ASK:
				cg_redis_fail_reply(node, reply);
				grid->map_stale = true;
				return NULL;
			case REDIS_ERROR_MOVED:
				node = find_new_owner(node, reply, slot);
				break;
		}
	}
	if (node)
		cg_redis_fail(grid, ERRCODE_CONNECTION_FAILURE,
					  "Redis nodes do not agree on who owns hash slot %u", slot);
	return NULL;
}

/*
 * Sends a command where key belongs and waits for its answer; cg_redis_connect
 * has succeeded and nothing is queued.  The reply lives until the next call of any
 * function of the grid.  An error reply about the command itself is an answer too,
 * which cg_redis_error then describes.
 * NULL: no answer, see cg_redis_error; the command was carried out or not.
 */
const RedisReply *
cg_redis_call(RedisGrid *grid, RedisString key, int count, const RedisString *arguments)
{
	const RedisReply *reply;

	Assert(grid->unanswered == 0);
	reply = call_owner(grid, cg_redis_key_slot(key), count, arguments);
	cg_redis_return_latch(grid);
	return reply;
}

/* The same for a node of the map, 0 to cg_redis_node_count - 1. */
const RedisReply *
cg_redis_call_node(RedisGrid *grid, int node, int count, const RedisString *arguments)
{
	RedisNode *master = list_nth(grid->masters, node);
	const RedisReply *reply = NULL;

	Assert(grid->unanswered == 0);
	if (cg_redis_prepare_node(master))
		reply = cg_redis_ask(master, count, arguments);
	if (reply)
		master->backoff = 0;
	if (reply && reply->kind == REDIS_ERROR)
		(void) describe(master, reply);
	cg_redis_return_latch(grid);
	return reply;
}
