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
 * Deleted keys are touched just before the stamps: the stamp and the drop
 * of the entry are coherence's matter.  At PREPARE the same is done for
 * keys that were set: no callback of ours sees COMMIT PREPARED, so all that
 * remains of a set is that the old value is gone.
 *
 * A set of a key whose rows the same transaction changes, or that it
 * invalidates, is published only if that cannot hide anybody's change: the
 * set came after the change, everything was settled in the snapshot that
 * was active then, nobody else stamped between then and the own stamp, nor
 * between that and the commit.  Else only the drop remains.
 *
 * Everything lives in a child of TopTransactionContext.  What COMMIT needs
 * is made ready before, for it can neither allocate nor fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "cache/cache_internal.h"

typedef struct OwnWrite
{
	struct OwnWrite *outer; /* the same key's write at a lower level */
	int level;
	bool deleted;
	bool unsettled;		 /* when set: may not be published beside a touch */
	uint64 touch_number; /* touches up to this one came before */
	int64 ttl;
	StoreTime expires_at;
	FlatValue flat;		 /* its data is our copy */
	uint64 key_gen;		 /* sampled when set */
	MetaBuilder builder; /* dependencies sampled when set, and tags */
	StoreEntry entry;	 /* made ready before the commit */
} OwnWrite;

/* All writes to one key.  Keys whose hashes collide are chained. */
typedef struct OwnKey
{
	Dependency dependency;
	struct OwnKey *next; /* in order of first write */
	OwnWrite *top;		 /* NULL: all rolled back */
	uint16 cache;
	bool nobody_else; /* at commit: publish only if nobody has filled it meanwhile */
	uint64 gen_at_commit;
	uint16 key_size;
	char key_data[FLEXIBLE_ARRAY_MEMBER];
} OwnKey;

/* A cache to be cleared at commit. */
typedef struct OwnClear
{
	struct OwnClear *next;
	uint16 cache;
	int level;
} OwnClear;

static MemoryContext context = NULL;
static OwnKey *first_key = NULL;
static OwnKey **last_key = &first_key;
static OwnClear *clears = NULL;
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

static CacheKey
key_of(const OwnKey *own)
{
	CacheKey key = {0};

	(void) cg_key_init(&key, own->key_data, own->key_size);
	return key;
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

/* A write at the current level, in place of one made there before. */
static OwnWrite *
push_write(OwnKey *own)
{
	int level = GetCurrentTransactionNestLevel();
	OwnWrite *outer = own->top;
	OwnWrite *write = MemoryContextAllocZero(context, sizeof(OwnWrite));

	if (outer && outer->level >= level)
		outer = outer->outer;
	write->outer = outer;
	write->level = level;
	write->touch_number = cg_coherence_touch_count();
	own->top = write;
	return write;
}

/* Remember the gens of now, and whether all are settled in the active snapshot. */
static void
sample_write(OwnWrite *write, const CachePolicy *policy, const CacheKey *key,
			 const CacheKey *tags, int tag_count)
{
	Snapshot snapshot = cg_coherence_snapshot();
	Dependency dependencies[2];
	int count = cg_policy_home(policy, key, dependencies);
	uint64 gen;

	write->unsettled =
		snapshot == NULL ||
		!cg_coherence_settled(cg_dependency_of_key(key), snapshot, &write->key_gen);
	cg_meta_init(&write->builder, context, 0, InvalidOid);
	for (int i = 0; i < count; i++)
	{
		write->unsettled |=
			snapshot == NULL || !cg_coherence_settled(dependencies[i], snapshot, &gen);
		cg_meta_add_gen(&write->builder, dependencies[i],
						cg_coherence_gen(dependencies[i]));
	}
	for (int i = 0; i < tag_count; i++)
	{
		cg_meta_add_gen(&write->builder, cg_dependency_of_tag(&tags[i]),
						cg_coherence_gen(cg_dependency_of_tag(&tags[i])));
		cg_meta_add_gen(&write->builder, cg_dependency_of_tag_prefix(&tags[i]),
						cg_coherence_gen(cg_dependency_of_tag_prefix(&tags[i])));
		cg_meta_add_tag_name(&write->builder, &tags[i]);
	}
	if (cg_meta_size(&write->builder) > CG_STORE_META_MAX)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many tags"),
				errdetail("The tags of one entry may take about %d bytes together.",
						  CG_STORE_META_MAX));
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
		return cg_store_judge(&store_key, NULL, judge_removal, NULL) == STORE_REMOVE;

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
	cg_coherence_touch_tag(tag);
}

/*
 * Clear the cache as of this transaction's commit.  Returns how many entries
 * it has now.
 */
int64
cg_cache_clear(const CachePolicy *policy)
{
	const char *name = NameStr(policy->name);
	StoreCacheStat stat;
	OwnClear *clear;

	cg_store_cache_stat(policy->number, &stat);
	begin_own_writes();
	clear = MemoryContextAlloc(context, sizeof(OwnClear));
	clear->cache = policy->number;
	clear->level = GetCurrentTransactionNestLevel();
	clear->next = clears;
	clears = clear;
	cg_coherence_touch(cg_dependency(DEPENDENCY_KEY_PREFIX, name, strlen(name)));
	cg_coherence_touch(cg_dependency(DEPENDENCY_CACHE, name, strlen(name)));
	return stat.entries;
}

/* Did this transaction touch, after the write, what it depends on? */
static bool
touched_since(const OwnKey *own, const OwnWrite *write)
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
		touched_since(own, write))
		return OWN_DELETED;
	*expires_at = write->expires_at;
	if (!cg_value_restore(copy_of(write, &copy), write->flat.shape, value))
		return OWN_DELETED;
	return OWN_VALUE;
}

