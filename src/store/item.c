/*-------------------------------------------------------------------------
 *
 * item.c
 *	  Items come and go: cells for them, ids, accounts.
 *
 * Functions whose names do not end in _locked hold the partition's lock on entry and
 * on return, but may release it in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/evict.h"

/* A long value lets others have the partition's lock after so many cells. */
#define CELLS_PER_ROUND 32

/* So often room is made for one cell before the entry is given up. */
#define ALLOCATION_TRIES 16

/*
 * Nothing can go here: have a page from somewhere, or, for a pinned newcomer where all
 * others are pinned, too, a page of those, or a cell.
 */
static void
reclaim_elsewhere(Partition *partition, int size_class, Zone zone)
{
	bool done;

	LWLockRelease(partition->lock);
	done = cg_reclaim_any_page(REACH_IDLE) || cg_reclaim_any_page(REACH_USED);
	cg_partition_lock(partition);
	if (done)
		return;
	if (zone == ZONE_PINNED && (cg_reclaim_pinned_page_locked(partition, size_class) ||
								cg_evict_pinned_locked(partition, size_class)))
		return;
	LWLockRelease(partition->lock);
	(void) cg_reclaim_any_page(REACH_PINNED);
	cg_partition_lock(partition);
}

/*
 * A cell for this many bytes, thrown free if need be.  The partition's lock is
 * held on entry and on return, but may be released in between.  *disturbed is set
 * if it was, or if something was thrown out.  0 if no room could be made.
 */
static ItemRef
allocate(Partition *partition, int size_class, Zone zone, uint32 wanted, bool *disturbed)
{
	for (int tries = 0; tries < ALLOCATION_TRIES; tries++)
	{
		ItemRef ref;

		if (partition->classes[size_class].rings[zone].room == 0 && store->pool == 0 &&
			cg_reclaim_idle_page_locked(partition, size_class, zone))
			*disturbed = true;
		ref = cg_arena_allocate_locked(partition, size_class, zone, wanted);
		if (ref != 0)
			return ref;
		*disturbed = true;
		if (cg_evict_for_locked(partition, size_class, zone))
			ref = cg_arena_allocate_locked(partition, size_class, zone, wanted);
		if (ref != 0)
			return ref;

		/* Where all are hotter than a newcomer, he begins on probation after all. */
		if (zone == ZONE_MAIN)
		{
			zone = ZONE_SMALL;
			continue;
		}
		reclaim_elsewhere(partition, size_class, zone);
	}
	return 0;
}

/* Would an entry of this size fit if there were no other? */
static bool
fits_in_store(Size bytes)
{
	return bytes / (PAGE_BYTES - PIECE_HEADER) + 2 * ZONES < store->page_count;
}

/* Give back the pieces that hold so many bytes. */
static void
free_pieces_locked(Partition *partition, ItemRef ref, Size left)
{
	while (ref != 0)
	{
		Piece *piece = ref_address(ref);
		Size room = page_cell_bytes(ref_page(ref)) - PIECE_HEADER;
		ItemRef next = piece->next;

		cg_arena_free_locked(partition, ref, PIECE_HEADER + Min(left, room));
		left -= Min(left, room);
		ref = next;
	}
}

/*
 * Allocate pieces for so many bytes and fill them; the first one in *rest.  False
 * if there is no room: then none is kept.
 */
static bool
make_pieces(Partition *partition, const char *from, Size bytes, ItemRef *rest,
			bool *disturbed)
{
	ItemRef *link = rest;
	Size left = bytes;

	*rest = 0;
	for (int round = 1; left > 0; round++)
	{
		int size_class = cg_layout_piece_class(left);
		Size size = Min(left, store->class_bytes[size_class] - PIECE_HEADER);
		ItemRef ref =
			allocate(partition, size_class, ZONE_PIECES, PIECE_HEADER + size, disturbed);
		Piece *piece;

		if (ref == 0)
		{
			free_pieces_locked(partition, *rest, bytes - left);
			return false;
		}
		piece = ref_address(ref);
		piece->next = 0;
		piece->head = 0;
		memcpy(piece->data, from, size);
		pg_atomic_write_u32(&piece->version, VERSION_PIECE);
		*link = ref;
		link = &piece->next;
		from += size;
		left -= size;
		if (round % CELLS_PER_ROUND == 0)
		{
			*disturbed = true;
			LWLockRelease(partition->lock);
			cg_partition_lock(partition);
		}
	}
	return true;
}

