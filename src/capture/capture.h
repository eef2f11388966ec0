/*-------------------------------------------------------------------------
 *
 * capture.h
 *	  From a changed row to touched keys and tags.
 *
 * A watched or mirrored table has one row trigger, which reports every
 * changed row, and two statement triggers, which report that rows are about
 * to change and TRUNCATE.  What to report stands in the row trigger's
 * arguments and nowhere else: so it is as current as the table's lock, and
 * dump and restore carry it along.
 *
 * The row trigger of a partitioned table is cloned to its partitions.  All
 * of them report under the table that was put under watch, the root.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_CAPTURE_H
#define CACHEGRID_CAPTURE_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "base/key.h"
#include "capture/template.h"

/* A watched relation's templates, as its row trigger reports them. */
typedef struct CaptureSpec
{
	Oid root; /* whose DEPENDENCY_RELATION is stamped: this one or an ancestor */
	int key_count;
	int tag_count;
	CaptureTemplate **keys; /* columns numbered as in this relation */
	CaptureTemplate **tags;
} CaptureSpec;

/* What a table is put under watch with. */
typedef struct CaptureWatch
{
	List *keys; /* templates, of char * */
	List *tags;
	int32 stream;  /* of events that are published, 0: none */
	bool notifies; /* by NOTIFY */
} CaptureWatch;

/* What changes of a relation's rows report for one mirror. */
typedef struct CaptureMirror
{
	int32 mirror;
	int wishes; /* CG_OUTBOX_REMOVE and the like */
	int count;
	AttrNumber attnums[CG_TEMPLATE_MAX_COLUMNS]; /* of its keys */
} CaptureMirror;

/*
 * Functions in spec.c
 *
 * NULL if changes of the relation are not reported for certain: it is not
 * watched, or one of its triggers is not enabled ALWAYS.  The caller holds a
 * lock on the relation, which keeps the answer true; palloc'd.
 */
extern CaptureSpec *cg_capture_spec(Relation relation);
/* The same with triggers that are disabled: what was asked for, not what holds. */
extern CaptureSpec *cg_capture_declared_spec(Relation relation);

/*
 * Functions in watch.c
 *
 * All of them check that the caller owns the table and that its changes can
 * be captured, lock it to the end of the transaction (SHARE ROW EXCLUSIVE;
 * ACCESS EXCLUSIVE where something is taken away), and touch the relation
 * and the prefixes of its templates, old and new.
 *
 * watch() replaces the templates and what is told of their keys.
 * set_mirror() replaces the mirror's columns and wishes; drop_mirror() does
 * nothing if the mirror or the table is not there.
 */
extern void cg_capture_watch(Oid relation, const CaptureWatch *watch);
extern void cg_capture_unwatch(Oid relation);
extern void cg_capture_set_mirror(Oid relation, const CaptureMirror *mirror);
extern void cg_capture_drop_mirror(Oid relation, int32 mirror);

/*
 * Functions in utility.c
 *
 * init() installs the hooks for commands that no event trigger sees; at load
 * time.
 */
extern void cg_capture_init(void);

/* Functions in event.c: at load time */
extern void cg_capture_init_events(void);

#endif /* CACHEGRID_CAPTURE_H */
