/*-------------------------------------------------------------------------
 *
 * loading.c
 *	  Computing on a miss: fetch; lookup, fill and give_up; invalidate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "base/compat.h"
#include "load/load.h"

PG_FUNCTION_INFO_V1(cachegrid_fetch);
PG_FUNCTION_INFO_V1(cachegrid_fetch_by_loader);
PG_FUNCTION_INFO_V1(cachegrid_fetch_many);
PG_FUNCTION_INFO_V1(cachegrid_fetch_row);
PG_FUNCTION_INFO_V1(cachegrid_lookup);
PG_FUNCTION_INFO_V1(cachegrid_fill);
PG_FUNCTION_INFO_V1(cachegrid_give_up);
PG_FUNCTION_INFO_V1(cachegrid_invalidate);
PG_FUNCTION_INFO_V1(cachegrid_invalidate_tags);

/* fetch(key, query, args, ttl, tags) */
Datum
cachegrid_fetch(PG_FUNCTION_ARGS)
{
	LoadRequest request = {0};
	text *query;
	Datum value;
	bool isnull;

	request.key = cg_api_key(fcinfo, 0);
	query = DatumGetTextPP(cg_api_required(
		fcinfo, 1, "query", "Leave \"query\" out to use the loader of the key's cache."));
	request.query = VARDATA_ANY(query);
	request.query_size = VARSIZE_ANY_EXHDR(query);
	request.arguments = DatumGetArrayTypeP(cg_api_required(
		fcinfo, 2, "args", "Leave \"args\" out for a query without parameters."));
	if (!PG_ARGISNULL(3))
		request.ttl = PG_GETARG_INTERVAL_P(3);
	if (!PG_ARGISNULL(4))
		request.tags = PG_GETARG_ARRAYTYPE_P(4);

	value = cg_load_fetch(&request, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

/* fetch(key) */
Datum
cachegrid_fetch_by_loader(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);
	Datum value;
	bool isnull;

	value = cg_load_fetch_by_loader(&key, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

/* fetch_many(keys text[]) */
Datum
cachegrid_fetch_many(PG_FUNCTION_ARGS)
{
	ArrayType *array = DatumGetArrayTypeP(cg_api_required(
		fcinfo, 0, "keys", "Give an empty array to be given an empty one."));
	int dimensions[1];
	int lower_bounds[1] = {1};
	CacheKey *keys;
	Datum *values;
	bool *nulls;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("keys must be a one-dimensional array"),
				errdetail("It has %d dimensions.", ARR_NDIM(array)),
				errhint("Give one key after the other."));
	dimensions[0] = cg_api_names(fcinfo, 0, false, &keys);
	if (dimensions[0] == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(JSONBOID));
	values = palloc_array(Datum, dimensions[0]);
	nulls = palloc_array(bool, dimensions[0]);
	cg_load_fetch_many(keys, dimensions[0], values, nulls);
	PG_RETURN_ARRAYTYPE_P(construct_md_array(values, nulls, 1, dimensions, lower_bounds,
											 JSONBOID, -1, false, TYPALIGN_INT));
}

/* fetch_row(row anyelement, VARIADIC key text[]) -> anyelement; row: its type alone */
Datum
cachegrid_fetch_row(PG_FUNCTION_ARGS)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Datum key = cg_api_required(fcinfo, 1, "key", "Give a text for each column of it.");
	Datum row;
	bool isnull;

	row = cg_load_fetch_row(type, DatumGetArrayTypeP(key), &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(row);
}

/* lookup(key, tags, lease, OUT value, OUT token, OUT must_load) */
Datum
cachegrid_lookup(PG_FUNCTION_ARGS)
{
	Datum values[3] = {0};
	bool nulls[3] = {true, true, false};
	OutsideRequest request = {0};
	CacheKey *tags;
	CacheValue value;
	TupleDesc desc;
	char *token;
	bool found;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	request.key = cg_api_key(fcinfo, 0);
	request.tag_count = cg_api_names(fcinfo, 1, true, &tags);
	request.tags = tags;
	if (!PG_ARGISNULL(2))
		request.lease = PG_GETARG_INTERVAL_P(2);

	found = cg_load_lookup(&request, &value, &token);
	nulls[0] = !found || value.type == InvalidOid;
	if (!nulls[0])
		values[0] = PointerGetDatum(cg_api_value_to_text(&value));
	nulls[1] = token == NULL;
	if (token)
		values[1] = CStringGetTextDatum(token);
	values[2] = BoolGetDatum(!found);
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * fill(key, value, token, ttl, tags): false without a token, which lookup()
 * gives where nothing may be filled.
 */
Datum
cachegrid_fill(PG_FUNCTION_ARGS)
{
	CacheValue value = {InvalidOid, (Datum) 0};
	OutsideRequest request = {.key = cg_api_key(fcinfo, 0)};
	int64 ttl = cg_api_ttl(fcinfo, 3, &request.key);
	CacheKey *tags;

	request.tag_count = cg_api_names(fcinfo, 4, true, &tags);
	request.tags = tags;
	if (!PG_ARGISNULL(1))
		cg_api_value(fcinfo, 1, &value);
	if (PG_ARGISNULL(2))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(
		cg_load_fill(&request, &value, text_to_cstring(PG_GETARG_TEXT_PP(2)), ttl));
}

/* give_up(key, token) */
Datum
cachegrid_give_up(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_api_key(fcinfo, 0);

	if (PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(cg_load_give_up(&key, text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/* invalidate(VARIADIC keys) */
Datum
cachegrid_invalidate(PG_FUNCTION_ARGS)
{
	CacheKey *keys;
	int count = cg_api_names(fcinfo, 0, false, &keys);

	for (int i = 0; i < count; i++)
		cg_cache_invalidate(&keys[i]);
	PG_RETURN_VOID();
}

/* invalidate_tags(VARIADIC tags) */
Datum
cachegrid_invalidate_tags(PG_FUNCTION_ARGS)
{
	CacheKey *tags;
	int count = cg_api_names(fcinfo, 0, true, &tags);

	for (int i = 0; i < count; i++)
		cg_cache_invalidate_tag(&tags[i]);
	PG_RETURN_VOID();
}
