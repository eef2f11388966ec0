/*-------------------------------------------------------------------------
 *
 * types.c
 *	  Types whose values are always written, or read, alike under pinned
 *	  settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "load/purity.h"

typedef bool (*BaseTypeTest)(Oid type);

/* Does to_jsonb() call a function of the user's for it, and which?  For rows it asks none. */
static bool
has_cast_to_json(Oid type, Oid *function)
{
	return type >= FirstNormalObjectId && !type_is_rowtype(type) &&
		   find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, function) ==
			   COERCION_PATH_FUNC;
}

static bool
is_json_by_itself(Oid type)
{
	Oid function;

	return !has_cast_to_json(type, &function);
}

/* Written by the names of other objects, by the locale, or by the session. */
static bool
is_written_steadily(Oid type)
{
	Oid output;
	Oid cast;
	bool is_varlena;

	switch (type)
	{
		case REGCLASSOID:
		case REGCOLLATIONOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGNAMESPACEOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGROLEOID:
		case REGTYPEOID:
		case ACLITEMOID:
		case MONEYOID:
		case XMLOID:
			return false;
		default:
			if (type < FirstNormalObjectId)
				return true;
	}

	/* A type of the user's: by its output function, and its cast to json. */
	getTypeOutputInfo(type, &output, &is_varlena);
	if (get_typtype(type) == TYPTYPE_BASE &&
		func_volatile(output) != PROVOLATILE_IMMUTABLE)
		return false;
	return !has_cast_to_json(type, &cast) || func_volatile(cast) == PROVOLATILE_IMMUTABLE;
}

/* 'now', 'today' ... mean another date or time each day. */
static bool
is_read_steadily(Oid type)
{
	Oid input;
	Oid parameter;

	switch (type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return false;
		default:
			if (type < FirstNormalObjectId)
				return is_written_steadily(type);
	}
	getTypeInputInfo(type, &input, &parameter);
	return get_typtype(type) != TYPTYPE_BASE ||
		   func_volatile(input) == PROVOLATILE_IMMUTABLE;
}

static bool
has_no_dayless_zone(Oid type)
{
	return type != TIMETZOID;
}

static bool
is_lasting(Oid type)
{
	HeapTuple tuple;
	bool temporary;

	if (type < FirstNormalObjectId)
		return true;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	temporary = isAnyTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return !temporary;
}

/* What a domain's CHECK constraints ask may be more than the value. */
static bool
is_checked_steadily(Oid type)
{
	DomainConstraintRef *constraints;
	ListCell *cell;

	if (get_typtype(type) != TYPTYPE_DOMAIN)
		return true;
	/* The context's end looks at it again. */
	constraints = palloc(sizeof(DomainConstraintRef));
	InitDomainConstraintRef(type, constraints, CurrentMemoryContext, false);
	foreach (cell, constraints->constraints)
		if (contain_mutable_functions(
				(Node *) ((DomainConstraintState *) lfirst(cell))->check_expr))
			return false;
	return true;
}

static bool holds_for_all_parts(Oid type, BaseTypeTest test);

static bool
holds_for_all_columns(Oid type, BaseTypeTest test)
{
	TupleDesc desc = lookup_rowtype_tupdesc(type, -1);
	bool holds = true;

	for (int i = 0; i < desc->natts && holds; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			holds = holds_for_all_parts(TupleDescAttr(desc, i)->atttypid, test);
	ReleaseTupleDesc(desc);
	return holds;
}

static bool
holds_for_all_parts(Oid type, BaseTypeTest test)
{
	Oid element;

	check_stack_depth();
	element = get_element_type(type);
	if (OidIsValid(element))
		return holds_for_all_parts(element, test);

	switch (get_typtype(type))
	{
		case TYPTYPE_COMPOSITE:
			return test(type) && holds_for_all_columns(type, test);
		case TYPTYPE_DOMAIN:
			return test(type) && holds_for_all_parts(getBaseType(type), test);
		case TYPTYPE_RANGE:
			return test(type) && holds_for_all_parts(get_range_subtype(type), test);
		case TYPTYPE_MULTIRANGE:
			return test(type) && holds_for_all_parts(get_multirange_range(type), test);
		case TYPTYPE_BASE:
		case TYPTYPE_ENUM:
			return test(type);
		default:
			return true; /* pseudo types */
	}
}

bool
cg_load_type_is_written_steadily(Oid type)
{
	return holds_for_all_parts(type, is_written_steadily);
}

bool
cg_load_type_is_read_steadily(Oid type)
{
	return holds_for_all_parts(type, is_read_steadily);
}

bool
cg_load_type_has_dayless_zone(Oid type)
{
	return !holds_for_all_parts(type, has_no_dayless_zone);
}

bool
cg_load_type_is_temporary(Oid type)
{
	return !holds_for_all_parts(type, is_lasting);
}

bool
cg_load_type_is_checked_steadily(Oid type)
{
	return holds_for_all_parts(type, is_checked_steadily);
}

bool
cg_load_type_is_json_by_itself(Oid type)
{
	return holds_for_all_parts(type, is_json_by_itself);
}
