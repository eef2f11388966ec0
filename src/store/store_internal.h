/*-------------------------------------------------------------------------
 *
 * store_internal.h
 *	  The memory of the store: only for the files of this floor.
 *
 *	+--------+------------+---------+--------+-------+------------------+
 *	| header | partitions | buckets | stamps | pages | arena            |
 *	+--------+------------+---------+--------+-------+------------------+
 *
 * The arena is cut into pages of PAGE_BYTES.  A page belongs to nobody, or to
 * one ring of one partition: to a size class and a zone, and is then cut into
 * cells of that class.  An entry is an item in one cell: a header of twelve
 * bytes, what the header announces, meta, key, value.  What does not fit goes on
 * in pieces, cells of the same partition, so that a value of any size needs no
 * two adjacent pages.  The index is a table of buckets of one cache line; what
 * does not fit there goes on in a bucket that is a cell, too.
 *
 * A reference (ItemRef) is a page's number and a cell's place in it, and so
 * the same in every process; 0 = none, for the first page is never used.
 *
 * Locks.  A partition's lock guards its buckets, its pages and everything in
 * them; the pool's lock, taken inside it, the pages of nobody; the caches' lock,
 * taken around it, who has which number.  Nobody holds two partitions.
 *
 * Readers hold none.  An item's version is never 0 to VERSION_LAST while it can
 * be found, changes whenever its cell does, and is the time when it was put, so
 * that no cell ever has the same one twice; a page's stamp changes when it is
 * cut anew.  Equal readings of both, before and after, prove a copy whole.  That
 * a key is not there is believed if no candidate moved meanwhile and the bucket's
 * chain did not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_STORE_INTERNAL_H
#define CACHEGRID_STORE_INTERNAL_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/clock.h"
#include "base/compat.h"
#include "store/store.h"

#define PAGE_BYTES	   8192
#define LINE_BYTES	   64 /* of the processor; PG_CACHE_LINE_SIZE is an upper bound */
#define CELL_ALIGN	   4
#define CELL_BITS	   8 /* of a reference: the cell's place in its page */
#define CLASS_MAX	   64
#define PARTITIONS_MAX 64
#define MAX_CACHES	   CG_STORE_CACHES_MAX

typedef uint32 ItemRef;

/*
 * In the index a reference may be a ghost: what is left of an entry that is gone.
 * Beside the tag it says the zone, why it went (StoreAbsence), seven more bits of the
 * hash, and how many had been thrown out of that zone by then.
 */
#define GHOST				0x80000000
#define GHOST_MAIN			0x40000000
#define GHOST_ABSENCE_SHIFT 28
#define GHOST_HASH_SHIFT	21
#define GHOST_SEQUENCE		((1 << GHOST_HASH_SHIFT) - 1)
#define GHOST_MAIN_AGES		20 /* those of main rings age so much faster */

/* Versions that are no entry's. */
#define VERSION_FREE	0
#define VERSION_PIECE	1
#define VERSION_BUCKET	2
#define VERSION_WRITING 3
#define VERSION_LAST	VERSION_WRITING

/*
 * The head of an entry.  Its id is the time when it was put, in ticks, of which
 * 48 bits are kept: they tell the entries of a partition apart, the new ones of
 * a cache from those before it was cleared, and when an entry was made.
 */
typedef struct Item
{
	pg_atomic_uint32 version; /* the id's lower half, and VERSION_READ */
	uint16 id_high;			  /* the upper 16 of its 48 bits */
	uint8 flags;			  /* STORE_... and ITEM_... */
	uint8 hints;			  /* HINT_... */
	uint8 type;				  /* code of the value's type */
	uint8 cache;
	uint8 key_size;	  /* if not ITEM_LONG */
	uint8 value_size; /* if not ITEM_LONG */
	char data[FLEXIBLE_ARRAY_MEMBER];
} Item;

#define ITEM_HEADER offsetof(Item, data)

StaticAssertDecl(offsetof(Item, data) == 12, "an item's header has twelve bytes");

/* Flags beside those of store.h: what stands in data, in this order. */
#define ITEM_LINKED	 0x10 /* ItemLinks */
#define ITEM_LONG	 0x20 /* ItemLong */
#define ITEM_EXPIRES 0x40 /* StoreTime */
#define ITEM_META	 0x80 /* uint16: bytes of the meta */

/* Type code: the Oid stands in data, behind the above. */
#define TYPE_INLINE 0

#define HINT_READ  0x80 /* since the hand's last visit, kept where the version changes */
#define HINT_MAIN  0x40 /* of one that is linked: in the main circle */
#define HINT_COUNT 0x0f /* so often the main hand spares it though nobody reads it */

/* Of an entry's version, whose ids are even: read since the hand's last visit. */
#define VERSION_READ 1

