/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  Named caches: what the table cachegrid.cache says.
 *
 * Every backend keeps the table's rows in a hash table of its own, by name,
 * and reads them again after a relcache invalidation of the table, which its
 * trigger sends.  Creating, altering and dropping a cache also stamps the
 * prefix of its keys, so entries made under the old policy end with the
 * transaction that changed it.
 *
 * What a cache may take of the memory all processes must agree on: its limits are in
 * shared memory.  They are set by the commit that changes them (own.c), and by whoever
 * reads the table: after a restart, or COMMIT PREPARED, of which nobody tells us.  Who
 * reads the table sets nothing if it has changed it, since that is not committed, and
 * reads again if it was changed meanwhile: so the last to set has read the latest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "cache/own.h"

#define DEFAULT_CACHE "default"
#define NO_NUMBER	  PG_UINT16_MAX
#define READ_TRIES	  4

/* Backend-local: the rows, valid for this relation until it is invalidated. */
static HTAB *policies = NULL;
static MemoryContext policies_context = NULL;
static Oid policies_relation = InvalidOid;
static bool policies_valid = false;
static uint32 policies_closings = 0; /* of the store, when they were read */
static CachePolicy *default_policy = NULL;
static bool changed_by_me = false; /* in this transaction */

/* Backend-local: the prefix that was last asked for, and what it named. */
static NameData last_prefix;
static Size last_prefix_size = 0; /* 0: nothing */
static CachePolicy *last_policy = NULL;

static void
invalidate_policies(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == policies_relation)
		policies_valid = false;
}

static Oid
policy_relation(void)
{
	Oid schema = get_namespace_oid("cachegrid", true);
	Oid relation = OidIsValid(schema) ? get_relname_relid("cache", schema) : InvalidOid;

	if (!OidIsValid(relation))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("extension \"cachegrid\" is not installed in this database"),
				errdetail("There is no table cachegrid.cache."),
				errhint("Run CREATE EXTENSION cachegrid."));
	return relation;
}

static void
refuse_cache(const char *name)
{
	ereport(ERROR, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg("too many caches"),
			errdetail("Cache \"%s\" is one too many: all databases of the server "
					  "together have at most 256.",
					  name),
			errhint("Drop some that are not needed with cachegrid.drop_cache."));
}

static CachePolicy *
add_policy(const char *name)
{
	NameData key;
	CachePolicy *policy;
	bool found;

	namestrcpy(&key, name);
	policy = hash_search(policies, &key, HASH_ENTER, &found);
	cg_options_init(policy);
	policy->number = NO_NUMBER;
	return policy;
}

