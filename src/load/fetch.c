/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  A value from the cache, or computed once and published.
 *
 * Life of a miss: take the lease, or wait for who holds it and look again;
 * begin the fill, which samples the key; prepare the query, which locks its
 * tables; find and sample what it depends on; run it under the snapshot that
 * the miss was judged by; publish.  Where the transaction or the key allows
 * no fill, the query is checked and run all the same, as without a cache.
 *
 * A query may itself fetch.  The cache hands what the inner value depends on
 * to the outer fill, and ends that if the inner one could not be sampled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/hash.h"
#include "base/settings.h"
#include "cache/cache.h"
#include "coherence/coherence.h"
#include "load/dependencies.h"
#include "load/guard.h"
#include "load/lease.h"
#include "load/load.h"
#include "load/query.h"
#include "load/refuse.h"

#define MICROSECONDS_IN_MS 1000

/* A load under way.  Backend-local, on the stack. */
typedef struct Load
{
	const LoadRequest *request;
	const char *query; /* terminated */
	uint64 identity;
	uint64 lease; /* its id */
	bool leased;  /* held here */
	int64 ttl;
	CacheLoading options; /* of the key's cache */
	NameData cache;
	uint16 cache_number;
	LoadTarget target;
	CacheFill *fill; /* NULL: compute only */
	bool fruitless;	 /* computed, and not published */
	bool failed;
	CacheValue value;	   /* computed */
	CacheValue stale;	   /* what is there instead, ... */
	StoreTime stale_until; /* ... which may be given till then; 0: nothing is */
	struct Load *outer;
} Load;

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

/* Is there a stale value that may be given now? */
static bool
has_stale(const Load *load)
{
	return load->stale_until != 0 && load->stale_until > cg_store_now();
}

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
			return has_stale(load) ? BEGUN_STALE : BEGUN_LOAD;
		}
		if (load->leased)
			return BEGUN_LOAD;
		lease = cg_load_lease_take(load->lease,
								   load->options.lease_interval / MICROSECONDS_IN_MS);
		load->leased = lease == LEASE_TAKEN;
		if (lease == LEASE_NONE || (lease == LEASE_BUSY && waited != LEASE_ENDED))
			return BEGUN_LOAD;

		/* Who has waited, and who has the lease, looks whether it is there now. */
		cg_cache_fill_abandon(load->fill);
		load->fill = NULL;
		if (lease == LEASE_OFF)
			return has_stale(load) ? BEGUN_STALE : BEGUN_OFF;
		if (lease == LEASE_BUSY && load->options.on_timeout != ON_TIMEOUT_STALE &&
			has_stale(load))
			return BEGUN_STALE;
		if (!load->leased)
			waited = cg_load_lease_wait(load->lease, deadline);
		if (cg_cache_lookup_again(&load->request->key, load->identity, value) ==
			CACHE_HIT)
			return BEGUN_FOUND;
		if (waited == LEASE_TIMEOUT && has_stale(load))
			return BEGUN_STALE;
		if (waited == LEASE_TIMEOUT && load->options.on_timeout == ON_TIMEOUT_ERROR)
			cg_load_refuse_to_wait(&load->request->key);
	}
}

/* Record tags and dependencies; a fill that dies is given up. */
static void
record_dependencies(Load *load, const LoadDependencies *dependencies)
{
	bool alive = cg_load_dependencies_record(dependencies, load->fill);

	for (int i = 0; i < load->target.tag_count && alive; i++)
		alive = cg_cache_fill_tag(load->fill, &load->target.tags[i]);
	if (alive)
		return;
	cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
}

static LoadArguments *
make_arguments(const Load *load, const LoadQuery *query)
{
	if (load->request->arguments)
		return cg_load_arguments_from_array(query, load->request->arguments);
	return cg_load_arguments_from_key(query, &load->request->key);
}

