/*-------------------------------------------------------------------------
 *
 * fill.c
 *	  Life of a fill: sample, compute, publish.
 *
 * Sampled before computing: the key's gen, the id of its present entry, and
 * the gens of everything else the value depends on, all settled in the
 * snapshot.  Published under the partition's lock only if the key's gen and
 * the entry are still the sampled ones, or the entry is gone.  The other gens
 * are compared by every reader; a fill looks at them only so as not to keep,
 * and call kept, what nobody will be served.
 *
 * A transaction with an xid never fills: what it sees may be its own, and
 * uncommitted.
 *
 * Fills nest: while one is under way, a loader may read other keys.  What
 * those depend on, the outer fill depends on, too; and if an inner one could
 * not be sampled, the outer one is dead.
 *
 * One query may compute the values of many keys.  Their fills are not within each
 * other: each is set aside when it has begun.  While the query runs, a fill without a key
 * collects what it reads, which is then shared out to all of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "cache/cache_internal.h"

/* Backend-local: the innermost fill under way, and those that were set aside. */
static CacheFill *current = NULL;
static dlist_head aside = DLIST_STATIC_INIT(aside);

CacheFill *
cg_fill_current(void)
{
	return current;
}

static void
count_refused(const CacheKey *key)
{
	cg_store_count(cg_cache_policy(key)->number, COUNT_REFUSED, 1);
}

CacheFill *
cg_fill_make(const CacheKey *key, Dependency dependency, uint64 identity)
{
	CacheFill *fill = MemoryContextAllocZero(TopTransactionContext, sizeof(CacheFill));

	fill->level = GetCurrentTransactionNestLevel();
	fill->key = dependency;
	memcpy(fill->key_data, key->data, key->size);
	fill->key_size = key->size;
	fill->begun_at = cg_store_now();
	fill->fresh_until = CG_STORE_NEVER;
	fill->expires_at = CG_STORE_NEVER;
	cg_meta_init(&fill->builder, TopTransactionContext, identity, GetUserId());
	fill->builder.linger.for_time = cg_cache_policy(key)->loading.serve_invalidated;
	if (identity != 0 && fill->builder.linger.for_time > 0)
		fill->builder.meta.flags |= META_LINGERS;
	return fill;
}

void
cg_fill_free(CacheFill *fill)
{
	if (fill->is_aside)
		dlist_delete(&fill->place_aside);
	cg_meta_free(&fill->builder);
	pfree(fill);
}

/* The subtransactions from this level on are aborted: nobody will end their fills. */
void
cg_fill_forget(int level)
{
	dlist_mutable_iter iterator;

	while (current && current->level >= level)
	{
		CacheFill *fill = current;

		current = fill->outer;
		cg_fill_free(fill);
	}
	dlist_foreach_modify(iterator, &aside)
	{
		CacheFill *fill = dlist_container(CacheFill, place_aside, iterator.cur);

		if (fill->level >= level)
			cg_fill_free(fill);
	}
}

static CacheKey
key_of(const CacheFill *fill)
{
	CacheKey key;

	if (!cg_key_init(&key, fill->key_data, fill->key_size))
		elog(ERROR, "fill without a key");
	return key;
}

/* The id of the key's present entry, 0 if there is none. */
static uint64
present_id(const CachePolicy *policy, const CacheKey *key, Dependency dependency)
{
	StoreKey store_key = cg_policy_store_key(policy, key, dependency);
	StoreEntry entry;

	return cg_store_peek(&store_key, &entry) ? entry.id : 0;
}

/* Sample the key and what all its entries depend on; false: unsettled. */
static bool
sample(CacheFill *fill, const CacheKey *key)
{
	const CachePolicy *policy = cg_cache_policy(key);
	Dependency home[2];
	int count = cg_policy_home(policy, key, home);

	if (cg_coherence_touched_by_me(fill->key) ||
		!cg_coherence_settled(fill->key, fill->snapshot, &fill->key_gen))
		return false;
	fill->entry_id = present_id(policy, key, fill->key);
	for (int i = 0; i < count; i++)
		if (!cg_cache_fill_depend(fill, home[i]))
			return false;
	return true;
}

/*
 * Begin to fill the key under the active snapshot.  NULL if this transaction
 * or snapshot may not, or if a slot is unsettled: then the value may be
 * computed, but not published.
 */
