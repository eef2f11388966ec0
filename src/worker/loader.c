/*-------------------------------------------------------------------------
 *
 * loader.c
 *	  A loader: a process that loads in the background, for one role of one database.
 *
 * It refreshes what sessions of that role use and what is due, and loads at first what is to
 * be kept warm since the server has started.  It is connected as that role, reads only, and
 * remembers nothing: it may be ended at any point.  Any error that is not a query's ends it;
 * the launcher starts another when there is something to do.
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

#include "base/clock.h"
#include "base/compat.h"
#include "load/load.h"
#include "worker/worker.h"

/* A loader without anything to do stays for so long. */
#define IDLE_MS 5000
/* One for whose place others wait works for so long. */
#define TURN_MS 1000

/* Backend-local, in the launcher: has there been no process for a loader? */
static bool is_starved = false;

/* False if the server has no worker process left. */
static bool
start_loader(int place, Oid database)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = Int32GetDatum(place),
	};

	snprintf(worker.bgw_name, BGW_MAXLEN, "cachegrid loader for database %u", database);
	strlcpy(worker.bgw_type, "cachegrid loader", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "cachegrid", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "cg_worker_loader_main", BGW_MAXLEN);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

void
cg_worker_start_loaders(void)
{
	Oid database;
	int place;

	while (cg_loader_plan(&place, &database))
	{
		bool started = start_loader(place, database);

		if (!started && !is_starved)
			ereport(
				LOG,
				errmsg("could not start a cachegrid loader for database %u", database),
				errdetail("The server has no worker process left.  Values are not "
						  "refreshed in the background."),
				errhint("Increase \"max_worker_processes\", or set "
						"\"cachegrid.refresh_workers\" to 0."));
		is_starved = !started;
		if (started)
			continue;
		cg_loader_withdraw(place);
		break;
	}
}

static void
pin_settings(void)
{
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("default_transaction_deferrable", "off", PGC_USERSET, PGC_S_SESSION);
	/* What has written could not be kept anyway. */
	SetConfigOption("default_transaction_read_only", "on", PGC_USERSET, PGC_S_SESSION);
}

/* Leave if there is nothing to do here, or not as this role. */
static void
leave_if_unwanted(void)
{
	bool wanted;

	StartTransactionCommand();
	wanted = OidIsValid(get_extension_oid("cachegrid", true)) && !superuser();
	CommitTransactionCommand();
	if (wanted)
		return;
	cg_loader_decline();
	proc_exit(0);
}

static void
load_warm(void *argument)
{
	cg_load_warm(argument);
}

/* In a transaction of its own; an error is in the log, and that is all. */
static void
run_calmly(void (*run)(void *argument), void *argument)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		run(argument);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* argument: where to put the list of what is to be loaded, in the round's context. */
static void
list_warm(void *argument)
{
	MemoryContext transaction = MemoryContextSwitchTo(GetMemoryChunkContext(argument));

	*(List **) argument = cg_load_list_warm();
	MemoryContextSwitchTo(transaction);
}

static void
keep_warm(void)
{
	List **warms = palloc0_object(List *);
	ListCell *cell;

	run_calmly(list_warm, warms);
	foreach (cell, *warms)
		run_calmly(load_warm, lfirst(cell));
}

/* What there is to do, or false. */
static bool
work(void)
{
	int64 pause = cg_loader_pause();

	if (cg_loader_take_warm())
	{
		keep_warm();
		return true;
	}
	if (pause > 0)
	{
		cg_worker_rest(pause / 1000 + 1);
		return true;
	}
	return cg_loader_refresh_one();
}

void
cg_worker_loader_main(Datum argument)
{
	Oid database;
	Oid role;
	int64 begun_at;
	int64 busy_at;

	cg_worker_begin();
	if (!cg_loader_attach(DatumGetInt32(argument), &database, &role))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, role, 0);
	cg_loader_connected();
	pin_settings();

	begun_at = busy_at = cg_clock_ms();
	for (;;)
	{
		cg_worker_begin_round();
		leave_if_unwanted();
		if (cg_loader_is_crowded() && cg_clock_ms() - begun_at > TURN_MS)
			proc_exit(0);
		if (work())
			busy_at = cg_clock_ms();
		else if (cg_clock_ms() - busy_at > IDLE_MS)
			proc_exit(0);
		else
		{
			pgstat_report_stat(false);
			cg_worker_rest(TURN_MS);
		}
	}
}
