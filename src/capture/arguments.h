/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  What stands in the arguments of a row trigger: only for the files of
 *	  this floor.
 *
 * One argument each:
 *
 *	watch						the table is watched, perhaps as a whole only
 *	key=product:{1=id}			a key template
 *	tag=category:{4=category}	a tag template
 *	mirror=7:{1=id}				mirror 7, with its key columns
 *	publish=8					what happens to its keys is told in stream 8 of events
 *	notify						the same, by NOTIFY
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_ARGUMENTS_H
#define CACHEGRID_ARGUMENTS_H

#include "nodes/pg_list.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "capture/capture.h"
#include "capture/template.h"
#include "coherence/coherence.h"

/* The arguments, read against the relation as it stands. */
typedef struct CaptureArguments
{
	bool watched;
	List *keys;	   /* of CaptureTemplate * */
	List *tags;	   /* of CaptureTemplate * */
	List *mirrors; /* of CaptureMirror * */
} CaptureArguments;

/*
 * Functions in arguments.c.  Lists are of char *, one an argument; all
 * results are palloc'd.
 */

/* The trigger's arguments as they are, whether they can be read or not. */
extern List *cg_arguments_of_trigger(const Trigger *trigger);

/* Read them; raises an error if a column is missing or of another type. */
extern CaptureArguments *cg_arguments_read(List *arguments, Relation relation);

/* The same, with the columns' numbers and names of today. */
extern List *cg_arguments_renew(List *arguments, Relation relation);

/* Write one. */
extern char *cg_arguments_watch(void);
extern char *cg_arguments_key(const char *text, Relation relation);
extern char *cg_arguments_tag(const char *text, Relation relation);
extern char *cg_arguments_stream(int32 stream);
extern char *cg_arguments_notify(void);
extern char *cg_arguments_mirror(const CaptureMirror *mirror, TupleDesc desc);

/* Ask for parts, without reading the rest; wishes may be NULL. */
extern bool cg_arguments_is_mirror(const char *argument, int32 *mirror, int *wishes);

/* The ways to tell of changes; stream may be NULL. */
extern bool cg_arguments_is_stream(const char *argument, int32 *stream);
extern bool cg_arguments_is_notify(const char *argument);

/*
 * What depends on rows of the table without naming one: the relation root,
 * and the prefixes of the templates.  Sets *count; needs no column to exist.
 */
extern Dependency *cg_arguments_dependencies(List *arguments, Oid root, int *count);

#endif /* CACHEGRID_ARGUMENTS_H */
