/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  SQL: watch(), unwatch() and the view of what is watched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "capture/capture.h"
#include "mirror/mirror.h"

PG_FUNCTION_INFO_V1(cachegrid_watch);
PG_FUNCTION_INFO_V1(cachegrid_unwatch);
PG_FUNCTION_INFO_V1(cachegrid_watched);

static Oid
table_argument(FunctionCallInfo fcinfo)
{
	return DatumGetObjectId(cg_api_required(fcinfo, 0, "table", "Name the table."));
}

/* As a list of char *; NIL for NULL. */
static List *
templates_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	List *result = NIL;
	Datum *elements;
	bool *nulls;
	int count;

	if (PG_ARGISNULL(number))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not contain nulls", name),
					errdetail("Element %d is null.", i + 1),
					errhint("Write a template, such as \"product:{id}\"."));
		result = lappend(result, TextDatumGetCString(elements[i]));
	}
	return result;
}

/* A flag that is false unless it is given. */
static bool
flag_argument(FunctionCallInfo fcinfo, int number, const char *name, const char *hint)
{
	return DatumGetBool(cg_api_required(fcinfo, number, name, hint));
}

static void
refuse_argument(const char *name)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("argument \"%s\" needs \"publish\"", name),
			errdetail("It says where and how changes are published."),
			errhint("Add publish => true."));
}

Datum
cachegrid_watch(PG_FUNCTION_ARGS)
{
	Oid table = table_argument(fcinfo);
	CaptureWatch watch = {
		.keys = templates_argument(fcinfo, 1, "keys"),
		.tags = templates_argument(fcinfo, 2, "tags"),
		.notifies = flag_argument(fcinfo, 7, "notify", "Leave \"notify\" out for false."),
	};
	StreamRequest stream = {
		.server = PG_ARGISNULL(4) ? NULL : NameStr(*PG_GETARG_NAME(4)),
		.channel = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5)),
		.sharded =
			flag_argument(fcinfo, 6, "sharded", "Leave \"sharded\" out for false."),
	};
	bool publish =
		flag_argument(fcinfo, 3, "publish", "Leave \"publish\" out for false.");

	if (!publish && stream.server)
		refuse_argument("server");
	if (!publish && stream.channel)
		refuse_argument("channel");
	if (!publish && stream.sharded)
		refuse_argument("sharded");
	cg_mirror_watch(table, &watch, publish ? &stream : NULL);
	PG_RETURN_VOID();
}

Datum
cachegrid_unwatch(PG_FUNCTION_ARGS)
{
	cg_mirror_unwatch(table_argument(fcinfo));
	PG_RETURN_VOID();
}

static Datum
templates_datum(CaptureTemplate **templates, int count, TupleDesc desc)
{
	Datum *elements = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		elements[i] =
			CStringGetTextDatum(cg_capture_template_to_text(templates[i], desc));
	return PointerGetDatum(
		construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
put_watched(ReturnSetInfo *result, Relation relation)
{
	CaptureSpec *spec = cg_capture_declared_spec(relation);
	Datum values[4];
	bool nulls[4] = {false};

	if (spec == NULL)
		return;
	values[0] = ObjectIdGetDatum(RelationGetRelid(relation));
	values[1] = templates_datum(spec->keys, spec->key_count, RelationGetDescr(relation));
	values[2] = templates_datum(spec->tags, spec->tag_count, RelationGetDescr(relation));
	values[3] = BoolGetDatum(cg_capture_spec(relation) != NULL);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The tables that have a trigger with this function and are no partitions. */
static List *
tables_with_trigger(const char *function)
{
	Oid oid = DatumGetObjectId(
		DirectFunctionCall1(to_regprocedure, CStringGetTextDatum(function)));
	Relation catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List *tables = NIL;
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger->tgfoid == oid && trigger->tgparentid == InvalidOid)
			tables = lappend_oid(tables, trigger->tgrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tables;
}

Datum
cachegrid_watched(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach (cell, tables_with_trigger("cachegrid.capture()"))
	{
		Relation relation = try_relation_open(lfirst_oid(cell), AccessShareLock);

		if (relation == NULL)
			continue;
		put_watched(result, relation);
		relation_close(relation, AccessShareLock);
	}
	return (Datum) 0;
}
