/*-------------------------------------------------------------------------
 *
 * own.c
 *	  What the current transaction has set and deleted, until it commits.
 *
 * Backend-local.  Each key has a stack of writes, one a subtransaction level,
 * so that ROLLBACK TO brings the outer one back.  The transaction itself
 * reads the top of the stack; others see nothing before COMMIT, when the
 * sets are installed.
 *
 * What becomes of them when the transaction ends is install.c's matter.
 *
 * Everything lives in a child of TopTransactionContext.  The levels of all
 * writes, the latest first, never rise: so the end of a subtransaction looks
 * only at what was written in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "cache/own.h"

/* The first key with this hash. */
typedef struct IndexEntry
{
	Dependency dependency;
	OwnKey *own;
	char status; /* for simplehash */
} IndexEntry;

#define SH_PREFIX			 own_index
#define SH_ELEMENT_TYPE		 IndexEntry
#define SH_KEY_TYPE			 Dependency
#define SH_KEY				 dependency
#define SH_HASH_KEY(tb, key) ((uint32) (key))
#define SH_EQUAL(tb, a, b)	 ((a) == (b))
#define SH_SCOPE			 static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext context = NULL;
static OwnKey *first_key = NULL;
static OwnKey **last_key = &first_key;
static OwnClear *clears = NULL;						  /* the latest first */
static dlist_head writes = DLIST_STATIC_INIT(writes); /* the latest first */
static own_index_hash *keys_by_hash = NULL;
static bool has_special = false;	 /* a delete, or a set with a sample */
static uint32 closings_at_begin = 0; /* of the store */

/* Many writes of all sizes, freed all at once but for those done again. */
static void
begin_own_writes(void)
{
	if (context != NULL)
		return;
	context = GenerationContextCreate(TopTransactionContext, "cachegrid own writes",
									  ALLOCSET_DEFAULT_SIZES);
	keys_by_hash = own_index_create(context, 64, NULL);
	has_special = false;
	closings_at_begin = cg_store_cache_closings();
}

/* The key's record, by hash and bytes; NULL if there is none. */
static OwnKey *
find_own(const CacheKey *key, Dependency dependency)
{
	IndexEntry *entry;

	if (keys_by_hash == NULL)
		return NULL;
	entry = own_index_lookup(keys_by_hash, dependency);
	if (entry == NULL)
		return NULL;
	for (OwnKey *own = entry->own; own; own = own->next)
		if (own->dependency == dependency && own->key_size == key->size &&
			memcmp(own->key_data, key->data, key->size) == 0)
			return own;
	return NULL;
}

static OwnKey *
make_own(const CachePolicy *policy, const CacheKey *key, Dependency dependency)
{
	OwnKey *own = find_own(key, dependency);
	IndexEntry *entry;
	bool found;

	if (own)
		return own;
	own = MemoryContextAlloc(context, offsetof(OwnKey, key_data) + key->size);
	memset(own, 0, offsetof(OwnKey, key_data));
	own->dependency = dependency;
	own->home_count = cg_policy_home(policy, key, own->home);
	own->key_size = key->size;
	memcpy(own->key_data, key->data, key->size);
	entry = own_index_insert(keys_by_hash, dependency, &found);
	if (!found)
		entry->own = own;
	*last_key = own;
	last_key = &own->next;
	return own;
}

static void
forget_write(OwnWrite *write)
{
	dlist_delete(&write->place);
	if (write->sample)
	{
		cg_meta_free(&write->sample->builder);
		pfree(write->sample);
	}
	pfree(write);
}

static OwnWrite *
make_write(const FlatValue *flat)
{
	OwnWrite *write =
		MemoryContextAllocHuge(context, offsetof(OwnWrite, data) + flat->size);

	memset(write, 0, offsetof(OwnWrite, data));
	write->touch_number = cg_coherence_touch_count();
	write->flags = flat->flags;
	write->type = flat->type;
	write->shape = flat->shape;
	write->size = flat->size;
	memcpy(write->data, flat->data, flat->size);
	return write;
}

/* Let the write be the key's at the current level, in place of one made there before. */
static void
push_write(OwnKey *own, OwnWrite *write)
{
	OwnWrite *present = own->top;

	write->key = own;
	write->outer = present;
	write->level = GetCurrentTransactionNestLevel();
	if (present && present->level >= write->level)
	{
		write->outer = present->outer;
		forget_write(present);
	}
	dlist_push_head(&writes, &write->place);
	own->top = write;
}

