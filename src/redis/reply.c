/*-------------------------------------------------------------------------
 *
 * reply.c
 *	  Has hiredis's parser build our replies, in a memory context.
 *
 * The parser calls these functions for each item it has read; what they make
 * lives in the context of the node, which is reset when the reply has been
 * looked at.  Nothing here may raise an error through the parser: where memory
 * fails, or a server announces more than anybody would send, NULL makes the
 * parser give up the connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "redis/redis_internal.h"

/* CLUSTER SLOTS has at most 16,384 elements, SCAN little more than asked for. */
#define MAX_ARRAY_ELEMENTS (1024 * 1024)

/* hiredis 1 widened this argument. */
#if HIREDIS_MAJOR >= 1
typedef size_t ArraySize;
#else
typedef int ArraySize;
#endif

/* Makes a reply and hangs it into the array it is an element of. */
static RedisReply *
make_reply(const redisReadTask *task, RedisReplyKind kind)
{
	RedisReply *reply =
		MemoryContextAllocExtended((MemoryContext) task->privdata, sizeof(RedisReply),
								   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);

	if (!reply)
		return NULL;
	reply->kind = kind;
	if (task->parent)
	{
		RedisReply *array = task->parent->obj;

		if (array->kind != REDIS_ARRAY || task->idx < 0 ||
			task->idx >= array->element_count)
			return NULL;
		array->elements[task->idx] = reply;
	}
	return reply;
}

static void *
make_string(const redisReadTask *task, char *data, size_t size)
{
	RedisReply *reply;
	RedisReplyKind kind = REDIS_STRING;

	if (task->type == REDIS_REPLY_ERROR)
		kind = REDIS_ERROR;
	else if (task->type == REDIS_REPLY_STATUS)
		kind = REDIS_STATUS;

	reply = make_reply(task, kind);
	if (!reply || size > REDIS_MAX_COMMAND_BYTES)
		return NULL;
	reply->data = MemoryContextAllocExtended((MemoryContext) task->privdata, size + 1,
											 MCXT_ALLOC_NO_OOM);
	if (!reply->data)
		return NULL;
	memcpy(reply->data, data, size);
	reply->data[size] = '\0';
	reply->size = size;
	return reply;
}

static void *
make_array(const redisReadTask *task, ArraySize count)
{
	RedisReply *reply;

	if (count > MAX_ARRAY_ELEMENTS)
		return NULL;
	reply = make_reply(task, REDIS_ARRAY);
	if (!reply || count == 0)
		return reply;
	reply->elements = MemoryContextAllocExtended((MemoryContext) task->privdata,
												 count * sizeof(RedisReply *),
												 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (!reply->elements)
		return NULL;
	reply->element_count = count;
	return reply;
}

static void *
make_integer(const redisReadTask *task, long long value)
{
	RedisReply *reply = make_reply(task, REDIS_INTEGER);

	if (reply)
		reply->integer = value;
	return reply;
}

static void *
make_nil(const redisReadTask *task)
{
	return make_reply(task, REDIS_NIL);
}

#if HIREDIS_MAJOR >= 1

/* We speak RESP2, which has neither of these: the server is none. */
static void *
refuse_double(const redisReadTask *task, double value, char *text, size_t size)
{
	return NULL;
}

static void *
refuse_bool(const redisReadTask *task, int value)
{
	return NULL;
}

#endif

/* The context frees them; it may even be gone when the parser says good-bye. */
static void
leave_object(void *object)
{
}

static redisReplyObjectFunctions object_functions = {
	.createString = make_string,
	.createArray = make_array,
	.createInteger = make_integer,
	.createNil = make_nil,
#if HIREDIS_MAJOR >= 1
	.createDouble = refuse_double,
	.createBool = refuse_bool,
#endif
	.freeObject = leave_object,
};

/* From now on the reader makes its replies RedisReply in the context. */
void
cg_redis_parse_into(redisReader *reader, MemoryContext context)
{
	reader->fn = &object_functions;
	reader->privdata = context;
}
