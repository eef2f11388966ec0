/*-------------------------------------------------------------------------
 *
 * evict.c
 *	  Whom to throw out when there is no room: a clock with two zones, of which
 *	  one is for probation and adapts its size.
 *
 * Each size class of a partition has two rings of pages.  A new entry begins in
 * the small one.  When that ring's hand comes to it, it is thrown out if nobody
 * has read it meanwhile, and else moved to the main ring: so what is read once, as
 * by a scan, displaces only others of its kind (S3-FIFO, Yang et al. 2023).  The
 * main ring's hand spares who was read, and counts: an entry that it finds read
 * is passed over as often as its count says (a clock with counters that only the
 * hand writes; GCLOCK, Smith 1978).  A hit sets one bit, if that.
 *
 * Ghosts are what is left in the index of an entry that was thrown out: tag, zone,
 * and how many were thrown out of that zone before.  A new entry with a ghost of the
 * small ring begins in the main one.  And ghosts steer (ARC, Megiddo and Modha
 * 2003): one that is so young that a few more cells in its zone would have kept the
 * entry says that this zone is too small.  The step down is larger than the one up,
 * since ghosts of the main ring are fewer than its hits.  In a store of more than a few
 * hundred entries a step is a number of them (ARC: one), not a share: the larger the
 * store, the more ghosts have something to say while it turns over once, and with steps
 * that are a share the border would swing from end to end.
 *
 * The wider probation is, the less counters matter: where half of all entries are
 * there, the traffic likes the latest, and the main ring is a plain clock.  That is
 * the ceiling of the counters.
 *
 * If the main hand finds a row of entries that all are to be spared, the main ring
 * is too hot for a newcomer, who stays on probation instead.  That bounds the work,
 * and keeps loops and scans out.
 *
 * Entries of pinned caches have rings of their own, of pages that no hand visits: so no
 * other has to pass by them.  A pinned newcomer takes a page of the common rings.  Only
 * where these have none any more do pinned entries throw out pinned ones.
 *
 * The constants were found by simulation of recorded and of made-up traffic; the
 * result depends little on each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/evict.h"

/* What one call may do. */
#define PATIENCE	8 /* entries that the main hand may spare */
#define CHANCES		4 /* read entries that stay where they are on probation */
#define PROMOTIONS	4
#define HAND_STEPS	512 /* cells passed, used or not */
#define PIECE_TRIES 16	/* entries thrown out to free a piece */

/* Steering, in parts of all entries. */
#define STEP_UP		 (PROBATION_ALL / 10240 * 5)
#define STEP_DOWN	 (PROBATION_ALL / 10240 * 8)
#define STEP_ENTRIES 400 /* more than that: smaller steps, since ghosts are more, too */
#define YOUNG_PART	 20	 /* a ghost is young up to a twentieth of all entries */
#define YOUNG_MIN	 4

void
cg_evict_init_steering(Steering *steering)
{
	memset(steering, 0, sizeof(*steering));
	steering->probation = PROBATION_ALL / 10;
	steering->ceiling = COUNT_MOST;
}

/* Move the border between the zones, and with it the ceiling of the counters. */
static void
steer(Steering *steering, uint32 entries, int64 step)
{
	int64 all = Max(entries, STEP_ENTRIES);
	int64 share = (int64) steering->probation + step * STEP_ENTRIES / all;
	uint64 ratio;

	share = Max(share, PROBATION_ALL / 100);
	share = Min(share, PROBATION_ALL / 10 * 7);
	steering->probation = share;
	ratio = UINT64CONST(100) * PROBATION_ALL / share;
	steering->ceiling = Min(COUNT_MOST, ratio * ratio * 4 / 100000);
}

/*
 * In which zone an entry of this key, which is not there, begins: where it was, if it
 * was dropped or had expired.  A ghost of it is used up.  It is one of all entries, or, if its cache has a quota, of that cache's.
 */
Zone
cg_evict_admit_locked(Partition *partition, const StoreKey *key)
{
	PartitionCache *cache = &partition->caches[key->cache];
	bool has_quota = pg_atomic_read_u64(&store->caches[key->cache].max_memory) != 0;
	Steering *steering = has_quota ? &cache->steering : &partition->steering;
	uint32 entries = has_quota ? cache->items : partition->entries;
	Ghost ghost;
	uint32 age;

	if (!cg_index_exorcise_locked(key->hash, &ghost))
		return ZONE_SMALL;
	age = (steering->evicted[ghost.zone] - ghost.sequence) & GHOST_SEQUENCE;
	if (ghost.absence != ABSENCE_EVICTED)
		return age <= entries ? ghost.zone : ZONE_SMALL;
	if (age <= Max(entries / YOUNG_PART, YOUNG_MIN))
		steer(steering, entries, ghost.zone == ZONE_SMALL ? STEP_UP : -STEP_DOWN);
	return ghost.zone == ZONE_SMALL && age <= entries ? ZONE_MAIN : ZONE_SMALL;
}

