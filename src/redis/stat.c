/*-------------------------------------------------------------------------
 *
 * stat.c
 *	  Counts what happens between us and a node.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "redis/redis_internal.h"

/* An error of the node, or on the way to it; text shows no secret. */
void
cg_redis_count_error(RedisNode *node, const char *text)
{
	node->stat.errors++;
	strlcpy(node->stat.last_error, text, sizeof(node->stat.last_error));
}

/* The bucket of REDIS_LATENCY_BUCKETS for so many microseconds. */
static int
find_bucket(uint64 us)
{
	int power;

	if (us < 4)
		return us;
	power = pg_leftmost_one_pos64(us);
	return Min(4 * (power - 1) + ((us >> (power - 2)) & 3), REDIS_LATENCY_BUCKETS - 1);
}

/* The microseconds at which a bucket begins, and the one before it ends. */
static double
bucket_begin(int bucket)
{
	return bucket < 4 ? bucket : (uint64) (4 + bucket % 4) << (bucket / 4 - 1);
}

/* The answer has come to what was sent then. */
void
cg_redis_count_round_trip(RedisNode *node, int64 sent_us)
{
	int64 us = Max(cg_redis_now_us() - sent_us, 0);

	node->stat.round_trips++;
	node->stat.round_trip_us += us;
	node->stat.latencies[find_bucket(us)]++;
}

/*
 * The time within which so many percent of the round trips were answered, in
 * milliseconds, as if those of a bucket were spread evenly over it; NaN: none was.
 */
double
cg_redis_percentile_ms(const RedisNodeStat *stat, double percentile)
{
	int64 total = 0;
	double rest;

	for (int i = 0; i < REDIS_LATENCY_BUCKETS; i++)
		total += stat->latencies[i];
	if (total == 0)
		return get_float8_nan();

	rest = total * percentile / 100.0;
	for (int i = 0; i < REDIS_LATENCY_BUCKETS; i++)
	{
		double begin = bucket_begin(i);
		int64 count = stat->latencies[i];

		if (count > 0 && rest <= count)
			return (begin + (bucket_begin(i + 1) - begin) * rest / count) / 1000.0;
		rest -= count;
	}
	return bucket_begin(REDIS_LATENCY_BUCKETS) / 1000.0;
}

/*
 * What has been counted of a node of the map, numbered as by cg_redis_node_name,
 * since this was asked last; the counts begin at zero again.  Touches no network.
 */
void
cg_redis_take_stat(RedisGrid *grid, int number, RedisNodeStat *stat)
{
	RedisNode *node = cg_redis_get_node(grid, number);

	*stat = node->stat;
	memset(&node->stat, 0, sizeof(RedisNodeStat));
	if (number >= list_length(grid->masters))
		stat->role = REDIS_ROLE_REPLICA;
	else
		stat->role =
			grid->mode == REDIS_MODE_SINGLE ? REDIS_ROLE_SINGLE : REDIS_ROLE_MASTER;
	stat->connected = node->connection && node->fenced;
	for (int slot = 0; slot < REDIS_SLOT_COUNT; slot++)
	{
		RedisNode *owner = grid->slots[slot];

		stat->slots += stat->role == REDIS_ROLE_REPLICA
						   ? owner && list_member_ptr(owner->replicas, node)
						   : owner == node;
	}
}