/* The pieces' head is known: they may be evicted with it. */
static void
name_head(ItemRef rest, ItemRef head)
{
	while (rest != 0)
	{
		Piece *piece = ref_address(rest);

		piece->head = head;
		rest = piece->next;
	}
}

/* Cells for an item of this measure: its own one, and pieces that are filled. */
static ItemRef
make_cells(Partition *partition, const StoreEntry *entry, const ItemMeasure *size,
		   Size in_cell, Zone zone, ItemRef *rest, bool *disturbed)
{
	Size wanted = size->before + in_cell;
	ItemRef ref = allocate(partition, size->size_class, zone, wanted, disturbed);

	*rest = 0;
	if (ref != 0 && in_cell < entry->value_size &&
		!make_pieces(partition, entry->value + in_cell, entry->value_size - in_cell, rest,
					 disturbed))
	{
		cg_arena_free_locked(partition, ref, wanted);
		return 0;
	}
	return ref;
}

/*
 * An item with the entry's contents, which nobody finds yet; 0 if no room could be
 * made.  The partition's lock is held on entry and on return; *disturbed is set if it
 * was released in between, or if something was thrown out: then what was known of
 * the partition is to be looked up anew.
 */
ItemRef
cg_item_make(Partition *partition, const StoreKey *key, const StoreEntry *entry,
			 Zone zone, bool *disturbed)
{
	ItemMeasure size;
	Size in_cell;
	Size cells = 0;
	ItemRef rest;
	ItemRef ref;

	cg_layout_measure(key, entry, &size);
	/* Else everything would be thrown out, and in vain. */
	if (!fits_in_store(size.bytes))
		return 0;
	in_cell = Min(size.bytes, store->class_bytes[size.size_class]) - size.before;
	if (size.flags & ITEM_LINKED)
	{
		cells = cg_layout_cells_bytes(size.size_class, entry->value_size - in_cell);
		if (!cg_quota_reserve(partition, key->cache, cells, disturbed))
			return 0;
	}
	ref = make_cells(partition, entry, &size, in_cell, zone, &rest, disturbed);
	if (ref == 0)
	{
		if (cells > 0)
			cg_quota_release(key->cache, cells);
		return 0;
	}
	if (cells > 0)
		memset(((Item *) ref_address(ref))->data, 0, sizeof(ItemLinks));
	cg_layout_write(ref_address(ref), key, entry, &size, rest, in_cell);
	name_head(rest, ref);
	partition->classes[size.size_class].entries++;
	partition->classes[size.size_class].in_pieces += rest != 0;
	cg_evict_welcome_locked(partition, ref);
	return ref;
}

/* A cell for a further bucket of the index; else as above. */
ItemRef
cg_item_make_bucket(Partition *partition, bool *disturbed)
{
	return allocate(partition, class_for(sizeof(Bucket)), ZONE_PIECES, sizeof(Bucket),
					disturbed);
}

/* Give back a cell that became no bucket. */
void
cg_item_free_bucket_locked(Partition *partition, ItemRef ref)
{
	cg_arena_free_locked(partition, ref, sizeof(Bucket));
}

/* Bytes of the item's own cell that it uses. */
static Size
bytes_in_cell(ItemRef ref, const ItemView *view)
{
	return Min(view_before(ref_address(ref), view) + view->value_size,
			   page_cell_bytes(ref_page(ref)));
}

