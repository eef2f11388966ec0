/*-------------------------------------------------------------------------
 *
 * row.c
 *	  The trigger functions: a changed row, a statement about to change rows,
 *	  a truncated table.
 *
 * They only collect; what they collect takes effect at the commit.  They are
 * part of the user's statement: nothing in a row makes them fail.  Where
 * there is no shared memory, because the library was not preloaded, there is
 * no cache to invalidate, and they do nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "storage/proc.h"
#include "utils/datum.h"

#include "base/compat.h"
#include "capture/capture.h"
#include "capture/target.h"
#include "outbox/outbox.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(cachegrid_capture);
PG_FUNCTION_INFO_V1(cachegrid_capture_statement);

/*
 * The relation whose rows were last reported as changed, and in which
 * (sub)transaction, so that this is done once and not for every row.
 */
static Dependency reported_rows = 0;
static LocalTransactionId reported_in = InvalidLocalTransactionId;
static SubTransactionId reported_in_sub = InvalidSubTransactionId;

static TriggerData *
checked_trigger(FunctionCallInfo fcinfo, const char *name, bool for_row)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function %s can only be called as a trigger", name),
				errdetail("It reports what the trigger is fired for."),
				errhint("Call cachegrid.watch to put a table under watch."));
	if (for_row ? !(TRIGGER_FIRED_FOR_ROW(data->tg_event) &&
					TRIGGER_FIRED_AFTER(data->tg_event))
				: !TRIGGER_FIRED_FOR_STATEMENT(data->tg_event))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function %s must be fired %s", name,
					   for_row ? "AFTER and FOR EACH ROW" : "FOR EACH STATEMENT"),
				errdetail("Otherwise it would miss changes."),
				errhint("Do not create these triggers by hand: call cachegrid.watch."));
	return data;
}

static void
touch_rows(Dependency rows)
{
	LocalTransactionId transaction = cg_local_transaction_id();
	SubTransactionId subtransaction = GetCurrentSubTransactionId();

	if (rows == reported_rows && transaction == reported_in &&
		subtransaction == reported_in_sub)
		return;

	cg_coherence_touch(rows);
	reported_rows = rows;
	reported_in = transaction;
	reported_in_sub = subtransaction;
}

/* A template's key (or tag) of the row as it was and as it is; size 0: none. */
typedef struct RowKeys
{
	char was[CG_KEY_MAX_BYTES];
	char is[CG_KEY_MAX_BYTES];
	CacheKey old_key;
	CacheKey new_key;
} RowKeys;

/* Either row may be NULL. */
static void
render_keys(RowKeys *keys, const CaptureTemplate *template, TupleTableSlot *old_row,
			TupleTableSlot *new_row)
{
	keys->old_key = (CacheKey){keys->was, 0, template->prefix_size};
	keys->new_key = (CacheKey){keys->is, 0, template->prefix_size};
	if (old_row)
		keys->old_key.size = cg_capture_render_row(template, old_row, keys->was);
	if (new_row)
		keys->new_key.size = cg_capture_render_row(template, new_row, keys->is);
}

static void
touch_keys(const RowKeys *keys, void (*touch)(const CacheKey *))
{
	if (keys->new_key.size > 0)
		touch(&keys->new_key);
	if (keys->old_key.size > 0 && !cg_event_same_key(&keys->old_key, &keys->new_key))
		touch(&keys->old_key);
}

/* A NULL column makes no key; but what else makes none is told of as a whole. */
static bool
cannot_be_told(const CaptureTemplate *template, TupleTableSlot *row, const CacheKey *key)
{
	if (row == NULL || key->size > 0)
		return false;
	for (int i = 0; i < template->column_count; i++)
	{
		if (slot_attisnull(row, template->columns[i].attnum))
			return false;
	}
	return true;
}

static void
report_key(const CaptureTarget *target, const CaptureTemplate *template,
		   TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	RowKeys keys;

	render_keys(&keys, template, old_row, new_row);
	touch_keys(&keys, cg_coherence_touch_key);
	if (!cg_event_is_wanted(&target->events))
		return;
	if (cannot_be_told(template, old_row, &keys.old_key) ||
		cannot_be_told(template, new_row, &keys.new_key))
		cg_event_whole(&target->events);
	else
		cg_event_keys(&target->events, &keys.old_key, &keys.new_key);
}

