/*-------------------------------------------------------------------------
 *
 * place.h
 *	  Can the changes of a relation be captured, where it stands? Only for
 *	  the files of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_PLACE_H
#define CACHEGRID_PLACE_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

/* Raises an error that says why not.  The relation is locked. */
extern void cg_place_check(Relation relation);

/* The tables that it inherits from, or is a partition of: one level up. */
extern List *cg_place_parents(Oid relation);

/*
 * The partitioned tables that a partition is part of, the root last.  Unlike
 * get_partition_ancestors() this counts a partition in until its detachment
 * is complete.
 */
extern List *cg_place_ancestors(Oid partition);

#endif /* CACHEGRID_PLACE_H */
