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
 * A query may itself fetch.  The cache hands what the inner value depends on
 * to the outer fill, and ends that if the inner one could not be sampled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/hash.h"
#include "base/settings.h"
#include "cache/cache.h"
#include "coherence/coherence.h"
#include "load/lease.h"
#include "load/query.h"
#include "load/refuse.h"
#include "load/running.h"

/* Backend-local: the innermost load under way. */
static Load *current_load = NULL;

static void
set_tags(LoadTarget *target, ArrayType *tags)
{
	CacheKey *names;
	Datum *elements;
	bool *nulls;
	int count;

	if (!tags)
		return;
	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	names = palloc_array(CacheKey, count + 1);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			cg_key_refuse_null("tag");
		names[i] = cg_tag_from_text(DatumGetTextPP(elements[i]));
	}
	target->tags = names;
	target->tag_count = count;
}

static void
init_load(Load *load, const LoadRequest *request, uint64 identity)
{
	uint64 ids[2] = {cg_dependency_of_key(&request->key), identity};
	const CachePolicy *policy = cg_cache_policy(&request->key);

	memset(load, 0, sizeof(Load));
	load->request = request;
	load->query = pnstrdup(request->query, request->query_size);
	load->identity = identity;
	load->lease = cg_hash(ids, sizeof(ids), 0) | 1;
	load->ttl = request->ttl ? cg_cache_ttl_from_interval(request->ttl) : policy->ttl;
	load->options = policy->loading;
	load->cache = policy->name;
	load->cache_number = policy->number;
	load->target.key = &request->key;
	set_tags(&load->target, request->tags);
	load->outer = current_load;
}

/* Append the keys of the loads from first, an outer one, to last. */
static void
append_chain(StringInfo chain, const Load *first, const Load *last)
{
	const CacheKey *key = &last->request->key;

	if (last != first)
		append_chain(chain, first, last->outer);
	appendStringInfo(chain, "%s\"%.*s\"", last == first ? "" : ", ", key->size,
					 key->data);
}

/*
 * A query that fetches the very value that it computes would never end.  The load is
 * not the current one yet, but it knows its outer one.
 */
static void
check_recursion(const Load *load)
{
	for (const Load *outer = load->outer; outer; outer = outer->outer)
	{
		StringInfoData chain;

		if (outer->lease != load->lease)
			continue;
		initStringInfo(&chain);
		append_chain(&chain, outer, load);
		ereport(ERROR, errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				errmsg("key \"%.*s\" is computed from itself", load->request->key.size,
					   load->request->key.data),
				errdetail("Each of these is fetched by what computes the one before: %s.",
						  chain.data),
				errhint("Let the query read tables, or fetch other keys."));
	}
}

static void
release_lease(Load *load)
{
	LeaseEnd end = load->failed		 ? LEASE_END_FAILED
				   : load->fruitless ? LEASE_END_FRUITLESS
									 : LEASE_END_QUIET;

	if (load->leased)
		cg_load_lease_release(load->lease, end,
							  load->options.error_backoff / MICROSECONDS_IN_MS);
	load->leased = false;
}

static LeaseOutcome
take_lease(Load *load)
{
	LeaseOutcome outcome = cg_load_lease_take(load->lease, load->options.lease_interval /
															   MICROSECONDS_IN_MS);

	load->leased = outcome == LEASE_TAKEN;
	return outcome;
}

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
			release_lease(load);
			return cg_load_has_stale(load) ? BEGUN_STALE : BEGUN_LOAD;
		}
		if (load->leased)
			return BEGUN_LOAD;
		lease = take_lease(load);
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

	init_load(&load, request, identity);
	load.stale = *stale;
	/* What is computed from a stale value would be stale from the start. */
	load.stale_until = load.outer ? 0 : stale_until;
	check_recursion(&load);
	PG_TRY();
	{
		switch (begin_fill(&load, &value))
		{
			case BEGUN_LOAD:
				current_load = &load;
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
		current_load = load.outer;
		release_lease(&load);
	}
	PG_END_TRY();
	return value;
}

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
	if (take_lease(load) == LEASE_TAKEN && cg_cache_fill_replaces(load->fill, version))
		return true;
	cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
	return false;
}

/*
 * Compute a value that was a hit, before it expires, if nobody else does; it stays what it is
 * where that is not possible, or fails.  What is computed within another load is no
 * matter of this: it would take its time.
 */
static void
load_early(const LoadRequest *request, uint64 identity, uint64 version, CacheValue *value)
{
	Load load;

	if (current_load || IsInParallelMode() ||
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	init_load(&load, request, identity);
	load.early = true;
	PG_TRY();
	{
		if (begin_early(&load, version))
		{
			current_load = &load;
			cg_store_count(load.cache_number, COUNT_EARLY, 1);
			(void) cg_load_compute_early(&load, value);
		}
	}
	PG_FINALLY();
	{
		current_load = NULL;
		release_lease(&load);
	}
	PG_END_TRY();
}

Datum
cg_load_fetch(const LoadRequest *request, bool *isnull)
{
	uint64 identity = cg_load_identity(request);
	CacheValue value = {InvalidOid, (Datum) 0};
	CacheInfo info;

	if (cg_cache_lookup_to_load(&request->key, identity, &value, &info) != CACHE_HIT)
		value = load_value(request, identity, &value, info.stale_until);
	else if (info.early)
		load_early(request, identity, info.version, &value);
	return cg_load_value_to_jsonb(&value, isnull);
}

Datum
cg_load_fetch_by_loader(const CacheKey *key, bool *isnull)
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
	return cg_load_fetch(&request, isnull);
}
