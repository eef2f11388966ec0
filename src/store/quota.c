/*-------------------------------------------------------------------------
 *
 * quota.c
 *	  Caches that may take so much memory and no more (max_memory).
 *
 * What counts is whole cells: of the entry's head, and of the pieces that it goes on
 * in.  They are reserved before they are allocated, by one atomic a cache, and given
 * back after they are free, so the limit holds at every moment.  A cache without a
 * quota pays for none of it.
 *
 * Who has no room throws out entries of his own cache.  To find one in bounded work,
 * however small a part of the memory the cache is, its entries are linked: two
 * circles in each partition, of those on probation and of the main ones, each with a
 * hand.  They work as the rings of evict.c do, with the same constants, ghosts and
 * steering, but one by one instead of page by page; only where a bucket of the index
 * has room for few ghosts, those of these caches, whose ages count for themselves, may
 * go first.  The links are eight bytes of each such entry.
 *
 * Other ways were: rings of pages for each such cache, which waste most of a small
 * quota, since pages, classes and partitions multiply; going round the common rings
 * until one of the cache comes, or through random buckets of the index, for which no
 * bound can be given.
 *
 * Ghosts of a pinned cache tell nothing but why the entry is gone.
 *
 * The hands of the common rings visit these entries as all others, so where memory is
 * scarcer than the quota they go as if there was none.
 *
 * A set throws out what it needs room for, in its key's partition, or where that has
 * none of the cache, in the others one after another, never holding two.  When the
 * limit has been lowered, a set gives back twice what it takes until the limit is
 * kept, and so does the sweep.
 *
 * Entries that were put before their cache had a quota have no links and are not
 * counted.  They are dead: whoever gives it one clears the cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/evict.h"

/* What one call may do before it throws out whom it finds. */
#define STEPS 16

/* Others may have the partition's lock after so many entries thrown out. */
#define EVICTIONS_PER_ROUND 32

/* So often a set makes room that others take, before it is given up. */
#define ROUNDS_LEAST 16

static inline Quota *
quota_of(uint16 number)
{
	return &store->quotas[number];
}

static inline uint64
limit_of(uint16 number)
{
	return pg_atomic_read_u64(&store->caches[number].max_memory);
}

static inline ItemLinks *
links_of(ItemRef ref)
{
	return (ItemLinks *) ((Item *) ref_address(ref))->data;
}

static inline Circle *
circle_of(PartitionCache *cache, ItemRef ref)
{
	bool is_main = (((Item *) ref_address(ref))->hints & HINT_MAIN) != 0;

	return &cache->circles[is_main ? ZONE_MAIN : ZONE_SMALL];
}

/* Put the entry behind the hand: it comes to it last. */
static void
enter(Circle *circle, ItemRef ref)
{
	ItemLinks *links = links_of(ref);

	if (circle->hand == 0)
	{
		links->next = links->previous = ref;
		circle->hand = ref;
	}
	else
	{
		ItemLinks *hand = links_of(circle->hand);

		links->next = circle->hand;
		links->previous = hand->previous;
		links_of(hand->previous)->next = ref;
		hand->previous = ref;
	}
	circle->count++;
}

static void
leave(Circle *circle, ItemRef ref)
{
	ItemLinks *links = links_of(ref);

	links_of(links->previous)->next = links->next;
	links_of(links->next)->previous = links->previous;
	if (circle->hand == ref)
		circle->hand = links->next == ref ? 0 : links->next;
	circle->count--;
	links->next = links->previous = 0;
}

/* The item, which was published, becomes one of its cache's; unless it is already. */
void
cg_quota_link_locked(Partition *partition, ItemRef ref)
{
	Item *item = ref_address(ref);

	if (links_of(ref)->next != 0)
		return;
	if (store_pages[ref_page(ref)].zone == ZONE_MAIN)
		item->hints |= HINT_MAIN;
	enter(circle_of(&partition->caches[item->cache], ref), ref);
}

void
cg_quota_unlink_locked(Partition *partition, ItemRef ref)
{
	Item *item = ref_address(ref);

	leave(circle_of(&partition->caches[item->cache], ref), ref);
}

/* The item was copied to another cell: its neighbours are to know. */
void
cg_quota_moved_locked(Partition *partition, ItemRef from, ItemRef to)
{
	Item *item = ref_address(to);
	Circle *circle = circle_of(&partition->caches[item->cache], to);
	ItemLinks *links = links_of(to);

	if (links->next == from)
		links->next = links->previous = to;
	links_of(links->previous)->next = to;
	links_of(links->next)->previous = to;
	if (circle->hand == from)
		circle->hand = to;
}

/* The circle whose hand is next to throw out: probation if that is too large. */
static Zone
choose_zone(const PartitionCache *cache)
{
	uint64 probation = cache->circles[ZONE_SMALL].count;
	uint64 all = probation + cache->circles[ZONE_MAIN].count;

	if (probation == all)
		return ZONE_SMALL;
	return probation * PROBATION_ALL > all * cache->steering.probation ? ZONE_SMALL
																	   : ZONE_MAIN;
}

