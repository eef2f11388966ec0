/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What the worker must not forget: how far each channel has read the
 *	  outbox, how far each sweep is, and which keys are parked.
 *
 * Saved now and then: who starts from an older state does some work again,
 * which is harmless.  Position and sweeps are saved together, because a
 * position that has passed a wish for a sweep stands for that wish.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* This server's history, palloc'd: with another one, Redis may know a lost future. */
char *
cg_mirror_history(void)
{
	return psprintf(UINT64_FORMAT ":%u", GetSystemIdentifier(),
					GetWALInsertionTimeLine());
}

/* Column of the first row that was found, copied into context; or NULL. */
static char *
found_text(MemoryContext context, int column)
{
	char *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return text ? MemoryContextStrdup(context, text) : NULL;
}

static bool
select_channel(const char *columns, const char *server, Oid owner)
{
	Oid types[] = {TEXTOID, OIDOID};
	Datum values[] = {CStringGetTextDatum(server), ObjectIdGetDatum(owner)};
	char *query = psprintf("SELECT %s FROM cachegrid.mirror_position"
						   " WHERE server = $1 AND owner = $2",
						   columns);

	return cg_mirror_execute(query, 2, types, values, NULL) > 0;
}

/* The channel's position as it was saved, palloc'd; NULL if none was. */
char *
cg_mirror_saved_position(const char *server, Oid owner)
{
	MemoryContext caller = CurrentMemoryContext;
	char *position = NULL;

	cg_mirror_catalog_begin();
	if (select_channel("position", server, owner))
		position = found_text(caller, 1);
	cg_mirror_catalog_end();
	return position;
}

/*
 * Load the channel's position.  If there is none, or it is of another
 * history, begin with what the active snapshot sees and sweep everything.
 */
void
cg_mirror_load_channel(MirrorChannel *channel)
{
	MemoryContext previous;
	char *position = NULL;

	cg_mirror_catalog_begin();
	if (select_channel("position, nodes, history", channel->server, channel->owner) &&
		strcmp(found_text(CurrentMemoryContext, 3), cg_mirror_history()) == 0)
	{
		position = found_text(channel->context, 1);
		channel->nodes = found_text(channel->context, 2);
	}
	cg_mirror_catalog_end();

	previous = MemoryContextSwitchTo(channel->context);
	if (position)
	{
		channel->position = cg_outbox_position_from_text(position);
		channel->saved = cg_outbox_position_copy(channel->position);
	}
	else
	{
		channel->position = cg_outbox_position_of(GetActiveSnapshot());
		channel->unsaved = true;
		cg_mirror_want_sweeps(channel);
	}
	MemoryContextSwitchTo(previous);
}

/*
 * A crash empties an unlogged table or partition, and tells nobody.  The table may be
 * gone, or be locked by somebody else: hence by a query.
 */
static bool
may_have_been_emptied(Oid relation)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(relation);
	bool unlogged;

	cg_mirror_catalog_begin();
	unlogged = cg_mirror_execute(
				   "WITH RECURSIVE parts (part) AS (SELECT $1 UNION ALL"
				   " SELECT inhrelid FROM pg_inherits, parts WHERE inhparent = part)"
				   " SELECT FROM pg_class, parts WHERE oid = part"
				   " AND relpersistence = 'u'",
				   1, &type, &value, NULL) > 0;
	cg_mirror_catalog_end();
	return unlogged;
}

/*
 * Load a mirror's sweep; one that never was swept begins now.  So does, as this may
 * be the first worker after a crash, that of a table that was made unlogged, and
 * of one whose keys a transaction may have removed that is nowhere to be found.
 */
void
cg_mirror_load_mirror(MirrorState *mirror)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(mirror->definition->id);
	bool is_null;

	cg_mirror_catalog_begin();
	mirror->phase = SWEEP_SCAN;
	if (cg_mirror_execute("SELECT phase, last, differences, batch, reserved"
						  " FROM cachegrid.mirror_progress WHERE mirror = $1",
						  1, &type, &value, NULL) > 0)
	{
		HeapTuple tuple = SPI_tuptable->vals[0];
		Datum last;

		mirror->phase = atoi(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1));
		mirror->differences = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 3)[0] == 't';
		mirror->stream.batch =
			DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 4, &is_null));
		mirror->stream.reserved =
			DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 5, &is_null));
		last = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &is_null);
		if (!is_null &&
			VARSIZE_ANY_EXHDR(DatumGetPointer(last)) <= CG_OUTBOX_MAX_KEY_BYTES)
		{
			mirror->last_size = VARSIZE_ANY_EXHDR(DatumGetPointer(last));
			memcpy(mirror->last, VARDATA_ANY(DatumGetPointer(last)), mirror->last_size);
		}
	}
	mirror->has_parked =
		cg_mirror_execute("SELECT FROM cachegrid.mirror_parked WHERE mirror = $1 LIMIT 1",
						  1, &type, &value, NULL) > 0;
	cg_mirror_catalog_end();
	if (may_have_been_emptied(mirror->definition->relation) ||
		(mirror->definition->strict && cg_outbox_lost_unfinished()))
		cg_mirror_want_sweep(mirror);
}

