/*-------------------------------------------------------------------------
 *
 * stat.h
 *	  What a grid has seen of a node; part of the door redis/redis.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_STAT_H
#define CACHEGRID_STAT_H

/* What is kept of a server's text. */
#define REDIS_REASON_BYTES 256

/*
 * Round trips by how long they took, in microseconds: 0, 1, 2, 3, and from there on
 * four buckets from each power of two to the next, so that none is wider than a
 * quarter of where it begins.  The last one, from four minutes on, has no end.
 */
#define REDIS_LATENCY_BUCKETS 112

/* What a node is in the present map. */
typedef enum RedisRole
{
	REDIS_ROLE_MASTER,
	REDIS_ROLE_SINGLE, /* the master of mode 'single' */
	REDIS_ROLE_REPLICA /* that a reader asks */
} RedisRole;

/* Memory of the process; the counts are those since they were taken last. */
typedef struct RedisNodeStat
{
	RedisRole role;
	bool connected;		 /* and ready for commands */
	int slots;			 /* that it, or a replica's master, owns in the present map */
	int64 commands;		 /* for it, the client's own included */
	int64 errors;		 /* error replies but redirections; connections lost, not made */
	int64 retries;		 /* commands redirected, or to be sent again */
	int64 redirects;	 /* MOVED and ASK */
	int64 connects;		 /* connections made */
	int64 round_trips;	 /* of a chunk of a pipeline, or of one command */
	int64 round_trip_us; /* their sum, in microseconds */
	int64 latencies[REDIS_LATENCY_BUCKETS]; /* round trips in each bucket */
	int64 bytes_sent;
	char last_error[REDIS_REASON_BYTES]; /* of these errors, "": none */
} RedisNodeStat;

#endif /* CACHEGRID_STAT_H */
