/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  The durable queue of touched keys whose rows are still to be written
 *	  to Redis.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_OUTBOX_H
#define CACHEGRID_OUTBOX_H

#include "executor/tuptable.h"
#include "utils/rel.h"

#define CG_OUTBOX_MAX_COLUMNS 8 /* columns of a mirror's unique index */

/*
 * Called by capture for every changed row: remember that the row with these
 * values in these columns was touched.  attnums are the key columns of the
 * mirror's unique index.  The slot's TID goes along as a hint if has_tid
 * (the new version of an inserted or updated row).  Written to the outbox
 * before the transaction commits or prepares.
 */
extern void cg_outbox_touch(int32 mirror, Relation relation, TupleTableSlot *row,
							const AttrNumber *attnums, int count, bool has_tid);

/* The whole table must be swept (TRUNCATE, DDL), as of this transaction's commit. */
extern void cg_outbox_sweep(int32 mirror);

#endif /* CACHEGRID_OUTBOX_H */
