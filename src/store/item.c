/*-------------------------------------------------------------------------
 *
 * item.c
 *	  Items: cells filled with an entry, in one piece or in several.
 *
 * A small item is allocated and filled in one go.  A large one is allocated
 * in rounds, so that no partition is locked for long, and filled without the
 * lock: until it is linked its head's version is odd and its chunks name no
 * head, so nobody reads it and nobody evicts it.  Nothing between may raise
 * an error, or the cells would be lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

/* How often to look for a cell before the value is given up. */
#define ALLOCATION_TRIES 16

/* Cells of a large item that are allocated before others get the lock. */
#define CELLS_PER_ROUND 64

static inline uint32
largest_cell(void)
{
	return store->class_bytes[store->class_count - 1];
}

/* Bytes of the head's cell that an entry of this size uses. */
static inline uint32
head_bytes(Size bytes)
{
	return Min(ITEM_HEADER + bytes, largest_cell());
}

static inline uint32
chunk_bytes(Size left)
{
	return Min(CHUNK_HEADER + left, largest_cell());
}

/*
 * A cell for this many bytes, thrown free if need be.  The partition's lock
 * is held on entry and on return, but may be released in between.  NULL if
 * no room could be made.
 */
static void *
allocate(Partition *partition, uint32 bytes)
{
	int size_class = cg_store_class_for(bytes);

	for (int tries = 0; tries < ALLOCATION_TRIES; tries++)
	{
		void *cell;

		if (partition->classes[size_class].room == 0 && store->pool == 0)
			(void) cg_evict_idle_page_locked(partition, size_class);
		cell = cg_arena_allocate_locked(partition, size_class, bytes);
		if (cell == NULL && cg_evict_from_class_locked(partition, size_class))
			cell = cg_arena_allocate_locked(partition, size_class, bytes);
		if (cell)
			return cell;

		LWLockRelease(partition->lock);
		cg_evict_foreign_page();
		LWLockAcquire(partition->lock, LW_EXCLUSIVE);
	}
	return NULL;
}

/* Bytes of the entry's that stand in the head itself. */
static inline Size
bytes_in_head(Size bytes)
{
	return head_bytes(bytes) - ITEM_HEADER;
}

/* Would an entry of this size fit if there were no other? */
static bool
fits_in_store(Size bytes)
{
	Size cells = 1 + (bytes - bytes_in_head(bytes)) / (largest_cell() - CHUNK_HEADER);
	Size pages = cells / (PAGE_BYTES / largest_cell()) + 2;

	return pages < store->page_count;
}

/* Give back the chunks of an item of this size. */
static void
free_chunks_locked(Partition *partition, ItemRef ref, Size left)
{
	while (ref != 0)
	{
		Chunk *chunk = ref_address(ref);
		uint32 bytes = chunk_bytes(left);

		ref = chunk->next;
		cg_arena_free_locked(partition, chunk, bytes);
		left -= bytes - CHUNK_HEADER;
	}
}

/* Give back an item that is in no bucket, and all its chunks. */
void
cg_item_free_locked(Partition *partition, Item *item)
{
	Size bytes = item_bytes(item);
	uint32 head = head_bytes(bytes);
	SizeClass *class =
		&partition->classes[store_pages[ref_page(address_ref(item))].size_class];

	class->entries--;
	free_chunks_locked(partition, item->rest, bytes - bytes_in_head(bytes));
	cg_arena_free_locked(partition, item, head);
}

/*
 * Allocate the chunks for this many bytes, the last one first, so that each
 * may name its next.  False if there is no room: then none is kept.
 */
static bool
allocate_chunks(Partition *partition, Item *item, Size bytes)
{
	Size whole = largest_cell() - CHUNK_HEADER;
	Size allocated = 0;
	int round = 0;

	item->rest = 0;
	while (allocated < bytes)
	{
		Size piece = allocated == 0 && bytes % whole != 0 ? bytes % whole : whole;
		Chunk *chunk = allocate(partition, chunk_bytes(piece));

		if (chunk == NULL)
		{
			free_chunks_locked(partition, item->rest, allocated);
			return false;
		}
		chunk->next = item->rest;
		chunk->head = 0;
		pg_atomic_write_u64(&chunk->version, VERSION_CHUNK);
		item->rest = address_ref(chunk);
		allocated += piece;
		if (++round % CELLS_PER_ROUND == 0)
		{
			LWLockRelease(partition->lock);
			LWLockAcquire(partition->lock, LW_EXCLUSIVE);
		}
	}
	return true;
}

/* Copy the value behind what is already in the head. */
static void
fill_value(Item *item, const StoreEntry *entry)
{
	Size before = (Size) item->meta_size + item->key_size;
	Size piece = bytes_in_head(item_bytes(item)) - before;
	const char *from = entry->value;
	Size left = entry->value_size;
	ItemRef ref = item->rest;

	memcpy(item->data + before, from, piece);
	for (from += piece, left -= piece; left > 0; from += piece, left -= piece)
	{
		Chunk *chunk = ref_address(ref);

		piece = chunk_bytes(left) - CHUNK_HEADER;
		memcpy(chunk->data, from, piece);
		ref = chunk->next;
	}
}

static void
fill_header(Item *item, const StoreKey *key, const StoreEntry *entry)
{
	item->hash = key->hash;
	item->expires_at = entry->expires_at;
	item->next = 0;
	item->value_size = entry->value_size;
	item->type = entry->type;
	item->created_at = entry->created_at / 1000000;
	item->cache = key->cache;
	item->key_size = key->size;
	item->meta_size = entry->meta_size;
	item->flags = entry->flags;
	item->referenced = false;
	if (entry->meta_size > 0)
		memcpy(item->data, entry->meta, entry->meta_size);
	memcpy(item->data + entry->meta_size, key->data, key->size);
}

/*
 * An item with the entry's contents, not yet linked; NULL if no room could
 * be made.  The partition's lock is held on entry and on return, but may be
 * released in between: look for the present entry only afterwards.
 */
Item *
cg_item_make(Partition *partition, const StoreKey *key, const StoreEntry *entry)
{
	Size bytes = (Size) entry->meta_size + key->size + entry->value_size;
	Size left = bytes - bytes_in_head(bytes);
	Item *item;

	/* Else everything would be thrown out, and in vain. */
	if (!fits_in_store(bytes))
		return NULL;
	item = allocate(partition, head_bytes(bytes));
	if (item == NULL)
		return NULL;
	if (!allocate_chunks(partition, item, left))
	{
		cg_arena_free_locked(partition, item, head_bytes(bytes));
		return NULL;
	}
	partition->classes[store_pages[ref_page(address_ref(item))].size_class].entries++;

	if (left > 0)
		LWLockRelease(partition->lock);
	fill_header(item, key, entry);
	fill_value(item, entry);
	if (left > 0)
		LWLockAcquire(partition->lock, LW_EXCLUSIVE);

	for (ItemRef ref = item->rest; ref != 0;)
	{
		Chunk *chunk = ref_address(ref);

		chunk->head = address_ref(item);
		ref = chunk->next;
	}
	return item;
}

/* What a judge sees of an item. */
void
cg_item_view(const Item *item, StoreEntry *entry)
{
	entry->id = pg_atomic_read_u64((pg_atomic_uint64 *) &item->version);
	entry->type = item->type;
	entry->flags = item->flags;
	entry->created_at = (StoreTime) item->created_at * 1000000;
	entry->expires_at = item->expires_at;
	entry->meta = item->data;
	entry->meta_size = item->meta_size;
	entry->value = item->rest == 0 ? item_key(item) + item->key_size : NULL;
	entry->value_size = item->value_size;
}
