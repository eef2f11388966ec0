/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Gives back the memory of what has expired, without anybody reading it.
 *
 * It also throws out what caches have beyond a quota that was lowered.
 *
 * The sweep visits page after page and looks at each entry without a lock, as readers
 * do.  Only where it finds garbage it takes the partition's lock, for a few cells at a
 * time, looks again, and frees it: so where nothing has expired nobody waits for the sweep.
 *
 * To ask whether what an entry depends on was stamped since takes many times as long as
 * to see whether it has expired.  That is asked on one page of some, each time on others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/evict.h"

/* On one page of so many the sweep asks who is dead. */
#define ASK_EVERY 8

/*
 * So many entries are freed under one hold of the lock: sessions that want it wait for
 * less time than they spin, and do not go to sleep.
 */
#define SWEEP_CELLS 8

/* Cells of a page whose entries look like garbage: as many as are freed in one go. */
typedef struct Garbage
{
	int count;
	uint8 cells[SWEEP_CELLS];
} Garbage;

/* Is nobody served it again?  Asks is_dead if there is one. */
static bool
is_garbage(const Partition *partition, const ItemView *view, StoreIsDead is_dead)
{
	StoreEntry entry;
	StoreKey key = {0, view->key, view->key_size, view->cache};

	if (!cg_store_is_alive(view))
		return true;
	if (is_dead == NULL)
		return false;
	key.hash = cg_layout_hash(partition, view);
	cg_layout_describe(view, &entry);
	return is_dead(&key, &entry);
}

/*
 * The same without the lock: of a copy, if it is whole.  What changes under our eyes is
 * none.
 */
static bool
looks_like_garbage(const Partition *partition, uint32 number, uint32 stamp,
				   const Item *item, StoreIsDead is_dead)
{
	pg_atomic_uint32 *version = (pg_atomic_uint32 *) &item->version;
	uint32 before = pg_atomic_read_u32(version) & ~VERSION_READ;
	char copy[PAGE_BYTES];
	uint16 id_high;
	ItemView view;

	pg_read_barrier();
	id_high = item->id_high;
	if (!is_entry(before) ||
		!cg_layout_decode(item, store->class_bytes[stamp & 0xff], &view))
		return false;
	memcpy(copy, item, view_before(item, &view));
	view.meta += copy - (const char *) item;
	view.key += copy - (const char *) item;
	pg_read_barrier();
	if ((pg_atomic_read_u32(version) & ~VERSION_READ) != before ||
		item->id_high != id_high || pg_atomic_read_u32(&store_stamps[number]) != stamp ||
		view.meta_size > CG_STORE_META_MAX || !is_garbage(partition, &view, is_dead))
		return false;
	prefetch_buckets(cg_layout_hash(partition, &view));
	return true;
}

/*
 * Find the next entries of the page that look like garbage, from the cell at *next on,
 * and move that.  What the index has of them is on its way to the processor then, or
 * waiting for it would be most of the time for which the lock is held.
 */
static void
find_garbage(const Partition *partition, uint32 number, uint32 stamp, StoreIsDead is_dead,
			 int *next, Garbage *found)
{
	uint32 cell_bytes = store->class_bytes[stamp & 0xff];

	found->count = 0;
	for (; *next < PAGE_BYTES / cell_bytes && found->count < SWEEP_CELLS; (*next)++)
		if (looks_like_garbage(partition, number, stamp,
							   cell_address(number, *next, cell_bytes), is_dead))
			found->cells[found->count++] = *next;
}

/* Free the entry at ref if nobody will be served it again. */
static bool
sweep_item_locked(Partition *partition, ItemRef ref, StoreIsDead is_dead)
{
	IndexSlot slot;
	ItemView view;

	cg_layout_view(ref, &view);
	if (!is_garbage(partition, &view, is_dead))
		return false;
	if (cg_store_has_expired(&view))
		partition->caches[view.cache].expirations++;
	if (cg_index_locate_locked(cg_layout_hash(partition, &view), ref, &slot))
		cg_item_remove_locked(partition, ref, &slot, cg_store_absence_of_dead(&view));
	return true;
}

/* Free the dead ones among the entries in these cells of the page; returns how many. */
static int
free_garbage_locked(Partition *partition, uint32 number, uint32 stamp,
					StoreIsDead is_dead, const Garbage *garbage)
{
	int freed = 0;

	for (int i = 0; i < garbage->count; i++)
	{
		ItemRef ref = make_ref(number, garbage->cells[i]);

		/* It was cut anew; and the last entry of a page gives it back. */
		if (pg_atomic_read_u32(&store_stamps[number]) != stamp)
			break;
		if (is_entry(pg_atomic_read_u32(ref_address(ref))))
			freed += sweep_item_locked(partition, ref, is_dead);
	}
	return freed;
}

static int
sweep_page(uint32 number, StoreIsDead is_dead)
{
	const Page *page = &store_pages[number];
	uint32 stamp = pg_atomic_read_u32(&store_stamps[number]);
	uint16 owner = page->partition;
	Partition *partition;
	Garbage garbage;
	int next = 0;
	int freed = 0;

	pg_read_barrier();
	if (owner == NO_PARTITION || (stamp & 0xff) >= store->class_count)
		return 0;
	partition = &store_partitions[owner];
	for (;;)
	{
		find_garbage(partition, number, stamp, is_dead, &next, &garbage);
		if (garbage.count == 0)
			return freed;
		cg_partition_lock(partition);
		if (page->partition == owner)
			freed += free_garbage_locked(partition, number, stamp, is_dead, &garbage);
		LWLockRelease(partition->lock);
	}
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
		uint32 place = pg_atomic_fetch_add_u32(&store->sweep_hand, 1);
		uint32 number = 1 + place % (store->page_count - 1);
		uint32 lap = place / (store->page_count - 1);

		freed += sweep_page(number, (number + lap) % ASK_EVERY == 0 ? is_dead : NULL);
	}
	cg_quota_sweep();
	return freed;
}
