/*-------------------------------------------------------------------------
 *
 * preload.c
 *	  Loads many keys before somebody asks for them: when it is called for, and what
 *	  caches are to be kept warm with when the server has started.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "coherence/coherence.h"
#include "load/load.h"
#include "load/loaders.h"
#include "load/progress.h"

/* An error where all would be computed, and nothing kept. */
static void
check_keeps(void)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				errmsg("cannot preload in a transaction that has written"),
				errdetail("What it computes may follow from its own changes, and is not "
						  "kept."),
				errhint("Commit it first."));
	if (cg_coherence_snapshot() == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot preload under this snapshot"),
				errdetail(
					cg_coherence_obstacle() == OBSTACLE_RECOVERY
						? "It is a standby's that knows too little of its primary, or "
						  "older than the server's start, and what is computed is not "
						  "kept."
						: "What is computed under SERIALIZABLE, or within a command that "
						  "changes catalogs, is not kept."),
				errhint("Call it under READ COMMITTED or REPEATABLE READ; view "
						"cachegrid.stat_standby tells of standbys."));
}

void
cg_load_check_keys(const char *cache, const CacheKey *keys, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(NameStr(cg_cache_policy(&keys[i])->name), cache) != 0)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("key \"%.*s\" is not of cache \"%s\"", keys[i].size,
						   keys[i].data, cache),
					errdetail("The keys of a cache begin with its name and a colon."),
					errhint("Write a key as fetch() takes it, such as \"product:42\"."));
}

/* Each under a snapshot of its own: what has changed meanwhile is kept, too. */
static bool
preload_key(const CacheKey *key, bool quiet)
{
	LoadAhead outcome;

	CHECK_FOR_INTERRUPTS();
	PushActiveSnapshot(GetTransactionSnapshot());
	outcome = cg_load_ahead(key, quiet);
	PopActiveSnapshot();
	return outcome == AHEAD_LOADED;
}

int64
cg_load_preload(const char *cache, const CacheKey *keys, int count, bool quiet)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context =
		AllocSetContextCreate(caller, "cachegrid preload", ALLOCSET_DEFAULT_SIZES);
	volatile int64 total = 0;

	check_keeps();
	cg_load_progress_begin(cache, count);
	PG_TRY();
	{
		for (int i = 0; i < count; i++)
		{
			bool loaded;

			MemoryContextSwitchTo(context);
			MemoryContextReset(context);
			loaded = preload_key(&keys[i], quiet);
			cg_load_progress_advance(loaded);
			total += loaded;
		}
	}
	PG_FINALLY();
	{
		cg_load_progress_end();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return total;
}

/* A copy of the key in the row, in the context. */
static CacheKey
key_of_row(HeapTuple row, TupleDesc descriptor, MemoryContext context)
{
	char *value = SPI_getvalue(row, descriptor, 1);
	MemoryContext previous;
	CacheKey key;

	if (value == NULL)
		cg_key_refuse_null("key");
	previous = MemoryContextSwitchTo(context);
	key = cg_key_from_text(cstring_to_text(value));
	MemoryContextSwitchTo(previous);
	pfree(value);
	return key;
}

int
cg_load_keys_of_query(const char *query, CacheKey **keys)
{
	MemoryContext caller = CurrentMemoryContext;
	int count;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT || SPI_tuptable->tupdesc->natts != 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("query for keys must be a SELECT of one column"),
				errdetail("Each of its rows is a key."),
				errhint("For example: SELECT 'product:' || id FROM product"));
	count = (int) SPI_processed;
	*keys = MemoryContextAllocHuge(caller, Max(count, 1) * sizeof(CacheKey));
	for (int i = 0; i < count; i++)
		(*keys)[i] = key_of_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, caller);
	SPI_finish();
	return count;
}

void
cg_load_find_warm(void)
{
	ListCell *cell;

	foreach (cell, cg_cache_policies())
	{
		const CachePolicy *policy = lfirst(cell);
		Oid role;

		if (policy->keep_warm == NULL)
			continue;
		role = get_role_oid(NameStr(policy->keep_warm_role), true);
		if (OidIsValid(role))
			cg_loader_want_warm(role);
		else
			ereport(
				LOG, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("cache \"%s\" cannot be kept warm", NameStr(policy->name)),
				errdetail("Role \"%s\" does not exist.", NameStr(policy->keep_warm_role)),
				errhint("Set its \"keep_warm_role\" by cachegrid.alter_cache()."));
	}
}

List *
cg_load_list_warm(void)
{
	const char *role = GetUserNameFromId(GetUserId(), false);
	List *warms = NIL;
	ListCell *cell;

	foreach (cell, cg_cache_policies())
	{
		const CachePolicy *policy = lfirst(cell);
		LoadWarm *warm;

		if (policy->keep_warm == NULL || policy->loader == NULL ||
			strcmp(NameStr(policy->keep_warm_role), role) != 0)
			continue;
		warm = palloc_object(LoadWarm);
		warm->cache = pstrdup(NameStr(policy->name));
		warm->query = pstrdup(policy->keep_warm);
		warms = lappend(warms, warm);
	}
	return warms;
}

void
cg_load_warm(const LoadWarm *warm)
{
	CacheKey *keys;
	int count = cg_load_keys_of_query(warm->query, &keys);

	cg_load_check_keys(warm->cache, keys, count);
	(void) cg_load_preload(warm->cache, keys, count, true);
}
