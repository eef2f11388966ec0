/*-------------------------------------------------------------------------
 *
 * target.h
 *	  What a trigger has to report, ready for use: only for the files of this
 *	  floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_TARGET_H
#define CACHEGRID_TARGET_H

#include "capture/arguments.h"
#include "capture/event.h"

/*
 * Backend-local, in a memory context of its own; valid until the next call
 * of cg_target_of_trigger().
 */
typedef struct CaptureTarget
{
	Oid trigger;		/* hash key */
	Oid relation;		/* that it is on */
	bool current;		/* false: the relation has changed since */
	EventSource events; /* what is told of its keys */
	Dependency rows;	/* the root's DEPENDENCY_RELATION */
	int whole_count;	/* what depends on the table as a whole: rows, prefixes */
	Dependency *whole;
	CaptureArguments *arguments;
	MemoryContext context; /* of whole and arguments; NULL: not built */
} CaptureTarget;

/*
 * Functions in target.c
 *
 * trigger is one of our triggers on the relation, which is locked.  NULL if
 * the relation has no row trigger (any more).
 */
extern CaptureTarget *cg_target_of_trigger(const Trigger *trigger, Relation relation);

#endif /* CACHEGRID_TARGET_H */
