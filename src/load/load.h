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

/* Functions in lease.c */
extern void cg_load_shmem_request(void);
extern void cg_load_shmem_init(void);

#endif /* CACHEGRID_LOAD_H */
