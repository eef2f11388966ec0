/*-------------------------------------------------------------------------
 *
 * result.h
 *	  What comes back from Redis; part of the door redis/redis.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_RESULT_H
#define CACHEGRID_RESULT_H

typedef enum RedisReplyKind
{
	REDIS_NIL,
	REDIS_STRING,
	REDIS_STATUS, /* "+OK" and the like */
	REDIS_ERROR,  /* only in answers of cg_redis_call and cg_redis_call_node */
	REDIS_INTEGER,
	REDIS_ARRAY
} RedisReplyKind;

/* Memory of the grid, valid until the callback returns or the next call. */
typedef struct RedisReply
{
	RedisReplyKind kind;
	int64 integer;				  /* INTEGER */
	Size size;					  /* STRING, STATUS, ERROR: bytes in data */
	char *data;					  /* the same: with a terminator behind it */
	int element_count;			  /* ARRAY */
	struct RedisReply **elements; /* ARRAY */
} RedisReply;

/*
 * MOVED, TRYAGAIN, CLUSTERDOWN, LOADING, MASTERDOWN, READONLY, OOM, a slot that
 * no node serves, a lost or silent connection: RETRY.  WRONGTYPE, NOPERM, a
 * value over 512 MB and all other errors of a single command: REFUSED.
 */
typedef enum RedisOutcome
{
	REDIS_DONE,	   /* the node answered: see reply */
	REDIS_RETRY,   /* perhaps not carried out: read the row again, send again */
	REDIS_REFUSED, /* would be refused again: see reason */
} RedisOutcome;

typedef struct RedisResult
{
	RedisOutcome outcome;
	const RedisReply *reply; /* DONE only, else NULL */
	const char *reason;		 /* RETRY, REFUSED: printable ASCII, else NULL */
} RedisResult;

/*
 * Called exactly once for each queued command, from any function of the door
 * that takes the grid, at the latest from cg_redis_drain.  Must not call one
 * itself.
 */
typedef struct RedisHandler
{
	void (*callback)(const RedisResult *result, void *user_data);
	void *user_data;
} RedisHandler;

/* What is wrong with the grid or one of its nodes.  Never shows a secret. */
typedef struct RedisError
{
	int sqlstate;
	const char *message; /* not NULL */
	const char *detail;	 /* or NULL */
	const char *hint;	 /* or NULL */
} RedisError;

#endif /* CACHEGRID_RESULT_H */
