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
#include "nodes/pg_list.h"
#include "utils/array.h"

#include "cache/cache.h"

/*
 * What is to be fetched, and how it is computed on a miss.  Everything
 * belongs to the caller and is only read.
 */
typedef struct LoadRequest
{
	CacheKey key;
	const char *query;		/* one SELECT, not terminated */
	int query_size;			/* bytes */
	ArrayType *arguments;	/* text[] of $1, $2 ...; NULL: the parts of the key */
	ArrayType *tags;		/* text[] or NULL */
	const Interval *ttl;	/* NULL: the cache's own */
	CacheLoaderTakes takes; /* without arguments: what the parameters are */
	const char *ttl_column; /* of the result, says how long it may live; NULL: none */
	Oid run_as;				/* by whose rights; InvalidOid: the caller's */
	Oid row_type; /* the result's one column, kept as it is; InvalidOid: jsonb */
	const CacheKey *row_key; /* of a row: the key that its changes come by, or NULL */
	bool by_loader;			 /* the query is the loader of the key's cache */
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

/* What the loader of the key's cache computes; raises an error if it has none. */
extern LoadRequest cg_load_request_by_loader(const CacheKey *key);

/* Functions in ahead.c */

/* What became of a key that was to be loaded ahead of its use. */
typedef enum LoadAhead
{
	AHEAD_LOADED,
	AHEAD_PRESENT, /* it was there */
	AHEAD_BUSY,	   /* another session computes it, or it must not be tried again yet */
	AHEAD_UNKEPT, /* its key is being changed, or it failed and its cache survives that */
} LoadAhead;

/*
 * Compute the key by the loader of its cache, for the current role, unless it is there or
 * another session does so: without waiting for that.  Raises what the loader raises, if the
 * cache does, and this is not to be quiet.
 */
extern LoadAhead cg_load_ahead(const CacheKey *key, bool quiet);

/* Functions in preload.c */

/*
 * Load these keys ahead, each under a snapshot of its own where the isolation level allows
 * it; returns how many were loaded.  Raises an error where nothing could be kept, and
 * what loaders raise, unless it is to be quiet.
 */
extern int64 cg_load_preload(const char *cache, const CacheKey *keys, int count,
							 bool quiet);

/* Raises an error if one of the keys belongs to another cache. */
extern void cg_load_check_keys(const char *cache, const CacheKey *keys, int count);
/*
 * The keys that a query gives, palloc'd with their array; run with the rights of the
 * current role, and reading only.  Raises what the query raises, and an error if it is not
 * one SELECT of one column of keys.
 */
extern int cg_load_keys_of_query(const char *query, CacheKey **keys);

/* What is to be loaded for a role when the server has started; in one context. */
typedef struct LoadWarm
{
	char *cache;
	char *query; /* of the keys */
} LoadWarm;

/*
 * Have loaders come for all roles that caches of this database are to be kept warm for.  In a
 * transaction.
 */
extern void cg_load_find_warm(void);
/* What is to be loaded for the current role: LoadWarm *, in this context. */
extern List *cg_load_list_warm(void);
/* Load it; raises what its query raises, but nothing that loaders do. */
extern void cg_load_warm(const LoadWarm *warm);

/* Functions in loaders.c: they take its lock, and raise no errors */

/* This process starts loaders. */
extern void cg_loader_set_launcher(void);
/* Is a loader to be started?  It has a place, which it must be told of, and a database. */
extern bool cg_loader_plan(int *place, Oid *database);
/* It could not be started. */
extern void cg_loader_withdraw(int place);
/* This process is that loader; false: it is not wanted any more. */
extern bool cg_loader_attach(int place, Oid *database, Oid *role);
/* It is connected.  One that ends before that has no successor for a while. */
extern void cg_loader_connected(void);
/* It must not work: what it was started for is forgotten.  Only a loader may call it. */
extern void cg_loader_decline(void);
/* Is all to be loaded that is to be at the start?  To one of a role's loaders only. */
extern bool cg_loader_take_warm(void);
/* Refresh the value that is used most of those that this role's sessions ask for. */
extern bool cg_loader_refresh_one(void);
/* How long to rest before the next one, in microseconds: the time for it is spent. */
extern int64 cg_loader_pause(void);
/* Does another role wait for a place? */
extern bool cg_loader_is_crowded(void);
/* End the loaders of a database that somebody needs for himself, or without us. */
extern void cg_loader_dismiss(Oid database);

/* Functions in progress.c */

/* A preload under way in this database. */
typedef struct LoadProgress
{
	int pid;
	NameData cache;
	int64 total; /* keys */
	int64 done;
	int64 loaded; /* of those that are done */
	TimestampTz started_at;
} LoadProgress;

/* That of the first process from *place on that has one, and the place behind it. */
extern bool cg_load_progress_read(int *place, LoadProgress *progress);

/* Functions in batch.c */

/*
 * The same for many keys, in their order: those that are not there are computed together,
 * a cache at a time.  No lease is held while another is waited for.
 */
extern void cg_load_fetch_many(const CacheKey *keys, int count, Datum *values,
							   bool *nulls);

/* Functions in row.c */

/*
 * The row of the table that has this row type, by the texts of its primary key, as cached
 * by cache_table(): palloc'd, of exactly that type.  Raises an error if the type is
 * not that of such a table, or the key has other columns.
 */
extern Datum cg_load_fetch_row(Oid row_type, ArrayType *key, bool *isnull);

/* Functions in outside.c */

/* What a program that computes outside of this server asks for; only read. */
typedef struct OutsideRequest
{
	CacheKey key;
	const CacheKey *tags; /* all that the value will be given */
	int tag_count;
	const Interval *lease; /* how long its computation may take; NULL: no lease */
} OutsideRequest;

/*
 * True: a hit, *value is set.  False: *token, palloc'd, is for cg_load_fill, or NULL if
 * nothing may be filled now.  With a lease it may wait for another session that has it,
 * as the key's cache says, and raise an error in the end.
 */
extern bool cg_load_lookup(const OutsideRequest *request, CacheValue *value,
						   char **token);
/*
 * True if the value, with these tags for ttl microseconds or CG_TTL_NEVER, now stands in
 * the store.  Ends the token's lease.
 */
extern bool cg_load_fill(const OutsideRequest *request, const CacheValue *value,
						 const char *token, int64 ttl);
/* End the token's lease without a value; false if it has none, or none any more. */
extern bool cg_load_give_up(const CacheKey *key, const char *token);

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

/* Functions in shmem.c; init: the caller holds AddinShmemInitLock. */
extern void cg_load_shmem_request(void);
extern void cg_load_shmem_init(void);

#endif /* CACHEGRID_LOAD_H */
