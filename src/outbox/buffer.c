/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  What the current transaction reports, until it is written.
 *
 * Records are appended to a backend-local buffer and written to the outbox
 * at PRE_COMMIT or PRE_PREPARE: the report and the change are one
 * transaction.  A buffer that grows over a megabyte is written at once, by
 * the subtransaction that is current; hence only what that subtransaction
 * itself appended may be written then, for it is rolled back with it.  A
 * trigger that fires after our PRE_COMMIT writes its record itself.
 *
 * COMMIT only wakes the consumer.  Nobody else hears of a COMMIT PREPARED:
 * the consumer looks by itself every second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

#define BUFFER_LIMIT (1024 * 1024)

/* Where in the buffer a subtransaction's records begin. */
typedef struct BufferLevel
{
	int level; /* nesting level, over 1 */
	int start;
} BufferLevel;

/* Backend-local; empty between transactions. */
typedef struct BufferLocal
{
	MemoryContext context; /* NULL until first used */
	StringInfoData records;
	int last;			 /* where the last record begins, -1: none or another level's */
	BufferLevel *levels; /* ascending */
	int level_count;
	int level_limit;
	bool written; /* this transaction has rows in the outbox */
	bool closed;  /* past PRE_COMMIT: write at once */
} BufferLocal;

static BufferLocal local = {.last = -1};

