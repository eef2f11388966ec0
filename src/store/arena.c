/*-------------------------------------------------------------------------
 *
 * arena.c
 *	  Pages and cells: who owns which memory.
 *
 * A ring hands out cells of its pages that have room; when none has, it adopts
 * a page of the pool.  A page that runs empty goes back to the pool, but for
 * the last one of a ring.
 * All functions are called with the partition's lock held exclusively and do
 * a bounded amount of work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

static inline Ring *
ring_of(Partition *partition, const Page *page)
{
	return &partition->classes[page->size_class].rings[page->zone];
}

static void
room_list_add(Ring *ring, uint32 number)
{
	Page *page = &store_pages[number];

	page->has_room = true;
	page->previous_room = 0;
	page->next_room = ring->room;
	if (ring->room)
		store_pages[ring->room].previous_room = number;
	ring->room = number;
}

static void
room_list_remove(Ring *ring, uint32 number)
{
	Page *page = &store_pages[number];

	page->has_room = false;
	if (page->previous_room)
		store_pages[page->previous_room].next_room = page->next_room;
	else
		ring->room = page->next_room;
	if (page->next_room)
		store_pages[page->next_room].previous_room = page->previous_room;
}

/* Tell readers that what they saw of the page is no more. */
static void
restamp(uint32 number, uint8 size_class)
{
	uint32 stamp = pg_atomic_read_u32(&store_stamps[number]);

	pg_atomic_write_u32(&store_stamps[number], ((stamp >> 8) + 1) << 8 | size_class);
	pg_write_barrier();
}

/* Free cells are handed out in the order of their places, as the hand goes. */
static void
cut_into_cells(uint32 number, uint32 cell_bytes)
{
	Page *page = &store_pages[number];

	page->cells = PAGE_BYTES / cell_bytes;
	page->free_cells = page->cells;
	page->free_list = 1;
	for (int i = 0; i < page->cells; i++)
	{
		FreeCell *cell = cell_address(number, i, cell_bytes);

		pg_atomic_write_u32(&cell->version, VERSION_FREE);
		cell->next = i + 1 < page->cells ? i + 2 : 0;
	}
}

static uint32
take_from_pool(void)
{
	uint32 number;

	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	number = store->pool;
	if (number)
	{
		store->pool = store_pages[number].next;
		store->pool_count--;
	}
	LWLockRelease(store->pool_lock);
	return number;
}

/* Put a page behind the hand. */
static void
ring_add(Ring *ring, uint32 number)
{
	Page *page = &store_pages[number];

	if (ring->hand_page == 0)
	{
		page->next = page->previous = number;
		ring->hand_page = number;
		ring->hand_cell = 0;
		ring->lap_pages = 0;
		ring->lap_began = cg_clock_ticks();
	}
	else
	{
		Page *hand = &store_pages[ring->hand_page];

		page->next = ring->hand_page;
		page->previous = hand->previous;
		store_pages[hand->previous].next = number;
		hand->previous = number;
	}
	ring->page_count++;
	if (page->free_cells > 0)
		room_list_add(ring, number);
}

/* Take it out; a hand that stands there goes on. */
static void
ring_remove(Ring *ring, uint32 number)
{
	Page *page = &store_pages[number];

	if (page->has_room)
		room_list_remove(ring, number);
	store_pages[page->previous].next = page->next;
	store_pages[page->next].previous = page->previous;
	if (ring->hand_page == number)
	{
		ring->hand_page = page->next == number ? 0 : page->next;
		ring->hand_cell = 0;
	}
	ring->page_count--;
}

/* Give the ring a page of the pool; false if there is none. */
static bool
adopt_page(Partition *partition, int size_class, Zone zone)
{
	Ring *ring = &partition->classes[size_class].rings[zone];
	uint32 number = take_from_pool();
	Page *page = &store_pages[number];

	if (number == 0)
		return false;

	page->size_class = size_class;
	page->zone = zone;
	page->partition = partition - store_partitions;
	/* While no cell is valid yet no stamp may say so: there are old bytes in them. */
	cut_into_cells(number, store->class_bytes[size_class]);
	pg_write_barrier();
	restamp(number, size_class);

	ring_add(ring, number);
	return true;
}

/* Give a page, all of whose cells are free, back to the pool. */
void
cg_arena_release_page_locked(Partition *partition, uint32 number)
{
	Page *page = &store_pages[number];
	Ring *ring = ring_of(partition, page);

	Assert(page->free_cells == page->cells);
	ring_remove(ring, number);
	page->partition = NO_PARTITION;
	restamp(number, CLASS_NONE);

	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	page->next = store->pool;
	store->pool = number;
	store->pool_count++;
	LWLockRelease(store->pool_lock);
}

/* Move a page from the small ring of its class to the main one, or back, as it is. */
void
cg_arena_rezone_page_locked(Partition *partition, uint32 number, Zone zone)
{
	Page *page = &store_pages[number];

	ring_remove(ring_of(partition, page), number);
	page->zone = zone;
	ring_add(ring_of(partition, page), number);
}

/*
 * A free cell of the ring, its version VERSION_WRITING; 0 if neither the ring nor
 * the pool has one.  wanted = bytes that will be used of it.
 */
ItemRef
cg_arena_allocate_locked(Partition *partition, int size_class, Zone zone, uint32 wanted)
{
	Ring *ring = &partition->classes[size_class].rings[zone];
	uint32 number;
	uint32 place;
	Page *page;
	FreeCell *cell;

	if (ring->room == 0 && !adopt_page(partition, size_class, zone))
		return 0;

	number = ring->room;
	page = &store_pages[number];
	place = page->free_list - 1;
	cell = cell_address(number, place, store->class_bytes[size_class]);
	page->free_list = cell->next;
	if (--page->free_cells == 0)
		room_list_remove(ring, number);
	partition->classes[size_class].used_cells++;
	partition->classes[size_class].used_bytes += wanted;
	pg_atomic_write_u32(&cell->version, VERSION_WRITING);
	pg_write_barrier();
	return make_ref(number, place);
}

/* Take back a cell; wanted as it was when allocated. */
void
cg_arena_free_locked(Partition *partition, ItemRef ref, uint32 wanted)
{
	uint32 number = ref_page(ref);
	Page *page = &store_pages[number];
	Ring *ring = ring_of(partition, page);
	FreeCell *cell = ref_address(ref);

	pg_atomic_write_u32(&cell->version, VERSION_FREE);
	pg_write_barrier();
	cell->next = page->free_list;
	page->free_list = ref_cell(ref) + 1;
	page->free_cells++;
	partition->classes[page->size_class].used_cells--;
	partition->classes[page->size_class].used_bytes -= wanted;
	if (!page->has_room)
		room_list_add(ring, number);
	if (page->free_cells == page->cells && ring->page_count > 1)
		cg_arena_release_page_locked(partition, number);
}
