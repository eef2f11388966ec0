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
#include "load/lease.h"
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
	bool quiet;		 /* nobody waits for it: that it fails is counted, and no more */
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

/* Functions in running.c */

/* Which computation: never 0, and odd. */
extern uint64 cg_load_lease_id(const CacheKey *key, uint64 identity);
/* The load belongs to the caller, and what it points to is of the current context. */
extern void cg_load_init(Load *load, const LoadRequest *request, uint64 identity);
/*
 * A query that fetches the very value that it computes would never end: an error.  The
 * load is not the current one yet, but it knows its outer one.
 */
extern void cg_load_check_recursion(const Load *load);
/* Does this session compute something? */
extern bool cg_load_is_running(void);
/* What is fetched from here on is fetched by it, until it is left, which must be ensured. */
extern void cg_load_enter(Load *load);
/* It is over, whether it was entered or not; its lease, if it has one, is released. */
extern void cg_load_leave(Load *load);
extern LeaseOutcome cg_load_take_lease(Load *load);
extern void cg_load_release_lease(Load *load);

/* Functions in ahead.c */

/*
 * Compute a value that was a hit, of this version, before it expires, if nobody else does;
 * *value stays what it is where that is not possible, or fails.  Within another load,
 * whose time it would take, nothing is done.
 */
extern void cg_load_early(const LoadRequest *request, uint64 identity, uint64 version,
						  CacheValue *value);

/* Functions in compute.c */

/*
 * The value computed, in the current context, and published if the load has a fill,
 * which ends; or what the cache gives instead if that fails: a stale value, NULL, or an
 * error.  May raise whatever the query raises.
 */
extern CacheValue cg_load_compute(Load *load);
/*
 * The same of a load that is quiet; false if it could not be computed, which raises no
 * error unless it is a cancelled query.
 */
extern bool cg_load_compute_quietly(Load *load, CacheValue *value);
/* NULL instead of a value that could not be computed. */
extern CacheValue cg_load_give_nothing(void);
/* The stale value, which is counted. */
extern CacheValue cg_load_give_stale(const Load *load);

#endif /* CACHEGRID_RUNNING_H */
