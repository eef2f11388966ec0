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
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "cache/own.h"

static MemoryContext context = NULL;
static OwnKey *first_key = NULL;
static OwnKey **last_key = &first_key;
static OwnClear *clears = NULL;						  /* the latest first */
static dlist_head writes = DLIST_STATIC_INIT(writes); /* the latest first */
static HTAB *keys_by_hash = NULL; /* Dependency -> OwnKey *, the first with it */

typedef struct IndexEntry
{
	Dependency dependency;
	OwnKey *own;
} IndexEntry;

static void
begin_own_writes(void)
{
	HASHCTL control = {.keysize = sizeof(Dependency), .entrysize = sizeof(IndexEntry)};

	if (context != NULL)
		return;
	context = AllocSetContextCreate(TopTransactionContext, "cachegrid own writes",
									ALLOCSET_DEFAULT_SIZES);
	control.hcxt = context;
	keys_by_hash = hash_create("cachegrid own writes", 64, &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The key's record, by hash and bytes; NULL if there is none. */
static OwnKey *
find_own(const CacheKey *key, Dependency dependency)
{
	IndexEntry *entry;

	if (keys_by_hash == NULL)
		return NULL;
	entry = hash_search(keys_by_hash, &dependency, HASH_FIND, NULL);
	if (entry == NULL)
		return NULL;
	for (OwnKey *own = entry->own; own; own = own->next)
		if (own->dependency == dependency && own->key_size == key->size &&
			memcmp(own->key_data, key->data, key->size) == 0)
			return own;
	return NULL;
}

static OwnKey *
make_own(const CacheKey *key, Dependency dependency)
{
	OwnKey *own = find_own(key, dependency);
	IndexEntry *entry;
	bool found;

	if (own)
		return own;
	begin_own_writes();
	own = MemoryContextAllocZero(context, offsetof(OwnKey, key_data) + key->size);
	own->dependency = dependency;
	own->key_size = key->size;
	memcpy(own->key_data, key->data, key->size);
	entry = hash_search(keys_by_hash, &dependency, HASH_ENTER, &found);
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
	if (write->flat.data)
		pfree(unconstify(char *, write->flat.data));
	cg_meta_free(&write->builder);
	pfree(write);
}

/* A write at the current level, in place of one made there before. */
static OwnWrite *
push_write(OwnKey *own)
{
	int level = GetCurrentTransactionNestLevel();
	OwnWrite *present = own->top;
	OwnWrite *write = MemoryContextAllocZero(context, sizeof(OwnWrite));

	write->key = own;
	write->outer = present;
	write->level = level;
	write->touch_number = cg_coherence_touch_count();
	if (present && present->level >= level)
	{
		write->outer = present->outer;
		forget_write(present);
	}
	dlist_push_head(&writes, &write->place);
	own->top = write;
	return write;
}

/* Remember the gens of now, and whether all are settled in the active snapshot. */
static void
sample_write(OwnWrite *write, const CachePolicy *policy, const CacheKey *key,
			 const CacheKey *tags, int tag_count)
{
	Snapshot snapshot = cg_coherence_snapshot();

	write->unsettled =
		snapshot == NULL ||
		!cg_coherence_settled(cg_dependency_of_key(key), snapshot, &write->key_gen);
	cg_meta_init(&write->builder, context, 0, InvalidOid);
	if (!cg_meta_add_set(&write->builder, policy, key, tags, tag_count, snapshot))
		write->unsettled = true;
}

/* Set the key as of this transaction's commit.  tags point to the caller's bytes. */
void
cg_cache_set(const CacheKey *key, const CacheValue *value, int64 ttl,
			 const CacheKey *tags, int tag_count)
{
	const CachePolicy *policy = cg_cache_policy(key);
	MemoryContext caller;
	OwnWrite *write;
	OwnKey *own;
	FlatValue flat;
	char *data;

	if (!policy->transactional)
	{
		(void) cg_cache_put_now(key, value, ttl, tags, tag_count, CACHE_ALWAYS, 0);
		return;
	}
	cg_value_flatten(value, &flat);
	begin_own_writes();
	caller = MemoryContextSwitchTo(context);
	data = MemoryContextAllocHuge(context, Max(flat.size, 1));
	memcpy(data, flat.data, flat.size);
	own = make_own(key, cg_dependency_of_key(key));
	own->cache = policy->number;
	own->closings = cg_store_cache_closings();
	write = push_write(own);
	write->flat = flat;
	write->flat.data = data;
	write->ttl = ttl;
	write->expires_at = cg_policy_expiry(ttl);
	sample_write(write, policy, key, tags, tag_count);
	MemoryContextSwitchTo(caller);
	cg_store_count(policy->number, COUNT_SETS, 1);
}

static StoreVerdict
judge_removal(const StoreEntry *present, StoreEntry *next, void *arg)
{
	return present ? STORE_REMOVE : STORE_LEAVE;
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
	CacheValue value;
	CacheInfo info;
	OwnWrite *write;
	bool found;

	if (!transactional)
	{
		cg_coherence_move(dependency);
		return cg_store_judge(&store_key, NULL, judge_removal, NULL) == STORE_REMOVE;
	}

	begin_own_writes();
	found = cg_cache_inspect(key, &value, &info) == CACHE_HIT;
	/* Though not for us, others may see an entry, or be about to make one. */
	write = push_write(make_own(key, dependency));
	write->deleted = true;
	return found;
}

/* Whatever is known of the key is wrong as of this transaction's commit. */
void
cg_cache_invalidate(const CacheKey *key)
{
	cg_store_count(cg_cache_policy(key)->number, COUNT_INVALIDATIONS, 1);
	cg_coherence_touch_key(key);
}

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
	if (cg_coherence_last_touch(own->dependency) > write->touch_number)
		return true;
	for (int i = 0; i < write->builder.meta.gen_count; i++)
		if (cg_coherence_last_touch(write->builder.gens[i].dependency) >
			write->touch_number)
			return true;
	return false;
}

static StoreCopy *
copy_of(const OwnWrite *write, StoreCopy *copy)
{
	Size header = write->flat.flags & STORE_VARLENA ? VARHDRSZ : 0;

	memset(copy, 0, offsetof(StoreCopy, meta_inline));
	copy->entry.type = write->flat.type;
	copy->entry.flags = write->flat.flags;
	copy->value = palloc(write->flat.size + VARHDRSZ);
	if (header)
		SET_VARSIZE(copy->value, write->flat.size + header);
	memcpy(copy->value + header, write->flat.data, write->flat.size);
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
	if (!cg_value_restore(copy_of(write, &copy), write->flat.shape, value))
		return OWN_DELETED;
	return OWN_VALUE;
}

/* The transaction has ended, and with it the memory of all this. */
void
cg_own_reset(void)
{
	cg_fill_forget(1);
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
