/*-------------------------------------------------------------------------
 *
 * database.c
 *	  The worker of one database: applies its mirrors, as long as it has any.
 *
 * Everything it must not forget is in tables, so it may be ended at any
 * point.  Any error that is not a row's, a table's or Redis' ends it; the
 * launcher starts another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "load/load.h"
#include "mirror/mirror.h"
#include "outbox/outbox.h"
#include "worker/worker.h"

static bool
has_mirrors(void)
{
	bool exists;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	exists = cg_mirror_exists();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return exists;
}

/*
 * Leave if there is nothing to do.  A mirror that is made meanwhile registers
 * the database and wakes the worker if it is attached, the launcher if it is
 * not: so look again after leaving, and go back if there is one.
 */
static void
leave_if_idle(void)
{
	if (has_mirrors())
		return;
	cg_mirror_forget_database(MyDatabaseId);
	cg_outbox_retire();
	if (!has_mirrors() || !cg_outbox_attach())
		proc_exit(0);
}

/* The first who looks into the database since the server started has its caches warmed. */
static void
find_warm(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(get_extension_oid("cachegrid", true)))
		cg_load_find_warm();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
pin_settings(void)
{
	cg_mirror_pin_settings();

	/* Who loses a position does some work again. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_SESSION);
}

void
cg_worker_database_main(Datum argument)
{
	cg_worker_begin();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument), InvalidOid, 0);
	pin_settings();

	find_warm();
	if (!cg_outbox_attach())
		proc_exit(0);
	leave_if_idle();

	for (;;)
	{
		MirrorRest rest;

		cg_worker_begin_round();
		if (!cg_mirror_work(&rest))
			leave_if_idle();
		else
		{
			cg_worker_nap(rest.nap_us);
			if (!rest.more)
			{
				pgstat_report_stat(false);
				cg_worker_rest(rest.wait_ms);
			}
		}
	}
}
