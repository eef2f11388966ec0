/*-------------------------------------------------------------------------
 *
 * requests.h
 *	  Keys that sessions want refreshed: only for the files of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_REQUESTS_H
#define CACHEGRID_REQUESTS_H

#include "storage/lwlock.h"

#include "cache/cache.h"

#define WISH_SCHEMAS_MAX 16

/* What a process needs to know to compute what another one would. */
typedef struct LoadWish
{
	uint64 id; /* that of the lease; not 0 */
	uint64 identity;
	Oid database;
	Oid role;
	bool row_security;
	int schema_count;
	Oid schemas[WISH_SCHEMAS_MAX]; /* the search path but for temporary schemas */
	uint16 key_size;
	char key[CG_KEY_MAX_BYTES];
} LoadWish;

/* A role in a database for which so many requests wait, and since when. */
typedef struct LoadParty
{
	Oid database;
	Oid role;
	int waiting;
	int64 since; /* when the first of them was asked for, by cg_clock_ms() */
} LoadParty;

/* Functions in requests.c: they take its lock, and raise no errors */

/*
 * Have a loader refresh what the loader of the key's cache computes for this role.  False if
 * none will, or should have by now: then do it yourself.  To be called for each use of a
 * value that is due: what is used most is refreshed first.  Takes the lock the first
 * time only; may read catalogs then.
 */
extern bool cg_load_ask(const CacheKey *key, uint64 identity);
/* The wish for this process's role and database that is used most: it is ours now. */
extern bool cg_load_next_wish(LoadWish *wish);
/* Ours is over; done: it need not be tried again. */
extern void cg_load_end_wish(const LoadWish *wish, bool done);
/* All of ours are over, none of them done. */
extern void cg_load_abandon_wishes(void);
/* Forget those of a role, InvalidOid: of all, that are nobody's yet. */
extern void cg_load_forget_wishes(Oid database, Oid role);
/* Who has requests waiting; returns how many of these were filled in. */
extern int cg_load_waiting_parties(LoadParty *parties, int size);
extern Size cg_load_requests_size(void);
/* The caller holds AddinShmemInitLock. */
extern void cg_load_requests_init(LWLock *their_lock);

#endif /* CACHEGRID_REQUESTS_H */
