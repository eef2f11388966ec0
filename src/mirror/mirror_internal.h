/*-------------------------------------------------------------------------
 *
 * mirror_internal.h
 *	  What the files of this floor share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_MIRROR_INTERNAL_H
#define CACHEGRID_MIRROR_INTERNAL_H

#include "lib/stringinfo.h"

#include "capture/capture.h"
#include "mirror/mirror.h"
#include "outbox/outbox.h"
#include "redis/redis.h"

typedef enum MirrorMode
{
	MIRROR_WRITE_BEHIND,
	MIRROR_WRITE_THROUGH, /* as write-behind, and commits wait */
	MIRROR_INVALIDATE,	  /* keys are removed, not written */
	MIRROR_STREAM		  /* no mirror: events are published, see events.c */
} MirrorMode;

typedef enum MirrorFormat
{
	MIRROR_JSON,
	MIRROR_HASH
} MirrorFormat;

/*
 * A row of cachegrid.mirrors or cachegrid.event_streams; everything in one memory
 * context.
 */
typedef struct MirrorDefinition
{
	int32 id;
	Oid relation; /* may be gone */
	char *server;
	Oid owner;	  /* whose user mapping is used */
	char *key;	  /* template as a trigger's argument */
	char *prefix; /* of its keys, which nobody else may use */
	MirrorMode mode;
	bool strict;	   /* of write-through: keys are removed before the commit */
	bool degrades;	   /* of write-through: it goes on without Redis */
	List *columns;	   /* of char *, NIL: all */
	int64 ttl_ms;	   /* 0: none */
	double ttl_jitter; /* it is shortened by up to this part of it, at random */
	MirrorFormat format;
	char *transform; /* function that makes values of rows, or NULL */
	bool dropped;	 /* by unmirror: its keys are still to be removed */
	char *channel;	 /* of a stream: Redis's, that events go to; else NULL */
	bool sharded;	 /* by SPUBLISH */
} MirrorDefinition;

/* How far a sweep is.  Backend-local; on disk in cachegrid.mirror_progress. */
typedef enum SweepPhase
{
	SWEEP_DONE,
	SWEEP_SCAN, /* through Redis, for keys whose rows are gone */
	SWEEP_WALK	/* through the table, in the order of its index */
} SweepPhase;

/* What a sweep has done since the worker took it up. */
typedef struct SweepProgress
{
	const char *phase; /* a constant; NULL: there is no sweep */
	TimestampTz started;
	int64 keys;		  /* found in Redis */
	int64 rows;		  /* read from the table, and written */
	double row_total; /* estimate; below 0: not known */
} SweepProgress;

/* What it takes to make Redis keys of touches. */
typedef struct MirrorKeys
{
	TupleDesc desc;
	CaptureTemplate *template;
	int count; /* the template's columns, each once */
	AttrNumber attnums[CG_OUTBOX_MAX_COLUMNS];
} MirrorKeys;

/* What of a stream's events of one batch has become. */
typedef enum StreamState
{
	STREAM_SILENT, /* there are none */
	STREAM_PENDING,
	STREAM_PUBLISHED
} StreamState;

/* Of a stream; see events.c. */
typedef struct MirrorStream
{
	int64 batch;	/* number of the last batch that was published whole */
	int64 given;	/* the last number that was given out */
	int64 reserved; /* the same, at most, as it is on disk; 0: not known */

	/* Of the batch under way: */
	StreamState state;
	bool whole;		   /* not its keys are told of, but the table */
	int first;		   /* of its keys in the sorted batch ... */
	int key_count;	   /* ... and how many they are */
	const char *table; /* its name; in the batch's context, as the next */
	const char *timeline;
	int answers;   /* so many events are published */
	char *refusal; /* why one was refused, or NULL; in the batch's context */
} MirrorStream;