/* Set the count of a new entry, by the zone in which it begins. */
void
cg_evict_welcome_locked(const Partition *partition, ItemRef ref)
{
	bool is_known = store_pages[ref_page(ref)].zone == ZONE_MAIN;

	((Item *) ref_address(ref))->hints =
		is_known ? Min(COUNT_GHOST, partition->steering.ceiling) : 0;
}

static void
count_removal(Partition *partition, const ItemView *view)
{
	PartitionCache *cache = &partition->caches[view->cache];

	if (cg_store_has_expired(view))
		cache->expirations++;
	else if (cg_store_is_alive(view))
		cache->evictions++;
}

/*
 * Leave a ghost in the place of an item in the index.  Those of pinned caches only tell
 * why it is gone.
 */
void
cg_evict_bury_locked(Partition *partition, ItemRef ref, const IndexSlot *slot,
					 StoreAbsence absence)
{
	Ghost ghost = {absence, (Zone) store_pages[ref_page(ref)].zone, 0};
	bool is_pinned = ghost.zone == ZONE_PINNED;
	Steering *steering = &partition->steering;
	ItemView view;

	cg_layout_view(ref, &view);
	if (view.flags & ITEM_LINKED)
	{
		const Item *item = ref_address(ref);

		ghost.zone = item->hints & HINT_MAIN ? ZONE_MAIN : ZONE_SMALL;
		steering = &partition->caches[view.cache].steering;
	}
	if (is_pinned)
		ghost.zone = ZONE_SMALL;
	ghost.sequence = steering->evicted[ghost.zone];
	if (absence == ABSENCE_EVICTED && !is_pinned)
		steering->evicted[ghost.zone]++;
	cg_index_bury_locked(partition, slot, cg_layout_hash(partition, &view), &ghost);
}

/* Take an item out of the index, where its ghost stays, and give it back. */
void
cg_evict_item_locked(Partition *partition, ItemRef ref)
{
	IndexSlot slot;
	ItemView view;

	cg_layout_view(ref, &view);
	count_removal(partition, &view);
	if (!cg_index_locate_locked(cg_layout_hash(partition, &view), ref, &slot))
		return;
	cg_item_remove_locked(partition, ref, &slot,
						  cg_store_is_alive(&view) ? ABSENCE_EVICTED
												   : cg_store_absence_of_dead(&view));
}

/* The cell under the hand, which moves on; 0 if the ring has no pages. */
static ItemRef
advance_hand(Ring *ring)
{
	ItemRef ref = make_ref(ring->hand_page, ring->hand_cell);

	if (ring->hand_page == 0)
		return 0;
	if (++ring->hand_cell < store_pages[ring->hand_page].cells)
		return ref;
	ring->hand_page = store_pages[ring->hand_page].next;
	ring->hand_cell = 0;
	if (++ring->lap_pages >= ring->page_count)
	{
		uint64 now = cg_clock_ticks();

		ring->lap_took = now - ring->lap_began;
		ring->lap_began = now;
		ring->lap_pages = 0;
	}
	return ref;
}

/* Have the cell that the hand comes to next on its way to the processor by then. */
static void
prefetch_hand(const Ring *ring)
{
	if (ring->hand_page != 0)
		__builtin_prefetch(ref_address(make_ref(ring->hand_page, ring->hand_cell)));
}

/*
 * Without the lock, and so a guess: have the buckets of the entry that will be thrown out
 * next for a newcomer of this class on their way, that the lock is held no longer for that.
 */
void
cg_evict_prefetch(const Partition *partition, int size_class)
{
	const Ring *ring = &partition->classes[size_class].rings[ZONE_SMALL];
	uint32 cell_bytes = store->class_bytes[size_class];
	uint32 page = ring->hand_page;
	uint32 cell = ring->hand_cell;
	const Item *item = cell_address(page, cell, cell_bytes);
	ItemView view;
	uint64 hash;

	if (ring->room != 0 || page == 0 || (cell + 1) * cell_bytes > PAGE_BYTES ||
		!is_entry(pg_atomic_read_u32((pg_atomic_uint32 *) &item->version)) ||
		!cg_layout_decode(item, cell_bytes, &view))
		return;
	hash = cg_layout_hash(partition, &view);
	__builtin_prefetch(first_bucket(hash));
	__builtin_prefetch(second_bucket(hash));
}

/* The next entry under the hand; 0 if there is none near. */
static ItemRef
next_entry(Ring *ring)
{
	for (int step = 0; step < HAND_STEPS; step++)
	{
		ItemRef ref = advance_hand(ring);

		if (ref == 0)
			return 0;
		if (is_entry(pg_atomic_read_u32((pg_atomic_uint32 *) ref_address(ref))))
			return ref;
	}
	return 0;
}

