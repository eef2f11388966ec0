/*-------------------------------------------------------------------------
 *
 * install.c
 *	  What becomes of a transaction's own writes when it ends.
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
 * What COMMIT needs is made ready before, for it can neither allocate nor
 * fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "cache/own.h"

/* Backend-local: whether it has been decided what of this transaction's sets to install. */
static bool is_decided = false;

static CacheKey
key_of(const OwnKey *own)
{
	CacheKey key = {0};

	(void) cg_key_init(&key, own->key_data, own->key_size);
	return key;
}

/*
 * TransactionListener: the last moment to touch something.  First what was
 * touched after it was set: the touches of the deletes, made only now, say
 * nothing about that.
 */
static void
before_stamp(bool preparing)
{
	if (!preparing && cg_own_is_simple())
		return;
	for (OwnKey *own = cg_own_keys(); own; own = own->next)
		if (own->top && (preparing || cg_own_touched_since(own, own->top)))
			own->top->deleted = true;

	for (OwnKey *own = cg_own_keys(); own; own = own->next)
	{
		CacheKey key = key_of(own);

		if (own->top && own->top->deleted)
			cg_coherence_touch_key(&key);
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
 * touches of its key, and bring its gens up to now.  *needs_gens: is it beside
 * one, so that its id does not say all?  One without a sample was not touched
 * when it was made, nor since, but perhaps by its neighbours' deletes at the end.
 */
static bool
decide_write(OwnKey *own, OwnWrite *write, bool *needs_gens)
{
	MetaBuilder *builder = &write->sample->builder;
	bool unmoved = true;
	bool touched = cg_coherence_touched_by_me(own->dependency);

	own->nobody_else = touched;
	unmoved &=
		unmoved_but_by_me(own->dependency, write->sample->key_gen, &own->gen_at_commit);
	for (int i = 0; i < builder->meta.gen_count; i++)
	{
		DependencyGen *gen = &builder->gens[i];
		DependencyKind kind = cg_dependency_kind(gen->dependency);

		if (cg_coherence_touched_by_me(gen->dependency))
		{
			touched = true;
			own->nobody_else |= kind == DEPENDENCY_KEY_PREFIX || kind == DEPENDENCY_CACHE;
		}
		unmoved &= unmoved_but_by_me(gen->dependency, gen->gen, &gen->gen);
	}
	*needs_gens = touched;
	return !touched || (unmoved && !write->sample->unsettled);
}

/* Since the key was set its cache may have been dropped, and the number given away. */
static void
renew_number(OwnKey *own)
{
	CacheKey key = key_of(own);

	if (own->closings == cg_store_cache_closings())
		return;
	own->cache = cg_cache_policy(&key)->number;
	own->closings = cg_store_cache_closings();
}

/* Decide what becomes of a set, and make ready what it needs at the commit. */
static void
settle_write(OwnKey *own, OwnWrite *write)
{
	OwnSample *sample = write->sample;
	bool needs_gens = false;

	if (sample && !decide_write(own, write, &needs_gens))
	{
		write->deleted = true;
		cg_store_drop(own->dependency);
		return;
	}
	renew_number(own);
	if (needs_gens || write->shape != 0 || (sample && sample->builder.meta.tag_count > 0))
	{
		sample->builder.meta.shape = write->shape;
		write->meta = cg_meta_finish(&sample->builder);
		write->meta_size = cg_meta_size(&sample->builder);
	}
}

/* Its rows were changed after it was set, and after all was decided. */
static void
give_up_write(Dependency key)
{
	for (OwnKey *own = cg_own_keys(); own; own = own->next)
		if (own->dependency == key && own->top)
			own->top->deleted = true;
}

/*
 * TransactionListener: after the stamps, drop the touched keys' entries, but for those that
 * linger.  Of what was deleted, or set and not kept, nothing does.
 */
static void
stamped(const Dependency *keys, int count, bool preparing)
{
	MemoryContext caller;

	for (int i = 0; i < count; i++)
		cg_store_end(keys[i], cg_linger_spare);
	for (int i = 0; i < count && is_decided; i++)
		give_up_write(keys[i]);
	is_decided = true;
	if (cg_own_context() == NULL || cg_own_is_simple())
		return;

	caller = MemoryContextSwitchTo(cg_own_context());
	for (OwnKey *own = cg_own_keys(); own; own = own->next)
	{
		if (own->top && own->top->deleted)
			cg_store_drop(own->dependency);
		else if (own->top)
			settle_write(own, own->top);
	}
	MemoryContextSwitchTo(caller);
}

static StoreKey
store_key_of(const OwnKey *own)
{
	return (StoreKey){own->dependency, own->key_data, own->key_size, own->cache};
}

/* Under the partition's lock, at commit, for a key that was stamped, too (nobody_else). */
static StoreVerdict
judge_installation(const StoreEntry *present, StoreEntry *next, void *arg)
{
	const OwnKey *own = arg;
	StoreKey key = store_key_of(own);

	if ((present != NULL && cg_meta_is_current(&key, present)) ||
		cg_coherence_gen(own->dependency) != own->gen_at_commit)
		return STORE_LEAVE;
	return STORE_REPLACE;
}

static void
install_write(OwnKey *own, const OwnWrite *write)
{
	StoreKey key = store_key_of(own);
	StoreEntry entry = {
		.type = write->type,
		.flags = write->flags,
		.expires_at = write->expires_at,
		.meta = write->meta,
		.meta_size = write->meta_size,
		.value = write->data,
		.value_size = write->size,
	};

	(void) cg_store_put(&key, &entry, own->nobody_else ? judge_installation : NULL, own);
}

static OwnKey *
prefetch_buckets(OwnKey *own)
{
	StoreKey key;

	if (own == NULL)
		return NULL;
	key = store_key_of(own);
	cg_store_prefetch_bucket(&key);
	return own->next;
}

static OwnKey *
prefetch_item(OwnKey *own)
{
	StoreKey key;

	if (own == NULL)
		return NULL;
	key = store_key_of(own);
	cg_store_prefetch_item(&key);
	return own->next;
}

/* While one key is put, the memory of those that follow is on its way to the processor. */
static void
install_all(uint32 closings)
{
	OwnKey *buckets = cg_own_keys();
	OwnKey *items = cg_own_keys();

	for (int i = 0; i < 2 * KEYS_AHEAD; i++)
		buckets = prefetch_buckets(buckets);
	for (int i = 0; i < KEYS_AHEAD; i++)
		items = prefetch_item(items);
	for (OwnKey *own = cg_own_keys(); own; own = own->next)
	{
		buckets = prefetch_buckets(buckets);
		items = prefetch_item(items);
		if (own->top == NULL || own->top->deleted)
			continue;
		if (own->closings == closings)
			install_write(own, own->top);
		else
			cg_store_drop(own->dependency);
	}
}

/* The transaction has ended, in whatever way. */
static void
forget(void)
{
	cg_own_reset();
	is_decided = false;
}

/*
 * TransactionListener: install; allocates nothing and cannot fail.  A number
 * that may be another cache's by now gets nothing: the stamps have ended what
 * was to be cleared, and of a key that was set the old value goes, too.  To be
 * gone is allowed at any time, to be what it was before is not.
 */
static void
committed(void)
{
	uint32 closings = cg_store_cache_closings();

	for (OwnClear *clear = cg_own_clears(); clear; clear = clear->next)
		if (clear->dropped)
			cg_store_cache_close(MyDatabaseId, NameStr(clear->name));
		else if (clear->limited)
			cg_store_cache_limit(MyDatabaseId, NameStr(clear->name), &clear->limits);
		else if (clear->closings == closings)
			cg_store_cache_clear(clear->cache);
	install_all(closings);
	forget();
}

/* TransactionListener, on a standby. */
static void
redone(Dependency key)
{
	cg_store_end(key, cg_linger_spare);
}

static const TransactionListener own_listener = {
	.stamped = stamped,
	.before_stamp = before_stamp,
	.committed = committed,
	.aborted = forget,
	.subcommitted = cg_own_subcommitted,
	.subaborted = cg_own_subaborted,
	.redone = redone,
	.database_dropped = cg_store_database_dropped,
};

/* At load time: hear of the ends of transactions. */
void
cg_cache_init(void)
{
	cg_coherence_listen(&own_listener);
}
