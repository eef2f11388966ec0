/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Reads and checks the arguments that many functions have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "api/api.h"

/*
 * Raises an error if the argument, which has this name, is null.  The hint is a
 * sentence.
 */
Datum
cg_api_required(FunctionCallInfo fcinfo, int argument, const char *name, const char *hint)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", name),
				errdetail("A null does not stand for a default here."),
				errhint("%s", hint));
	return PG_GETARG_DATUM(argument);
}

/* A key; NULL is an error. */
CacheKey
cg_api_key(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		cg_key_refuse_null("key");
	return cg_key_from_text(PG_GETARG_TEXT_PP(argument));
}

/* A time to live; NULL or left out = the cache's own. */
int64
cg_api_ttl(FunctionCallInfo fcinfo, int argument, const CacheKey *key)
{
	if (argument >= PG_NARGS() || PG_ARGISNULL(argument))
		return cg_cache_policy(key)->ttl;
	return cg_cache_ttl_from_interval(PG_GETARG_INTERVAL_P(argument));
}

/* An array of keys or tags, without NULLs; NULL or left out = none. */
int
cg_api_names(FunctionCallInfo fcinfo, int argument, bool tags, CacheKey **names)
{
	Datum *elements;
	bool *nulls;
	int count;

	*names = NULL;
	if (argument >= PG_NARGS() || PG_ARGISNULL(argument))
		return 0;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	*names = palloc(Max(count, 1) * sizeof(CacheKey));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			cg_key_refuse_null(tags ? "tag" : "key");
		(*names)[i] = tags ? cg_tag_from_text(DatumGetTextPP(elements[i]))
						   : cg_key_from_text(DatumGetTextPP(elements[i]));
	}
	return count;
}

/* A value of whatever type the call gives; NULL is an error. */
void
cg_api_value(FunctionCallInfo fcinfo, int argument, CacheValue *value)
{
	value->type = get_fn_expr_argtype(fcinfo->flinfo, argument);
	if (!OidIsValid(value->type))
		ereport(ERROR, errcode(ERRCODE_INDETERMINATE_DATATYPE),
				errmsg("could not determine the type of the value"),
				errdetail("A value keeps its type in the cache."),
				errhint("Cast the value, for example to text."));
	if (PG_ARGISNULL(argument))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("value must not be null"),
				errdetail("get() returns NULL for a miss."),
				errhint("To remove an entry, use cachegrid.delete."));
	value->datum = PG_GETARG_DATUM(argument);
}

/* The value's text form, palloc'd; NULL for a known NULL. */
text *
cg_api_value_to_text(const CacheValue *value)
{
	Oid output;
	bool is_varlena;

	if (!OidIsValid(value->type))
		return NULL;
	if (value->type == TEXTOID)
		return DatumGetTextPP(value->datum);
	getTypeOutputInfo(value->type, &output, &is_varlena);
	return cstring_to_text(OidOutputFunctionCall(output, value->datum));
}
