/*-------------------------------------------------------------------------
 *
 * triggers.c
 *	  Makes, finds and drops the triggers of captured tables.
 *
 * Three a table.  Their names sort first, so that our mark is up before a
 * BEFORE trigger of the user runs.  They fire ALWAYS, since logical
 * replication applies changes as "replica".
 *
 * The row trigger stands on the root and is cloned to its partitions by
 * PostgreSQL.  Statement triggers are not cloned, but a statement may name a
 * partition: so each partition has its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "capture/place.h"
#include "capture/triggers.h"

#define NAME_PREFIX "!cachegrid_"

typedef struct TriggerKind
{
	const char *name;
	const char *function;
	int16 row; /* TRIGGER_TYPE_... */
	int16 timing;
	int16 events;
} TriggerKind;

#define ROW_EVENTS (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)

static const TriggerKind ROW_KIND = {NAME_PREFIX "row", "capture", TRIGGER_TYPE_ROW,
									 TRIGGER_TYPE_AFTER, ROW_EVENTS};

static const TriggerKind STATEMENT_KINDS[] = {
	{NAME_PREFIX "before", "capture_statement", TRIGGER_TYPE_STATEMENT,
	 TRIGGER_TYPE_BEFORE, ROW_EVENTS | TRIGGER_TYPE_TRUNCATE},
	{NAME_PREFIX "after", "capture_statement", TRIGGER_TYPE_STATEMENT, TRIGGER_TYPE_AFTER,
	 ROW_EVENTS | TRIGGER_TYPE_TRUNCATE},
};

/* InvalidOid if the extension is not there. */
static Oid
function_named(const char *name)
{
	Oid schema = get_namespace_oid("cachegrid", true);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)),
						   ObjectIdGetDatum(schema));
}

/* NULL if there is none that reports all that it should. */
static const Trigger *
find(Relation relation, const TriggerKind *kind)
{
	int16 type = kind->row | kind->timing | kind->events;
	Oid function;

	if (relation->trigdesc == NULL)
		return NULL;

	/* A look into the catalogs may replace the relation's triggers in memory. */
	function = function_named(kind->function);
	for (int i = 0; relation->trigdesc != NULL && i < relation->trigdesc->numtriggers;
		 i++)
	{
		const Trigger *trigger = &relation->trigdesc->triggers[i];

		if (trigger->tgfoid == function && trigger->tgtype == type &&
			trigger->tgnattr == 0 && trigger->tgqual == NULL &&
			trigger->tgconstraint == InvalidOid)
			return trigger;
	}
	return NULL;
}

const Trigger *
cg_triggers_row(Relation relation)
{
	return find(relation, &ROW_KIND);
}

static bool
fires_always(Relation relation, const TriggerKind *kind)
{
	const Trigger *trigger = find(relation, kind);

	return trigger != NULL && trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
}

bool
cg_triggers_complete(Relation relation)
{
	return fires_always(relation, &ROW_KIND) &&
		   fires_always(relation, &STATEMENT_KINDS[0]) &&
		   fires_always(relation, &STATEMENT_KINDS[1]);
}

static void
enable_always(Relation relation, const TriggerKind *kind)
{
	const Trigger *trigger = find(relation, kind);

	if (trigger != NULL && trigger->tgenabled != TRIGGER_FIRES_ALWAYS &&
		trigger->tgenabled != TRIGGER_DISABLED)
	{
		char *name = pstrdup(trigger->tgname);

		cg_enable_trigger(relation, name, TRIGGER_FIRES_ALWAYS);
		CommandCounterIncrement();
	}
}

void
cg_triggers_enable_always(Relation relation)
{
	enable_always(relation, &ROW_KIND);
	for (int i = 0; i < lengthof(STATEMENT_KINDS); i++)
		enable_always(relation, &STATEMENT_KINDS[i]);
}

Oid
cg_triggers_root(Relation relation)
{
	const Trigger *trigger = cg_triggers_row(relation);
	List *ancestors = NIL;

	if (trigger != NULL && trigger->tgisclone)
		ancestors = cg_place_ancestors(RelationGetRelid(relation));
	return ancestors != NIL ? llast_oid(ancestors) : RelationGetRelid(relation);
}

