/*-------------------------------------------------------------------------
 *
 * read.c
 *	  Life of a read: own writes, the store's copy, the judgement.
 *
 * The copy is made first and judged after.  The other way round, a writer
 * and a newer fill could slip in between, and the copy would be of a value
 * that the reader's snapshot does not see.
 *
 * A stale value is judged as any other, and is past its time to live.  So it is what
 * the reader's snapshot sees of all that is watched; unless its cache has invalidated
 * values given, too (linger.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "cache/cache_internal.h"

/* Does this transaction touch what every entry of the key depends on? */
static bool
touched_at_home(Dependency key, const Dependency *home, int count)
{
	if (!cg_coherence_touched_since(0))
		return false;
	if (cg_coherence_touched_by_me(key))
		return true;
	for (int i = 0; i < count; i++)
		if (cg_coherence_touched_by_me(home[i]))
			return true;
	return false;
}

static bool
touched_below(const EntryMeta *meta)
{
	const DependencyGen *gens = meta_gens(meta);

	for (int i = 0; i < meta->gen_count; i++)
		if (cg_coherence_touched_by_me(gens[i].dependency))
			return true;
	return false;
}

static CacheOutcome
why_no_snapshot(void)
{
	switch (cg_coherence_obstacle())
	{
		case OBSTACLE_RECOVERY:
			return CACHE_RECOVERY;
		case OBSTACLE_OWN_CATALOG_CHANGE:
			return CACHE_OWN_WRITE;
		case OBSTACLE_ISOLATION:
			break;
	}
	return CACHE_ISOLATION;
}

/*
 * Why there is no entry, for the counts.  Who wants a computed one (identity is not 0)
 * hears first what would have kept it from being a hit, and keeps it from being
 * published now.
 */
static CacheOutcome
why_absent(const StoreKey *key, uint64 identity)
{
	static const CacheOutcome outcomes[] = {
		[ABSENCE_UNKNOWN] = CACHE_ABSENT,
		[ABSENCE_EVICTED] = CACHE_EVICTED,
		[ABSENCE_DROPPED] = CACHE_SUPERSEDED,
		[ABSENCE_EXPIRED] = CACHE_EXPIRED,
	};
	uint64 gen;

	if (identity != 0)
	{
		Snapshot snapshot = cg_coherence_snapshot();

		if (snapshot == NULL)
			return why_no_snapshot();
		if (!cg_coherence_settled(key->hash, snapshot, &gen))
			return CACHE_UNSETTLED;
	}
	return outcomes[cg_store_absence(key)];
}

/* The snapshot rule, for a derived entry. */
static CacheOutcome
judge_derived(const EntryMeta *meta, Dependency dependency, uint64 *key_gen)
{
	Snapshot snapshot = cg_coherence_snapshot();
	const DependencyGen *gens = meta_gens(meta);

	if (snapshot == NULL)
		return why_no_snapshot();
	if (!cg_coherence_settled(dependency, snapshot, key_gen))
		return CACHE_UNSETTLED;
	for (int i = 0; i < meta->gen_count; i++)
	{
		uint64 gen;

		if (!cg_coherence_settled(gens[i].dependency, snapshot, &gen))
			return CACHE_UNSETTLED;
		if (gen != gens[i].gen)
			return CACHE_SUPERSEDED;
	}
	return CACHE_HIT;
}

/* A plain entry without tags. */
static CacheOutcome
judge_simple(const Dependency *home, int count, uint64 id)
{
	if (cg_fill_current())
		cg_fill_inherit_plain(cg_fill_current());
	return cg_meta_home_is_older(home, count, id) ? CACHE_HIT : CACHE_SUPERSEDED;
}

/* What a found entry has to live: something, though it may have ended since. */
static int64
time_left(StoreTime expires_at)
{
	return expires_at == CG_STORE_NEVER ? CG_TTL_NEVER
										: Max(expires_at - cg_store_now(), 1);
}

