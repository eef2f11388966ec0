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
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
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
static const Oid steady_functions[] = {
	/* Text, arrays, JSON: stable for the sake of their arguments' types. */
	F_CONCAT,
	F_CONCAT_WS,
	F_FORMAT_TEXT,
	F_FORMAT_TEXT_ANY,
	F_QUOTE_LITERAL_ANYELEMENT,
	F_QUOTE_NULLABLE_ANYELEMENT,
	F_TEXTANYCAT,
	F_ANYTEXTCAT,
	F_CONVERT_FROM,
	F_CONVERT_TO,
	F_ARRAY_TO_STRING_ANYARRAY_TEXT,
	F_ARRAY_TO_STRING_ANYARRAY_TEXT_TEXT,
	F_ARRAY_TO_JSON_ANYARRAY,
	F_ARRAY_TO_JSON_ANYARRAY_BOOL,
	F_ROW_TO_JSON_RECORD,
	F_ROW_TO_JSON_RECORD_BOOL,
	F_TO_JSON,
	F_TO_JSONB,
	F_JSON_AGG,
	F_JSON_BUILD_ARRAY_,
	F_JSON_BUILD_ARRAY_ANY,
	F_JSON_BUILD_OBJECT_,
	F_JSON_BUILD_OBJECT_ANY,
	F_JSON_OBJECT_AGG,
	F_JSONB_AGG,
	F_JSONB_BUILD_ARRAY_,
	F_JSONB_BUILD_ARRAY_ANY,
	F_JSONB_BUILD_OBJECT_,
	F_JSONB_BUILD_OBJECT_ANY,
	F_JSONB_OBJECT_AGG,
	/* Dates and times: stable for the sake of TimeZone and DateStyle. */
	F_DATE_OUT,
	F_TIMESTAMP_OUT,
	F_TIMESTAMPTZ_OUT,
	F_INTERVAL_OUT,
	F_ARRAY_OUT,
	F_RANGE_OUT,
	F_MULTIRANGE_OUT,
	F_RECORD_OUT,
	F_ENUM_OUT,
	F_ENUM_FIRST,
	F_ENUM_LAST,
	F_ENUM_RANGE_ANYENUM,
	F_ENUM_RANGE_ANYENUM_ANYENUM,
	F_DATE_TIMESTAMPTZ,
	F_TIME_TIMESTAMPTZ,
	F_TIMESTAMP_TIMESTAMPTZ,
	F_TIMESTAMPTZ_DATE,
	F_TIMESTAMPTZ_DATE_TIME,
	F_TIMESTAMPTZ_TIMESTAMP,
	F_TIMETZ_TIMESTAMPTZ,
	F_DATE_PART_TEXT_TIMESTAMPTZ,
	F_EXTRACT_TEXT_TIMESTAMPTZ,
	F_DATE_TRUNC_TEXT_TIMESTAMPTZ,
	F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT,
	F_INTERVAL_PL_TIMESTAMPTZ,
	F_TIMESTAMPTZ_PL_INTERVAL,
	F_TIMESTAMPTZ_MI_INTERVAL,
	F_GENERATE_SERIES_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL,
	F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8,
	F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT,
	F_DATE_CMP_TIMESTAMPTZ,
	F_DATE_EQ_TIMESTAMPTZ,
	F_DATE_NE_TIMESTAMPTZ,
	F_DATE_LT_TIMESTAMPTZ,
	F_DATE_LE_TIMESTAMPTZ,
	F_DATE_GT_TIMESTAMPTZ,
	F_DATE_GE_TIMESTAMPTZ,
	F_TIMESTAMPTZ_CMP_DATE,
	F_TIMESTAMPTZ_EQ_DATE,
	F_TIMESTAMPTZ_NE_DATE,
	F_TIMESTAMPTZ_LT_DATE,
	F_TIMESTAMPTZ_LE_DATE,
	F_TIMESTAMPTZ_GT_DATE,
	F_TIMESTAMPTZ_GE_DATE,
	F_TIMESTAMP_CMP_TIMESTAMPTZ,
	F_TIMESTAMP_EQ_TIMESTAMPTZ,
	F_TIMESTAMP_NE_TIMESTAMPTZ,
	F_TIMESTAMP_LT_TIMESTAMPTZ,
	F_TIMESTAMP_LE_TIMESTAMPTZ,
	F_TIMESTAMP_GT_TIMESTAMPTZ,
	F_TIMESTAMP_GE_TIMESTAMPTZ,
	F_TIMESTAMPTZ_CMP_TIMESTAMP,
	F_TIMESTAMPTZ_EQ_TIMESTAMP,
	F_TIMESTAMPTZ_NE_TIMESTAMP,
	F_TIMESTAMPTZ_LT_TIMESTAMP,
	F_TIMESTAMPTZ_LE_TIMESTAMP,
	F_TIMESTAMPTZ_GT_TIMESTAMP,
	F_TIMESTAMPTZ_GE_TIMESTAMP,
	/* What stays the same for a database or an identity. */
	F_CURRENT_DATABASE,
	F_CURRENT_USER,
	F_GETDATABASEENCODING,
	F_VERSION,
};

