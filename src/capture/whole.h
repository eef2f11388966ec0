/*-------------------------------------------------------------------------
 *
 * whole.h
 *	  Changes of a table as a whole: only for the files of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_WHOLE_H
#define CACHEGRID_WHOLE_H

#include "utils/rel.h"

/* Functions in whole.c */

/*
 * The relation has changed in another way than by rows: touch it, the tables
 * it is a partition of, and the prefixes of its templates.  If its rows look
 * otherwise now, its mirrors are swept, too.
 */
extern void cg_whole_touch(Relation relation, bool rows_changed);

/* The same by OID; whatever there is left of it. */
extern void cg_whole_touch_oid(Oid relation, bool rows_changed);

/* Who may read what, or what names and functions mean, has changed. */
extern void cg_whole_touch_privileges(void);

#endif /* CACHEGRID_WHOLE_H */
