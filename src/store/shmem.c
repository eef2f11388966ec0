/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Cuts the one fixed segment of cachegrid.memory into its parts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/settings.h"
#include "store/evict.h"

/*
 * The index has a slot for this many bytes of memory, and a tenth more: enough for
 * keys and values of 112 bytes together.  Smaller ones chain further buckets, larger
 * ones leave slots empty.
 */
#define BYTES_PER_SLOT		118
#define BYTES_PER_PARTITION (16 * 1024 * 1024)

/* Small cells grow by this; a header of twelve and multiples of eight fit them. */
#define CLASS_MIN_BYTES 36
#define CLASS_STEP		8
#define CLASS_STEPS_END 256

StoreShared *store = NULL;
Partition *store_partitions = NULL;
Bucket *store_buckets = NULL;
pg_atomic_uint32 *store_stamps = NULL;
Page *store_pages = NULL;
char *store_arena = NULL;
uint8 store_class_by_size[PAGE_BYTES / CELL_ALIGN + 1];

/* The time of an id, or of any reading of the clock. */
StoreTime
cg_store_time_of(uint64 ticks)
{
	return (StoreTime) (ticks - CG_TICKS_BEFORE) / CG_TICKS_PER_MICROSECOND;
}

/* Microseconds since some moment in the past; steps of the wall clock do not move it. */
StoreTime
cg_store_now(void)
{
	return cg_store_time_of(cg_clock_ticks());
}

/* Who has read the clock keeps the coarse time no more than a second behind. */
void
cg_store_tick(uint64 now)
{
	if (now > pg_atomic_read_u64(&store->coarse_time) + CG_TICKS_PER_SECOND)
		pg_atomic_write_u64(&store->coarse_time, now);
}

/* Whether the library was loaded at server start. */
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
	return segment_size() / BYTES_PER_SLOT / BUCKET_SLOTS / partition_count() + 1;
}

/* Bytes in front of the buckets. */
static Size
header_size(void)
{
	return CACHELINEALIGN(CACHELINEALIGN(sizeof(StoreShared)) +
						  partition_count() * sizeof(Partition));
}

/* Ask for the segment; for shmem_request_hook. */
void
cg_store_shmem_request(void)
{
	RequestAddinShmemSpace(segment_size());
	RequestNamedLWLockTranche("cachegrid_store", PARTITIONS_MAX + 2);
	cg_store_counters_request();
}

static void
add_class(uint32 bytes)
{
	if (store->class_count > 0 && store->class_bytes[store->class_count - 1] >= bytes)
		return;
	Assert(store->class_count < CLASS_MAX);
	store->class_bytes[store->class_count++] = bytes;
}

/* Sizes of cells: small steps, then as many to a page as go, one less each time. */
static void
init_classes(void)
{
	store->class_count = 0;
	for (uint32 bytes = CLASS_MIN_BYTES; bytes < CLASS_STEPS_END; bytes += CLASS_STEP)
		add_class(bytes);
	for (uint32 cells = PAGE_BYTES / CLASS_STEPS_END; cells > 0; cells--)
		add_class(TYPEALIGN_DOWN(CELL_ALIGN, PAGE_BYTES / cells));
}

/* Backend-local: the class by size. */
static void
init_class_table(void)
{
	int size_class = 0;

	for (int i = 0; i < lengthof(store_class_by_size); i++)
	{
		if (store->class_bytes[size_class] < i * CELL_ALIGN)
			size_class++;
		store_class_by_size[i] = size_class;
	}
}

static void
init_pool(void)
{
	store->pool = 0;
	store->pool_count = 0;
	for (uint32 page = store->page_count - 1; page > 0; page--)
	{
		pg_atomic_init_u32(&store_stamps[page], CLASS_NONE);
		store_pages[page].partition = NO_PARTITION;
		store_pages[page].next = store->pool;
		store->pool = page;
		store->pool_count++;
	}
	pg_atomic_init_u32(&store_stamps[0], CLASS_NONE);
	store_pages[0].partition = NO_PARTITION;
}

static void
init_partitions(LWLockPadded *locks)
{
	store->pool_lock = &locks[PARTITIONS_MAX].lock;
	store->caches_lock = &locks[PARTITIONS_MAX + 1].lock;
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		store_partitions[i].lock = &locks[i].lock;
		cg_evict_init_steering(&store_partitions[i].steering);
	}
	pg_atomic_init_u32(&store->steal_hand, 0);
	pg_atomic_init_u32(&store->sweep_hand, 0);
	pg_atomic_init_u32(&store->cache_count, 0);
	pg_atomic_init_u32(&store->cache_closings, 0);
	pg_atomic_init_u64(&store->coarse_time, cg_clock_ticks());
	for (int i = 0; i < lengthof(store->types); i++)
		pg_atomic_init_u32(&store->types[i], InvalidOid);
	for (int i = 0; i < MAX_CACHES; i++)
	{
		pg_atomic_init_u64(&store->caches[i].cleared_at, 0);
		pg_atomic_init_u64(&store->caches[i].max_memory, 0);
		pg_atomic_init_u32(&store->caches[i].pinned, 0);
		pg_atomic_init_u64(&store->quotas[i].memory, 0);
		pg_atomic_init_u32(&store->quotas[i].hand, 0);
	}
}

/* Attach, or make and initialise.  The caller holds AddinShmemInitLock. */
void
cg_store_shmem_init(void)
{
	Size buckets = (Size) buckets_per_partition() * partition_count();
	Size fixed = header_size() + buckets * sizeof(Bucket);
	Size pages = (segment_size() - fixed - 2 * LINE_BYTES) /
				 (PAGE_BYTES + sizeof(Page) + sizeof(pg_atomic_uint32));
	bool found;

	cg_store_counters_init();
	store = ShmemInitStruct("cachegrid store", segment_size(), &found);
	store_partitions =
		(Partition *) ((char *) store + CACHELINEALIGN(sizeof(StoreShared)));
	store_buckets = (Bucket *) ((char *) store + header_size());
	store_stamps = (pg_atomic_uint32 *) (store_buckets + buckets);
	store_pages = (Page *) (store_stamps + pages);
	store_arena = (char *) TYPEALIGN(LINE_BYTES, store_pages + pages);
	if (!found)
	{
		memset(store, 0, store_arena - (char *) store);
		store->partition_count = partition_count();
		store->buckets_per_partition = buckets_per_partition();
		store->page_count = pages;
		init_classes();
		init_partitions(GetNamedLWLockTranche("cachegrid_store"));
		init_pool();
	}
	init_class_table();
}
