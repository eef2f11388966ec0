/*-------------------------------------------------------------------------
 *
 * coherence.h
 *	  Who lately invalidated what, and whether a snapshot may believe it.
 *
 * The stamp protocol.  A dependency (a key, a tag, a prefix of either, a
 * relation) hashes to a slot in shared memory.  A transaction collects what
 * it touches, and just before it commits or prepares, still invisible, it
 * stamps every touched slot: its xid into the slot's list, and the slot's
 * generation ("gen") up, to the ticks of the clock.  A slot is settled in a
 * snapshot if everybody in its list is finished in that snapshot.  An entry is
 * served if what it depends on is settled in the reader's snapshot and has the
 * gens that were sampled before it was computed; it may be published if its
 * key was settled when sampled and neither gen nor entry has moved since.
 *
 * This floor knows dependencies, slots, snapshots and transactions, and no
 * entries: whoever keeps entries registers as a listener and is told, after
 * the stamps, which keys to drop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_COHERENCE_H
#define CACHEGRID_COHERENCE_H

#include "access/transam.h"
#include "utils/snapshot.h"

#include "base/hash.h"
#include "base/key.h"

typedef enum DependencyKind
{
	DEPENDENCY_KEY = 1,
	DEPENDENCY_KEY_PREFIX,
	DEPENDENCY_TAG,
	DEPENDENCY_TAG_PREFIX,
	DEPENDENCY_RELATION,
	DEPENDENCY_CACHE,	   /* all keys of a cache; name = its name.  Or a definition */
	DEPENDENCY_PRIVILEGES, /* what anybody may read, in any database; no name */
} DependencyKind;

/*
 * A dependency is named by a 64-bit hash of its kind, its database and its
 * name, its kind in the uppermost three bits.  Two that collide share their
 * fate: a needless miss, never a hit.  The dependency of a key is also its
 * hash in the store.
 */
typedef uint64 Dependency;

static inline DependencyKind
cg_dependency_kind(Dependency dependency)
{
	return dependency >> CG_HASH_BITS;
}

/* A dependency and the gen it had when it was sampled. */
typedef struct DependencyGen
{
	Dependency dependency;
	uint64 gen;
} DependencyGen;

/* A prepared transaction and how many dependencies it has stamped. */
typedef struct PreparedStamps
{
	uint64 xid;
	uint64 stamps;
} PreparedStamps;

/*
 * Told about the ends of the transaction.  Only stamped() may raise errors;
 * the others run when nothing can be undone and may not even allocate.
 */
typedef struct TransactionListener
{
	/*
	 * At PRE_COMMIT, or PRE_PREPARE (preparing), after all stamps: drop the
	 * entries with these keys.  Called again for keys touched after that.
	 */
	void (*stamped)(const Dependency *keys, int count, bool preparing);
	void (*before_stamp)(bool preparing); /* the last moment to touch something */
	void (*committed)(void);			  /* the transaction is visible to others */
	void (*aborted)(void);				  /* or prepared: forget everything local */
	void (*subcommitted)(int level);	  /* level joins level - 1 */
	void (*subaborted)(int level);		  /* forget what level did */
	/* On a standby, in the startup process: what happens in the log.  May not fail. */
	void (*redone)(Dependency key);			/* drop the entries with this key */
	void (*database_dropped)(Oid database); /* and all its sessions have gone */
} TransactionListener;

/* Functions in dependency.c: pure */
extern Dependency cg_dependency(DependencyKind kind, const void *name, Size size);
extern Dependency cg_dependency_in(Oid database, DependencyKind kind, const void *name,
								   Size size);
extern Dependency cg_dependency_of_key(const CacheKey *key);
extern Dependency cg_dependency_of_key_prefix(const CacheKey *key);
extern Dependency cg_dependency_of_tag(const CacheKey *tag);
extern Dependency cg_dependency_of_tag_prefix(const CacheKey *tag);
extern Dependency cg_dependency_of_relation(Oid relation);
/* What a relation is, and who may read it, but for its rows. */
extern Dependency cg_dependency_of_definition(Oid relation);

/*
 * Functions in pending.c: what the current transaction touches.  May be
 * called any number of times; may raise out of memory.  A touch after the
 * transaction's stamp is stamped and dropped at once.
 */
extern void cg_coherence_touch_key(const CacheKey *key);
extern void cg_coherence_touch_tag(const CacheKey *tag);
extern void cg_coherence_touch(Dependency dependency); /* a prefix, relation, cache ... */
extern bool cg_coherence_touched_by_me(Dependency dependency);
/*
 * Touches are numbered from 1 as they come: the number of the latest touch
 * of this dependency, 0 if there is none; while a statement is changing rows
 * under it, PG_UINT64_MAX.
 */
