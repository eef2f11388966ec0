/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  A load that may fail, or take too long, and what is told of that.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_GUARD_H
#define CACHEGRID_GUARD_H

#include "cache/cache.h"

/* What is to be run, and what may become of it.  The caller's; only read. */
typedef struct LoadGuard
{
	const CacheKey *key;
	NameData cache; /* the key's, and its number; after an error nobody can be asked */
	uint16 number;
	Oid role;			  /* who runs it */
	int64 timeout;		  /* microseconds, 0: none */
	bool survive_error;	  /* go on if it fails ... */
	bool survive_timeout; /* ... or takes too long */
	void (*run)(void *argument);
	void *argument;
} LoadGuard;

/* What became of it. */
typedef enum LoadEnd
{
	LOAD_DONE,
	LOAD_FAILED,
	LOAD_TIMED_OUT
} LoadEnd;

/* Functions in guard.c */

/*
 * Run it.  Unless it is done, what it did is rolled back.  Raises the error
 * where the guard does not survive it, and always if it is a cancelled query or a
 * circle of keys.  All errors but cancels are counted and noted.  *failed is set when
 * one was, before anything is raised.
 */
extern LoadEnd cg_load_guarded(const LoadGuard *guard, bool *failed);

#endif /* CACHEGRID_GUARD_H */
