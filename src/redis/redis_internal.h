/*-------------------------------------------------------------------------
 *
 * redis_internal.h
 *	  What the files of the Redis client share and nobody else sees.
 *
 * All of it is memory of one process, in the grid's context; what hiredis and
 * the system hand out (links, sockets, a wait set) is given back by the reset
 * callback of that context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_REDIS_INTERNAL_H
#define CACHEGRID_REDIS_INTERNAL_H

#include <hiredis/hiredis.h>

#include "base/compat.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "redis/redis.h"

#define REDIS_SLOT_COUNT 16384

/* Commands go out in chunks of this many, or of this many bytes. */
#define REDIS_CHUNK_COMMANDS 512
#define REDIS_CHUNK_BYTES	 (256 * 1024)

/* So many chunks of a node may wait for replies; one more is being filled. */
#define REDIS_CHUNKS_IN_FLIGHT 2

/* What Redis takes as a whole and in a part, unless it is configured otherwise. */
#define REDIS_MAX_COMMAND_BYTES (512 * 1024 * 1024)

typedef struct RedisEndpoint
{
	char *host; /* name, IPv4, or IPv6 without brackets */
	int port;
} RedisEndpoint;

/* A command between queue and callback, or several that are carried out as one. */
typedef struct RedisCommand
{
	RedisHandler handler; /* no callback: our own ASKING */
	int begin;			  /* its bytes in the chunk, kept for an ASK */
	int end;
	uint16 slot;
	uint8 replies; /* that it has: over 1, from MULTI to EXEC */
	uint8 kinds;   /* of a single reply, bits 1 << RedisReplyKind; errors go without */
	bool asked;	   /* sent because of an ASK: not followed again */
} RedisCommand;

/* Commands formatted one behind the other; answered in the same order. */
typedef struct RedisChunk
{
	slist_node link;
	StringInfoData bytes;
	int sent;	   /* bytes handed to hiredis */
	int64 sent_us; /* when the first of them were */
	int count;
	int answered;
	RedisCommand commands[REDIS_CHUNK_COMMANDS];
} RedisChunk;

typedef struct RedisNode
{
	dlist_node link;
	RedisGrid *grid;
	char *host;
	int port;
	char *name; /* as in messages: host:port */

	redisContext *connection; /* NULL: not connected */
	uint32 connections;		  /* made so far */
	bool fenced;			  /* predecessors on this node are gone */
	bool in_map;			  /* owns slots of the present map */
	bool is_replica;		  /* of one that does; only known to readers of replicas */
	bool caught_up;			  /* had, when last asked, what its master had by then */
	List *replicas;			  /* of an owner: RedisNode, as the last map had them */
	bool down;				  /* commands are not even queued for it */
	int64 attempt_at;		  /* when the attempt to connect began; 0: none is made */
	int64 retry_at;			  /* if down: not tried again before */
	int backoff;			  /* ms, grows with each failure, until a reply */
	char reason[REDIS_REASON_BYTES]; /* why it is down */

	slist_head chunks; /* oldest first; the last one is being filled */
	RedisChunk *last;
	int chunk_count;
	int64 progress; /* when bytes last moved, or the node began to owe */
	int parts;		/* replies of the oldest command that are in, not all of them */
	char part_error[REDIS_REASON_BYTES]; /* the first of them that was one, or "" */

	MemoryContext replies; /* the reply being parsed or looked at */
	int wait_position;	   /* in the grid's wait set */
	int wait_events;	   /* what it waits for there */
	bool readable;		   /* found by the last wait */
	RedisNodeStat stat;	   /* counts since it was taken */
} RedisNode;

struct RedisGrid
{
	MemoryContext context;
	MemoryContextCallback on_reset;
	RedisMode mode;
	RedisReadFrom read_from;
	char *username;
	char *password;
	RedisTlsOptions tls;
	char *name;
	List *seeds; /* of RedisEndpoint */

	dlist_head nodes;	/* every RedisNode */
	RedisNode **slots;	/* owner by slot, NULL: unserved; NULL before the first map */
	List *masters;		/* of RedisNode: the owners, each once */
	List *replicas;		/* of RedisNode: those that are read, each once */
	uint32 map_version; /* moves when an owner changes, or a replica is gone */
	bool map_stale;
	RedisNode *map_witness; /* whom a MOVED named: asked first */
	RedisNode **moves;		/* by slot, whom a MOVED named since the map; or NULL */

	uint64 connections; /* made so far, to whomever */

	int unanswered;	  /* commands whose callback is still to come */
	slist_head spare; /* chunks to use again */
	StringInfoData scratch;
	bool moved;		  /* a MOVED since the last drain ended */
	int moved_drains; /* drains in a row that saw one */

	WaitEventSet *wait_set; /* of the drain; NULL: to be made */
	bool latch_was_set;		/* by somebody else, while we waited */

	MemoryContext round_context; /* errors and odds and ends since cg_redis_connect */
	bool failed;				 /* error says what is wrong */
	bool trouble;				 /* since the last drain ended */
	RedisError error;
};

/* What is said where the library was built without TLS. */
#define REDIS_NO_TLS "TLS connections to Redis are not supported by this build"
#define REDIS_NO_TLS_DETAIL \
	"The library was built with a hiredis that has no TLS, or without OpenSSL."
