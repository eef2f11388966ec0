/*-------------------------------------------------------------------------
 *
 * wal.c
 *	  Stamps in the write-ahead log, for standbys: written and redone.
 *
 * With cachegrid.wal_log_invalidations a transaction writes what it is about
 * to stamp to the log, before its commit or prepare record.  A standby redoes
 * the log in order: so it stamps and drops before the transaction becomes
 * visible there, as the primary does.
 *
 * That stamps are logged is itself logged: when it begins, when it ends, and
 * once after each checkpoint, as a standby may begin to read there.  What is
 * not logged before the beginning and after the end is thus known to who reads
 * (recovery.c).  Prepared transactions may have stamped long before: what they
 * stamped is logged again each time, and which they are.  The launcher alone
 * switches.  It lets everybody log before it says so, and says that it ends
 * before anybody may cease to.
 *
 * A primary that is killed says nothing, and may come back without us.  But no
 * server starts without a shutdown checkpoint in its log, of the shutdown
 * before or of the end of its recovery, nor is one promoted without an
 * end-of-recovery record.  No callback tells of these, so we have ourselves
 * called in place of the two resource managers that redo them and what a
 * database leaves behind, and call them.
 *
 * Redoing runs in the startup process, which an error would end, and the
 * server with it: it raises none, allocates nothing, and takes only locks that
 * are held for a moment.  What it cannot read it takes for a doubt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "commands/dbcommands_xlog.h"
#include "port/atomics.h"
#include "storage/shmem.h"

#include "base/settings.h"
#include "coherence/slots.h"

/*
 * Our number among all extensions of the world, in each of our records: it
 * stays.  https://wiki.postgresql.org/wiki/CustomWALResourceManagers
 */
#define RESOURCE_MANAGER 207

/* Kinds of records.  Another format of one is another kind. */
#define RECORD_STAMP   0x00
#define RECORD_LOGGING 0x10

#define FORMAT 1

/* Of a stamp, many records: so none is larger than what a reader has at hand. */
#define STAMPS_MAX 4096

/* Behind it stand the dependencies. */
typedef struct StampRecord
{
	uint64 xid; /* full, top-level; 0: stamped without one */
} StampRecord;

typedef enum LoggingEvent
{
	LOGGING_OFF,
	LOGGING_ON,	  /* from here on, if not before */
	LOGGING_AGAIN /* what prepared transactions stamped follows, up to the next "on" */
} LoggingEvent;

/* Behind it, if it is on, stand prepared xids, all of whose stamps have been logged. */
typedef struct LoggingRecord
{
	uint32 format; /* of the stamps that follow */
	uint32 event;  /* LoggingEvent */
} LoggingRecord;

/* In shared memory: do transactions log their stamps?  Never in recovery. */
static pg_atomic_uint32 *logging = NULL;

static void (*redo_xlog)(XLogReaderState *record) = NULL;
static void (*redo_database)(XLogReaderState *record) = NULL;

Size
cg_wal_shmem_size(void)
{
	return sizeof(pg_atomic_uint32);
}

void
cg_wal_shmem_init(void)
{
	bool found;

	logging = ShmemInitStruct("cachegrid logging", cg_wal_shmem_size(), &found);
	if (!found)
		pg_atomic_init_u32(logging, 0);
}

/* To be asked once the transaction has its xid, if it is to have one. */
bool
cg_coherence_is_logging(void)
{
	return pg_atomic_read_u32(logging) != 0;
}

/*
 * Log what is being stamped; xid 0: nobody's.  Before the stamps, and the commit.
 * again: it was logged before, so nobody need be in haste to get it.
 */
void
cg_wal_log_stamps(uint64 xid, const Dependency *dependencies, int count, bool again)
{
	StampRecord record = {.xid = xid};

	for (int i = 0; i < count; i += STAMPS_MAX)
	{
		XLogBeginInsert();
		if (again)
			XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
		XLogRegisterData((char *) &record, sizeof(record));
		XLogRegisterData((char *) &dependencies[i],
						 Min(count - i, STAMPS_MAX) * sizeof(Dependency));
		(void) XLogInsert(RESOURCE_MANAGER, RECORD_STAMP);
	}
}

/* Log an event; returns where the record ends. */
static XLogRecPtr
log_event(LoggingEvent event, const uint64 *known, int count)
{
	LoggingRecord record = {.format = FORMAT, .event = event};

	XLogBeginInsert();
	XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
	XLogRegisterData((char *) &record, sizeof(record));
	if (count > 0)
		XLogRegisterData((char *) known, count * sizeof(uint64));
	return XLogInsert(RESOURCE_MANAGER, RECORD_LOGGING);
}

/*
 * Say that stamps are logged; returns where that stands.  Those of prepared
 * transactions come before it once more, between it and another record: who has not
 * read that, too, may have missed some.
 */
static XLogRecPtr
say_on(void)
{
	MemoryContext previous = CurrentMemoryContext;
	uint64 known[CG_KNOWN_MAX];
	XLogRecPtr end;
	int count;

	StartTransactionCommand();
	(void) log_event(LOGGING_AGAIN, NULL, 0);
	count = cg_prepared_log_anew(known);
	end = log_event(LOGGING_ON, known, count);
	CommitTransactionCommand();
	MemoryContextSwitchTo(previous);
	XLogFlush(end);
	return end;
}

/*
 * Begin or end to log stamps, as the setting says, and say so again after a
 * checkpoint.  The launcher's, each round.
 */
