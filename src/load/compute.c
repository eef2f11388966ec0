/*-------------------------------------------------------------------------
 *
 * compute.c
 *	  Computes a value and publishes it.
 *
 * Prepare the query, which locks its tables; find and sample what it depends on; run it
 * under the snapshot that the miss was judged by; publish.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "load/guard.h"
#include "load/query.h"
#include "load/refuse.h"
#include "load/running.h"

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

CacheValue
cg_load_give_nothing(void)
{
	cg_cache_fill_spoil();
	return (CacheValue){InvalidOid, (Datum) 0};
}

CacheValue
cg_load_give_stale(const Load *load)
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
	bool stale = load->quiet || cg_load_has_stale(load);

	guard->timeout = options->load_timeout;
	guard->survive_error = load->quiet || options->on_error == ON_ERROR_NULL ||
						   (options->on_error == ON_ERROR_STALE && stale);
	guard->survive_timeout = guard->survive_error;
	if (!stale || options->soft_load_timeout == 0)
		return;
	guard->survive_timeout = true;
	if (guard->timeout == 0 || options->soft_load_timeout < guard->timeout)
		guard->timeout = options->soft_load_timeout;
}

/* Run it within a guard; unless it is done, the fill is given up. */
static LoadEnd
run_guarded(Load *load)
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
	end = cg_load_guarded(&guard, &load->failed);
	if (end != LOAD_DONE && load->fill)
	{
		cg_cache_fill_abandon(load->fill);
		load->fill = NULL;
	}
	return end;
}

bool
cg_load_compute_quietly(Load *load, CacheValue *value)
{
	if (run_guarded(load) != LOAD_DONE)
		return false;
	*value = load->value;
	return true;
}

CacheValue
cg_load_compute(Load *load)
{
	LoadEnd end = run_guarded(load);

	if (end == LOAD_DONE)
		return load->value;
	if (cg_load_has_stale(load) &&
		(load->options.on_error == ON_ERROR_STALE ||
		 (end == LOAD_TIMED_OUT && load->options.soft_load_timeout > 0)))
		return cg_load_give_stale(load);
	if (load->options.on_error != ON_ERROR_NULL)
		cg_load_refuse_without_stale(&load->request->key);
	return cg_load_give_nothing();
}
