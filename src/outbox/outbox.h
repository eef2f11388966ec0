/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  The durable queue of touched keys whose rows are still to be written
 *	  to Redis.
 *
 * A transaction collects the keys of the mirrored rows it changes and writes
 * them, just before it commits or prepares, as rows of one of three tables,
 * cachegrid.outbox_0 to _2.  Rows are never updated or deleted: a consumer
 * remembers how far it has read as a snapshot (a position), and a batch is
 * what is visible in the new snapshot and was not in the old one, so a long
 * transaction is neither skipped nor in the way.  One table is current and
 * is written; the others are truncated once everybody has read them.
 *
 * What is read may be reported more than once: a touched key says "look at the
 * row", not what is in it.
 *
 * Beside the mirrors there are streams of events: what happened to the keys of a
 * watched table, for subscribers to be told.  They take the same way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_OUTBOX_H
#define CACHEGRID_OUTBOX_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#define CG_OUTBOX_MAX_COLUMNS	8 /* columns of a mirror's unique index */
#define CG_OUTBOX_MAX_DATABASES 64

/* Bytes of a key column at most: longer ones make no key anyway. */
#define CG_OUTBOX_MAX_COLUMN_BYTES 512
#define CG_OUTBOX_MAX_KEY_BYTES \
	(CG_OUTBOX_MAX_COLUMNS * (sizeof(uint16) + CG_OUTBOX_MAX_COLUMN_BYTES))

/*
 * What a mirror whose row is touched wants of the commit, see intent.c.  A
 * record of a key that is to be removed says so.
 */
#define CG_OUTBOX_REMOVE  1 /* the key is not in Redis when the commit is seen */
#define CG_OUTBOX_AWAIT	  2 /* COMMIT returns when the row is in Redis */
#define CG_OUTBOX_DEGRADE 4 /* neither of them if Redis is out of reach */

#define CG_OUTBOX_INTENT_MIRRORS 8

/* Flags of an outbox row */
#define CG_OUTBOX_ASYNC 1 /* may be visible before its commit is on disk */

typedef enum OutboxKind
{
	OUTBOX_TOUCH = 1,	   /* one key */
	OUTBOX_SWEEP = 2,	   /* the whole table; no key */
	OUTBOX_COMPARISON = 3, /* the same, but Redis may be right of most of it */
	OUTBOX_INSERT = 4,	   /* events of a watched table; the key is a text */
	OUTBOX_UPDATE = 5,
	OUTBOX_DELETE = 6
} OutboxKind;

/* One record.  The key's bytes are the row's they were read from. */
typedef struct OutboxRecord
{
	int32 mirror; /* or stream of events: they are numbered together */
	OutboxKind kind;
	bool remove;		 /* CG_OUTBOX_REMOVE */
	ItemPointerData tid; /* hint where the row's new version is, or invalid */
	uint16 key_size;
	const char *key; /* of a touch: see cg_outbox_decode_key */
} OutboxRecord;

/* A row of the outbox: whole records. */
typedef struct OutboxRow
{
	uint64 xid; /* top-level transaction that wrote it */
	TimestampTz written;
	int16 flags;
	const char *payload; /* valid until the next row is read */
	Size size;
} OutboxRow;

/*
 * How far a consumer has read: everything below xmax but the transactions
 * that ran then.  One allocation, free it with pfree().
 */
typedef struct OutboxPosition
{
	uint64 xmax;
	int running_count;
	uint64 running[FLEXIBLE_ARRAY_MEMBER]; /* below xmax, ascending */
} OutboxPosition;

typedef struct OutboxReader OutboxReader;

typedef enum OutboxWish
{
	OUTBOX_WISH_REMOVAL,	/* before the commit */
	OUTBOX_WISH_APPLICATION /* after it */
} OutboxWish;

typedef enum OutboxAnswer
{
	OUTBOX_UNANSWERED,
	OUTBOX_GRANTED,
	OUTBOX_REFUSED
} OutboxAnswer;

