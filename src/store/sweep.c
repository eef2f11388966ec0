/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Gives back the memory of what has expired, without anybody reading it.
 *
 * It also throws out what caches have beyond a quota that was lowered.
 *
 * The sweep visits page after page, one partition lock and one page of cells
 * at a time, so that no writer waits for more than that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/evict.h"

static bool
is_garbage(const ItemView *view, uint64 hash, StoreIsDead is_dead)
{
	StoreEntry entry;
	StoreKey key = {hash, view->key, view->key_size, view->cache};

	if (!cg_store_is_alive(view))
		return true;
	if (is_dead == NULL)
		return false;
	cg_layout_describe(view, &entry);
	return is_dead(&key, &entry);
}

/* Free the entry at ref if nobody will be served it again. */
static bool
sweep_item_locked(Partition *partition, ItemRef ref, StoreIsDead is_dead)
{
	IndexSlot slot;
	ItemView view;
	uint64 hash;

	cg_layout_view(ref, &view);
	hash = cg_layout_hash(partition, &view);
	if (!is_garbage(&view, hash, is_dead))
		return false;
	if (cg_store_has_expired(&view))
		partition->caches[view.cache].expirations++;
	if (cg_index_locate_locked(hash, ref, &slot))
		cg_item_remove_locked(partition, ref, &slot, cg_store_absence_of_dead(&view));
	return true;
}

/* Free the dead entries whose heads stand in the page; returns how many. */
static int
sweep_page_locked(Partition *partition, uint32 number, StoreIsDead is_dead)
{
	const Page *page = &store_pages[number];
	uint32 stamp = pg_atomic_read_u32(&store_stamps[number]);
	uint32 cell_bytes = store->class_bytes[page->size_class];
	int freed = 0;

	for (int i = 0; i < page->cells; i++)
	{
		const Item *item = cell_address(number, i, cell_bytes);

		if (is_entry(pg_atomic_read_u32((pg_atomic_uint32 *) &item->version)))
			freed += sweep_item_locked(partition, make_ref(number, i), is_dead);
		/* The last entry of a page gives it back. */
		if (pg_atomic_read_u32(&store_stamps[number]) != stamp)
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

	cg_store_tick(cg_clock_ticks());
	for (pages = Min(pages, store->page_count - 1); pages > 0; pages--)
	{
		uint32 number =
			1 + pg_atomic_fetch_add_u32(&store->sweep_hand, 1) % (store->page_count - 1);
		const Page *page = &store_pages[number];
		uint16 owner = page->partition;
		Partition *partition;

		if (owner == NO_PARTITION || page->zone == ZONE_PIECES)
			continue;
		partition = &store_partitions[owner];
		LWLockAcquire(partition->lock, LW_EXCLUSIVE);
		if (page->partition == owner && page->zone != ZONE_PIECES)
			freed += sweep_page_locked(partition, number, is_dead);
		LWLockRelease(partition->lock);
	}
	cg_quota_sweep();
	return freed;
}
