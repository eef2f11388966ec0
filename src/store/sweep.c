/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Gives back the memory of what has expired, without anybody reading it.
 *
 * The sweep visits page after page, one partition lock and one page of cells
 * at a time, so that no writer waits for more than that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

/* With the partition's lock: does the page belong to it, and not to another by now? */
static bool
belongs_to(const Page *page, const Partition *partition)
{
	if (page->size_class < 0)
		return false;
	pg_read_barrier();
	return partition == &store->partitions[page->partition];
}

static bool
is_garbage(const Item *item, StoreTime now, StoreIsDead is_dead)
{
	StoreEntry view;

	if (!item_is_alive(item, now))
		return true;
	if (is_dead == NULL)
		return false;
	cg_item_view(item, &view);
	return is_dead(&view);
}

/* Free the dead entries whose heads stand in the page; returns how many. */
static int
sweep_page_locked(Partition *partition, uint32 number, StoreIsDead is_dead)
{
	Page *page = &store_pages[number];
	uint32 generation = pg_atomic_read_u32(&page->generation);
	uint32 cell_bytes = store->class_bytes[page->size_class];
	StoreTime now = cg_store_now();
	int freed = 0;

	for (int i = 0; i < page->cells; i++)
	{
		Item *item = (Item *) (store_arena + (Size) number * PAGE_BYTES + i * cell_bytes);
		uint64 version = pg_atomic_read_u64(&item->version);

		if ((version & 1) != 0 || version == VERSION_FREE ||
			!is_garbage(item, now, is_dead))
			continue;
		if (item->expires_at <= now)
			partition->caches[item->cache].expirations++;
		cg_index_unlink_locked(partition, item);
		cg_item_free_locked(partition, item);
		freed++;
		/* The last entry of a page gives it back. */
		if (pg_atomic_read_u32(&page->generation) != generation)
			break;
	}
	return freed;
}

/*
 * Visit the next so many pages and free the entries that have expired, that
 * were cleared, or that is_dead (may be NULL) gives up.  Returns how many.
 */
int64
cg_store_sweep(uint32 pages, StoreIsDead is_dead)
{
	int64 freed = 0;

	for (pages = Min(pages, store->page_count - 1); pages > 0; pages--)
	{
		uint32 number =
			1 + pg_atomic_fetch_add_u32(&store->sweep_hand, 1) % (store->page_count - 1);
		Page *page = &store_pages[number];
		Partition *partition;

		if (page->size_class < 0)
			continue;
		partition = &store->partitions[page->partition & (store->partition_count - 1)];
		LWLockAcquire(partition->lock, LW_EXCLUSIVE);
		if (belongs_to(page, partition))
			freed += sweep_page_locked(partition, number, is_dead);
		LWLockRelease(partition->lock);
	}
	return freed;
}

/* How many pages there are to visit. */
uint32
cg_store_page_count(void)
{
	return store->page_count - 1;
}