/* An entry with meta. */
static CacheOutcome
judge(const StoreCopy *copy, Dependency dependency, uint64 identity)
{
	const EntryMeta *meta = (const EntryMeta *) copy->meta;
	CacheFill *outer = cg_fill_current();
	StoreTime now = meta->flags & META_LINGERS ? cg_store_now() : 0;
	CacheOutcome outcome;
	uint64 key_gen = 0;

	if (touched_below(meta))
		return CACHE_OWN_WRITE;
	if ((copy->entry.flags & STORE_DERIVED) == 0)
	{
		if (outer)
			cg_fill_inherit_plain(outer);
		return cg_meta_gens_are_current(meta) ? CACHE_HIT : CACHE_SUPERSEDED;
	}
	if (meta->role != GetUserId())
		return CACHE_PRIVILEGES;
	if (identity != 0 && meta->identity != identity)
		return CACHE_OTHER_QUERY;

	outcome = judge_derived(meta, dependency, &key_gen);
	if (outcome == CACHE_HIT && (meta->flags & META_LINGERS))
		cg_linger_note(meta, dependency, now);
	if (outcome == CACHE_HIT && (meta->flags & META_GRACE) &&
		meta_fresh_until(meta, copy->entry.expires_at) <= cg_store_now())
		return CACHE_EXPIRED;
	if (outcome == CACHE_HIT && outer)
		cg_fill_inherit(outer, dependency, key_gen, meta, copy->entry.expires_at);
	return outcome;
}

/*
 * Until when the value of what is no hit may be given instead of a fresh one, 0: it may
 * not be.
 */
static StoreTime
find_stale_until(const StoreCopy *copy, Dependency key, CacheOutcome outcome)
{
	const EntryMeta *meta = (const EntryMeta *) copy->meta;

	if (outcome == CACHE_EXPIRED)
		return copy->entry.expires_at;
	if ((outcome != CACHE_SUPERSEDED && outcome != CACHE_UNSETTLED) ||
		copy->entry.meta_size == 0)
		return 0;
	return cg_linger_until(&copy->entry, meta, key);
}

/* stale_until: not 0 if its value may do instead of a fresh one till then. */
static void
describe(const StoreCopy *copy, StoreTime stale_until, CacheInfo *info)
{
	StoreTime expires_at = copy->entry.expires_at;

	info->stale_until = stale_until;
	if (copy->entry.meta_size > 0)
		expires_at = meta_fresh_until((const EntryMeta *) copy->meta, expires_at);
	if (copy->entry.flags & STORE_DERIVED)
		info->load_time = ((const EntryMeta *) copy->meta)->load_time;
	info->version = copy->entry.id;
	info->created_at = copy->entry.created_at;
	info->derived = (copy->entry.flags & STORE_DERIVED) != 0;
	info->microseconds = time_left(expires_at);
}

static CacheOutcome
look(const CachePolicy *policy, const CacheKey *key, const StoreKey *store_key,
	 uint64 identity, CacheValue *value, CacheInfo *info)
{
	Dependency dependency = store_key->hash;
	StoreTime expires_at = CG_STORE_NEVER;
	StoreCopy copy;
	CacheOutcome outcome;
	Dependency home[2];
	int home_count = cg_policy_home(policy, key, home);
	uint32 shape = 0;
	StoreTime stale_until;

	memset(info, 0, sizeof(*info));
	switch (cg_own_lookup(key, dependency, value, &expires_at))
	{
		case OWN_VALUE:
			if (cg_fill_current())
				cg_fill_spoil(cg_fill_current());
			info->microseconds = time_left(expires_at);
			return CACHE_HIT;
		case OWN_DELETED:
			return CACHE_OWN_WRITE;
		case OWN_NOTHING:
			break;
	}
	if (touched_at_home(dependency, home, home_count))
		return CACHE_OWN_WRITE;
	if (!cg_store_lookup(store_key, &copy))
		return CACHE_ABSENT;

	if (copy.entry.meta_size == 0)
		outcome = judge_simple(home, home_count, copy.entry.id);
	else
	{
		outcome = judge(&copy, dependency, identity);
		shape = ((EntryMeta *) copy.meta)->shape;
	}
	stale_until = outcome == CACHE_HIT || identity == 0
					  ? 0
					  : find_stale_until(&copy, dependency, outcome);
	if ((outcome == CACHE_HIT || stale_until != 0) &&
		!cg_value_restore(store_key->cache, &copy, shape, value))
	{
		outcome = CACHE_SUPERSEDED;
		stale_until = 0;
	}
	describe(&copy, stale_until, info);
	if (copy.meta != copy.meta_inline)
		pfree(copy.meta);
	if ((outcome != CACHE_HIT && stale_until == 0) || value == NULL ||
		(copy.entry.flags & STORE_ENCODED) != 0)
		cg_store_free_value(&copy);
	return outcome;
}

