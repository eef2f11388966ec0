/*-------------------------------------------------------------------------
 *
 * running.h
 *	  A load under way: only for the files of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_RUNNING_H
#define CACHEGRID_RUNNING_H

#include "cache/cache.h"
#include "load/dependencies.h"
#include "load/load.h"

#define MICROSECONDS_IN_MS 1000

/* A load under way.  Backend-local, on the stack. */
typedef struct Load
{
	const LoadRequest *request;
	const char *query; /* terminated */
	uint64 identity;
	uint64 lease; /* its id */
	bool leased;  /* held here */
	int64 ttl;
	CacheLoading options; /* of the key's cache */
	NameData cache;
	uint16 cache_number;
	LoadTarget target;
	CacheFill *fill; /* NULL: compute only */
	bool early;		 /* there is a value: nobody minds if this fails */
	bool fruitless;	 /* computed, and not published */
	bool failed;
	CacheValue value;	   /* computed */
	CacheValue stale;	   /* what is there instead, ... */
	StoreTime stale_until; /* ... which may be given till then; 0: nothing is */
	struct Load *outer;
} Load;

/* Is there a stale value that may be given now? */
static inline bool
cg_load_has_stale(const Load *load)
{
	return load->stale_until != 0 && load->stale_until > cg_store_now();
}

/* Functions in compute.c */

/*
 * The value computed, in the current context, and published if the load has a fill,
 * which ends; or what the cache gives instead if that fails: a stale value, NULL, or an
 * error.  May raise whatever the query raises.
 */
extern CacheValue cg_load_compute(Load *load);
/*
 * The same of a value that is there already; false if it could not be computed, which
 * raises no error unless it is a cancelled query.
 */
extern bool cg_load_compute_early(Load *load, CacheValue *value);
/* NULL instead of a value that could not be computed. */
extern CacheValue cg_load_give_nothing(void);
/* The stale value, which is counted. */
extern CacheValue cg_load_give_stale(const Load *load);

#endif /* CACHEGRID_RUNNING_H */
