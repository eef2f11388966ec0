/*-------------------------------------------------------------------------
 *
 * preload.c
 *	  Loads many keys before somebody asks for them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "coherence/coherence.h"
#include "load/load.h"
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
