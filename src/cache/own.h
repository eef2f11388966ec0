/*-------------------------------------------------------------------------
 *
 * own.h
 *	  The current transaction's own writes: for own.c and install.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_OWN_H
#define CACHEGRID_OWN_H

#include "lib/ilist.h"

#include "cache/cache_internal.h"

/*
 * What a set depends on, as of when it was made: for a set with tags or of a
 * composite type, whose entry says so, and for one in a transaction that has
 * touched something, to tell later whether somebody else stamped in between.
 */
typedef struct OwnSample
{
	MetaBuilder builder; /* home, tags, and their gens */
	uint64 key_gen;
	bool unsettled; /* may not be published beside a touch */
} OwnSample;

typedef struct OwnWrite
{
	dlist_node place;		/* among all writes, the latest first */
	struct OwnKey *key;		/* whose it is */
	struct OwnWrite *outer; /* the same key's write at a lower level */
	uint64 touch_number;	/* touches up to this one came before */
	StoreTime expires_at;
	OwnSample *sample; /* may be NULL */
	const char *meta;  /* made ready before the commit */
	uint32 meta_size;
	int level;
	bool deleted;
	uint8 flags; /* as in FlatValue, like what follows */
	Oid type;
	uint32 shape;
	uint32 size;
	char data[FLEXIBLE_ARRAY_MEMBER];
} OwnWrite;

/* All writes to one key.  Keys whose hashes collide are chained. */
typedef struct OwnKey
{
	Dependency dependency;
	Dependency home[2];
	struct OwnKey *next; /* in order of first write */
	OwnWrite *top;		 /* NULL: all rolled back */
	uint64 gen_at_commit;
	uint32 closings; /* of the store, when the cache had that number */
	uint16 cache;
	bool nobody_else; /* at commit: publish only if nobody has filled it meanwhile */
	uint8 home_count;
	uint16 key_size;
	char key_data[FLEXIBLE_ARRAY_MEMBER];
} OwnKey;

/* A cache to be cleared, closed or limited, at commit. */
typedef struct OwnClear
{
	struct OwnClear *next;
	uint16 cache;
	uint32 closings; /* of the store, when the cache had that number */
	int level;
	bool dropped;
	bool limited;
	StoreLimits limits;
	NameData name; /* of a dropped or limited one */
} OwnClear;

/* Functions in own.c; each one's contract stands at its body */
extern OwnKey *cg_own_keys(void);
extern OwnClear *cg_own_clears(void);
extern MemoryContext cg_own_context(void);
extern void cg_own_close_cache(const char *name);
extern void cg_own_limit_cache(const char *name, const StoreLimits *limits);
extern bool cg_own_touched_since(const OwnKey *own, const OwnWrite *write);
/* Does every write stand for itself, whatever else this transaction did? */
extern bool cg_own_is_simple(void);
extern void cg_own_reset(void);
extern void cg_own_subcommitted(int level);
extern void cg_own_subaborted(int level);

#endif /* CACHEGRID_OWN_H */
