/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  Computes values before somebody waits for them.
 *
 * With the lease, as others do; but who finds that another session has it does not
 * wait, for the other's value will do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "load/loaders.h"
#include "load/requests.h"
#include "load/running.h"

/*
 * May and should this session compute what has this version, and is there?  Then it has
 * the fill, and the lease.
 */
static bool
begin_early(Load *load, uint64 version)
{
	load->fill = cg_cache_fill_begin(&load->request->key, load->identity);
	if (!load->fill)
		return false;
	/* Who had the lease before may have just been done. */
	if (cg_load_take_lease(load) == LEASE_TAKEN &&
		cg_cache_fill_replaces(load->fill, version))
		return true;
	cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
	return false;
}

void
cg_load_early(const LoadRequest *request, uint64 identity, uint64 version,
			  CacheValue *value)
{
	Load load;

	if (cg_load_is_running() || IsInParallelMode() ||
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	cg_load_init(&load, request, identity);
	load.quiet = true;
	PG_TRY();
	{
		if (begin_early(&load, version))
		{
			cg_load_enter(&load);
			cg_store_count(load.cache_number, COUNT_EARLY, 1);
			(void) cg_load_compute_quietly(&load, value);
		}
	}
	PG_FINALLY();
	{
		cg_load_leave(&load);
	}
	PG_END_TRY();
}

/* Begin to compute what is not there, unless another session does, or has failed to. */
static LoadAhead
begin_ahead(Load *load)
{
	CacheValue value;

	load->fill = cg_cache_fill_begin(&load->request->key, load->identity);
	if (!load->fill)
		return AHEAD_UNKEPT;
	if (cg_load_take_lease(load) != LEASE_TAKEN)
		return AHEAD_BUSY;
	/* Who had the lease before may have just been done. */
	cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
	if (cg_cache_lookup_again(&load->request->key, load->identity, &value) == CACHE_HIT)
		return AHEAD_PRESENT;
	load->fill = cg_cache_fill_begin(&load->request->key, load->identity);
	return load->fill ? AHEAD_LOADED : AHEAD_UNKEPT;
}

/* Compute what is missing, for the role that is current, and publish it. */
static LoadAhead
load_ahead(const LoadRequest *request, uint64 identity, bool quiet)
{
	volatile LoadAhead outcome;
	CacheValue value;
	Load load;

	cg_load_init(&load, request, identity);
	load.quiet = quiet;
	cg_load_check_recursion(&load);
	PG_TRY();
	{
		outcome = begin_ahead(&load);
		if (outcome == AHEAD_LOADED)
		{
			cg_load_enter(&load);
			if (quiet)
				(void) cg_load_compute_quietly(&load, &value);
			else
				(void) cg_load_compute(&load);
			if (load.failed || load.fruitless)
				outcome = AHEAD_UNKEPT;
		}
		else if (load.fill)
			cg_cache_fill_abandon(load.fill);
	}
	PG_FINALLY();
	{
		cg_load_leave(&load);
	}
	PG_END_TRY();
	return outcome;
}

LoadAhead
cg_load_ahead(const CacheKey *key, bool quiet)
{
	LoadRequest request = cg_load_request_by_loader(key);
	LoadAhead outcome = AHEAD_PRESENT;
	LoadCaller caller;
	uint64 identity;
	CacheValue value;

	cg_load_rights_begin(&caller, request.run_as);
	identity = cg_load_identity(&request);
	if (cg_cache_lookup_again(key, identity, &value) != CACHE_HIT)
		outcome = load_ahead(&request, identity, quiet);
	cg_load_rights_end(&caller);
	return outcome;
}

/* See names as the session does whose wish it is. */
static void
adopt_settings(const LoadWish *wish)
{
	StringInfoData path;

	initStringInfo(&path);
	for (int i = 0; i < wish->schema_count; i++)
	{
		const char *name = get_namespace_name(wish->schemas[i]);

		if (name)
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "",
							 quote_identifier(name));
	}
	SetConfigOption("search_path", path.len > 0 ? path.data : "\"\"", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("row_security", wish->row_security ? "on" : "off", PGC_USERSET,
					PGC_S_SESSION);
}

/* Begin to refresh what there is of the load's value, if it is still due. */
static LoadAhead
begin_refresh(Load *load)
{
	CacheInfo info;
	CacheOutcome outcome =
		cg_cache_inspect_to_load(&load->request->key, load->identity, &info);

	if (!info.ahead)
		return AHEAD_PRESENT;
	if (outcome == CACHE_HIT)
		return begin_early(load, info.version) ? AHEAD_LOADED : AHEAD_BUSY;
	return begin_ahead(load);
}

/* Compute the value, if it is still due; false: try again later. */
static bool
refresh_value(const LoadRequest *request, uint64 identity)
{
	volatile LoadAhead outcome;
	CacheValue value;
	Load load;

	cg_load_init(&load, request, identity);
	load.quiet = true;
	PG_TRY();
	{
		outcome = begin_refresh(&load);
		if (outcome == AHEAD_LOADED)
		{
			cg_load_enter(&load);
			cg_store_count(load.cache_number, COUNT_REFRESHES, 1);
			(void) cg_load_compute_quietly(&load, &value);
			if (load.failed || load.fruitless)
				outcome = AHEAD_UNKEPT;
		}
		else if (load.fill)
			cg_cache_fill_abandon(load.fill);
	}
	PG_FINALLY();
	{
		cg_load_leave(&load);
	}
	PG_END_TRY();
	return outcome == AHEAD_LOADED || outcome == AHEAD_PRESENT;
}

/*
 * Refresh what is wished; false: try again later.  Where its computation is another by now, as
 * the cache was altered, or a schema is gone, nobody needs it.
 */
static bool
refresh(const LoadWish *wish)
{
	LoadRequest request;
	LoadCaller caller;
	CacheKey key;
	bool done;

	adopt_settings(wish);
	if (!cg_key_init(&key, wish->key, wish->key_size) ||
		cg_cache_policy(&key)->loader == NULL)
		return true;
	request = cg_load_request_by_loader(&key);
	cg_load_rights_begin(&caller, request.run_as);
	done = cg_load_identity(&request) != wish->identity ||
		   refresh_value(&request, wish->identity);
	cg_load_rights_end(&caller);
	return done;
}

bool
cg_loader_refresh_one(void)
{
	StoreTime start = cg_store_now();
	LoadWish wish;
	bool done;

	if (!cg_load_next_wish(&wish))
		return false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	done = refresh(&wish);
	PopActiveSnapshot();
	CommitTransactionCommand();
	cg_load_end_wish(&wish, done);
	cg_loader_spend(cg_store_now() - start);
	return true;
}