/* Its neighbours in the circle of a cache with a quota; 0: in none yet. */
typedef struct ItemLinks
{
	ItemRef next;
	ItemRef previous;
} ItemLinks;

typedef struct ItemLong
{
	uint32 value_size;
	ItemRef rest; /* the first piece of what does not fit, 0: none */
	uint16 key_size;
} ItemLong;

#define ITEM_LONG_BYTES (offsetof(ItemLong, key_size) + sizeof(uint16))

/* A piece of a value. */
typedef struct Piece
{
	pg_atomic_uint32 version; /* VERSION_PIECE */
	ItemRef next;
	ItemRef head; /* 0 while the value is being written: do not evict */
	char data[FLEXIBLE_ARRAY_MEMBER];
} Piece;

#define PIECE_HEADER offsetof(Piece, data)

typedef struct FreeCell
{
	pg_atomic_uint32 version; /* VERSION_FREE */
	uint32 next;			  /* in the page's list: the cell's place + 1 */
} FreeCell;

#define BUCKET_SLOTS 12

/* Tags that are no key's. */
#define TAG_NONE  0
#define TAG_CHAIN 255 /* of the last slot: its reference is to the next bucket */

/*
 * A bucket of the index.  A key has two of them and stands in either; where both
 * are full, in one of the chain that the first begins.
 */
typedef struct Bucket
{
	pg_atomic_uint32 version; /* moves when the chain does; VERSION_BUCKET in a cell */
	uint8 tags[BUCKET_SLOTS];
	pg_atomic_uint32 refs[BUCKET_SLOTS];
} Bucket;

StaticAssertDecl(sizeof(Bucket) == LINE_BYTES, "a bucket fills one cache line");

/* Where an item's reference stands. */
typedef struct IndexSlot
{
	Bucket *bucket;
	int slot;
} IndexSlot;

/* What pages are for. */
typedef enum Zone
{
	ZONE_SMALL,	 /* items on probation */
	ZONE_MAIN,	 /* items that were read while they were */
	ZONE_PIECES, /* pieces and buckets, which no hand visits */
	ZONE_PINNED, /* items that stay while anything else can go */
	ZONES
} Zone;

/* A ghost, taken apart. */
typedef struct Ghost
{
	StoreAbsence absence;
	Zone zone; /* small or main */
	uint32
		sequence; /* so many had been thrown out of that zone, GHOST_SEQUENCE at most */
} Ghost;

/* A page's description; guarded by its partition's lock, or the pool's. */
typedef struct Page
{
	uint8 size_class;
	uint8 zone;
	uint16 partition; /* read by the sweep, too; NO_PARTITION: nobody's */
	uint16 cells;
	uint16 free_cells;
	uint16 free_list;				 /* place of a free cell + 1, 0 = none */
	bool has_room;					 /* is in the ring's list of pages with free cells */
	uint32 next, previous;			 /* page numbers in the circle; next in the pool */
	uint32 next_room, previous_room; /* among those with free cells */
} Page;

#define NO_PARTITION PG_UINT16_MAX

/*
 * The pages of one class and zone of a partition, a circle in which a hand goes
 * round: behind it is what it comes to last.
 */
typedef struct Ring
{
	uint32 hand_page; /* where the hand stands, 0: there are no pages */
	uint32 hand_cell;
	uint32 page_count;
	uint32 room;	  /* first page with a free cell, 0 = none */
	uint32 lap_pages; /* passed since the lap began */
	uint64 lap_began; /* ticks */
	uint64 lap_took;  /* the last one */
} Ring;

typedef struct SizeClass
{
	Ring rings[ZONES];
	uint32 evictions; /* to make room here, since the start */
	uint32 look_at;	  /* evictions at which to look for an idle class again */
	uint32 used_cells;
	uint32 entries;	  /* heads among them ... */
	uint32 in_pieces; /* ... and those of the heads that go on in pieces */
	int64 used_bytes; /* what the used cells were asked for */
} SizeClass;

/* What the policy of eviction remembers and adapts. */
typedef struct Steering
{
	uint32 evicted[ZONE_PIECES]; /* out of the small and the main zone, so far */
	uint32 probation; /* the part of all entries that is to be in the small one */
	int ceiling;	  /* of the counts of entries in the main one */
} Steering;

/* Linked entries of a cache with a quota, in one partition. */
typedef struct Circle
{
	ItemRef hand; /* 0: there are none */
	uint32 count;
} Circle;

typedef struct PartitionCache
{
	Oid database;	   /* whose keys are hashed here; changes only while items is 0 */
	uint32 items;	   /* that stand in the index, dead ones too */
	uint64 cleared_at; /* entries and bytes count what was put since */
	int64 entries;
	int64 bytes; /* keys, metas and values */
	int64 evictions;
	int64 expirations;
	Circle circles[ZONE_PIECES]; /* with a quota */
	Steering steering;			 /* the same */
} PartitionCache;