/* A mirror as the worker knows it. */
typedef struct MirrorState
{
	MirrorDefinition *definition;
	MirrorKeys *keys;			/* as they were last; NULL: not known */
	MemoryContext keys_context; /* theirs */
	int bars;					/* transactions that bar all its keys, see removal.c */
	bool refused;				/* of its last batch Redis refused keys */
	int released;				/* of this round: who waited for it, and it was done */
	int disappointed;			/* the same, and it was not */
	SweepPhase phase;
	Size last_size;	 /* of last, which is as in a record; 0: none */
	RedisScan *scan; /* of SWEEP_SCAN, NULL: not begun */
	SweepProgress progress;
	MirrorStream stream;
	bool unsaved;		/* phase and last differ from what is on disk */
	bool listed;		/* in the catalog when it was last read */
	bool differences;	/* the sweep writes only what differs from Redis */
	bool has_parked;	/* keys in cachegrid.mirror_parked */
	bool gone;			/* the table or the mirror is: remove the keys, then the row */
	char *broken;		/* why it cannot be worked on until the next reload, or NULL */
	char *reported;		/* the last such reason that was logged, or NULL */
	const char *shown;	/* state that stat_mirror shows */
	int64 locked_since; /* its table, by somebody else; 0: not now */
	char last[CG_OUTBOX_MAX_KEY_BYTES]; /* key that the walk has come to */
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
	int bars;		  /* of a table of bars: who bars it, see removal.c */
	uint8 state;	  /* TouchState */
	int balance;	  /* of events: inserts less deletes */
	bool only_delete; /* set no row, but delete the key if there is none */
	bool refused_by_redis;
	bool withdrawn; /* its row cannot be written: delete the key, then it is REFUSED */
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

/*
 * The keys of one transaction in one channel that are away from Redis until it
 * has ended; in a context of its own.  The worker's; see removal.c.
 */
typedef struct MirrorRemoval
{
	MemoryContext context;
	uint64 xid;
	uint32 number; /* of the intent that they were read for */
	MirrorBatch *batch;
	List *whole;   /* of int: mirrors all of whose keys are meant */
	bool demanded; /* a mirror is among them that does not go on without Redis */
	bool deleted;  /* batch is gone from Redis */
	bool ending;   /* its end is in the snapshot of the batch under way */
} MirrorRemoval;

/* One key: what the table says, and how Redis stands to it.  See compare.c. */
typedef struct MirrorComparison
{
	MirrorTouch *touch;
	char *key;
	int key_size; /* 0: it makes no key */
	char *value;  /* NULL: Redis is to have nothing */
	Size size;
	const MirrorDefinition *definition;
	const char *problem; /* NULL: none */
} MirrorComparison;

typedef struct RowEncoder RowEncoder;
typedef struct RowTransform RowTransform;

/* Who runs, to return to. */
typedef struct MirrorCaller
{
	Oid user;
	int security;
	int guc_level;
} MirrorCaller;

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
	MirrorBatch *events;	  /* the keys that streams tell of */
	bool publishes;			  /* there is a stream */
	List *removals;			  /* of MirrorRemoval * */
	MirrorBatch *barred;	  /* how often each key is barred */
	int bars;				  /* of keys, together */
	bool writes_through;	  /* a mirror of that mode is among them */
	int taken;				  /* touches of the last round */
	OutboxPosition *position; /* read and applied up to here; NULL: not loaded */
	OutboxPosition *saved;	  /* the same, as it is on disk */
	bool unsaved;			  /* there were rows since then */
	char *nodes; /* masters that were there last, see nodes.c, NULL: not known */
	uint64 checked_connections; /* made when they were looked at */

	/* Times are milliseconds of cg_clock_ms(); 0: long ago. */
	int64 saved_at;
	int64 checked_at;	/* its nodes, see nodes.c */
	int64 published_at; /* its nodes, for stat_redis */
	int64 retry_at;		/* 0: no trouble */
	int64 busy_since;	/* a table could not be locked, since then; 0: not now */
	int failures;		/* in a row */
	bool overflowed;	/* in this outage: it was told */
} MirrorChannel;

/* Functions in catalog.c */
extern void cg_mirror_catalog_begin(void);
extern void cg_mirror_catalog_end(void);
extern uint64 cg_mirror_execute(const char *command, int count, Oid *types, Datum *values,
								const char *nulls);
extern List *cg_mirror_definitions(void);
extern MirrorDefinition *cg_mirror_definition(Oid relation, const char *server);
extern MirrorDefinition *cg_mirror_definition_of_prefix(const char *server,
														const char *prefix);
extern MirrorDefinition *cg_mirror_stream_of(Oid relation);
extern int32 cg_mirror_insert(const MirrorDefinition *definition, const char *mode,
							  const char *format);
extern int32 cg_mirror_insert_stream(const MirrorDefinition *definition);
extern void cg_mirror_drop_streams(Oid relation, int32 but);
extern void cg_mirror_mark_dropped(int32 mirror);
extern void cg_mirror_delete(int32 mirror);

/* Functions in keys.c */
extern int cg_mirror_key_columns(const CaptureTemplate *template, AttrNumber *attnums);
extern void cg_mirror_keys_open(MirrorKeys *keys, const MirrorDefinition *definition,
								Relation relation);