/* Remember the gens of now, and whether all are settled in the active snapshot. */
static OwnSample *
take_sample(const CachePolicy *policy, const CacheKey *key, const CacheKey *tags,
			int tag_count)
{
	OwnSample *sample = MemoryContextAlloc(context, sizeof(OwnSample));
	Snapshot snapshot = cg_coherence_snapshot();

	sample->unsettled =
		snapshot == NULL ||
		!cg_coherence_settled(cg_dependency_of_key(key), snapshot, &sample->key_gen);
	cg_meta_init(&sample->builder, context, 0, InvalidOid);
	if (!cg_meta_add_set(&sample->builder, policy, key, tags, tag_count, snapshot))
		sample->unsettled = true;
	has_special = true;
	return sample;
}

/* Set the key as of this transaction's commit.  tags point to the caller's bytes. */
void
cg_cache_set(const CacheKey *key, const CacheValue *value, int64 ttl,
			 const CacheKey *tags, int tag_count)
{
	const CachePolicy *policy = cg_cache_policy(key);
	OwnWrite *write;
	OwnKey *own;
	FlatValue flat;

	if (!policy->transactional)
	{
		CachePut put = {
			.key = key, .value = value, .ttl = ttl, .tags = tags, .tag_count = tag_count};

		(void) cg_cache_put_now(&put);
		return;
	}
	cg_value_flatten(value, &flat);
	cg_value_compress(policy, &flat);
	begin_own_writes();
	write = make_write(&flat);
	write->expires_at = cg_policy_expiry(policy, ttl);
	if (tag_count > 0 || flat.shape != 0 || cg_coherence_touched_since(0))
		write->sample = take_sample(policy, key, tags, tag_count);
	own = make_own(policy, key, cg_dependency_of_key(key));
	own->cache = policy->number;
	own->closings = cg_store_cache_closings();
	push_write(own, write);
	cg_store_count(policy->number, COUNT_SETS, 1);
}

/*
 * Delete the key as of this transaction's commit.  True if this transaction
 * would have found something.
 */
bool
cg_cache_delete(const CacheKey *key)
{
	const CachePolicy *policy = cg_cache_policy(key);
	Dependency dependency = cg_dependency_of_key(key);
	StoreKey store_key = cg_policy_store_key(policy, key, dependency);
	bool transactional = policy->transactional;
	FlatValue nothing = {.data = ""};
	CacheInfo info;
	OwnWrite *write;
	bool found;

	if (!transactional)
		return cg_immediate_remove(&store_key);

	begin_own_writes();
	found = cg_cache_inspect(key, NULL, &info) == CACHE_HIT;
	/* Though not for us, others may see an entry, or be about to make one. */
	write = make_write(&nothing);
	write->deleted = true;
	has_special = true;
	/* The policy anew: the table may have been read again meanwhile. */
	push_write(make_own(cg_cache_policy(key), key, dependency), write);
	return found;
}

/* Whatever is known of the key is wrong as of this transaction's commit. */
void
cg_cache_invalidate(const CacheKey *key)
{
	cg_store_count(cg_cache_policy(key)->number, COUNT_INVALIDATIONS, 1);
	cg_coherence_touch_key(key);
}

/* Entries that carry the tag are wrong as of this transaction's commit. */
void
cg_cache_invalidate_tag(const CacheKey *tag)
{
	cg_cache_require_loaded();
	cg_coherence_touch_tag(tag);
}

static OwnClear *
push_clear(void)
{
	OwnClear *clear;

	begin_own_writes();
	clear = MemoryContextAllocZero(context, sizeof(OwnClear));
	clear->level = GetCurrentTransactionNestLevel();
	clear->next = clears;
	clears = clear;
	return clear;
}

/* The cache of this name is no more as of this transaction's commit. */
void
cg_own_close_cache(const char *name)
{
	OwnClear *clear = push_clear();

	clear->dropped = true;
	namestrcpy(&clear->name, name);
}

/* The cache of this name has these limits as of this transaction's commit. */
void
cg_own_limit_cache(const char *name, const StoreLimits *limits)
{
	OwnClear *clear = push_clear();

	clear->limited = true;
	clear->limits = *limits;
	namestrcpy(&clear->name, name);
}

/*
 * Clear the cache as of this transaction's commit.  Returns how many entries
 * it has now.
 */
