/*-------------------------------------------------------------------------
 *
 * property.c
 *	  After any sequence of operations the counters are the sum of what there is.
 *
 * One session does something at random, and walks through the whole store: then
 * the next thing.  Beside it stands a model, a table of what was put last: what is
 * found is exactly that.  The seed decides all but what the clock has to do with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "cache/cache_internal.h"
#include "probe.h"
#include "store/evict.h"

PG_FUNCTION_INFO_V1(probe_property);

#define CACHES			 6
#define KEYS			 250 /* of each cache */
#define MOODS			 5
#define MOOD_OPERATIONS	 700 /* so often other sizes become common */
#define MANY_TYPES		 300 /* more than the store has codes for */
#define LIVES_AT_MOST_US 3000

/* What was put last of a key. */
typedef struct Known
{
	char key[40];
	uint32 seed; /* 0: nothing */
	uint32 size;
	bool encoded;
	StoreTime expires_at;
} Known;

typedef struct Model
{
	Random random;
	int mood;
	const char *doing; /* for the report */
	char names[CACHES][NAMEDATALEN];
	uint16 numbers[CACHES];
	StoreLimits limits[CACHES];
	uint64 memory[CACHES]; /* that the cache took before this operation */
	Known known[CACHES][KEYS];
	Known *one; /* the key of this operation, and its cache */
	int cache;
	StoreKey key;
	int64 hits;
	int64 puts;
	int64 refused;
} Model;

static void
forget(Model *model, int cache)
{
	for (int i = 0; i < KEYS; i++)
		model->known[cache][i].seed = 0;
}

/* From a few entries to more than the caches have keys for. */
static uint64
some_limit(Model *model)
{
	return UINT64CONST(65536) << probe_below(&model->random, 6);
}

/* Of the caches some are without limits, some have a quota, or are pinned, or both. */
static void
choose_limits(Model *model, int cache)
{
	model->limits[cache].max_memory =
		probe_below(&model->random, 2) ? some_limit(model) : 0;
	model->limits[cache].pinned = probe_below(&model->random, 3) == 0;
}

/* A cache that was closed, or is new; its limits stay what they were. */
static void
open_cache(Model *model, int cache)
{
	model->numbers[cache] = probe_cache(model->names[cache], &model->limits[cache]);
	model->memory[cache] = cg_store_cache_memory(model->numbers[cache]);
	forget(model, cache);
}

/* No cache takes more than its limit, or, where that was lowered, than it took. */
static const char *
exceeded_limits(Model *model)
{
	for (int cache = 0; cache < CACHES; cache++)
	{
		uint64 memory = cg_store_cache_memory(model->numbers[cache]);
		uint64 limit = model->limits[cache].max_memory;

		if (limit != 0 && memory > Max(limit, model->memory[cache]))
			return psprintf("cache %s takes " UINT64_FORMAT " bytes of " UINT64_FORMAT,
							model->names[cache], memory, limit);
		model->memory[cache] = memory;
	}
	return "";
}

/* Half of all operations are about few keys, which get replaced. */
static void
choose_key(Model *model)
{
	int number = probe_below(&model->random, probe_below(&model->random, 2) ? 20 : KEYS);

	model->cache = probe_below(&model->random, CACHES);
	model->one = &model->known[model->cache][number];
	model->key = probe_key(model->numbers[model->cache], model->one->key);
}

static StoreTime
some_expiry(Model *model)
{
	uint64 dice = probe_below(&model->random, 4);

	if (dice > 1)
		return CG_STORE_NEVER;
	return cg_store_now() + (dice
								 ? INT64CONST(3600000000)
								 : (int64) probe_below(&model->random, LIVES_AT_MOST_US));
}

static void
do_put(Model *model)
{
	StoreEntry entry = {.type = TEXTOID, .flags = STORE_VARLENA};
	uint64 dice = probe_below(&model->random, 20);
	char meta[CG_STORE_META_MAX];

	model->doing = "put";
	model->one->seed = 1 + probe_below(&model->random, 0xffff);
	model->one->size = probe_value_size(&model->random, model->mood);
	model->one->encoded = probe_below(&model->random, 5) == 0;
	model->one->expires_at = entry.expires_at = some_expiry(model);
	if (model->one->encoded)
		entry.flags |= STORE_ENCODED;
	if (dice < 4)
	{
		/* The server's sweep looks into it: it depends on nothing. */
		entry.meta_size =
			sizeof(EntryMeta) +
			probe_below(&model->random,
						(dice ? 300 : CG_STORE_META_MAX + 1) - sizeof(EntryMeta));
		memset(meta, 0, entry.meta_size);
		entry.meta = meta;
	}
	if (dice == 19)
		entry.type = 1 + probe_below(&model->random, MANY_TYPES);
	entry.value_size = model->one->size;
	entry.value = MemoryContextAlloc(CurrentMemoryContext, model->one->size);
	probe_value_write((char *) entry.value, model->one->size, model->one->key,
					  model->key.size, model->one->seed);
	model->puts++;
	if (!cg_store_put(&model->key, &entry, NULL, NULL))
	{
		model->one->seed = 0;
		model->refused++;
	}
}

/*
 * The same with too little room, at some point of it; seldom for good, since a put
 * that finds none throws a lot out first.
 */
static void
do_put_failing(Model *model)
{
	probe_fail_from(1 + probe_below(&model->random, 6),
					probe_below(&model->random, 10) ? 1 + probe_below(&model->random, 9)
													: PG_INT32_MAX);
	do_put(model);
	probe_fail_from(0, 0);
	model->doing = "put, failing";
}