#define REDIS_NO_TLS_HINT                                                           \
	"Build it with hiredis 1.0 or later and OpenSSL, or use a tunnel or a network " \
	"that you trust."

/* What an error reply asks for. */
typedef enum RedisErrorKind
{
	REDIS_ERROR_MOVED,
	REDIS_ERROR_ASK,
	REDIS_ERROR_TROUBLE, /* with the node or the cluster: passes, or is to be mended */
	REDIS_ERROR_COMMAND	 /* with this command alone */
} RedisErrorKind;

/* Functions in command.c */
extern void cg_redis_append_command(StringInfo bytes, int count,
									const RedisString *arguments);

/* Functions in connection.c */
extern bool cg_redis_link_node(RedisNode *node);
extern bool cg_redis_prepare_node(RedisNode *node);
extern bool cg_redis_node_is_alive(const RedisNode *node);
extern void cg_redis_unlink_node(RedisNode *node);
extern void cg_redis_mark_down(RedisNode *node);
extern bool cg_redis_may_retry(const RedisNode *node);

/* Functions in exchange.c */
extern const RedisReply *cg_redis_ask(RedisNode *node, int count,
									  const RedisString *arguments);
extern const RedisReply *cg_redis_ask_words(RedisNode *node, int count, ...);
extern bool cg_redis_read_bytes(RedisNode *node);
extern bool cg_redis_next_reply(RedisNode *node, RedisReply **reply);
extern bool cg_redis_write_bytes(RedisNode *node, bool *all);

/* Functions in failure.c */
extern void cg_redis_fail(RedisGrid *grid, int sqlstate, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
extern void cg_redis_fail_detail(RedisGrid *grid, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
extern void cg_redis_fail_hint(RedisGrid *grid, const char *hint);
extern void cg_redis_fail_reply(RedisNode *node, const RedisReply *error);
extern void cg_redis_fail_nonsense(RedisNode *node, const char *what);
extern void cg_redis_clear_error(RedisGrid *grid);
extern RedisErrorKind cg_redis_classify_error(const RedisReply *error);
extern void cg_redis_copy_reason(const RedisGrid *grid, const char *text, char *reason);

/* Functions in fence.c */
extern bool cg_redis_fence_node(RedisNode *node);

/* Functions in grid.c */
extern RedisNode *cg_redis_get_node(const RedisGrid *grid, int number);

/* Functions in keyslot.c */
extern uint16 cg_redis_key_slot(RedisString key);

/* Functions in map.c */
extern bool cg_redis_is_host(const char *host);
extern RedisNode *cg_redis_find_target(RedisNode *asked, const RedisReply *redirect);
extern bool cg_redis_read_map(RedisNode *source, const RedisReply *map,
							  RedisNode **slots);
extern int cg_redis_count_served(RedisNode *const *slots);

/* Functions in options.c */
extern List *cg_redis_parse_endpoints(const char *text);

/* Functions in pipeline.c */
extern RedisChunk *cg_redis_find_room(RedisNode *node);
extern void cg_redis_end_command(RedisNode *node, RedisChunk *chunk,
								 RedisCommand command);
extern bool cg_redis_has_unsent(const RedisNode *node);

/* Functions in replica.c */
extern bool cg_redis_allow_replica(RedisNode *node);
extern void cg_redis_set_replicas(RedisNode *master, List *replicas);
extern bool cg_redis_ask_replicas(RedisNode *master);
extern bool cg_redis_prepare_replicas(RedisGrid *grid);
extern RedisNode *cg_redis_find_replica(RedisNode *master, int number);

/* Functions in reply.c */
extern void cg_redis_parse_into(redisReader *reader, MemoryContext context);

/* Functions in stat.c */
extern void cg_redis_count_error(RedisNode *node, const char *text);
extern void cg_redis_count_round_trip(RedisNode *node, int64 sent_us);

/* Functions in tls.c */
extern bool cg_redis_has_tls(void);
extern bool cg_redis_start_tls(RedisNode *node, int64 deadline);
extern void cg_redis_forget_tls_errors(void);
extern const char *cg_redis_tls_reason(void);

/* Functions in topology.c */
extern bool cg_redis_refresh_map(RedisGrid *grid);
extern RedisNode *cg_redis_find_node(RedisGrid *grid, const char *host, int port);
extern void cg_redis_note_move(RedisNode *asked, const RedisReply *moved);

/* Functions in wait.c */
extern int64 cg_redis_now(void);
extern int64 cg_redis_now_us(void);
extern uint32 cg_redis_connect_event(void);
extern uint32 cg_redis_reply_event(void);
extern uint32 cg_redis_replica_event(void);
extern bool cg_redis_wait_socket(RedisGrid *grid, pgsocket socket, int events,
								 int64 deadline, uint32 wait_event);
extern void cg_redis_rest(RedisGrid *grid, int milliseconds, uint32 wait_event);
extern void cg_redis_wait_nodes(RedisGrid *grid, int64 deadline);
extern void cg_redis_forget_wait_set(RedisGrid *grid);
extern void cg_redis_return_latch(RedisGrid *grid);

#endif /* CACHEGRID_REDIS_INTERNAL_H */
