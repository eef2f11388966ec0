/*-------------------------------------------------------------------------
 *
 * store.h
 *	  Entries in shared memory: one fixed segment, its own allocator, an
 *	  index, eviction and expiry.  Knows no transactions.
 *
 * An entry may be gone at any time; what is found is always whole, of that
 * very key, and not expired.  A lookup takes no lock and writes nothing
 * shared but a reference bit that was not set.  Writers lock one partition.
 *
 * Keys are told apart by hash, cache number and bytes; databases by the
 * cache number, which belongs to one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_STORE_H
#define CACHEGRID_STORE_H

#include "base/key.h"

/* The limit of a value, in bytes; a key has at most CG_KEY_MAX_BYTES. */
#define CG_STORE_VALUE_MAX (16 * 1024 * 1024)
#define CG_STORE_META_MAX  4096

/* Numbers of caches are below it. */
#define CG_STORE_CACHES_MAX 256

/* Times are microseconds of a clock that never steps. */
typedef int64 StoreTime;
#define CG_STORE_NEVER PG_INT64_MAX

/* Flags of an entry. */
#define STORE_VARLENA 0x01 /* a lookup puts a varlena header before the value */
#define STORE_DERIVED 0x02 /* left to the caller */
#define STORE_NULL	  0x04 /* left to the caller */
#define STORE_ENCODED \
	0x08 /* a lookup copies the value as it is, for the caller to decode */
#define STORE_FLAGS 0x0f

typedef struct StoreKey
{
	uint64 hash;
	const char *data;
	uint16 size;
	uint16 cache; /* number from cg_store_cache_open */
} StoreKey;

/* An entry on its way in or out.  The bytes belong to the caller. */
typedef struct StoreEntry
{
	uint64 id; /* out: ticks of the clock when it was put; no key has the same twice */
	Oid type;
	uint8 flags;
	StoreTime created_at; /* out */
	StoreTime expires_at;
	const char *meta; /* the caller's, opaque */
	uint32 meta_size;
	const char *value; /* out, from a judge: NULL if it is not in one piece */
	uint32 value_size;
} StoreEntry;

/*
 * A looked-up entry, copied; value is palloc'd, and a varlena if flagged so.  Where it
 * is flagged as encoded it holds until the next lookup, and is to be given back by
 * cg_store_free_value.
 */
typedef struct StoreCopy
{
	StoreEntry entry;
	char *value;
	char *meta;			   /* points to meta_inline, or is palloc'd */
	char meta_inline[256]; /* aligned as its place in the struct is */
} StoreCopy;

typedef enum StoreVerdict
{
	STORE_LEAVE,   /* change nothing */
	STORE_REPLACE, /* put the new entry in the old one's place, or as a first one */
	STORE_REMOVE,  /* remove the present entry */
	STORE_RETIME   /* give the present entry the new one's expiry */
} StoreVerdict;

/*
 * Decides a write, called under the partition's lock with the present entry
 * (NULL: none that is alive).  May change what it is about to put, as long
 * as the size stays.  Must not raise errors, allocate or lock.
 */
typedef StoreVerdict (*StoreJudge)(const StoreEntry *present, StoreEntry *next,
								   void *arg);

/* May an entry be thrown away, though it has not expired?  Same rules. */
typedef bool (*StoreIsDead)(const StoreKey *key, const StoreEntry *entry);

/*
 * Until when an entry that is to be dropped may stay, 0: it may not.  Same rules as for a
 * judge.
 */
typedef StoreTime (*StoreSpare)(const StoreEntry *present);

/*
 * Each function's contract stands at its body.
 */

/* Functions in shmem.c */
extern void cg_store_shmem_request(void);
extern void cg_store_shmem_init(void);
extern bool cg_store_attached(void);
extern StoreTime cg_store_now(void);

/* Why a key is not there, as far as the index still knows. */
typedef enum StoreAbsence
{
	ABSENCE_UNKNOWN, /* never put, removed on purpose, or long ago */
	ABSENCE_EVICTED,
	ABSENCE_DROPPED, /* by its hash, or with its cache */
	ABSENCE_EXPIRED
} StoreAbsence;