static void
prepare_buffer(void)
{
	MemoryContext previous;

	if (local.context)
		return;

	local.context = AllocSetContextCreate(TopMemoryContext, "cachegrid outbox",
										  ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(local.context);
	initStringInfo(&local.records);
	local.level_limit = 16;
	local.levels = palloc(local.level_limit * sizeof(BufferLevel));
	MemoryContextSwitchTo(previous);
}

/* Remember where the current subtransaction begins, if it is a new one. */
static void
enter_level(void)
{
	int level = GetCurrentTransactionNestLevel();

	if (level == 1 ||
		(local.level_count > 0 && local.levels[local.level_count - 1].level == level))
		return;

	if (local.level_count == local.level_limit)
	{
		int limit = local.level_limit * 2;

		local.levels = repalloc(local.levels, limit * sizeof(BufferLevel));
		local.level_limit = limit;
	}
	local.levels[local.level_count].level = level;
	local.levels[local.level_count].start = local.records.len;
	local.level_count++;
	local.last = -1;
}

/* Write what the current level appended; all of it at the end. */
static void
write_level(int16 flags)
{
	int start = local.level_count > 0 ? local.levels[local.level_count - 1].start : 0;

	if (local.records.len == start)
		return;

	cg_outbox_insert(cg_outbox_current(), local.records.data + start,
					 local.records.len - start, flags);
	local.records.len = start;
	local.last = -1;
	local.written = true;
}

/*
 * Another change of the same row just takes the newer hint; what the first wanted to
 * be removed stays so.
 */
static bool
repeats_last(const OutboxHeader *header, const char *key)
{
	char *last;
	OutboxHeader previous;
	OutboxHeader merged = *header;

	if (local.last < 0)
		return false;

	last = local.records.data + local.last;
	memcpy(&previous, last, CG_OUTBOX_HEADER_BYTES);
	if (previous.mirror != header->mirror || previous.kind != header->kind ||
		previous.key_size != header->key_size ||
		memcmp(last + CG_OUTBOX_HEADER_BYTES, key, header->key_size) != 0)
		return false;

	merged.remove |= previous.remove;
	memcpy(last, &merged, CG_OUTBOX_HEADER_BYTES);
	return true;
}

static void
append_record(const OutboxHeader *header, const char *key)
{
	if (IsParallelWorker())
		elog(ERROR, "cannot write to the outbox in a parallel worker");

	prepare_buffer();
	enter_level();
	if (repeats_last(header, key))
		return;

	local.last = local.records.len;
	appendBinaryStringInfo(&local.records, (const char *) header, CG_OUTBOX_HEADER_BYTES);
	appendBinaryStringInfo(&local.records, key, header->key_size);

	/* The transaction may still change its synchronous_commit: assume off. */
	if (local.closed || local.records.len > BUFFER_LIMIT)
		write_level(CG_OUTBOX_ASYNC);
	if (local.closed)
		cg_intent_before_commit();
}

/*
 * Remember that the row with these values in the columns attnums, those of
 * the mirror's unique index, was touched.  The row's TID goes along as a hint
 * if has_tid: for the new version of an inserted or updated row.  A row with
 * a NULL there has no key and is passed over.  wishes: what the mirror wants
 * of the commit.  Only in a transaction that changes rows: may assign an xid.
 * May raise out of memory, and later, at PRE_COMMIT, whatever an insert may
 * raise, and what cg_intent_before_commit raises.
 */
void
cg_outbox_touch(int32 mirror, Relation relation, TupleTableSlot *row,
				const AttrNumber *attnums, int count, bool has_tid, int wishes)
{
	OutboxHeader header = {.mirror = mirror,
						   .kind = OUTBOX_TOUCH,
						   .remove = (wishes & CG_OUTBOX_REMOVE) != 0};
	char key[CG_OUTBOX_MAX_KEY_BYTES];
	Size size;

	size = cg_outbox_encode_row_key(key, row, attnums, count);
	if (size == 0)
		return;

	header.key_size = size;
	if (has_tid)
		header.tid = row->tts_tid;
	else
		ItemPointerSetInvalid(&header.tid);
	cg_intent_note(mirror, RelationGetRelid(relation), wishes, false);
	append_record(&header, key);
}

/*
 * The whole table must be swept, as of this transaction's commit: after
 * TRUNCATE or DDL, or because somebody asks.  wishes: what the mirror wants of
 * the commit, 0 if what Redis has may stay until the sweep.  May assign an xid.
 */
void
cg_outbox_sweep(int32 mirror, Oid relation, int wishes)
{
	OutboxHeader header = {.mirror = mirror,
						   .kind = OUTBOX_SWEEP,
						   .remove = (wishes & CG_OUTBOX_REMOVE) != 0};

	ItemPointerSetInvalid(&header.tid);
	cg_intent_note(mirror, relation, wishes, true);
	append_record(&header, "");
}

/* The whole table is to be compared, and what differs mended.  May assign an xid. */
void
cg_outbox_compare(int32 mirror)
{
	OutboxHeader header = {.mirror = mirror, .kind = OUTBOX_COMPARISON};

	ItemPointerSetInvalid(&header.tid);
	append_record(&header, "");
}

/*
 * Something happened to a key of a watched table: kind is an event's, and key the
 * text; or OUTBOX_SWEEP, and no key: to any of them.  May assign an xid.
 */
void
cg_outbox_event(int32 stream, OutboxKind kind, const char *key, uint16 size)
{
	OutboxHeader header = {.mirror = stream, .kind = kind, .key_size = size};

	ItemPointerSetInvalid(&header.tid);
	append_record(&header, key);
}

static void
before_commit_write(void)
{
	local.closed = true;
	if (local.records.len > 0)
	{
		local.level_count = 0;
		write_level(synchronous_commit == SYNCHRONOUS_COMMIT_OFF ? CG_OUTBOX_ASYNC : 0);
	}
	cg_intent_before_commit();
}

/* Nothing here can fail. */
static void
after_end_forget(void)
{
	local.level_count = 0;
	local.last = -1;
	local.written = false;
	local.closed = false;
	if (local.context)
		local.records.len = 0;
}

static void
transaction_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			before_commit_write();
			break;
		case XACT_EVENT_COMMIT:
			if (local.written)
				cg_outbox_wake();
			after_end_forget();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			after_end_forget();
			break;
		default:
			break;
	}
}

/* What level did joins the level around it, or is forgotten with it. */
static void
subtransaction_callback(SubXactEvent event, SubTransactionId subxid,
						SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	BufferLevel *top;

	if ((event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB) ||
		local.level_count == 0)
		return;

	top = &local.levels[local.level_count - 1];
	if (top->level < level)
		return;

	local.last = -1;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		local.records.len = top->start;
		local.level_count--;
	}
	else if (level == 2 || (local.level_count > 1 && top[-1].level == level - 1))
		local.level_count--;
	else
		top->level = level - 1;
}

/* Called once, when the library is loaded. */
void
cg_outbox_init(void)
{
	cg_outbox_table_init();
	RegisterXactCallback(transaction_callback, NULL);
	RegisterSubXactCallback(subtransaction_callback, NULL);
}
