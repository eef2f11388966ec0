/*-------------------------------------------------------------------------
 *
 * stat.c
 *	  Where the memory is, by size class.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"
#include "store/store_internal.h"

/* Size classes, the pool of free pages, and what is no page. */
int
cg_store_class_count(void)
{
	return store->class_count + 2;
}

static void
pool_stat(StoreClassStat *stat)
{
	LWLockAcquire(store->pool_lock, LW_SHARED);
	stat->pages = store->pool_count;
	LWLockRelease(store->pool_lock);
	stat->free_bytes = stat->pages * PAGE_BYTES;
}

/* Everything that is no page: headers, buckets, descriptions of pages. */
static void
overhead_stat(StoreClassStat *stat)
{
	int64 arena = (int64) (store->page_count - 1) * PAGE_BYTES;

	stat->used_bytes = (int64) cg_memory * 1024 * 1024 - arena;
	stat->waste_bytes = stat->used_bytes;
}

static void
add_class(const SizeClass *class, StoreClassStat *stat)
{
	int64 used = (int64) class->used_cells * stat->cell_bytes;
	int64 pages = 0;

	for (int zone = 0; zone < ZONES; zone++)
		pages += class->rings[zone].page_count;
	stat->pages += pages;
	stat->used_bytes += used;
	stat->free_bytes += pages * PAGE_BYTES - used;
	stat->waste_bytes += used - class->used_bytes;
	stat->entries += class->entries;
}

/*
 * Numbers of the index-th class: the size classes, then the pool (cell_bytes
 * 0), then the overhead (cell_bytes -1).  All used and free bytes together
 * are cachegrid.memory.  Each partition is consistent in itself.
 */
void
cg_store_class_stat(int index, StoreClassStat *stat)
{
	memset(stat, 0, sizeof(*stat));
	if (index == store->class_count)
	{
		pool_stat(stat);
		return;
	}
	if (index > store->class_count)
	{
		stat->cell_bytes = -1;
		overhead_stat(stat);
		return;
	}

	stat->cell_bytes = store->class_bytes[index];
	for (uint32 i = 0; i < store->partition_count; i++)
	{
		Partition *partition = &store_partitions[i];

		LWLockAcquire(partition->lock, LW_SHARED);
		add_class(&partition->classes[index], stat);
		LWLockRelease(partition->lock);
	}
}
