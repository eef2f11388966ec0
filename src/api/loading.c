/*-------------------------------------------------------------------------
 *
 * loading.c
 *	  Computing on a miss: fetch, lookup and fill, invalidate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "load/load.h"

PG_FUNCTION_INFO_V1(cachegrid_fetch);
PG_FUNCTION_INFO_V1(cachegrid_fetch_by_loader);
PG_FUNCTION_INFO_V1(cachegrid_lookup);
PG_FUNCTION_INFO_V1(cachegrid_fill);
PG_FUNCTION_INFO_V1(cachegrid_invalidate);
PG_FUNCTION_INFO_V1(cachegrid_invalidate_tags);

static void
require_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", name));
}

/* Names of keys or tags, checked by check; no NULL among them. */
static CacheKey *
names_from_array(ArrayType *array, const char *what, CacheKey (*check)(const text *name),
				 int *count)
{
	CacheKey *names;
	Datum *elements;
	bool *nulls;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, count);
	names = palloc_array(CacheKey, *count + 1);
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not be null", what));
		names[i] = check(DatumGetTextPP(elements[i]));
	}
	return names;
}

/* fetch(key, query, args, ttl, tags) */
Datum
cachegrid_fetch(PG_FUNCTION_ARGS)
{
	LoadRequest request = {0};
	text *query;
	Datum value;
	bool isnull;

	require_argument(fcinfo, 0, "key");
	require_argument(fcinfo, 1, "query");
	require_argument(fcinfo, 2, "args");

	request.key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	query = PG_GETARG_TEXT_PP(1);
	request.query = VARDATA_ANY(query);
	request.query_size = VARSIZE_ANY_EXHDR(query);
	request.arguments = PG_GETARG_ARRAYTYPE_P(2);
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
	CacheKey key;
	Datum value;
	bool isnull;

	require_argument(fcinfo, 0, "key");
	key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	value = cg_load_fetch_by_loader(&key, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

static text *
value_to_text(const CacheValue *value)
{
	Oid output;
	bool is_varlena;

	getTypeOutputInfo(value->type, &output, &is_varlena);
	return cstring_to_text(OidOutputFunctionCall(output, value->datum));
}

/* A fill's token that covers the tags, or NULL if there is nothing to fill. */
static text *
make_token(const CacheKey *key, const CacheKey *tags, int tag_count)
{
	CacheFill *fill = cg_cache_fill_begin(key, 0);

	for (int i = 0; fill && i < tag_count; i++)
		if (!cg_cache_fill_tag(fill, &tags[i]))
		{
			cg_cache_fill_abandon(fill);
			fill = NULL;
		}
	if (!fill)
		return NULL;
	return cstring_to_text(cg_cache_fill_to_token(fill));
}

/* lookup(key, tags, OUT value, OUT token, OUT must_load) */
Datum
cachegrid_lookup(PG_FUNCTION_ARGS)
{
	Datum values[3] = {0};
	bool nulls[3] = {true, true, false};
	CacheKey *tags = NULL;
	int tag_count = 0;
	CacheKey key;
	CacheValue value;
	TupleDesc desc;
	text *token;

	require_argument(fcinfo, 0, "key");
	key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		tags = names_from_array(PG_GETARG_ARRAYTYPE_P(1), "tag", cg_tag_from_text,
								&tag_count);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	if (cg_cache_lookup(&key, 0, &value) == CACHE_HIT)
	{
		nulls[0] = value.type == InvalidOid;
		if (!nulls[0])
			values[0] = PointerGetDatum(value_to_text(&value));
	}
	else
	{
		token = make_token(&key, tags, tag_count);
		nulls[1] = token == NULL;
		values[1] = PointerGetDatum(token);
		values[2] = BoolGetDatum(true);
	}
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
	CacheKey *tags = NULL;
	int tag_count = 0;
	int64 ttl;
	CacheKey key;
	CacheFill *fill;

	require_argument(fcinfo, 0, "key");
	key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
	{
		value.type = get_fn_expr_argtype(fcinfo->flinfo, 1);
		value.datum = PG_GETARG_DATUM(1);
	}
	ttl = PG_ARGISNULL(3) ? cg_cache_policy(&key)->ttl
						  : cg_cache_ttl_from_interval(PG_GETARG_INTERVAL_P(3));
	if (!PG_ARGISNULL(4))
		tags = names_from_array(PG_GETARG_ARRAYTYPE_P(4), "tag", cg_tag_from_text,
								&tag_count);

	if (PG_ARGISNULL(2) || TransactionIdIsValid(GetTopTransactionIdIfAny()))
		PG_RETURN_BOOL(false);
	fill = cg_cache_fill_from_token(&key, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (!fill)
		PG_RETURN_BOOL(false);
	for (int i = 0; i < tag_count; i++)
		if (!cg_cache_fill_covers_tag(fill, &tags[i]))
		{
			cg_cache_fill_abandon(fill);
			PG_RETURN_BOOL(false);
		}
	PG_RETURN_BOOL(cg_cache_fill_publish(fill, &value, ttl));
}

/* invalidate(VARIADIC keys) */
Datum
cachegrid_invalidate(PG_FUNCTION_ARGS)
{
	CacheKey *keys;
	int count;

	keys = names_from_array(PG_GETARG_ARRAYTYPE_P(0), "key", cg_key_from_text, &count);
	for (int i = 0; i < count; i++)
		cg_cache_invalidate(&keys[i]);
	PG_RETURN_VOID();
}

/* invalidate_tags(VARIADIC tags) */
Datum
cachegrid_invalidate_tags(PG_FUNCTION_ARGS)
{
	CacheKey *tags;
	int count;

	tags = names_from_array(PG_GETARG_ARRAYTYPE_P(0), "tag", cg_tag_from_text, &count);
	for (int i = 0; i < count; i++)
		cg_cache_invalidate_tag(&tags[i]);
	PG_RETURN_VOID();
}