/* Count the item's entry in or out of its cache, if it was put since the last clear. */
static void
count_entry(Partition *partition, const ItemView *view, int by)
{
	PartitionCache *cache = &partition->caches[view->cache];
	uint64 cleared_at = pg_atomic_read_u64(&store->caches[view->cache].cleared_at);

	if (cache->cleared_at != cleared_at)
	{
		cache->cleared_at = cleared_at;
		cache->entries = 0;
		cache->bytes = 0;
	}
	cache->items += by;
	partition->entries += by;
	if (view->id > cleared_at)
	{
		cache->entries += by;
		cache->bytes += by * (int64) view_bytes(view);
	}
}

/* The next id of the partition: now, but later than the last one, and even. */
static uint64
next_id(Partition *partition)
{
	uint64 now;

	do
		now = cg_clock_ticks() & ~(uint64) VERSION_READ;
	while (now <= partition->last_id || !is_entry((uint32) now));
	partition->last_id = now;
	cg_store_tick(now);
	return now;
}

/* Give the written item its id, also in *entry: it can be read from here on. */
void
cg_item_publish_locked(Partition *partition, ItemRef ref, StoreEntry *entry)
{
	Item *item = ref_address(ref);
	ItemView view;

	entry->id = next_id(partition);
	item->id_high = (uint16) (entry->id >> 32);
	pg_write_barrier();
	pg_atomic_write_u32(&item->version, (uint32) entry->id);
	cg_layout_view(ref, &view);
	count_entry(partition, &view, 1);
	if (view.flags & ITEM_LINKED)
		cg_quota_link_locked(partition, ref);
}

/*
 * Write the entry over the item of the same key, if it fits its very cell and
 * neither of them has pieces; false: it does not, and nothing has changed.
 */
bool
cg_item_rewrite_locked(Partition *partition, ItemRef ref, const StoreKey *key,
					   const StoreEntry *entry)
{
	Item *item = ref_address(ref);
	const Page *page = &store_pages[ref_page(ref)];
	uint8 hints = item->hints | (was_read(item) ? HINT_READ : 0);
	ItemMeasure size;
	ItemView view;

	cg_layout_measure(key, entry, &size);
	cg_layout_view(ref, &view);
	if (view.rest != 0 || !cg_item_suits_cache(ref) ||
		((size.flags ^ item->flags) & ITEM_LINKED) != 0 ||
		size.size_class != page->size_class ||
		size.bytes > store->class_bytes[page->size_class])
		return false;

	count_entry(partition, &view, -1);
	partition->classes[page->size_class].used_bytes +=
		(int64) size.bytes - (int64) bytes_in_cell(ref, &view);
	pg_atomic_write_u32(&item->version, VERSION_WRITING);
	pg_write_barrier();
	cg_layout_write(item, key, entry, &size, 0, entry->value_size);
	item->hints = hints;
	return true;
}

/* Bytes of all the item's cells. */
Size
cg_item_cells_bytes(ItemRef ref)
{
	ItemView view;
	Size used;

	cg_layout_view(ref, &view);
	used = view_before(ref_address(ref), &view) + view.value_size;
	return cg_layout_cells_bytes(store_pages[ref_page(ref)].size_class,
								 used - bytes_in_cell(ref, &view));
}

/* Is it as an item of its cache is to be, or has the cache been altered meanwhile? */
bool
cg_item_suits_cache(ItemRef ref)
{
	const Item *item = ref_address(ref);
	const StoreCache *cache = &store->caches[item->cache];
	bool has_quota = pg_atomic_read_u64((pg_atomic_uint64 *) &cache->max_memory) != 0;
	bool is_pinned = pg_atomic_read_u32((pg_atomic_uint32 *) &cache->pinned) != 0;

	return has_quota == ((item->flags & ITEM_LINKED) != 0) &&
		   is_pinned == (store_pages[ref_page(ref)].zone == ZONE_PINNED);
}