CacheFill *
cg_cache_fill_begin(const CacheKey *key, uint64 identity)
{
	Snapshot snapshot = cg_coherence_snapshot();
	CacheFill *fill;

	if (snapshot != NULL && !TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		cg_coherence_catalog_current())
	{
		fill = cg_fill_make(key, cg_dependency_of_key(key), identity);
		fill->snapshot = snapshot;
		if (sample(fill, key))
		{
			fill->outer = current;
			current = fill;
			return fill;
		}
		cg_fill_free(fill);
	}
	count_refused(key);
	if (current)
		current->dead = true;
	return NULL;
}

bool
cg_cache_fill_depend(CacheFill *fill, Dependency dependency)
{
	uint64 gen;

	if (fill->dead)
		return false;
	if (cg_meta_covers(&fill->builder, dependency))
		return true;
	if (cg_coherence_touched_by_me(dependency) ||
		!cg_coherence_settled(dependency, fill->snapshot, &gen))
		fill->dead = true;
	else
		cg_meta_add_gen(&fill->builder, dependency, gen);
	return !fill->dead;
}

bool
cg_cache_fill_tag(CacheFill *fill, const CacheKey *tag)
{
	if (!cg_cache_fill_covers_tag(fill, tag))
	{
		if (!cg_cache_fill_depend(fill, cg_dependency_of_tag(tag)) ||
			!cg_cache_fill_depend(fill, cg_dependency_of_tag_prefix(tag)))
			return false;
		cg_meta_add_tag_name(&fill->builder, tag);
	}
	return !fill->dead;
}

bool
cg_cache_fill_lingers(const CacheFill *fill)
{
	return (fill->builder.meta.flags & META_LINGERS) != 0;
}

bool
cg_cache_fill_replaces(const CacheFill *fill, uint64 version)
{
	CacheKey key = key_of(fill);

	return fill->entry_id == version &&
		   present_id(cg_cache_policy(&key), &key, fill->key) == version;
}

bool
cg_cache_fill_covers_tag(const CacheFill *fill, const CacheKey *tag)
{
	return cg_meta_covers(&fill->builder, cg_dependency_of_tag(tag));
}

/* The fill's value was computed from a derived entry: take over its dependencies and end. */
void
cg_fill_inherit(CacheFill *fill, Dependency key, uint64 key_gen, const EntryMeta *meta,
				StoreTime expires_at)
{
	const DependencyGen *gens = meta_gens(meta);

	if (expires_at == EXPIRES_NEVER_YET)
		expires_at = CG_STORE_NEVER;
	fill->fresh_until = Min(fill->fresh_until, meta_fresh_until(meta, expires_at));
	fill->expires_at = Min(fill->expires_at, expires_at);
	cg_meta_add_gen(&fill->builder, key, key_gen);
	for (int i = 0; i < meta->gen_count; i++)
		cg_meta_add_gen(&fill->builder, gens[i].dependency, gens[i].gen);
}

/* What the fill's value depends on, the outer fill's value depends on, too. */
static void
hand_on(const CacheFill *fill, CacheFill *outer)
{
	outer->dead |= fill->dead;
	outer->from_plain |= fill->from_plain;
	outer->fresh_until = Min(outer->fresh_until, fill->fresh_until);
	outer->expires_at = Min(outer->expires_at, fill->expires_at);
	if (fill->key_size > 0)
		cg_meta_add_gen(&outer->builder, fill->key, fill->key_gen);
	for (int i = 0; i < fill->builder.meta.gen_count; i++)
		cg_meta_add_gen(&outer->builder, fill->builder.gens[i].dependency,
						fill->builder.gens[i].gen);
}

/* The fill's value was computed from a plain entry, whose replacement moves no gen. */
void
cg_fill_inherit_plain(CacheFill *fill)
{
	fill->from_plain = true;
}

/* The fill's value was computed from what this transaction has set, uncommitted. */
void
cg_fill_spoil(CacheFill *fill)
{
	fill->dead = true;
}

void
cg_cache_fill_spoil(void)
{
	if (current)
		current->dead = true;
}

/* Take the fill off the stack, where one made from a token never was. */
void
cg_fill_end(CacheFill *fill)
{
	if (current == fill || fill->is_aside)
	{
		if (!fill->is_aside)
			current = fill->outer;
		if (current)
			hand_on(fill, current);
	}
	cg_fill_free(fill);
}

void
cg_cache_fill_set_aside(CacheFill *fill)
{
	Assert(current == fill);
	current = fill->outer;
	fill->outer = NULL;
	fill->is_aside = true;
	dlist_push_tail(&aside, &fill->place_aside);
}

CacheFill *
cg_cache_fill_begin_shared(void)
{
	const CacheKey nothing = {.data = ""};
	CacheFill *fill = cg_fill_make(&nothing, 0, 0);

	fill->outer = current;
	current = fill;
	return fill;
}

