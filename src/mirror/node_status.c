/*-------------------------------------------------------------------------
 *
 * node_status.c
 *	  What the worker shows of the Redis nodes that it talks to, and verify() of
 *	  the replicas that it reads, in shared memory.
 *
 * The grid counts for itself; what it has counted is added here about once a
 * second, after trouble, and before the grid is closed.  A node is shown as
 * long as it is in the map.  While the grid knows no map, because nobody
 * answers, the nodes of the last one stay, as not connected.
 *
 * Replicas are the sessions': each adds what it has counted when its verify() ends,
 * however it does, and takes away those that are none any more.  The worker leaves
 * them alone, but they go with its channel.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define MAX_NODES	   256
#define MAX_NODE_BYTES 128
#define STATUS_COLUMNS 19

/* One node as one channel sees it.  In shared memory; copies are local. */
typedef struct NodeStatus
{
	Oid database; /* InvalidOid: free */
	Oid owner;	  /* these three name it: of the channel */
	char server[NAMEDATALEN];
	char node[MAX_NODE_BYTES]; /* host:port, perhaps cut */
	pid_t worker;			   /* who published last; of a replica, a session */
	uint32 round;			   /* of publishing that mentioned it */
	TimestampTz since;		   /* counts begin there */
	TimestampTz last_error_at; /* 0: none */
	RedisNodeStat stat;		   /* counts: since then */
} NodeStatus;

/* In shared memory. */
typedef struct NodeShared
{
	slock_t mutex; /* guards every field below */
	NodeStatus nodes[MAX_NODES];
} NodeShared;

static NodeShared *shared = NULL;

/* Of this process: counts what it published. */
static uint32 this_round = 0;

void
cg_mirror_node_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(NodeShared)));
}

void
cg_mirror_node_shmem_init(void)
{
	bool found;

	shared = ShmemInitStruct("cachegrid nodes", sizeof(NodeShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(NodeShared));
		SpinLockInit(&shared->mutex);
	}
}

static bool
is_of_server(const NodeStatus *status, const char *server, Oid owner)
{
	return status->database == MyDatabaseId && status->owner == owner &&
		   strcmp(status->server, server) == 0;
}

static bool
is_of_channel(const NodeStatus *status, const MirrorChannel *channel)
{
	return is_of_server(status, channel->server, channel->owner);
}

static bool
is_replica(const NodeStatus *status)
{
	return status->stat.role == REDIS_ROLE_REPLICA;
}

/* Did what this process publishes now mention it? */
static bool
is_mentioned(const NodeStatus *status)
{
	return status->worker == MyProcPid && status->round == this_round;
}

/* The entry of this node in this role, new or old; NULL if there is no room. */
static NodeStatus *
find_node_locked(const char *server, Oid owner, const char *node, RedisRole role)
{
	NodeStatus *room = NULL;

	for (int i = 0; i < MAX_NODES; i++)
	{
		NodeStatus *status = &shared->nodes[i];

		if (!OidIsValid(status->database))
			room = room ? room : status;
		else if (is_of_server(status, server, owner) &&
				 is_replica(status) == (role == REDIS_ROLE_REPLICA) &&
				 strcmp(status->node, node) == 0)
			return status;
	}
	if (room)
	{
		memset(room, 0, sizeof(NodeStatus));
		room->database = MyDatabaseId;
		room->owner = owner;
		strlcpy(room->server, server, NAMEDATALEN);
		strlcpy(room->node, node, MAX_NODE_BYTES);
	}
	return room;
}

static void
add_stat_locked(NodeStatus *status, const RedisNodeStat *stat, TimestampTz now)
{
	RedisNodeStat *sum = &status->stat;

	status->worker = MyProcPid;
	status->round = this_round;
	if (status->since == 0)
		status->since = now;
	sum->role = stat->role;
	sum->connected = stat->connected;
	sum->slots = stat->slots;
	sum->commands += stat->commands;
	sum->errors += stat->errors;
	sum->retries += stat->retries;
	sum->redirects += stat->redirects;
	sum->connects += stat->connects;
	sum->round_trips += stat->round_trips;
	sum->round_trip_us += stat->round_trip_us;
	for (int i = 0; i < REDIS_LATENCY_BUCKETS; i++)
		sum->latencies[i] += stat->latencies[i];
	sum->bytes_sent += stat->bytes_sent;
	if (stat->last_error[0])
	{
		strlcpy(sum->last_error, stat->last_error, sizeof(sum->last_error));
		status->last_error_at = now;
	}
}

/* Those that this round did not mention: gone, or, without a map, out of reach. */
static void
leave_others_locked(const MirrorChannel *channel, const char *error, TimestampTz now)
{
	bool has_map = cg_redis_node_count(channel->grid) > 0;

	for (int i = 0; i < MAX_NODES; i++)
	{
		NodeStatus *status = &shared->nodes[i];

		if (!is_of_channel(status, channel) || is_replica(status) || is_mentioned(status))
			continue;
		if (has_map)
			status->database = InvalidOid;
		else if (error)
		{
			status->stat.connected = false;
			status->stat.errors++;
			strlcpy(status->stat.last_error, error, sizeof(status->stat.last_error));
			status->last_error_at = now;
		}
	}
}