static void
make_table(void)
{
	HASHCTL control = {.keysize = sizeof(NameData), .entrysize = sizeof(CachePolicy)};

	if (policies_context == NULL)
	{
		policies_context = AllocSetContextCreate(CacheMemoryContext, "cachegrid caches",
												 ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(invalidate_policies, (Datum) 0);
	}
	MemoryContextReset(policies_context);
	last_prefix_size = 0;
	control.hcxt = policies_context;
	policies = hash_create("cachegrid caches", 32, &control,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static CachePolicy *
find_policy(const char *name, Size size)
{
	NameData key = {{0}};

	if (size == 0 || size >= NAMEDATALEN)
		return NULL;
	memcpy(NameStr(key), name, size);
	return hash_search(policies, &key, HASH_FIND, NULL);
}

/* Give back the numbers of caches whose creation was rolled back. */
static void
close_unknown_caches(void)
{
	for (int i = 0; i < cg_store_cache_count(); i++)
	{
		Oid database;
		const char *shared_name;
		NameData name;

		if (!cg_store_cache_name(i, &database, &shared_name) || database != MyDatabaseId)
			continue;
		namestrcpy(&name, shared_name);
		if (find_policy(NameStr(name), strlen(NameStr(name))) == NULL)
			cg_store_cache_close(database, NameStr(name));
	}
}

static bool
open_caches(void)
{
	HASH_SEQ_STATUS status;
	CachePolicy *policy;
	bool complete = true;

	hash_seq_init(&status, policies);
	while ((policy = hash_seq_search(&status)) != NULL)
		if (policy->number == NO_NUMBER &&
			!cg_store_cache_open(MyDatabaseId, NameStr(policy->name), &policy->limits,
								 !changed_by_me, &policy->number))
			complete = false;
	return complete;
}

static void
read_table(void)
{
	Relation relation;
	SysScanDesc scan;
	HeapTuple row;

	policies_relation = policy_relation();
	make_table();
	policies_valid = true; /* unless an invalidation comes while we read */
	policies_closings = cg_store_cache_closings();
	add_policy(DEFAULT_CACHE);

	relation = table_open(policies_relation, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
		cg_options_read(row, RelationGetDescr(relation), policies_context,
						add_policy(cg_options_name(row, RelationGetDescr(relation))));
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (!open_caches())
	{
		close_unknown_caches();
		(void) open_caches();
	}
	default_policy = unconstify(CachePolicy *, cg_cache_policy_named(DEFAULT_CACHE));
}

/*
 * Read the table, and again if it was changed meanwhile: else the limits that are set
 * could be the old ones, and stay.
 */
static void
read_policies(void)
{
	for (int tries = 0; tries < READ_TRIES; tries++)
	{
		read_table();
		AcceptInvalidationMessages();
		if (policies_valid)
			break;
	}
}

/* Raises an error unless the library was loaded at server start. */
void
cg_cache_require_loaded(void)
{
	if (!cg_store_attached())
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("cachegrid must be loaded via \"shared_preload_libraries\""),
			errdetail("The cache lives in shared memory that is set aside when the "
					  "server starts."),
			errhint(
				"Add cachegrid to \"shared_preload_libraries\" and restart the server."));
}

static void
ensure_policies(void)
{
	if (likely(policies_valid && policies_closings == cg_store_cache_closings()))
		return;
	cg_cache_require_loaded();
	PG_TRY();
	{
		read_policies();
	}
	PG_CATCH();
	{
		policies_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static CachePolicy *
find_usable_policy(const char *name, Size size)
{
	CachePolicy *policy = find_policy(name, size);

	if (policy && policy->number == NO_NUMBER)
		refuse_cache(NameStr(policy->name));
	return policy;
}

/* The policy of the cache of this name; NULL if there is none. */
const CachePolicy *
cg_cache_policy_named(const char *name)
{
	ensure_policies();
	return find_usable_policy(name, strlen(name));
}

/*
 * The policy that governs the key: its prefix's cache, or the default one.
 * Sessions ask for one prefix again and again.
 */
const CachePolicy *
cg_cache_policy(const CacheKey *key)
{
	Size size = key->prefix_size;
	CachePolicy *policy;

	ensure_policies();
	if (size == 0 || size >= NAMEDATALEN)
		return default_policy;
	if (size == last_prefix_size && memcmp(NameStr(last_prefix), key->data, size) == 0)
		return last_policy;

	policy = find_usable_policy(key->data, size);
	memcpy(NameStr(last_prefix), key->data, size);
	last_prefix_size = size;
	last_policy = policy ? policy : default_policy;
	return last_policy;
}

/* All policies of this database that are in use, in no order. */
List *
cg_cache_policies(void)
{
	HASH_SEQ_STATUS status;
	CachePolicy *policy;
	List *all = NIL;

	ensure_policies();
	hash_seq_init(&status, policies);
	while ((policy = hash_seq_search(&status)) != NULL)
		if (policy->number != NO_NUMBER)
			all = lappend(all, policy);
	return all;
}

/*
 * The cache of this name was created, altered or dropped: have every backend
 * read the table again once this transaction commits, and end the entries
 * made under the old policy.
 */
static void
end_old_policy(const char *name)
{
	changed_by_me = true;
	CacheInvalidateRelcacheByRelid(policy_relation());
	cg_coherence_touch(cg_dependency(DEPENDENCY_KEY_PREFIX, name, strlen(name)));
	cg_coherence_touch(cg_dependency(DEPENDENCY_CACHE, name, strlen(name)));
}

/* The cache of this name was altered. */
void
cg_cache_policy_changed(const char *name, const StoreLimits *limits)
{
	end_old_policy(name);
	cg_own_limit_cache(name, limits);
}

/*
 * A cache of this name was created: an error if there is no number for it.  Its limits
 * come with the commit, for the number may be in use: that of a cache "default".
 */
void
cg_cache_policy_created(const char *name, const StoreLimits *limits)
{
	const StoreLimits none = {0};
	uint16 number;

	ensure_policies();
	if (!cg_store_cache_open(MyDatabaseId, name, &none, false, &number))
	{
		close_unknown_caches();
		if (!cg_store_cache_open(MyDatabaseId, name, &none, false, &number))
			refuse_cache(name);
	}
	cg_cache_policy_changed(name, limits);
}

/* The cache of this name was dropped: its number is free with the commit. */
void
cg_cache_policy_dropped(const char *name)
{
	end_old_policy(name);
	cg_own_close_cache(name);
}

/* What this transaction made of the table is in force, or forgotten. */
void
cg_policy_end_transaction(void)
{
	if (!changed_by_me)
		return;
	changed_by_me = false;
	policies_valid = false;
}

void
cg_cache_count_load(const CachePolicy *policy, int64 microseconds)
{
	cg_store_count(policy->number, COUNT_LOADS, 1);
	cg_store_count(policy->number, COUNT_LOAD_MICROSECONDS, microseconds);
}

StoreKey
cg_policy_store_key(const CachePolicy *policy, const CacheKey *key, Dependency dependency)
{
	return (StoreKey){dependency, key->data, key->size, policy->number};
}

static int
find_home(Oid database, bool is_default, const CacheKey *key, Dependency *home)
{
	home[0] =
		cg_dependency_in(database, DEPENDENCY_KEY_PREFIX, key->data, key->prefix_size);
	if (!is_default)
		return 1;
	home[1] = cg_dependency_in(database, DEPENDENCY_CACHE, DEFAULT_CACHE,
							   strlen(DEFAULT_CACHE));
	return 2;
}

/*
 * What every entry with this key depends on beside the key itself: its
 * prefix and, where clearing the cache does not stamp that, its cache.
 * Returns how many, 1 or 2.
 */
int
cg_policy_home(const CachePolicy *policy, const CacheKey *key, Dependency *home)
{
	static char prefix[NAMEDATALEN];
	static Size prefix_size = NAMEDATALEN; /* that of no prefix here */
	static Dependency last[2];
	int count;

	/* Sessions ask for one prefix again and again. */
	if (key->prefix_size >= NAMEDATALEN)
		return find_home(MyDatabaseId, policy == default_policy, key, home);
	if (key->prefix_size != prefix_size || memcmp(key->data, prefix, prefix_size) != 0)
	{
		memcpy(prefix, key->data, key->prefix_size);
		prefix_size = key->prefix_size;
		(void) find_home(MyDatabaseId, true, key, last);
	}
	count = policy == default_policy ? 2 : 1;
	memcpy(home, last, count * sizeof(Dependency));
	return count;
}

/* The same of an entry of any database, in any process; 0 if its cache is gone. */
int
cg_policy_home_of_entry(const StoreKey *store_key, Dependency *home)
{
	Oid database;
	const char *cache;
	CacheKey key;

	if (!cg_store_cache_name(store_key->cache, &database, &cache) ||
		!cg_key_init(&key, store_key->data, store_key->size))
		return 0;
	return find_home(database, strcmp(cache, DEFAULT_CACHE) == 0, &key, home);
}