typedef struct Partition
{
	LWLock *lock;	/* guards all below and all entries hashed here */
	uint64 last_id; /* ticks */
	uint32 entries; /* in the index, dead ones too */
	Steering steering;
	SizeClass classes[CLASS_MAX];
	PartitionCache caches[MAX_CACHES];
} Partition;

/* A numbered cache.  All but cleared_at is set under the caches' lock. */
typedef struct StoreCache
{
	pg_atomic_uint64 cleared_at; /* entries with this id or a lower one are dead */
	pg_atomic_uint64 max_memory; /* bytes, 0: without a quota */
	pg_atomic_uint32 pinned;	 /* 1: its entries are in pinned zones */
	Oid database;				 /* InvalidOid: the number is free */
	NameData name;
	StoreCacheStat before; /* counts of those who had the number before */
} StoreCache;

/* What is written often of a cache with a quota: in a cache line of its own. */
typedef struct Quota
{
	pg_atomic_uint64 memory pg_attribute_aligned(LINE_BYTES); /* bytes of cells taken */
	pg_atomic_uint32 hand; /* the partition to throw out from next */
} Quota;

typedef struct StoreShared
{
	uint32 partition_count; /* a power of two; fixed, like all sizes */
	uint32 buckets_per_partition;
	uint32 page_count;
	uint32 class_count;
	uint32 class_bytes[CLASS_MAX];
	LWLock *pool_lock;	 /* guards the pool */
	LWLock *caches_lock; /* guards the registering of caches */
	/* Ticks, some seconds ago: no id is a day later.  Spares readers the clock. */
	pg_atomic_uint64 coarse_time;
	pg_atomic_uint32 cache_count;
	pg_atomic_uint32 cache_closings; /* how often a number was taken back */
	pg_atomic_uint32 types[256];	 /* Oid by code, 0: the code is free */
	StoreCache caches[MAX_CACHES];
	Quota quotas[MAX_CACHES];
	/* What is written often, away from what every hit reads: */
	uint32 pool
		pg_attribute_aligned(PG_CACHE_LINE_SIZE); /* first page of nobody, 0 = none */
	uint32 pool_count;
	pg_atomic_uint32 steal_hand; /* the partition to take a page from next */
	pg_atomic_uint32 sweep_hand; /* the page to sweep next */
} StoreShared;

/*
 * Backend-local pointers into shared memory, set at start.  A page's stamp is
 * its class in the lower eight bits, above them how often it was cut.
 */
extern StoreShared *store;
extern Partition *store_partitions;
extern Bucket *store_buckets;
extern pg_atomic_uint32 *store_stamps;
extern Page *store_pages;
extern char *store_arena;
extern uint8 store_class_by_size[PAGE_BYTES / CELL_ALIGN + 1];

#define CLASS_NONE 255

#define ref_page(ref) ((ref) >> CELL_BITS)
#define ref_cell(ref) ((ref) & ((1 << CELL_BITS) - 1))

static inline ItemRef
make_ref(uint32 page, uint32 cell)
{
	return page << CELL_BITS | cell;
}

/* The smallest class whose cells hold so many bytes, at most PAGE_BYTES. */
static inline int
class_for(Size bytes)
{
	return store_class_by_size[(bytes + CELL_ALIGN - 1) / CELL_ALIGN];
}

static inline void *
cell_address(uint32 page, uint32 cell, uint32 cell_bytes)
{
	return store_arena + (Size) page * PAGE_BYTES + (Size) cell * cell_bytes;
}

static inline uint32
page_cell_bytes(uint32 page)
{
	return store->class_bytes[store_pages[page].size_class];
}

/* With the partition's lock. */
static inline void *
ref_address(ItemRef ref)
{
	return cell_address(ref_page(ref), ref_cell(ref), page_cell_bytes(ref_page(ref)));
}

static inline Partition *
partition_of(uint64 hash)
{
	return &store_partitions[hash & (store->partition_count - 1)];
}

/* The hash of a key has 61 bits that count: 6 choose the partition, 8 its tag ... */
static inline uint8
tag_of(uint64 hash)
{
	return 1 + ((hash >> 6) & 0xff) % 254;
}

/* ... and twice 23 its two buckets, which may be one and the same. */
static inline Bucket *
bucket_from_bit(uint64 hash, int bit)
{
	uint32 partition = hash & (store->partition_count - 1);
	uint64 place = (hash >> bit) & 0x7fffff;

	return &store_buckets[(Size) partition * store->buckets_per_partition +
						  (place * store->buckets_per_partition >> 23)];
}

static inline Bucket *
first_bucket(uint64 hash)
{
	return bucket_from_bit(hash, 14);
}

