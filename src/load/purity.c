/*-------------------------------------------------------------------------
 *
 * purity.c
 *	  Finds what in an expression does not follow from rows and arguments.
 *
 * Functions that are marked immutable are believed.  Of the stable ones of
 * PostgreSQL itself, those are listed here that ask nothing but settings,
 * which are pinned while a query is run; the others, and all volatile ones,
 * ask the time, chance, the catalogs, or the session.  A stable function of
 * the user's may read any table unseen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "load/purity.h"

/* Stable, but under pinned settings their result follows from their arguments. */
static bool
is_steady_function(Oid function)
{
	switch (function)
	{
			/* Text, arrays, JSON: stable for the sake of their arguments' types. */
		case F_CONCAT:
		case F_CONCAT_WS:
		case F_FORMAT_TEXT:
		case F_FORMAT_TEXT_ANY:
		case F_QUOTE_LITERAL_ANYELEMENT:
		case F_QUOTE_NULLABLE_ANYELEMENT:
		case F_TEXTANYCAT:
		case F_ANYTEXTCAT:
		case F_CONVERT_FROM:
		case F_CONVERT_TO:
		case F_ARRAY_TO_STRING_ANYARRAY_TEXT:
		case F_ARRAY_TO_STRING_ANYARRAY_TEXT_TEXT:
		case F_ARRAY_TO_JSON_ANYARRAY:
		case F_ARRAY_TO_JSON_ANYARRAY_BOOL:
		case F_ROW_TO_JSON_RECORD:
		case F_ROW_TO_JSON_RECORD_BOOL:
		case F_TO_JSON:
		case F_TO_JSONB:
		case F_JSON_AGG:
		case F_JSON_BUILD_ARRAY_:
		case F_JSON_BUILD_ARRAY_ANY:
		case F_JSON_BUILD_OBJECT_:
		case F_JSON_BUILD_OBJECT_ANY:
		case F_JSON_OBJECT_AGG:
		case F_JSONB_AGG:
		case F_JSONB_BUILD_ARRAY_:
		case F_JSONB_BUILD_ARRAY_ANY:
		case F_JSONB_BUILD_OBJECT_:
		case F_JSONB_BUILD_OBJECT_ANY:
		case F_JSONB_OBJECT_AGG:
			/* Dates and times: stable for the sake of TimeZone and DateStyle. */
		case F_DATE_OUT:
		case F_TIMESTAMP_OUT:
		case F_TIMESTAMPTZ_OUT:
		case F_INTERVAL_OUT:
		case F_ARRAY_OUT:
		case F_RANGE_OUT:
		case F_MULTIRANGE_OUT:
		case F_RECORD_OUT:
		case F_ENUM_OUT:
		case F_ENUM_FIRST:
		case F_ENUM_LAST:
		case F_ENUM_RANGE_ANYENUM:
		case F_ENUM_RANGE_ANYENUM_ANYENUM:
		case F_DATE_TIMESTAMPTZ:
		case F_TIME_TIMESTAMPTZ:
		case F_TIMESTAMP_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_DATE:
		case F_TIMESTAMPTZ_DATE_TIME:
		case F_TIMESTAMPTZ_TIMESTAMP:
		case F_TIMETZ_TIMESTAMPTZ:
		case F_DATE_PART_TEXT_TIMESTAMPTZ:
		case F_EXTRACT_TEXT_TIMESTAMPTZ:
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
		case F_INTERVAL_PL_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_PL_INTERVAL:
		case F_TIMESTAMPTZ_MI_INTERVAL:
		case F_GENERATE_SERIES_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL:
		case F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8:
		case F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT:
		case F_DATE_CMP_TIMESTAMPTZ:
		case F_DATE_EQ_TIMESTAMPTZ:
		case F_DATE_NE_TIMESTAMPTZ:
		case F_DATE_LT_TIMESTAMPTZ:
		case F_DATE_LE_TIMESTAMPTZ:
		case F_DATE_GT_TIMESTAMPTZ:
		case F_DATE_GE_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_CMP_DATE:
		case F_TIMESTAMPTZ_EQ_DATE:
		case F_TIMESTAMPTZ_NE_DATE:
		case F_TIMESTAMPTZ_LT_DATE:
		case F_TIMESTAMPTZ_LE_DATE:
		case F_TIMESTAMPTZ_GT_DATE:
		case F_TIMESTAMPTZ_GE_DATE:
		case F_TIMESTAMP_CMP_TIMESTAMPTZ:
		case F_TIMESTAMP_EQ_TIMESTAMPTZ:
		case F_TIMESTAMP_NE_TIMESTAMPTZ:
		case F_TIMESTAMP_LT_TIMESTAMPTZ:
		case F_TIMESTAMP_LE_TIMESTAMPTZ:
		case F_TIMESTAMP_GT_TIMESTAMPTZ:
		case F_TIMESTAMP_GE_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_CMP_TIMESTAMP:
		case F_TIMESTAMPTZ_EQ_TIMESTAMP:
		case F_TIMESTAMPTZ_NE_TIMESTAMP:
		case F_TIMESTAMPTZ_LT_TIMESTAMP:
		case F_TIMESTAMPTZ_LE_TIMESTAMP:
		case F_TIMESTAMPTZ_GT_TIMESTAMP:
		case F_TIMESTAMPTZ_GE_TIMESTAMP:
			/* What stays the same for a database or an identity. */
		case F_CURRENT_DATABASE:
		case F_CURRENT_USER:
		case F_GETDATABASEENCODING:
		case F_VERSION:
			return true;
		default:
			return false;
	}
}

