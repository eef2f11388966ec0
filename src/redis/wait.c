/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  Waits for sockets, as everything in a backend must: on MyLatch as well,
 *	  with a time limit, answering interrupts.
 *
 * A latch set by somebody else while we wait is remembered and set again when
 * we return to the caller, who may be waiting for just that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "portability/instr_time.h"

#include "redis/redis_internal.h"

/* Sockets reported by one wait; the others are reported by the next one. */
#define MAX_EVENTS 64

/* Milliseconds of a clock that no administrator moves. */
int64
cg_redis_now(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* The same in microseconds. */
int64
cg_redis_now_us(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

uint32
cg_redis_connect_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("CachegridRedisConnect");
	return event;
}

uint32
cg_redis_reply_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("CachegridRedisReply");
	return event;
}

uint32
cg_redis_replica_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("CachegridRedisReplica");
	return event;
}

static void
answer_latch(RedisGrid *grid)
{
	ResetLatch(MyLatch);
	grid->latch_was_set = true;
	CHECK_FOR_INTERRUPTS();
}

static long
time_left(int64 deadline)
{
	return Max(deadline - cg_redis_now(), 0);
}

/* Waits for one socket; false: the deadline passed first. */
bool
cg_redis_wait_socket(RedisGrid *grid, pgsocket socket, int events, int64 deadline,
					 uint32 wait_event)
{
	for (;;)
	{
		int happened = WaitLatchOrSocket(
			MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | events, socket,
			time_left(deadline), wait_event);

		if (happened & WL_LATCH_SET)
			answer_latch(grid);
		if (happened & events)
			return true;
		if (time_left(deadline) == 0)
			return false;
	}
}

/* Lets so much time pass. */
void
cg_redis_rest(RedisGrid *grid, int milliseconds, uint32 wait_event)
{
	int64 deadline = cg_redis_now() + milliseconds;

	while (time_left(deadline) > 0)
	{
		if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					  time_left(deadline), wait_event) &
			WL_LATCH_SET)
			answer_latch(grid);
	}
}

static void
make_wait_set(RedisGrid *grid)
{
	int count = 2;
	dlist_iter iter;

	dlist_foreach(iter, &grid->nodes)
	{
		count++;
	}
	grid->wait_set = CreateWaitEventSet(NULL, count);
	AddWaitEventToSet(grid->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(grid->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
						  NULL);
	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		if (!node->connection)
			continue;
		node->wait_events = WL_SOCKET_READABLE;
		node->wait_position = AddWaitEventToSet(grid->wait_set, WL_SOCKET_READABLE,
												node->connection->fd, NULL, node);
	}
}

/* Has the wait set look for what each node waits for now. */
static void
adjust_wait_set(RedisGrid *grid)
{
	dlist_iter iter;

	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);
		int events =
			WL_SOCKET_READABLE | (cg_redis_has_unsent(node) ? WL_SOCKET_WRITEABLE : 0);

		if (node->connection && events != node->wait_events)
		{
			ModifyWaitEvent(grid->wait_set, node->wait_position, events, NULL);
			node->wait_events = events;
		}
	}
}

/*
 * Waits until a socket of any node has something to read or room to write, the
 * deadline passes, or the latch was set.  Marks the nodes by their readable flag.
 */
void
cg_redis_wait_nodes(RedisGrid *grid, int64 deadline)
{
	WaitEvent happened[MAX_EVENTS];
	int count;

	if (!grid->wait_set)
		make_wait_set(grid);
	adjust_wait_set(grid);
	count = WaitEventSetWait(grid->wait_set, time_left(deadline), happened, MAX_EVENTS,
							 cg_redis_reply_event());
	for (int i = 0; i < count; i++)
	{
		if (happened[i].events & WL_LATCH_SET)
			answer_latch(grid);
		else if (happened[i].events & WL_SOCKET_READABLE)
			((RedisNode *) happened[i].user_data)->readable = true;
	}
}

/* To be called whenever a socket was opened or closed. */
void
cg_redis_forget_wait_set(RedisGrid *grid)
{
	if (grid->wait_set)
		FreeWaitEventSet(grid->wait_set);
	grid->wait_set = NULL;
}

/* To be called on the way back to the caller. */
void
cg_redis_return_latch(RedisGrid *grid)
{
	if (grid->latch_was_set)
		SetLatch(MyLatch);
	grid->latch_was_set = false;
}