static inline Bucket *
second_bucket(uint64 hash)
{
	return bucket_from_bit(hash, 37);
}

static inline uint64
item_id(const Item *item)
{
	return (uint64) item->id_high << 32 |
		   (pg_atomic_read_u32((pg_atomic_uint32 *) &item->version) & ~VERSION_READ);
}

/* An id whole again, from its 48 bits: it is of the last two years. */
static inline uint64
whole_id(uint64 id)
{
	uint64 ahead = pg_atomic_read_u64(&store->coarse_time) + CG_TICKS_PER_SECOND * 86400;

	return ahead - ((ahead - id) & PG_UINT64_MAX >> 16);
}

/* A bit for each slot of the bucket with this tag. */
static inline uint32
match_tags(const Bucket *bucket, uint8 tag)
{
#ifdef __SSE2__
	__m128i line = _mm_loadu_si128((const __m128i *) bucket);
	int equal = _mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi8((char) tag)));

	return (uint32) equal >> offsetof(Bucket, tags);
#else
	uint32 match = 0;

	for (int i = 0; i < BUCKET_SLOTS; i++)
		match |= (uint32) (bucket->tags[i] == tag) << i;
	return match;
#endif
}

/* An entry lives for a year at most, so that 48 bits of its id suffice. */
#define ENTRY_AGE_MAX (365 * 86400 * CG_TICKS_PER_SECOND)

static inline bool
is_entry(uint32 version)
{
	return version > VERSION_LAST;
}

typedef struct ItemView ItemView;

/* Functions in shmem.c */
extern StoreTime cg_store_time_of(uint64 ticks);
extern void cg_store_tick(uint64 now);

/* Functions in partition.c */
extern void cg_partition_lock(Partition *partition);

/* Functions in lookup.c */
extern bool cg_lookup_prefetch(const StoreKey *key);

/* Functions in caches.c */
extern void cg_store_counters_request(void);
extern void cg_store_counters_init(void);
extern bool cg_store_is_alive(const ItemView *view);
extern bool cg_store_has_expired(const ItemView *view);
extern StoreAbsence cg_store_absence_of_dead(const ItemView *view);

/* Functions in arena.c: the partition's lock is held, exclusively */
extern ItemRef cg_arena_allocate_locked(Partition *partition, int size_class, Zone zone,
										uint32 wanted);
extern void cg_arena_free_locked(Partition *partition, ItemRef ref, uint32 wanted);
extern void cg_arena_release_page_locked(Partition *partition, uint32 page);
extern void cg_arena_rezone_page_locked(Partition *partition, uint32 page, Zone zone);

/* Functions in index.c: the partition's lock is held */
extern ItemRef cg_index_find_locked(const StoreKey *key, IndexSlot *slot);
extern ItemRef cg_index_find_hash_locked(const Partition *partition, uint64 hash,
										 ItemRef but, IndexSlot *slot);
extern bool cg_index_is_full_locked(uint64 hash);
extern void cg_index_insert_locked(uint64 hash, ItemRef ref, ItemRef *cell);
extern void cg_index_remove_locked(Partition *partition, IndexSlot *slot, uint64 hash);
extern void cg_index_bury_locked(Partition *partition, const IndexSlot *slot, uint64 hash,
								 const Ghost *ghost);
extern bool cg_index_exorcise_locked(uint64 hash, Ghost *ghost);
extern bool cg_index_locate_locked(uint64 hash, ItemRef ref, IndexSlot *slot);
extern Bucket *cg_index_next(const Bucket *bucket);

/* Functions in item.c */
extern ItemRef cg_item_make(Partition *partition, const StoreKey *key,
							const StoreEntry *entry, Zone zone, bool *disturbed);
extern ItemRef cg_item_make_bucket(Partition *partition, bool *disturbed);
extern bool cg_item_rewrite_locked(Partition *partition, ItemRef ref, const StoreKey *key,
								   const StoreEntry *entry);
extern bool cg_item_retime_locked(Partition *partition, ItemRef ref,
								  StoreTime expires_at);
extern void cg_item_publish_locked(Partition *partition, ItemRef ref, StoreEntry *entry);
extern void cg_item_remove_locked(Partition *partition, ItemRef ref, IndexSlot *slot,
								  StoreAbsence absence);
extern bool cg_item_move_locked(Partition *partition, ItemRef ref, Zone zone);
extern void cg_item_retire_locked(Partition *partition, ItemRef ref);
extern bool cg_item_suits_cache(ItemRef ref);
extern Size cg_item_cells_bytes(ItemRef ref);
extern void cg_item_free_locked(Partition *partition, ItemRef ref);
extern void cg_item_free_bucket_locked(Partition *partition, ItemRef ref);

#endif /* CACHEGRID_STORE_INTERNAL_H */