static bool
may_execute(Oid role, const char *function)
{
	return DatumGetBool(DirectFunctionCall3(
		has_function_privilege_id_id, ObjectIdGetDatum(role),
		ObjectIdGetDatum(function_named(function)), CStringGetTextDatum("EXECUTE")));
}

bool
cg_triggers_may_be_created_by(Oid role)
{
	return may_execute(role, ROW_KIND.function) &&
		   may_execute(role, STATEMENT_KINDS[0].function);
}

/* Create it, or change the arguments of the one that is there. */
static void
put(Oid relation, const TriggerKind *kind, List *arguments)
{
	CreateTrigStmt *statement = makeNode(CreateTrigStmt);
	ListCell *cell;

	statement->replace = true;
	statement->trigname = pstrdup(kind->name);
	foreach (cell, arguments)
		statement->args = lappend(statement->args, makeString(lfirst(cell)));
	statement->row = kind->row == TRIGGER_TYPE_ROW;
	statement->timing = kind->timing;
	statement->events = kind->events;

	(void) CreateTriggerFiringOn(statement, NULL, relation, InvalidOid, InvalidOid,
								 InvalidOid, function_named(kind->function), InvalidOid,
								 NULL, false, false, TRIGGER_FIRES_ALWAYS);
	CommandCounterIncrement();
}

static void
put_statement_triggers(Oid relation)
{
	for (int i = 0; i < lengthof(STATEMENT_KINDS); i++)
		put(relation, &STATEMENT_KINDS[i], NIL);
}

void
cg_triggers_put(Relation relation, List *arguments)
{
	Oid relid = RelationGetRelid(relation);
	List *tables = find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
	ListCell *cell;

	put(relid, &ROW_KIND, arguments);
	foreach (cell, tables)
		put_statement_triggers(lfirst_oid(cell));
}

/* Clones go with what they are clones of. */
static void
drop_own_triggers(Relation relation)
{
	Oid row_function = function_named(ROW_KIND.function);
	Oid statement_function = function_named(STATEMENT_KINDS[0].function);
	ObjectAddresses *addresses = new_object_addresses();

	for (int i = 0; relation->trigdesc != NULL && i < relation->trigdesc->numtriggers;
		 i++)
	{
		const Trigger *trigger = &relation->trigdesc->triggers[i];
		ObjectAddress address;

		if (trigger->tgisclone ||
			(trigger->tgfoid != row_function && trigger->tgfoid != statement_function))
			continue;
		ObjectAddressSet(address, TriggerRelationId, trigger->tgoid);
		add_exact_object_address(&address, addresses);
	}
	performMultipleDeletions(addresses, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	free_object_addresses(addresses);
	CommandCounterIncrement();
}

void
cg_triggers_drop(Relation relation)
{
	List *tables =
		find_all_inheritors(RelationGetRelid(relation), AccessExclusiveLock, NULL);
	ListCell *cell;

	foreach (cell, tables)
	{
		Relation table = table_open(lfirst_oid(cell), NoLock);

		drop_own_triggers(table);
		table_close(table, NoLock);
	}
}

void
cg_triggers_adopt(Relation relation)
{
	bool adopted = find(relation, &STATEMENT_KINDS[0]) != NULL;
	const Trigger *row = cg_triggers_row(relation);

	if (row != NULL && row->tgisclone && !adopted)
		put_statement_triggers(RelationGetRelid(relation));
}

static void
check_name(Form_pg_trigger trigger)
{
	const char *name = NameStr(trigger->tgname);

	if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("trigger \"%s\" must be called otherwise", name),
				errdetail("The names of triggers that capture changes begin with \"%s\".",
						  NAME_PREFIX),
				errhint("Do not create or rename these triggers by hand: call "
						"cachegrid.watch and cachegrid.unwatch."));
}

Oid
cg_triggers_relation(Oid trigger, bool *is_row)
{
	Oid row_function = function_named(ROW_KIND.function);
	Oid statement_function = function_named(STATEMENT_KINDS[0].function);
	Relation catalog = table_open(TriggerRelationId, AccessShareLock);
	Oid result = InvalidOid;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		*is_row = form->tgfoid == row_function;
		if (*is_row || form->tgfoid == statement_function)
		{
			check_name(form);
			result = form->tgrelid;
		}
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}
