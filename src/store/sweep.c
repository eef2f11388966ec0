/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Gives back the memory of what has expired, without anybody reading it.
 *
 * It also throws out what caches have beyond a quota that was lowered.
 *
 * The sweep visits page after page and looks at each entry without a lock, as readers
 * do.  Only where it finds garbage it takes the partition's lock, for one page of cells,
 * looks again, and frees it: so where nothing has expired nobody waits for the sweep.
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

/* Cells of a page, a bit each. */
typedef struct CellSet
{
	uint64 bits[(1 << CELL_BITS) / 64];
} CellSet;

static inline void
add_cell(CellSet *set, int cell)
{
	set->bits[cell / 64] |= UINT64CONST(1) << cell % 64;
}

static inline bool
has_cell(const CellSet *set, int cell)
{
	return (set->bits[cell / 64] >> cell % 64 & 1) != 0;
}

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
	return (pg_atomic_read_u32(version) & ~VERSION_READ) == before &&
		   item->id_high == id_high &&
		   pg_atomic_read_u32(&store_stamps[number]) == stamp &&
		   view.meta_size <= CG_STORE_META_MAX && is_garbage(partition, &view, is_dead);
}

/* Find the cells of the page whose entries look like garbage; how many are there? */
static int
find_garbage(const Partition *partition, uint32 number, uint32 stamp, StoreIsDead is_dead,
			 CellSet *found)
{
	uint32 cell_bytes = store->class_bytes[stamp & 0xff];
	int count = 0;

	memset(found, 0, sizeof(*found));
	for (int i = 0; i < PAGE_BYTES / cell_bytes; i++)
		if (looks_like_garbage(partition, number, stamp,
							   cell_address(number, i, cell_bytes), is_dead))
		{
			add_cell(found, i);
			count++;
		}
	return count;
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
sweep_page_locked(Partition *partition, uint32 number, uint32 stamp, StoreIsDead is_dead,
				  const CellSet *cells)
{
	uint32 cell_bytes = store->class_bytes[stamp & 0xff];
	int freed = 0;

	for (int i = 0; i < PAGE_BYTES / cell_bytes; i++)
	{
		const Item *item = cell_address(number, i, cell_bytes);

		/* It was cut anew; and the last entry of a page gives it back. */
		if (pg_atomic_read_u32(&store_stamps[number]) != stamp)
			break;
		if (has_cell(cells, i) &&
			is_entry(pg_atomic_read_u32((pg_atomic_uint32 *) &item->version)))
			freed += sweep_item_locked(partition, make_ref(number, i), is_dead);
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
	CellSet garbage;
	int freed = 0;

	pg_read_barrier();
	if (owner == NO_PARTITION || (stamp & 0xff) >= store->class_count)
		return 0;
	partition = &store_partitions[owner];
	if (find_garbage(partition, number, stamp, is_dead, &garbage) == 0)
		return 0;
	cg_partition_lock(partition);
	if (page->partition == owner)
		freed = sweep_page_locked(partition, number, stamp, is_dead, &garbage);
	LWLockRelease(partition->lock);
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
		uint32 place = pg_atomic_fetch_add_u32(&store->sweep_hand, 1);
		uint32 number = 1 + place % (store->page_count - 1);
		uint32 lap = place / (store->page_count - 1);

		freed += sweep_page(number, (number + lap) % ASK_EVERY == 0 ? is_dead : NULL);
	}
	cg_quota_sweep();
	return freed;
}