/* TransactionListener: the last moment to touch something. */
static void
before_stamp(bool preparing)
{
	for (OwnKey *own = first_key; own; own = own->next)
	{
		CacheKey key = key_of(own);

		if (own->top == NULL)
			continue;
		if (!own->top->deleted && touched_since(own, own->top))
			own->top->deleted = true;
		if (own->top->deleted || preparing)
		{
			own->top->deleted = true;
			cg_coherence_touch_key(&key);
		}
	}
}

/* Has nobody but us stamped the dependency since gen was sampled? */
static bool
unmoved_but_by_me(Dependency dependency, uint64 gen, uint64 *now)
{
	uint64 before;
	uint64 after;

	if (!cg_coherence_own_stamp(dependency, &before, &after))
		before = after = cg_coherence_gen(dependency);
	*now = after;
	return before == gen;
}

/*
 * Decide whether the write may be published beside the transaction's own
 * touches of its key, and bring its gens up to now.
 */
static bool
decide_write(OwnKey *own, OwnWrite *write)
{
	MetaBuilder *builder = &write->builder;
	bool unmoved = true;
	bool touched = cg_coherence_touched_by_me(own->dependency);

	own->nobody_else = touched;
	unmoved &= unmoved_but_by_me(own->dependency, write->key_gen, &own->gen_at_commit);
	for (int i = 0; i < builder->meta.gen_count; i++)
	{
		DependencyGen *gen = &builder->gens[i];
		DependencyKind kind = gen->dependency >> 61;

		if (cg_coherence_touched_by_me(gen->dependency))
		{
			touched = true;
			own->nobody_else |= kind == DEPENDENCY_KEY_PREFIX || kind == DEPENDENCY_CACHE;
		}
		unmoved &= unmoved_but_by_me(gen->dependency, gen->gen, &gen->gen);
	}
	return !touched || (unmoved && !write->unsettled);
}

static void
make_ready(OwnWrite *write)
{
	StoreEntry *entry = &write->entry;

	write->builder.meta.shape = write->flat.shape;
	entry->type = write->flat.type;
	entry->flags = write->flat.flags;
	entry->created_at = cg_store_now();
	entry->expires_at = write->expires_at;
	entry->meta = cg_meta_finish(&write->builder);
	entry->meta_size = cg_meta_size(&write->builder);
	entry->value = write->flat.data;
	entry->value_size = write->flat.size;
}

/* TransactionListener: after the stamps, drop the touched keys' entries. */
static void
stamped(const Dependency *keys, int count, bool preparing)
{
	MemoryContext caller;

	for (int i = 0; i < count; i++)
		cg_store_drop(keys[i]);
	if (context == NULL)
		return;

	caller = MemoryContextSwitchTo(context);
	for (OwnKey *own = first_key; own; own = own->next)
	{
		if (own->top == NULL || own->top->deleted)
			continue;
		if (decide_write(own, own->top))
			make_ready(own->top);
		else
		{
			own->top->deleted = true;
			cg_store_drop(own->dependency);
		}
	}
	MemoryContextSwitchTo(caller);
}

/* Under the partition's lock, at commit, for a key that was stamped, too. */
static StoreVerdict
judge_installation(const StoreEntry *present, StoreEntry *next, void *arg)
{
	const OwnKey *own = arg;

	bool filled =
		present != NULL && cg_meta_gens_current((const EntryMeta *) present->meta);

	if (own->nobody_else &&
		(filled || cg_coherence_gen(own->dependency) != own->gen_at_commit))
		return STORE_LEAVE;
	return STORE_REPLACE;
}

static void
reset(void)
{
	cg_fill_forget(1);
	context = NULL;
	keys_by_hash = NULL;
	first_key = NULL;
	last_key = &first_key;
	clears = NULL;
}

/* TransactionListener: install; allocates nothing and cannot fail. */
static void
committed(void)
{
	for (OwnClear *clear = clears; clear; clear = clear->next)
		cg_store_cache_clear(clear->cache);
	for (OwnKey *own = first_key; own; own = own->next)
	{
		StoreKey key = {own->dependency, own->key_data, own->key_size, own->cache};

		if (own->top && !own->top->deleted)
			(void) cg_store_put(&key, &own->top->entry, judge_installation, own);
	}
	reset();
}

static void
subcommitted(int level)
{
	for (OwnKey *own = first_key; own; own = own->next)
	{
		OwnWrite *write = own->top;

		if (write == NULL || write->level < level)
			continue;
		write->level = level - 1;
		if (write->outer && write->outer->level == level - 1)
			write->outer = write->outer->outer;
	}
	for (OwnClear *clear = clears; clear; clear = clear->next)
		clear->level = Min(clear->level, level - 1);
}

static void
subaborted(int level)
{
	cg_fill_forget(level);
	for (OwnKey *own = first_key; own; own = own->next)
		while (own->top && own->top->level >= level)
			own->top = own->top->outer;
	while (clears && clears->level >= level)
		clears = clears->next;
}

const TransactionListener cg_own_listener = {
	.stamped = stamped,
	.before_stamp = before_stamp,
	.committed = committed,
	.aborted = reset,
	.subcommitted = subcommitted,
	.subaborted = subaborted,
};

/* At load time: hear of the ends of transactions. */
void
cg_cache_init(void)
{
	cg_coherence_listen(&cg_own_listener);
}
