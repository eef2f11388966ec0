/*-------------------------------------------------------------------------
 *
 * triggers.h
 *	  The triggers of a captured table, in the catalogs: only for the files
 *	  of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_TRIGGERS_H
#define CACHEGRID_TRIGGERS_H

#include "nodes/pg_list.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

/* Functions in triggers.c */

/*
 * The relation's row trigger, NULL if it is not captured; its memory is the
 * relcache's.  Triggers count by what they do, whatever they are called.
 */
extern const Trigger *cg_triggers_row(Relation relation);

/* Are all of them there, and enabled ALWAYS? */
extern bool cg_triggers_complete(Relation relation);

/*
 * ENABLE TRIGGER ALL, after a restore of data for one, leaves them enabled,
 * but not ALWAYS: make it so.
 */
extern void cg_triggers_enable_always(Relation relation);

/* The table that was put under watch: the relation, or its topmost ancestor. */
extern Oid cg_triggers_root(Relation relation);

/*
 * Make them, or change the row trigger's arguments (of char *), on the
 * relation and on its partitions.  The caller holds SHARE ROW EXCLUSIVE on
 * the relation; the partitions get locked so, too.
 */
extern void cg_triggers_put(Relation relation, List *arguments);

/* May the role create the triggers on its tables? */
extern bool cg_triggers_may_be_created_by(Oid role);

/* Drop them.  The caller holds ACCESS EXCLUSIVE; so with the partitions. */
extern void cg_triggers_drop(Relation relation);

/* Give the statement triggers to a new partition that got the row trigger. */
extern void cg_triggers_adopt(Relation relation);

/*
 * The relation of this trigger, if it is one of ours, else InvalidOid.  For
 * our row trigger *is_row is set.  Raises an error if it has another name than
 * we gave it: then it could not be replaced.
 */
extern Oid cg_triggers_relation(Oid trigger, bool *is_row);

#endif /* CACHEGRID_TRIGGERS_H */