/* Check, record and run the query; the result in the caller's context. */
static CacheValue
compute(Load *load)
{
	MemoryContext context = CurrentMemoryContext;
	CacheValue value = {JSONBOID, (Datum) 0};
	LoadQuery *query;
	LoadArguments *arguments;
	LoadDependencies *dependencies;
	bool isnull;
	int nest_level;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	nest_level = cg_load_pin_settings();

	query = cg_load_query_prepare(load->query, load->request->query_size,
								  load->outer != NULL);
	arguments = make_arguments(load, query);
	dependencies = cg_load_dependencies_find(query, arguments, &load->target);
	cg_load_dependencies_check(dependencies, &load->target, load->ttl != CG_TTL_NEVER);
	if (load->fill)
		record_dependencies(load, dependencies);
	if (dependencies->purity.locale)
		cg_load_pin_locale();
	if (dependencies->detaching)
		query = cg_load_query_prepare_anew(query);
	value.datum = cg_load_query_run(query, arguments, context, &isnull);
	if (isnull)
		value.type = InvalidOid;

	AtEOXact_GUC(true, nest_level);
	SPI_finish();
	return value;
}

/* A value that is too large for the cache is computed each time. */
static bool
publish(Load *load, const CacheValue *value)
{
	CacheFill *fill = load->fill;

	if (!fill)
		return false;
	load->fill = NULL;
	if (OidIsValid(value->type) && VARSIZE_ANY_EXHDR(value->datum) > CG_VALUE_MAX_BYTES)
	{
		cg_cache_fill_abandon(fill);
		return false;
	}
	return cg_cache_fill_publish(fill, value, load->ttl);
}

/* The policy anew: the table may have been read again meanwhile. */
static void
count_load(const Load *load, instr_time start)
{
	instr_time duration;

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	cg_cache_count_load(cg_cache_policy(&load->request->key),
						INSTR_TIME_GET_MICROSEC(duration));
}

/* Compute and publish; what a guard runs. */
static void
run_load(void *argument)
{
	Load *load = argument;
	instr_time start;

	INSTR_TIME_SET_CURRENT(start);
	load->value = compute(load);
	load->fruitless = !publish(load, &load->value);
	count_load(load, start);
}

/* NULL instead of a value that could not be computed. */
static CacheValue
give_nothing(void)
{
	cg_cache_fill_spoil();
	return (CacheValue){InvalidOid, (Datum) 0};
}

static CacheValue
give_stale(const Load *load)
{
	cg_store_count(load->cache_number, COUNT_STALE, 1);
	return load->stale;
}

/*
 * How long it may take, and what is survived.  It is the present that decides: a stale
 * value whose time ends meanwhile is not given any more.
 */
static void
limit_guard(const Load *load, LoadGuard *guard)
{
	const CacheLoading *options = &load->options;
	bool stale = has_stale(load);

	guard->timeout = options->load_timeout;
	guard->survive_error = options->on_error == ON_ERROR_NULL ||
						   (options->on_error == ON_ERROR_STALE && stale);
	guard->survive_timeout = guard->survive_error;
	if (!stale || options->soft_load_timeout == 0)
		return;
	guard->survive_timeout = true;
	if (guard->timeout == 0 || options->soft_load_timeout < guard->timeout)
		guard->timeout = options->soft_load_timeout;
}

/* The value computed, or what the cache has instead if that fails. */
static CacheValue
compute_guarded(Load *load)
{
	LoadGuard guard = {
		.key = &load->request->key,
		.cache = load->cache,
		.number = load->cache_number,
		.role = GetUserId(),
		.run = run_load,
		.argument = load,
	};
	LoadEnd end;

	limit_guard(load, &guard);
	current_load = load;
	end = cg_load_guarded(&guard, &load->failed);
	if (end == LOAD_DONE)
		return load->value;
	if (load->fill)
		cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
	if (has_stale(load) &&
		(load->options.on_error == ON_ERROR_STALE ||
		 (end == LOAD_TIMED_OUT && load->options.soft_load_timeout > 0)))
		return give_stale(load);
	if (load->options.on_error != ON_ERROR_NULL)
		cg_load_refuse_without_stale(&load->request->key);
	return give_nothing();
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
				value = compute_guarded(&load);
				break;
			case BEGUN_FOUND:
				break;
			case BEGUN_STALE:
				value = give_stale(&load);
				break;
			case BEGUN_OFF:
				if (load.options.on_error != ON_ERROR_NULL)
					cg_load_refuse_to_try(&load.request->key);
				value = give_nothing();
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

Datum
cg_load_fetch(const LoadRequest *request, bool *isnull)
{
	uint64 identity = cg_load_identity(request);
	CacheValue value = {InvalidOid, (Datum) 0};
	StoreTime stale_until;

	if (cg_cache_lookup_or_stale(&request->key, identity, &value, &stale_until) !=
		CACHE_HIT)
		value = load_value(request, identity, &value, stale_until);
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
