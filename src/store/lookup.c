/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Find an entry and copy it, without a lock.
 *
 * Optimistic: read the item's version and its page's stamp, copy, and read both
 * again.  Nothing that was copied is interpreted before that, but for references
 * and sizes, which are checked against the arena's and the cell's bounds first:
 * memory is never unmapped, so what a race reads is garbage at worst.  If
 * something moves under the reader he looks again, and after LOOKUP_TRIES under
 * the partition's lock.
 *
 * At random keys the time of a hit is that of its cache misses.  So all
 * lines of the item are fetched at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "base/settings.h"
#include "store/layout.h"

#define LOOKUP_TRIES   4
#define CHAIN_MAX	   64
#define PREFETCH_LINES 3

/*
 * Backend-local: where the bytes of an encoded value are copied, so that all that is
 * allocated for a hit is what the caller makes of them.  Larger ones are palloc'd.
 */
static char encoded[64 * 1024];

typedef enum Found
{
	FOUND_YES,
	FOUND_NO,
	FOUND_AGAIN /* something moved: nothing is known */
} Found;

/* An item as it was seen: proves later that it is still the same. */
typedef struct Sighting
{
	const Item *item;
	uint32 version;
	uint16 id_high;
	uint32 page;
	uint32 stamp;
	ItemView view;
	uint32 ghost; /* the last ghost of the key's that was seen, if there was one */
} Sighting;

static inline bool
still_the_same(const Sighting *sighting)
{
	pg_read_barrier();
	return (pg_atomic_read_u32((pg_atomic_uint32 *) &sighting->item->version) &
			~VERSION_READ) == sighting->version &&
		   sighting->item->id_high == sighting->id_high &&
		   pg_atomic_read_u32(&store_stamps[sighting->page]) == sighting->stamp;
}

/*
 * The address of a reference; NULL if it cannot be one.  *stamp is that of its page
 * and *cell_bytes the size of its cells.
 */
static inline void *
safe_address(ItemRef ref, uint32 *stamp, uint32 *cell_bytes)
{
	uint32 page = ref_page(ref);
	uint8 size_class;

	if (page == 0 || page >= store->page_count)
		return NULL;
	*stamp = pg_atomic_read_u32(&store_stamps[page]);
	pg_read_barrier();
	size_class = *stamp & 0xff;
	if (size_class >= store->class_count)
		return NULL;
	*cell_bytes = store->class_bytes[size_class];
	if ((ref_cell(ref) + 1) * *cell_bytes > PAGE_BYTES)
		return NULL;
	return cell_address(page, ref_cell(ref), *cell_bytes);
}

static inline void
prefetch_lines(const char *item)
{
	for (int line = 0; line < PREFETCH_LINES; line++)
		__builtin_prefetch(item + line * LINE_BYTES);
}

/*
 * Look at the item that a slot of the index names: is it this key's?  That it is not
 * counts only if the slot still names it: the key's own item may have moved to another
 * cell, and somebody else's into its old one.
 */
static Found
sight(const pg_atomic_uint32 *slot, const StoreKey *key, Sighting *sighting)
{
	ItemRef ref = pg_atomic_read_u32((pg_atomic_uint32 *) slot);
	uint32 cell_bytes;

	if (ref & GHOST)
	{
		if (is_ghost_of(ref, key->hash))
			sighting->ghost = ref;
		return FOUND_NO;
	}

	sighting->item = safe_address(ref, &sighting->stamp, &cell_bytes);
	if (sighting->item == NULL)
		return FOUND_AGAIN;
	prefetch_lines((const char *) sighting->item);
	sighting->page = ref_page(ref);
	sighting->version =
		pg_atomic_read_u32((pg_atomic_uint32 *) &sighting->item->version) & ~VERSION_READ;
	pg_read_barrier();
	sighting->id_high = sighting->item->id_high;
	if (!is_entry(sighting->version) ||
		!cg_layout_decode(sighting->item, cell_bytes, &sighting->view))
		return FOUND_AGAIN;
	if (sighting->view.cache != key->cache || sighting->view.key_size != key->size ||
		memcmp(sighting->view.key, key->data, key->size) != 0)
		return pg_atomic_read_u32((pg_atomic_uint32 *) slot) == ref &&
					   still_the_same(sighting)
				   ? FOUND_NO
				   : FOUND_AGAIN;
	return still_the_same(sighting) ? FOUND_YES : FOUND_AGAIN;
}

