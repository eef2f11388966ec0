/*-------------------------------------------------------------------------
 *
 * options.c
 *	  The options of a cache: from a row of the table cachegrid.cache to a policy.
 *
 * What an option may be is checked by create_cache() and alter_cache(), and by the
 * constraints of the table, for those who write it themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "cache/cache_internal.h"

/* In microseconds, so that sums of some do not overflow: longer than any server runs. */
#define LONGEST_TIME (PG_INT64_MAX / 8)

/* Columns of cachegrid.cache. */
enum
{
	COLUMN_NAME = 1,
	COLUMN_TTL,
	COLUMN_LOADER,
	COLUMN_TRANSACTIONAL,
	COLUMN_TTL_JITTER,
	COLUMN_COMPRESS_ABOVE,
	COLUMN_MAX_MEMORY,
	COLUMN_PINNED,
	COLUMN_WAIT_TIMEOUT,
	COLUMN_ON_TIMEOUT,
	COLUMN_LEASE_INTERVAL,
	COLUMN_NULL_TTL,
	COLUMN_ON_ERROR,
	COLUMN_LOAD_TIMEOUT,
	COLUMN_ERROR_BACKOFF,
	COLUMN_STALE_TTL,
	COLUMN_SOFT_LOAD_TIMEOUT,
	COLUMN_LOADER_TAKES,
	COLUMN_LOADER_TAGS,
	COLUMN_TTL_COLUMN,
	COLUMN_RUN_AS,
	COLUMN_SOURCE,
	COLUMN_EARLY_BETA,
	COLUMN_SERVE_INVALIDATED,
	COLUMN_REFRESH_AHEAD,
	COLUMN_KEEP_WARM,
	COLUMN_KEEP_WARM_ROLE,
	COLUMNS = COLUMN_KEEP_WARM_ROLE
};

/* A row, taken apart. */
typedef struct Row
{
	Datum values[32];
	bool nulls[32];
} Row;

/* The words of an option, in the order of its enum. */
static const char *const timeout_answers[] = {
	[ON_TIMEOUT_COMPUTE] = "compute",
	[ON_TIMEOUT_ERROR] = "error",
	[ON_TIMEOUT_STALE] = "stale",
};

static const char *const error_answers[] = {
	[ON_ERROR_RAISE] = "raise",
	[ON_ERROR_NULL] = "null",
	[ON_ERROR_STALE] = "stale",
};

static const char *const loader_parameters[] = {
	[LOADER_TAKES_PARTS] = "parts",
	[LOADER_TAKES_KEY] = "key",
	[LOADER_TAKES_KEYS] = "keys",
};

const char *
cg_options_name(HeapTuple row, TupleDesc descriptor)
{
	bool isnull;

	return NameStr(*DatumGetName(heap_getattr(row, COLUMN_NAME, descriptor, &isnull)));
}

/* What holds for a cache that says nothing. */
void
cg_options_init(CachePolicy *policy)
{
	policy->transactional = true;
	policy->ttl = CG_TTL_NEVER;
	policy->ttl_jitter = 0;
	policy->compress_above = -1;
	policy->loader = NULL;
	policy->loading = (CacheLoading){.wait_timeout = -1, .null_ttl = -1};
	policy->limits = (StoreLimits){0};
	policy->loader_takes = LOADER_TAKES_PARTS;
	policy->loader_tags = NULL;
	policy->ttl_column = NULL;
	policy->run_as = InvalidOid;
	policy->source = InvalidOid;
	policy->keep_warm = NULL;
}

/* Of a column that is an interval, in microseconds; otherwise where it is NULL. */
static int64
interval_of(const Row *row, int column, int64 otherwise)
{
	if (row->nulls[column - 1])
		return otherwise;
	return Min(cg_cache_microseconds(DatumGetIntervalP(row->values[column - 1])),
			   LONGEST_TIME);
}

/* The place of a column's text among these words; the first, if it is none of them. */
static int
word_of(const Row *row, int column, const char *const *words, int count)
{
	char *word;

	if (row->nulls[column - 1])
		return 0;
	word = TextDatumGetCString(row->values[column - 1]);
	for (int i = 0; i < count; i++)
		if (strcmp(word, words[i]) == 0)
			return i;
	return 0;
}

