/*-------------------------------------------------------------------------
 *
 * reshape.c
 *	  DDL after which rows look otherwise that nobody has touched: a type of
 *	  theirs is another one, or becomes JSON in another way.
 *
 * Within domains, arrays and composites a type is hard to find, and a cast may
 * be used by any of them: so all captured tables that have a column of a type
 * that is not built in are swept to their mirrors.  What a function does that is
 * called by a cast's function is not looked into.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "nodes/parsenodes.h"

#include "base/compat.h"
#include "capture/reshape.h"
#include "capture/whole.h"

static bool
changes_types(Node *command)
{
	if (IsA(command, AlterEnumStmt))
		return ((AlterEnumStmt *) command)->oldVal != NULL;
	return IsA(command, RenameStmt) &&
		   ((RenameStmt *) command)->renameType == OBJECT_ATTRIBUTE;
}

static bool
selects_rows(const char *query)
{
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", query);
	return SPI_processed > 0;
}

/* Is the row type of a changed table, or the changed type, used by something? */
static bool
changes_row_type(void)
{
	return selects_rows(
		"SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() c, pg_catalog.pg_type t,"
		" pg_catalog.pg_depend d"
		" WHERE c.classid OPERATOR(pg_catalog.=) "
		"'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND t.typrelid OPERATOR(pg_catalog.=) c.objid"
		" AND d.refclassid OPERATOR(pg_catalog.=) "
		"'pg_catalog.pg_type'::pg_catalog.regclass"
		" AND d.refobjid OPERATOR(pg_catalog.=) ANY (ARRAY[t.oid, t.typarray])"
		" AND d.deptype OPERATOR(pg_catalog.=) 'n'::pg_catalog.\"char\"");
}

/* Is it a function that makes JSON of values? */
static bool
changes_cast(void)
{
	return selects_rows(
		"SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() c, pg_catalog.pg_cast k"
		" WHERE c.classid OPERATOR(pg_catalog.=) "
		"'pg_catalog.pg_proc'::pg_catalog.regclass"
		" AND k.castfunc OPERATOR(pg_catalog.=) c.objid"
		" AND k.casttarget OPERATOR(pg_catalog.=) 'pg_catalog.json'::pg_catalog.regtype");
}

/* Have all rows sent again that may look otherwise.  Needs SPI. */
void
cg_reshape_touch_all(void)
{
	bool is_null;

	if (SPI_execute("SELECT tgrelid FROM pg_catalog.pg_trigger"
					" WHERE tgfoid OPERATOR(pg_catalog.=)"
					" 'cachegrid.capture()'::pg_catalog.regprocedure AND EXISTS"
					" (SELECT FROM pg_catalog.pg_attribute"
					" WHERE attrelid OPERATOR(pg_catalog.=) tgrelid"
					" AND atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list the captured tables");
	for (uint64 i = 0; i < SPI_processed; i++)
		cg_whole_touch_oid(
			DatumGetObjectId(
				SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)),
			WHOLE_OTHER_ROWS);
}

/*
 * At the end of a command: if rows may look otherwise, have them sent again.
 * columns_changed: of a table or a composite type.  Needs SPI.
 */
void
cg_reshape_follow(Node *command, bool columns_changed)
{
	if (changes_types(command) || IsA(command, CreateCastStmt) ||
		(columns_changed && changes_row_type()) || changes_cast())
		cg_reshape_touch_all();
}
