/*-------------------------------------------------------------------------
 *
 * loaders.h
 *	  The loaders as the files of this floor know them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_LOADERS_H
#define CACHEGRID_LOADERS_H

#include "storage/lwlock.h"

/* Functions in loaders.c */

/* There is something for a loader of this role to do. */
extern void cg_loader_wake(Oid database, Oid role);
/* This role's keys are to be loaded, since the server has started. */
extern void cg_loader_want_warm(Oid role);
/* A load has taken so long. */
extern void cg_loader_spend(int64 microseconds);
extern Size cg_loaders_size(void);
/* The caller holds AddinShmemInitLock. */
extern void cg_loaders_init(LWLock *their_lock);

#endif /* CACHEGRID_LOADERS_H */