void
cg_coherence_log_round(void)
{
	static XLogRecPtr said_at = InvalidXLogRecPtr;
	bool wanted = cg_wal_log_invalidations && XLogStandbyInfoActive();
	bool on = cg_coherence_is_logging();

	if (wanted && !on)
	{
		pg_atomic_write_u32(logging, 1);
		/* Who has not seen it has his xid, and his rows in the log. */
		pg_memory_barrier();
		said_at = say_on();
	}
	else if (!wanted && on)
	{
		XLogFlush(log_event(LOGGING_OFF, NULL, 0));
		pg_atomic_write_u32(logging, 0);
	}
	else if (on && GetRedoRecPtr() >= said_at)
		said_at = say_on();
}

static void
redo_stamps(XLogReaderState *record)
{
	const StampRecord *stamps = (const StampRecord *) XLogRecGetData(record);
	const Dependency *dependencies = (const Dependency *) (stamps + 1);
	int count = (XLogRecGetDataLen(record) - sizeof(StampRecord)) / sizeof(Dependency);
	Snapshot stampers = stamps->xid ? cg_recovery_stampers(stamps->xid) : NULL;

	if (stamps->xid != 0 && stampers == NULL)
		return;
	for (int i = 0; i < count; i++)
	{
		OwnStamp stamp = {.slot = cg_slots_index(dependencies[i])};

		cg_slots_stamp(&stamp, stamps->xid, stampers);
	}
	for (int i = 0; i < count; i++)
		if (cg_dependency_kind(dependencies[i]) == DEPENDENCY_KEY)
			cg_transaction_redo_drop(dependencies[i]);
}

static void
redo_logging(XLogReaderState *record)
{
	const LoggingRecord *said = (const LoggingRecord *) XLogRecGetData(record);
	int known = (XLogRecGetDataLen(record) - sizeof(LoggingRecord)) / sizeof(uint64);

	if (said->format != FORMAT)
		cg_recovery_doubts(DOUBT_FORMAT);
	else if (said->event == LOGGING_AGAIN)
		cg_recovery_hears_again();
	else if (said->event == LOGGING_ON)
		cg_recovery_believe((const uint64 *) (said + 1), Min(known, CG_KNOWN_MAX));
	else
		cg_recovery_doubts(DOUBT_OFF);
}

/* Does anybody read while this is redone? */
static bool
is_standby(void)
{
	return standbyState != STANDBY_DISABLED && logging != NULL;
}

static void
redo(XLogReaderState *record)
{
	if (!is_standby())
		return;
	switch (XLogRecGetInfo(record) & ~XLR_INFO_MASK)
	{
		case RECORD_STAMP:
			redo_stamps(record);
			break;
		case RECORD_LOGGING:
			redo_logging(record);
			break;
		default:
			cg_recovery_doubts(DOUBT_FORMAT);
	}
}

/* What comes next may be by a server that does not log. */
static void
redo_xlog_too(XLogReaderState *record)
{
	uint8 kind = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	if (is_standby() &&
		(kind == XLOG_CHECKPOINT_SHUTDOWN || kind == XLOG_END_OF_RECOVERY))
		cg_recovery_doubts(DOUBT_RESTARTED);
	redo_xlog(record);
}

/* Its sessions have been sent away by then: nobody puts anything any more. */
static void
redo_database_too(XLogReaderState *record)
{
	uint8 kind = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	redo_database(record);
	if (is_standby() && kind == XLOG_DBASE_DROP)
		cg_transaction_redo_database_drop(
			((xl_dbase_drop_rec *) XLogRecGetData(record))->db_id);
}

static void
describe(StringInfo text, XLogReaderState *record)
{
	const StampRecord *stamps = (const StampRecord *) XLogRecGetData(record);
	const LoggingRecord *said = (const LoggingRecord *) XLogRecGetData(record);

	if ((XLogRecGetInfo(record) & ~XLR_INFO_MASK) == RECORD_STAMP)
		appendStringInfo(text, "xid " UINT64_FORMAT ", %zu dependencies", stamps->xid,
						 (XLogRecGetDataLen(record) - sizeof(StampRecord)) /
							 sizeof(Dependency));
	else
		appendStringInfo(text, "format %u, %s", said->format,
						 said->event == LOGGING_ON		? "on"
						 : said->event == LOGGING_AGAIN ? "again"
														: "off");
}

static const char *
identify(uint8 info)
{
	switch (info & ~XLR_INFO_MASK)
	{
		case RECORD_STAMP:
			return "STAMP";
		case RECORD_LOGGING:
			return "LOGGING";
		default:
			return NULL;
	}
}

static RmgrData manager = {
	.rm_name = "cachegrid",
	.rm_redo = redo,
	.rm_desc = describe,
	.rm_identify = identify,
	.rm_startup = cg_recovery_begin,
};

/*
 * At load time.  Whether or not this server logs: it may have to read what it,
 * or another one, has logged.
 */
void
cg_wal_init(void)
{
	RegisterCustomRmgr(RESOURCE_MANAGER, &manager);
	redo_xlog = RmgrTable[RM_XLOG_ID].rm_redo;
	RmgrTable[RM_XLOG_ID].rm_redo = redo_xlog_too;
	redo_database = RmgrTable[RM_DBASE_ID].rm_redo;
	RmgrTable[RM_DBASE_ID].rm_redo = redo_database_too;
}
