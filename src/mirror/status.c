/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What the worker shows of its mirrors in shared memory, and how much
 *	  waits in the outbox.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define MAX_MIRRORS 512

/* What the worker tells about one mirror. */
typedef struct MirrorStatus
{
	int32 mirror;
	const char *state;
	int64 applied; /* keys set or deleted */
	int64 retries; /* keys that had to be sent again */
	int64 sweeps;  /* ended sweeps */
	SweepProgress progress;
	int64 waits;			   /* commits that waited until it was done */
	int64 groups;			   /* rounds in which they were released */
	int64 disappointments;	   /* commits that did not wait as they wanted to */
	char last_error[256];	   /* perhaps cut, between two characters */
	TimestampTz last_error_at; /* 0: none */
} MirrorStatus;

/* In shared memory. */
typedef struct MirrorStatusShared
{
	Oid database; /* InvalidOid: free */
	MirrorStatus status;
} MirrorStatusShared;

/* In shared memory. */
typedef struct MirrorShared
{
	slock_t mutex; /* guards every field below */
	MirrorStatusShared mirrors[MAX_MIRRORS];
} MirrorShared;

static MirrorShared *shared = NULL;

void
cg_mirror_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(MirrorShared)));
	cg_mirror_node_shmem_request();
}

void
cg_mirror_shmem_init(void)
{
	bool found;

	shared = ShmemInitStruct("cachegrid mirror", sizeof(MirrorShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(MirrorShared));
		SpinLockInit(&shared->mutex);
	}
	cg_mirror_node_shmem_init();
}

static MirrorStatus *
find_status_locked(Oid database, int32 mirror)
{
	for (int i = 0; i < MAX_MIRRORS; i++)
	{
		MirrorStatusShared *entry = &shared->mirrors[i];

		if (entry->database == database && entry->status.mirror == mirror)
			return &entry->status;
	}
	return NULL;
}

/* Finds or makes the mirror's entry; NULL if there is no room. */
static MirrorStatus *
make_status_locked(int32 mirror)
{
	MirrorStatus *status = find_status_locked(MyDatabaseId, mirror);

	for (int i = 0; i < MAX_MIRRORS && !status; i++)
	{
		MirrorStatusShared *entry = &shared->mirrors[i];

		if (!OidIsValid(entry->database))
		{
			memset(entry, 0, sizeof(MirrorStatusShared));
			entry->database = MyDatabaseId;
			entry->status.mirror = mirror;
			status = &entry->status;
		}
	}
	return status;
}

/* Add to the mirror's counters. */
void
cg_mirror_count(int32 mirror, int64 applied, int64 retries)
{
	MirrorStatus *status;

	SpinLockAcquire(&shared->mutex);
	status = make_status_locked(mirror);
	if (status)
	{
		status->applied += applied;
		status->retries += retries;
	}
	SpinLockRelease(&shared->mutex);
}

void
cg_mirror_count_sweep(int32 mirror)
{
	MirrorStatus *status;

	SpinLockAcquire(&shared->mutex);
	status = make_status_locked(mirror);
	if (status)
		status->sweeps++;
	SpinLockRelease(&shared->mutex);
}

/* How far the mirror's sweep is; its phase is a constant, too: see below. */
void
cg_mirror_show_progress(int32 mirror, const SweepProgress *progress)
{
	MirrorStatus *status;

	SpinLockAcquire(&shared->mutex);
	status = make_status_locked(mirror);
	if (status)
		status->progress = *progress;
	SpinLockRelease(&shared->mutex);
}

/* In this round so many commits were released, and so many told not to wait. */
void
cg_mirror_count_waiters(int32 mirror, int released, int disappointed)
{
	MirrorStatus *status;

	SpinLockAcquire(&shared->mutex);
	status = make_status_locked(mirror);
	if (status)
	{
		status->waits += released;
		status->groups += released > 0;
		status->disappointments += disappointed;
	}
	SpinLockRelease(&shared->mutex);
}

/* state is a constant: its address is the same in all processes. */
void
cg_mirror_set_state(int32 mirror, const char *state)
{
	MirrorStatus *status;

	SpinLockAcquire(&shared->mutex);
	status = make_status_locked(mirror);
	if (status)
		status->state = state;
	SpinLockRelease(&shared->mutex);
}

void
cg_mirror_set_error(int32 mirror, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();
	MirrorStatus *status;
	Size size = pg_mbcliplen(error, strlen(error), sizeof(status->last_error) - 1);

	SpinLockAcquire(&shared->mutex);
	status = make_status_locked(mirror);
	if (status)
	{
		memcpy(status->last_error, error, size);
		status->last_error[size] = '\0';
		status->last_error_at = now;
	}
	SpinLockRelease(&shared->mutex);
}

/* The mirror is no more. */
void
cg_mirror_forget_status(int32 mirror)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < MAX_MIRRORS; i++)
	{
		MirrorStatusShared *entry = &shared->mirrors[i];

		if (entry->database == MyDatabaseId && entry->status.mirror == mirror)
			entry->database = InvalidOid;
	}
	SpinLockRelease(&shared->mutex);
}

/* The database, or its last mirror, is no more. */
void
cg_mirror_forget_database(Oid database)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < MAX_MIRRORS; i++)
	{
		if (shared->mirrors[i].database == database)
			shared->mirrors[i].database = InvalidOid;
	}
	SpinLockRelease(&shared->mutex);
	cg_mirror_forget_database_nodes(database);
}