static CacheOutcome
look_and_count(const CachePolicy *policy, const CacheKey *key, const StoreKey *store_key,
			   uint64 identity, CacheValue *value, CacheInfo *info)
{
	uint16 number = policy->number;
	CacheOutcome outcome = look(policy, key, store_key, identity, value, info);

	if (outcome == CACHE_ABSENT)
		outcome = why_absent(store_key, identity);
	cg_store_count(number, COUNT_LOOKUPS + outcome, 1);
	return outcome;
}

static StoreKey
store_key_of(const CachePolicy *policy, const CacheKey *key)
{
	return cg_policy_store_key(policy, key, cg_dependency_of_key(key));
}

/* What a policy says of loads ahead; the policy may be gone after a lookup. */
typedef struct Eagerness
{
	double beta;
	double ahead;
} Eagerness;

static Eagerness
eagerness_of(const CachePolicy *policy)
{
	return (Eagerness){policy->loading.early_beta, policy->loading.refresh_ahead};
}

/* Is what was looked up to be computed anew, now or in the background? */
static void
find_due(const Eagerness *eagerness, CacheOutcome outcome, CacheInfo *info)
{
	bool ends =
		outcome == CACHE_HIT && info->derived && info->microseconds != CG_TTL_NEVER;

	info->early = ends && eagerness->beta > 0 &&
				  cg_early_is_due(eagerness->beta, info->load_time, info->microseconds);
	info->ahead = false;
	if (eagerness->ahead == 0)
		return;
	if (ends)
	{
		double age = (double) (cg_store_now() - info->created_at);

		info->ahead = age >= eagerness->ahead * (age + (double) info->microseconds);
	}
	else
		info->ahead = info->stale_until != 0;
}

CacheOutcome
cg_cache_lookup(const CacheKey *key, uint64 identity, CacheValue *value)
{
	const CachePolicy *policy = cg_cache_policy(key);
	StoreKey store_key = store_key_of(policy, key);
	CacheInfo info;

	return look_and_count(policy, key, &store_key, identity, value, &info);
}

CacheOutcome
cg_cache_lookup_to_load(const CacheKey *key, uint64 identity, CacheValue *value,
						CacheInfo *info)
{
	const CachePolicy *policy = cg_cache_policy(key);
	Eagerness eagerness = eagerness_of(policy);
	StoreKey store_key = store_key_of(policy, key);
	CacheOutcome outcome = look_and_count(policy, key, &store_key, identity, value, info);

	find_due(&eagerness, outcome, info);
	return outcome;
}

CacheOutcome
cg_cache_inspect_to_load(const CacheKey *key, uint64 identity, CacheInfo *info)
{
	const CachePolicy *policy = cg_cache_policy(key);
	Eagerness eagerness = eagerness_of(policy);
	StoreKey store_key = store_key_of(policy, key);
	CacheOutcome outcome = look(policy, key, &store_key, identity, NULL, info);

	find_due(&eagerness, outcome, info);
	return outcome;
}

/*
 * While one key is looked up, the items of those that follow are on their way to the
 * processor, and the buckets of those behind them.
 */
void
cg_cache_lookup_many(const CacheKey *keys, int count, CacheValue *values,
					 CacheOutcome *outcomes)
{
	StoreKey *store_keys = palloc(Max(count, 1) * sizeof(StoreKey));
	CacheInfo info;

	for (int i = 0; i < count + 2 * KEYS_AHEAD; i++)
	{
		int ahead = i - KEYS_AHEAD;
		int now = i - 2 * KEYS_AHEAD;

		if (i < count)
		{
			store_keys[i] = store_key_of(cg_cache_policy(&keys[i]), &keys[i]);
			cg_store_prefetch_bucket(&store_keys[i]);
		}
		if (ahead >= 0 && ahead < count)
			cg_store_prefetch_item(&store_keys[ahead]);
		if (now >= 0)
			outcomes[now] = look_and_count(cg_cache_policy(&keys[now]), &keys[now],
										   &store_keys[now], 0, &values[now], &info);
	}
	pfree(store_keys);
}

CacheOutcome
cg_cache_lookup_again(const CacheKey *key, uint64 identity, CacheValue *value)
{
	const CachePolicy *policy = cg_cache_policy(key);
	StoreKey store_key = store_key_of(policy, key);
	CacheInfo info;

	return look(policy, key, &store_key, identity, value, &info);
}

CacheOutcome
cg_cache_inspect(const CacheKey *key, CacheValue *value, CacheInfo *info)
{
	const CachePolicy *policy = cg_cache_policy(key);
	StoreKey store_key = store_key_of(policy, key);

	return look(policy, key, &store_key, 0, value, info);
}
