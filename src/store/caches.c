/*-------------------------------------------------------------------------
 *
 * caches.c
 *	  Numbered caches: names, when they were cleared, counters.
 *
 * A cache has a number once any session has opened it, and keeps it until
 * the cache or its database is dropped or the server ends.  Clearing it notes
 * a time that comes at once: every entry put until then is dead, and swept by and by.
 *
 * A number that is taken back may be given to another cache, once the last of its
 * entries is gone.  Sessions compare the count of closings before they use one
 * that they remember; who is late all the same puts nothing where the partition
 * knows the number as another database's.
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

#include "store/evict.h"

/* A clear is dated so far ahead, and noted so long before at least. */
#define CLEAR_AHEAD	 (10 * CG_TICKS_PER_MICROSECOND)
#define CLEAR_MARGIN (2 * CG_TICKS_PER_MICROSECOND)

/* Cache lines of one process, which nobody else writes; what a plain hit counts is in one. */
typedef struct ProcessCounters
{
	int64 counts[24];
} ProcessCounters;

StaticAssertDecl(sizeof(ProcessCounters) == 3 * LINE_BYTES, "counters fill cache lines");
StaticAssertDecl(STORE_COUNTERS <= lengthof(((ProcessCounters *) 0)->counts),
				 "there is room for all counters");

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
	uint64 cleared_at = pg_atomic_read_u64(&store->caches[cache].cleared_at);

	memset(stat, 0, sizeof(*stat));
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		PartitionCache *part = &store_partitions[i].caches[cache];

		if (part->cleared_at == cleared_at)
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
 * Make a free number one of this database's; false if entries of those who had it
 * still stand in the index.
 */
static bool
take_number(uint16 number, Oid database)
{
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		Partition *partition = &store_partitions[i];
		bool empty;

		cg_partition_lock(partition);
		empty = partition->caches[number].items == 0;
		if (empty)
		{
			partition->caches[number].database = database;
			cg_evict_init_steering(&partition->caches[number].steering);
		}
		LWLockRelease(partition->lock);
		if (!empty)
			return false;
	}
	return true;
}

/* With the caches' lock: the number of the database's cache, or -1. */
static int
find_cache(Oid database, const char *name)
{
	for (int i = 0; i < cg_store_cache_count(); i++)
		if (store->caches[i].database == database &&
			strcmp(NameStr(store->caches[i].name), name) == 0)
			return i;
	return -1;
}

/* A number that nobody has, or -1; those under way to somebody are marked. */
static int
find_free_number(Oid database)
{
	for (int i = 0; i < MAX_CACHES; i++)
	{
		if (store->caches[i].database != InvalidOid)
			continue;
		if (take_number(i, database))
			return i;
	}
	return -1;
}

/* Nobody who begins to put an entry from here on does not know what was set before. */
static void
wait_for_writers(void)
{
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		LWLockAcquire(store_partitions[i].lock, LW_EXCLUSIVE);
		LWLockRelease(store_partitions[i].lock);
	}
}

/*
 * With the caches' lock: limit the cache.  Entries are made in another way with a quota
 * than without, and in another place if they are pinned: those that are there end.
 */
static void
limit_locked(uint16 number, const StoreLimits *limits)
{
	StoreCache *cache = &store->caches[number];
	uint64 before = pg_atomic_read_u64(&cache->max_memory);
	bool was_pinned = pg_atomic_read_u32(&cache->pinned) != 0;

	pg_atomic_write_u64(&cache->max_memory, limits->max_memory);
	pg_atomic_write_u32(&cache->pinned, limits->pinned);
	if ((before != 0) == (limits->max_memory != 0) && was_pinned == limits->pinned)
		return;
	wait_for_writers();
	cg_store_cache_clear(number);
}

/* Limit the cache of this name, if it has a number.  Cannot fail. */
void
cg_store_cache_limit(Oid database, const char *name, const StoreLimits *limits)
{
	int found;

	LWLockAcquire(store->caches_lock, LW_EXCLUSIVE);
	found = find_cache(database, name);
	if (found >= 0)
		limit_locked(found, limits);
	LWLockRelease(store->caches_lock);
}

/*
 * The number of the database's cache of this name, given now, with these limits, if it
 * has none; if it has one, and publish, it has these limits from now on.  False if all
 * numbers are in use, or still hold entries of caches that are gone.
 */
bool
cg_store_cache_open(Oid database, const char *name, const StoreLimits *limits,
					bool publish, uint16 *number)
{
	int found;

	LWLockAcquire(store->caches_lock, LW_EXCLUSIVE);
	found = find_cache(database, name);
	if (found < 0 && (found = find_free_number(database)) >= 0)
	{
		namestrcpy(&store->caches[found].name, name);
		store->caches[found].database = database;
		if (found >= cg_store_cache_count())
			pg_atomic_write_u32(&store->cache_count, found + 1);
		sum_stat(found, &store->caches[found].before);
		publish = true;
	}
	if (found >= 0 && publish)
		limit_locked(found, limits);
	LWLockRelease(store->caches_lock);
	*number = found >= 0 ? found : 0;
	return found >= 0;
}

/*
 * Every entry of the cache is dead from now on.  Cannot fail.
 *
 * The moment is noted some time before it comes: so whoever puts an entry with a later
 * id knows that the cache was cleared when he counts it.  Was it noted too late, since
 * this process had to wait for the processor, another moment is chosen.
 */
void
cg_store_cache_clear(uint16 cache)
{
	pg_atomic_uint64 *cleared_at = &store->caches[cache].cleared_at;
	uint64 moment;

	do
	{
		uint64 before = pg_atomic_read_u64(cleared_at);

		moment = cg_clock_ticks() + CLEAR_AHEAD;
		/* Another clear may be a moment later, and first to write. */
		while (before < moment &&
			   !pg_atomic_compare_exchange_u64(cleared_at, &before, moment))
			;
	} while (cg_clock_ticks() + CLEAR_MARGIN > moment);
	/* What is put from here on has a later id; ids are even. */
	while (cg_clock_ticks() <= moment + 1)
		;
}

/* Whether the entry's time to live has passed. */
bool
cg_store_has_expired(const ItemView *view)
{
	return view->expires_at != CG_STORE_NEVER && view->expires_at <= cg_store_now();
}

/* Neither expired nor cleared, nor older than ids can tell. */
bool
cg_store_is_alive(const ItemView *view)
{
	return !cg_store_has_expired(view) &&
		   view->id > pg_atomic_read_u64(&store->caches[view->cache].cleared_at) &&
		   view->id + ENTRY_AGE_MAX > pg_atomic_read_u64(&store->coarse_time);
}

/* Why an entry that is not alive counts as gone. */
StoreAbsence
cg_store_absence_of_dead(const ItemView *view)
{
	return cg_store_has_expired(view) ? ABSENCE_EXPIRED : ABSENCE_DROPPED;
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
	LWLockAcquire(store->caches_lock, LW_EXCLUSIVE);
	for (int i = 0; i < cg_store_cache_count(); i++)
		if (store->caches[i].database == database &&
			strcmp(NameStr(store->caches[i].name), name) == 0)
			close_locked(i);
	LWLockRelease(store->caches_lock);
}

/* A database is gone: its entries are dead, its numbers free. */
void
cg_store_database_dropped(Oid database)
{
	LWLockAcquire(store->caches_lock, LW_EXCLUSIVE);
	for (int i = 0; i < cg_store_cache_count(); i++)
		if (store->caches[i].database == database)
			close_locked(i);
	LWLockRelease(store->caches_lock);
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
