/*-------------------------------------------------------------------------
 *
 * seeing.c
 *	  SQL functions behind the views: entries, caches, memory, standbys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/twophase.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "base/clock.h"
#include "base/compat.h"
#include "coherence/coherence.h"
#include "load/load.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(cachegrid_entries);
PG_FUNCTION_INFO_V1(cachegrid_stat_cache);
PG_FUNCTION_INFO_V1(cachegrid_stat_memory);
PG_FUNCTION_INFO_V1(cachegrid_prepared_stamps);
PG_FUNCTION_INFO_V1(cachegrid_stat_standby);

static TimestampTz
wall_clock(StoreTime time)
{
	if (time == CG_STORE_NEVER)
		return DT_NOEND;
	return GetCurrentTimestamp() + (time - cg_store_now());
}

/* Does the key match a pattern in which * is any text and ? any character? */
static bool
matches(const char *pattern, const char *pattern_end, const char *key,
		const char *key_end)
{
	const char *star = NULL;
	const char *resume = NULL;

	while (key < key_end)
	{
		if (pattern < pattern_end && *pattern == '*')
		{
			star = pattern++;
			resume = key;
		}
		else if (pattern < pattern_end && (*pattern == '?' || *pattern == *key))
		{
			key += *pattern == '?' ? pg_mblen(key) : 1;
			pattern++;
		}
		else if (star)
		{
			pattern = star + 1;
			key = ++resume;
		}
		else
			return false;
	}
	while (pattern < pattern_end && *pattern == '*')
		pattern++;
	return pattern == pattern_end;
}

