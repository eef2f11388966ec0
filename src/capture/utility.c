/*-------------------------------------------------------------------------
 *
 * utility.c
 *	  The hooks: commands that no event trigger sees, or sees too late.
 *
 * Roles belong to the whole cluster, and event triggers do not fire for
 * them.  DETACH PARTITION CONCURRENTLY commits in its middle, before its
 * event trigger.  Others' event triggers may read before ours have reported.
 * And once a table is dropped nobody can tell any more what its triggers
 * reported.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_trigger.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"

#include "capture/capture.h"
#include "capture/triggers.h"
#include "capture/whole.h"
#include "coherence/coherence.h"
#include "store/store.h"

static ProcessUtility_hook_type previous_utility = NULL;
static object_access_hook_type previous_object_access = NULL;

/* Does CREATE ROLE make roles members of each other? */
static bool
creates_members(CreateRoleStmt *create)
{
	ListCell *cell;

	foreach (cell, create->options)
	{
		const char *option = lfirst_node(DefElem, cell)->defname;

		if (strcmp(option, "addroleto") == 0 || strcmp(option, "rolemembers") == 0 ||
			strcmp(option, "adminmembers") == 0)
			return true;
	}
	return false;
}

/*
 * May the command change who may read what, or what CURRENT_USER and its like
 * say, or what names mean (EXPLAIN ANALYZE makes the table of CREATE TABLE AS),
 * without firing event triggers?
 */
static bool
changes_roles(Node *command)
{
	switch (nodeTag(command))
	{
		case T_GrantRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
		case T_DropOwnedStmt:
		case T_ReassignOwnedStmt:
		case T_AlterOwnerStmt:
		case T_CreateExtensionStmt:
			return true;
		case T_CreateRoleStmt:
			return creates_members((CreateRoleStmt *) command);
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_ROLE ||
				   ((RenameStmt *) command)->renameType == OBJECT_DATABASE;
		case T_DropStmt:
			return ((DropStmt *) command)->removeType == OBJECT_EXTENSION;
		case T_ExplainStmt:
			return GetCommandLogLevel(command) == LOGSTMT_DDL;
		default:
			return false;
	}
}

static bool
commits_prepared(Node *command)
{
	return IsA(command, TransactionStmt) &&
		   ((TransactionStmt *) command)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* The first of the two transactions of DETACH PARTITION CONCURRENTLY. */
static void
before_detach(Node *command)
{
	AlterTableStmt *alter = (AlterTableStmt *) command;
	ListCell *cell;

	if (!IsA(command, AlterTableStmt))
		return;
	foreach (cell, alter->cmds)
	{
		AlterTableCmd *part = lfirst_node(AlterTableCmd, cell);
		Oid relid;

		if (part->subtype != AT_DetachPartition ||
			!castNode(PartitionCmd, part->def)->concurrent)
			continue;
		relid = RangeVarGetRelid(alter->relation, NoLock, true);
		if (relid == InvalidOid)
			continue;
		cg_whole_touch_oid(relid, WHOLE_OTHER_ROWS);
		UnlockRelationOid(relid, AccessShareLock);
	}
}

/* Event triggers may be switched off; nothing else tells of these rows. */
static void
after_refresh(Node *command)
{
	Oid relid;

	if (!IsA(command, RefreshMatViewStmt))
		return;
	relid = RangeVarGetRelid(((RefreshMatViewStmt *) command)->relation, NoLock, true);
	if (OidIsValid(relid))
		cg_whole_touch_oid(relid, WHOLE_OTHER_ROWS);
}

static void
run_utility(PlannedStmt *statement, const char *query, bool read_only,
			ProcessUtilityContext context, ParamListInfo parameters,
			QueryEnvironment *environment, DestReceiver *destination,
			QueryCompletion *completion)
{
	Node *command = statement->utilityStmt;
	bool roles = changes_roles(command);
	bool definitions = GetCommandLogLevel(command) == LOGSTMT_DDL;

	before_detach(command);
	if (commits_prepared(command))
		cg_coherence_catalog_changes_now();
	if (definitions)
		cg_coherence_catalog_command_begins();
	PG_TRY();
	{
		if (previous_utility)
			previous_utility(statement, query, read_only, context, parameters,
							 environment, destination, completion);
		else
			standard_ProcessUtility(statement, query, read_only, context, parameters,
									environment, destination, completion);
	}
	PG_FINALLY();
	{
		if (definitions)
			cg_coherence_catalog_command_ends();
	}
	PG_END_TRY();
	if (roles)
		cg_whole_touch_privileges();
	after_refresh(command);
}

/* A trigger of ours goes, by itself or with its table: this is the last look. */
static void
before_drop(Oid trigger)
{
	bool is_row = false;
	Oid relid = cg_triggers_relation(trigger, &is_row);

	if (relid != InvalidOid)
		cg_whole_touch_oid(relid, WHOLE_OTHER_ROWS);
}

static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int column, void *arg)
{
	if (previous_object_access)
		previous_object_access(access, class, object, column, arg);

	if (access == OAT_DROP && class == TriggerRelationId &&
		!(((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL))
		before_drop(object);
	else if (access == OAT_DROP && class == DatabaseRelationId && cg_store_attached())
		cg_store_database_dropped(object);
}

void
cg_capture_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
	previous_object_access = object_access_hook;
	object_access_hook = on_object_access;
}
