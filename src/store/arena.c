/*-------------------------------------------------------------------------
 *
 * arena.c
 *	  Pages and cells: who owns which memory.
 *
 * A class hands out cells of its pages that have room; when none has, it
 * adopts a page of the pool.  A page that runs empty goes back to the pool,
 * but for the last one of a class.
 * All functions are called with the partition's lock held exclusively and do
 * a bounded amount of work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

static void
room_list_add(SizeClass *class, uint32 number)
{
	Page *page = &store_pages[number];

	page->has_room = true;
	page->previous_room = 0;
	page->next_room = class->room;
	if (class->room)
		store_pages[class->room].previous_room = number;
	class->room = number;
}

static void
room_list_remove(SizeClass *class, uint32 number)
{
	Page *page = &store_pages[number];

	page->has_room = false;
	if (page->previous_room)
		store_pages[page->previous_room].next_room = page->next_room;
	else
		class->room = page->next_room;
	if (page->next_room)
		store_pages[page->next_room].previous_room = page->previous_room;
}

static void
cut_into_cells(uint32 number, uint32 cell_bytes)
{
	Page *page = &store_pages[number];
	ItemRef first = number * (PAGE_BYTES / ITEM_ALIGN);

	page->cells = PAGE_BYTES / cell_bytes;
	page->free_cells = page->cells;
	page->free_list = 0;
	for (int i = page->cells - 1; i >= 0; i--)
	{
		ItemRef ref = first + i * (cell_bytes / ITEM_ALIGN);
		FreeCell *cell = ref_address(ref);

		pg_atomic_write_u64(&cell->version, VERSION_FREE);
		cell->next = page->free_list;
		page->free_list = ref;
	}
}

/* Give the class a page of the pool; false if there is none. */
bool
cg_arena_adopt_page_locked(Partition *partition, int size_class)
{
	SizeClass *class = &partition->classes[size_class];
	uint32 number;
	Page *page;

	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	number = store->pool;
	if (number)
	{
		store->pool = store_pages[number].next;
		store->pool_count--;
	}
	LWLockRelease(store->pool_lock);
	if (number == 0)
		return false;

	page = &store_pages[number];
	page->partition = partition - store->partitions;
	pg_write_barrier(); /* who sees the class, sees whose it is */
	page->size_class = size_class;
	pg_atomic_write_u32(&page->generation, pg_atomic_read_u32(&page->generation) + 1);
	pg_write_barrier();
	cut_into_cells(number, store->class_bytes[size_class]);

	page->previous = 0;
	page->next = class->pages;
	if (class->pages)
		store_pages[class->pages].previous = number;
	else
		class->lap_began = cg_store_now();
	class->pages = number;
	class->page_count++;
	room_list_add(class, number);
	return true;
}

/* Give a page, all of whose cells are free, back to the pool. */
void
cg_arena_release_page_locked(Partition *partition, uint32 number)
{
	Page *page = &store_pages[number];
	SizeClass *class = &partition->classes[page->size_class];

	Assert(page->free_cells == page->cells);
	if (page->has_room)
		room_list_remove(class, number);
	if (page->previous)
		store_pages[page->previous].next = page->next;
	else
		class->pages = page->next;
	if (page->next)
		store_pages[page->next].previous = page->previous;
	if (class->hand_page == number)
	{
		class->hand_page = page->next;
		class->hand_cell = 0;
	}
	class->page_count--;
	page->size_class = -1;
	pg_atomic_write_u32(&page->generation, pg_atomic_read_u32(&page->generation) + 1);

	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
	page->next = store->pool;
	store->pool = number;
	store->pool_count++;
	LWLockRelease(store->pool_lock);
}

/*
 * A free cell of the class, its version VERSION_WRITING; NULL if neither the
 * class nor the pool has one.  wanted = bytes that will be used of it.
 */
void *
cg_arena_allocate_locked(Partition *partition, int size_class, uint32 wanted)
{
	SizeClass *class = &partition->classes[size_class];
	Page *page;
	FreeCell *cell;

	if (class->room == 0 && !cg_arena_adopt_page_locked(partition, size_class))
		return NULL;

	page = &store_pages[class->room];
	cell = ref_address(page->free_list);
	page->free_list = cell->next;
	if (--page->free_cells == 0)
		room_list_remove(class, class->room);
	class->used_cells++;
	class->wanted_bytes += wanted;
	pg_atomic_write_u64(&cell->version, VERSION_WRITING);
	pg_write_barrier();
	return cell;
}

/* Take back a cell; wanted as it was when allocated. */
void
cg_arena_free_locked(Partition *partition, void *address, uint32 wanted)
{
	FreeCell *cell = address;
	ItemRef ref = address_ref(address);
	uint32 number = ref_page(ref);
	Page *page = &store_pages[number];
	SizeClass *class = &partition->classes[page->size_class];

	pg_atomic_write_u64(&cell->version, VERSION_FREE);
	pg_write_barrier();
	cell->next = page->free_list;
	page->free_list = ref;
	page->free_cells++;
	class->used_cells--;
	class->wanted_bytes -= wanted;
	if (!page->has_room)
		room_list_add(class, number);
	if (page->free_cells == page->cells && class->page_count > 1)
		cg_arena_release_page_locked(partition, number);
}