extern uint64 cg_coherence_last_touch(Dependency dependency);
extern uint64 cg_coherence_touch_count(void);
/* Was anything touched after this one, or is something being touched right now? */
extern bool cg_coherence_touched_since(uint64 number);

/*
 * A statement of this transaction is changing rows under these dependencies
 * (a relation, the prefixes of its templates), from its BEFORE STATEMENT to
 * its AFTER STATEMENT trigger.  Row triggers fire late and functions in
 * RETURNING see new rows before them, so meanwhile all of it counts as
 * touched.  Nests; ended by the abort of its subtransaction, too.
 */
extern void cg_coherence_statement_begins(const Dependency *dependencies, int count);
extern void cg_coherence_statement_ends(const Dependency *dependencies, int count);

/*
 * Functions in snapshot.c: the rule.
 *
 * cg_coherence_snapshot() is the active snapshot, or NULL where the cache
 * must be bypassed for derived entries (SERIALIZABLE, none or no MVCC
 * snapshot, parallel worker, a standby that knows too little, a command that changes
 * catalogs).  cg_coherence_settled() reads the dependency's slot whole; true if settled
 * in the snapshot; its gen into *gen either way.
 */
extern Snapshot cg_coherence_snapshot(void);
/* Why there is none, after it was NULL. */
typedef enum CoherenceObstacle
{
	OBSTACLE_ISOLATION,
	OBSTACLE_RECOVERY, /* under way, or it ended after the snapshot was taken */
	OBSTACLE_OWN_CATALOG_CHANGE
} CoherenceObstacle;
extern CoherenceObstacle cg_coherence_obstacle(void);
extern bool cg_coherence_settled(Dependency dependency, Snapshot snapshot, uint64 *gen);
extern uint64 cg_coherence_gen(Dependency dependency);
/* Do the slots know all that this snapshot must not believe them without? */
extern bool cg_coherence_believes(Snapshot snapshot);

/* Why no derived entry is served to a new snapshot, in a sentence; NULL: they are. */
extern const char *cg_coherence_refusal(void);

/*
 * Functions in boot.c and prepared.c
 *
 * cg_coherence_unknown() lists the prepared transactions of which nobody knows
 * what they have touched, cg_coherence_prepared() the others that have stamped.  Some
 * of both may have ended.
 */
extern int cg_coherence_unknown(uint64 *xids, int size);
extern int cg_coherence_prepared(PreparedStamps *prepared, int size);

/*
 * Functions in wal.c: stamps for standbys.  log_round() is to be called again
 * and again by one process of a server that is not in recovery; it follows the
 * setting.
 */
extern void cg_coherence_log_round(void);
extern bool cg_coherence_is_logging(void);

/*
 * Functions in catalog.c
 *
 * changes(): this transaction changes catalogs that values depend on; the
 * same command touches what is computed by them.  changed_by_me(): has it
 * done so, be it rolled back meanwhile, or is it about to?  current(): receive all
 * invalidation messages of the changes that the snapshots taken so far see;
 * false if some may still be to come: then do not fill.
 */
extern void cg_coherence_catalog_changes(void);
extern void cg_coherence_catalog_changes_now(void); /* within this command */
extern bool cg_coherence_catalog_changed_by_me(void);
extern bool cg_coherence_catalog_current(void);

/*
 * A command that may change catalogs runs, from its begin to its end, be that
 * an error: what it changes is touched by its end only.  They nest.
 */
extern void cg_coherence_catalog_command_begins(void);
extern void cg_coherence_catalog_command_ends(void);
extern bool cg_coherence_catalog_command_runs(void);

/* Functions in transaction.c */
extern void
cg_coherence_listen(const TransactionListener *listener); /* one, at load time */
extern bool cg_coherence_stamped(void); /* has this transaction stamped already? */
/* Move its gen at once, whatever becomes of this transaction: fills under way are dead. */
extern void cg_coherence_move(Dependency dependency);
/* The gens around this transaction's own stamp; false: it did not stamp that slot. */
extern bool cg_coherence_own_stamp(Dependency dependency, uint64 *before, uint64 *after);

/* Register the transaction callbacks; at load time. */
extern void cg_coherence_init(void);

/* Functions in slots.c */
extern void cg_coherence_shmem_request(void);
extern void cg_coherence_shmem_init(void);

#endif /* CACHEGRID_COHERENCE_H */
