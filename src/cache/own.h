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

typedef struct OwnWrite
{
	dlist_node place;		/* among all writes, the latest first */
	struct OwnKey *key;		/* whose it is */
	struct OwnWrite *outer; /* the same key's write at a lower level */
	int level;
	bool deleted;
	bool unsettled;		 /* when set: may not be published beside a touch */
	bool needs_gens;	 /* at commit: beside a touch, so its id does not say all */
	uint64 touch_number; /* touches up to this one came before */
	int64 ttl;
	StoreTime expires_at;
	FlatValue flat;		 /* its data is our copy */
	uint64 key_gen;		 /* sampled when set */
	MetaBuilder builder; /* dependencies sampled when set, and tags */
	StoreEntry entry;	 /* made ready before the commit */
} OwnWrite;

/* All writes to one key.  Keys whose hashes collide are chained. */
typedef struct OwnKey
{
	Dependency dependency;
	struct OwnKey *next; /* in order of first write */
	OwnWrite *top;		 /* NULL: all rolled back */
	uint16 cache;
	uint32 closings;  /* of the store, when the cache had that number */
	bool nobody_else; /* at commit: publish only if nobody has filled it meanwhile */
	uint64 gen_at_commit;
	uint16 key_size;
	char key_data[FLEXIBLE_ARRAY_MEMBER];
} OwnKey;

/* A cache to be cleared, or closed, at commit. */
typedef struct OwnClear
{
	struct OwnClear *next;
	uint16 cache;
	uint32 closings; /* of the store, when the cache had that number */
	int level;
	bool dropped;
	NameData name; /* of a dropped one */
} OwnClear;

/* Functions in own.c */
extern OwnKey *cg_own_keys(void);
extern OwnClear *cg_own_clears(void);
extern MemoryContext cg_own_context(void);
extern void cg_own_close_cache(const char *name);
extern bool cg_own_touched_since(const OwnKey *own, const OwnWrite *write);
extern void cg_own_reset(void);
extern void cg_own_subcommitted(int level);
extern void cg_own_subaborted(int level);

#endif /* CACHEGRID_OWN_H */
