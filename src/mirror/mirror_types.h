/*-------------------------------------------------------------------------
 *
 * mirror_types.h
 *	  What this floor works on, all of it backend-local.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_MIRROR_TYPES_H
#define CACHEGRID_MIRROR_TYPES_H

#include "capture/capture.h"
#include "outbox/outbox.h"
#include "redis/redis.h"

typedef enum MirrorMode
{
	MIRROR_WRITE_BEHIND,
	MIRROR_INVALIDATE /* keys are removed, not written */
} MirrorMode;

/* A row of cachegrid.mirrors; everything in one memory context. */
typedef struct MirrorDefinition
{
	int32 id;
	Oid relation; /* may be gone */
	char *server;
	Oid owner;	  /* whose user mapping is used */
	char *key;	  /* template as a trigger's argument */
	char *prefix; /* of its keys, which nobody else may use */
	MirrorMode mode;
	List *columns; /* of char *, NIL: all */
	int64 ttl_ms;  /* 0: none */
	bool dropped;  /* by unmirror: its keys are still to be removed */
} MirrorDefinition;

/* How far a sweep is.  Backend-local; on disk in cachegrid.mirror_progress. */
typedef enum SweepPhase
{
	SWEEP_DONE,
	SWEEP_SCAN, /* through Redis, for keys whose rows are gone */
	SWEEP_WALK	/* through the table, in the order of its index */
} SweepPhase;

/* A mirror as the worker knows it. */
typedef struct MirrorState
{
	MirrorDefinition *definition;
	SweepPhase phase;
	char *last; /* key that the walk has come to, as in a record; NULL: none */
	Size last_size;
	RedisScan *scan;   /* of SWEEP_SCAN, NULL: not begun */
	bool unsaved;	   /* phase and last differ from what is on disk */
	bool started;	   /* the walk, in this process */
	bool listed;	   /* in the catalog when it was last read */
	bool has_parked;   /* keys in cachegrid.mirror_parked */
	bool gone;		   /* the table or the mirror is: remove the keys, then the row */
	char *broken;	   /* why it cannot be worked on until the next reload, or NULL */
	char *reported;	   /* the last such reason that was logged, or NULL */
	const char *shown; /* state that stat_mirror shows */
} MirrorState;

/* A touched key on its way, see batch.c. */
typedef enum TouchState
{
	TOUCH_PENDING, /* to be sent, perhaps again */
	TOUCH_SENT,	   /* in flight */
	TOUCH_DONE,
	TOUCH_SKIPPED, /* nothing to send */
	TOUCH_REFUSED  /* see reason */
} TouchState;

typedef struct MirrorTouch
{
	const char *key; /* columns as in a record */
	char *reason;	 /* REFUSED: why; palloc'd in the batch's context */
	uint32 hash;
	int32 mirror;
	ItemPointerData tid; /* hint, or invalid */
	uint16 key_size;
	uint16 retries;
	uint8 state;	  /* TouchState */
	bool only_delete; /* set no row, but delete the key if there is none */
	bool refused_by_redis;
} MirrorTouch;

typedef struct MirrorBatch
{
	MemoryContext context;
	MirrorTouch *touches;
	int count;
	int limit;		 /* of touches */
	uint32 *buckets; /* index + 1 into touches, 0: free */
	uint32 mask;
} MirrorBatch;

typedef struct RowEncoder RowEncoder;

/* Whose a prefix in Redis is. */
typedef struct MirrorOwnership
{
	bool claim; /* take it if it is nobody's */
	bool found; /* somebody had it */
	bool mine;	/* it is ours, or was nobody's */
} MirrorOwnership;

/*
 * A server as one role reaches it, and the mirrors there: what has its own
 * connections and its own position in the outbox.  The worker's.
 */
typedef struct MirrorChannel
{
	MemoryContext context;
	char *server;
	Oid owner;
	List *mirrors;		   /* of MirrorState * */
	RedisGrid *grid;	   /* NULL: not open */
	uint64 server_version; /* of the options that the grid was opened with */
	MirrorBatch *batch;
	OutboxPosition *position; /* read and applied up to here; NULL: not loaded */
	OutboxPosition *saved;	  /* the same, as it is on disk */
	bool unsaved;			  /* there were rows since then */
	TimestampTz saved_at;
	char *nodes; /* which Redis processes were there last, NULL: not known */
	TimestampTz checked_at;
	TimestampTz published_at; /* its nodes, for stat_redis */
	TimestampTz retry_at;	  /* 0: no trouble */
	int failures;			  /* in a row */
} MirrorChannel;

/* A mirrored table, opened for one transaction and one snapshot. */
typedef struct MirrorTable
{
	const MirrorDefinition *definition;
	Relation relation;
	BlockNumber blocks; /* when its lock was taken */
	CaptureTemplate *template;
	int key_count; /* the template's columns, each once */
	AttrNumber key_attnums[CG_OUTBOX_MAX_COLUMNS];
	Relation index;						   /* NULL in mode invalidate */
	int index_count;					   /* its key columns ... */
	int index_keys[CG_OUTBOX_MAX_COLUMNS]; /* ... as indexes into key_attnums */
	struct ScanKeyData *lookup_keys;	   /* index_count of them */
	struct IndexScanDescData *lookup;	   /* NULL until first used */
	Snapshot snapshot;
	TupleTableSlot *slot;
	RowEncoder *encoder;
} MirrorTable;

#endif /* CACHEGRID_MIRROR_TYPES_H */