/* May the entry under the hand stay?  Then the hand goes on, and it may be promoted. */
static bool
spare(PartitionCache *cache, Zone zone, ItemRef ref)
{
	Item *item = ref_address(ref);
	bool read = was_read(item);
	int count = item->hints & HINT_COUNT;
	ItemView view;

	if (!read && (zone == ZONE_SMALL || count == 0))
		return false;
	cg_layout_view(ref, &view);
	if (!cg_store_is_alive(&view))
		return false;
	leave(&cache->circles[zone], ref);
	count = zone == ZONE_SMALL ? COUNT_PROMOTED : count + (read ? COUNT_READ : -1);
	set_count(item, Min(count, cache->steering.ceiling));
	item->hints |= HINT_MAIN;
	enter(&cache->circles[ZONE_MAIN], ref);
	return true;
}

/* Throw out one entry of the cache; returns the bytes given back, 0 if it has none here. */
static Size
evict_one_locked(Partition *partition, uint16 number)
{
	PartitionCache *cache = &partition->caches[number];

	for (int step = 0;; step++)
	{
		Zone zone = choose_zone(cache);
		ItemRef ref;
		Size bytes;

		/* Where all in sight are hot, it is the newcomers who go. */
		if (step >= STEPS && cache->circles[ZONE_SMALL].count > 0)
			zone = ZONE_SMALL;
		ref = cache->circles[zone].hand;
		if (ref == 0)
			return 0;
		if (step < STEPS && spare(cache, zone, ref))
			continue;
		bytes = cg_item_cells_bytes(ref);
		cg_evict_item_locked(partition, ref);
		return bytes;
	}
}

/* Throw out entries of the cache, of so many bytes if it can be done in one round. */
static Size
evict_some_locked(Partition *partition, uint16 number, Size wanted)
{
	Size freed = 0;

	for (int i = 0; i < EVICTIONS_PER_ROUND && freed < wanted; i++)
	{
		Size bytes = evict_one_locked(partition, number);

		if (bytes == 0)
			break;
		freed += bytes;
	}
	return freed;
}

/* The same in another partition that has some.  No lock is held. */
static Size
evict_elsewhere(uint16 number, Size wanted)
{
	Size freed = 0;

	for (uint32 i = 0; i < store->partition_count && freed == 0; i++)
	{
		uint32 next = pg_atomic_fetch_add_u32(&quota_of(number)->hand, 1);
		Partition *partition = &store_partitions[next & (store->partition_count - 1)];

		cg_partition_lock(partition);
		freed = evict_some_locked(partition, number, wanted);
		LWLockRelease(partition->lock);
	}
	return freed;
}

/*
 * Take so many bytes of the quota, if they are there.  Else *lacking says what is to be
 * thrown out first.  Where the limit has been lowered below what is taken, who has freed
 * twice as much may take them.
 */
static bool
take(uint16 number, Size bytes, Size freed, Size *lacking)
{
	pg_atomic_uint64 *memory = &quota_of(number)->memory;
	uint64 limit = limit_of(number);
	uint64 taken = pg_atomic_read_u64(memory);

	do
	{
		if (limit == 0 || taken + bytes <= limit)
			continue;
		if (taken <= limit)
			*lacking = taken + bytes - limit;
		else if (freed < 2 * bytes)
			*lacking = 2 * bytes - freed;
		else
			continue;
		return false;
	} while (!pg_atomic_compare_exchange_u64(memory, &taken, taken + bytes));
	return true;
}

/*
 * Have so many bytes of the cache's quota for a new entry, and throw out others of the
 * cache for them.  False if that cannot be done.  The partition's lock is held on entry
 * and on return, but may be released in between; *disturbed is set if it was, or if
 * something was thrown out.
 */
bool
cg_quota_reserve(Partition *partition, uint16 number, Size bytes, bool *disturbed)
{
	int rounds = ROUNDS_LEAST + bytes / store->class_bytes[0];
	uint64 limit = limit_of(number);
	Size freed = 0;
	Size lacking;

	/* Else everything would be thrown out, and in vain. */
	if (limit != 0 && bytes > limit)
		return false;
	while (!take(number, bytes, freed, &lacking))
	{
		Size now;

		if (rounds-- == 0)
			return false;
		*disturbed = true;
		now = evict_some_locked(partition, number, lacking);
		freed += now;
		if (now >= lacking)
			continue;
		LWLockRelease(partition->lock);
		if (now == 0)
			freed += now = evict_elsewhere(number, lacking);
		cg_partition_lock(partition);
		if (now == 0)
			return take(number, bytes, freed, &lacking);
	}
	return true;
}

/* Cells of the cache are free again. */
void
cg_quota_release(uint16 number, Size bytes)
{
	pg_atomic_fetch_sub_u64(&quota_of(number)->memory, bytes);
}

/* Bytes of cells that entries under the quota take. */
uint64
cg_store_cache_memory(uint16 number)
{
	return pg_atomic_read_u64(&quota_of(number)->memory);
}

/* A round's work on each cache that takes more than its limit, which was lowered. */
void
cg_quota_sweep(void)
{
	for (int number = 0; number < cg_store_cache_count(); number++)
		for (uint32 i = 0; i < store->partition_count; i++)
		{
			uint64 limit = limit_of(number);
			uint64 taken = cg_store_cache_memory(number);

			if (limit == 0 || taken <= limit ||
				evict_elsewhere(number, taken - limit) == 0)
				break;
		}
}
