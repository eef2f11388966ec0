/*-------------------------------------------------------------------------
 *
 * redis.h
 *	  Client of a Redis Cluster, or of a single Redis server.
 *
 * A grid is one client's view of the cluster: its seeds, its map of hash slots
 * and one connection per master.  Commands are queued, grouped by the node that
 * owns the key's slot, sent in pipelines and answered through callbacks:
 *
 *		grid = cg_redis_open(CurrentMemoryContext, &options);
 *		if (!cg_redis_connect(grid))		before each batch; cheap when all is well
 *			... look at cg_redis_error(grid), back off ...
 *		cg_redis_queue_set(grid, key, value, ttl_ms, handler);
 *		...
 *		if (!cg_redis_drain(grid))			every command has had its callback now
 *			... some had trouble: back off before sending those again ...
 *
 * Trouble with Redis is never raised: it is an outcome of the commands it hit,
 * a false result, and a RedisError to be shown or raised by cg_redis_report.
 * Raised are only interrupts, want of memory and what a callback raises; after
 * that the grid is fit for nothing but cg_redis_close or the end of its memory
 * context, both of which close all sockets.
 *
 * Waiting is done on MyLatch and the sockets, in the wait events
 * CachegridRedisConnect, CachegridRedisReply and, for a replica to catch up,
 * CachegridRedisReplica; never longer than cachegrid.redis_connect_timeout for a
 * connection and cachegrid.redis_timeout without a byte from a node that owes one.
 * (Only the lookup of a host name is the system's, as in libpq.)  MyLatch is left set
 * if somebody set it meanwhile.
 *
 * The caller keeps at most one command per key in flight: one that is redirected
 * may be overtaken by a later one for the same key.
 *
 * A reader is a grid that looks and decides nothing: if its options say so, it has
 * GET, HGETALL and scans answered by replicas; see replica.c.  Every other grid
 * asks masters only, whatever the options say.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_REDIS_H
#define CACHEGRID_REDIS_H

#include "redis/result.h"
#include "redis/stat.h"

typedef struct RedisGrid RedisGrid;
typedef struct RedisScan RedisScan;

/* Bytes without a terminator; they belong to whoever made them. */
typedef struct RedisString
{
	const char *data;
	Size size;
} RedisString;

typedef enum RedisMode
{
	REDIS_MODE_CLUSTER,
	REDIS_MODE_SINGLE
} RedisMode;

/* Whom a reader asks for keys. */
typedef enum RedisReadFrom
{
	REDIS_READ_MASTER,
	REDIS_READ_REPLICA
} RedisReadFrom;

/* How connections are encrypted; see tls.c.  Files are named by their paths. */
typedef struct RedisTlsOptions
{
	bool on;
	const char *ca;			 /* file of authorities; NULL: the system's */
	const char *server_name; /* of every node, in its certificate; NULL: its host */
	const char *certificate; /* file of ours, with its chain; NULL: none */
	const char *key;		 /* file; NULL: none, as certificate */
	const char *key_password;
} RedisTlsOptions;

/* Zeroed, it says mode 'cluster', read_from 'master' and nothing else. */
typedef struct RedisOptions
{
	RedisMode mode;
	RedisReadFrom read_from;
	const char *endpoints; /* "host:port,[ipv6]:port,host"; port 6379 if not given */
	const char *username;  /* NULL: AUTH with the password only */
	const char *password;  /* NULL: a user without one; both NULL: no AUTH */
	RedisTlsOptions tls;

	/*
	 * The name that this writer's connections carry, printable ASCII without
	 * spaces.  Who connects to a node under a name ends all other connections of
	 * that name on that node before it sends anything else, so that no forgotten
	 * bytes of a predecessor are carried out after ours.  NULL: no name, ends
	 * nobody; for visitors that only look.
	 */
	const char *name;
} RedisOptions;

/* Where an option may stand in SQL. */
typedef enum RedisOptionPlace
{
	REDIS_OPTION_SERVER,	  /* mode, endpoints, read_from, tls, tls_ca, ... */
	REDIS_OPTION_USER_MAPPING /* username, password, tls_certificate, tls_key, ... */
} RedisOptionPlace;

typedef enum RedisScanState
{
	REDIS_SCAN_KEYS,   /* here are keys, perhaps none; call again */
	REDIS_SCAN_END,	   /* all masters, or their replicas, are through */
	REDIS_SCAN_BROKEN, /* nodes changed meanwhile, keys may be missing: begin anew */
	REDIS_SCAN_FAILED, /* see cg_redis_error: begin anew later */
} RedisScanState;