static void
read_loading(const Row *row, CacheLoading *loading)
{
	loading->wait_timeout = interval_of(row, COLUMN_WAIT_TIMEOUT, -1);
	loading->on_timeout =
		word_of(row, COLUMN_ON_TIMEOUT, timeout_answers, lengthof(timeout_answers));
	loading->lease_interval = interval_of(row, COLUMN_LEASE_INTERVAL, 0);
	loading->null_ttl = interval_of(row, COLUMN_NULL_TTL, -1);
	loading->on_error =
		word_of(row, COLUMN_ON_ERROR, error_answers, lengthof(error_answers));
	loading->load_timeout = interval_of(row, COLUMN_LOAD_TIMEOUT, 0);
	loading->error_backoff = interval_of(row, COLUMN_ERROR_BACKOFF, 0);
	loading->stale_ttl = interval_of(row, COLUMN_STALE_TTL, 0);
	loading->soft_load_timeout = interval_of(row, COLUMN_SOFT_LOAD_TIMEOUT, 0);
	if (!row->nulls[COLUMN_EARLY_BETA - 1])
		loading->early_beta = DatumGetFloat8(row->values[COLUMN_EARLY_BETA - 1]);
	if (!row->nulls[COLUMN_REFRESH_AHEAD - 1])
		loading->refresh_ahead = DatumGetFloat8(row->values[COLUMN_REFRESH_AHEAD - 1]);
	loading->serve_invalidated = interval_of(row, COLUMN_SERVE_INVALIDATED, 0);
}

/* What is of the loader itself; the context is the policy's. */
static void
read_loader(const Row *row, MemoryContext context, CachePolicy *policy)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);

	if (!row->nulls[COLUMN_LOADER - 1])
		policy->loader = TextDatumGetCString(row->values[COLUMN_LOADER - 1]);
	policy->loader_takes =
		word_of(row, COLUMN_LOADER_TAKES, loader_parameters, lengthof(loader_parameters));
	if (!row->nulls[COLUMN_LOADER_TAGS - 1])
		policy->loader_tags = DatumGetArrayTypePCopy(row->values[COLUMN_LOADER_TAGS - 1]);
	if (!row->nulls[COLUMN_TTL_COLUMN - 1])
		policy->ttl_column =
			pstrdup(NameStr(*DatumGetName(row->values[COLUMN_TTL_COLUMN - 1])));
	if (!row->nulls[COLUMN_RUN_AS - 1])
		policy->run_as = DatumGetObjectId(row->values[COLUMN_RUN_AS - 1]);
	if (!row->nulls[COLUMN_SOURCE - 1])
		policy->source = DatumGetObjectId(row->values[COLUMN_SOURCE - 1]);
	MemoryContextSwitchTo(old_context);
}

/* Read the row into the policy, whose texts are made in the context. */
void
cg_options_read(HeapTuple tuple, TupleDesc descriptor, MemoryContext context,
				CachePolicy *policy)
{
	Row row;

	Assert(descriptor->natts >= COLUMNS && descriptor->natts <= lengthof(row.values));
	heap_deform_tuple(tuple, descriptor, row.values, row.nulls);
	if (!row.nulls[COLUMN_TTL - 1])
		policy->ttl =
			cg_cache_ttl_from_interval(DatumGetIntervalP(row.values[COLUMN_TTL - 1]));
	if (!row.nulls[COLUMN_TRANSACTIONAL - 1])
		policy->transactional = DatumGetBool(row.values[COLUMN_TRANSACTIONAL - 1]);
	if (!row.nulls[COLUMN_TTL_JITTER - 1])
		policy->ttl_jitter = DatumGetFloat8(row.values[COLUMN_TTL_JITTER - 1]);
	if (!row.nulls[COLUMN_COMPRESS_ABOVE - 1])
		policy->compress_above = DatumGetInt32(row.values[COLUMN_COMPRESS_ABOVE - 1]);
	if (!row.nulls[COLUMN_MAX_MEMORY - 1])
		policy->limits.max_memory = DatumGetInt64(row.values[COLUMN_MAX_MEMORY - 1]);
	if (!row.nulls[COLUMN_PINNED - 1])
		policy->limits.pinned = DatumGetBool(row.values[COLUMN_PINNED - 1]);
	if (!row.nulls[COLUMN_KEEP_WARM - 1] && !row.nulls[COLUMN_KEEP_WARM_ROLE - 1])
	{
		policy->keep_warm = MemoryContextStrdup(
			context, TextDatumGetCString(row.values[COLUMN_KEEP_WARM - 1]));
		policy->keep_warm_role = *DatumGetName(row.values[COLUMN_KEEP_WARM_ROLE - 1]);
	}
	read_loading(&row, &policy->loading);
	read_loader(&row, context, policy);
}