int64
cg_cache_clear(const CachePolicy *policy)
{
	const char *name = NameStr(policy->name);
	OwnClear *clear;
	StoreCacheStat stat;

	cg_store_cache_stat(policy->number, &stat);
	clear = push_clear();
	clear->cache = policy->number;
	clear->closings = cg_store_cache_closings();
	cg_coherence_touch(cg_dependency(DEPENDENCY_KEY_PREFIX, name, strlen(name)));
	cg_coherence_touch(cg_dependency(DEPENDENCY_CACHE, name, strlen(name)));
	return stat.entries;
}

/* Did this transaction touch, after the write, what it depends on? */
bool
cg_own_touched_since(const OwnKey *own, const OwnWrite *write)
{
	const OwnSample *sample = write->sample;

	if (!cg_coherence_touched_since(write->touch_number))
		return false;
	if (cg_coherence_last_touch(own->dependency) > write->touch_number)
		return true;
	for (int i = 0; i < own->home_count; i++)
		if (cg_coherence_last_touch(own->home[i]) > write->touch_number)
			return true;
	for (int i = 0; sample && i < sample->builder.meta.gen_count; i++)
		if (cg_coherence_last_touch(sample->builder.gens[i].dependency) >
			write->touch_number)
			return true;
	return false;
}

bool
cg_own_is_simple(void)
{
	return !has_special && !cg_coherence_touched_since(0) &&
		   cg_store_cache_closings() == closings_at_begin;
}

static StoreCopy *
copy_of(const OwnWrite *write, StoreCopy *copy)
{
	Size header = write->flags & STORE_VARLENA ? VARHDRSZ : 0;

	memset(copy, 0, offsetof(StoreCopy, meta_inline));
	copy->entry.type = write->type;
	copy->entry.flags = write->flags;
	copy->entry.value_size = write->size;
	if (write->flags & STORE_ENCODED)
	{
		copy->value = (char *) write->data;
		return copy;
	}
	copy->value = palloc(write->size + VARHDRSZ);
	if (header)
		SET_VARSIZE(copy->value, write->size + header);
	memcpy(copy->value + header, write->data, write->size);
	return copy;
}

/* What this transaction itself reads for the key, palloc'd. */
OwnAnswer
cg_own_lookup(const CacheKey *key, Dependency dependency, CacheValue *value,
			  StoreTime *expires_at)
{
	OwnKey *own = find_own(key, dependency);
	OwnWrite *write = own ? own->top : NULL;
	StoreCopy copy;

	if (write == NULL)
		return OWN_NOTHING;
	if (write->deleted || write->expires_at <= cg_store_now() ||
		cg_own_touched_since(own, write))
		return OWN_DELETED;
	*expires_at = write->expires_at;
	if (!cg_value_restore(own->cache, copy_of(write, &copy), write->shape, value))
		return OWN_DELETED;
	return OWN_VALUE;
}

/* The transaction has ended, and with it the memory of all this. */
void
cg_own_reset(void)
{
	cg_fill_forget(1);
	cg_policy_end_transaction();
	context = NULL;
	keys_by_hash = NULL;
	first_key = NULL;
	last_key = &first_key;
	clears = NULL;
	dlist_init(&writes);
}

/* What this transaction wrote, in order of first write; NULL if nothing. */
OwnKey *
cg_own_keys(void)
{
	return first_key;
}

/* The caches that it clears or drops, the latest first; NULL if none. */
OwnClear *
cg_own_clears(void)
{
	return clears;
}

/* Where all of it lives; NULL if this transaction wrote nothing. */
MemoryContext
cg_own_context(void)
{
	return context;
}

/* The subtransaction of this level joins its parent. */
void
cg_own_subcommitted(int level)
{
	dlist_iter place;

	dlist_foreach(place, &writes)
	{
		OwnWrite *write = dlist_container(OwnWrite, place, place.cur);
		OwnWrite *outer = write->outer;

		if (write->level < level)
			break;
		write->level = level - 1;
		if (outer && outer->level == level - 1)
		{
			write->outer = outer->outer;
			forget_write(outer);
		}
	}
	for (OwnClear *clear = clears; clear && clear->level >= level; clear = clear->next)
		clear->level = level - 1;
}

/* What the subtransactions from this level on wrote is forgotten. */
void
cg_own_subaborted(int level)
{
	cg_fill_forget(level);
	while (!dlist_is_empty(&writes))
	{
		OwnWrite *write = dlist_head_element(OwnWrite, place, &writes);

		if (write->level < level)
			break;
		write->key->top = write->outer;
		forget_write(write);
	}
	while (clears && clears->level >= level)
		clears = clears->next;
}