/*
 * Functions in options.c
 *
 * set_option takes one option of CREATE SERVER or CREATE USER MAPPING; false:
 * no such option in that place; raises on a bad value.  Strings are not copied.
 * names_file tells whether an option's value is the path of a file.
 * check_options raises if those of a server do not go together; open does too.
 * check_declaration raises if those of one place, as they are declared, do not, or if
 * this library cannot do what they say.
 */
extern bool cg_redis_set_option(RedisOptions *options, RedisOptionPlace place,
								const char *name, const char *value);
extern bool cg_redis_names_file(const char *name);
extern void cg_redis_check_options(const RedisOptions *options);
extern void cg_redis_check_declaration(const RedisOptions *options,
									   RedisOptionPlace place);

/*
 * Functions in grid.c
 *
 * open copies the options into a context below parent and touches no network; of a
 * reader, too.  connect refreshes a stale map and connects, and fences, every master
 * that is not, if it is time to try; true if one can take commands.  If replicas are
 * read, they are connected as well, and it is true only if each master has one that
 * has all that the master had by then.  A node is a master of the present map; the
 * numbers behind theirs, replica_count of them, are the replicas that are read.
 */
extern RedisGrid *cg_redis_open(MemoryContext parent, const RedisOptions *options);
extern RedisGrid *cg_redis_open_reader(MemoryContext parent, const RedisOptions *options);
extern bool cg_redis_connect(RedisGrid *grid);
extern int64 cg_redis_wait_ms(RedisGrid *grid);
extern uint64 cg_redis_connections(const RedisGrid *grid);
extern void cg_redis_close(RedisGrid *grid);
extern bool cg_redis_reads_replicas(const RedisGrid *grid);
extern int cg_redis_node_count(const RedisGrid *grid);
extern int cg_redis_replica_count(const RedisGrid *grid);
extern const char *cg_redis_node_name(const RedisGrid *grid, int node);

/*
 * Functions in command.c
 *
 * queue copies the bytes; ttl_ms 0: forever.  queue and call take a whole command,
 * its name first, and send it where key belongs.  call waits for the answer, with
 * nothing queued; NULL: see cg_redis_error; an error reply is an answer, told
 * by cg_redis_error too.
 */
extern void cg_redis_queue_set(RedisGrid *grid, RedisString key, RedisString value,
							   int64 ttl_ms, RedisHandler handler);
extern void cg_redis_queue_delete(RedisGrid *grid, RedisString key, RedisHandler handler);
extern void cg_redis_queue_get(RedisGrid *grid, RedisString key, RedisHandler handler);
extern void cg_redis_queue_hash(RedisGrid *grid, RedisString key, int count,
								const RedisString *fields, bool anew, int64 ttl_ms,
								RedisHandler handler);
extern void cg_redis_queue_get_hash(RedisGrid *grid, RedisString key,
									RedisHandler handler);
extern void cg_redis_queue(RedisGrid *grid, RedisString key, int count,
						   const RedisString *arguments, RedisHandler handler);
extern const RedisReply *cg_redis_call(RedisGrid *grid, RedisString key, int count,
									   const RedisString *arguments);
extern const RedisReply *cg_redis_call_node(RedisGrid *grid, int node, int count,
											const RedisString *arguments);

/* Functions in pipeline.c: drain is false if a node had trouble, not just moved. */
extern bool cg_redis_drain(RedisGrid *grid);

/* Functions in scan.c: keys that begin with prefix; they live until the next call. */
extern RedisScan *cg_redis_scan_begin(RedisGrid *grid, RedisString prefix);
extern RedisScanState cg_redis_scan_next(RedisScan *scan, RedisString **keys, int *count);
extern void cg_redis_scan_end(RedisScan *scan);

/* Functions in failure.c: the last trouble, NULL if there was none since connect. */
extern const RedisError *cg_redis_error(const RedisGrid *grid);
extern void cg_redis_report(const RedisGrid *grid, int elevel);

/* Functions in stat.c: percentile of the round trips in ms, 0 to 100; NaN: none. */
extern void cg_redis_take_stat(RedisGrid *grid, int number, RedisNodeStat *stat);
extern double cg_redis_percentile_ms(const RedisNodeStat *stat, double percentile);

#endif /* CACHEGRID_REDIS_H */
