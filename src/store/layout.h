/*-------------------------------------------------------------------------
 *
 * layout.h
 *	  Items as they lie in cells: for the files of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_STORE_LAYOUT_H
#define CACHEGRID_STORE_LAYOUT_H

#include "store/store_internal.h"

/* An item's parts; they point into its cell. */
struct ItemView
{
	uint64 id; /* whole */
	Oid type;
	uint8 flags;
	uint8 cache;
	uint16 meta_size;
	uint16 key_size;
	uint32 value_size;
	ItemRef rest;
	StoreTime expires_at;
	const char *meta;
	const char *key;
	const char *value; /* or its beginning */
};

static inline Size
view_bytes(const ItemView *view)
{
	return (Size) view->meta_size + view->key_size + view->value_size;
}

/* Bytes of the item without its value. */
static inline Size
view_before(const Item *item, const ItemView *view)
{
	return view->value - (const char *) item;
}

/* What an entry will look like. */
typedef struct ItemMeasure
{
	uint8 flags;
	uint8 type;
	int size_class; /* of its own cell */
	Size before;	/* bytes in front of the value */
	Size bytes;		/* with the value */
} ItemMeasure;

/* Functions in layout.c */
extern int cg_layout_piece_class(Size left);
extern Size cg_layout_cells_bytes(int size_class, Size in_pieces);
extern void cg_layout_measure(const StoreKey *key, const StoreEntry *entry,
							  ItemMeasure *measure);
extern void cg_layout_write(Item *item, const StoreKey *key, const StoreEntry *entry,
							const ItemMeasure *measure, ItemRef rest, Size in_cell);
extern bool cg_layout_decode(const Item *item, uint32 cell_bytes, ItemView *view);
extern void cg_layout_view(ItemRef ref, ItemView *view);
extern uint64 cg_layout_hash(const Partition *partition, const ItemView *view);
extern void cg_layout_describe(const ItemView *view, StoreEntry *entry);

/* Have the buckets in which a key may stand on their way to the processor. */
static inline void
prefetch_buckets(uint64 hash)
{
	__builtin_prefetch(first_bucket(hash));
	__builtin_prefetch(second_bucket(hash));
}

/* The hash's bits that a ghost keeps beside the tag. */
static inline uint32
ghost_hash(uint64 hash)
{
	return (uint32) (hash >> 14 & 0x7f) << GHOST_HASH_SHIFT;
}

static inline bool
is_ghost_of(uint32 ref, uint64 hash)
{
	return (ref & GHOST) && (ref & 0x7f << GHOST_HASH_SHIFT) == ghost_hash(hash);
}

static inline StoreAbsence
ghost_absence(uint32 ref)
{
	return (StoreAbsence) (ref >> GHOST_ABSENCE_SHIFT & 3);
}

#endif /* CACHEGRID_STORE_LAYOUT_H */