extern const MirrorKeys *cg_mirror_current_keys(MirrorState *mirror);
extern void cg_mirror_forget_keys(MirrorState *mirror);
extern int cg_mirror_render(const MirrorKeys *keys, const MirrorTouch *touch,
							char *buffer);

/* Functions in encode.c */
extern RowEncoder *cg_mirror_encoder(Relation relation,
									 const MirrorDefinition *definition);
extern int cg_mirror_encoder_columns(const RowEncoder *encoder);
extern bool cg_mirror_encode(RowEncoder *encoder, TupleTableSlot *row, StringInfo out);

/* Functions in strings.c */
extern int cg_mirror_begin_string(StringInfo out);
extern void cg_mirror_end_string(StringInfo out, int start);
extern RedisString *cg_mirror_split_strings(const char *data, Size size, int *count);

/* Functions in transform.c */
extern char *cg_mirror_transform_name(Relation relation, const char *name);
extern RowTransform *cg_mirror_transform(Relation relation, const char *name);
extern bool cg_mirror_apply_transform(RowTransform *transform, TupleTableSlot *row,
									  StringInfo out);

/* Functions in batch.c */
extern MirrorBatch *cg_mirror_batch(MemoryContext parent);
extern void cg_mirror_batch_reset(MirrorBatch *batch);
extern MirrorTouch *cg_mirror_batch_add(MirrorBatch *batch, int32 mirror, const char *key,
										uint16 size, const ItemPointerData *tid);
extern MirrorTouch *cg_mirror_batch_find(const MirrorBatch *batch, int32 mirror,
										 const char *key, uint16 size);
extern void cg_mirror_batch_sort(MirrorBatch *batch);

/* Functions in removal.c */
extern MirrorRemoval *cg_mirror_find_removal(const MirrorChannel *channel, uint64 xid);
extern MirrorRemoval *cg_mirror_add_removal(MirrorChannel *channel, uint64 xid);
extern void cg_mirror_drop_removal(MirrorChannel *channel, MirrorRemoval *removal);
extern void cg_mirror_hold_whole(MirrorRemoval *removal, MirrorState *mirror);
extern void cg_mirror_bar(MirrorChannel *channel, const MirrorRemoval *removal);
extern bool cg_mirror_is_barred(const MirrorChannel *channel, const MirrorState *mirror,
								const MirrorTouch *touch);
extern void cg_mirror_lift_removals(MirrorChannel *channel, const OutboxPosition *seen);
extern void cg_mirror_end_removals(MirrorChannel *channel, bool settled);

/* Functions in intents.c */
extern bool cg_mirror_serve_removals(List *channels, bool pass_over, bool *soon);
extern void cg_mirror_find_removals(List *channels);
extern void cg_mirror_release_waiters(List *channels);

/* Functions in server.c */
extern Oid cg_mirror_server(const char *name);
extern Oid cg_mirror_find_server(const char *name, Oid role, const char **problem);
extern RedisOptions *cg_mirror_server_options(Oid server, Oid role, const char *writer);
extern uint64 cg_mirror_server_version(const char *name, Oid role);
extern char *cg_mirror_writer_name(const char *server, Oid role);
extern bool cg_mirror_owner(RedisGrid *grid, const char *server, const char *prefix,
							MirrorOwnership *ownership);
extern RedisGrid *cg_mirror_reach(const MirrorDefinition *definition, Oid server,
								  bool *mine);
extern bool cg_mirror_disown(RedisGrid *grid, const char *server, const char *prefix);

/* Functions in check.c */
extern void cg_mirror_check_table(Relation relation);

/* Functions in declaration.c */
extern MirrorDefinition *cg_mirror_require(Oid relation, const char *server);

/* Functions in guard.c */
extern void cg_mirror_begin(void);
extern void cg_mirror_commit(void);
extern void cg_mirror_enter_owner(Relation relation, MirrorCaller *caller);
extern void cg_mirror_leave_owner(const MirrorCaller *caller);
extern bool cg_mirror_try(void (*work)(void *argument), void *argument, char **error);
extern bool cg_mirror_try_some(void (*work)(void *argument), void *argument,
							   bool (*is_ours)(const ErrorData *error, void *argument),
							   char **error);

/* Functions in apply.c */
extern void cg_mirror_flush_wal(void);
extern void cg_mirror_rest(int milliseconds);
extern void cg_mirror_send(MirrorChannel *channel);
extern bool cg_mirror_settle(MirrorChannel *channel);

