/*-------------------------------------------------------------------------
 *
 * evict.c
 *	  Makes room: whom to throw out when no page is free.
 *
 * Clock, per size class of a partition: a hand walks through the cells;
 * an entry that was read since the hand's last visit is spared once.  What
 * has expired or been cleared goes first of all, being met by the same hand.
 *
 * Between classes: the time that a hand's lap takes says how long an entry
 * that nobody reads stays in that class.  A class that turns over much
 * faster than another takes a page from the one that turns slowest, so that
 * memory follows a shift of value sizes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

/* Cells that one call may pass before it takes the next best. */
#define HAND_STEPS 512

/* Every so many evictions a class looks whether another one idles. */
#define REBALANCE_EVERY 32

/* An idle class turns this many times slower. */
#define IDLE_FACTOR 2

/* Pages that one call may look at to find one that may go. */
#define PAGE_STEPS 64

static void
count_removal(Partition *partition, const Item *item, StoreTime now)
{
	PartitionCache *cache = &partition->caches[item->cache];

	if (item->expires_at <= now)
		cache->expirations++;
	else if (item_is_alive(item, now))
		cache->evictions++;
}

static void
evict_item(Partition *partition, Item *item)
{
	count_removal(partition, item, cg_store_now());
	cg_index_unlink_locked(partition, item);
	cg_item_free_locked(partition, item);
}

/* The head of the entry that a used cell belongs to; NULL if it must stay. */
static Item *
owner_of(void *cell)
{
	uint64 version = pg_atomic_read_u64((pg_atomic_uint64 *) cell);

	if (version == VERSION_FREE || version == VERSION_WRITING)
		return NULL;
	if (version == VERSION_CHUNK)
	{
		ItemRef head = ((Chunk *) cell)->head;

		return head ? ref_address(head) : NULL;
	}
	return cell;
}

/* The cell under the hand, which moves on; NULL if the class has no pages. */
static void *
advance_hand(SizeClass *class, uint32 cell_bytes)
{
	void *cell;

	if (class->hand_page == 0)
	{
		StoreTime now = cg_store_now();

		if (class->pages == 0)
			return NULL;
		class->hand_page = class->pages;
		class->hand_cell = 0;
		class->lap_took = now - class->lap_began;
		class->lap_began = now;
	}
	cell = store_arena + (Size) class->hand_page * PAGE_BYTES +
		   class->hand_cell * cell_bytes;
	if (++class->hand_cell >= store_pages[class->hand_page].cells)
	{
		class->hand_page = store_pages[class->hand_page].next;
		class->hand_cell = 0;
	}
	return cell;
}

/*
 * Throw out one entry that has a cell in this class.  False if there is none
 * that may go.
 */
bool
cg_evict_from_class_locked(Partition *partition, int size_class)
{
	SizeClass *class = &partition->classes[size_class];
	StoreTime now = cg_store_now();
	Item *spared = NULL;

	for (int step = 0; step < HAND_STEPS; step++)
	{
		void *cell = advance_hand(class, store->class_bytes[size_class]);
		Item *item = cell ? owner_of(cell) : NULL;

		if (cell == NULL)
			break;
		if (item == NULL)
			continue;
		if (!item->referenced || !item_is_alive(item, now))
		{
			class->evictions++;
			evict_item(partition, item);
			return true;
		}
		item->referenced = false;
		spared = item;
	}
	if (spared)
	{
		class->evictions++;
		evict_item(partition, spared);
	}
	return spared != NULL;
}

/* May every entry with a cell in the page go?  Not what is being written. */
static bool
page_may_go(const Page *page, uint32 number, uint32 cell_bytes)
{
	for (int i = 0; i < page->cells; i++)
	{
		void *cell = store_arena + (Size) number * PAGE_BYTES + i * cell_bytes;

		if (pg_atomic_read_u64((pg_atomic_uint64 *) cell) != VERSION_FREE &&
			owner_of(cell) == NULL)
			return false;
	}
	return true;
}

/*
 * The first page from the hand on that may go, 0 if none is near: then the
 * hand stands behind those that were looked at.
 */
static uint32
find_page_to_go(SizeClass *class, uint32 cell_bytes)
{
	uint32 number = class->hand_page ? class->hand_page : class->pages;
	uint32 steps = Min(class->page_count, PAGE_STEPS);

	for (uint32 step = 0; step < steps; step++)
	{
		if (page_may_go(&store_pages[number], number, cell_bytes))
			return number;
		number = store_pages[number].next ? store_pages[number].next : class->pages;
	}
	class->hand_page = number;
	class->hand_cell = 0;
	return 0;
}

/*
 * Empty a page of this class and give it to the pool: the one that the hand
 * reaches next.  False if none may go.
 */
bool
cg_evict_page_locked(Partition *partition, int from_class)
{
	uint32 cell_bytes = store->class_bytes[from_class];
	uint32 number = find_page_to_go(&partition->classes[from_class], cell_bytes);
	uint32 generation;
	Page *page;

	if (number == 0)
		return false;

	page = &store_pages[number];
	generation = pg_atomic_read_u32(&page->generation);
	for (int i = 0; i < page->cells; i++)
	{
		Item *item = owner_of(store_arena + (Size) number * PAGE_BYTES + i * cell_bytes);

		if (item)
			evict_item(partition, item);
		/* The last one gives the page back, and another partition may have it. */
		if (pg_atomic_read_u32(&page->generation) != generation)
			return true;
	}
	cg_arena_release_page_locked(partition, number);
	return true;
}

static StoreTime
turnover(const SizeClass *class, StoreTime now)
{
	return Max(class->lap_took, now - class->lap_began);
}

/*
 * Take a page from the class that turns slowest, if it turns much slower
 * than this one or this one has no page at all.
 */
bool
cg_evict_idle_page_locked(Partition *partition, int for_class)
{
	SizeClass *self = &partition->classes[for_class];
	StoreTime now = cg_store_now();
	StoreTime slowest = 0;
	int victim = -1;

	if (self->page_count > 0 && self->evictions % REBALANCE_EVERY != 0)
		return false;
	for (int i = 0; i < store->class_count; i++)
	{
		SizeClass *class = &partition->classes[i];

		if (i == for_class || class->page_count == 0 || turnover(class, now) <= slowest)
			continue;
		slowest = turnover(class, now);
		victim = i;
	}
	if (victim < 0 ||
		(self->page_count > 0 && slowest < IDLE_FACTOR * turnover(self, now)))
		return false;
	return cg_evict_page_locked(partition, victim);
}

/* Empty a page of the class that has most of them, or else of any. */
static bool
evict_any_page_locked(Partition *partition)
{
	int largest = 0;

	for (int i = 1; i < store->class_count; i++)
		if (partition->classes[i].page_count > partition->classes[largest].page_count)
			largest = i;
	if (cg_evict_page_locked(partition, largest))
		return true;
	for (int i = 0; i < store->class_count; i++)
		if (i != largest && cg_evict_page_locked(partition, i))
			return true;
	return false;
}

/*
 * Empty a page of some partition.  No lock is held on entry; whoever needs
 * the page looks into the pool afterwards.
 */
void
cg_evict_foreign_page(void)
{
	for (uint32 tries = 0; tries < store->partition_count; tries++)
	{
		uint32 next = pg_atomic_fetch_add_u32(&store->steal_hand, 1);
		Partition *partition = &store->partitions[next & (store->partition_count - 1)];
		bool done;

		LWLockAcquire(partition->lock, LW_EXCLUSIVE);
		done = evict_any_page_locked(partition);
		LWLockRelease(partition->lock);
		if (done)
			return;
	}
}
