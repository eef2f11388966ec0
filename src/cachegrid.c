/*-------------------------------------------------------------------------
 *
 * cachegrid.c
 *	  The top of the tower: load the library, add up the floors' shared
 *	  memory, start the workers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/settings.h"
#include "cache/cache.h"
#include "capture/capture.h"
#include "coherence/coherence.h"
#include "load/load.h"
#include "mirror/mirror.h"
#include "outbox/outbox.h"
#include "store/store.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();

	cg_store_shmem_request();
	cg_coherence_shmem_request();
	cg_cache_shmem_request();
	cg_outbox_shmem_request();
	cg_mirror_shmem_request();
	cg_load_shmem_request();
}

static void
startup_shmem(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cg_store_shmem_init();
	cg_coherence_shmem_init();
	cg_cache_shmem_init();
	cg_outbox_shmem_init();
	cg_mirror_shmem_init();
	cg_load_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Without preloading there is no shared memory: fall out quietly, so that
 * the extension's functions can say so themselves.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	cg_settings_init();
	cg_outbox_init_intents();
	cg_coherence_init();
	cg_cache_init();
	cg_outbox_init();
	cg_capture_init();
	cg_capture_init_events();
	cg_worker_init();

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}
