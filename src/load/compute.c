/*-------------------------------------------------------------------------
 *
 * compute.c
 *	  Computes values and publishes them.
 *
 * Prepare the query, which locks its tables; find and sample what each value depends on;
 * run the query under the snapshot that the misses were judged by; publish.
 *
 * Of several values at once each depends on what the query alone would, with its
 * arguments; a loader that takes many keys is one query, and all its values depend on what
 * that reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "load/guard.h"
#include "load/refuse.h"
#include "load/running.h"

/* Loads that one query computes.  Backend-local, on the stack. */
typedef struct Batch
{
	Load **loads; /* of one cache, if there are several */
	int count;
	bool is_aside; /* their fills are */
	LoadArguments **arguments;
	bool locale;	/* to be pinned */
	bool detaching; /* the plan is not to be kept */
	bool failed;
} Batch;

/* Record tags and dependencies; a fill that dies is given up. */
static void
record_dependencies(Load *load, const LoadDependencies *dependencies)
{
	const CacheKey *row_key = load->request->row_key;
	bool alive = cg_load_dependencies_record(dependencies, load->fill);

	if (row_key && alive)
		alive = cg_cache_fill_depend(load->fill, cg_dependency_of_key(row_key));
	for (int i = 0; i < load->target.tag_count && alive; i++)
		alive = cg_cache_fill_tag(load->fill, &load->target.tags[i]);
	if (alive)
		return;
	cg_cache_fill_abandon(load->fill);
	load->fill = NULL;
}

static bool
takes_keys(const Load *load)
{
	return !load->request->arguments && load->request->takes == LOADER_TAKES_KEYS;
}

static LoadArguments *
make_arguments(const Load *load, const LoadQuery *query)
{
	if (load->request->arguments)
		return cg_load_arguments_from_array(query, load->request->arguments);
	if (load->request->takes == LOADER_TAKES_KEY)
		return cg_load_arguments_of_key(query, &load->request->key);
	return cg_load_arguments_from_key(query, &load->request->key);
}

static LoadArguments *
make_arguments_of_keys(const Batch *batch, const LoadQuery *query)
{
	Datum *keys = palloc_array(Datum, batch->count);

	for (int i = 0; i < batch->count; i++)
	{
		const CacheKey *key = &batch->loads[i]->request->key;

		keys[i] = PointerGetDatum(cstring_to_text_with_len(key->data, key->size));
	}
	return cg_load_arguments_of_keys(
		query, PointerGetDatum(construct_array(keys, batch->count, TEXTOID, -1, false,
											   TYPALIGN_INT)));
}

/* What the values of count loads from first on depend on: with the arguments of that one. */
static void
find_dependencies(Batch *batch, LoadQuery *query, int first, int count)
{
	const Load *load = batch->loads[first];
	LoadDependencies *dependencies =
		cg_load_dependencies_find(query, batch->arguments[first], &load->target);

	cg_load_dependencies_check(dependencies, &load->target, load->ttl != CG_TTL_NEVER);
	for (int i = first; i < first + count; i++)
		if (batch->loads[i]->fill)
			record_dependencies(batch->loads[i], dependencies);
	batch->locale |= dependencies->purity.locale;
	batch->detaching |= dependencies->detaching;
}

/* Each by itself. */
static void
run_each(Batch *batch, LoadQuery *query, MemoryContext context)
{
	for (int i = 0; i < batch->count; i++)
	{
		cg_load_query_run(query, batch->arguments[i], 2);
		cg_load_result_read(batch->loads[i], context);
		SPI_freetuptable(SPI_tuptable);
	}
}

/* All at once, if there is a query for that. */
static void
run_many(Batch *batch, LoadQuery *query, MemoryContext context)
{
	char *text = batch->count > 1 ? cg_load_many_text(query) : NULL;
	LoadQuery *many;

	if (!text)
	{
		run_each(batch, query, context);
		return;
	}
	many = cg_load_query_prepare(text, strlen(text), batch->loads[0]->outer != NULL);
	if (batch->detaching)
		many = cg_load_query_prepare_anew(many);
	/* One row more than there are keys tells that a key has two. */
	cg_load_query_run(many, cg_load_many_arguments(many, batch->arguments, batch->count),
					  batch->count + 1);
	cg_load_result_read_places(batch->loads, batch->count, context);
}

/* What is read meanwhile is read for all. */
static void
run(Batch *batch, LoadQuery *query, MemoryContext context)
{
	CacheFill *shared = batch->is_aside ? cg_cache_fill_begin_shared() : NULL;

	if (takes_keys(batch->loads[0]))
	{
		cg_load_query_run(query, batch->arguments[0], batch->count + 1);
		cg_load_result_read_keys(batch->loads, batch->count, context);
	}
	else
		run_many(batch, query, context);
	if (!shared)
		return;
	for (int i = 0; i < batch->count; i++)
		if (batch->loads[i]->fill)
			cg_cache_fill_share(shared, batch->loads[i]->fill);
	cg_cache_fill_end_shared(shared);
}

