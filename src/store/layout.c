/*-------------------------------------------------------------------------
 *
 * layout.c
 *	  Entries as they lie in cells: measured, written, taken apart.
 *
 *	  header | links | long sizes | expiry | bytes of meta | type | meta | key | value
 *
 * The five after the header are there only if its flags and type code say so: a
 * short text that never expires has none of them.
 *
 * A value that does not fit its cell goes on in pieces.  Where the next larger
 * cell would waste more than an eighth, an item is cut as well: a full cell, and
 * a small one for the rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/hash.h"
#include "store/layout.h"

/* The code of a type, given now if it has none; TYPE_INLINE if all are in use. */
static uint8
type_code(Oid type)
{
	static Oid last_type = InvalidOid;
	static uint8 last_code = TYPE_INLINE;
	int code;

	if (type == last_type && last_code != TYPE_INLINE)
		return last_code;
	for (code = 1; code < lengthof(store->types); code++)
	{
		uint32 known = pg_atomic_read_u32(&store->types[code]);

		/* Codes are never taken back: whoever is first has it for good. */
		if (known == type ||
			(known == InvalidOid &&
			 pg_atomic_compare_exchange_u32(&store->types[code], &known, type)) ||
			known == type)
			break;
	}
	last_type = type;
	last_code = code < lengthof(store->types) ? code : TYPE_INLINE;
	return last_code;
}

/*
 * The class of the cell for so many bytes, or for their beginning, of which at
 * least must stand in one cell.
 */
static int
choose_class(Size bytes, Size least)
{
	int size_class = bytes > PAGE_BYTES ? store->class_count - 1 : class_for(bytes);
	Size cell = store->class_bytes[size_class];

	if (cell > bytes && (cell - bytes) * 8 > bytes &&
		bytes > PG_UINT8_MAX + ITEM_HEADER && store->class_bytes[size_class - 1] >= least)
		size_class--;
	return size_class;
}

/* The class of the next piece of so many bytes. */
int
cg_layout_piece_class(Size left)
{
	return choose_class(PIECE_HEADER + left, PIECE_HEADER + 1);
}

/* Bytes of the cells of an item: its own one, and those of the pieces for so many bytes. */
Size
cg_layout_cells_bytes(int size_class, Size in_pieces)
{
	Size bytes = store->class_bytes[size_class];

	while (in_pieces > 0)
	{
		Size cell = store->class_bytes[cg_layout_piece_class(in_pieces)];

		bytes += cell;
		in_pieces -= Min(in_pieces, cell - PIECE_HEADER);
	}
	return bytes;
}

static void
add_part(ItemMeasure *measure, uint8 flag, Size bytes)
{
	if (measure->flags & flag)
		return;
	measure->flags |= flag;
	measure->before += bytes;
	measure->bytes += bytes;
}

/*
 * Where there are pieces, the first one is named among the long sizes, however short
 * the value is beside a long meta; and an expiry cannot be put in later, for it would
 * shift them.
 */
static void
measure_cut(ItemMeasure *measure)
{
	add_part(measure, ITEM_LONG, ITEM_LONG_BYTES);
	add_part(measure, ITEM_EXPIRES, sizeof(StoreTime));
	measure->size_class = choose_class(measure->bytes, measure->before);
}

/* What the item of an entry will be like. */
void
cg_layout_measure(const StoreKey *key, const StoreEntry *entry, ItemMeasure *measure)
{
	Size before = ITEM_HEADER + entry->meta_size + key->size;

	measure->flags = entry->flags;
	measure->type = OidIsValid(entry->type) ? type_code(entry->type) : TYPE_INLINE;
	if (pg_atomic_read_u64(&store->caches[key->cache].max_memory) != 0)
	{
		measure->flags |= ITEM_LINKED;
		before += sizeof(ItemLinks);
	}
	if (entry->expires_at != CG_STORE_NEVER)
	{
		measure->flags |= ITEM_EXPIRES;
		before += sizeof(StoreTime);
	}
	if (entry->meta_size > 0)
	{
		measure->flags |= ITEM_META;
		before += sizeof(uint16);
	}
	if (measure->type == TYPE_INLINE)
		before += sizeof(Oid);
	if (key->size > PG_UINT8_MAX || entry->value_size > PG_UINT8_MAX)
	{
		measure->flags |= ITEM_LONG;
		before += ITEM_LONG_BYTES;
	}
	measure->before = before;
	measure->bytes = before + entry->value_size;
	measure->size_class = choose_class(measure->bytes, measure->before);
	if (store->class_bytes[measure->size_class] < measure->bytes)
		measure_cut(measure);
}