/* Give back an item that nobody finds, and all its pieces. */
void
cg_item_free_locked(Partition *partition, ItemRef ref)
{
	const Page *page = &store_pages[ref_page(ref)];
	ItemView view;
	Size in_cell;

	cg_layout_view(ref, &view);
	in_cell = bytes_in_cell(ref, &view);
	if (view.flags & ITEM_LINKED)
		cg_quota_release(view.cache, cg_item_cells_bytes(ref));
	partition->classes[page->size_class].entries--;
	partition->classes[page->size_class].in_pieces -= view.rest != 0;
	free_pieces_locked(partition, view.rest,
					   view_before(ref_address(ref), &view) + view.value_size - in_cell);
	cg_arena_free_locked(partition, ref, in_cell);
}

/*
 * Move a published item into a cell of another zone; false if there is none free.
 * Readers find the one or the other: the reference changes by one store.
 */
bool
cg_item_move_locked(Partition *partition, ItemRef from, Zone zone)
{
	const Item *item = ref_address(from);
	int size_class = store_pages[ref_page(from)].size_class;
	IndexSlot slot;
	ItemView view;
	Size bytes;
	ItemRef to;

	cg_layout_view(from, &view);
	bytes = bytes_in_cell(from, &view);
	if (!cg_index_locate_locked(cg_layout_hash(partition, &view), from, &slot))
		return false;
	to = cg_arena_allocate_locked(partition, size_class, zone, bytes);
	if (to == 0)
		return false;
	memcpy((char *) ref_address(to) + sizeof(item->version),
		   (const char *) item + sizeof(item->version), bytes - sizeof(item->version));
	name_head(view.rest, to);
	if (view.flags & ITEM_LINKED)
		cg_quota_moved_locked(partition, from, to);
	pg_write_barrier();
	pg_atomic_write_u32(&((Item *) ref_address(to))->version, (uint32) view.id);
	pg_write_barrier();
	pg_atomic_write_u32(&slot.bucket->refs[slot.slot], to);
	pg_write_barrier();
	cg_arena_free_locked(partition, from, bytes);
	return true;
}

/* Give back an item that was published and that the index does not name any more. */
void
cg_item_retire_locked(Partition *partition, ItemRef ref)
{
	Item *item = ref_address(ref);
	ItemView view;

	cg_layout_view(ref, &view);
	count_entry(partition, &view, -1);
	if (view.flags & ITEM_LINKED)
		cg_quota_unlink_locked(partition, ref);
	pg_atomic_write_u32(&item->version, VERSION_WRITING);
	pg_write_barrier();
	cg_item_free_locked(partition, ref);
}

/* Take the item at this place of the index out, for this reason, and give it back. */
void
cg_item_remove_locked(Partition *partition, ItemRef ref, IndexSlot *slot,
					  StoreAbsence absence)
{
	ItemView view;

	cg_layout_view(ref, &view);
	if (absence == ABSENCE_UNKNOWN)
		cg_index_remove_locked(partition, slot, cg_layout_hash(partition, &view));
	else
		cg_evict_bury_locked(partition, ref, slot, absence);
	cg_item_retire_locked(partition, ref);
}

/* Change the expiry in place, if there is room for one; it has a new id then. */
bool
cg_item_retime_locked(Partition *partition, ItemRef ref, StoreTime expires_at)
{
	Item *item = ref_address(ref);
	StoreEntry entry;
	ItemView view;

	if ((item->flags & ITEM_EXPIRES) == 0)
		return expires_at == CG_STORE_NEVER;
	cg_layout_view(ref, &view);
	count_entry(partition, &view, -1);
	item->hints |= was_read(item) ? HINT_READ : 0;
	pg_atomic_write_u32(&item->version, VERSION_WRITING);
	pg_write_barrier();
	memcpy(item->data + (item->flags & ITEM_LINKED ? sizeof(ItemLinks) : 0) +
			   (item->flags & ITEM_LONG ? ITEM_LONG_BYTES : 0),
		   &expires_at, sizeof(expires_at));
	cg_item_publish_locked(partition, ref, &entry);
	return true;
}
