/*-------------------------------------------------------------------------
 *
 * reclaim.c
 *	  Which page to empty when another class, or another partition, needs one.
 *
 * The time in which a class is filled anew says how long an entry that nobody reads
 * stays there.  A class that turns over much faster than another takes pages from
 * the one that turns slowest, so that memory follows a shift of value sizes.  A page
 * most of whose entries have been read since somebody looked is passed over.
 *
 * Pinned entries are in pages of their own, but for their pieces.  They go last: who finds
 * nothing else in any partition asks again, and says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/evict.h"

/* Where no class idled, so many evictions pass until the next look. */
#define LOOK_EVERY 32

/* An idle class turns this many times slower. */
#define IDLE_FACTOR 2

/* Pages that one call may look at to find one that may go. */
#define PAGE_STEPS 64

/* The head of the entry that a used cell belongs to; 0 if it must stay. */
static ItemRef
owner_of(uint32 number, uint32 place)
{
	void *cell = ref_address(make_ref(number, place));
	uint32 version = pg_atomic_read_u32((pg_atomic_uint32 *) cell);

	if (version == VERSION_PIECE)
	{
		ItemRef head = ((Piece *) cell)->head;

		/* A head that is made but not published yet cannot be thrown out. */
		if (head == 0 || !is_entry(pg_atomic_read_u32(ref_address(head))))
			return 0;
		return head;
	}
	return is_entry(version) ? make_ref(number, place) : 0;
}

/*
 * May every entry with a cell in the page go?  Not what is being written, nor a
 * bucket; nor what is pinned or, this time, mostly in use, unless the reach says so.
 */
static bool
page_may_go(uint32 number, Reach reach)
{
	int entries = 0;
	int read = 0;

	for (int i = 0; i < store_pages[number].cells; i++)
	{
		pg_atomic_uint32 *version = ref_address(make_ref(number, i));
		ItemRef owner = owner_of(number, i);
		Item *item;

		if (owner == 0 && pg_atomic_read_u32(version) != VERSION_FREE)
			return false;
		if (owner == 0)
			continue;
		if (reach < REACH_PINNED && store_pages[ref_page(owner)].zone == ZONE_PINNED)
			return false;
		item = ref_address(owner);
		entries++;
		if ((item->hints & ~HINT_MAIN) != 0 || was_read(item))
			read++;
		set_count(item, Max(0, (item->hints & HINT_COUNT) - 1));
	}
	return reach > REACH_IDLE || read * 2 <= entries;
}

/*
 * The first page from the hand on that may go, 0 if none is near.  The hand goes on
 * to it: who was spared is behind it.
 */
static uint32
find_page_to_go(Ring *ring, Reach reach)
{
	uint32 steps = Min(ring->page_count, PAGE_STEPS);

	for (uint32 step = 0; step < steps; step++)
	{
		if (page_may_go(ring->hand_page, reach))
			return ring->hand_page;
		ring->hand_page = store_pages[ring->hand_page].next;
		ring->hand_cell = 0;
	}
	return 0;
}

/*
 * Empty a page of this ring and give it to the pool: the one that the hand
 * reaches next.  False if none may go.
 */
static bool
evict_page(Partition *partition, Ring *ring, Reach reach)
{
	uint32 number = find_page_to_go(ring, reach);
	uint32 stamp;

	if (number == 0)
		return false;

	stamp = pg_atomic_read_u32(&store_stamps[number]);
	for (int i = 0; i < store_pages[number].cells; i++)
	{
		ItemRef owner = owner_of(number, i);

		if (owner)
			cg_evict_item_locked(partition, owner);
		/* The last one gives the page back, and another partition may have it. */
		if (pg_atomic_read_u32(&store_stamps[number]) != stamp)
			return true;
	}
	cg_arena_release_page_locked(partition, number);
	return true;
}

/* How long it takes to put as many new entries into the class as it has room for. */
static uint64
turnover(const SizeClass *class, Zone zone, uint64 now)
{
	const Ring *ring = &class->rings[zone];
	uint64 lap = Max(ring->lap_took, now - ring->lap_began);

	if (zone == ZONE_PINNED)
		return lap;
	return lap / ring->page_count *
		   (ring->page_count + class->rings[ZONE_MAIN].page_count);
}

/*
 * The class whose ring, of those on probation or the pinned ones, turns slowest, of those
 * that have entries; -1: no other has any.
 */
