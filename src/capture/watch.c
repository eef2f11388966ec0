/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  Puts tables under watch and mirror, and takes them out.
 *
 * Whoever changes what a table reports holds a lock against its writers to
 * the end of the transaction, and invalidates everything that was computed
 * from the table: entries from before, whose changes were not reported or
 * were reported otherwise, end with the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "capture/arguments.h"
#include "capture/capture.h"
#include "capture/place.h"
#include "capture/triggers.h"

#define MAX_TEMPLATES 32

/* Nothing of a table that is gone. */
static void
require_owner(Oid relid)
{
	char *name = get_rel_name(relid);

	if (name != NULL && !object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   name);
}

/*
 * Open and lock the table.  Who does not own it gets to lock nothing, and who
 * does not any more when the lock is had, to change nothing.  NULL if it does
 * not exist and that is allowed.
 */
static Relation
open_owned(Oid relid, LOCKMODE mode, bool missing_ok)
{
	Relation relation;

	cg_cache_require_loaded();
	require_owner(relid);
	relation = try_relation_open(relid, mode);
	require_owner(relid);
	if (relation == NULL && !missing_ok)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid),
				errdetail("It may have been dropped meanwhile."),
				errhint("Name a table that exists."));
	return relation;
}

/*
 * PostgreSQL clones the row trigger to every new partition, as the user who
 * creates that: better an error now than one in a nightly job.
 */
static void
check_owner(Relation relation)
{
	Oid owner = relation->rd_rel->relowner;

	if (!cg_triggers_may_be_created_by(owner))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("owner of relation \"%s\" is not a member of cachegrid_writer",
					   RelationGetRelationName(relation)),
				errdetail("Role \"%s\" could not create partitions or rename columns.",
						  GetUserNameFromId(owner, false)),
				errhint("GRANT cachegrid_writer to that role."));
}

static List *
current_arguments(Relation relation)
{
	const Trigger *trigger = cg_triggers_row(relation);

	return trigger ? cg_arguments_of_trigger(trigger) : NIL;
}

static void
touch_whole(Relation relation, List *arguments)
{
	int count;
	Dependency *whole =
		cg_arguments_dependencies(arguments, RelationGetRelid(relation), &count);

	for (int i = 0; i < count; i++)
		cg_coherence_touch(whole[i]);
	pfree(whole);
}

/* From now on the table reports this; nothing at all if arguments is NIL. */
static void
change_arguments(Relation relation, List *old_arguments, List *arguments)
{
	cg_coherence_catalog_changes();
	touch_whole(relation, old_arguments);
	touch_whole(relation, arguments);
	if (arguments != NIL)
		cg_triggers_put(relation, arguments);
	else
		cg_triggers_drop(relation);
}

/* Those of the arguments that belong to mirrors. */
static List *
mirrors_of(List *arguments)
{
	List *result = NIL;
	ListCell *cell;

	foreach (cell, arguments)
	{
		int32 mirror;

		if (cg_arguments_is_mirror(lfirst(cell), &mirror, NULL))
			result = lappend(result, lfirst(cell));
	}
	return result;
}

static List *
without_mirror(List *arguments, int32 mirror)
{
	List *result = NIL;
	ListCell *cell;

	foreach (cell, arguments)
	{
		int32 other;

		if (!cg_arguments_is_mirror(lfirst(cell), &other, NULL) || other != mirror)
			result = lappend(result, lfirst(cell));
	}
	return result;
}

static List *
append_new(List *arguments, char *argument)
{
	ListCell *cell;

	foreach (cell, arguments)
	{
		if (strcmp(lfirst(cell), argument) == 0)
			return arguments;
	}
	return lappend(arguments, argument);
}

void
cg_capture_watch(Oid relid, const CaptureWatch *watch)
{
	Relation relation = open_owned(relid, ShareRowExclusiveLock, false);
	List *old_arguments = current_arguments(relation);
	List *arguments = list_make1(cg_arguments_watch());
	ListCell *cell;

	cg_place_check(relation);
	check_owner(relation);
	foreach (cell, watch->keys)
		arguments = append_new(arguments, cg_arguments_key(lfirst(cell), relation));
	foreach (cell, watch->tags)
		arguments = append_new(arguments, cg_arguments_tag(lfirst(cell), relation));
	if (list_length(arguments) > MAX_TEMPLATES + 1)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many templates for relation \"%s\"",
					   RelationGetRelationName(relation)),
				errdetail("Every changed row reports a key or a tag for each; at most %d "
						  "are allowed.",
						  MAX_TEMPLATES),
				errhint("Let one tag stand for several of them."));

	if (watch->stream != 0)
		arguments = lappend(arguments, cg_arguments_stream(watch->stream));
	if (watch->notifies)
		arguments = lappend(arguments, cg_arguments_notify());
	arguments = list_concat(arguments, mirrors_of(old_arguments));
	change_arguments(relation, old_arguments, arguments);
	relation_close(relation, NoLock);
}

void
cg_capture_unwatch(Oid relid)
{
	Relation relation = open_owned(relid, AccessExclusiveLock, false);
	List *old_arguments = current_arguments(relation);
	List *arguments = mirrors_of(old_arguments);

	if (cg_triggers_root(relation) != relid)
		cg_place_check(relation);
	if (list_length(arguments) == list_length(old_arguments))
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("relation \"%s\" is not watched", RelationGetRelationName(relation)),
			errdetail("None of its triggers reports changes to the cache."),
			errhint("The view cachegrid.watched lists the tables that are."));

	change_arguments(relation, old_arguments, arguments);
	relation_close(relation, NoLock);
}

void
cg_capture_set_mirror(Oid relid, const CaptureMirror *mirror)
{
	Relation relation = open_owned(relid, ShareRowExclusiveLock, false);
	List *old_arguments = current_arguments(relation);
	List *arguments = without_mirror(old_arguments, mirror->mirror);

	cg_place_check(relation);
	check_owner(relation);
	arguments =
		lappend(arguments, cg_arguments_mirror(mirror, RelationGetDescr(relation)));
	change_arguments(relation, old_arguments, arguments);
	relation_close(relation, NoLock);
}

void
cg_capture_drop_mirror(Oid relid, int32 mirror)
{
	Relation relation = open_owned(relid, AccessExclusiveLock, true);
	List *old_arguments;
	List *arguments;

	if (relation == NULL)
		return;
	old_arguments = current_arguments(relation);
	arguments = without_mirror(old_arguments, mirror);
	if (list_length(arguments) < list_length(old_arguments))
		change_arguments(relation, old_arguments, arguments);
	relation_close(relation, NoLock);
}
