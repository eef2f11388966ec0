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

/* What has become of a relation's rows. */
typedef enum WholeRows
{
	WHOLE_SAME_ROWS,
	WHOLE_MORE_ROWS, /* others have come, with an attached partition */
	WHOLE_OTHER_ROWS /* they are gone, or look otherwise */
} WholeRows;

/* Functions in whole.c */

/*
 * The relation has changed in another way than by rows: touch it, the tables
 * it is a partition of, and the prefixes of its templates.  If its rows are not the
 * same, its mirrors are swept, too; what Redis has of them may stay till then if they
 * are only more.
 */
extern void cg_whole_touch(Relation relation, WholeRows rows);

/* The same by OID; whatever there is left of it. */
extern void cg_whole_touch_oid(Oid relation, WholeRows rows);

/* Who may read what, or what names and functions mean, has changed. */
extern void cg_whole_touch_privileges(void);

#endif /* CACHEGRID_WHOLE_H */
