/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  The event triggers: what DDL does to entries, mirrors and triggers.
 *
 * Every command on a relation invalidates what was computed from it.  Every
 * command on something else that may decide what a query means or who may
 * run it (a function, a policy, a view, a GRANT) invalidates everything in the
 * database that was computed: it is rare, and nothing else would be sure.
 *
 * Commands that would break a captured table's triggers are refused; the
 * others are followed: a renamed column in the arguments, a new partition, an
 * ENABLE TRIGGER ALL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_namespace.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_user_mapping.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "capture/arguments.h"
#include "capture/capture.h"
#include "capture/place.h"
#include "capture/reshape.h"
#include "capture/triggers.h"
#include "capture/whole.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(cachegrid_capture_command);
PG_FUNCTION_INFO_V1(cachegrid_capture_drop);
PG_FUNCTION_INFO_V1(cachegrid_capture_rewrite);

static EventTriggerData *
checked_event(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("this function can only be called as an event trigger"),
				errdetail("It asks what the command has done."),
				errhint("CREATE EXTENSION cachegrid creates the event triggers."));
	return (EventTriggerData *) fcinfo->context;
}

static bool
is_ambiguous(int catalog, Relation relation)
{
	CatCList *list =
		SearchSysCacheList1(catalog, CStringGetDatum(RelationGetRelationName(relation)));
	bool result = list->n_members > 1;

	ReleaseSysCacheList(list);
	return result;
}

/* Could an unqualified name have meant another relation, or type, before, or since? */
static bool
shares_its_name(Relation relation)
{
	return is_ambiguous(RELNAMENSP, relation) || is_ambiguous(TYPENAMENSP, relation);
}

static bool
same_strings(List *left, List *right)
{
	ListCell *left_cell;
	ListCell *right_cell;

	forboth (left_cell, left, right_cell, right)
	{
		if (strcmp(lfirst(left_cell), lfirst(right_cell)) != 0)
			return false;
	}
	return list_length(left) == list_length(right);
}

/*
 * Keep a captured table's triggers right, or refuse what made them wrong.
 * The arguments of clones are those of the root.
 */
static void
follow_table(Relation relation)
{
	const Trigger *trigger = cg_triggers_row(relation);
	List *arguments;
	List *renewed;

	if (trigger == NULL)
		return;
	if (trigger->tgisclone)
	{
		(void) cg_arguments_read(cg_arguments_of_trigger(trigger), relation);
		return;
	}
	arguments = cg_arguments_of_trigger(trigger);
	(void) cg_arguments_read(arguments, relation);
	cg_place_check(relation);

	renewed = cg_arguments_renew(arguments, relation);
	if (!same_strings(arguments, renewed))
		cg_triggers_put(relation, renewed);
}

/* A child makes its parents an inheritance tree. */
static void
check_parents(Oid relation)
{
	ListCell *cell;

	foreach (cell, cg_place_parents(relation))
	{
		Relation parent = table_open(lfirst_oid(cell), AccessShareLock);
		const Trigger *trigger = cg_triggers_row(parent);

		if (trigger != NULL && !trigger->tgisclone)
			cg_place_check(parent);
		table_close(parent, NoLock);
	}
}

/* What a command has done to a relation. */
typedef enum RelationChange
{
	CHANGED_OTHERWISE,
	CHANGED_MORE_ROWS, /* others have come */
	CHANGED_ROWS,	   /* they look otherwise, or are gone */
	CHANGED_COLUMNS,   /* and its row type is another one */
} RelationChange;

static void relation_changed(Oid relid, RelationChange change);

static WholeRows
rows_of(RelationChange change)
{
	if (change == CHANGED_OTHERWISE)
		return WHOLE_SAME_ROWS;
	return change == CHANGED_MORE_ROWS ? WHOLE_MORE_ROWS : WHOLE_OTHER_ROWS;
}

