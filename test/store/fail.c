/*-------------------------------------------------------------------------
 *
 * fail.c
 *	  Allocations that fail: what becomes of an entry that finds no room halfway.
 *
 * The linker leads the store's calls of cg_arena_allocate_locked here (--wrap), in
 * this library's copy of the store alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "probe.h"
#include "store/layout.h"

PG_FUNCTION_INFO_V1(probe_fail_put);
PG_FUNCTION_INFO_V1(probe_fail_bucket);

/* Of a long value the first so many allocations fail one after the other, then some. */
#define EVERY_UP_TO 12

static int allocations = 0;
static int fail_first = 0; /* 0: none fails */
static int fail_count = 0;

extern ItemRef __real_cg_arena_allocate_locked(Partition *partition, int size_class,
											   Zone zone, uint32 wanted);
extern ItemRef __wrap_cg_arena_allocate_locked(Partition *partition, int size_class,
											   Zone zone, uint32 wanted);

ItemRef
__wrap_cg_arena_allocate_locked(Partition *partition, int size_class, Zone zone,
								uint32 wanted)
{
	allocations++;
	if (fail_first > 0 && allocations >= fail_first &&
		allocations - fail_first < fail_count)
		return 0;
	return __real_cg_arena_allocate_locked(partition, size_class, zone, wanted);
}

/* From now on count allocations, and have some fail: none if first is 0. */
void
probe_fail_from(int first, int count)
{
	allocations = 0;
	fail_first = first;
	fail_count = count;
}

/* How many there were since. */
int
probe_allocations(void)
{
	return allocations;
}

/* One round: what is there before, what is put, and what fails. */
typedef struct Trial
{
	StoreKey key;
	int before; /* bytes of the present value, -1: there is none */
	int after;	/* -1: the present entry gets an expiry instead */
	int first;
	int count;
	const char *fresh; /* not NULL: of this cache, a new key each time, from ... */
	int number;		   /* ... this one on, for which the index needs a further bucket */
} Trial;

static void
fail_trial(const Trial *trial, const char *what)
{
	probe_fail_from(0, 0);
	elog(ERROR,
		 "%s: %d bytes over %d, %d allocations fail from the %d-th on, key \"%.*s\"",
		 what, trial->after, trial->before, trial->count, trial->first, trial->key.size,
		 trial->key.data);
}

static bool
put_value(const StoreKey *key, Size size, uint32 seed)
{
	StoreEntry entry = {.type = TEXTOID,
						.flags = STORE_VARLENA,
						.expires_at = CG_STORE_NEVER,
						.value_size = size};
	char *value = palloc(Max(size, 1));
	bool done;

	if (size >= VALUE_MIN)
		probe_value_write(value, size, key->data, key->size, seed);
	else
		memset(value, 'v', size);
	entry.value = value;
	done = cg_store_put(key, &entry, NULL, NULL);
	pfree(value);
	return done;
}

/* Is the value of this size there, and whole?  Or, with size -1, nothing? */
static bool
finds(const StoreKey *key, int size, uint32 seed, StoreTime *expires_at)
{
	StoreCopy copy;
	bool right;

	if (!cg_store_lookup(key, &copy))
		return size < 0;
	right = copy.entry.value_size == size;
	if (right && size >= VALUE_MIN)
		right = probe_value_check(VARDATA(copy.value), size, key->data, key->size) &&
				probe_value_seed(VARDATA(copy.value)) == seed;
	*expires_at = copy.entry.expires_at;
	pfree(copy.value);
	return right;
}

static void
expect_sound_store(const Trial *trial)
{
	const char *problems;

	for (uint32 i = 0; i < store->partition_count; i++)
		if (LWLockHeldByMe(store_partitions[i].lock))
			fail_trial(trial, "a partition's lock is still held");
	if (LWLockHeldByMe(store->pool_lock))
		fail_trial(trial, "the pool's lock is still held");
	problems = probe_walk(true);
	if (*problems)
		fail_trial(trial, problems);
}

static StoreVerdict
judge_retime(const StoreEntry *present, StoreEntry *next, void *arg)
{
	return present ? STORE_RETIME : STORE_LEAVE;
}

