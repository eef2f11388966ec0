/*-------------------------------------------------------------------------
 *
 * store_internal.h
 *	  The memory of the store: only for the files of this floor.
 *
 *	+--------+--------+---------+-------+----------------------------------+
 *	| header | caches | buckets | pages | arena: pages of PAGE_BYTES       |
 *	+--------+--------+---------+-------+----------------------------------+
 *
 * The arena is cut into pages; a page belongs to nobody, or to one size
 * class of one partition and is then cut into cells of that class.  An entry
 * is an item in one cell: header, key, meta, value.  What does not fit goes
 * on in a chain of chunks, cells of the same partition, so that a value of
 * any size needs no two adjacent pages.
 *
 * References are 32-bit, in units of ITEM_ALIGN bytes from the arena's start
 * (0 = none; the first page is never used), and so the same in every
 * process.
 *
 * Locks.  A partition's lock guards its buckets, its pages and everything in
 * them; the pool's lock, taken inside it, the pages of nobody.  Nobody holds
 * two partitions.  Readers hold none: the version word of an item is 0 when
 * its cell is free, odd while it is written, and otherwise a number that the
 * partition never gives twice.  It is the cell's first word, and a page's
 * generation changes when it is cut anew: equal readings of both, before and
 * after, prove a copy whole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_STORE_INTERNAL_H
#define CACHEGRID_STORE_INTERNAL_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/s_lock.h"
#include "storage/spin.h"

#include "base/compat.h"
#include "store/store.h"

#define PAGE_BYTES		32768
#define ITEM_ALIGN		16
#define CLASS_MIN_BYTES 64
#define CLASS_MAX		48
#define PARTITIONS_MAX	64
#define MAX_CACHES		256

typedef uint32 ItemRef;

/* Values of a version word that are no id. */
#define VERSION_FREE	0
#define VERSION_CHUNK	1
#define VERSION_WRITING 3

/* The head of an entry, in shared memory; all cells begin with the version. */
typedef struct Item
{
	pg_atomic_uint64 version;
	uint64 hash;
	StoreTime expires_at; /* may change while readers copy: eight bytes at once */
	ItemRef next;		  /* in the bucket */
	ItemRef rest;		  /* first chunk of what does not fit here */
	uint32 value_size;
	Oid type;
	uint32 created_at; /* seconds of the store's clock */
	uint16 cache;
	uint16 key_size;
	uint16 meta_size;
	uint8 flags;					  /* STORE_... */
	uint8 referenced;				  /* set by readers without a lock */
	uint32 epoch;					  /* of the cache when it was put */
	char data[FLEXIBLE_ARRAY_MEMBER]; /* meta, key, value or its beginning */
} Item;

#define ITEM_HEADER offsetof(Item, data)

/* A piece of a value; data fill the cell but for the last one. */
typedef struct Chunk
{
	pg_atomic_uint64 version; /* VERSION_CHUNK */
	ItemRef next;
	ItemRef head; /* 0 while the value is being written: do not evict */
	char data[FLEXIBLE_ARRAY_MEMBER];
} Chunk;

#define CHUNK_HEADER offsetof(Chunk, data)

typedef struct FreeCell
{
	pg_atomic_uint64 version; /* VERSION_FREE */
	ItemRef next;			  /* in the page's list */
} FreeCell;

/* A page's description; guarded by its partition's lock, or the pool's. */
typedef struct Page
{
	pg_atomic_uint32 generation; /* read by readers, too: moves when cut anew */
	uint16 partition;
	int8 size_class; /* read by readers, too; -1: nobody's */
	bool has_room;	 /* is in the class's list of pages with free cells */
	uint16 cells;
	uint16 free_cells;
	ItemRef free_list;
	uint32 next, previous;			 /* page numbers in the class; next in the pool */
	uint32 next_room, previous_room; /* among those with free cells */
} Page;

/* A size class in a partition. */
typedef struct SizeClass
{
	uint32 pages; /* first page number, 0 = none */
	uint32 page_count;
	uint32 room;	  /* first page with a free cell, 0 = none */
	uint32 hand_page; /* where the clock's hand stands, 0 = nowhere */
	uint32 hand_cell;
	uint32 used_cells;
	uint32 entries;		 /* heads among the used cells */
	int64 wanted_bytes;	 /* what the used cells were asked for */
	uint32 evictions;	 /* since the start */
	StoreTime lap_began; /* when the hand last started from the first page */
	StoreTime lap_took;	 /* how long its last lap took */
} SizeClass;

typedef struct PartitionCache
{
	uint32 epoch; /* the entries and bytes are of this one */
	int64 entries;
	int64 bytes; /* keys, metas and values */
	int64 evictions;
	int64 expirations;
} PartitionCache;

