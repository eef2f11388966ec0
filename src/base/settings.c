/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Defines every setting of cachegrid.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <unistd.h>

#include "utils/guc.h"

#include "base/settings.h"

int cg_lease_timeout = 10000;
bool cg_lock_reads = false;
int cg_memory = 128;
int cg_slots = 0;
bool cg_wal_log_invalidations = false;
int cg_outbox_limit = 1024;
int cg_redis_connect_timeout = 2000;
int cg_redis_timeout = 5000;
int cg_refresh_time = 500;
int cg_refresh_workers = 2;
int cg_write_through_timeout = 10000;

/* More than the machine has would be given, and found missing when it is used. */
static bool
check_memory(int *megabytes, void **extra, GucSource source)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long page_bytes = sysconf(_SC_PAGESIZE);
	uint64 present = (uint64) pages * page_bytes / (1024 * 1024);

	if (pages <= 0 || page_bytes <= 0 || *megabytes < present)
		return true;
	GUC_check_errdetail("The machine has " UINT64_FORMAT " MB of memory.", present);
	GUC_check_errhint("Leave some to the rest of the server.");
	return false;
}

static void
define_loading(void)
{
	DefineCustomIntVariable(
		"cachegrid.lease_timeout",
		"Sets how long to wait for another session that computes a value.",
		"After it the value is computed here too; 0 does not wait.", &cg_lease_timeout,
		10000, 0, 3600000, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"cachegrid.refresh_time",
		"Sets how much of each second may be spent on loads in the background.",
		"By all processes that do it together, on average; what is too much waits.",
		&cg_refresh_time, 500, 1, 64000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"cachegrid.refresh_workers",
		"Sets how many loads in the background may run at the same time.",
		"Each in a process of its own, one of max_worker_processes. 0: nothing is "
		"refreshed in the background, nor kept warm.",
		&cg_refresh_workers, 2, 0, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

void
cg_settings_init(void)
{
	define_loading();
	DefineCustomBoolVariable(
		"cachegrid.lock_reads", "Has every lookup of the store take a lock.",
		"Slower, and of the same result: for comparing the two, and for ruling the "
		"one without locks out when hunting a bug.",
		&cg_lock_reads, false, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

	DefineCustomIntVariable("cachegrid.memory",
							"Sets the size of the shared-memory cache.",
							"Entries are evicted when it is full.", &cg_memory, 128, 8,
							65536, PGC_POSTMASTER, GUC_UNIT_MB, check_memory, NULL, NULL);

	DefineCustomIntVariable(
		"cachegrid.outbox_limit", "Sets how large the outbox of a database may grow.",
		"Beyond it mirrors whose Redis is away forget what waits, and "
		"are swept as a whole later.",
		&cg_outbox_limit, 1024, 1, INT_MAX / 2, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL,
		NULL);

	DefineCustomIntVariable("cachegrid.redis_connect_timeout",
							"Sets how long to wait for a connection to a Redis node.",
							NULL, &cg_redis_connect_timeout, 2000, 1, INT_MAX / 2,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("cachegrid.redis_timeout",
							"Sets how long a Redis node may owe a reply without a byte.",
							"Its connection is given up then, and made again.",
							&cg_redis_timeout, 5000, 1, INT_MAX / 2, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"cachegrid.slots", "Sets how many slots remember who lately invalidated what.",
		"Keys, tags and tables that share a slot cost each other hits. 0: by "
		"cachegrid.memory. Rounded up to a power of two, of 64 bytes each.",
		&cg_slots, 0, 0, 1 << 26, PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable(
		"cachegrid.wal_log_invalidations",
		"Writes what transactions invalidate to the WAL, for standbys to obey.",
		"Then values computed from tables are served there, too. The library is needed "
		"for every recovery of such WAL.",
		&cg_wal_log_invalidations, false, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"cachegrid.write_through_timeout",
		"Sets how long a transaction waits for Redis before it commits, and after.",
		"For tables mirrored in mode write-through. Before, it then fails or goes on, as "
		"its mirrors say; after, it gives a warning.",
		&cg_write_through_timeout, 10000, 1, INT_MAX / 2, PGC_USERSET, GUC_UNIT_MS, NULL,
		NULL, NULL);

	MarkGUCPrefixReserved("cachegrid");
}