/* The expiry is the new one, or the entry is gone. */
static void
try_retime(const Trial *trial)
{
	StoreEntry next = {.expires_at = cg_store_now() + 3600 * INT64CONST(1000000)};
	StoreTime expires_at = 0;

	probe_fail_from(trial->first, trial->count);
	(void) cg_store_judge(&trial->key, &next, judge_retime, NULL);
	fail_first = 0;
	if (finds(&trial->key, -1, 0, &expires_at))
		return;
	if (!finds(&trial->key, trial->before, 1, &expires_at))
		fail_trial(trial, "the value is not the one that was there");
	if (expires_at != next.expires_at)
		fail_trial(trial, "it has its old expiry");
}

static void
try_put(const Trial *trial)
{
	StoreTime expires_at;
	bool done;

	probe_fail_from(trial->first, trial->count);
	done = put_value(&trial->key, trial->after, 2);
	fail_first = 0;
	if (done && !finds(&trial->key, trial->after, 2, &expires_at))
		fail_trial(trial, "it was put, and is not there");
	if (!done && !finds(&trial->key, -1, 0, &expires_at))
		fail_trial(trial, "it was not put, and there is something");
}

static bool
needs_bucket(const StoreKey *key)
{
	Partition *partition = partition_of(key->hash);
	bool is_full;

	LWLockAcquire(partition->lock, LW_SHARED);
	is_full = cg_index_is_full_locked(key->hash);
	LWLockRelease(partition->lock);
	return is_full;
}

static void
choose_fresh_key(Trial *trial)
{
	for (int end = trial->number + 1000; trial->number < end;)
	{
		trial->key =
			probe_key(trial->key.cache, psprintf("%s:%d", trial->fresh, trial->number++));
		if (needs_bucket(&trial->key))
			return;
	}
	fail_trial(trial, "the index has room for all");
}

/* False once so few allocations are made that none failed. */
static bool
try_once(Trial *trial)
{
	StoreTime expires_at;
	int made;

	if (trial->fresh)
		choose_fresh_key(trial);
	cg_store_drop(trial->key.hash);
	if (trial->before >= 0 && (!put_value(&trial->key, trial->before, 1) ||
							   !finds(&trial->key, trial->before, 1, &expires_at)))
		fail_trial(trial, "there is no room for the first value");
	if (trial->after < 0)
		try_retime(trial);
	else
		try_put(trial);
	made = probe_allocations();
	expect_sound_store(trial);
	if (!put_value(&trial->key, Max(trial->after, 0), 3) ||
		!finds(&trial->key, Max(trial->after, 0), 3, &expires_at))
		fail_trial(trial, "afterwards it cannot be put");
	expect_sound_store(trial);
	return made >= trial->first;
}

/* Have the first, second, third ... fail: alone, some in a row, and for good. */
static int
try_all(Trial *trial)
{
	static const int counts[] = {1, 5, 20, PG_INT32_MAX};
	int trials = 0;

	for (int i = 0; i < lengthof(counts); i++)
	{
		trial->count = counts[i];
		trial->first = 1;
		while (try_once(trial))
		{
			trials++;
			trial->first =
				trial->first < EVERY_UP_TO ? trial->first + 1 : trial->first * 7 / 4;
			CHECK_FOR_INTERRUPTS();
		}
	}
	return trials;
}

/*
 * probe_fail_put(cache text, key text, before integer, after integer) -> integer
 *
 * Put a value of "after" bytes over one of "before" bytes (-1: over none), or give
 * that an expiry (-1), and have allocations fail.  Returns how many trials there were.
 */
Datum
probe_fail_put(PG_FUNCTION_ARGS)
{
	Trial trial = {.before = PG_GETARG_INT32(2), .after = PG_GETARG_INT32(3)};

	probe_attach();
	trial.key = probe_key(probe_cache(text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL),
						  text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_INT32(try_all(&trial));
}

/*
 * probe_fail_bucket(cache text, entries integer, after integer) -> integer
 *
 * The same with new keys in an index that is full of so many tiny entries.
 */
Datum
probe_fail_bucket(PG_FUNCTION_ARGS)
{
	Trial trial = {.before = -1, .after = PG_GETARG_INT32(2)};

	trial.fresh = text_to_cstring(PG_GETARG_TEXT_PP(0));
	probe_attach();
	for (trial.number = 0; trial.number < PG_GETARG_INT32(1); trial.number++)
	{
		trial.key = probe_key(probe_cache(trial.fresh, NULL),
							  psprintf("%s:%d", trial.fresh, trial.number));
		(void) put_value(&trial.key, 0, 0);
	}
	PG_RETURN_INT32(try_all(&trial));
}
