/*-------------------------------------------------------------------------
 *
 * yield.c
 *	  A worker must not stand in the way of who needs its database for
 *	  himself: DROP DATABASE, RENAME, SET TABLESPACE, and CREATE DATABASE
 *	  that copies it; nor outlive its extension.
 *
 * Each of the first waits five seconds for others to leave, and begins with
 * something that can be hooked.  A command is hooked before its rights are
 * checked: only the database's owner has its worker leave by one.  Nobody else
 * may give it, but for a copy of a template database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "base/compat.h"
#include "load/load.h"
#include "outbox/outbox.h"
#include "worker/worker.h"

/* How long to stay away: from a database, from a dropped extension. */
#define YIELD_MS 10000
#define DROP_MS	 1000

static object_access_hook_type previous_object_access = NULL;
static ProcessUtility_hook_type previous_utility = NULL;

static void
dismiss(Oid database, int milliseconds)
{
	if (!OidIsValid(database))
		return;
	cg_outbox_dismiss(database, milliseconds);
	cg_loader_dismiss(database);
}

static void
dismiss_on_drop(ObjectAccessType access, Oid class_oid, Oid object, int sub,
				void *argument)
{
	if (previous_object_access)
		previous_object_access(access, class_oid, object, sub, argument);
	if (access != OAT_DROP)
		return;
	if (class_oid == DatabaseRelationId)
		dismiss(object, YIELD_MS);
	else if (class_oid == ExtensionRelationId &&
			 object == get_extension_oid("cachegrid", true))
		dismiss(MyDatabaseId, DROP_MS);
}

/* What the list names as option, or NULL. */
static const char *
find_option(List *options, const char *option)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *element = lfirst(cell);

		if (strcmp(element->defname, option) == 0 && element->arg)
			return defGetString(element);
	}
	return NULL;
}

/* The database that the command needs for itself, or NULL. */
static const char *
needed_database(Node *command)
{
	if (IsA(command, CreatedbStmt))
		return find_option(((CreatedbStmt *) command)->options, "template");
	if (IsA(command, AlterDatabaseStmt) &&
		find_option(((AlterDatabaseStmt *) command)->options, "tablespace"))
		return ((AlterDatabaseStmt *) command)->dbname;
	if (IsA(command, RenameStmt) &&
		((RenameStmt *) command)->renameType == OBJECT_DATABASE)
		return ((RenameStmt *) command)->subname;
	return NULL;
}

static void
dismiss_for_command(PlannedStmt *statement, const char *query, bool read_only_tree,
					ProcessUtilityContext context, ParamListInfo parameters,
					QueryEnvironment *environment, DestReceiver *receiver,
					QueryCompletion *completion)
{
	const char *name = needed_database(statement->utilityStmt);
	Oid database = name ? get_database_oid(name, true) : InvalidOid;

	if (OidIsValid(database) && cg_owns_database(database, GetUserId()))
		dismiss(database, YIELD_MS);
	if (previous_utility)
		previous_utility(statement, query, read_only_tree, context, parameters,
						 environment, receiver, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, parameters,
								environment, receiver, completion);
}

/* Called once, when the library is preloaded. */
void
cg_worker_install_hooks(void)
{
	previous_object_access = object_access_hook;
	object_access_hook = dismiss_on_drop;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = dismiss_for_command;
}