/* Functions in lookup.c */
extern bool cg_store_lookup(const StoreKey *key, StoreCopy *copy);
extern StoreAbsence cg_store_absence(const StoreKey *key);
extern void cg_store_free_value(StoreCopy *copy);
extern bool cg_store_peek(const StoreKey *key, StoreEntry *entry);
extern void cg_store_prefetch_bucket(const StoreKey *key);
extern void cg_store_prefetch_item(const StoreKey *key);

/* Functions in write.c */
extern bool cg_store_put(const StoreKey *key, StoreEntry *entry, StoreJudge judge,
						 void *arg);
extern StoreVerdict cg_store_judge(const StoreKey *key, StoreEntry *next,
								   StoreJudge judge, void *arg);
extern void cg_store_drop(uint64 hash);
extern void cg_store_end(uint64 hash, StoreSpare spare);

/* Functions in sweep.c */
extern int64 cg_store_sweep(uint32 pages, StoreIsDead is_dead);

/* Functions in scan.c */
typedef struct StoreScan StoreScan;
extern StoreScan *cg_store_scan_begin(void);
extern bool cg_store_scan_next(StoreScan *scan, StoreKey *key, StoreEntry *entry);
extern void cg_store_scan_end(StoreScan *scan);

/* Functions in caches.c: numbered caches and their counters */
typedef enum StoreCounter
{
	COUNT_LOOKUPS, /* by outcome, from this one on: the cache floor says what each means */
	COUNT_LOOKUPS_LAST = COUNT_LOOKUPS + 10,
	COUNT_LOADS,
	COUNT_LOAD_MICROSECONDS,
	COUNT_SETS,
	COUNT_INVALIDATIONS,
	COUNT_REFUSED,		  /* fills not begun or published for want of a settled slot */
	COUNT_PLAIN_BYTES,	  /* of values that were to be compressed ... */
	COUNT_STORED_BYTES,	  /* ... and what was made of them */
	COUNT_COMPRESS_TICKS, /* there and back */
	COUNT_LOAD_ERRORS,
	COUNT_STALE,	 /* stale values that were given */
	COUNT_EARLY,	 /* loads begun before the value had expired */
	COUNT_REFRESHES, /* loads in the background, of values in use */
	STORE_COUNTERS
} StoreCounter;

typedef struct StoreCacheStat
{
	int64 entries;
	int64 bytes;
	int64 evictions;
	int64 expirations;
	int64 counters[STORE_COUNTERS];
} StoreCacheStat;

/* What a cache may take; known to all processes. */
typedef struct StoreLimits
{
	uint64 max_memory; /* bytes of whole cells, 0: no limit of its own */
	bool pinned;	   /* entries stay while any of others can go */
} StoreLimits;

extern bool cg_store_cache_open(Oid database, const char *name, const StoreLimits *limits,
								bool publish, uint16 *number);
extern void cg_store_cache_limit(Oid database, const char *name,
								 const StoreLimits *limits);
extern void cg_store_cache_close(Oid database, const char *name);
extern void cg_store_cache_clear(uint16 cache);
extern void cg_store_database_dropped(Oid database);
extern void cg_store_count(uint16 cache, StoreCounter counter, int64 by);
extern void cg_store_cache_stat(uint16 cache, StoreCacheStat *stat);
extern uint64 cg_store_cache_memory(uint16 cache);
extern bool cg_store_cache_name(uint16 cache, Oid *database, const char **name);
extern int cg_store_cache_count(void);
extern uint32 cg_store_cache_closings(void);

/* Functions in stat.c: memory by size class */
typedef struct StoreClassStat
{
	int32 cell_bytes; /* 0: free pages, -1: everything that is no page */
	int64 pages;
	int64 used_bytes; /* whole cells of live entries */
	int64 free_bytes;
	int64 waste_bytes; /* of the used: not asked for */
	int64 entries;
} StoreClassStat;

extern int cg_store_class_count(void);
extern void cg_store_class_stat(int size_class, StoreClassStat *stat);

#endif /* CACHEGRID_STORE_H */
