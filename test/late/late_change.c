/*-------------------------------------------------------------------------
 *
 * late_change.c
 *	  For test/perl/LateChange.pm: another extension whose callback runs a
 *	  command when a transaction is about to commit, or to be prepared.
 *
 * Loaded before cachegrid it is called after it, as the callbacks of
 * transactions are called from the last to the first.  late_change.command is
 * what it runs; an error in it is an error of the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static char *command = NULL;

static void
run_command(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		return;
	if (command == NULL || command[0] == '\0')
		return;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute(command, false, 0) < 0)
		elog(ERROR, "late_change.command failed");
	PopActiveSnapshot();
	SPI_finish();
}

void
_PG_init(void)
{
	DefineCustomStringVariable("late_change.command", "Run at the end of a transaction.",
							   NULL, &command, "", PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(run_command, NULL);
}