static Datum
tag_array(const CacheEntryInfo *info)
{
	Datum *tags = palloc(Max(info->tag_count, 1) * sizeof(Datum));

	for (int i = 0; i < info->tag_count; i++)
		tags[i] = PointerGetDatum(
			cstring_to_text_with_len(info->tags[i].data, info->tags[i].size));
	return PointerGetDatum(
		construct_array(tags, info->tag_count, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
put_entry(ReturnSetInfo *result, const StoreKey *key, const StoreEntry *entry,
		  const CacheEntryInfo *info)
{
	Datum values[7];
	bool nulls[7] = {false};

	values[0] = PointerGetDatum(cstring_to_text_with_len(key->data, key->size));
	values[1] = CStringGetTextDatum(info->cache);
	values[2] = ObjectIdGetDatum(entry->type);
	nulls[2] = !OidIsValid(entry->type);
	values[3] = Int64GetDatum((int64) entry->value_size);
	values[4] = TimestampTzGetDatum(wall_clock(entry->created_at));
	values[5] = TimestampTzGetDatum(wall_clock(info->expires_at));
	values[6] = tag_array(info);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* entries(pattern text) -> SETOF (key, cache, type, bytes, created_at, expires_at, tags) */
Datum
cachegrid_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	text *pattern = PG_GETARG_TEXT_PP(0);
	const char *glob = VARDATA_ANY(pattern);
	const char *glob_end = glob + VARSIZE_ANY_EXHDR(pattern);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext row;
	StoreScan *scan;
	StoreKey key;
	StoreEntry entry;

	cg_cache_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	scan = cg_store_scan_begin();
	row = AllocSetContextCreate(caller, "cachegrid entry", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(row);
	while (cg_store_scan_next(scan, &key, &entry))
	{
		CacheEntryInfo info;

		MemoryContextReset(row);
		if (cg_cache_entry_info(&key, &entry, &info) &&
			matches(glob, glob_end, key.data, key.data + key.size))
			put_entry(result, &key, &entry, &info);
	}
	MemoryContextSwitchTo(caller);
	cg_store_scan_end(scan);
	return (Datum) 0;
}

static int64
sum_lookups(const int64 *lookups, int from, int to)
{
	int64 sum = 0;

	for (int outcome = from; outcome < to; outcome++)
		sum += lookups[outcome];
	return sum;
}

/* How many loads have failed, why the last one did, and when. */
static void
put_failure(const CachePolicy *policy, int64 count, Datum *values, bool *nulls)
{
	LoadFailure failure;

	values[0] = Int64GetDatum(count);
	nulls[1] = nulls[2] = count == 0 || !cg_load_failure_read(policy, &failure);
	if (nulls[1])
		return;
	values[1] = CStringGetTextDatum(failure.message);
	values[2] = TimestampTzGetDatum(failure.at);
}

static void
put_cache(ReturnSetInfo *result, const CachePolicy *policy)
{
	Datum values[33];
	bool nulls[33] = {false};
	StoreCacheStat stat;
	const int64 *lookups = &stat.counters[COUNT_LOOKUPS];
	int64 hits, misses, bypasses, reads;

	cg_store_cache_stat(policy->number, &stat);
	hits = lookups[CACHE_HIT];
	misses = sum_lookups(lookups, CACHE_HIT + 1, CACHE_BYPASS_FIRST);
	bypasses = sum_lookups(lookups, CACHE_BYPASS_FIRST, CACHE_OUTCOMES);
	reads = hits + misses + bypasses;

	values[0] = CStringGetTextDatum(NameStr(policy->name));
	values[1] = Int64GetDatum(stat.entries);
	values[2] = Int64GetDatum(stat.bytes);
	values[3] = Int64GetDatum(hits);
	values[4] = Int64GetDatum(misses);
	values[5] = Float8GetDatum(reads > 0 ? (double) hits / reads : 0);
	nulls[5] = reads == 0;
	values[6] = Int64GetDatum(stat.counters[COUNT_LOADS]);
	values[7] = Float8GetDatum(stat.counters[COUNT_LOAD_MICROSECONDS] / 1000.0);
	values[8] = Int64GetDatum(stat.evictions);
	values[9] = Int64GetDatum(stat.expirations);
	values[10] = Int64GetDatum(stat.counters[COUNT_INVALIDATIONS]);
	values[11] = Int64GetDatum(stat.counters[COUNT_SETS]);
	values[12] = Int64GetDatum(bypasses);
	values[13] = Int64GetDatum(stat.counters[COUNT_REFUSED]);
	nulls[14] = stat.counters[COUNT_PLAIN_BYTES] == 0;
	values[14] = Float8GetDatum(nulls[14] ? 0
										  : (double) stat.counters[COUNT_STORED_BYTES] /
												stat.counters[COUNT_PLAIN_BYTES]);
	values[15] = Float8GetDatum(stat.counters[COUNT_COMPRESS_TICKS] /
								(CG_TICKS_PER_MICROSECOND * 1000.0));
	values[16] = Int64GetDatum(cg_store_cache_memory(policy->number));
	nulls[16] = policy->limits.max_memory == 0;
	/* The columns miss_... stand in the order of the outcomes. */
	for (int outcome = CACHE_HIT + 1; outcome < CACHE_OUTCOMES; outcome++)
		values[16 + outcome] = Int64GetDatum(lookups[outcome]);
	put_failure(policy, stat.counters[COUNT_LOAD_ERRORS], &values[27], &nulls[27]);
	values[30] = Int64GetDatum(stat.counters[COUNT_STALE]);
	values[31] = Int64GetDatum(stat.counters[COUNT_EARLY]);
	values[32] = Int64GetDatum(stat.counters[COUNT_REFRESHES]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* One row a cache of this database. */
Datum
cachegrid_stat_cache(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	cg_cache_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	foreach (cell, cg_cache_policies())
		put_cache(result, lfirst(cell));
	return (Datum) 0;
}

/* One row a size class in use, the free pages, and the overhead. */
Datum
cachegrid_stat_memory(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	cg_cache_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < cg_store_class_count(); i++)
	{
		Datum values[6];
		bool nulls[6] = {false};
		StoreClassStat stat;
		char *name;

		cg_store_class_stat(i, &stat);
		if (stat.cell_bytes > 0 && stat.pages == 0)
			continue;
		name = stat.cell_bytes > 0	  ? psprintf("%d", stat.cell_bytes)
			   : stat.cell_bytes == 0 ? "free pages"
									  : "overhead";
		values[0] = CStringGetTextDatum(name);
		values[1] = Int64GetDatum(stat.used_bytes);
		values[2] = Int64GetDatum(stat.free_bytes);
		values[3] = Int64GetDatum(stat.entries);
		values[4] = Int64GetDatum(stat.pages);
		values[5] = Int64GetDatum(stat.waste_bytes);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * prepared_stamps(): of each prepared transaction that has stamped how many
 * dependencies, NULL if that is not known.  Some may have ended.
 */
Datum
cachegrid_prepared_stamps(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int size = 2 * max_prepared_xacts;
	PreparedStamps *prepared = palloc_array(PreparedStamps, size + 1);
	uint64 *unknown = palloc_array(uint64, size + 1);
	int count;

	cg_cache_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	if (RecoveryInProgress())
		return (Datum) 0;
	count = cg_coherence_unknown(unknown, size);
	for (int i = 0; i < count; i++)
	{
		Datum row[2] = {TransactionIdGetDatum((TransactionId) unknown[i]), 0};
		bool nulls[2] = {false, true};

		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	count = cg_coherence_prepared(prepared, size);
	for (int i = 0; i < count; i++)
	{
		Datum row[2] = {TransactionIdGetDatum((TransactionId) prepared[i].xid),
						Int64GetDatum(prepared[i].stamps)};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	return (Datum) 0;
}

/* stat_standby(OUT in_recovery, OUT logs, OUT serves, OUT reason) */
Datum
cachegrid_stat_standby(PG_FUNCTION_ARGS)
{
	Datum values[4];
	bool nulls[4] = {false};
	TupleDesc desc;
	const char *refusal;

	cg_cache_require_loaded();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	refusal = cg_coherence_refusal();
	values[0] = BoolGetDatum(RecoveryInProgress());
	values[1] = BoolGetDatum(cg_coherence_is_logging());
	values[2] = BoolGetDatum(refusal == NULL);
	nulls[3] = refusal == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(refusal);
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
