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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "cache/cache_internal.h"

struct CacheFill
{
	CacheFill *outer;
	int level; /* of the subtransaction that began it */
	Dependency key;
	uint64 key_gen;
	uint64 entry_id; /* of the present entry, 0: none */
	char key_data[CG_KEY_MAX_BYTES];
	uint16 key_size;
	Snapshot snapshot; /* active as long as the fill lasts; NULL: from a token */
	bool dead;
	bool from_plain; /* a plain entry was read: for a ttl only */
	StoreTime begun_at;
	/* Neither is later than that of what the value was computed from. */
	StoreTime fresh_until;
	StoreTime expires_at;
	MetaBuilder builder;
};

/* Backend-local: the innermost fill under way. */
static CacheFill *current = NULL;

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

static CacheFill *
make_fill(const CacheKey *key, Dependency dependency, uint64 identity)
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

static void
free_fill(CacheFill *fill)
{
	cg_meta_free(&fill->builder);
	pfree(fill);
}

/* The subtransactions from this level on are aborted: nobody will end their fills. */
void
cg_fill_forget(int level)
{
	while (current && current->level >= level)
	{
		CacheFill *fill = current;

		current = fill->outer;
		free_fill(fill);
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
		fill = make_fill(key, cg_dependency_of_key(key), identity);
		fill->snapshot = snapshot;
		if (sample(fill, key))
		{
			fill->outer = current;
			current = fill;
			return fill;
		}
		free_fill(fill);
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
static void
end_fill(CacheFill *fill)
{
	if (current == fill)
	{
		current = fill->outer;
		if (current)
			hand_on(fill, current);
	}
	free_fill(fill);
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
		end_fill(fill);
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
	end_fill(fill);
	return published;
}

void
cg_cache_fill_abandon(CacheFill *fill)
{
	CacheKey key = key_of(fill);

	if (fill->dead)
		count_refused(&key);
	end_fill(fill);
}

/*
 * A token: key, its gen, entry's id, dead or not, then dependencies and gens,
 * in hexadecimal.  Written for programs outside to give back, not to read.
 * Gens start at random, so no token survives a restart.
 */
#define TOKEN_WORDS_FIXED 5

char *
cg_cache_fill_to_token(CacheFill *fill)
{
	int count = fill->builder.meta.gen_count;
	uint64 words[TOKEN_WORDS_FIXED] = {fill->key, fill->key_gen, fill->entry_id,
									   fill->dead ? 1 : 0, count};
	Size fixed = sizeof(words);
	Size gens = count * sizeof(DependencyGen);
	char *bytes = palloc(fixed + gens);
	char *token = palloc(2 * (fixed + gens) + 1);

	memcpy(bytes, words, fixed);
	memcpy(bytes + fixed, fill->builder.gens, gens);
	token[hex_encode(bytes, fixed + gens, token)] = '\0';
	end_fill(fill);
	return token;
}

/* Every hexadecimal digit in pairs, and room for the fixed words. */
static bool
token_is_wellformed(const char *token, Size length)
{
	return length % (2 * sizeof(uint64)) == 0 &&
		   length >= 2 * TOKEN_WORDS_FIXED * sizeof(uint64) &&
		   length <= 4 * CG_STORE_META_MAX && strspn(token, "0123456789abcdef") == length;
}

/* No dependency is of kind 0. */
static bool
token_names_dependencies(const uint64 *words)
{
	for (uint64 i = 0; i < words[4]; i++)
		if (cg_dependency_kind(words[TOKEN_WORDS_FIXED + 2 * i]) == 0)
			return false;
	return true;
}

/* Whatever a token says, no entry may outlive its cache. */
static bool
covers_home(const CacheFill *fill, const CacheKey *key)
{
	Dependency home[2];
	int count = cg_policy_home(cg_cache_policy(key), key, home);

	for (int i = 0; i < count; i++)
		if (!cg_meta_covers(&fill->builder, home[i]))
			return false;
	return true;
}

CacheFill *
cg_cache_fill_from_token(const CacheKey *key, const char *token)
{
	Size length = strlen(token);
	Dependency dependency = cg_dependency_of_key(key);
	CacheFill *fill;
	uint64 *words;

	if (!token_is_wellformed(token, length))
		return NULL;
	words = palloc(length / 2);
	hex_decode(token, length, (char *) words);
	if (words[0] != dependency ||
		words[4] != (length / 2 / sizeof(uint64) - TOKEN_WORDS_FIXED) / 2 ||
		!token_names_dependencies(words))
		return NULL;

	fill = make_fill(key, dependency, 0);
	fill->key_gen = words[1];
	fill->entry_id = words[2];
	fill->dead = words[3] != 0;
	for (uint64 i = 0; i < words[4]; i++)
		cg_meta_add_gen(&fill->builder, words[TOKEN_WORDS_FIXED + 2 * i],
						words[TOKEN_WORDS_FIXED + 2 * i + 1]);
	if (covers_home(fill, key))
		return fill;
	free_fill(fill);
	return NULL;
}