static int
find_idle_class(Partition *partition, const SizeClass *self, Zone zone, uint64 now,
				uint64 *slowest)
{
	int idle = -1;

	*slowest = 0;
	for (int i = 0; i < store->class_count; i++)
	{
		const SizeClass *class = &partition->classes[i];

		if (class == self || class->rings[zone].page_count == 0 ||
			turnover(class, zone, now) <= *slowest)
			continue;
		*slowest = turnover(class, zone, now);
		idle = i;
	}
	return idle;
}

/*
 * Does the class need a page more than the one that turns in so many ticks?  For
 * pieces alone one cannot tell: they get one now and then.
 */
static bool
needs_page(const SizeClass *self, Zone zone, uint64 slowest, uint64 now)
{
	if (self->rings[zone].page_count == 0 || self->rings[ZONE_SMALL].page_count == 0)
		return true;
	return slowest > IDLE_FACTOR * turnover(self, ZONE_SMALL, now);
}

/*
 * Take a page from the class that turns slowest, if it turns much slower than
 * this one or this one has no page of the zone at all.  Asked often: where there was
 * none to take, it does not look again for a while.
 */
bool
cg_reclaim_idle_page_locked(Partition *partition, int for_class, Zone zone)
{
	SizeClass *self = &partition->classes[for_class];
	uint64 now;
	uint64 slowest;
	bool done = false;
	int idle;

	if (self->rings[zone].page_count > 0 && (int32) (self->evictions - self->look_at) < 0)
		return false;
	now = cg_clock_ticks();
	idle = find_idle_class(partition, self, ZONE_SMALL, now, &slowest);
	if (idle >= 0 && needs_page(self, zone, slowest, now))
	{
		cg_evict_balance_locked(partition, idle);
		done = evict_page(partition, &partition->classes[idle].rings[ZONE_SMALL],
						  REACH_IDLE);
	}
	if (!done || self->rings[ZONE_SMALL].page_count == 0)
		self->look_at = self->evictions + LOOK_EVERY;
	return done;
}

/* The same among pinned entries, where there are no others. */
bool
cg_reclaim_pinned_page_locked(Partition *partition, int for_class)
{
	SizeClass *self = &partition->classes[for_class];
	uint64 now = cg_clock_ticks();
	uint64 slowest;
	int idle = find_idle_class(partition, self, ZONE_PINNED, now, &slowest);

	if (idle < 0 || (self->rings[ZONE_PINNED].page_count > 0 &&
					 slowest <= IDLE_FACTOR * turnover(self, ZONE_PINNED, now)))
		return false;
	return evict_page(partition, &partition->classes[idle].rings[ZONE_PINNED],
					  REACH_PINNED);
}

/* Empty a page of this class whose entries are not pinned. */
bool
cg_reclaim_own_page_locked(Partition *partition, int size_class)
{
	Ring *rings = partition->classes[size_class].rings;

	if (rings[ZONE_SMALL].page_count + rings[ZONE_MAIN].page_count == 0)
		return false;
	cg_evict_balance_locked(partition, size_class);
	return evict_page(partition, &rings[ZONE_SMALL], REACH_IDLE) ||
		   evict_page(partition, &rings[ZONE_MAIN], REACH_IDLE);
}

/* Empty a page of the ring that has most of them, or else of any. */
static bool
evict_any_page(Partition *partition, Reach reach)
{
	int zones = reach == REACH_PINNED ? ZONES : ZONE_PINNED;
	Ring *largest = &partition->classes[0].rings[0];

	for (int i = 0; i < store->class_count; i++)
		for (int zone = 0; zone < zones; zone++)
			if (partition->classes[i].rings[zone].page_count > largest->page_count)
				largest = &partition->classes[i].rings[zone];
	if (evict_page(partition, largest, reach))
		return true;
	for (int i = 0; i < store->class_count; i++)
		for (int zone = 0; zone < zones; zone++)
			if (evict_page(partition, &partition->classes[i].rings[zone], reach))
				return true;
	return false;
}

/*
 * Empty a page of some partition.  No lock is held on entry; whoever needs
 * the page looks into the pool afterwards.  False if there is none.
 */
bool
cg_reclaim_any_page(Reach reach)
{
	for (uint32 tries = 0; tries < store->partition_count; tries++)
	{
		uint32 next = pg_atomic_fetch_add_u32(&store->steal_hand, 1);
		Partition *partition = &store_partitions[next & (store->partition_count - 1)];
		bool done;

		cg_partition_lock(partition);
		done = evict_any_page(partition, reach);
		LWLockRelease(partition->lock);
		if (done)
			return true;
	}
	return false;
}
