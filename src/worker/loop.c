/*-------------------------------------------------------------------------
 *
 * loop.c
 *	  What launcher and workers have in common: signals, rounds and rests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "worker/worker.h"

static MemoryContext round_context = NULL;
static uint32 wait_event = 0;
static uint32 nap_event = 0;

/*
 * SIGTERM is answered at the next interrupt check, with status 1: who should
 * come back does.  The default handler would leave from anywhere, shared
 * memory half changed.
 */
void
cg_worker_begin(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	wait_event = WaitEventExtensionNew("CachegridWorker");
	nap_event = WaitEventExtensionNew("CachegridPace");
	round_context = AllocSetContextCreate(TopMemoryContext, "cachegrid round",
										  ALLOCSET_DEFAULT_SIZES);
}

/* To be called first in each round; its memory lasts until the next one. */
void
cg_worker_begin_round(void)
{
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	MemoryContextReset(round_context);
	MemoryContextSwitchTo(round_context);
}

/* Until somebody sets the latch, but not longer. */
void
cg_worker_rest(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 milliseconds, wait_event);
}

/* For that long, and nobody can wake the worker, nor has to try. */
void
cg_worker_nap(long microseconds)
{
	if (microseconds == 0)
		return;
	pgstat_report_wait_start(nap_event);
	pg_usleep(microseconds);
	pgstat_report_wait_end();
}
