/*-------------------------------------------------------------------------
 *
 * grid.c
 *	  Opens, connects and closes a grid.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "redis/redis_internal.h"

/* Gives back what memory contexts do not: sockets, hiredis's memory, the wait set. */
static void
release_grid(void *argument)
{
	RedisGrid *grid = argument;
	dlist_iter iter;

	cg_redis_forget_wait_set(grid);
	dlist_foreach(iter, &grid->nodes)
	{
		cg_redis_unlink_node(dlist_container(RedisNode, link, iter.cur));
	}
}

static char *
copy_option(const char *value)
{
	return value ? pstrdup(value) : NULL;
}

static void
copy_tls(RedisTlsOptions *to, const RedisTlsOptions *from)
{
	to->on = from->on;
	to->ca = copy_option(from->ca);
	to->server_name = copy_option(from->server_name);
	to->certificate = copy_option(from->certificate);
	to->key = copy_option(from->key);
	to->key_password = copy_option(from->key_password);
}

static void
check_name(const char *name)
{
	for (const char *c = name; *c; c++)
	{
		if (*c <= ' ' || *c > '~')
			elog(ERROR, "invalid name of a Redis connection: \"%s\"", name);
	}
}

static RedisGrid *
open_grid(MemoryContext parent, const RedisOptions *options, RedisReadFrom read_from)
{
	MemoryContext context;
	MemoryContext old;
	RedisGrid *grid;

	cg_redis_check_options(options);
	if (options->name)
		check_name(options->name);
	context = AllocSetContextCreate(parent, "Redis client", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	grid = palloc0(sizeof(RedisGrid));
	grid->context = context;
	grid->mode = options->mode;
	grid->read_from = read_from;
	grid->username = copy_option(options->username);
	grid->password = copy_option(options->password);
	copy_tls(&grid->tls, &options->tls);
	grid->name = copy_option(options->name);
	grid->seeds = cg_redis_parse_endpoints(options->endpoints);
	dlist_init(&grid->nodes);
	slist_init(&grid->spare);
	initStringInfo(&grid->scratch);
	grid->round_context =
		AllocSetContextCreate(context, "Redis client round", ALLOCSET_DEFAULT_SIZES);
	grid->on_reset.func = release_grid;
	grid->on_reset.arg = grid;
	MemoryContextRegisterResetCallback(context, &grid->on_reset);
	MemoryContextSwitchTo(old);
	return grid;
}

/*
 * A client for the options, in a context below parent, which owns all of it.
 * Touches no network.  Raises an error if the options do not describe a server.
 * It asks masters only: who writes decides by what he reads.
 */
RedisGrid *
cg_redis_open(MemoryContext parent, const RedisOptions *options)
{
	return open_grid(parent, options, REDIS_READ_MASTER);
}

/* The same for who only looks: keys are read from where the options say. */
RedisGrid *
cg_redis_open_reader(MemoryContext parent, const RedisOptions *options)
{
	return open_grid(parent, options, options->read_from);
}

/* Closes all sockets and frees the grid.  Commands in flight get no callback. */
void
cg_redis_close(RedisGrid *grid)
{
	MemoryContextDelete(grid->context);
}

/* Closes connections that ended while they were idle. */
static void
drop_dead_connections(RedisGrid *grid)
{
	dlist_iter iter;

	dlist_foreach(iter, &grid->nodes)
	{
		RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		if (node->connection && !cg_redis_node_is_alive(node))
		{
			cg_redis_unlink_node(node);
			grid->map_stale = true;
		}
	}
}

/* Prepares the masters, those that are down only if it is time; how many are ready? */
static int
prepare_masters(RedisGrid *grid)
{
	int ready = 0;
	ListCell *cell;

	foreach (cell, grid->masters)
		ready += cg_redis_prepare_node(lfirst(cell));
	return ready;
}

/* The masters, and the replicas that are to be read. */
static bool
prepare_nodes(RedisGrid *grid)
{
	return prepare_masters(grid) > 0 &&
		   (grid->read_from == REDIS_READ_MASTER || cg_redis_prepare_replicas(grid));
}

/*
 * Makes the grid ready for commands; to be called before each batch, with none in
 * flight, since it is cheap when all is well.  Asks for the map if there is none or
 * it is stale, connects to each master that is not connected, and fences it.  True
 * if at least one master can take commands; cg_redis_error says what is wrong with
 * others.  False: none can; cg_redis_wait_ms says when that may change.
 *
 * Where replicas are read, also waits until they have what their masters have now;
 * then false means that a master has none that can be read.
 */
bool
cg_redis_connect(RedisGrid *grid)
{
	bool ready;

	Assert(grid->unanswered == 0);
	cg_redis_clear_error(grid);
	drop_dead_connections(grid);
	ready = ((grid->slots && !grid->map_stale) || cg_redis_refresh_map(grid)) &&
			prepare_nodes(grid);
	grid->trouble = false;
	cg_redis_return_latch(grid);
	return ready;
}

/*
 * So many milliseconds it is of no use to connect, since every node that is known
 * is down and left alone for so long at least; 0: it is.
 */
int64
cg_redis_wait_ms(RedisGrid *grid)
{
	int64 now = cg_redis_now();
	int64 wait_ms = PG_INT64_MAX;
	dlist_iter iter;

	dlist_foreach(iter, &grid->nodes)
	{
		const RedisNode *node = dlist_container(RedisNode, link, iter.cur);

		wait_ms = Min(wait_ms, node->down ? Max(node->retry_at - now, 0) : 0);
	}
	return wait_ms == PG_INT64_MAX ? 0 : wait_ms;
}

/* The number of connections made so far: it moves when a node may be another one. */
uint64
cg_redis_connections(const RedisGrid *grid)
{
	return grid->connections;
}

/* Whether keys are asked of replicas. */
bool
cg_redis_reads_replicas(const RedisGrid *grid)
{
	return grid->read_from == REDIS_READ_REPLICA;
}

/* The number of masters in the present map. */
int
cg_redis_node_count(const RedisGrid *grid)
{
	return list_length(grid->masters);
}

/* The number of replicas in the present map that are read; 0 if masters are. */
int
cg_redis_replica_count(const RedisGrid *grid)
{
	return list_length(grid->replicas);
}

/* A master, or behind the masters, a replica. */
RedisNode *
cg_redis_get_node(const RedisGrid *grid, int number)
{
	int masters = list_length(grid->masters);

	return number < masters ? list_nth(grid->masters, number)
							: list_nth(grid->replicas, number - masters);
}

/*
 * The host:port of a master, 0 to cg_redis_node_count - 1, or of a replica, whose
 * numbers are those behind them, until the map changes.
 */
const char *
cg_redis_node_name(const RedisGrid *grid, int node)
{
	return cg_redis_get_node(grid, node)->name;
}
