/*-------------------------------------------------------------------------
 *
 * cache.h
 *	  Store and coherence put together: read, set, fill and delete under the
 *	  snapshot rule, and the named caches with their policies.
 *
 * Two kinds of entries.  A plain entry is what somebody put by set() and its
 * kin; it is judged by expiry and by the gens of its prefix and tags.  A
 * derived entry was computed from rows; it is served only to a reader whose
 * snapshot would compute the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_CACHE_H
#define CACHEGRID_CACHE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

#include "base/key.h"
#include "coherence/coherence.h"
#include "store/store.h"

#define CG_VALUE_MAX_BYTES CG_STORE_VALUE_MAX

/* A time to live in microseconds of the monotonic clock; never ends: */
#define CG_TTL_NEVER PG_INT64_MAX

/* What becomes of a session that has waited long enough for another one's value. */
typedef enum CacheOnTimeout
{
	ON_TIMEOUT_COMPUTE, /* it computes the value, too */
	ON_TIMEOUT_ERROR,
	ON_TIMEOUT_STALE /* it is given a stale value, if there is one, or computes */
} CacheOnTimeout;

/* What becomes of a session whose load fails, or that must not try again yet. */
typedef enum CacheOnError
{
	ON_ERROR_RAISE,
	ON_ERROR_NULL, /* it is given NULL, which is not kept */
	ON_ERROR_STALE /* it is given a stale value, if there is one */
} CacheOnError;

/* What the parameters of a cache's loader are. */
typedef enum CacheLoaderTakes
{
	LOADER_TAKES_PARTS, /* those of the key behind its prefix */
	LOADER_TAKES_KEY,	/* the key */
	LOADER_TAKES_KEYS	/* a text[] of all keys to be computed */
} CacheLoaderTakes;

/* How a cache's values are computed on a miss.  Times are microseconds. */
typedef struct CacheLoading
{
	int64 wait_timeout; /* for another session's value; -1: cachegrid.lease_timeout */
	CacheOnTimeout on_timeout;
	int64 lease_interval; /* from the start of a key's load to the next one's, 0: any */
	int64 null_ttl;		  /* of a computed NULL, 0: is not kept; -1: as of other values */
	CacheOnError on_error;
	int64 load_timeout;		 /* 0: none */
	int64 soft_load_timeout; /* where there is a stale value, 0: none */
	int64 stale_ttl;		 /* kept so much longer than it is a hit */
	int64 error_backoff;	 /* after a first failed load of a key, 0: none */
	double early_beta;		 /* how eagerly it is computed before it expires, 0: never */
	double
		refresh_ahead; /* part of a time to live after which it is refreshed, 0: none */
	int64 serve_invalidated; /* given so long after it was invalidated, 0: not */
} CacheLoading;

/*
 * A named cache, as the current database's table cachegrid.cache declares
 * it.  Backend-local copy, valid until the next statement: read it, do not
 * keep it.
 */
typedef struct CachePolicy
{
	NameData name;		/* "default" for the cache without a row */
	uint16 number;		/* its number in shared memory, this database's */
	bool transactional; /* false: set and delete take effect at once */
	int64 ttl;			/* microseconds, or CG_TTL_NEVER */
	double ttl_jitter;	/* each time to live is shortened by up to this part of it */
	int compress_above; /* bytes; -1: never */
	const char *loader; /* query text, or NULL */
	CacheLoading loading;
	StoreLimits limits;
	CacheLoaderTakes loader_takes;
	ArrayType *loader_tags; /* text[] without NULLs, or NULL */
	const char *ttl_column; /* of the loader's result, or NULL */
	Oid run_as;			   /* by whose rights the loader runs; InvalidOid: the caller's */
	Oid source;			   /* the table whose rows it holds, or InvalidOid */
	const char *keep_warm; /* query of keys to be loaded at the server's start, or NULL */
	NameData keep_warm_role; /* for whom */
} CachePolicy;

/* A value of any type, flat: what the store keeps. */
typedef struct CacheValue
{
	Oid type;	 /* InvalidOid: SQL NULL, computed on purpose */
	Datum datum; /* of that type; palloc'd if by reference */
} CacheValue;

/*
 * What came of a lookup: a hit, whose value is set, or why it was none.  From the first
 * bypass on the store could not be used, and what is computed will not be published.
 */
