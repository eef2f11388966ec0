/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Find an entry and copy it, without a lock.
 *
 * Optimistic: read the item's version and its page's generation, copy, and
 * read both again.  Nothing that was copied is interpreted before that, but
 * for references and sizes, which are checked against the arena's and the
 * cell's bounds first: memory is never unmapped, so what a race reads is
 * garbage at worst.  A chain that changes under the reader is walked again,
 * and after LOOKUP_TRIES under the partition's lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

#define LOOKUP_TRIES	4
#define CHAIN_STEPS_MAX 1024
#define LOCKED_TRIES	8
#define PREFETCH_LINES	4
#define LINE_BYTES		64 /* of the processor; PG_CACHE_LINE_SIZE is an upper bound */

typedef enum Found
{
	FOUND_YES,
	FOUND_NO,
	FOUND_AGAIN /* something moved: nothing is known */
} Found;

/* An item as it was seen: proves later that it is still the same. */
typedef struct Sighting
{
	Item *item;
	uint64 version;
	Page *page;
	uint32 generation;
	uint32 cell_bytes;
} Sighting;

static inline bool
still_the_same(const Sighting *sighting)
{
	pg_read_barrier();
	return pg_atomic_read_u64(&sighting->item->version) == sighting->version &&
		   pg_atomic_read_u32(&sighting->page->generation) == sighting->generation;
}

/* Note the item at ref; false if no entry begins there. */
static inline bool
sight(ItemRef ref, Sighting *sighting)
{
	uint32 number = ref_page(ref);
	int size_class;

	if (number == 0 || number > store->page_count)
		return false;
	sighting->page = &store_pages[number];
	sighting->generation = pg_atomic_read_u32(&sighting->page->generation);
	pg_read_barrier();
	size_class = sighting->page->size_class;
	if (size_class < 0 || size_class >= store->class_count)
		return false;
	sighting->cell_bytes = store->class_bytes[size_class];
	sighting->item = ref_address(ref);
	sighting->version = pg_atomic_read_u64(&sighting->item->version);
	pg_read_barrier();
	return (sighting->version & 1) == 0 && sighting->version != VERSION_FREE;
}

static inline bool
is_key_of(const Sighting *sighting, const StoreKey *key)
{
	const Item *item = sighting->item;
	uint32 meta_size = item->meta_size;

	return item->hash == key->hash && item->cache == key->cache &&
		   item->key_size == key->size &&
		   ITEM_HEADER + meta_size + key->size <= sighting->cell_bytes &&
		   memcmp(item->data + meta_size, key->data, key->size) == 0;
}

/*
 * Begin to fetch an item's first cache lines, all at once: at random keys the
 * time of a hit is that of its cache misses, one after the other.
 */
static inline void
prefetch_item(ItemRef ref)
{
	char *cell = ref_address(ref);

	if (ref_page(ref) > store->page_count)
		return;
	for (int line = 0; line < PREFETCH_LINES; line++)
		__builtin_prefetch(cell + line * LINE_BYTES);
}

/* Walk the key's bucket; FOUND_YES sets the sighting. */
static Found
find(const StoreKey *key, Sighting *sighting)
{
	Partition *partition = partition_of(key->hash);
	uint32 seq = pg_atomic_read_u32(&partition->chain_seq);
	ItemRef ref;

	pg_read_barrier();
	ref = pg_atomic_read_u32(bucket_of(key->hash));
	for (int step = 0; ref != 0; step++)
	{
		prefetch_item(ref);
		if (step == CHAIN_STEPS_MAX || !sight(ref, sighting))
			return FOUND_AGAIN;
		if (is_key_of(sighting, key))
			return still_the_same(sighting) ? FOUND_YES : FOUND_AGAIN;
		ref = sighting->item->next;
		if (!still_the_same(sighting))
			return FOUND_AGAIN;
	}
	pg_read_barrier();
	if ((seq & 1) != 0 || pg_atomic_read_u32(&partition->chain_seq) != seq)
		return FOUND_AGAIN;
	return FOUND_NO;
}

/* Copy size bytes of the chain of chunks; false if it ends or leads astray. */
static bool
copy_chunks(const Sighting *sighting, ItemRef ref, char *to, Size left)
{
	while (left > 0)
	{
		uint32 cell = store->class_bytes[store->class_count - 1];
		Size piece = Min(left, cell - CHUNK_HEADER);
		Chunk *chunk;

		if (ref_page(ref) == 0 || ref_page(ref) > store->page_count ||
			(Size) ref * ITEM_ALIGN + CHUNK_HEADER + piece >
				(Size) (store->page_count + 1) * PAGE_BYTES)
			return false;
		chunk = ref_address(ref);
		memcpy(to, chunk->data, piece);
		ref = chunk->next;
		to += piece;
		left -= piece;
		if (!still_the_same(sighting))
			return false;
	}
	return true;
}

/*
 * Copy the sighted item.  room = bytes at value, which holds a varlena's
 * header in front if it is one.  False if it moved meanwhile.
 */
