/*-------------------------------------------------------------------------
 *
 * whole.c
 *	  Changes of a table as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"

#include "capture/arguments.h"
#include "capture/event.h"
#include "capture/place.h"
#include "capture/triggers.h"
#include "capture/whole.h"
#include "outbox/outbox.h"

static void
touch_arguments(Relation relation, WholeRows rows)
{
	const Trigger *trigger = cg_triggers_row(relation);
	List *arguments = trigger ? cg_arguments_of_trigger(trigger) : NIL;
	int count;
	Dependency *whole =
		cg_arguments_dependencies(arguments, cg_triggers_root(relation), &count);
	ListCell *cell;

	for (int i = 0; i < count; i++)
		cg_coherence_touch(whole[i]);
	pfree(whole);

	if (rows != WHOLE_SAME_ROWS)
	{
		EventSource events = cg_event_source(arguments, cg_triggers_root(relation));

		if (cg_event_is_wanted(&events))
			cg_event_whole(&events);
	}
	foreach (cell, arguments)
	{
		int32 mirror;
		int wishes;

		if (rows == WHOLE_SAME_ROWS ||
			!cg_arguments_is_mirror(lfirst(cell), &mirror, &wishes))
			continue;
		if (rows == WHOLE_MORE_ROWS)
			wishes &= ~CG_OUTBOX_REMOVE;
		cg_outbox_sweep(mirror, RelationGetRelid(relation), wishes);
	}
}

/* Whoever makes do with what it was before, its rows, must not with what it means. */
static void
touch_relation(Oid relid)
{
	cg_coherence_touch(cg_dependency_of_relation(relid));
	cg_coherence_touch(cg_dependency_of_definition(relid));
}

void
cg_whole_touch(Relation relation, WholeRows rows)
{
	Oid relid = RelationGetRelid(relation);

	cg_coherence_catalog_changes();
	touch_relation(relid);
	touch_arguments(relation, rows);
	if (relation->rd_rel->relispartition)
	{
		ListCell *cell;

		foreach (cell, cg_place_ancestors(relid))
			touch_relation(lfirst_oid(cell));
	}
}

void
cg_whole_touch_oid(Oid relid, WholeRows rows)
{
	Relation relation = try_relation_open(relid, AccessShareLock);

	if (relation == NULL)
	{
		cg_coherence_catalog_changes();
		touch_relation(relid);
		return;
	}
	cg_whole_touch(relation, rows);
	relation_close(relation, NoLock);
}

void
cg_whole_touch_privileges(void)
{
	cg_coherence_catalog_changes();
	cg_coherence_touch(cg_dependency(DEPENDENCY_PRIVILEGES, "", 0));
}