/* Add what the grid has counted of so many of its nodes. */
static void
add_nodes(const char *server, Oid owner, RedisGrid *grid, int first, int count,
		  TimestampTz now)
{
	for (int i = first; i < first + count; i++)
	{
		RedisNodeStat stat;
		char node[MAX_NODE_BYTES];
		NodeStatus *status;

		cg_redis_take_stat(grid, i, &stat);
		strlcpy(node, cg_redis_node_name(grid, i), sizeof(node));
		SpinLockAcquire(&shared->mutex);
		status = find_node_locked(server, owner, node, stat.role);
		if (status)
			add_stat_locked(status, &stat, now);
		SpinLockRelease(&shared->mutex);
	}
}

/*
 * Show what the channel's open grid has seen of its nodes.  error: why nobody
 * answers, if that is so, or NULL.
 */
void
cg_mirror_publish_nodes(MirrorChannel *channel, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();

	this_round++;
	add_nodes(channel->server, channel->owner, channel->grid, 0,
			  cg_redis_node_count(channel->grid), now);
	SpinLockAcquire(&shared->mutex);
	leave_others_locked(channel, error, now);
	SpinLockRelease(&shared->mutex);
	channel->published_at = cg_clock_ms();
}

/*
 * Show what a reader of this server has seen of its replicas.  Cannot fail, and may
 * be called after an error; does nothing if the grid reads none or has no map.
 */
void
cg_mirror_publish_replicas(const char *server, Oid owner, RedisGrid *grid)
{
	if (!cg_redis_reads_replicas(grid) || cg_redis_node_count(grid) == 0)
		return;
	this_round++;
	add_nodes(server, owner, grid, cg_redis_node_count(grid),
			  cg_redis_replica_count(grid), GetCurrentTimestamp());
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < MAX_NODES; i++)
	{
		NodeStatus *status = &shared->nodes[i];

		if (is_of_server(status, server, owner) && is_replica(status) &&
			!is_mentioned(status))
			status->database = InvalidOid;
	}
	SpinLockRelease(&shared->mutex);
}

/* The channel is no more. */
void
cg_mirror_forget_nodes(const MirrorChannel *channel)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < MAX_NODES; i++)
	{
		if (is_of_channel(&shared->nodes[i], channel))
			shared->nodes[i].database = InvalidOid;
	}
	SpinLockRelease(&shared->mutex);
}

/* The database, or its last mirror, is no more. */
void
cg_mirror_forget_database_nodes(Oid database)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < MAX_NODES; i++)
	{
		if (shared->nodes[i].database == database)
			shared->nodes[i].database = InvalidOid;
	}
	SpinLockRelease(&shared->mutex);
}

static void
put_node(const NodeStatus *status, Tuplestorestate *rows, TupleDesc desc)
{
	static const char *const roles[] = {"master", "single", "replica"};
	const RedisNodeStat *stat = &status->stat;
	Datum values[STATUS_COLUMNS];
	bool nulls[STATUS_COLUMNS] = {false};

	values[0] = CStringGetDatum(status->server);
	values[1] = CStringGetTextDatum(status->node);
	values[2] = CStringGetTextDatum(roles[stat->role]);
	values[3] = ObjectIdGetDatum(status->owner);
	values[4] = BoolGetDatum(stat->connected && cg_outbox_is_consumer(status->worker));
	nulls[4] = is_replica(status);
	values[5] = Int32GetDatum(stat->slots);
	values[6] = Int64GetDatum(stat->commands);
	values[7] = Int64GetDatum(stat->errors);
	values[8] = Int64GetDatum(stat->retries);
	values[9] = Int64GetDatum(stat->redirects);
	values[10] = Int64GetDatum(stat->connects);
	values[11] = Int64GetDatum(stat->round_trips);
	values[12] = Float8GetDatum(stat->round_trip_us / 1000.0 / Max(stat->round_trips, 1));
	values[13] = Float8GetDatum(cg_redis_percentile_ms(stat, 50));
	values[14] = Float8GetDatum(cg_redis_percentile_ms(stat, 99));
	nulls[12] = nulls[13] = nulls[14] = stat->round_trips == 0;
	values[15] = Int64GetDatum(stat->bytes_sent);
	nulls[16] = nulls[17] = status->last_error_at == 0;
	if (!nulls[16])
		values[16] = CStringGetTextDatum(stat->last_error);
	values[17] = TimestampTzGetDatum(status->last_error_at);
	values[18] = TimestampTzGetDatum(status->since);
	tuplestore_putvalues(rows, desc, values, nulls);
}

/*
 * Put the nodes that this database's worker and sessions talk to into rows: (server name,
 * node text, role text, owner oid, connected boolean, slots integer, commands
 * bigint, errors bigint, retries bigint, redirects bigint, connects bigint,
 * round_trips bigint, round_trip_ms double, round_trip_p50_ms double,
 * round_trip_p99_ms double, bytes_sent bigint, last_error text, last_error_at
 * timestamptz, since timestamptz).
 */
void
cg_mirror_node_statuses(Tuplestorestate *rows, TupleDesc desc)
{
	for (int i = 0; shared && i < MAX_NODES; i++)
	{
		NodeStatus status;

		SpinLockAcquire(&shared->mutex);
		status = shared->nodes[i];
		SpinLockRelease(&shared->mutex);
		if (status.database == MyDatabaseId)
			put_node(&status, rows, desc);
	}
}
