/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far each process is with its preload.
 *
 * PostgreSQL's own progress reports know the commands of PostgreSQL only.  Each process has
 * a place, which it alone writes; its lock is for those who look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "load/load.h"
#include "load/progress.h"

/* In shared memory; guarded by its lock. */
typedef struct SharedProgress
{
	slock_t lock;
	Oid database;
	LoadProgress progress; /* pid 0: none is under way */
} SharedProgress;

/* Backend-local pointer to shared memory, [process]. */
static SharedProgress *places = NULL;

static int
process_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

Size
cg_load_progress_size(void)
{
	return mul_size(process_count(), sizeof(SharedProgress));
}

void
cg_load_progress_init(void)
{
	bool found;

	places =
		ShmemInitStruct("cachegrid preloads under way", cg_load_progress_size(), &found);
	if (found)
		return;
	memset(places, 0, cg_load_progress_size());
	for (int i = 0; i < process_count(); i++)
		SpinLockInit(&places[i].lock);
}

static void
write_place(const LoadProgress *progress)
{
	SharedProgress *mine = &places[cg_my_proc_number()];

	SpinLockAcquire(&mine->lock);
	mine->database = MyDatabaseId;
	mine->progress = *progress;
	SpinLockRelease(&mine->lock);
}

/* A session that ends in the middle leaves nothing to the next one in its place. */
static void
end_at_exit(int code, Datum argument)
{
	cg_load_progress_end();
}

void
cg_load_progress_begin(const char *cache, int64 total)
{
	static bool exit_registered = false;
	LoadProgress progress = {
		.pid = MyProcPid, .total = total, .started_at = GetCurrentTimestamp()};

	cg_cache_require_loaded();
	if (!exit_registered)
		before_shmem_exit(end_at_exit, (Datum) 0);
	exit_registered = true;
	namestrcpy(&progress.cache, cache);
	write_place(&progress);
}

void
cg_load_progress_advance(bool loaded)
{
	SharedProgress *mine = &places[cg_my_proc_number()];

	SpinLockAcquire(&mine->lock);
	mine->progress.done++;
	mine->progress.loaded += loaded;
	SpinLockRelease(&mine->lock);
}

void
cg_load_progress_end(void)
{
	LoadProgress none = {0};

	write_place(&none);
}

bool
cg_load_progress_read(int *place, LoadProgress *progress)
{
	while (*place < process_count())
	{
		SharedProgress *shared = &places[(*place)++];
		Oid database;

		SpinLockAcquire(&shared->lock);
		database = shared->database;
		*progress = shared->progress;
		SpinLockRelease(&shared->lock);
		if (progress->pid != 0 && database == MyDatabaseId)
			return true;
	}
	return false;
}
