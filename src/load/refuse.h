/*-------------------------------------------------------------------------
 *
 * refuse.h
 *	  The errors of who gets no value, though nothing is wrong with what he asks for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_REFUSE_H
#define CACHEGRID_REFUSE_H

#include "base/key.h"

/* Functions in refuse.c: none of them returns */

/* Another session still computes the key. */
extern void cg_load_refuse_to_wait(const CacheKey *key);
/* Its loader has failed, and is not to be tried again yet. */
extern void cg_load_refuse_to_try(const CacheKey *key);
/* It has failed, and the stale value that was to be given has ended meanwhile. */
extern void cg_load_refuse_without_stale(const CacheKey *key);

#endif /* CACHEGRID_REFUSE_H */