typedef struct Partition
{
	LWLock *lock;				/* guards all below and all entries hashed here */
	pg_atomic_uint32 chain_seq; /* odd while a bucket's chain is being changed */
	uint64 last_id;
	SizeClass classes[CLASS_MAX];
	PartitionCache caches[MAX_CACHES];
} Partition;

/* A numbered cache.  All but the epoch is set under the pool's lock. */
typedef struct StoreCache
{
	pg_atomic_uint32 epoch; /* entries of another epoch are dead */
	Oid database;			/* InvalidOid: the number is free */
	NameData name;
	StoreCacheStat before; /* counts of those who had the number before */
} StoreCache;

typedef struct StoreShared
{
	uint32 partition_count; /* a power of two; fixed, like all sizes */
	uint32 buckets_per_partition;
	uint32 page_count;
	int class_count;
	uint32 class_bytes[CLASS_MAX];
	LWLock *pool_lock; /* guards the pool and the registering of caches */
	pg_atomic_uint32 cache_count;
	pg_atomic_uint32 cache_closings; /* how often a number was taken back */
	StoreCache caches[MAX_CACHES];
	/* What is written often, away from what every hit reads: */
	uint32 pool
		pg_attribute_aligned(PG_CACHE_LINE_SIZE); /* first page of nobody, 0 = none */
	uint32 pool_count;
	pg_atomic_uint32 steal_hand; /* the partition to take a page from next */
	pg_atomic_uint32 sweep_hand; /* the page to sweep next */
	Partition partitions[FLEXIBLE_ARRAY_MEMBER] pg_attribute_aligned(PG_CACHE_LINE_SIZE);
} StoreShared;

/* Backend-local pointers into shared memory, set at start. */
extern StoreShared *store;
extern pg_atomic_uint32 *store_buckets;
extern Page *store_pages;
extern char *store_arena;

#define ref_address(ref)  ((void *) (store_arena + (Size) (ref) *ITEM_ALIGN))
#define address_ref(cell) ((ItemRef) (((char *) (cell) -store_arena) / ITEM_ALIGN))
#define ref_page(ref)	  ((ref) / (PAGE_BYTES / ITEM_ALIGN))

static inline Partition *
partition_of(uint64 hash)
{
	return &store->partitions[hash & (store->partition_count - 1)];
}

static inline pg_atomic_uint32 *
bucket_of(uint64 hash)
{
	uint32 partition = hash & (store->partition_count - 1);
	uint32 bucket = (uint32) (hash >> 8) & (store->buckets_per_partition - 1);

	return &store_buckets[(Size) partition * store->buckets_per_partition + bucket];
}

static inline bool
item_is_alive(const Item *item, StoreTime now)
{
	return item->expires_at > now &&
		   item->epoch == pg_atomic_read_u32(&store->caches[item->cache].epoch);
}

/* Functions in shmem.c */
extern int cg_store_class_for(uint32 bytes);

/* Functions in caches.c */
extern void cg_store_counters_request(void);
extern void cg_store_counters_init(void);

/* Functions in arena.c: the partition's lock is held, exclusively */
extern void *cg_arena_allocate_locked(Partition *partition, int size_class,
									  uint32 wanted);
extern void cg_arena_free_locked(Partition *partition, void *cell, uint32 wanted);
extern bool cg_arena_adopt_page_locked(Partition *partition, int size_class);
extern void cg_arena_release_page_locked(Partition *partition, uint32 page);

/* Functions in evict.c */
extern bool cg_evict_from_class_locked(Partition *partition, int size_class);
extern bool cg_evict_page_locked(Partition *partition, int from_class);
extern bool cg_evict_idle_page_locked(Partition *partition, int for_class);
extern void cg_evict_foreign_page(void);

/* Functions in index.c: the partition's lock is held */
extern Item *cg_index_find_locked(const StoreKey *key);
extern void cg_index_link_locked(Partition *partition, Item *item);
extern void cg_index_unlink_locked(Partition *partition, Item *item);

/* Functions in item.c */
extern Item *cg_item_make(Partition *partition, const StoreKey *key,
						  const StoreEntry *entry);
extern void cg_item_free_locked(Partition *partition, Item *item);
extern void cg_item_view(const Item *item, StoreEntry *entry);

static inline const char *
item_key(const Item *item)
{
	return item->data + item->meta_size;
}

static inline Size
item_bytes(const Item *item)
{
	return (Size) item->meta_size + item->key_size + item->value_size;
}

#endif /* CACHEGRID_STORE_INTERNAL_H */
