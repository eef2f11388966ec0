/*-------------------------------------------------------------------------
 *
 * values.c
 *	  SQL functions that get, set and change values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "base/compat.h"

PG_FUNCTION_INFO_V1(cachegrid_get);
PG_FUNCTION_INFO_V1(cachegrid_get_typed);
PG_FUNCTION_INFO_V1(cachegrid_mget);
PG_FUNCTION_INFO_V1(cachegrid_set);
PG_FUNCTION_INFO_V1(cachegrid_delete);
PG_FUNCTION_INFO_V1(cachegrid_exists);
PG_FUNCTION_INFO_V1(cachegrid_add);
PG_FUNCTION_INFO_V1(cachegrid_replace);
PG_FUNCTION_INFO_V1(cachegrid_gets);
PG_FUNCTION_INFO_V1(cachegrid_cas);
PG_FUNCTION_INFO_V1(cachegrid_incr);
PG_FUNCTION_INFO_V1(cachegrid_decr);
PG_FUNCTION_INFO_V1(cachegrid_ttl);
PG_FUNCTION_INFO_V1(cachegrid_expires_at);
PG_FUNCTION_INFO_V1(cachegrid_expire);
PG_FUNCTION_INFO_V1(cachegrid_clear);

/* get(key text) -> text */
Datum
cachegrid_get(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	CacheValue value;
	text *result;

	if (cg_cache_lookup(&key, 0, &value) != CACHE_HIT ||
		(result = cg_api_value_to_text(&value)) == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/* get(key text, type anyelement) -> anyelement; type is asked for its type only */
Datum
cachegrid_get_typed(PG_FUNCTION_ARGS)
{
	CacheKey key;
	CacheValue value;
	Oid wanted = get_fn_expr_argtype(fcinfo->flinfo, 1);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	key = cg_api_key(fcinfo, 0);
	if (cg_cache_lookup(&key, 0, &value) != CACHE_HIT || !OidIsValid(value.type))
		PG_RETURN_NULL();
	if (value.type != wanted)
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("value of key \"%.*s\" has type %s, not %s", key.size, key.data,
					   format_type_be(value.type), format_type_be(wanted)),
				errdetail("A value comes back in the type that it was set with."),
				errhint("Ask for type %s, or use cachegrid.get(key) for its text form.",
						format_type_be(value.type)));
	PG_RETURN_DATUM(value.datum);
}

/* mget(keys text[]) -> text[] */
Datum
cachegrid_mget(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	CacheOutcome *outcomes;
	CacheValue *values;
	CacheKey *keys;
	Datum *elements;
	bool *nulls;
	int count;
	int asked = 0;
	int looked = 0;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));

	keys = palloc(count * sizeof(CacheKey));
	values = palloc(count * sizeof(CacheValue));
	outcomes = palloc(count * sizeof(CacheOutcome));
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			keys[asked++] = cg_key_from_text(DatumGetTextPP(elements[i]));
	cg_cache_lookup_many(keys, asked, values, outcomes);
	for (int i = 0; i < count; i++)
	{
		text *result = NULL;

		if (nulls[i])
			continue;
		if (outcomes[looked] == CACHE_HIT)
			result = cg_api_value_to_text(&values[looked]);
		elements[i] = PointerGetDatum(result);
		nulls[i] = result == NULL;
		looked++;
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(elements, nulls, ARR_NDIM(array),
											 ARR_DIMS(array), ARR_LBOUND(array), TEXTOID,
											 -1, false, TYPALIGN_INT));
}

/* set(key text, value text | anyelement, ttl interval, tags text[]) */
Datum
cachegrid_set(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);
	int64 ttl = cg_api_ttl(fcinfo, 2, &key);
	CacheValue value;
	CacheKey *tags;
	int tag_count = cg_api_names(fcinfo, 3, true, &tags);

	cg_api_value(fcinfo, 1, &value);
	cg_cache_set(&key, &value, ttl, tags, tag_count);
	PG_RETURN_VOID();
}

/* delete(VARIADIC keys text[]) -> bigint */
Datum
cachegrid_delete(PG_FUNCTION_ARGS)
{
	CacheKey *keys;
	int count = cg_api_names(fcinfo, 0, false, &keys);
	int64 deleted = 0;

	for (int i = 0; i < count; i++)
		deleted += cg_cache_delete(&keys[i]);
	PG_RETURN_INT64(deleted);
}

/* exists(key text) -> boolean */
Datum
cachegrid_exists(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	CacheInfo info;

	PG_RETURN_BOOL(cg_cache_inspect(&key, NULL, &info) == CACHE_HIT);
}

static Datum
put_if(FunctionCallInfo fcinfo, CacheCondition condition)
{
	CacheKey key = cg_api_key(fcinfo, 0);
	CachePut put = {.key = &key, .condition = condition};
	CacheValue value;
	CacheKey *tags;

	put.ttl = cg_api_ttl(fcinfo, 2, &key);
	put.tag_count = cg_api_names(fcinfo, 3, true, &tags);
	put.tags = tags;
	cg_api_value(fcinfo, 1, &value);
	put.value = &value;
	PG_RETURN_BOOL(cg_cache_put_now(&put));
}