static void
save_position(MirrorChannel *channel)
{
	Oid types[] = {TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(channel->server),
					  ObjectIdGetDatum(channel->owner),
					  CStringGetTextDatum(cg_outbox_position_to_text(channel->position)),
					  CStringGetTextDatum(cg_mirror_history()), (Datum) 0};
	char nulls[] = "    n";

	if (channel->nodes)
	{
		values[4] = CStringGetTextDatum(channel->nodes);
		nulls[4] = ' ';
	}
	cg_mirror_execute("INSERT INTO cachegrid.mirror_position AS p"
					  " (server, owner, position, history, nodes)"
					  " VALUES ($1, $2, $3, $4, $5)"
					  " ON CONFLICT (server, owner) DO UPDATE SET"
					  " position = excluded.position, history = excluded.history,"
					  " nodes = excluded.nodes",
					  lengthof(types), types, values, nulls);
}

static Datum
bytea_of(const char *data, Size size)
{
	bytea *value = palloc(VARHDRSZ + size);

	SET_VARSIZE(value, VARHDRSZ + size);
	memcpy(VARDATA(value), data, size);
	return PointerGetDatum(value);
}

static void
save_mirror(MirrorState *mirror)
{
	Oid types[] = {INT4OID, INT4OID, BYTEAOID, BOOLOID, INT8OID, INT8OID};
	Datum values[] = {Int32GetDatum(mirror->definition->id),
					  Int32GetDatum(mirror->phase),
					  (Datum) 0,
					  BoolGetDatum(mirror->differences),
					  Int64GetDatum(mirror->stream.batch),
					  Int64GetDatum(mirror->stream.reserved)};
	char nulls[] = "  n   ";

	if (mirror->last_size > 0)
	{
		values[2] = bytea_of(mirror->last, mirror->last_size);
		nulls[2] = ' ';
	}
	cg_mirror_execute("INSERT INTO cachegrid.mirror_progress"
					  " (mirror, phase, last, differences, batch, reserved)"
					  " SELECT id, $2, $3, $4, $5, $6 FROM"
					  " (SELECT id FROM cachegrid.mirrors UNION ALL"
					  " SELECT id FROM cachegrid.event_streams) m WHERE id = $1"
					  " ON CONFLICT (mirror) DO UPDATE SET"
					  " phase = excluded.phase, last = excluded.last,"
					  " differences = excluded.differences,"
					  " batch = excluded.batch, reserved = excluded.reserved",
					  lengthof(types), types, values, nulls);
}

/* Save what has changed since the last time, in a transaction of its own. */
void
cg_mirror_save(MirrorChannel *channel)
{
	MemoryContext previous;
	ListCell *cell;

	cg_mirror_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	cg_mirror_catalog_begin();
	save_position(channel);
	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);

		if (mirror->unsaved)
			save_mirror(mirror);
	}
	cg_mirror_catalog_end();
	PopActiveSnapshot();
	cg_mirror_commit();

	foreach (cell, channel->mirrors)
		((MirrorState *) lfirst(cell))->unsaved = false;
	previous = MemoryContextSwitchTo(channel->context);
	if (channel->saved)
		pfree(channel->saved);
	channel->saved = cg_outbox_position_copy(channel->position);
	MemoryContextSwitchTo(previous);
	channel->unsaved = false;
	channel->saved_at = cg_clock_ms();
	cg_outbox_forget_loss();
}

/* The channel has no mirror left. */
void
cg_mirror_forget_channel(MirrorChannel *channel)
{
	Oid types[] = {TEXTOID, OIDOID};
	Datum values[] = {CStringGetTextDatum(channel->server),
					  ObjectIdGetDatum(channel->owner)};

	cg_mirror_catalog_begin();
	cg_mirror_execute("DELETE FROM cachegrid.mirror_position"
					  " WHERE server = $1 AND owner = $2",
					  2, types, values, NULL);
	cg_mirror_catalog_end();
}