/* ALTER TYPE ... CASCADE changes the tables that are made of the type unseen. */
static void
typed_tables_changed(Oid type, RelationChange change)
{
	Relation catalog = table_open(RelationRelationId, AccessShareLock);
	List *tables = NIL;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	ListCell *cell;

	ScanKeyInit(&key, Anum_pg_class_reloftype, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		tables = lappend_oid(tables, ((Form_pg_class) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	foreach (cell, tables)
		relation_changed(lfirst_oid(cell), change);
}

/*
 * A row type may be used by any query, be it that of a table which the query
 * does not read.
 */
static bool
changes_meanings(Relation relation, RelationChange change)
{
	return relation->rd_rel->relkind == RELKIND_VIEW ||
		   relation->rd_rel->relkind == RELKIND_COMPOSITE_TYPE ||
		   change == CHANGED_COLUMNS || shares_its_name(relation);
}

static void
relation_changed(Oid relid, RelationChange change)
{
	Relation relation = try_relation_open(relid, AccessShareLock);

	if (relation == NULL)
		return;
	if (relation->rd_rel->relpersistence != RELPERSISTENCE_TEMP)
	{
		cg_whole_touch(relation, rows_of(change));
		if (changes_meanings(relation, change))
			cg_whole_touch_privileges();
	}
	if (relation->rd_rel->relkind == RELKIND_COMPOSITE_TYPE)
		typed_tables_changed(relation->rd_rel->reltype, CHANGED_COLUMNS);
	if (relation->rd_rel->relkind == RELKIND_RELATION ||
		relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		follow_table(relation);
		cg_triggers_adopt(relation);
		cg_triggers_enable_always(relation);
		check_parents(relid);
	}
	relation_close(relation, NoLock);
}

/*
 * Whoever owns a table may name any mirror in a trigger made by hand, and
 * with it have others' tables swept, or any stream, and tell others' subscribers
 * what he likes: so only superusers, for restores.
 */
static void
check_targets(Relation relation)
{
	const Trigger *trigger = cg_triggers_row(relation);
	List *arguments = trigger ? cg_arguments_of_trigger(trigger) : NIL;
	ListCell *cell;

	foreach (cell, arguments)
	{
		const char *argument = lfirst(cell);
		int32 mirror;

		if (superuser())
			continue;
		if (cg_arguments_is_mirror(argument, &mirror, NULL))
			ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("must be superuser to create a trigger of a mirror"),
					errdetail("Its argument is \"%s\".", argument),
					errhint("Call cachegrid.mirror to mirror a table."));
		if (cg_arguments_is_stream(argument, NULL))
			ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("must be superuser to create a trigger that publishes"),
					errdetail("Its argument is \"%s\".", argument),
					errhint("Call cachegrid.watch to publish what changes."));
	}
}

static void
trigger_changed(Oid trigger)
{
	bool is_row = false;
	Oid relid = cg_triggers_relation(trigger, &is_row);
	Relation relation;

	if (relid == InvalidOid)
		return;
	relation = table_open(relid, AccessShareLock);
	cg_whole_touch(relation, WHOLE_SAME_ROWS);
	if (is_row)
	{
		check_targets(relation);
		follow_table(relation);
	}
	table_close(relation, NoLock);
}

/* Objects that neither queries nor their privileges depend on. */
static bool
is_beside_queries(Oid class)
{
	return class == StatisticExtRelationId || class == PublicationRelationId ||
		   class == PublicationRelRelationId || class == PublicationNamespaceRelationId ||
		   class == SubscriptionRelationId || class == EventTriggerRelationId ||
		   class == ForeignServerRelationId || class == UserMappingRelationId ||
		   class == ForeignDataWrapperRelationId;
}

/*
 * The partition named in ATTACH or DETACH PARTITION, and those below it: they
 * are not reported by themselves.
 */
static void
partition_changed(AlterTableCmd *command)
{
	PartitionCmd *partition = castNode(PartitionCmd, command->def);
	Oid relid = RangeVarGetRelid(partition->name, NoLock, true);
	ListCell *cell;

	if (relid == InvalidOid)
		return;
	foreach (cell, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation relation = table_open(lfirst_oid(cell), NoLock);

		cg_whole_touch(relation, WHOLE_SAME_ROWS);
		if (command->subtype == AT_AttachPartition)
		{
			follow_table(relation);
			cg_triggers_adopt(relation);
		}
		table_close(relation, NoLock);
	}
	if (command->subtype != AT_AttachPartition)
	{
		Relation relation = table_open(relid, NoLock);

		if (cg_triggers_row(relation) == NULL)
			cg_triggers_drop(relation);
		table_close(relation, NoLock);
	}
}

static RelationChange
change_of_part(const AlterTableCmd *part)
{
	switch (part->subtype)
	{
		case AT_AddColumn:
		case AT_DropColumn:
		case AT_AlterColumnType:
			return CHANGED_COLUMNS;
		case AT_AttachPartition:
			return CHANGED_MORE_ROWS;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
		case AT_EnableTrig: /* they changed unseen before */
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return CHANGED_ROWS;
		default:
			return CHANGED_OTHERWISE;
	}
}

/* What the command does to the relations that it names. */
static RelationChange
change_of(Node *command)
{
	RelationChange change = CHANGED_OTHERWISE;
	ListCell *cell;

	if (IsA(command, RenameStmt) && ((RenameStmt *) command)->renameType == OBJECT_COLUMN)
		return CHANGED_COLUMNS;
	if (IsA(command, AlterTableStmt))
		foreach (cell, ((AlterTableStmt *) command)->cmds)
			change = Max(change, change_of_part(lfirst_node(AlterTableCmd, cell)));
	return change;
}

static void
follow_partitions(Node *command)
{
	ListCell *cell;

	if (!IsA(command, AlterTableStmt))
		return;
	foreach (cell, ((AlterTableStmt *) command)->cmds)
	{
		AlterTableCmd *part = lfirst_node(AlterTableCmd, cell);

		if (part->subtype == AT_AttachPartition || part->subtype == AT_DetachPartition ||
			part->subtype == AT_DetachPartitionFinalize)
			partition_changed(part);
	}
}

/* Column number of the current SPI row; InvalidOid for NULL. */
static Oid
oid_of_row(uint64 row, int number)
{
	bool isnull;
	Datum value =
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

static void
run_query(const char *query)
{
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", query);
}

static void
object_changed(Oid class, Oid object, RelationChange change)
{
	if (class == RelationRelationId)
		relation_changed(object, change);
	else if (class == TriggerRelationId)
		trigger_changed(object);
	else if (!is_beside_queries(class))
		cg_whole_touch_privileges();
}

/* capture_command(): ON ddl_command_end. */
Datum
cachegrid_capture_command(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = checked_event(fcinfo);
	RelationChange change;

	if (!cg_store_attached() || event->tag == CMDTAG_COMMENT ||
		event->tag == CMDTAG_SECURITY_LABEL)
		PG_RETURN_NULL();

	change = change_of(event->parsetree);
	SPI_connect();
	run_query("SELECT classid, objid FROM pg_catalog.pg_event_trigger_ddl_commands()");
	for (uint64 i = 0; i < SPI_processed; i++)
		object_changed(oid_of_row(i, 1), oid_of_row(i, 2), change);
	cg_reshape_follow(event->parsetree, change == CHANGED_COLUMNS);
	SPI_finish();

	follow_partitions(event->parsetree);
	PG_RETURN_NULL();
}

static void
object_dropped(Oid class, Oid object, Oid column)
{
	if (class == RelationRelationId && column != 0)
		relation_changed(object, CHANGED_COLUMNS);
	else if (class == RelationRelationId)
		cg_whole_touch_oid(object, WHOLE_SAME_ROWS);
	else if (!is_beside_queries(class))
		cg_whole_touch_privileges();
}

/*
 * capture_drop(): ON sql_drop.  What goes along with a relation (types,
 * constraints, triggers) is left out: the relation stands for it.  So only
 * types that the command names.
 */
Datum
cachegrid_capture_drop(PG_FUNCTION_ARGS)
{
	bool cast_dropped = false;

	(void) checked_event(fcinfo);
	if (!cg_store_attached())
		PG_RETURN_NULL();

	SPI_connect();
	run_query(
		"SELECT classid, objid, objsubid::pg_catalog.oid"
		" FROM pg_catalog.pg_event_trigger_dropped_objects()"
		" WHERE NOT is_temporary AND (original OR"
		" classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_type'::pg_catalog.regclass)"
		" AND classid OPERATOR(pg_catalog.<>) ALL (ARRAY["
		"'pg_catalog.pg_constraint', 'pg_catalog.pg_attrdef', 'pg_catalog.pg_trigger'"
		"]::pg_catalog.regclass[]::pg_catalog.oid[])");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		object_dropped(oid_of_row(i, 1), oid_of_row(i, 2), oid_of_row(i, 3));
		cast_dropped |= oid_of_row(i, 1) == CastRelationId;
	}
	if (cast_dropped)
		cg_reshape_touch_all();
	SPI_finish();
	PG_RETURN_NULL();
}

/* capture_rewrite(): ON table_rewrite. */
Datum
cachegrid_capture_rewrite(PG_FUNCTION_ARGS)
{
	(void) checked_event(fcinfo);
	if (cg_store_attached())
		cg_whole_touch_oid(
			DatumGetObjectId(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_OID)),
			WHOLE_OTHER_ROWS);
	PG_RETURN_NULL();
}
