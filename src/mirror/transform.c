/*-------------------------------------------------------------------------
 *
 * transform.c
 *	  A function of the user's that makes of a row what Redis is to have.
 *
 * It runs as the owner of the table, like all that encodes its rows: see
 * guard.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

struct RowTransform
{
	FmgrInfo function;
	FmgrInfo output; /* of its result */
};

static bool
may_execute(Oid role, Oid function)
{
	return DatumGetBool(
		DirectFunctionCall3(has_function_privilege_id_id, ObjectIdGetDatum(role),
							ObjectIdGetDatum(function), CStringGetTextDatum("EXECUTE")));
}

/* The function of this name that takes a row of the relation; raises an error if none. */
static Oid
find_function(Relation relation, const char *name)
{
	Oid argument = relation->rd_rel->reltype;
	Oid function = LookupFuncName(cg_name_list(name), 1, &argument, true);

	if (!OidIsValid(function))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function %s(%s) does not exist", name,
					   RelationGetRelationName(relation)),
				errdetail("A mirror's transform takes a row of its table."),
				errhint("Create it, and name it with its schema."));
	if (get_func_retset(function) || get_func_prokind(function) != PROKIND_FUNCTION ||
		get_typtype(get_func_rettype(function)) == TYPTYPE_PSEUDO)
		ereport(ERROR, errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				errmsg("function %s cannot be a mirror's transform", name),
				errdetail("A transform returns one value of an ordinary type."),
				errhint("Let it return text or json."));
	if (!may_execute(relation->rd_rel->relowner, function))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for function %s", name),
				errdetail("A mirror's transform is run by the owner of its table."),
				errhint("Grant him EXECUTE on it."));
	return function;
}

/* Its name with the schema, under which it is found from anywhere; palloc'd. */
char *
cg_mirror_transform_name(Relation relation, const char *name)
{
	Oid function = find_function(relation, name);

	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									  get_func_name(function));
}

/* To be run on rows of the relation; palloc'd.  Raises an error if it cannot be. */
RowTransform *
cg_mirror_transform(Relation relation, const char *name)
{
	RowTransform *transform = palloc(sizeof(RowTransform));
	Oid function = find_function(relation, name);
	Oid output;
	bool is_varlena;

	fmgr_info(function, &transform->function);
	getTypeOutputInfo(get_func_rettype(function), &output, &is_varlena);
	fmgr_info(output, &transform->output);
	return transform;
}

/* Append the text of what it makes of the row; false, and nothing, if that is NULL. */
bool
cg_mirror_apply_transform(RowTransform *transform, TupleTableSlot *row, StringInfo out)
{
	LOCAL_FCINFO(call, 1);
	Datum value;
	char *text;

	InitFunctionCallInfoData(*call, &transform->function, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ExecFetchSlotHeapTupleDatum(row);
	call->args[0].isnull = false;
	value = FunctionCallInvoke(call);
	if (call->isnull)
		return false;
	text = OutputFunctionCall(&transform->output, value);
	appendStringInfoString(out, text);
	pfree(text);
	return true;
}