/* Check, record and run the query; the results in the caller's context. */
static void
compute(Batch *batch)
{
	MemoryContext context = CurrentMemoryContext;
	const Load *first = batch->loads[0];
	LoadQuery *query;
	int nest_level;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	nest_level = cg_load_pin_settings(OidIsValid(first->request->run_as));

	query = cg_load_query_prepare(first->query, first->request->query_size,
								  first->outer != NULL);
	batch->arguments = palloc_array(LoadArguments *, batch->count);
	if (takes_keys(first))
	{
		batch->arguments[0] = make_arguments_of_keys(batch, query);
		find_dependencies(batch, query, 0, batch->count);
	}
	else
		for (int i = 0; i < batch->count; i++)
		{
			batch->arguments[i] = make_arguments(batch->loads[i], query);
			find_dependencies(batch, query, i, 1);
		}
	if (batch->locale)
		cg_load_pin_locale();
	if (batch->detaching)
		query = cg_load_query_prepare_anew(query);
	run(batch, query, context);

	AtEOXact_GUC(true, nest_level);
	SPI_finish();
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
run_batch(void *argument)
{
	Batch *batch = argument;
	instr_time start;

	INSTR_TIME_SET_CURRENT(start);
	compute(batch);
	for (int i = 0; i < batch->count; i++)
		batch->loads[i]->fruitless = !publish(batch->loads[i], &batch->loads[i]->value);
	count_load(batch->loads[0], start);
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

static bool
have_stale(const Batch *batch)
{
	for (int i = 0; i < batch->count; i++)
		if (!cg_load_has_stale(batch->loads[i]))
			return false;
	return true;
}

/*
 * How long it may take, and what is survived.  It is the present that decides: a stale
 * value whose time ends meanwhile is not given any more.
 */
static void
limit_guard(const Batch *batch, LoadGuard *guard)
{
	const CacheLoading *options = &batch->loads[0]->options;
	bool quiet = batch->loads[0]->quiet;
	bool stale = quiet || have_stale(batch);

	guard->timeout = options->load_timeout;
	guard->survive_error = quiet || options->on_error == ON_ERROR_NULL ||
						   (options->on_error == ON_ERROR_STALE && stale);
	guard->survive_timeout = guard->survive_error;
	if (!stale || options->soft_load_timeout == 0)
		return;
	guard->survive_timeout = true;
	if (guard->timeout == 0 || options->soft_load_timeout < guard->timeout)
		guard->timeout = options->soft_load_timeout;
}

/* What is given for a value that could not be computed. */
static CacheValue
give_instead(const Load *load, LoadEnd end)
{
	if (cg_load_has_stale(load) &&
		(load->options.on_error == ON_ERROR_STALE ||
		 (end == LOAD_TIMED_OUT && load->options.soft_load_timeout > 0)))
		return cg_load_give_stale(load);
	if (load->options.on_error != ON_ERROR_NULL)
		cg_load_refuse_without_stale(&load->request->key);
	return cg_load_give_nothing();
}

/* Unless it is done, the fills are given up. */
static LoadEnd
run_guarded(Batch *batch)
{
	const Load *first = batch->loads[0];
	LoadGuard guard = {
		.key = &first->request->key,
		.cache = first->cache,
		.number = first->cache_number,
		.role = GetUserId(),
		.run = run_batch,
		.argument = batch,
	};
	LoadEnd end = LOAD_FAILED;

	limit_guard(batch, &guard);
	PG_TRY();
	{
		end = cg_load_guarded(&guard, &batch->failed);
	}
	PG_FINALLY();
	{
		/* Their leases are released with that, even if an error is raised. */
		for (int i = 0; i < batch->count; i++)
			batch->loads[i]->failed = batch->failed;
	}
	PG_END_TRY();
	for (int i = 0; i < batch->count && end != LOAD_DONE; i++)
	{
		Load *load = batch->loads[i];

		if (load->fill)
			cg_cache_fill_abandon(load->fill);
		load->fill = NULL;
	}
	return end;
}

static void
compute_batch(Batch *batch)
{
	LoadEnd end = run_guarded(batch);

	for (int i = 0; i < batch->count && end != LOAD_DONE; i++)
		batch->loads[i]->value = give_instead(batch->loads[i], end);
}

CacheValue
cg_load_compute(Load *load)
{
	Batch batch = {.loads = &load, .count = 1};

	compute_batch(&batch);
	return load->value;
}

bool
cg_load_compute_quietly(Load *load, CacheValue *value)
{
	Batch batch = {.loads = &load, .count = 1};

	if (run_guarded(&batch) != LOAD_DONE)
		return false;
	*value = load->value;
	return true;
}

void
cg_load_compute_many(Load **loads, int count)
{
	Batch batch = {.loads = loads, .count = count, .is_aside = true};

	compute_batch(&batch);
}
