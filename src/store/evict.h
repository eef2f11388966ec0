/*-------------------------------------------------------------------------
 *
 * evict.h
 *	  Whom to throw out: for the files of this floor.  evict.c takes whom a ring's hand
 *	  comes to, quota.c entries of one cache, reclaim.c whole pages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_STORE_EVICT_H
#define CACHEGRID_STORE_EVICT_H

#include "store/layout.h"

/* Counts of an entry in the main zone. */
#define COUNT_MOST	   15
#define COUNT_READ	   3 /* added when the hand finds it read */
#define COUNT_PROMOTED 1
#define COUNT_GHOST	   2

/* Steering, in parts of all entries. */
#define PROBATION_ALL (1 << 24)

/* Whose pages may be emptied. */
typedef enum Reach
{
	REACH_IDLE,	 /* of those that are not in use */
	REACH_USED,	 /* of all that are not pinned */
	REACH_PINNED /* of all */
} Reach;

/*
 * With the partition's lock: has somebody read it since the hand's last visit?  A
 * reader, who holds no lock, can only set VERSION_READ, and by compare-and-swap: the
 * cell may be another's by then.
 */
static inline bool
was_read(const Item *item)
{
	return (item->hints & HINT_READ) != 0 ||
		   (pg_atomic_read_u32((pg_atomic_uint32 *) &item->version) & VERSION_READ) != 0;
}

/* Set the count, and let nobody have read it. */
static inline void
set_count(Item *item, int count)
{
	item->hints = (item->hints & HINT_MAIN) | count;
	pg_atomic_fetch_and_u32(&item->version, ~VERSION_READ);
}

/* Functions in evict.c: without a lock */
extern void cg_evict_prefetch(const Partition *partition, int size_class);

/* Functions in evict.c: the partition's lock is held, exclusively */
extern Zone cg_evict_admit_locked(Partition *partition, const StoreKey *key);
extern void cg_evict_welcome_locked(const Partition *partition, ItemRef ref);
extern void cg_evict_bury_locked(Partition *partition, ItemRef ref, const IndexSlot *slot,
								 StoreAbsence absence);
extern void cg_evict_item_locked(Partition *partition, ItemRef ref);
extern bool cg_evict_promote_locked(Partition *partition, ItemRef ref);
extern void cg_evict_balance_locked(Partition *partition, int size_class);
extern bool cg_evict_pinned_locked(Partition *partition, int size_class);
extern bool cg_evict_for_locked(Partition *partition, int size_class, Zone zone);
extern void cg_evict_init_steering(Steering *steering);

/* Functions in reclaim.c */
extern bool cg_reclaim_idle_page_locked(Partition *partition, int for_class, Zone zone);
extern bool cg_reclaim_own_page_locked(Partition *partition, int size_class);
extern bool cg_reclaim_pinned_page_locked(Partition *partition, int for_class);
extern bool cg_reclaim_any_page(Reach reach);

/* Functions in quota.c */
extern bool cg_quota_reserve(Partition *partition, uint16 number, Size bytes,
							 bool *disturbed);
extern void cg_quota_release(uint16 number, Size bytes);
extern void cg_quota_link_locked(Partition *partition, ItemRef ref);
extern void cg_quota_unlink_locked(Partition *partition, ItemRef ref);
extern void cg_quota_moved_locked(Partition *partition, ItemRef from, ItemRef to);
extern void cg_quota_sweep(void);

#endif /* CACHEGRID_STORE_EVICT_H */