/* What a session that commits waits for. */
typedef struct OutboxIntent
{
	int place; /* whose it is, for cg_outbox_answer */
	OutboxWish wish;
	uint32 number;	  /* of the process's intents */
	uint64 xid;		  /* top-level */
	int mirror_count; /* more than CG_OUTBOX_INTENT_MIRRORS: not all are named */
	int32 mirrors[CG_OUTBOX_INTENT_MIRRORS];
} OutboxIntent;

/*
 * Each function's contract stands at its body.
 */

/* Functions in buffer.c: what a transaction reports */
extern void cg_outbox_touch(int32 mirror, Relation relation, TupleTableSlot *row,
							const AttrNumber *attnums, int count, bool has_tid,
							int wishes);
extern void cg_outbox_sweep(int32 mirror, Oid relation, int wishes);
extern void cg_outbox_compare(int32 mirror);
extern void cg_outbox_event(int32 stream, OutboxKind kind, const char *key, uint16 size);
extern void cg_outbox_init(void);

/* Functions in record.c */
extern bool cg_outbox_next_record(const char **cursor, const char *end,
								  OutboxRecord *record);
extern Size cg_outbox_encode_key(char *buffer, TupleDesc desc, const AttrNumber *attnums,
								 int count, const Datum *values);
extern Size cg_outbox_encode_row_key(char *buffer, TupleTableSlot *row,
									 const AttrNumber *attnums, int count);
extern bool cg_outbox_decode_key(const OutboxRecord *record, TupleDesc desc,
								 const AttrNumber *attnums, int count, Datum *values);

/* Functions in position.c */
extern OutboxPosition *cg_outbox_position_of(Snapshot snapshot);
extern OutboxPosition *cg_outbox_position_from_text(const char *text);
extern char *cg_outbox_position_to_text(const OutboxPosition *position);
extern OutboxPosition *cg_outbox_position_copy(const OutboxPosition *position);
extern bool cg_outbox_position_covers(const OutboxPosition *position, uint64 xid);
extern uint64 cg_outbox_position_xmin(const OutboxPosition *position);

/* Functions in reader.c */
extern OutboxReader *cg_outbox_read_begin(const OutboxPosition *from, Snapshot snapshot);
extern bool cg_outbox_read_next(OutboxReader *reader, OutboxRow *row);
extern bool cg_outbox_read_may_end(OutboxReader *reader);
extern OutboxPosition *cg_outbox_read_end(OutboxReader *reader);
extern void cg_outbox_read_own(uint64 xid,
							   void (*take)(const OutboxRow *row, void *argument),
							   void *argument);

/* Functions in unfinished.c */
extern void cg_outbox_read_unfinished(void (*take)(const OutboxRow *row, void *argument),
									  void *argument);

/* Functions in intent.c: for the consumer, and at load time */
extern int cg_outbox_intents(OutboxIntent **intents);
extern void cg_outbox_answer(const OutboxIntent *intent, OutboxAnswer answer);
extern void cg_outbox_init_intents(void);

/* Functions in rotation.c */
extern void cg_outbox_rotate(const OutboxPosition *const *positions, int count,
							 int64 room);
extern int64 cg_outbox_bytes(void);

/* Functions in registry.c: databases, and who empties their outboxes */
extern void cg_outbox_require_database(void);
extern bool cg_outbox_register_database(Oid database);
extern void cg_outbox_forget_database(Oid database);
extern int cg_outbox_orphans(Oid *databases);
extern void cg_outbox_mark_started(Oid database, int milliseconds);
extern bool cg_outbox_tell_start(bool started);
extern bool cg_outbox_is_consumed(TimestampTz *starved_since);
extern void cg_outbox_set_launcher(void);
extern bool cg_outbox_attach(void);
extern void cg_outbox_retire(void);
extern void cg_outbox_dismiss(Oid database, int milliseconds);
extern void cg_outbox_wake(void);
extern bool cg_outbox_is_consumer(pid_t process);
extern bool cg_outbox_lost_unfinished(void);
extern void cg_outbox_forget_loss(void);
extern void cg_outbox_shmem_request(void);
extern void cg_outbox_shmem_init(void);

#endif /* CACHEGRID_OUTBOX_H */
