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

int64
cg_load_wait_deadline(const Load *load)
{
	int64 timeout = load->options.wait_timeout;

	return cg_clock_ms() +
		   (timeout < 0 ? cg_lease_timeout : timeout / MICROSECONDS_IN_MS);
}

/* There is no fill where the transaction or the key allows none. */
static Begun
begin_without_fill(Load *load)
{
	/* Nobody can publish now: let all compute at once. */
	load->fruitless = true;
	cg_load_release(load);
	return cg_load_has_stale(load) ? BEGUN_STALE : BEGUN_LOAD;
}

Begun
cg_load_begin(Load *load, LeaseWait waited, CacheValue *value)
{
	LeaseOutcome lease;

	load->fill = cg_cache_fill_begin(&load->request->key, load->identity);
	if (!load->fill)
		return begin_without_fill(load);
	lease = cg_load_take_lease(load);
	if (lease == LEASE_NONE || (lease == LEASE_BUSY && waited != LEASE_ENDED))
		return BEGUN_LOAD;

	cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
	if (lease == LEASE_OFF)
		return cg_load_has_stale(load) ? BEGUN_STALE : BEGUN_OFF;
	if (lease == LEASE_BUSY)
		return load->options.on_timeout != ON_TIMEOUT_STALE && cg_load_has_stale(load)
				   ? BEGUN_STALE
				   : BEGUN_WAIT;

	/* Who has the lease looks whether it is there now, and else begins anew. */
	if (cg_cache_lookup_again(&load->request->key, load->identity, value) == CACHE_HIT)
		return BEGUN_FOUND;
	load->fill = cg_cache_fill_begin(&load->request->key, load->identity);
	return load->fill ? BEGUN_LOAD : begin_without_fill(load);
}

Begun
cg_load_wait(Load *load, int64 deadline, LeaseWait *waited, CacheValue *value)
{
	*waited = cg_load_lease_wait(load->lease, deadline);
	if (cg_cache_lookup_again(&load->request->key, load->identity, value) == CACHE_HIT)
		return BEGUN_FOUND;
	if (*waited == LEASE_TIMEOUT && cg_load_has_stale(load))
		return BEGUN_STALE;
	if (*waited == LEASE_TIMEOUT && load->options.on_timeout == ON_TIMEOUT_ERROR)
		cg_load_refuse_to_wait(&load->request->key);
	return BEGUN_WAIT;
}

/* The same as often as it takes. */
static Begun
begin_or_wait(Load *load, CacheValue *value)
{
	int64 deadline = cg_load_wait_deadline(load);
	LeaseWait waited = LEASE_ENDED;

	for (;;)
	{
		Begun begun = cg_load_begin(load, waited, value);

		if (begun == BEGUN_WAIT)
			begun = cg_load_wait(load, deadline, &waited, value);
		if (begun != BEGUN_WAIT)
			return begun;
	}
}

CacheValue
cg_load_do_without(const Load *load)
{
	if (load->options.on_error != ON_ERROR_NULL)
		cg_load_refuse_to_try(&load->request->key);
	return cg_load_give_nothing();
}

/* stale, where stale_until is not 0: what may be given instead, until then. */
static CacheValue
load_value(const LoadRequest *request, uint64 identity, const CacheValue *stale,
		   StoreTime stale_until)
{
	CacheValue value = {InvalidOid, (Datum) 0};
	Load load;

	cg_load_init_missing(&load, request, identity, stale, stale_until);
	PG_TRY();
	{
		switch (begin_or_wait(&load, &value))
		{
			case BEGUN_LOAD:
				cg_load_enter(&load);
				value = cg_load_compute(&load);
				break;
			case BEGUN_FOUND:
			case BEGUN_WAIT:
				break;
			case BEGUN_STALE:
				value = cg_load_give_stale(&load);
				break;
			case BEGUN_OFF:
				value = cg_load_do_without(&load);
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

bool
cg_load_find(const LoadRequest *request, uint64 identity, CacheValue *value,
			 StoreTime *stale_until)
{
	CacheInfo info;
	CacheOutcome outcome = cg_cache_lookup_to_load(&request->key, identity, value, &info);
	bool asked = info.ahead && is_asked_for(request, identity, outcome);

	*stale_until = info.stale_until;
	if (outcome != CACHE_HIT && asked)
		cg_store_count(cg_cache_policy(&request->key)->number, COUNT_STALE, 1);
	else if (outcome == CACHE_HIT && info.early && !asked)
		cg_load_early(request, identity, info.version, value);
	return outcome == CACHE_HIT || asked;
}

/* The value of whatever type, by the rights that the request says. */
CacheValue
cg_load_value(const LoadRequest *request)
{
	CacheValue value = {InvalidOid, (Datum) 0};
	LoadCaller caller;
	StoreTime stale_until;
	uint64 identity;

	cg_load_rights_begin(&caller, request->run_as);
	identity = cg_load_identity(request);
	if (!cg_load_find(request, identity, &value, &stale_until))
		value = load_value(request, identity, &value, stale_until);
	cg_load_rights_end(&caller);
	return value;
}

Datum
cg_load_fetch(const LoadRequest *request, bool *isnull)
{
	CacheValue value = cg_load_value(request);

	return cg_load_value_to_jsonb(&value, isnull);
}

const CachePolicy *
cg_load_policy_with_loader(const CacheKey *key)
{
	const CachePolicy *policy = cg_cache_policy(key);

	if (!policy->loader)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("cache \"%s\" has no loader", NameStr(policy->name)),
			errdetail("The key \"%.*s\" belongs to it.", key->size, key->data),
			errhint("Give it one by cachegrid.create_cache() or cachegrid.alter_cache(), "
					"or give fetch() a query."));
	return policy;
}

LoadRequest
cg_load_request_by_loader(const CacheKey *key)
{
	const CachePolicy *policy = cg_load_policy_with_loader(key);
	LoadRequest request = {.key = *key};

	/* Copies: the lookup may read the policies anew. */
	request.query = pstrdup(policy->loader);
	request.query_size = strlen(request.query);
	request.by_loader = true;
	request.takes = policy->loader_takes;
	request.run_as = policy->run_as;
	if (policy->ttl_column)
		request.ttl_column = pstrdup(policy->ttl_column);
	if (policy->loader_tags)
		request.tags = DatumGetArrayTypePCopy(PointerGetDatum(policy->loader_tags));
	return request;
}

Datum
cg_load_fetch_by_loader(const CacheKey *key, bool *isnull)
{
	LoadRequest request = cg_load_request_by_loader(key);

	return cg_load_fetch(&request, isnull);
}
