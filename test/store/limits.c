/*-------------------------------------------------------------------------
 *
 * limits.c
 *	  What the limits of caches have to do with memory: the entries of a cache with a
 *	  quota stand in circles, and their cells are counted; those of a pinned one have
 *	  pages of their own.
 *
 * A quota is reserved before there is a cell, and given back after: so where somebody
 * may be at work at least as much is counted as there is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "walk.h"

PG_FUNCTION_INFO_V1(probe_limit);

static const Item *
item_at(ItemRef ref)
{
	return ref_address(ref);
}

static const ItemLinks *
links_at(ItemRef ref)
{
	return (const ItemLinks *) item_at(ref)->data;
}

static Zone
circle_zone(ItemRef ref)
{
	return item_at(ref)->hints & HINT_MAIN ? ZONE_MAIN : ZONE_SMALL;
}

/* An entry, with the bytes of its own cell and of its pieces. */
void
probe_count_limited(Walk *walk, ItemRef ref, const ItemView *view, uint64 cells_bytes)
{
	uint64 cleared_at = pg_atomic_read_u64(&store->caches[view->cache].cleared_at);

	/* Those that were there when the limits changed are dead. */
	if (view->id > cleared_at && !cg_item_suits_cache(ref))
		probe_complain(walk, "entry %x is none as cache %u has now: flags %x, zone %d",
					   ref, view->cache, view->flags, store_pages[ref_page(ref)].zone);
	if ((view->flags & ITEM_LINKED) == 0)
		return;
	walk->recount->caches[view->cache].circles[circle_zone(ref)].count++;
	walk->memory[view->cache] += cells_bytes;
}

/* Is it an entry of this partition and cache, and linked, and met for the first time? */
static bool
may_stand_in_circle(Walk *walk, int cache, Zone zone, ItemRef ref)
{
	return ref_page(ref) != 0 && ref_page(ref) < store->page_count &&
		   store_pages[ref_page(ref)].partition == walk->partition - store_partitions &&
		   ref_cell(ref) < store_pages[ref_page(ref)].cells &&
		   is_entry(pg_atomic_read_u32(ref_address(ref))) &&
		   (item_at(ref)->flags & ITEM_LINKED) != 0 && item_at(ref)->cache == cache &&
		   circle_zone(ref) == zone && walk->seen[ref] == 1;
}

static void
walk_circle(Walk *walk, int cache, Zone zone)
{
	const Circle *circle = &walk->partition->caches[cache].circles[zone];
	uint32 ours = walk->recount->caches[cache].circles[zone].count;
	ItemRef ref = circle->hand;
	ItemRef previous = 0;

	if (circle->count != ours || (ref != 0) != (ours != 0))
	{
		probe_complain(walk, "cache %d, circle %d: %u in it, %u entries, hand at %x",
					   cache, zone, circle->count, ours, ref);
		return;
	}
	for (uint32 i = 0; i < ours; i++)
	{
		if (!may_stand_in_circle(walk, cache, zone, ref))
		{
			probe_complain(walk, "cache %d, circle %d: leads to %x", cache, zone, ref);
			return;
		}
		walk->seen[ref]++;
		if (previous != 0 && links_at(ref)->previous != previous)
			probe_complain(walk, "cache %d, circle %d: %x does not know who is before",
						   cache, zone, ref);
		previous = ref;
		ref = links_at(ref)->next;
	}
	if (ref != circle->hand || (ref != 0 && links_at(ref)->previous != previous))
		probe_complain(walk, "cache %d, circle %d: it does not close", cache, zone);
}

/* After all cells: each linked entry stands in its circle, once, and nothing else does. */
void
probe_walk_circles(Walk *walk)
{
	for (int cache = 0; cache < MAX_CACHES; cache++)
		for (int zone = ZONE_SMALL; zone <= ZONE_MAIN; zone++)
			walk_circle(walk, cache, (Zone) zone);
}

/* After all partitions. */
void
probe_compare_memory(Walk *walk)
{
	for (int cache = 0; cache < MAX_CACHES; cache++)
	{
		uint64 theirs = cg_store_cache_memory(cache);
		uint64 ours = walk->memory[cache];

		if (theirs < ours || (walk->at_rest && theirs != ours))
			probe_complain(walk,
						   "memory of cache %d: the counter says " UINT64_FORMAT
						   ", cells " UINT64_FORMAT,
						   cache, theirs, ours);
	}
}

/* probe_limit(cache text, max_memory bigint, pinned boolean) -> void */
Datum
probe_limit(PG_FUNCTION_ARGS)
{
	StoreLimits limits = {PG_GETARG_INT64(1), PG_GETARG_BOOL(2)};

	probe_attach();
	(void) probe_cache(text_to_cstring(PG_GETARG_TEXT_PP(0)), &limits);
	PG_RETURN_VOID();
}
