/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Starts a worker in each database that has mirrors, and loaders, and sweeps the
 *	  store.
 *
 * Which databases have mirrors is known only inside them: when the launcher
 * begins, it starts a worker in one database after the other, which leaves
 * at once if there is nothing to do, but for caches that are to be kept warm.  Later a database is registered with
 * the outbox by its first mirror; if it has no worker then, it gets one.
 *
 * The launcher sees shared catalogs only.  Workers are not restarted by the
 * postmaster but by the launcher, which knows who is wanted; after a crash
 * the launcher itself is restarted, and begins from the start.
 *
 * It is also the one who begins and ends to log stamps for standbys.
 *
 * The sweep gives back the memory of entries that have expired or that nobody
 * will be served again, a part of the store each round.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "coherence/coherence.h"
#include "load/load.h"
#include "mirror/mirror.h"
#include "outbox/outbox.h"
#include "store/store.h"
#include "worker/worker.h"

#define ROUND_MS				 1000
#define LAUNCHER_RESTART_SECONDS 1
#define WORKER_RETRY_MS			 3000
#define SWEEP_PAGES				 4000 /* a round: some 30 ms of work, more if all of it is garbage */
#define SWEEP_BURST				 16 /* pages: less than a third of a millisecond of garbage */
#define SWEEP_REST_MS			 1

/* The databases that are still to be looked into, in TopMemoryContext. */
static List *unknown = NIL;
static BackgroundWorkerHandle *scout = NULL; /* who looks into one, or NULL */

/* Called once, when the library is preloaded. */
void
cg_worker_init(void)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = LAUNCHER_RESTART_SECONDS,
	};

	strlcpy(worker.bgw_name, "cachegrid launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cachegrid launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "cachegrid", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "cg_worker_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
	cg_worker_install_hooks();
}

/* False if the server has no worker process left.  handle: palloc'd, or NULL. */
static bool
start_worker(Oid database, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = ObjectIdGetDatum(database),
		.bgw_notify_pid = MyProcPid,
	};
	bool started;

	snprintf(worker.bgw_name, BGW_MAXLEN, "cachegrid worker for database %u", database);
	strlcpy(worker.bgw_type, "cachegrid worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "cachegrid", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "cg_worker_database_main", BGW_MAXLEN);
	started = RegisterDynamicBackgroundWorker(&worker, handle);

	if (cg_outbox_tell_start(started) && !started)
		ereport(
			LOG, errmsg("could not start a cachegrid worker for database %u", database),
			errdetail("The server has no worker process left.  What mirrors of the "
					  "database are to write to Redis stays in the outbox, which grows."),
			errhint("Increase \"max_worker_processes\"."));
	return started;
}

/* All databases that one can connect to. */
static void
list_databases(void)
{
	Relation catalog;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);

		if (database->datallowconn && !database->datistemplate)
			unknown = lappend_oid(unknown, database->oid);
		MemoryContextSwitchTo(previous);
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static bool
database_exists(Oid database)
{
	bool exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	CommitTransactionCommand();
	return exists;
}

/* Has the scout seen enough: is it gone, or does it stay as the worker? */
static bool
scout_is_busy(void)
{
	pid_t pid;

	if (!scout)
		return false;
	if (GetBackgroundWorkerPid(scout, &pid) != BGWH_STOPPED &&
		!cg_outbox_is_consumer(pid))
		return true;
	pfree(scout);
	scout = NULL;
	return false;
}

/* Look into the unknown databases, one at a time. */
static void
explore(void)
{
	while (unknown != NIL && !scout_is_busy())
	{
		Oid database = linitial_oid(unknown);
		MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);
		bool started = !database_exists(database) || start_worker(database, &scout);

		MemoryContextSwitchTo(previous);
		if (!started)
			return;
		unknown = list_delete_first(unknown);
	}
}

/* Give a worker to each registered database that has none. */
static void
adopt_orphans(void)
{
	Oid databases[CG_OUTBOX_MAX_DATABASES];
	int count = cg_outbox_orphans(databases);

	for (int i = 0; i < count; i++)
	{
		if (!database_exists(databases[i]))
		{
			cg_mirror_forget_database(databases[i]);
			cg_outbox_forget_database(databases[i]);
		}
		else if (start_worker(databases[i], NULL))
			cg_outbox_mark_started(databases[i], WORKER_RETRY_MS);
	}
}

/*
 * Sweep a part of the store; where there is garbage, in bursts much shorter than a time
 * slice of the system's scheduler.  One who goes on until his slice ends loses the
 * processor in the middle of something, and half the time with a lock in his hand.
 */
static void
sweep(void)
{
	for (int pages = 0; pages < SWEEP_PAGES; pages += SWEEP_BURST)
		if (cg_store_sweep(SWEEP_BURST, cg_cache_entry_is_dead) > 0)
			cg_worker_rest(SWEEP_REST_MS);
}

/* A standby has nothing else to do, until it is promoted. */
static void
sweep_in_recovery(void)
{
	while (RecoveryInProgress())
	{
		cg_worker_begin_round();
		sweep();
		cg_worker_rest(ROUND_MS);
	}
}

void
cg_worker_launcher_main(Datum argument)
{
	cg_worker_begin();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	cg_outbox_set_launcher();
	cg_loader_set_launcher();
	sweep_in_recovery();
	list_databases();

	for (;;)
	{
		cg_worker_begin_round();
		cg_coherence_log_round();
		explore();
		adopt_orphans();
		cg_worker_start_loaders();
		sweep();
		cg_worker_rest(scout ? 50 : ROUND_MS);
	}
}