/* Look through one bucket and those of its chain. */
static Found
find_in_chain(const Bucket *bucket, const StoreKey *key, Sighting *sighting)
{
	uint8 tag = tag_of(key->hash);
	bool again = false;

	for (int length = 0; length < CHAIN_MAX; length++)
	{
		uint32 match = match_tags(bucket, tag);
		uint32 unused;

		pg_read_barrier();
		for (; match != 0; match &= match - 1)
		{
			int slot = pg_rightmost_one_pos32(match);
			Found found = sight(&bucket->refs[slot], key, sighting);

			if (found == FOUND_YES)
				return FOUND_YES;
			again |= found == FOUND_AGAIN;
		}
		if (bucket->tags[BUCKET_SLOTS - 1] != TAG_CHAIN)
			break;
		pg_read_barrier();
		bucket = safe_address(
			pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[BUCKET_SLOTS - 1]),
			&unused, &unused);
		if (bucket == NULL)
			return FOUND_AGAIN;
	}
	return again ? FOUND_AGAIN : FOUND_NO;
}

/*
 * Look the key up in one of its buckets.  That it is not there may be believed only
 * if the chain was not being changed, when the version is odd, nor has been.
 */
static Found
find_in_bucket(const Bucket *head, const StoreKey *key, Sighting *sighting)
{
	uint32 version = pg_atomic_read_u32((pg_atomic_uint32 *) &head->version);
	Found found;

	pg_read_barrier();
	found = find_in_chain(head, key, sighting);
	if (found != FOUND_NO)
		return found;
	pg_read_barrier();
	return (version & 1) == 0 &&
				   pg_atomic_read_u32((pg_atomic_uint32 *) &head->version) == version
			   ? FOUND_NO
			   : FOUND_AGAIN;
}

/* Look the key up; FOUND_YES sets the sighting.  A key never changes its bucket. */
static Found
find(const StoreKey *key, Sighting *sighting)
{
	Found found = find_in_bucket(first_bucket(key->hash), key, sighting);
	Found other;

	if (found == FOUND_YES)
		return found;
	other = find_in_bucket(second_bucket(key->hash), key, sighting);
	return found == FOUND_AGAIN && other == FOUND_NO ? FOUND_AGAIN : other;
}

/* Copy size bytes of the pieces; false if they end or lead astray. */
static bool
copy_pieces(const Sighting *sighting, char *to, Size left)
{
	ItemRef ref = sighting->view.rest;

	while (left > 0)
	{
		uint32 stamp;
		uint32 cell_bytes;
		const Piece *piece = safe_address(ref, &stamp, &cell_bytes);
		Size size;

		if (piece == NULL)
			return false;
		size = Min(left, cell_bytes - PIECE_HEADER);
		memcpy(to, piece->data, size);
		ref = piece->next;
		to += size;
		left -= size;
		/* Pieces stay what they are as long as their head does. */
		if (!still_the_same(sighting))
			return false;
	}
	return true;
}

/* Bytes in front of the copied value: of a varlena that need not be decoded first. */
static inline Size
value_header(const ItemView *view)
{
	return (view->flags & (STORE_VARLENA | STORE_ENCODED)) == STORE_VARLENA ? VARHDRSZ
																			: 0;
}

/*
 * Copy the sighted item's meta and value.  False if it moved meanwhile.
 */