/* add(key text, value, ttl interval, tags text[]) -> boolean */
Datum
cachegrid_add(PG_FUNCTION_ARGS)
{
	return put_if(fcinfo, CACHE_IF_ABSENT);
}

/* replace(key text, value, ttl interval, tags text[]) -> boolean */
Datum
cachegrid_replace(PG_FUNCTION_ARGS)
{
	return put_if(fcinfo, CACHE_IF_PRESENT);
}

/* gets(key text) -> (value text, version bigint) */
Datum
cachegrid_gets(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	Datum values[2] = {0};
	bool nulls[2] = {true, true};
	CacheValue value;
	CacheInfo info;
	TupleDesc descriptor;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (cg_cache_inspect(&key, &value, &info) == CACHE_HIT)
	{
		text *result = cg_api_value_to_text(&value);

		values[0] = PointerGetDatum(result);
		nulls[0] = result == NULL;
		values[1] = Int64GetDatum((int64) info.version);
		nulls[1] = info.version == 0;
	}
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

/* cas(key text, value, version bigint, ttl interval) -> boolean */
Datum
cachegrid_cas(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);
	CachePut put = {.key = &key, .condition = CACHE_IF_VERSION};
	CacheValue value;

	put.ttl = cg_api_ttl(fcinfo, 3, &key);
	cg_api_value(fcinfo, 1, &value);
	put.value = &value;
	if (PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("version must not be null"),
				errdetail("There is nothing to compare the entry's with."),
				errhint("Take it from cachegrid.gets(key)."));
	put.version = (uint64) PG_GETARG_INT64(2);
	PG_RETURN_BOOL(cg_cache_put_now(&put));
}

static int64
amount(FunctionCallInfo fcinfo)
{
	return DatumGetInt64(
		cg_api_required(fcinfo, 1, "amount", "Leave it out to count by one."));
}

/* incr(key text, by bigint, ttl interval) -> bigint */
Datum
cachegrid_incr(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);

	PG_RETURN_INT64(
		cg_cache_increment(&key, amount(fcinfo), cg_api_ttl(fcinfo, 2, &key)));
}

/* decr(key text, by bigint, ttl interval) -> bigint */
Datum
cachegrid_decr(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);
	int64 by = amount(fcinfo);

	if (by == PG_INT64_MIN)
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("bigint out of range"),
				errdetail("To subtract this would be to add what is no bigint."),
				errhint("Subtract it in two steps."));
	PG_RETURN_INT64(cg_cache_increment(&key, -by, cg_api_ttl(fcinfo, 2, &key)));
}

/* The living entry's remaining time in microseconds; false if there is none. */
static bool
time_left(FunctionCallInfo fcinfo, int64 *microseconds)
{
	CacheKey key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	CacheInfo info;

	if (cg_cache_inspect(&key, NULL, &info) != CACHE_HIT)
		return false;
	*microseconds = info.microseconds;
	return true;
}

/* ttl(key text) -> interval */
Datum
cachegrid_ttl(PG_FUNCTION_ARGS)
{
	Interval *left = palloc0(sizeof(Interval));
	int64 microseconds;

	if (!time_left(fcinfo, &microseconds))
		PG_RETURN_NULL();
	if (microseconds == CG_TTL_NEVER)
		*left = (Interval){PG_INT64_MAX, PG_INT32_MAX, PG_INT32_MAX};
	else
		left->time = microseconds;
	PG_RETURN_INTERVAL_P(left);
}

/* expires_at(key text) -> timestamptz */
Datum
cachegrid_expires_at(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 microseconds;

	if (!time_left(fcinfo, &microseconds))
		PG_RETURN_NULL();
	if (microseconds == CG_TTL_NEVER || microseconds >= END_TIMESTAMP - now)
		PG_RETURN_TIMESTAMPTZ(DT_NOEND);
	PG_RETURN_TIMESTAMPTZ(now + microseconds);
}

/* expire(key text, ttl interval) -> boolean */
Datum
cachegrid_expire(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);
	int64 ttl = PG_ARGISNULL(1) ? CG_TTL_NEVER
								: cg_cache_ttl_from_interval(PG_GETARG_INTERVAL_P(1));

	PG_RETURN_BOOL(cg_cache_expire(&key, ttl));
}

/* clear(cache text) -> bigint; NULL: all caches of the database */
Datum
cachegrid_clear(PG_FUNCTION_ARGS)
{
	int64 cleared = 0;

	if (PG_ARGISNULL(0))
	{
		ListCell *cell;

		foreach (cell, cg_cache_policies())
			cleared += cg_cache_clear(lfirst(cell));
	}
	else
	{
		char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
		const CachePolicy *policy = cg_cache_policy_named(name);

		if (policy == NULL)
			ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("cache \"%s\" does not exist", name),
					errdetail("No cache of this database has that name."),
					errhint("Caches are listed in view cachegrid.stat_cache."));
		cleared = cg_cache_clear(policy);
	}
	PG_RETURN_INT64(cleared);
}
