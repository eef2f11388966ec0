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
#include "load/query.h"

#define MICROSECONDS_IN_MS 1000

/* A load under way.  Backend-local, on the stack. */
typedef struct Load
{
	const LoadRequest *request;
	const char *query; /* terminated */
	uint64 identity;
	uint64 lease;		  /* its id */
	bool leased;		  /* held here */
	int64 ttl;			  /* of the value; the result may shorten it */
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
	struct Load *outer;	   /* or the one before it of those that are computed together */
	bool companion;		   /* is it that one? */
} Load;

/* Is there a stale value that may be given now? */
static inline bool
cg_load_has_stale(const Load *load)
{
	return load->stale_until != 0 && load->stale_until > cg_store_now();
}

/* Functions in running.c */

/* The innermost load under way in this backend, or NULL. */
extern Load *cg_load_current;
/* Which computation: never 0, and odd. */
extern uint64 cg_load_lease_id(const CacheKey *key, uint64 identity);
/* The load belongs to the caller; the request, which it points to, lives at least as long. */
extern void cg_load_init(Load *load, const LoadRequest *request, uint64 identity);
/*
 * A query that fetches the very value that it computes would never end: an error.  The
 * load is not the current one yet, but it knows its outer one.
 */
extern void cg_load_check_recursion(const Load *load);
/* Both, for a value that is not there; stale_until is not 0: the stale one may be given. */
extern void cg_load_init_missing(Load *load, const LoadRequest *request, uint64 identity,
								 const CacheValue *stale, StoreTime stale_until);
/* Does this session compute something? */
extern bool cg_load_is_running(void);
/* What is fetched from here on is fetched by it, until it is left, which must be ensured. */
extern void cg_load_enter(Load *load);
/* It is over, whether it was entered or not; its lease, if it has one, is released. */
extern void cg_load_leave(Load *load);
extern LeaseOutcome cg_load_take_lease(Load *load);
/* Release the lease if the load has it. */
extern void cg_load_release(Load *load);

/* Functions in fetch.c */

/* What is to be done for a value that was not there. */
typedef enum Begun
{
	BEGUN_LOAD,	 /* compute it */
	BEGUN_WAIT,	 /* another session computes it, or has lately */
	BEGUN_FOUND, /* it is there now */
	BEGUN_STALE, /* another session computes it: do with the stale one */
	BEGUN_OFF	 /* do without: it has failed, and is not to be tried again yet */
} Begun;

/* The policy of the key's cache; raises an error if that has no loader. */
extern const CachePolicy *cg_load_policy_with_loader(const CacheKey *key);
/*
 * Look the value up, for who computes what is not there: true if *value may be given, be it
 * a stale one that is refreshed in the background.  False: *stale_until as for
 * cg_cache_lookup_to_load.  A hit that is due may be computed anew on the way.
 */
extern bool cg_load_find(const LoadRequest *request, uint64 identity, CacheValue *value,
						 StoreTime *stale_until);
/* The value of the request, of whatever type, by the rights that it says. */
extern CacheValue cg_load_value(const LoadRequest *request);
/* When to stop waiting for another session, by cg_clock_ms(). */
extern int64 cg_load_wait_deadline(const Load *load);
/*
 * Begin the fill, holding the lease where one is to be had.  waited: what came of waiting
 * before, LEASE_ENDED if there was none.  *value is set if it is found.
 */
extern Begun cg_load_begin(Load *load, LeaseWait waited, CacheValue *value);
/* Wait for who computes it, then look; BEGUN_WAIT: it is not there, begin again. */
extern Begun cg_load_wait(Load *load, int64 deadline, LeaseWait *waited,
						  CacheValue *value);
/* What there is instead of the value: NULL, or an error, if it is not to be tried yet. */
extern CacheValue cg_load_do_without(const Load *load);

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
/*
 * The same of many loads of one cache, in the order of their keys, by one query.  Their
 * fills are set aside.  The values are left in the loads.
 */
extern void cg_load_compute_many(Load **loads, int count);
/* NULL instead of a value that could not be computed. */
extern CacheValue cg_load_give_nothing(void);
/* The stale value, which is counted. */
extern CacheValue cg_load_give_stale(const Load *load);

/* Functions in many.c */

/*
 * A query that gives for many keys at once what this one gives for each: its parameters are
 * the places of the keys, then the arguments of all; its rows the place, then a row of
 * the query's.  NULL if there is none; palloc'd.
 */
extern char *cg_load_many_text(const LoadQuery *query);
extern LoadArguments *cg_load_many_arguments(const LoadQuery *query,
											 LoadArguments *const *arguments, int count);

/* Functions in result.c */

/* Read what the query has just given, SPI_tuptable, into the loads' values and ttls. */
extern void cg_load_result_read(Load *load, MemoryContext context);
extern void cg_load_result_read_places(Load **loads, int count, MemoryContext context);
extern void cg_load_result_read_keys(Load **loads, int count, MemoryContext context);

/* Functions in rights.c */

/* The caller, while others' rights are used.  Backend-local, on the stack. */
typedef struct LoadCaller
{
	Oid role;
	int security_context;
} LoadCaller;

/*
 * Go on by the rights of the role, or as before if it is InvalidOid, till the end; after
 * an error, the end of the (sub)transaction gives them back.
 */
extern void cg_load_rights_begin(LoadCaller *caller, Oid role);
extern void cg_load_rights_end(const LoadCaller *caller);

#endif /* CACHEGRID_RUNNING_H */
