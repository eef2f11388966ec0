/*-------------------------------------------------------------------------
 *
 * load.h
 *	  Computing a value on a miss: the query, what it depends on, and the
 *	  lease that lets one session run it while the others wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_LOAD_H
#define CACHEGRID_LOAD_H

#include "datatype/timestamp.h"
#include "utils/array.h"

#include "cache/cache.h"

/*
 * What is to be fetched, and how it is computed on a miss.  Everything
 * belongs to the caller and is only read.
 */
typedef struct LoadRequest
{
	CacheKey key;
	const char *query;	  /* one SELECT, not terminated */
	int query_size;		  /* bytes */
	ArrayType *arguments; /* text[] of $1, $2 ...; NULL: the parts of the key */
	ArrayType *tags;	  /* text[] or NULL */
	const Interval *ttl;  /* NULL: the cache's own */
} LoadRequest;

/* Functions in fetch.c */

/*
 * The value of the request as jsonb, palloc'd in the current context, from
 * the cache or computed and published.  Raises an error if the query is not
 * one that can be cached, and whatever the query raises.  May wait for
 * another session that computes the same.
 */
extern Datum cg_load_fetch(const LoadRequest *request, bool *isnull);
/* The same by the loader of the key's cache; raises an error if it has none. */
extern Datum cg_load_fetch_by_loader(const CacheKey *key, bool *isnull);

/* Functions in identity.c */

/* Which computation by whom; another identity's value is never served. */
extern uint64 cg_load_identity(const LoadRequest *request);

/* Functions in failures.c */

/*
 * The last error of a load of the cache: false if there was none since the server
 * started.  The text is palloc'd or constant; it is shown to the role that ran the
 * load and to those who may read all statistics.
 */
typedef struct LoadFailure
{
	TimestampTz at;
	const char *message;
} LoadFailure;
extern bool cg_load_failure_read(const CachePolicy *policy, LoadFailure *failure);

/* Functions in lease.c */
extern void cg_load_shmem_request(void);
extern void cg_load_shmem_init(void);

#endif /* CACHEGRID_LOAD_H */