typedef enum CacheOutcome
{
	CACHE_HIT,
	CACHE_ABSENT, /* never put, or gone so long ago that nobody knows why; where
				   * lookups are not counted, gone for whatever reason */
	CACHE_EVICTED,
	CACHE_EXPIRED,
	CACHE_SUPERSEDED, /* deleted or invalidated, or something that it depends on */
	CACHE_UNSETTLED,  /* a writer was at work, or had been since the snapshot was taken */
	CACHE_PRIVILEGES, /* computed by another role */
	CACHE_OTHER_QUERY,
	CACHE_OWN_WRITE, /* this transaction changes what it depends on */
	CACHE_ISOLATION, /* SERIALIZABLE, or no snapshot that one could judge by */
	CACHE_RECOVERY,	 /* a standby, or a snapshot older than the server's start */
	CACHE_OUTCOMES,
	CACHE_BYPASS_FIRST = CACHE_OWN_WRITE
} CacheOutcome;

StaticAssertDecl(COUNT_LOOKUPS_LAST - COUNT_LOOKUPS + 1 == CACHE_OUTCOMES,
				 "each outcome has a counter");

/*
 * A fill under way: what was sampled before the value is computed.  Lives in
 * the memory context it was begun in.  Begin, add what the value depends on
 * (after the loader's plan has locked its tables), compute under the same
 * snapshot, publish.
 */
typedef struct CacheFill CacheFill;

/* Functions in read.c */

/*
 * Look key up for the current snapshot; counted as a hit or miss.  identity
 * is a hash of what computes the value (query, arguments, search path): a
 * derived entry of another identity is a miss; 0 = any.  Derived entries are
 * served to the role that computed them only.  A hit inside a fill hands its
 * dependencies on to that fill.  *value is palloc'd.
 */
extern CacheOutcome cg_cache_lookup(const CacheKey *key, uint64 identity,
									CacheValue *value);

/*
 * The same for who computes what is not there.  Where there is no hit and info->stale_until
 * is not 0, *value may be given until then: it has passed its time to live, and is apart from
 * that what the snapshot would have read; or its cache has values given for a while that
 * were invalidated (linger.c).  Where there is one and info->early, it is to
 * be computed anew before it expires, by who may (early.c).  info->ahead: its cache has what is
 * due refreshed in the background, and it is, as a hit or as what is given instead of one.
 */
typedef struct CacheInfo CacheInfo;
extern CacheOutcome cg_cache_lookup_to_load(const CacheKey *key, uint64 identity,
											CacheValue *value, CacheInfo *info);

/* The same for many keys, any identity, in less time than one after the other. */
extern void cg_cache_lookup_many(const CacheKey *keys, int count, CacheValue *values,
								 CacheOutcome *outcomes);

/* As lookup, but not counted: for who has missed and looks again before it computes. */
extern CacheOutcome cg_cache_lookup_again(const CacheKey *key, uint64 identity,
										  CacheValue *value);

/* As lookup_to_load, but not counted, and without the value. */
extern CacheOutcome cg_cache_inspect_to_load(const CacheKey *key, uint64 identity,
											 CacheInfo *info);

/* As lookup, but not counted; *info says more about a hit.  value may be NULL. */
struct CacheInfo
{
	uint64 version;		/* the entry's id; 0: set by this transaction, not committed */
	int64 microseconds; /* left to live, or CG_TTL_NEVER */
	StoreTime created_at;
	StoreTime stale_until; /* not 0: no hit, but a value that may be given till then */
	bool derived;
	bool early;		 /* see cg_cache_lookup_to_load */
	bool ahead;		 /* the same */
	uint8 load_time; /* of a derived entry: how long it took to compute, see early.c */
};
extern CacheOutcome cg_cache_inspect(const CacheKey *key, CacheValue *value,
									 CacheInfo *info);

/* Functions in fill.c */

/* NULL if this transaction or snapshot may not fill, or the key is unsettled. */
extern CacheFill *cg_cache_fill_begin(const CacheKey *key, uint64 identity);
/* Add a dependency by its gen now; false: unsettled, the fill is dead. */
extern bool cg_cache_fill_depend(CacheFill *fill, Dependency dependency);
/* The tag's and its prefix's dependency, and the tag for entries(). */
extern bool cg_cache_fill_tag(CacheFill *fill, const CacheKey *tag);
extern bool cg_cache_fill_covers_tag(const CacheFill *fill, const CacheKey *tag);
/* May its value be given after it was invalidated?  Then it depends on definitions, too. */
extern bool cg_cache_fill_lingers(const CacheFill *fill);
/* Will it replace the entry of this version, and is that still there? */
extern bool cg_cache_fill_replaces(const CacheFill *fill, uint64 version);
/*
 * True if the value now stands in the store.  Ends the fill.  ttl: microseconds or
 * CG_TTL_NEVER; a NULL lives no longer than its cache's null_ttl.
 */
