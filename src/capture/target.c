/*-------------------------------------------------------------------------
 *
 * target.c
 *	  Remembers what each trigger has to report.
 *
 * A backend-local hash by the trigger's OID.  The relation cache tells when a
 * relation has changed, its triggers or its place among partitions included;
 * what is remembered for it is then built anew at its next use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "capture/target.h"
#include "capture/triggers.h"

static HTAB *targets = NULL;
static CaptureTarget *latest = NULL; /* the one asked for last, as a shortcut */

static void
relation_changed(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS scan;
	CaptureTarget *target;

	hash_seq_init(&scan, targets);
	while ((target = hash_seq_search(&scan)) != NULL)
	{
		if (relation == InvalidOid || relation == target->relation)
			target->current = false;
	}
}

static void
create_targets(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(CaptureTarget)};

	targets = hash_create("cachegrid triggers", 64, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/* An error leaves the target unbuilt. */
static void
build(CaptureTarget *target, const Trigger *row, Relation relation)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "cachegrid trigger", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List *arguments = cg_arguments_of_trigger(row);
	Oid root = cg_triggers_root(relation);

	if (target->context != NULL)
		MemoryContextDelete(target->context);
	target->context = NULL;

	target->events = cg_event_source(arguments, root);
	target->rows = cg_dependency_of_relation(root);
	target->whole = cg_arguments_dependencies(arguments, root, &target->whole_count);
	target->arguments = cg_arguments_read(arguments, relation);

	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, CacheMemoryContext);
	target->context = context;
	target->relation = RelationGetRelid(relation);
	target->current = true;
}

CaptureTarget *
cg_target_of_trigger(const Trigger *trigger, Relation relation)
{
	CaptureTarget *target;
	const Trigger *row;
	bool found;

	if (latest != NULL && latest->trigger == trigger->tgoid && latest->current)
		return latest;

	if (targets == NULL)
		create_targets();
	latest = NULL;
	target = hash_search(targets, &trigger->tgoid, HASH_ENTER, &found);
	if (!found)
	{
		target->context = NULL;
		target->relation = InvalidOid;
		target->current = false;
	}
	if (!target->current)
	{
		row = cg_triggers_row(relation);
		if (row == NULL)
			return NULL;
		build(target, row, relation);
	}
	latest = target;
	return target;
}