/* By the locale, which is pinned where one of these is called. */
static const Oid locale_functions[] = {
	F_TO_CHAR_INT4_TEXT,	  F_TO_CHAR_INT8_TEXT,		  F_TO_CHAR_FLOAT4_TEXT,
	F_TO_CHAR_FLOAT8_TEXT,	  F_TO_CHAR_NUMERIC_TEXT,	  F_TO_CHAR_INTERVAL_TEXT,
	F_TO_CHAR_TIMESTAMP_TEXT, F_TO_CHAR_TIMESTAMPTZ_TEXT,
};

/* By the session that asks. */
static const Oid session_functions[] = {
	F_CURRENT_SETTING_TEXT,
	F_CURRENT_SETTING_TEXT_BOOL,
	F_SESSION_USER,
	F_GETPGUSERNAME,
	F_PG_BACKEND_PID,
	F_INET_CLIENT_ADDR,
	F_INET_CLIENT_PORT,
	F_PG_MY_TEMP_SCHEMA,
	F_LASTVAL,
	F_CURRVAL,
};

static bool
is_among(Oid function, const Oid *list, int count)
{
	for (int i = 0; i < count; i++)
		if (list[i] == function)
			return true;
	return false;
}

/* Our own fetch() and its kin inside a query: its dependencies are handed on by itself. */
static bool
is_fetch(Oid function)
{
	char *name;
	char *space;

	if (function < FirstNormalObjectId)
		return false;
	name = get_func_name(function);
	space = get_namespace_name(get_func_namespace(function));
	return name && space && strcmp(space, "cachegrid") == 0 &&
		   (strcmp(name, "fetch") == 0 || strcmp(name, "fetch_many") == 0 ||
			strcmp(name, "fetch_row") == 0);
}

/* Other sessions have none in pg_temp, or another one. */
static bool
is_temporary_function(Oid function)
{
	return function >= FirstNormalObjectId &&
		   isAnyTempNamespace(get_func_namespace(function));
}

/* The first of its sort is remembered. */
static void
note(char **first, const char *form, const char *name)
{
	if (*first == NULL)
		*first = psprintf(form, name);
}

/* "i"mmutable, "s"table, "v"olatile; an aggregate may lack this function. */
static char
more_volatile(char volatility, Oid function)
{
	return OidIsValid(function) ? Max(volatility, func_volatile(function)) : volatility;
}

/* The most volatile of an aggregate's functions; all aggregates are marked immutable. */
static char
volatility_of_aggregate(Oid function)
{
	HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	Form_pg_aggregate form;
	char volatility = PROVOLATILE_IMMUTABLE;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", function);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	volatility = more_volatile(volatility, form->aggtransfn);
	volatility = more_volatile(volatility, form->aggfinalfn);
	volatility = more_volatile(volatility, form->aggcombinefn);
	volatility = more_volatile(volatility, form->aggserialfn);
	volatility = more_volatile(volatility, form->aggdeserialfn);
	volatility = more_volatile(volatility, form->aggmtransfn);
	volatility = more_volatile(volatility, form->aggminvtransfn);
	volatility = more_volatile(volatility, form->aggmfinalfn);
	ReleaseSysCache(tuple);
	return volatility;
}

static char
volatility_of(Oid function)
{
	if (function < FirstNormalObjectId || get_func_prokind(function) != PROKIND_AGGREGATE)
		return func_volatile(function);
	return volatility_of_aggregate(function);
}