static StoreVerdict
judge(const StoreEntry *present, StoreEntry *next, void *arg)
{
	return *(StoreVerdict *) arg;
}

static void
do_remove(Model *model)
{
	StoreVerdict verdict = STORE_REMOVE;

	model->doing = "remove";
	(void) cg_store_judge(&model->key, NULL, judge, &verdict);
	model->one->seed = 0;
}

static void
do_retime(Model *model)
{
	StoreVerdict verdict = STORE_RETIME;
	StoreEntry next = {.expires_at = some_expiry(model)};

	model->doing = "retime";
	(void) cg_store_judge(&model->key, &next, judge, &verdict);
	model->one->expires_at = next.expires_at;
}

static void
do_drop(Model *model)
{
	model->doing = "drop";
	cg_store_drop(model->key.hash);
	model->one->seed = 0;
}

static void
do_clear(Model *model)
{
	model->doing = "clear";
	cg_store_cache_clear(model->numbers[model->cache]);
	forget(model, model->cache);
}

static void
do_close(Model *model)
{
	model->doing = "close and open";
	cg_store_cache_close(MyDatabaseId, model->names[model->cache]);
	open_cache(model, model->cache);
}

/*
 * Other limits.  Entries end where the cache has a quota or is pinned and was not, or
 * the other way round; else the limit is a lower one, or higher.
 */
static void
do_limit(Model *model)
{
	StoreLimits *limits = &model->limits[model->cache];
	StoreLimits before = *limits;

	model->doing = "limit";
	if (probe_below(&model->random, 3) == 0)
		choose_limits(model, model->cache);
	else if (limits->max_memory != 0)
		limits->max_memory = some_limit(model);
	cg_store_cache_limit(MyDatabaseId, model->names[model->cache], limits);
	if ((before.max_memory != 0) != (limits->max_memory != 0) ||
		before.pinned != limits->pinned)
		forget(model, model->cache);
}

static void
do_sweep(Model *model)
{
	model->doing = "sweep";
	(void) cg_store_sweep(probe_below(&model->random, store->page_count), NULL);
}

static void
do_reclaim(Model *model)
{
	model->doing = "reclaim a page";
	cg_reclaim_any_page((Reach) probe_below(&model->random, REACH_PINNED + 1));
}

static void
do_lookup(Model *model)
{
	const Known *one = model->one;
	const char *value;
	StoreCopy copy;

	model->doing = "lookup";
	if (!cg_store_lookup(&model->key, &copy))
		return;
	model->hits++;
	if (one->seed == 0)
		elog(ERROR, "key \"%s\" is found, but nothing was put", one->key);
	value = one->encoded ? copy.value : VARDATA(copy.value);
	if (((copy.entry.flags & STORE_ENCODED) != 0) != one->encoded ||
		copy.entry.value_size != one->size || copy.entry.expires_at != one->expires_at ||
		!probe_value_check(value, one->size, one->key, model->key.size) ||
		probe_value_seed(value) != one->seed)
		elog(ERROR, "value of key \"%s\" is not the last one: %u bytes, not %u", one->key,
			 copy.entry.value_size, one->size);
	cg_store_free_value(&copy);
}

/* Each does so many of a thousand. */
static const struct
{
	void (*operation)(Model *model);
	int share;
} operations[] = {{do_put, 374},	{do_put_failing, 60}, {do_lookup, 342},
				  {do_remove, 50},	{do_retime, 80},	  {do_drop, 40},
				  {do_clear, 4},	{do_close, 2},		  {do_sweep, 20},
				  {do_reclaim, 20}, {do_limit, 8}};

static void
do_something(Model *model)
{
	int dice = probe_below(&model->random, 1000);
	int i = 0;

	choose_key(model);
	while (dice >= operations[i].share)
		dice -= operations[i++].share;
	operations[i].operation(model);
}

static void
init_model(Model *model, uint64 seed)
{
	model->random.state = seed;
	for (int cache = 0; cache < CACHES; cache++)
	{
		snprintf(model->names[cache], NAMEDATALEN, "property%d", cache);
		choose_limits(model, cache);
		open_cache(model, cache);
		cg_store_cache_clear(model->numbers[cache]);
		for (int i = 0; i < KEYS; i++)
			snprintf(model->known[cache][i].key, sizeof(model->known[cache][i].key),
					 "%s:%d", model->names[cache], i);
	}
}

/*
 * probe_property(seed bigint, operations integer) -> text
 *
 * Returns counts of what was done.
 */
Datum
probe_property(PG_FUNCTION_ARGS)
{
	int64 seed = PG_GETARG_INT64(0);
	Model *model = palloc0(sizeof(Model));
	MemoryContext once = AllocSetContextCreate(CurrentMemoryContext, "probe operation",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(once);

	probe_attach();
	init_model(model, seed);
	for (int i = 0; i < PG_GETARG_INT32(1); i++)
	{
		const char *problems;

		if (i % MOOD_OPERATIONS == 0)
			model->mood = probe_below(&model->random, MOODS);
		do_something(model);
		problems = probe_walk(true);
		if (*problems == '\0')
			problems = exceeded_limits(model);
		if (*problems)
			elog(ERROR, "seed " INT64_FORMAT ", operation %d, %s of key \"%s\": %s", seed,
				 i, model->doing, model->one->key, problems);
		MemoryContextReset(once);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	PG_RETURN_TEXT_P(cstring_to_text(
		psprintf(INT64_FORMAT " puts, " INT64_FORMAT " refused, " INT64_FORMAT " hits",
				 model->puts, model->refused, model->hits)));
}
