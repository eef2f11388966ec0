/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Cuts the one fixed segment of cachegrid.memory into its parts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/settings.h"
#include "store/store_internal.h"

/* One bucket for this many bytes of memory: short chains at small entries. */
#define BYTES_PER_BUCKET	256
#define BYTES_PER_PARTITION (4 * 1024 * 1024)
#define CLASS_GROWTH		1.125
#define CELLS_PER_PAGE_MIN	4

StoreShared *store = NULL;
pg_atomic_uint32 *store_buckets = NULL;
Page *store_pages = NULL;
char *store_arena = NULL;

/* Microseconds since some moment in the past; steps of the wall clock do not move it. */
StoreTime
cg_store_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (StoreTime) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Is there a store?  Not unless the library was loaded at server start. */
bool
cg_store_attached(void)
{
	return store != NULL;
}

static Size
segment_size(void)
{
	return (Size) cg_memory * 1024 * 1024;
}

static uint32
partition_count(void)
{
	Size wanted = segment_size() / BYTES_PER_PARTITION;

	return pg_prevpower2_32(Max(1, Min(wanted, PARTITIONS_MAX)));
}

static uint32
buckets_per_partition(void)
{
	return pg_nextpower2_64(segment_size() / BYTES_PER_BUCKET / partition_count());
}

static Size
header_size(void)
{
	return CACHELINEALIGN(offsetof(StoreShared, partitions) +
						  partition_count() * sizeof(Partition));
}

/* Ask for the segment; for shmem_request_hook. */
void
cg_store_shmem_request(void)
{
	RequestAddinShmemSpace(segment_size());
	RequestNamedLWLockTranche("cachegrid_store", PARTITIONS_MAX + 1);
	cg_store_counters_request();
}

/* Sizes of cells, each fitting its page without a remainder above alignment. */
static void
init_classes(void)
{
	double wanted = CLASS_MIN_BYTES;
	uint32 bytes = 0;

	store->class_count = 0;
	while (bytes < PAGE_BYTES / CELLS_PER_PAGE_MIN)
	{
		uint32 cells = PAGE_BYTES / TYPEALIGN(ITEM_ALIGN, (uint32) wanted);

		wanted *= CLASS_GROWTH;
		if (TYPEALIGN_DOWN(ITEM_ALIGN, PAGE_BYTES / cells) == bytes)
			continue;
		bytes = TYPEALIGN_DOWN(ITEM_ALIGN, PAGE_BYTES / cells);
		Assert(store->class_count < CLASS_MAX);
		store->class_bytes[store->class_count++] = bytes;
	}
}

/* The smallest class whose cells hold this many bytes, or the largest of all. */
int
cg_store_class_for(uint32 bytes)
{
	int low = 0;
	int high = store->class_count - 1;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (store->class_bytes[middle] < bytes)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
init_pool(void)
{
	store->pool = 0;
	store->pool_count = 0;
	for (uint32 page = store->page_count - 1; page > 0; page--)
	{
		pg_atomic_init_u32(&store_pages[page].generation, 0);
		store_pages[page].size_class = -1;
		store_pages[page].next = store->pool;
		store->pool = page;
		store->pool_count++;
	}
}

static void
init_partitions(LWLockPadded *locks)
{
	store->pool_lock = &locks[PARTITIONS_MAX].lock;
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		Partition *partition = &store->partitions[i];

		partition->lock = &locks[i].lock;
		pg_atomic_init_u32(&partition->chain_seq, 0);
		partition->last_id = 0;
	}
	pg_atomic_init_u32(&store->steal_hand, 0);
	pg_atomic_init_u32(&store->sweep_hand, 0);
	pg_atomic_init_u32(&store->cache_count, 0);
	pg_atomic_init_u32(&store->cache_closings, 0);
	for (int i = 0; i < MAX_CACHES; i++)
		pg_atomic_init_u32(&store->caches[i].epoch, 0);
}

/* Attach, or make and initialise.  The caller holds AddinShmemInitLock. */
void
cg_store_shmem_init(void)
{
	Size segment = segment_size();
	Size buckets = (Size) buckets_per_partition() * partition_count();
	Size fixed = header_size() + buckets * sizeof(pg_atomic_uint32);
	Size pages = (segment - fixed - PAGE_BYTES) / (PAGE_BYTES + sizeof(Page));
	bool found;

	cg_store_counters_init();
	store = ShmemInitStruct("cachegrid store", segment, &found);
	store_buckets = (pg_atomic_uint32 *) ((char *) store + header_size());
	store_pages = (Page *) (store_buckets + buckets);
	store_arena = (char *) TYPEALIGN(ITEM_ALIGN, store_pages + pages);
	if (found)
		return;

	memset(store, 0, fixed + pages * sizeof(Page));
	store->partition_count = partition_count();
	store->buckets_per_partition = buckets_per_partition();
	store->page_count = pages;
	init_classes();
	init_partitions(GetNamedLWLockTranche("cachegrid_store"));
	init_pool();
}
