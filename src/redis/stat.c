/*-------------------------------------------------------------------------
 *
 * stat.c
 *	  Counts what happens between us and a node.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "redis/redis_internal.h"

/* An error of the node, or on the way to it; text shows no secret. */
void
cg_redis_count_error(RedisNode *node, const char *text)
{
	node->stat.errors++;
	strlcpy(node->stat.last_error, text, sizeof(node->stat.last_error));
}

/* The answer has come to what was sent then. */
void
cg_redis_count_round_trip(RedisNode *node, int64 sent_us)
{
	node->stat.round_trips++;
	node->stat.round_trip_us += cg_redis_now_us() - sent_us;
}

/*
 * What has been counted of a node of the map, 0 to cg_redis_node_count - 1, since
 * this was asked last; the counts begin at zero again.  Touches no network.
 */
void
cg_redis_take_stat(RedisGrid *grid, int number, RedisNodeStat *stat)
{
	RedisNode *node = list_nth(grid->masters, number);

	*stat = node->stat;
	memset(&node->stat, 0, sizeof(RedisNodeStat));
	stat->single = grid->mode == REDIS_MODE_SINGLE;
	stat->connected = node->connection && node->fenced;
	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
		stat->slots += grid->slots[slot] == node;
}