/* Told of each function that a node calls; false: go on. */
static bool
judge_function(Oid function, void *context)
{
	LoadPurity *purity = context;
	char volatility = volatility_of(function);

	if (is_temporary_function(function))
		note(&purity->session, "temporary function %s", get_func_name(function));
	if (volatility == PROVOLATILE_IMMUTABLE ||
		is_among(function, steady_functions, lengthof(steady_functions)) ||
		is_fetch(function))
		return false;

	if (is_among(function, locale_functions, lengthof(locale_functions)))
		purity->locale = true;
	else if (is_among(function, session_functions, lengthof(session_functions)))
		note(&purity->session, "function %s", format_procedure(function));
	else if (volatility == PROVOLATILE_STABLE && function >= FirstNormalObjectId)
		note(&purity->opaque, "function %s", format_procedure(function));
	else
		note(&purity->moving, "function %s", format_procedure(function));
	return false;
}

/* The name of what stands in pg_temp, else NULL. */
static char *
name_if_temporary(Oid namespace, const NameData *name)
{
	return isAnyTempNamespace(namespace) ? pstrdup(NameStr(*name)) : NULL;
}

static void
judge_operator(Oid opno, LoadPurity *purity)
{
	HeapTuple tuple;
	Form_pg_operator form;
	char *name;

	if (opno < FirstNormalObjectId)
		return;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(opno));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", opno);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = name_if_temporary(form->oprnamespace, &form->oprname);
	ReleaseSysCache(tuple);
	if (name)
		note(&purity->session, "temporary operator %s", name);
}

static void
judge_collation(Oid collation, LoadPurity *purity)
{
	HeapTuple tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = name_if_temporary(form->collnamespace, &form->collname);
	ReleaseSysCache(tuple);
	if (name)
		note(&purity->session, "temporary collation %s", name);
}

/* Operators by their own names: their functions may stand elsewhere. */
static void
judge_operators(Node *node, LoadPurity *purity)
{
	ListCell *cell;

	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			judge_operator(((OpExpr *) node)->opno, purity);
			break;
		case T_ScalarArrayOpExpr:
			judge_operator(((ScalarArrayOpExpr *) node)->opno, purity);
			break;
		case T_RowCompareExpr:
			foreach (cell, ((RowCompareExpr *) node)->opnos)
				judge_operator(lfirst_oid(cell), purity);
			break;
		default:
			break;
	}
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

/* The type of a value that the query makes, and its name. */
static void
judge_made_type(Oid type, LoadPurity *purity)
{
	if (cg_load_type_is_temporary(type))
		note(&purity->session, "temporary type %s", format_type_be(type));
	if (!cg_load_type_is_checked_steadily(type))
		note(&purity->moving, "the constraints of type %s", format_type_be(type));
}

/* A cast through text. */
static void
judge_text_cast(CoerceViaIO *cast, LoadPurity *purity)
{
	Oid from = exprType((Node *) cast->arg);

	judge_made_type(cast->resulttype, purity);
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

/* Where a row lies and who locks it changes without any change of the row. */
static void
judge_column(const Var *var, LoadPurity *purity)
{
	if (var->varattno < 0 && var->varattno != TableOidAttributeNumber)
		note(&purity->moving, "system column %s",
			 NameStr(SystemAttributeDefinition(var->varattno)->attname));
}

List *
cg_load_call_arguments(const FuncExpr *call)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	List *arguments = call->args;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	if (list_length(arguments) < ((Form_pg_proc) GETSTRUCT(tuple))->pronargs)
		arguments = expand_function_arguments(copyObject(arguments), false,
											  call->funcresulttype, tuple);
	ReleaseSysCache(tuple);
	return arguments;
}

void
cg_load_purity_of_node(Node *node, LoadPurity *purity)
{
	judge_operators(node, purity);
	switch (nodeTag(node))
	{
		case T_CollateExpr:
			judge_collation(((CollateExpr *) node)->collOid, purity);
			break;
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
			judge_column((Var *) node, purity);
			judge_type(node, purity);
			break;
		case T_RowExpr:
		case T_ArrayExpr:
		case T_ConvertRowtypeExpr:
			judge_made_type(exprType(node), purity);
			break;
		case T_Const:
		case T_Param:
		case T_RelabelType:
		case T_ArrayCoerceExpr:
		case T_CoerceToDomain:
			judge_made_type(exprType(node), purity);
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