static void
report_watched(const CaptureTarget *target, TupleTableSlot *old_row,
			   TupleTableSlot *new_row)
{
	ListCell *cell;

	touch_rows(target->rows);
	foreach (cell, target->arguments->keys)
		report_key(target, lfirst(cell), old_row, new_row);
	if (target->arguments->keys == NIL && cg_event_is_wanted(&target->events))
		cg_event_whole(&target->events);
	foreach (cell, target->arguments->tags)
	{
		RowKeys keys;

		render_keys(&keys, lfirst(cell), old_row, new_row);
		touch_keys(&keys, cg_coherence_touch_tag);
	}
}

static bool
same_columns(const CaptureMirror *mirror, TupleTableSlot *old_row,
			 TupleTableSlot *new_row)
{
	for (int i = 0; i < mirror->count; i++)
	{
		AttrNumber attnum = mirror->attnums[i];
		Form_pg_attribute column =
			TupleDescAttr(new_row->tts_tupleDescriptor, attnum - 1);
		bool old_null;
		bool new_null;
		Datum was = slot_getattr(old_row, attnum, &old_null);
		Datum is = slot_getattr(new_row, attnum, &new_null);

		if (old_null != new_null)
			return false;
		if (!old_null && !datum_image_eq(was, is, column->attbyval, column->attlen))
			return false;
	}
	return true;
}

/*
 * The new version may be looked up by its TID; an old version is reported
 * only if there is none with its key any more.
 */
static void
report_mirrored(const CaptureMirror *mirror, Relation relation, TupleTableSlot *old_row,
				TupleTableSlot *new_row)
{
	if (new_row)
		cg_outbox_touch(mirror->mirror, relation, new_row, mirror->attnums, mirror->count,
						true, mirror->wishes);
	if (old_row && !(new_row && same_columns(mirror, old_row, new_row)))
		cg_outbox_touch(mirror->mirror, relation, old_row, mirror->attnums, mirror->count,
						false, mirror->wishes);
}

/*
 * capture(): AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW.  An UPDATE that
 * leaves a template's columns as they were touches the key all the same: the
 * row has changed.
 */
Datum
cachegrid_capture(PG_FUNCTION_ARGS)
{
	TriggerData *data = checked_trigger(fcinfo, "cachegrid.capture", true);
	TupleTableSlot *old_row = NULL;
	TupleTableSlot *new_row = NULL;
	CaptureTarget *target;
	ListCell *cell;

	if (!cg_store_attached())
		return PointerGetDatum(NULL);
	target = cg_target_of_trigger(data->tg_trigger, data->tg_relation);
	if (target == NULL)
		return PointerGetDatum(NULL);

	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		new_row = data->tg_trigslot;
	else
		old_row = data->tg_trigslot;
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		new_row = data->tg_newslot;

	if (target->arguments->watched)
		report_watched(target, old_row, new_row);
	foreach (cell, target->arguments->mirrors)
		report_mirrored(lfirst(cell), data->tg_relation, old_row, new_row);
	return PointerGetDatum(NULL);
}

static void
report_truncated(const CaptureTarget *target, Relation relation)
{
	ListCell *cell;

	for (int i = 0; i < target->whole_count; i++)
		cg_coherence_touch(target->whole[i]);
	if (cg_event_is_wanted(&target->events))
		cg_event_whole(&target->events);
	foreach (cell, target->arguments->mirrors)
	{
		const CaptureMirror *mirror = lfirst(cell);

		cg_outbox_sweep(mirror->mirror, RelationGetRelid(relation), mirror->wishes);
	}
}

/* capture_statement(): BEFORE and AFTER each statement, TRUNCATE included. */
Datum
cachegrid_capture_statement(PG_FUNCTION_ARGS)
{
	TriggerData *data = checked_trigger(fcinfo, "cachegrid.capture_statement", false);
	CaptureTarget *target;

	if (!cg_store_attached())
		return PointerGetDatum(NULL);
	target = cg_target_of_trigger(data->tg_trigger, data->tg_relation);
	if (target == NULL)
		return PointerGetDatum(NULL);

	if (TRIGGER_FIRED_BEFORE(data->tg_event))
		cg_coherence_statement_begins(target->whole, target->whole_count);
	else
	{
		if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
			report_truncated(target, data->tg_relation);
		cg_coherence_statement_ends(target->whole, target->whole_count);
	}
	return PointerGetDatum(NULL);
}
