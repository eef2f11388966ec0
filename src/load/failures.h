/*-------------------------------------------------------------------------
 *
 * failures.h
 *	  Loads that have failed: how many, and why the last one did.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_FAILURES_H
#define CACHEGRID_FAILURES_H

#include "load/guard.h"

/* Functions in failures.c */

/*
 * Count a failed load of the guard's cache, and keep the text, cut if it is long, with
 * the time and who ran it.  Never raises an error.
 */
extern void cg_load_failure_note(const LoadGuard *guard, const char *message);
extern Size cg_load_failures_size(void);
/* The caller holds AddinShmemInitLock. */
extern void cg_load_failures_init(void);

#endif /* CACHEGRID_FAILURES_H */