static bool
copy_body(const Sighting *sighting, StoreCopy *copy)
{
	const ItemView *view = &sighting->view;
	uint32 cell_bytes = store->class_bytes[sighting->stamp & 0xff];
	Size in_cell = Min(view_before(sighting->item, view) + view->value_size, cell_bytes) -
				   view_before(sighting->item, view);
	char *value = copy->value + value_header(view);

	if (value_header(view) > 0)
		SET_VARSIZE(copy->value, (Size) view->value_size + VARHDRSZ);
	memcpy(copy->meta, view->meta, view->meta_size);
	memcpy(value, view->value, in_cell);
	if (in_cell < view->value_size &&
		!copy_pieces(sighting, value + in_cell, view->value_size - in_cell))
		return false;
	return still_the_same(sighting);
}

/* The entry that was sighted, but for meta and value. */
static void
fill_entry(const ItemView *view, StoreEntry *entry)
{
	entry->id = view->id;
	entry->type = view->type;
	entry->flags = view->flags & STORE_FLAGS;
	entry->created_at = cg_store_time_of(view->id);
	entry->expires_at = view->expires_at;
	entry->meta = NULL;
	entry->meta_size = view->meta_size;
	entry->value = NULL;
	entry->value_size = view->value_size;
}

static void
make_room(Size value_size, Size meta_size, bool is_encoded, StoreCopy *copy)
{
	copy->meta =
		meta_size <= sizeof(copy->meta_inline) ? copy->meta_inline : palloc(meta_size);
	copy->value = is_encoded && value_size <= sizeof(encoded)
					  ? encoded
					  : palloc(value_size + VARHDRSZ);
}

/* Give back the memory of a copied value. */
void
cg_store_free_value(StoreCopy *copy)
{
	if (copy->value != encoded)
		pfree(copy->value);
}

static void
free_room(StoreCopy *copy)
{
	if (copy->meta != copy->meta_inline)
		pfree(copy->meta);
	cg_store_free_value(copy);
}

/*
 * The cell may have been freed since, and be a piece or a bucket, or in the middle of
 * somebody's value: it is written to only if it still begins with the same version.
 */
static inline void
mark_read(const Sighting *sighting)
{
	pg_atomic_uint32 *version = (pg_atomic_uint32 *) &sighting->item->version;
	uint32 unread = sighting->version;

	if (pg_atomic_read_u32(version) == unread)
		(void) pg_atomic_compare_exchange_u32(version, &unread, unread | VERSION_READ);
}

static Found
copy_found(const Sighting *sighting, StoreCopy *copy)
{
	if (!cg_store_is_alive(&sighting->view))
		return FOUND_NO;
	make_room(sighting->view.value_size, sighting->view.meta_size,
			  (sighting->view.flags & STORE_ENCODED) != 0, copy);
	if (!copy_body(sighting, copy))
	{
		free_room(copy);
		return FOUND_AGAIN;
	}
	fill_entry(&sighting->view, &copy->entry);
	mark_read(sighting);
	return FOUND_YES;
}

/*
 * With the lock, an item stays, but memory for the copy is better found without:
 * look how much is needed, let go, allocate, and see whether what is there by then
 * fits.  Each time there is twice the room, so that an entry which is replaced all
 * the time is found all the same.
 */
static bool
lookup_locked(const StoreKey *key, StoreCopy *copy)
{
	Partition *partition = partition_of(key->hash);
	Size value_room = 0;
	Size meta_room = 0;
	bool has_room = false;

	for (;;)
	{
		Sighting sighting;
		const ItemView *view = &sighting.view;
		bool found;
		bool copied = false;

		LWLockAcquire(partition->lock, LW_SHARED);
		found = find(key, &sighting) == FOUND_YES && cg_store_is_alive(view);
		if (found && has_room && view->value_size <= value_room &&
			view->meta_size <= meta_room)
			copied = copy_body(&sighting, copy);
		if (copied)
			mark_read(&sighting);
		LWLockRelease(partition->lock);

		if (copied)
			fill_entry(view, &copy->entry);
		else if (has_room)
			free_room(copy);
		if (copied || !found)
			return copied;
		value_room = Min(Max(view->value_size, 2 * value_room), CG_STORE_VALUE_MAX);
		meta_room = view->meta_size <= sizeof(copy->meta_inline)
						? Max(meta_room, sizeof(copy->meta_inline))
						: CG_STORE_META_MAX;
		make_room(value_room, meta_room, false, copy);
		has_room = true;
	}
}