static bool
is_dead(ItemRef ref)
{
	ItemView view;

	cg_layout_view(ref, &view);
	return !cg_store_is_alive(&view);
}

/* Throw an entry of the main ring out; false if all near the hand are to be spared. */
static bool
evict_main(Partition *partition, int size_class)
{
	Ring *ring = &partition->classes[size_class].rings[ZONE_MAIN];

	for (int step = 0; step < PATIENCE; step++)
	{
		ItemRef ref = next_entry(ring);
		Item *item;
		int count;

		if (ref == 0)
			return false;
		item = ref_address(ref);
		count = item->hints & HINT_COUNT;
		if ((!was_read(item) && count == 0) || is_dead(ref))
		{
			cg_evict_item_locked(partition, ref);
			return true;
		}
		count += was_read(item) ? COUNT_READ : -1;
		set_count(item, Min(count, partition->steering.ceiling));
	}
	return false;
}

/* Move an entry from probation to the main ring; false if there is no room for it. */
bool
cg_evict_promote_locked(Partition *partition, ItemRef ref)
{
	int size_class = store_pages[ref_page(ref)].size_class;
	Ring *ring = &partition->classes[size_class].rings[ZONE_MAIN];

	if (ring->page_count == 0 || (ring->room == 0 && !evict_main(partition, size_class)))
		return false;
	set_count(ref_address(ref), Min(COUNT_PROMOTED, partition->steering.ceiling));
	return cg_item_move_locked(partition, ref, ZONE_MAIN);
}

/* Have a cell of probation free; false if there is none that may go. */
static bool
evict_small(Partition *partition, int size_class)
{
	Ring *ring = &partition->classes[size_class].rings[ZONE_SMALL];
	int promotions = PROMOTIONS;
	int chances = CHANCES;

	for (;;)
	{
		ItemRef ref = next_entry(ring);
		Item *item;

		if (ref == 0)
			return false;
		item = ref_address(ref);
		if (was_read(item) && !is_dead(ref))
		{
			if (promotions-- > 0 && cg_evict_promote_locked(partition, ref))
				return true;
			promotions = 0;
			if (chances-- > 0)
			{
				set_count(item, item->hints & HINT_COUNT);
				continue;
			}
		}
		cg_evict_item_locked(partition, ref);
		prefetch_hand(ring);
		return true;
	}
}

/* Throw out a pinned entry, one that was not read if there is one near. */
bool
cg_evict_pinned_locked(Partition *partition, int size_class)
{
	Ring *ring = &partition->classes[size_class].rings[ZONE_PINNED];

	for (int chances = CHANCES;; chances--)
	{
		ItemRef ref = next_entry(ring);
		Item *item;

		if (ref == 0)
			return false;
		item = ref_address(ref);
		if (!was_read(item) || chances == 0 || is_dead(ref))
		{
			cg_evict_item_locked(partition, ref);
			return true;
		}
		set_count(item, 0);
	}
}

/* Let the page under a ring's hand change to the other zone, with all that is in it. */
void
cg_evict_balance_locked(Partition *partition, int size_class)
{
	Ring *small = &partition->classes[size_class].rings[ZONE_SMALL];
	Ring *main = &partition->classes[size_class].rings[ZONE_MAIN];
	uint64 pages = small->page_count + main->page_count;
	uint64 wanted = Max(1, pages * partition->steering.probation / PROBATION_ALL);

	if (small->page_count > wanted)
		cg_arena_rezone_page_locked(partition, small->hand_page, ZONE_MAIN);
	else if (small->page_count < wanted && main->page_count > 1)
		cg_arena_rezone_page_locked(partition, main->hand_page, ZONE_SMALL);
}

/* Throw out entries that have pieces until one of this class is free. */
static bool
evict_for_piece(Partition *partition, int size_class)
{
	for (int tries = 0; tries < PIECE_TRIES; tries++)
	{
		bool done = false;

		if (partition->classes[size_class].rings[ZONE_PIECES].room != 0)
			return true;
		for (int i = store->class_count - 1; i >= 0 && !done; i--)
		{
			if (partition->classes[i].in_pieces == 0)
				continue;
			cg_evict_balance_locked(partition, i);
			done = evict_small(partition, i) || evict_main(partition, i);
		}
		if (!done)
			return false;
	}
	return false;
}

/*
 * Have a cell of this ring free, by throwing out what can best be done without.  False
 * if that cannot be done.
 */
bool
cg_evict_for_locked(Partition *partition, int size_class, Zone zone)
{
	partition->classes[size_class].evictions++;
	if (zone == ZONE_PIECES)
		return evict_for_piece(partition, size_class);
	if (zone == ZONE_PINNED)
		return cg_reclaim_own_page_locked(partition, size_class);
	cg_evict_balance_locked(partition, size_class);
	return zone == ZONE_MAIN ? evict_main(partition, size_class)
							 : evict_small(partition, size_class);
}
