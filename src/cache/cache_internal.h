/*-------------------------------------------------------------------------
 *
 * cache_internal.h
 *	  What the files of this floor share.
 *
 * An entry's meta, as the store keeps it for us:
 *
 *	EntryMeta | EntryGrace | EntryLinger | gens: DependencyGen[gen_count] | tags: (size, bytes)...
 *
 * The gens are of everything the entry depends on but its own key: the key's
 * prefix first, then (in the default cache) the cache, then tags, their
 * prefixes, relations.
 *
 * Most entries have no grace: when they expire they are gone.  A computed one whose
 * cache has a stale_ttl is kept for that much longer.  It is a miss then for all, but
 * fetch() may give it instead of the value that is being computed.
 *
 * One whose cache has serve_invalidated says so in an EntryLinger (linger.c), depends
 * on its key, too, and has room for an expiry though it may have none.
 *
 * A plain entry without tags has no meta.  It depends on its home alone, the
 * prefix and perhaps the cache, and its id is the time when it was put: it is
 * current if the gens there, times of stamps, are earlier.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_CACHE_INTERNAL_H
#define CACHEGRID_CACHE_INTERNAL_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "lib/ilist.h"
#include "utils/snapshot.h"

#include "cache/cache.h"
#include "store/store.h"

/* So many keys are fetched ahead of the one that is looked up or put. */
#define KEYS_AHEAD 8

typedef struct EntryMeta
{
	uint64 identity; /* of what computed it; plain entries: 0 */
	Oid role;		 /* derived: who computed it */
	uint32 shape;	 /* of a composite type when it was put, else 0 */
	uint16 gen_count;
	uint16 tag_count;
	uint16 tag_bytes;
	uint8 flags;
	uint8 load_time; /* of computing it: early.c */
} EntryMeta;

#define META_GRACE	 0x01 /* an EntryGrace follows */
#define META_LINGERS 0x02 /* an EntryLinger does */

/* Expires as late as never, with room for another expiry. */
#define EXPIRES_NEVER_YET (CG_STORE_NEVER - 1)

typedef struct EntryGrace
{
	StoreTime fresh_until;
} EntryGrace;

typedef struct EntryLinger
{
	StoreTime current_at; /* nothing that it depends on had changed by then */
	int64 for_time;		  /* given so long after it was invalidated */
} EntryLinger;

/* A flattened value, ready for the store. */
typedef struct FlatValue
{
	Oid type;
	uint8 flags; /* STORE_VARLENA, STORE_NULL, STORE_ENCODED */
	uint32 shape;
	const char *data;
	uint32 size;
	int64 by_value; /* what data points to, for types passed by value */
} FlatValue;

/* Meta under construction; gens and tags are of the context, and grow. */
typedef struct MetaBuilder
{
	EntryMeta meta;
	EntryGrace grace; /* if the meta's flags say so, and the same: */
	EntryLinger linger;
	MemoryContext context;
	int gen_size; /* allocated */
	DependencyGen *gens;
	char *tags; /* (uint16 size, bytes)... */
} MetaBuilder;

/*
 * A fill under way, in the memory of the top-level transaction.  Backend-local.
 */
struct CacheFill
{
	CacheFill *outer;
	int level; /* of the subtransaction that began it */
	Dependency key;
	uint64 key_gen;
	uint64 entry_id; /* of the present entry, 0: none */
	char key_data[CG_KEY_MAX_BYTES];
	uint16 key_size; /* 0: shared by others, and published never */
	Snapshot
		snapshot; /* active as long as the fill lasts; NULL: from a token, or shared */
	bool dead;
	bool from_plain; /* a plain entry was read: for a ttl only */
	bool is_aside;	 /* not within another: on the list of those */
	dlist_node place_aside;
	StoreTime begun_at;
	/* Neither is later than that of what the value was computed from. */
	StoreTime fresh_until;
	StoreTime expires_at;
	MetaBuilder builder;
};

/* Where it is, if there is one. */
static inline const EntryLinger *
meta_linger(const EntryMeta *meta)
{
	const char *after = (const char *) (meta + 1);

	return (const EntryLinger *) (after +
								  (meta->flags & META_GRACE ? sizeof(EntryGrace) : 0));
}

static inline const DependencyGen *
meta_gens(const EntryMeta *meta)
{
	const char *after = (const char *) meta_linger(meta);

	return (const DependencyGen *) (after + (meta->flags & META_LINGERS
												 ? sizeof(EntryLinger)
												 : 0));
}