/*
 * Look the key up.  True: copy holds the entry and its value, palloc'd in
 * the current memory context.  What is returned had not expired when the call
 * began.  May raise out of memory, holding no lock.
 */
bool
cg_store_lookup(const StoreKey *key, StoreCopy *copy)
{
	for (int tries = 0; tries < LOOKUP_TRIES && !cg_lock_reads; tries++)
	{
		Sighting sighting;
		Found found = find(key, &sighting);

		if (found == FOUND_YES)
			found = copy_found(&sighting, copy);
		if (found != FOUND_AGAIN)
			return found == FOUND_YES;
	}
	return lookup_locked(key, copy);
}

/* Why a key is not there that was just looked up in vain; what is true by now, if so. */
StoreAbsence
cg_store_absence(const StoreKey *key)
{
	Sighting sighting;

	sighting.ghost = 0;
	if (find(key, &sighting) == FOUND_YES)
		return cg_store_is_alive(&sighting.view)
				   ? ABSENCE_UNKNOWN
				   : cg_store_absence_of_dead(&sighting.view);
	return sighting.ghost ? ghost_absence(sighting.ghost) : ABSENCE_UNKNOWN;
}

/* As lookup, but the header only: meta and value are not set. */
bool
cg_store_peek(const StoreKey *key, StoreEntry *entry)
{
	Partition *partition = partition_of(key->hash);
	Found found = FOUND_AGAIN;
	Sighting sighting;

	for (int tries = 0; tries < LOOKUP_TRIES && found == FOUND_AGAIN; tries++)
		found = find(key, &sighting);
	if (found == FOUND_AGAIN)
	{
		LWLockAcquire(partition->lock, LW_SHARED);
		found = find(key, &sighting);
		LWLockRelease(partition->lock);
	}
	if (found != FOUND_YES || !cg_store_is_alive(&sighting.view))
		return false;
	fill_entry(&sighting.view, entry);
	return true;
}

/* Begin to fetch what a lookup of the key will look at first. */
void
cg_store_prefetch_bucket(const StoreKey *key)
{
	__builtin_prefetch(first_bucket(key->hash));
}

/* Begin to fetch the items in the bucket that may be the key's; false: none may. */
static bool
prefetch_matches(const Bucket *bucket, uint8 tag)
{
	uint32 match = match_tags(bucket, tag);
	bool any = false;

	for (; match != 0; match &= match - 1)
	{
		int slot = pg_rightmost_one_pos32(match);
		ItemRef ref = pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[slot]);
		uint32 stamp;
		uint32 cell_bytes;
		const char *item = ref & GHOST ? NULL : safe_address(ref, &stamp, &cell_bytes);

		if (item)
			prefetch_lines(item);
		any |= item != NULL;
	}
	return any;
}

/* Begin to fetch what it will look at then; the first bucket has come by now. */
void
cg_store_prefetch_item(const StoreKey *key)
{
	if (!prefetch_matches(first_bucket(key->hash), tag_of(key->hash)))
		__builtin_prefetch(second_bucket(key->hash));
}

/*
 * Both at once, for one who will look into both buckets whatever he finds; false: no item
 * there may be the key's.
 */
bool
cg_lookup_prefetch(const StoreKey *key)
{
	const Bucket *buckets[] = {first_bucket(key->hash), second_bucket(key->hash)};
	bool any = false;

	prefetch_buckets(key->hash);
	for (int i = 0; i < lengthof(buckets); i++)
		any |= prefetch_matches(buckets[i], tag_of(key->hash));
	return any;
}
