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

#include "base/key.h"
#include "coherence/coherence.h"
#include "datatype/timestamp.h"

#define CG_VALUE_MAX_BYTES (16 * 1024 * 1024)

/* A time to live in microseconds of the monotonic clock; never ends: */
#define CG_TTL_NEVER PG_INT64_MAX

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
	const char *loader; /* query text, or NULL */
} CachePolicy;

/* A value of any type, flat: what the store keeps. */
typedef struct CacheValue
{
	Oid type;	/* InvalidOid: SQL NULL, computed on purpose */
	Datum datum; /* of that type; palloc'd if by reference */
} CacheValue;

typedef enum CacheOutcome
{
	CACHE_MISS,	  /* compute; may be published */
	CACHE_HIT,	  /* value is set */
	CACHE_BYPASS, /* compute; this reader may not publish */
} CacheOutcome;

/*
 * A fill under way: what was sampled before the value is computed.  Lives in
 * the memory context it was begun in.  Begin, add what the value depends on
 * (after the loader's plan has locked its tables), compute under the same
 * snapshot, publish.
 */
typedef struct CacheFill CacheFill;

/* Functions in read.c */

/*
 * Look key up for the current snapshot.  identity is a hash of what computes
 * the value (query, arguments, role, search path): a derived entry of
 * another identity is a miss; 0 = any.  A hit inside a fill hands its
 * dependencies on to that fill.
 */
extern CacheOutcome cg_cache_lookup(const CacheKey *key, uint64 identity, CacheValue *value);

/* Functions in fill.c */

/* NULL if this transaction or snapshot may not fill, or the key is unsettled. */
extern CacheFill *cg_cache_fill_begin(const CacheKey *key, uint64 identity);
/* Add a dependency by its gen now; false: unsettled, the fill is dead. */
extern bool cg_cache_fill_depend(CacheFill *fill, Dependency dependency);
/* The tag's and its prefix's dependency, and the tag for entries(). */
extern bool cg_cache_fill_tag(CacheFill *fill, const CacheKey *tag);
/* True if the value now stands in the store.  Ends the fill. */
extern bool cg_cache_fill_publish(CacheFill *fill, const CacheValue *value, int64 ttl);
/* Give up; also needed after an error only if the fill was made outer. */
extern void cg_cache_fill_abandon(CacheFill *fill);
/* The token of lookup(), and the fill that it stands for (NULL: malformed or old). */
extern char *cg_cache_fill_to_token(const CacheFill *fill);
extern CacheFill *cg_cache_fill_from_token(const CacheKey *key, const char *token);
extern bool cg_cache_fill_covers_tag(const CacheFill *fill, const CacheKey *tag);

/* Functions in policy.c */
extern const CachePolicy *cg_cache_policy(const CacheKey *key);
extern int64 cg_cache_ttl_from_interval(const Interval *ttl); /* raises on <= 0 */

#endif /* CACHEGRID_CACHE_H */
