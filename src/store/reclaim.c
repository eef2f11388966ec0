/*-------------------------------------------------------------------------
 *
 * reclaim.c
 *	  Which page to empty when another class, or another partition, needs one.
 *
 * The time in which a class is filled anew says how long an entry that nobody reads
 * stays there.  A class that turns over much faster than another takes pages from
 * the one that turns slowest, so that memory follows a shift of value sizes.
 *
 * Who is in use stays, whatever its class.  A page most of whose entries have been read
 * since somebody looked is passed over; of another, on probation, those that were read
 * move to the main ring first, as they would under the hand.  And a ring all of whose
 * pages were passed over counts as filled just now: it is not asked again until those
 * who ask have turned over, too, and so its entries had as long to be read as theirs.
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

/* Classes that are asked, one after the other, until one has a page that may go. */
#define IDLE_TRIES 4

/* Pages of a ring that are looked at to find one that may go. */
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

static inline bool
in_use(const Item *item)
{
	return (item->hints & ~HINT_MAIN) != 0 || was_read(item);
}

/*
 * May every entry with a cell in the page go?  Not what is being written, nor a
 * bucket; nor what is pinned or, this time, mostly in use, unless the reach says so.
 */
static bool
page_may_go(uint32 number, Reach reach)
{
	int entries = 0;
	int used = 0;

	for (int i = 0; i < store_pages[number].cells; i++)
	{
		pg_atomic_uint32 *version = ref_address(make_ref(number, i));
		ItemRef owner = owner_of(number, i);

		if (owner == 0 && pg_atomic_read_u32(version) != VERSION_FREE)
			return false;
		if (owner == 0)
			continue;
		if (reach < REACH_PINNED && store_pages[ref_page(owner)].zone == ZONE_PINNED)
			return false;
		entries++;
		used += in_use(ref_address(owner));
	}
	return reach > REACH_IDLE || used * 2 <= entries;
}

/* The page was passed over: those who stay in use show it until the next time. */
static void
age_page(uint32 number)
{
	for (int i = 0; i < store_pages[number].cells; i++)
	{
		ItemRef owner = owner_of(number, i);
		Item *item = ref_address(owner);

		if (owner != 0)
			set_count(item, Max(0, (item->hints & HINT_COUNT) - 1));
	}
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
		age_page(ring->hand_page);
		ring->hand_page = store_pages[ring->hand_page].next;
		ring->hand_cell = 0;
	}
	ring->lap_began = cg_clock_ticks();
	ring->lap_took = 0;
	return 0;
}

/* Throw out the entry that a cell of this page belongs to, if it cannot be kept elsewhere. */
static void
vacate(Partition *partition, uint32 number, ItemRef owner)
{
	if (store_pages[number].zone == ZONE_SMALL && ref_page(owner) == number &&
		in_use(ref_address(owner)) && cg_evict_promote_locked(partition, owner))
		return;
	cg_evict_item_locked(partition, owner);
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
			vacate(partition, number, owner);
		/* The last one gives the page back, and another partition may have it. */
		if (pg_atomic_read_u32(&store_stamps[number]) != stamp)
			return true;
	}
	cg_arena_release_page_locked(partition, number);
	return true;
}

/* Pages of the class that a newcomer could have, but for pinned ones. */
static uint32
common_pages(const SizeClass *class)
{
	return class->rings[ZONE_SMALL].page_count + class->rings[ZONE_MAIN].page_count;
}

/*
 * Empty a page of this class, of its entries one on probation if any may go.  Where most
 * pages are pieces, those come first: they cost fewer entries.
 */
static bool
evict_page_of(Partition *partition, int size_class, Reach reach)
{
	SizeClass *class = &partition->classes[size_class];
	Ring *rings = class->rings;

	if (rings[ZONE_PIECES].page_count > common_pages(class) &&
		evict_page(partition, &rings[ZONE_PIECES], reach))
		return true;
	if (common_pages(class) > 0)
		cg_evict_balance_locked(partition, size_class);
	return evict_page(partition, &rings[ZONE_SMALL], reach) ||
		   evict_page(partition, &rings[ZONE_MAIN], reach) ||
		   evict_page(partition, &rings[ZONE_PIECES], reach) ||
		   (reach == REACH_PINNED && evict_page(partition, &rings[ZONE_PINNED], reach));
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
 * this one or this one has no page of the zone at all; where all there are in use, from
 * the next.  Asked often: where there was none to take, it does not look again for a
 * while.
 */
bool
cg_reclaim_idle_page_locked(Partition *partition, int for_class, Zone zone)
{
	SizeClass *self = &partition->classes[for_class];
	bool pieces_only = zone == ZONE_PIECES && self->rings[ZONE_SMALL].page_count == 0;
	bool done = false;

	if (self->rings[zone].page_count > 0 && (int32) (self->evictions - self->look_at) < 0)
		return false;
	for (int tries = 0; tries < IDLE_TRIES && !done; tries++)
	{
		uint64 now = cg_clock_ticks();
		uint64 slowest;
		int idle = find_idle_class(partition, self, ZONE_SMALL, now, &slowest);

		if (idle < 0 || !needs_page(self, zone, slowest, now))
			break;
		cg_evict_balance_locked(partition, idle);
		done = evict_page(partition, &partition->classes[idle].rings[ZONE_SMALL],
						  REACH_IDLE);
	}
	if (!done || pieces_only)
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
	return evict_page_of(partition, size_class, REACH_IDLE);
}

/* How many pages of the class are within reach? */
static uint32
pages_of(const SizeClass *class, Reach reach)
{
	return common_pages(class) + class->rings[ZONE_PIECES].page_count +
		   (reach == REACH_PINNED ? class->rings[ZONE_PINNED].page_count : 0);
}

/* Empty a page of the class that has most of them, or else of any. */
static bool
evict_any_page(Partition *partition, Reach reach)
{
	int largest = 0;

	for (int i = 1; i < store->class_count; i++)
		if (pages_of(&partition->classes[i], reach) >
			pages_of(&partition->classes[largest], reach))
			largest = i;
	if (evict_page_of(partition, largest, reach))
		return true;
	for (int i = 0; i < store->class_count; i++)
		if (i != largest && evict_page_of(partition, i, reach))
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