static bool
copy_body(const Sighting *sighting, StoreCopy *copy)
{
	const Item *item = sighting->item;
	StoreEntry *entry = &copy->entry;
	Size before = (Size) entry->meta_size + item->key_size;
	Size in_head = Min(before + entry->value_size, sighting->cell_bytes - ITEM_HEADER);
	char *value = copy->value + (entry->flags & STORE_VARLENA ? VARHDRSZ : 0);

	if (in_head < before)
		return false;
	in_head -= before;
	memcpy(copy->meta, item->data, entry->meta_size);
	memcpy(value, item->data + before, in_head);
	if (in_head < entry->value_size &&
		!copy_chunks(sighting, item->rest, value + in_head, entry->value_size - in_head))
		return false;
	return still_the_same(sighting);
}

/* Copy the sighted item's header; false if it moved meanwhile. */
static bool
copy_header(const Sighting *sighting, StoreEntry *entry)
{
	cg_item_view(sighting->item, entry);
	entry->id = sighting->version;
	return still_the_same(sighting);
}

/* Memory for what the header announces. */
static void
make_room(StoreCopy *copy)
{
	StoreEntry *entry = &copy->entry;

	copy->meta = entry->meta_size <= sizeof(copy->meta_inline) ? copy->meta_inline
															   : palloc(entry->meta_size);
	copy->value = palloc((Size) entry->value_size + VARHDRSZ);
	if (entry->flags & STORE_VARLENA)
		SET_VARSIZE(copy->value, (Size) entry->value_size + VARHDRSZ);
}

static void
free_room(StoreCopy *copy)
{
	if (copy->meta != copy->meta_inline)
		pfree(copy->meta);
	pfree(copy->value);
}

static Found
copy_found(const Sighting *sighting, StoreCopy *copy, StoreTime now)
{
	if (!copy_header(sighting, &copy->entry))
		return FOUND_AGAIN;
	if (!item_is_alive(sighting->item, now))
		return still_the_same(sighting) ? FOUND_NO : FOUND_AGAIN;
	make_room(copy);
	if (!copy_body(sighting, copy))
	{
		free_room(copy);
		return FOUND_AGAIN;
	}
	if (!sighting->item->referenced)
		sighting->item->referenced = true;
	return FOUND_YES;
}

/*
 * With the lock, an item stays, but memory for the copy is better found
 * without: look how much is needed, let go, allocate, and see whether it is
 * still the same entry.
 */
static bool
lookup_locked(const StoreKey *key, StoreCopy *copy)
{
	Partition *partition = partition_of(key->hash);
	uint64 prepared_for = 0;

	for (int tries = 0; tries < LOCKED_TRIES; tries++)
	{
		Sighting sighting;
		bool found;
		bool copied = false;

		LWLockAcquire(partition->lock, LW_SHARED);
		found = find(key, &sighting) == FOUND_YES &&
				item_is_alive(sighting.item, cg_store_now());
		if (found && sighting.version == prepared_for)
			copied = copy_body(&sighting, copy);
		else if (found)
			copy_header(&sighting, &copy->entry);
		LWLockRelease(partition->lock);

		if (copied)
			return true;
		if (prepared_for != 0)
			free_room(copy);
		if (!found)
			return false;
		prepared_for = sighting.version;
		make_room(copy);
	}
	free_room(copy);
	return false;
}

/*
 * Look the key up.  True: copy holds the entry and its value, palloc'd in
 * the current memory context.  The time by which expiry is judged is read
 * first: what is returned had not expired when the call began.  May raise
 * out of memory, holding no lock.
 */
bool
cg_store_lookup(const StoreKey *key, StoreCopy *copy)
{
	StoreTime now = cg_store_now();

	for (int tries = 0; tries < LOOKUP_TRIES; tries++)
	{
		Sighting sighting;
		Found found = find(key, &sighting);

		if (found == FOUND_YES)
			found = copy_found(&sighting, copy, now);
		if (found != FOUND_AGAIN)
			return found == FOUND_YES;
	}
	return lookup_locked(key, copy);
}

/* As lookup, but the header only: meta and value are not set. */
bool
cg_store_peek(const StoreKey *key, StoreEntry *entry)
{
	Partition *partition = partition_of(key->hash);
	StoreTime now = cg_store_now();
	Sighting sighting;
	bool found;

	for (int tries = 0; tries < LOOKUP_TRIES; tries++)
	{
		Found outcome = find(key, &sighting);

		if (outcome == FOUND_NO)
			return false;
		if (outcome == FOUND_YES && copy_header(&sighting, entry))
			return entry->expires_at > now && item_is_alive(sighting.item, now);
	}
	LWLockAcquire(partition->lock, LW_SHARED);
	found = find(key, &sighting) == FOUND_YES && item_is_alive(sighting.item, now) &&
			copy_header(&sighting, entry);
	LWLockRelease(partition->lock);
	return found;
}