static bool
is_locale_function(Oid function)
{
	switch (function)
	{
		case F_TO_CHAR_INT4_TEXT:
		case F_TO_CHAR_INT8_TEXT:
		case F_TO_CHAR_FLOAT4_TEXT:
		case F_TO_CHAR_FLOAT8_TEXT:
		case F_TO_CHAR_NUMERIC_TEXT:
		case F_TO_CHAR_INTERVAL_TEXT:
		case F_TO_CHAR_TIMESTAMP_TEXT:
		case F_TO_CHAR_TIMESTAMPTZ_TEXT:
			return true;
		default:
			return false;
	}
}

static bool
is_session_function(Oid function)
{
	switch (function)
	{
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_SESSION_USER:
		case F_GETPGUSERNAME:
		case F_PG_BACKEND_PID:
		case F_INET_CLIENT_ADDR:
		case F_INET_CLIENT_PORT:
		case F_PG_MY_TEMP_SCHEMA:
		case F_LASTVAL:
		case F_CURRVAL:
			return true;
		default:
			return false;
	}
}

/* Our own fetch() inside a query: its dependencies are handed on by itself. */
static bool
is_fetch(Oid function)
{
	char *name;
	char *space;

	if (function < FirstNormalObjectId)
		return false;
	name = get_func_name(function);
	space = get_namespace_name(get_func_namespace(function));
	return name && space && strcmp(name, "fetch") == 0 && strcmp(space, "cachegrid") == 0;
}

/* The first of its sort is remembered. */
static void
note(char **first, const char *form, const char *name)
{
	if (*first == NULL)
		*first = psprintf(form, name);
}

/* Aggregates are all marked immutable: theirs is the volatility of their parts. */
static char
volatility_of(Oid function)
{
	HeapTuple tuple;
	char volatility;

	if (function < FirstNormalObjectId || get_func_prokind(function) != PROKIND_AGGREGATE)
		return func_volatile(function);

	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", function);
	volatility = func_volatile(((Form_pg_aggregate) GETSTRUCT(tuple))->aggtransfn);
	if (OidIsValid(((Form_pg_aggregate) GETSTRUCT(tuple))->aggfinalfn) &&
		volatility == PROVOLATILE_IMMUTABLE)
		volatility = func_volatile(((Form_pg_aggregate) GETSTRUCT(tuple))->aggfinalfn);
	ReleaseSysCache(tuple);
	return volatility;
}

/* Told of each function that a node calls; false: go on. */
static bool
judge_function(Oid function, void *context)
{
	LoadPurity *purity = context;
	char volatility = volatility_of(function);

	if (volatility == PROVOLATILE_IMMUTABLE || is_steady_function(function) ||
		is_fetch(function))
		return false;

	if (is_locale_function(function))
		purity->locale = true;
	else if (is_session_function(function))
		note(&purity->session, "function %s", format_procedure(function));
	else if (volatility == PROVOLATILE_STABLE && function >= FirstNormalObjectId)
		note(&purity->opaque, "function %s", format_procedure(function));
	else
		note(&purity->moving, "function %s", format_procedure(function));
	return false;
}

/* current_date and its kin; the role is part of the identity. */
static void
judge_value_function(SQLValueFunction *function, LoadPurity *purity)
{
	switch (function->op)
	{
		case SVFOP_CURRENT_ROLE:
		case SVFOP_CURRENT_USER:
		case SVFOP_USER:
		case SVFOP_CURRENT_CATALOG:
		case SVFOP_CURRENT_SCHEMA:
			break;
		case SVFOP_SESSION_USER:
			note(&purity->session, "%s", "SESSION_USER");
			break;
		default:
			note(&purity->moving, "%s", "the current date or time");
	}
}

/* A cast through text. */
static void
judge_text_cast(CoerceViaIO *cast, LoadPurity *purity)
{
	Oid from = exprType((Node *) cast->arg);

	if (!cg_load_type_is_written_steadily(from))
		note(&purity->moving, "type %s", format_type_be(from));
	if (!cg_load_type_is_read_steadily(cast->resulttype))
		note(&purity->moving, "a cast from text to type %s",
			 format_type_be(cast->resulttype));
}

/* Nodes that make a value of a type: is its text steady? */
static void
judge_type(Node *node, LoadPurity *purity)
{
	Oid type = exprType(node);

	if (!cg_load_type_is_written_steadily(type))
		note(&purity->moving, "type %s", format_type_be(type));
}

void
cg_load_purity_of_node(Node *node, LoadPurity *purity)
{
	switch (nodeTag(node))
	{
		case T_SQLValueFunction:
			judge_value_function((SQLValueFunction *) node, purity);
			break;
		case T_CoerceViaIO:
			judge_text_cast((CoerceViaIO *) node, purity);
			break;
		case T_XmlExpr:
			note(&purity->moving, "%s", "an XML expression");
			break;
		case T_NextValueExpr:
			note(&purity->moving, "%s", "a sequence");
			break;
		case T_TableSampleClause:
			note(&purity->moving, "%s", "TABLESAMPLE");
			break;
		case T_Var:
		case T_Const:
		case T_Param:
		case T_RelabelType:
		case T_ArrayCoerceExpr:
		case T_CoerceToDomain:
			judge_type(node, purity);
			break;
		case T_FuncExpr:
		case T_OpExpr:
		case T_Aggref:
			judge_type(node, purity);
			(void) check_functions_in_node(node, judge_function, purity);
			break;
		default:
			if (cg_is_sql_json(node) && contain_mutable_functions(node))
				note(&purity->moving, "%s", "an SQL/JSON expression");
			else
				(void) check_functions_in_node(node, judge_function, purity);
	}
}
