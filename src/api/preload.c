/*-------------------------------------------------------------------------
 *
 * preload.c
 *	  SQL functions that load keys ahead of their use, and tell how far that is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "load/load.h"

PG_FUNCTION_INFO_V1(cachegrid_preload_keys);
PG_FUNCTION_INFO_V1(cachegrid_preload_query);
PG_FUNCTION_INFO_V1(cachegrid_preload_progress);

/* The name of the cache that is to be loaded, of which there must be one with a loader. */
static char *
cache_to_load(FunctionCallInfo fcinfo)
{
	char *name = text_to_cstring(DatumGetTextPP(
		cg_api_required(fcinfo, 0, "cache", "Name the cache whose loader is to run.")));
	const CachePolicy *policy;

	cg_cache_require_loaded();
	policy = cg_cache_policy_named(name);
	if (policy == NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("cache \"%s\" does not exist", name),
				errdetail("No cache of this database has that name."),
				errhint("Caches are listed in view cachegrid.stat_cache."));
	if (policy->loader == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cache \"%s\" has no loader", name),
				errdetail("There is no query that computes the values of its keys."),
				errhint("Give it one by cachegrid.alter_cache()."));
	return name;
}

/* All of them are checked before any of them is loaded. */
static int64
preload(const char *cache, const CacheKey *keys, int count)
{
	cg_load_check_keys(cache, keys, count);
	return cg_load_preload(cache, keys, count, false);
}

/* preload(cache, keys text[]) */
Datum
cachegrid_preload_keys(PG_FUNCTION_ARGS)
{
	char *cache = cache_to_load(fcinfo);
	CacheKey *keys;
	int count;

	(void) cg_api_required(fcinfo, 1, "keys", "Use an empty array for none.");
	count = cg_api_names(fcinfo, 1, false, &keys);
	PG_RETURN_INT64(preload(cache, keys, count));
}

/* preload(cache, query text) */
Datum
cachegrid_preload_query(PG_FUNCTION_ARGS)
{
	char *cache = cache_to_load(fcinfo);
	char *query = text_to_cstring(DatumGetTextPP(
		cg_api_required(fcinfo, 1, "query", "Give a SELECT of the keys.")));
	CacheKey *keys;
	int count = cg_load_keys_of_query(query, &keys);

	PG_RETURN_INT64(preload(cache, keys, count));
}

/* One row a preload under way in this database. */
Datum
cachegrid_preload_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	LoadProgress progress;
	int place = 0;

	cg_cache_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	while (cg_load_progress_read(&place, &progress))
	{
		Datum row[6] = {
			Int32GetDatum(progress.pid),	CStringGetTextDatum(NameStr(progress.cache)),
			Int64GetDatum(progress.total),	Int64GetDatum(progress.done),
			Int64GetDatum(progress.loaded), TimestampTzGetDatum(progress.started_at)};
		bool nulls[6] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	return (Datum) 0;
}