extern bool cg_cache_fill_publish(CacheFill *fill, const CacheValue *value, int64 ttl);
/* Give up.  After an error, the end of the (sub)transaction does it. */
extern void cg_cache_fill_abandon(CacheFill *fill);
/* What is being computed uses what is no value to be kept: the innermost fill is dead. */
extern void cg_cache_fill_spoil(void);
/*
 * For one query that computes many values: take the fill, the innermost one, off the
 * stack; it goes on, is ended as any other, and hands on what it depends on to the fill
 * that is the innermost one then.
 */
extern void cg_cache_fill_set_aside(CacheFill *fill);
/*
 * While that query runs, collect what it reads; then share it out to each of the fills,
 * and end.  After an error, the end of the (sub)transaction does it.
 */
extern CacheFill *cg_cache_fill_begin_shared(void);
extern void cg_cache_fill_share(const CacheFill *shared, CacheFill *fill);
extern void cg_cache_fill_end_shared(CacheFill *shared);

/* Functions in token.c */

/*
 * The token of lookup() stands for a fill; making it ends the fill.  A fill
 * made from a token cannot be added to.  NULL: malformed, of another key, or
 * without what every entry of the key depends on.
 */
extern char *cg_cache_fill_to_token(CacheFill *fill);
extern CacheFill *cg_cache_fill_from_token(const CacheKey *key, const char *token);

/* Each contract of what follows stands at the function's body. */

/* Functions in own.c: what the current transaction has set and deleted */
extern void cg_cache_set(const CacheKey *key, const CacheValue *value, int64 ttl,
						 const CacheKey *tags, int tag_count);
extern bool cg_cache_delete(const CacheKey *key);
extern void cg_cache_invalidate(const CacheKey *key);
extern void cg_cache_invalidate_tag(const CacheKey *tag);
extern int64 cg_cache_clear(const CachePolicy *policy);

/* Functions in immediate.c: at once, and not rolled back */
typedef enum CacheCondition
{
	CACHE_ALWAYS,
	CACHE_IF_ABSENT,
	CACHE_IF_PRESENT,
	CACHE_IF_VERSION
} CacheCondition;

/* What is to be put, and when.  Everything belongs to the caller and is only read. */
typedef struct CachePut
{
	const CacheKey *key;
	const CacheValue *value;
	int64 ttl;
	const CacheKey *tags;
	int tag_count;
	CacheCondition condition;
	uint64 version; /* for CACHE_IF_VERSION */
} CachePut;
extern bool cg_cache_put_now(const CachePut *put);
extern int64 cg_cache_increment(const CacheKey *key, int64 by, int64 ttl);
extern bool cg_cache_expire(const CacheKey *key, int64 ttl);

/* Functions in policy.c */
extern void cg_cache_require_loaded(void);
extern const CachePolicy *cg_cache_policy(const CacheKey *key);
extern const CachePolicy *
cg_cache_policy_named(const char *name); /* NULL: no such cache */
extern List *cg_cache_policies(void);	 /* of CachePolicy *, all of this database */
extern void cg_cache_count_load(const CachePolicy *policy, int64 microseconds);
extern void cg_cache_policy_changed(const char *name, const StoreLimits *limits);
extern void cg_cache_policy_created(const char *name, const StoreLimits *limits);
extern void cg_cache_policy_dropped(const char *name);

/* Functions in ttl.c */
extern int64 cg_cache_microseconds(const Interval *interval);
extern int64 cg_cache_ttl_from_interval(const Interval *ttl); /* raises errors */
/* The same of one that a computation gives: 0, not to be kept, for what is not positive. */
extern int64 cg_cache_ttl_computed(const Interval *ttl);

/* For the sweep: nobody will be served it again.  May be called under a partition lock. */
extern bool cg_cache_entry_is_dead(const StoreKey *key, const StoreEntry *entry);

/* Functions in listing.c */
typedef struct CacheEntryInfo
{
	const char *cache;	  /* its name */
	StoreTime expires_at; /* when it is no hit any more */
	int tag_count;
	CacheKey *tags; /* palloc'd, pointing into the entry's meta */
} CacheEntryInfo;

/* False if the scanned entry is of another database, or dead. */
extern bool cg_cache_entry_info(const StoreKey *key, const StoreEntry *entry,
								CacheEntryInfo *info);

/* At load time. */
extern void cg_cache_init(void);

/* Functions in linger.c */
extern void cg_cache_shmem_request(void);
extern void cg_cache_shmem_init(void);

#endif /* CACHEGRID_CACHE_H */