/* Functions in compare.c */
extern bool cg_mirror_compare(const MirrorDefinition *definition, RedisGrid *grid,
							  MirrorTouch *touches, int count,
							  MirrorComparison *comparisons, bool may_be_cancelled);

/* Functions in sweep.c */
extern void cg_mirror_want_sweep(MirrorState *mirror);
extern void cg_mirror_want_comparison(MirrorState *mirror);
extern void cg_mirror_want_sweeps(MirrorChannel *channel);
extern MirrorState *cg_mirror_next_sweep(const MirrorChannel *channel, bool locked);
extern bool cg_mirror_sweep_step(MirrorChannel *channel, MirrorState *mirror);
extern void cg_mirror_bury(MirrorState *mirror);
extern void cg_mirror_end_sweep(MirrorState *mirror);
extern void cg_mirror_show_sweep(MirrorState *mirror, int keys, int rows);
extern bool cg_mirror_keeps_none(const MirrorState *mirror);

/* Functions in surplus.c */
extern RedisScanState cg_mirror_delete_surplus(MirrorChannel *channel,
											   MirrorState *mirror);
extern void cg_mirror_stop_scan(MirrorState *mirror);

/* Functions in events.c */
extern bool cg_mirror_is_stream(const MirrorState *mirror);
extern void cg_mirror_begin_events(MirrorChannel *channel);
extern void cg_mirror_collect_event(MirrorChannel *channel, MirrorState *mirror,
									const OutboxRecord *record);
extern bool cg_mirror_end_events(MirrorChannel *channel, bool async);
extern bool cg_mirror_publish(MirrorChannel *channel);
extern bool cg_mirror_shares_channel(const MirrorChannel *channel,
									 const MirrorState *mirror);

/* Functions in progress.c */
extern char *cg_mirror_history(void);
extern char *cg_mirror_saved_position(const char *server, Oid owner);
extern void cg_mirror_load_channel(MirrorChannel *channel);
extern void cg_mirror_load_mirror(MirrorState *mirror);
extern void cg_mirror_save(MirrorChannel *channel);
extern void cg_mirror_forget_channel(MirrorChannel *channel);
extern void cg_mirror_park(MirrorChannel *channel);
extern void cg_mirror_unpark(MirrorState *mirror);

/* Functions in node_status.c */
extern void cg_mirror_node_shmem_request(void);
extern void cg_mirror_node_shmem_init(void);
extern void cg_mirror_publish_nodes(MirrorChannel *channel, const char *error);
extern void cg_mirror_publish_replicas(const char *server, Oid owner, RedisGrid *grid);
extern void cg_mirror_forget_nodes(const MirrorChannel *channel);
extern void cg_mirror_forget_database_nodes(Oid database);

/* Functions in nodes.c */
extern bool cg_mirror_check_nodes(MirrorChannel *channel, int64 now);

/* Functions in pace.c */
extern long cg_mirror_pace(int taken);

/* Functions in link.c */
extern bool cg_mirror_connect(MirrorChannel *channel);
extern void cg_mirror_follow_server(MirrorChannel *channel);
extern void cg_mirror_interrupt_for_grid(MirrorChannel *channel);
extern void cg_mirror_end_interruption(MirrorChannel *channel);

/* Functions in channel.c */
extern bool cg_mirror_round(MirrorChannel *channel, long *wait_ms);
extern void cg_mirror_overflow(MirrorChannel *channel);
extern MirrorState *cg_mirror_find_state(const MirrorChannel *channel, int32 mirror);
extern bool cg_mirror_lock_tables(MirrorChannel *channel);
extern void cg_mirror_break(MirrorState *mirror, const char *error);

/* Functions in work.c */
extern void cg_mirror_reload_soon(void);
extern void cg_mirror_heard_of(int32 mirror);
extern void cg_mirror_serve(void);

/* Functions in status.c */
extern void cg_mirror_count(int32 mirror, int64 applied, int64 retries);
extern void cg_mirror_count_sweep(int32 mirror);
extern void cg_mirror_show_progress(int32 mirror, const SweepProgress *progress);
extern void cg_mirror_count_waiters(int32 mirror, int released, int disappointed);
extern void cg_mirror_set_state(int32 mirror, const char *state);
extern void cg_mirror_set_error(int32 mirror, const char *error);
extern void cg_mirror_forget_status(int32 mirror);

#endif /* CACHEGRID_MIRROR_INTERNAL_H */
