/*-------------------------------------------------------------------------
 *
 * caches.c
 *	  Numbered caches: names, epochs, counters.
 *
 * A cache has a number once any session has opened it, and keeps it until
 * the cache or its database is dropped or the server ends.  Clearing it moves
 * its epoch: every entry of an older epoch is dead, and swept by and by.
 *
 * A number that is taken back may be given to another cache.  Sessions compare
 * the count of closings before they use one that they remember.
 *
 * Counters are kept per process, so that counting a hit writes no cache line
 * that another process writes; they are summed when somebody looks.  A
 * process that ends leaves its counts to the next one in its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "store/store_internal.h"

/* One cache line of one process; nobody else writes it. */
typedef struct ProcessCounters
{
	int64 counts[STORE_COUNTERS];
} ProcessCounters;

StaticAssertDecl(sizeof(ProcessCounters) == 64, "counters fill one cache line");

static ProcessCounters *counters = NULL; /* [process][cache] */

static int
process_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static Size
counters_size(void)
{
	return mul_size(mul_size(process_count(), MAX_CACHES), sizeof(ProcessCounters)) +
		   PG_CACHE_LINE_SIZE;
}

void
cg_store_counters_request(void)
{
	RequestAddinShmemSpace(counters_size());
}

/* The segment comes zeroed; the caller holds AddinShmemInitLock. */
void
cg_store_counters_init(void)
{
	bool found;
	void *memory = ShmemInitStruct("cachegrid counters", counters_size(), &found);

	counters = (ProcessCounters *) CACHELINEALIGN(memory);
	if (!found)
		memset(memory, 0, counters_size());
}

void
cg_store_count(uint16 cache, StoreCounter counter, int64 by)
{
	counters[(Size) cg_my_proc_number() * MAX_CACHES + cache].counts[counter] += by;
}

/* Sums over all partitions and processes, without a lock: each is read at once. */
static void
sum_stat(uint16 cache, StoreCacheStat *stat)
{
	uint32 epoch = pg_atomic_read_u32(&store->caches[cache].epoch);

	memset(stat, 0, sizeof(*stat));
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		PartitionCache *part = &store->partitions[i].caches[cache];

		if (part->epoch == epoch)
		{
			stat->entries += part->entries;
			stat->bytes += part->bytes;
		}
		stat->evictions += part->evictions;
		stat->expirations += part->expirations;
	}
	for (int i = 0; i < process_count(); i++)
		for (int counter = 0; counter < STORE_COUNTERS; counter++)
			stat->counters[counter] +=
				counters[(Size) i * MAX_CACHES + cache].counts[counter];
}

/*
 * The number of the database's cache of this name, given now if it has none.
 * False if all numbers are in use.
 */
bool
cg_store_cache_open(Oid database, const char *name, uint16 *number)
{
	int free_number = -1;
	int count;

	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	count = pg_atomic_read_u32(&store->cache_count);
	for (int i = 0; i < count; i++)
	{
		StoreCache *cache = &store->caches[i];

		if (cache->database == database && strcmp(NameStr(cache->name), name) == 0)
		{
			LWLockRelease(store->pool_lock);
			*number = i;
			return true;
		}
		if (cache->database == InvalidOid)
			free_number = i;
	}
	if (free_number < 0 && count < MAX_CACHES)
	{
		free_number = count;
		pg_atomic_write_u32(&store->cache_count, count + 1);
	}
	if (free_number >= 0)
	{
		namestrcpy(&store->caches[free_number].name, name);
		store->caches[free_number].database = database;
		sum_stat(free_number, &store->caches[free_number].before);
		*number = free_number;
	}
	LWLockRelease(store->pool_lock);
	return free_number >= 0;
}

/* Every entry of the cache is dead from now on.  Cannot fail. */
void
cg_store_cache_clear(uint16 cache)
{
	pg_atomic_fetch_add_u32(&store->caches[cache].epoch, 1);
}

static void
close_locked(uint16 cache)
{
	cg_store_cache_clear(cache);
	store->caches[cache].database = InvalidOid;
	pg_atomic_fetch_add_u32(&store->cache_closings, 1);
}

/* The cache is no more: its entries are dead, its number free.  Cannot fail. */
void
cg_store_cache_close(Oid database, const char *name)
{
	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	for (int i = 0; i < cg_store_cache_count(); i++)
		if (store->caches[i].database == database &&
			strcmp(NameStr(store->caches[i].name), name) == 0)
			close_locked(i);
	LWLockRelease(store->pool_lock);
}

/* A database is gone: its entries are dead, its numbers free. */
void
cg_store_database_dropped(Oid database)
{
	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	for (int i = 0; i < cg_store_cache_count(); i++)
		if (store->caches[i].database == database)
			close_locked(i);
	LWLockRelease(store->pool_lock);
}

/* Numbers in use are below it. */
int
cg_store_cache_count(void)
{
	return pg_atomic_read_u32(&store->cache_count);
}

/* Moves when a number is taken back: those that one remembers may be another's. */
uint32
cg_store_cache_closings(void)
{
	return pg_atomic_read_u32(&store->cache_closings);
}

/*
 * Whose number it is; false if nobody's.  The name is the shared one: it may
 * become that of the number's next cache.
 */
bool
cg_store_cache_name(uint16 number, Oid *database, const char **name)
{
	*database = store->caches[number].database;
	*name = NameStr(store->caches[number].name);
	return *database != InvalidOid;
}

/* What the cache holds now, and has counted since it was given its number. */
void
cg_store_cache_stat(uint16 cache, StoreCacheStat *stat)
{
	const StoreCacheStat *before = &store->caches[cache].before;

	sum_stat(cache, stat);
	stat->evictions -= before->evictions;
	stat->expirations -= before->expirations;
	for (int counter = 0; counter < STORE_COUNTERS; counter++)
		stat->counters[counter] -= before->counters[counter];
}
