/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  A value from the cache, or computed once and published.
 *
 * Life of a miss: take the lease, or wait for who holds it and look again;
 * begin the fill, which samples the key; compute and publish (compute.c).  Where the
 * transaction or the key allows no fill, the query is checked and run all the
 * same, as without a cache.
 *
 * A value may also be computed before it expires (cache/early.c), by a session that has
 * hit it: with the lease, for which nobody waits as long as the others hit the old one.
 *
 * Where the cache says so, what is due is refreshed by a process in the background
 * (requests.c, loaders.c), and who uses it asks for that and goes on.
 *
 * A query may itself fetch.  The cache hands what the inner value depends on
 * to the outer fill, and ends that if the inner one could not be sampled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "cache/cache.h"
#include "coherence/coherence.h"
#include "load/lease.h"
#include "load/query.h"
#include "load/refuse.h"
#include "load/requests.h"
#include "load/running.h"

/* When to stop waiting for another session, by cg_clock_ms(). */
static int64
wait_deadline(const Load *load)
{
	int64 timeout = load->options.wait_timeout;

	return cg_clock_ms() +
		   (timeout < 0 ? cg_lease_timeout : timeout / MICROSECONDS_IN_MS);
}

/* What is to be done for a value that was not there. */
typedef enum Begun
{
	BEGUN_LOAD,	 /* compute it */
	BEGUN_FOUND, /* it is there now */
	BEGUN_STALE, /* another session computes it: do with the stale one */
	BEGUN_OFF	 /* do without: it has failed, and is not to be tried again yet */
} Begun;

/*
 * Begin the fill, holding the lease where one is to be had; if another session
 * publishes the value meanwhile, there is nothing to fill.
 */
static Begun
begin_fill(Load *load, CacheValue *value)
{
	int64 deadline = wait_deadline(load);
	LeaseWait waited = LEASE_ENDED;

	for (;;)
	{
		LeaseOutcome lease;

		load->fill = cg_cache_fill_begin(&load->request->key, load->identity);
		if (!load->fill)
		{
			/* Nobody can publish now: let all compute at once. */
			load->fruitless = true;
			cg_load_release_lease(load);
			return cg_load_has_stale(load) ? BEGUN_STALE : BEGUN_LOAD;
		}
		if (load->leased)
			return BEGUN_LOAD;
		lease = cg_load_take_lease(load);
		if (lease == LEASE_NONE || (lease == LEASE_BUSY && waited != LEASE_ENDED))
			return BEGUN_LOAD;

		/* Who has waited, and who has the lease, looks whether it is there now. */
		cg_cache_fill_abandon(load->fill);
		load->fill = NULL;
		if (lease == LEASE_OFF)
			return cg_load_has_stale(load) ? BEGUN_STALE : BEGUN_OFF;
		if (lease == LEASE_BUSY && load->options.on_timeout != ON_TIMEOUT_STALE &&
			cg_load_has_stale(load))
			return BEGUN_STALE;
		if (!load->leased)
			waited = cg_load_lease_wait(load->lease, deadline);
		if (cg_cache_lookup_again(&load->request->key, load->identity, value) ==
			CACHE_HIT)
			return BEGUN_FOUND;
		if (waited == LEASE_TIMEOUT && cg_load_has_stale(load))
			return BEGUN_STALE;
		if (waited == LEASE_TIMEOUT && load->options.on_timeout == ON_TIMEOUT_ERROR)
			cg_load_refuse_to_wait(&load->request->key);
	}
}

/* stale, where stale_until is not 0: what may be given instead, until then. */
static CacheValue
load_value(const LoadRequest *request, uint64 identity, const CacheValue *stale,
		   StoreTime stale_until)
{
	CacheValue value = {InvalidOid, (Datum) 0};
	Load load;

	cg_load_init(&load, request, identity);
	load.stale = *stale;
	/* What is computed from a stale value would be stale from the start. */
	load.stale_until = load.outer ? 0 : stale_until;
	cg_load_check_recursion(&load);
	PG_TRY();
	{
		switch (begin_fill(&load, &value))
		{
			case BEGUN_LOAD:
				cg_load_enter(&load);
				value = cg_load_compute(&load);
				break;
			case BEGUN_FOUND:
				break;
			case BEGUN_STALE:
				value = cg_load_give_stale(&load);
				break;
			case BEGUN_OFF:
				if (load.options.on_error != ON_ERROR_NULL)
					cg_load_refuse_to_try(&load.request->key);
				value = cg_load_give_nothing();
				break;
		}
	}
	PG_FINALLY();
	{
		cg_load_leave(&load);
	}
	PG_END_TRY();
	return value;
}

/*
 * Is the value, which is due, refreshed in the background, so that this session may do with
 * what there is?  A stale one is not for loads within loads, nor for those who are to wait.
 */
static bool
is_asked_for(const LoadRequest *request, uint64 identity, CacheOutcome outcome)
{
	if (!request->by_loader ||
		(outcome != CACHE_HIT &&
		 (cg_load_is_running() ||
		  cg_cache_policy(&request->key)->loading.on_timeout == ON_TIMEOUT_STALE)))
		return false;
	return cg_load_ask(&request->key, identity);
}

Datum
cg_load_fetch(const LoadRequest *request, bool *isnull)
{
	uint64 identity = cg_load_identity(request);
	CacheValue value = {InvalidOid, (Datum) 0};
	CacheInfo info;
	CacheOutcome outcome =
		cg_cache_lookup_to_load(&request->key, identity, &value, &info);
	bool asked = info.ahead && is_asked_for(request, identity, outcome);

	if (outcome != CACHE_HIT && asked)
		cg_store_count(cg_cache_policy(&request->key)->number, COUNT_STALE, 1);
	else if (outcome != CACHE_HIT)
		value = load_value(request, identity, &value, info.stale_until);
	else if (info.early && !asked)
		cg_load_early(request, identity, info.version, &value);
	return cg_load_value_to_jsonb(&value, isnull);
}

LoadRequest
cg_load_request_by_loader(const CacheKey *key)
{
	const CachePolicy *policy = cg_cache_policy(key);
	LoadRequest request = {.key = *key};

	if (!policy->loader)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("cache \"%s\" has no loader", NameStr(policy->name)),
			errdetail("The key \"%.*s\" belongs to it.", key->size, key->data),
			errhint("Give it one by cachegrid.create_cache() or cachegrid.alter_cache(), "
					"or give fetch() a query."));

	/* A copy: the lookup may read the policies anew. */
	request.query = pstrdup(policy->loader);
	request.query_size = strlen(request.query);
	request.by_loader = true;
	return request;
}

Datum
cg_load_fetch_by_loader(const CacheKey *key, bool *isnull)
{
	LoadRequest request = cg_load_request_by_loader(key);

	return cg_load_fetch(&request, isnull);
}
