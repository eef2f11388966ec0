/*-------------------------------------------------------------------------
 *
 * mirror.c
 *	  SQL: mirror(), unmirror(), resync(), verify(), the state of mirrors and
 *	  of Redis nodes, and the validator of the foreign-data wrapper.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "mirror/mirror.h"

PG_FUNCTION_INFO_V1(cachegrid_mirror);
PG_FUNCTION_INFO_V1(cachegrid_unmirror);
PG_FUNCTION_INFO_V1(cachegrid_resync);
PG_FUNCTION_INFO_V1(cachegrid_verify);
PG_FUNCTION_INFO_V1(cachegrid_mirror_status);
PG_FUNCTION_INFO_V1(cachegrid_mirror_progress);
PG_FUNCTION_INFO_V1(cachegrid_stat_redis);
PG_FUNCTION_INFO_V1(cachegrid_redis_options);

static Oid
table_argument(FunctionCallInfo fcinfo)
{
	return DatumGetObjectId(cg_api_required(fcinfo, 0, "table", "Name the table."));
}

static const char *
server_argument(FunctionCallInfo fcinfo)
{
	return NameStr(*DatumGetName(cg_api_required(
		fcinfo, 1, "server",
		"Name a server of the foreign-data wrapper \"cachegrid_redis\".")));
}

static const char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name, const char *hint)
{
	return TextDatumGetCString(cg_api_required(fcinfo, number, name, hint));
}

/* As a list of char *; NIL for NULL, which means all. */
static List *
columns_argument(FunctionCallInfo fcinfo, int number)
{
	List *columns = NIL;
	Datum *elements;
	bool *nulls;
	int count;

	if (PG_ARGISNULL(number))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), NAMEOID, NAMEDATALEN, false,
					  TYPALIGN_CHAR, &elements, &nulls, &count);
	if (count == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("columns must not be empty"),
				errdetail("A value without columns would say nothing."),
				errhint("Leave \"columns\" out, or pass NULL, for all columns."));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("columns must not contain nulls"),
					errdetail("Element %d is null.", i + 1),
					errhint("Name a column of the table."));
		columns = lappend(columns, pstrdup(NameStr(*DatumGetName(elements[i]))));
	}
	return columns;
}

Datum
cachegrid_mirror(PG_FUNCTION_ARGS)
{
	MirrorRequest request = {
		.relation = table_argument(fcinfo),
		.server = server_argument(fcinfo),
		.key = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.mode = text_argument(fcinfo, 3, "mode", "Leave \"mode\" out for write-behind."),
		.format = text_argument(fcinfo, 4, "format", "Leave \"format\" out for json."),
		.columns = columns_argument(fcinfo, 5),
		.ttl = PG_ARGISNULL(6) ? NULL : PG_GETARG_INTERVAL_P(6),
		.strict = DatumGetBool(
			cg_api_required(fcinfo, 7, "strict", "Leave \"strict\" out for true.")),
		.on_unavailable = text_argument(fcinfo, 8, "on_unavailable",
										"Leave \"on_unavailable\" out for error."),
		.ttl_jitter = DatumGetFloat8(cg_api_required(
			fcinfo, 9, "ttl_jitter", "Leave \"ttl_jitter\" out for none.")),
		.transform = PG_ARGISNULL(10) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(10)),
	};

	cg_mirror_declare(&request);
	PG_RETURN_VOID();
}

Datum
cachegrid_unmirror(PG_FUNCTION_ARGS)
{
	Oid table = table_argument(fcinfo);

	cg_mirror_undeclare(table, server_argument(fcinfo));
	PG_RETURN_VOID();
}

Datum
cachegrid_resync(PG_FUNCTION_ARGS)
{
	Oid table = table_argument(fcinfo);
	const char *server = server_argument(fcinfo);

	cg_mirror_resync(table, server,
					 DatumGetBool(cg_api_required(
						 fcinfo, 2, "differences",
						 "Leave \"differences\" out to have all rows written.")));
	PG_RETURN_VOID();
}

Datum
cachegrid_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid table = table_argument(fcinfo);
	const char *server = server_argument(fcinfo);

	InitMaterializedSRF(fcinfo, 0);
	cg_mirror_verify(table, server, result->setResult, result->setDesc);
	return (Datum) 0;
}

/* The result of a function without arguments that puts out rows. */
static Datum
rows_of(FunctionCallInfo fcinfo, void (*put)(Tuplestorestate *rows, TupleDesc desc))
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	put(result->setResult, result->setDesc);
	return (Datum) 0;
}

Datum
cachegrid_mirror_status(PG_FUNCTION_ARGS)
{
	return rows_of(fcinfo, cg_mirror_statuses);
}

Datum
cachegrid_mirror_progress(PG_FUNCTION_ARGS)
{
	return rows_of(fcinfo, cg_mirror_progress);
}

Datum
cachegrid_stat_redis(PG_FUNCTION_ARGS)
{
	return rows_of(fcinfo, cg_mirror_node_statuses);
}

Datum
cachegrid_redis_options(PG_FUNCTION_ARGS)
{
	cg_mirror_check_options(untransformRelOptions(PG_GETARG_DATUM(0)), PG_GETARG_OID(1));
	PG_RETURN_VOID();
}