/* Copies what is known of a mirror of this database; false if nothing is. */
static bool
copy_status(int32 mirror, MirrorStatus *status)
{
	MirrorStatus *found = NULL;

	if (shared)
	{
		SpinLockAcquire(&shared->mutex);
		found = find_status_locked(MyDatabaseId, mirror);
		if (found)
			*status = *found;
		SpinLockRelease(&shared->mutex);
	}
	return found != NULL;
}

/* What waits for one mirror. */
typedef struct Waiting
{
	int32 mirror;
	int64 count;
	TimestampTz oldest;
} Waiting;

static void
count_row(const OutboxRow *row, Waiting *waiting)
{
	const char *cursor = row->payload;
	OutboxRecord record;

	while (cg_outbox_next_record(&cursor, row->payload + row->size, &record))
	{
		if (record.mirror != waiting->mirror)
			continue;
		if (waiting->count++ == 0 || row->written < waiting->oldest)
			waiting->oldest = row->written;
	}
}

/*
 * Count the records of a mirror that the active snapshot sees and the
 * channel's position, as it is saved, did not.
 */
static Waiting
count_waiting(const MirrorDefinition *definition)
{
	Waiting waiting = {.mirror = definition->id};
	char *position = cg_mirror_saved_position(definition->server, definition->owner);
	OutboxReader *reader;
	OutboxRow row;

	if (!position)
		return waiting;
	reader =
		cg_outbox_read_begin(cg_outbox_position_from_text(position), GetActiveSnapshot());
	while (cg_outbox_read_next(reader, &row))
	{
		CHECK_FOR_INTERRUPTS();
		count_row(&row, &waiting);
	}
	cg_outbox_read_end(reader);
	return waiting;
}

/* Without a worker nothing is as it was when the last one showed it. */
static void
correct_status(MirrorStatus *status)
{
	TimestampTz starved_since;

	if (cg_outbox_is_consumed(&starved_since))
		return;
	status->state = "starting";
	if (starved_since == 0)
		return;
	status->state = "stopped";
	strlcpy(status->last_error,
			"could not start a worker: \"max_worker_processes\" is too low",
			sizeof(status->last_error));
	status->last_error_at = starved_since;
}

static void
put_status(const MirrorDefinition *definition, Tuplestorestate *rows, TupleDesc desc)
{
	MirrorStatus status = {.state = NULL};
	Waiting waiting = count_waiting(definition);
	Datum values[12];
	bool nulls[12] = {false};

	if (!copy_status(definition->id, &status))
		memset(&status, 0, sizeof(status));
	correct_status(&status);
	values[0] = Int32GetDatum(definition->id);
	values[1] = CStringGetTextDatum(status.state ? status.state : "starting");
	values[2] = Int64GetDatum(waiting.count);
	values[3] = TimestampTzGetDatum(waiting.oldest);
	nulls[3] = waiting.count == 0;
	values[4] = Int64GetDatum(status.applied);
	values[5] = Int64GetDatum(status.retries);
	values[6] = Int64GetDatum(status.sweeps);
	nulls[7] = nulls[8] = status.last_error_at == 0;
	if (!nulls[7])
		values[7] = CStringGetTextDatum(status.last_error);
	values[8] = TimestampTzGetDatum(status.last_error_at);
	values[9] = Int64GetDatum(status.waits);
	values[10] = Int64GetDatum(status.groups);
	values[11] = Int64GetDatum(status.disappointments);
	tuplestore_putvalues(rows, desc, values, nulls);
}

/*
 * Put what is known of each mirror of this database into rows: (mirror
 * integer, state text, waiting bigint, oldest timestamptz, applied bigint,
 * retries bigint, sweeps bigint, last_error text, last_error_at timestamptz,
 * waits bigint, groups bigint, disappointments bigint).
 * Needs an active snapshot.
 */
void
cg_mirror_statuses(Tuplestorestate *rows, TupleDesc desc)
{
	List *definitions = cg_mirror_definitions();
	ListCell *cell;

	foreach (cell, definitions)
		put_status(lfirst(cell), rows, desc);
}

/*
 * Put how far each sweep under way in this database is into rows: (mirror integer,
 * phase text, started_at timestamptz, keys_scanned bigint, rows_done bigint,
 * rows_total bigint).
 */
void
cg_mirror_progress(Tuplestorestate *rows, TupleDesc desc)
{
	MirrorStatus status;
	ListCell *cell;

	foreach (cell, cg_mirror_definitions())
	{
		const SweepProgress *progress = &status.progress;
		const MirrorDefinition *definition = lfirst(cell);
		Datum values[6];
		bool nulls[6] = {false};

		if (!copy_status(definition->id, &status) || !progress->phase)
			continue;
		values[0] = Int32GetDatum(definition->id);
		values[1] = CStringGetTextDatum(progress->phase);
		values[2] = TimestampTzGetDatum(progress->started);
		values[3] = Int64GetDatum(progress->keys);
		values[4] = Int64GetDatum(progress->rows);
		nulls[5] = progress->row_total < 0;
		values[5] = Int64GetDatum((int64) progress->row_total);
		tuplestore_putvalues(rows, desc, values, nulls);
	}
}