/* Until when an entry with this meta that expires then is a hit. */
static inline StoreTime
meta_fresh_until(const EntryMeta *meta, StoreTime expires_at)
{
	if (meta->flags & META_GRACE)
		expires_at = Min(((const EntryGrace *) (meta + 1))->fresh_until, expires_at);
	return expires_at == EXPIRES_NEVER_YET ? CG_STORE_NEVER : expires_at;
}

static inline const char *
meta_tags(const EntryMeta *meta)
{
	return (const char *) (meta_gens(meta) + meta->gen_count);
}

/*
 * Each function's contract stands at its body.
 */

/* Functions in value.c */
extern void cg_value_flatten(const CacheValue *value, FlatValue *flat);
extern bool cg_value_restore(uint16 cache, const StoreCopy *copy, uint32 shape,
							 CacheValue *value);

/* Functions in early.c */
extern uint8 cg_early_load_time(int64 microseconds);
extern bool cg_early_is_due(double beta, uint8 load_time, int64 left);

/* Functions in linger.c */
extern StoreTime cg_linger_until(const StoreEntry *entry, const EntryMeta *meta,
								 Dependency key);
extern bool cg_linger_is_over(const StoreKey *key, const StoreEntry *entry);
extern void cg_linger_note(const EntryMeta *meta, Dependency key, StoreTime now);
extern StoreTime cg_linger_spare(const StoreEntry *present);

/* Functions in compress.c */
extern void cg_value_compress(const CachePolicy *policy, FlatValue *flat);
extern char *cg_value_decompress(uint16 cache, const StoreCopy *copy);

/* Functions in meta.c */
extern void cg_meta_init(MetaBuilder *builder, MemoryContext context, uint64 identity,
						 Oid role);
extern void cg_meta_free(MetaBuilder *builder);
extern void cg_meta_add_gen(MetaBuilder *builder, Dependency dependency, uint64 gen);
extern void cg_meta_add_tag_name(MetaBuilder *builder, const CacheKey *tag);
extern bool cg_meta_add_set(MetaBuilder *builder, const CachePolicy *policy,
							const CacheKey *key, const CacheKey *tags, int tag_count,
							Snapshot snapshot);
extern bool cg_meta_covers(const MetaBuilder *builder, Dependency dependency);
extern Size cg_meta_size(const MetaBuilder *builder);
extern char *cg_meta_finish(const MetaBuilder *builder);
extern bool cg_meta_gens_are_current(const EntryMeta *meta);
extern bool cg_meta_is_current(const StoreKey *key, const StoreEntry *entry);
extern bool cg_meta_home_is_older(const Dependency *home, int count, uint64 id);

/* Functions in policy.c */
extern StoreKey cg_policy_store_key(const CachePolicy *policy, const CacheKey *key,
									Dependency dependency);
extern void cg_policy_end_transaction(void);
extern int cg_policy_home(const CachePolicy *policy, const CacheKey *key,
						  Dependency *home);
extern int cg_policy_home_of_entry(const StoreKey *key, Dependency *home);

/* Functions in options.c */
extern const char *cg_options_name(HeapTuple row, TupleDesc descriptor);
extern void cg_options_init(CachePolicy *policy);
extern void cg_options_read(HeapTuple row, TupleDesc descriptor, MemoryContext context,
							CachePolicy *policy);

/* Functions in ttl.c */
extern StoreTime cg_policy_expiry(const CachePolicy *policy, int64 ttl);

/* Functions in fill.c */
extern CacheFill *cg_fill_current(void);
extern CacheFill *cg_fill_make(const CacheKey *key, Dependency dependency,
							   uint64 identity);
extern void cg_fill_end(CacheFill *fill);
extern void cg_fill_free(CacheFill *fill);
extern void cg_fill_inherit(CacheFill *fill, Dependency key, uint64 key_gen,
							const EntryMeta *meta, StoreTime expires_at);
extern void cg_fill_inherit_plain(CacheFill *fill);
extern void cg_fill_spoil(CacheFill *fill);
extern void cg_fill_forget(int level);

/* Functions in immediate.c */
extern bool cg_immediate_remove(const StoreKey *key);

/* Functions in own.c */
typedef enum OwnAnswer
{
	OWN_NOTHING, /* this transaction did not write the key */
	OWN_VALUE,
	OWN_DELETED
} OwnAnswer;
extern OwnAnswer cg_own_lookup(const CacheKey *key, Dependency dependency,
							   CacheValue *value, StoreTime *expires_at);

#endif /* CACHEGRID_CACHE_INTERNAL_H */