void
cg_cache_fill_share(const CacheFill *shared, CacheFill *fill)
{
	hand_on(shared, fill);
}

void
cg_cache_fill_end_shared(CacheFill *shared)
{
	cg_fill_end(shared);
}

/*
 * Under the partition's lock: is the key still as it was sampled?  If its
 * entry is gone without a stamp, it was evicted, or swept as dead: that is in
 * nobody's way.
 */
static StoreVerdict
judge_publication(const StoreEntry *present, StoreEntry *next, void *arg)
{
	const CacheFill *fill = arg;

	if ((present != NULL && present->id != fill->entry_id) ||
		cg_coherence_gen(fill->key) != fill->key_gen)
		return STORE_LEAVE;
	return STORE_REPLACE;
}

/* What was sampled may have moved meanwhile: nobody would read such an entry. */
static bool
gens_unmoved(const MetaBuilder *builder)
{
	for (int i = 0; i < builder->meta.gen_count; i++)
		if (cg_coherence_gen(builder->gens[i].dependency) != builder->gens[i].gen)
			return false;
	return true;
}

static bool
may_publish(const CacheFill *fill, int64 ttl)
{
	return !fill->dead && (!fill->from_plain || ttl != CG_TTL_NEVER) &&
		   !TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		   cg_meta_size(&fill->builder) <= CG_STORE_META_MAX &&
		   gens_unmoved(&fill->builder);
}

/* The time that the computed value may live, of the one that it was given. */
static int64
ttl_of_value(const CachePolicy *policy, const CacheValue *value, int64 ttl)
{
	if (OidIsValid(value->type) || policy->loading.null_ttl < 0)
		return ttl;
	return Min(ttl, policy->loading.null_ttl);
}

/*
 * How long the value is fresh, and how much longer it is kept.  What was filled by a
 * token is not: fetch(), which alone gives stale values, is not given such ones.
 */
static void
limit_life(CacheFill *fill, const CachePolicy *policy, int64 ttl)
{
	int64 grace = fill->builder.meta.identity != 0 ? policy->loading.stale_ttl : 0;

	fill->fresh_until = Min(fill->fresh_until, cg_policy_expiry(policy, ttl));
	if (fill->fresh_until == CG_STORE_NEVER)
		return;
	fill->expires_at = Min(fill->expires_at, fill->fresh_until + grace);
	if (grace == 0)
		return;
	fill->builder.meta.flags |= META_GRACE;
	fill->builder.grace.fresh_until = fill->fresh_until;
}

/* Before it is found current, as it is said to be since. */
static void
let_linger(CacheFill *fill)
{
	if (!cg_cache_fill_lingers(fill))
		return;
	fill->builder.linger.current_at = cg_store_now();
	cg_meta_add_gen(&fill->builder, fill->key, fill->key_gen);
	fill->expires_at = Min(fill->expires_at, EXPIRES_NEVER_YET);
}

bool
cg_cache_fill_publish(CacheFill *fill, const CacheValue *value, int64 ttl)
{
	CacheKey key = key_of(fill);
	const CachePolicy *policy = cg_cache_policy(&key);
	StoreKey store_key = cg_policy_store_key(policy, &key, fill->key);
	StoreEntry entry = {0};
	FlatValue flat;
	bool published = false;

	ttl = ttl_of_value(policy, value, ttl);
	if (ttl == 0)
	{
		/* Nor is what was computed from it. */
		fill->dead = true;
		cg_fill_end(fill);
		return false;
	}
	limit_life(fill, policy, ttl);
	let_linger(fill);
	if (may_publish(fill, ttl))
	{
		cg_value_flatten(value, &flat);
		cg_value_compress(policy, &flat);
		fill->builder.meta.shape = flat.shape;
		fill->builder.meta.load_time =
			cg_early_load_time(cg_store_now() - fill->begun_at);
		entry.type = flat.type;
		entry.flags = flat.flags | STORE_DERIVED;
		entry.expires_at = fill->expires_at;
		entry.meta = cg_meta_finish(&fill->builder);
		entry.meta_size = cg_meta_size(&fill->builder);
		entry.value = flat.data;
		entry.value_size = flat.size;
		published = cg_store_put(&store_key, &entry, judge_publication, fill);
	}
	if (!published)
		cg_store_count(policy->number, COUNT_REFUSED, 1);
	cg_fill_end(fill);
	return published;
}

void
cg_cache_fill_abandon(CacheFill *fill)
{
	CacheKey key = key_of(fill);

	if (fill->dead)
		count_refused(&key);
	cg_fill_end(fill);
}