static void
park_key(const MirrorTouch *touch, const char *key, int size)
{
	Oid types[] = {INT4OID, BYTEAOID, TEXTOID, TEXTOID};
	Datum values[] = {Int32GetDatum(touch->mirror), bytea_of(touch->key, touch->key_size),
					  PointerGetDatum(cstring_to_text_with_len(key, size)),
					  CStringGetTextDatum(touch->reason)};

	cg_mirror_execute(
		"INSERT INTO cachegrid.mirror_parked AS p (mirror, record, key, error)"
		" SELECT id, $2, $3, $4 FROM cachegrid.mirrors WHERE id = $1"
		" ON CONFLICT (mirror, record) DO UPDATE SET"
		" error = excluded.error, tries = p.tries + 1",
		lengthof(types), types, values, NULL);
}

/* Keys of the mirror that are settled now need not be parked any more. */
static void
unpark_keys(const MirrorBatch *batch, int32 mirror)
{
	Oid types[] = {INT4OID, BYTEAARRAYOID};
	Datum *records = palloc(batch->count * sizeof(Datum));
	Datum values[2];
	int count = 0;

	for (int i = 0; i < batch->count; i++)
	{
		const MirrorTouch *touch = &batch->touches[i];

		if (touch->mirror == mirror && touch->state == TOUCH_DONE)
			records[count++] = bytea_of(touch->key, touch->key_size);
	}
	values[0] = Int32GetDatum(mirror);
	values[1] = PointerGetDatum(
		construct_array(records, count, BYTEAOID, -1, false, TYPALIGN_INT));
	cg_mirror_execute("DELETE FROM cachegrid.mirror_parked"
					  " WHERE mirror = $1 AND record = ANY ($2)",
					  2, types, values, NULL);
}

/* Park the mirror's refused keys of the batch. */
static void
park_mirror(MirrorChannel *channel, MirrorState *mirror)
{
	Relation relation = table_open(mirror->definition->relation, AccessShareLock);
	MirrorBatch *batch = channel->batch;
	MirrorKeys keys;
	char key[CG_KEY_MAX_BYTES];

	cg_mirror_keys_open(&keys, mirror->definition, relation);
	for (int i = 0; i < batch->count; i++)
	{
		MirrorTouch *touch = &batch->touches[i];

		if (touch->mirror != mirror->definition->id || touch->state != TOUCH_REFUSED)
			continue;
		park_key(touch, key, cg_mirror_render(&keys, touch, key));
		cg_mirror_set_error(touch->mirror, touch->reason);
		mirror->has_parked = true;
	}
	table_close(relation, NoLock);
}

static bool
has_refused(const MirrorBatch *batch, int32 mirror)
{
	for (int i = 0; i < batch->count; i++)
	{
		if (batch->touches[i].mirror == mirror &&
			batch->touches[i].state == TOUCH_REFUSED)
			return true;
	}
	return false;
}

static void
park_keys(MirrorChannel *channel, MirrorState *mirror, bool refused)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	cg_mirror_catalog_begin();
	if (mirror->has_parked)
		unpark_keys(channel->batch, mirror->definition->id);
	if (refused)
		park_mirror(channel, mirror);
	cg_mirror_catalog_end();
	PopActiveSnapshot();
}

/*
 * Remember which keys of the settled batch were refused, and forget those
 * that were and are not any more.  Does nothing in nearly all cases.
 */
void
cg_mirror_park(MirrorChannel *channel)
{
	bool own_transaction = !IsTransactionState();
	ListCell *cell;

	foreach (cell, channel->mirrors)
	{
		MirrorState *mirror = lfirst(cell);
		bool refused = has_refused(channel->batch, mirror->definition->id);

		if ((!refused && !mirror->has_parked) || channel->batch->count == 0)
			continue;
		if (own_transaction)
			cg_mirror_begin();
		if ((!own_transaction || cg_mirror_lock_tables(channel)) && !mirror->gone &&
			!mirror->broken)
			park_keys(channel, mirror, refused);
		if (own_transaction)
			cg_mirror_commit();
	}
}

/* A walk begins at the start: it tries the parked keys, too. */
void
cg_mirror_unpark(MirrorState *mirror)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(mirror->definition->id);

	cg_mirror_catalog_begin();
	cg_mirror_execute("DELETE FROM cachegrid.mirror_parked WHERE mirror = $1", 1, &type,
					  &value, NULL);
	cg_mirror_catalog_end();
	mirror->has_parked = false;
}