static inline char *
append(char *to, const void *from, Size size)
{
	memcpy(to, from, size);
	return to + size;
}

/* Write the item but for its version, id and links; so much of the value as stands in it. */
void
cg_layout_write(Item *item, const StoreKey *key, const StoreEntry *entry,
				const ItemMeasure *measure, ItemRef rest, Size in_cell)
{
	char *to = item->data;

	item->flags = measure->flags;
	item->hints = 0;
	item->type = measure->type;
	item->cache = key->cache;
	item->key_size = key->size;
	item->value_size = entry->value_size;
	if (measure->flags & ITEM_LINKED)
		to += sizeof(ItemLinks);
	if (measure->flags & ITEM_LONG)
	{
		ItemLong sizes = {entry->value_size, rest, key->size};

		to = append(to, &sizes, ITEM_LONG_BYTES);
	}
	if (measure->flags & ITEM_EXPIRES)
		to = append(to, &entry->expires_at, sizeof(StoreTime));
	if (measure->flags & ITEM_META)
	{
		uint16 size = entry->meta_size;

		to = append(to, &size, sizeof(size));
	}
	if (measure->type == TYPE_INLINE)
		to = append(to, &entry->type, sizeof(Oid));
	if (entry->meta_size > 0)
		to = append(to, entry->meta, entry->meta_size);
	to = append(to, key->data, key->size);
	memcpy(to, entry->value, in_cell);
}

/* The hash by which its key stands in the index. */
uint64
cg_layout_hash(const Partition *partition, const ItemView *view)
{
	return cg_name_hash(partition->caches[view->cache].database, CG_HASH_OF_KEYS,
						view->key, view->key_size);
}

static inline const char *
take(const char *from, void *to, Size size)
{
	memcpy(to, from, size);
	return from + size;
}

/*
 * Take an item apart.  Whatever its bytes are, the parts lie in the cell; false if
 * they cannot.
 */
bool
cg_layout_decode(const Item *item, uint32 cell_bytes, ItemView *view)
{
	const char *from = item->data;
	uint8 flags = item->flags;
	uint8 type = item->type;

	view->id = whole_id(item_id(item));
	view->flags = flags;
	view->cache = item->cache;
	view->key_size = item->key_size;
	view->value_size = item->value_size;
	view->rest = 0;
	view->expires_at = CG_STORE_NEVER;
	view->meta_size = 0;
	if (flags & ITEM_LINKED)
		from += sizeof(ItemLinks);
	if (flags & ITEM_LONG)
	{
		ItemLong sizes;

		from = take(from, &sizes, ITEM_LONG_BYTES);
		view->key_size = sizes.key_size;
		view->value_size = sizes.value_size;
		view->rest = sizes.rest;
	}
	if (flags & ITEM_EXPIRES)
		from = take(from, &view->expires_at, sizeof(StoreTime));
	if (flags & ITEM_META)
		from = take(from, &view->meta_size, sizeof(uint16));
	if (type == TYPE_INLINE)
		from = take(from, &view->type, sizeof(Oid));
	else
		view->type = pg_atomic_read_u32(&store->types[type]);
	view->meta = from;
	view->key = from + view->meta_size;
	view->value = view->key + view->key_size;
	return view->value + (view->rest ? 0 : view->value_size) <=
		   (const char *) item + cell_bytes;
}

/* With the partition's lock: take apart what is whole. */
void
cg_layout_view(ItemRef ref, ItemView *view)
{
	bool whole = cg_layout_decode(ref_address(ref), page_cell_bytes(ref_page(ref)), view);

	Assert(whole);
	(void) whole;
}

/* What a judge sees of an item; its meta is a copy, aligned, until the next call. */
void
cg_layout_describe(const ItemView *view, StoreEntry *entry)
{
	static union
	{
		uint64 aligned;
		char bytes[CG_STORE_META_MAX];
	} meta;

	memcpy(meta.bytes, view->meta, view->meta_size);
	entry->id = view->id;
	entry->type = view->type;
	entry->flags = view->flags & STORE_FLAGS;
	entry->created_at = cg_store_time_of(view->id);
	entry->expires_at = view->expires_at;
	entry->meta = meta.bytes;
	entry->meta_size = view->meta_size;
	entry->value = view->rest == 0 ? view->value : NULL;
	entry->value_size = view->value_size;
}
