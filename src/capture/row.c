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

/* Touch the key (or tag) of the row as it was and as it is; either may be NULL. */
static void
touch_template(const CaptureTemplate *template, void (*touch)(const CacheKey *),
			   TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	char was[CG_KEY_MAX_BYTES];
	char is[CG_KEY_MAX_BYTES];
	CacheKey old_key = {was, 0, template->prefix_size};
	CacheKey new_key = {is, 0, template->prefix_size};

	if (old_row)
		old_key.size = cg_capture_render_row(template, old_row, was);
	if (new_row)
		new_key.size = cg_capture_render_row(template, new_row, is);

	if (new_key.size > 0)
		touch(&new_key);
	if (old_key.size > 0 &&
		(old_key.size != new_key.size || memcmp(was, is, old_key.size) != 0))
		touch(&old_key);
}

static void
report_watched(const CaptureTarget *target, TupleTableSlot *old_row,
			   TupleTableSlot *new_row)
{
	ListCell *cell;

	touch_rows(target->rows);
	foreach (cell, target->arguments->keys)
		touch_template(lfirst(cell), cg_coherence_touch_key, old_row, new_row);
	foreach (cell, target->arguments->tags)
		touch_template(lfirst(cell), cg_coherence_touch_tag, old_row, new_row);
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
