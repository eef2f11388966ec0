/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  How far this process is with a preload, for others to see.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_PROGRESS_H
#define CACHEGRID_PROGRESS_H

#include "c.h"

/* Functions in progress.c: none of them raises an error but the first, if not preloaded */

extern void cg_load_progress_begin(const char *cache, int64 total);
extern void cg_load_progress_advance(bool loaded); /* by one key */
extern void cg_load_progress_end(void);
extern Size cg_load_progress_size(void);
/* The caller holds AddinShmemInitLock. */
extern void cg_load_progress_init(void);

#endif /* CACHEGRID_PROGRESS_H */
