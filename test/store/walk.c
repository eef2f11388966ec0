/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  Walks through all pages, cells and buckets of the store and recounts what
 *	  its counters say.
 *
 * Under all locks, so nothing moves.  A writer of a long value, or who needs a
 * page of another partition, lets go of his lock now and then: a partition where
 * somebody does, who is known by a cell that is being written, is compared less
 * strictly, and must not be found where the caller knows that nobody writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "walk.h"

PG_FUNCTION_INFO_V1(probe_walk_sql);

/* Add a line to the report, as long as there is room for it. */
void
probe_complain(Walk *walk, const char *format, ...)
{
	Size used = strlen(walk->report);
	va_list arguments;

	walk->problems++;
	if (used + 200 > sizeof(walk->report))
		return;
	if (walk->partition)
		used += snprintf(walk->report + used, sizeof(walk->report) - used,
						 "partition %d: ", (int) (walk->partition - store_partitions));
	va_start(arguments, format);
	vsnprintf(walk->report + used, sizeof(walk->report) - used, format, arguments);
	va_end(arguments);
	strlcat(walk->report, "\n", sizeof(walk->report));
}

/* The free cells of a page are those in its list, and no others. */
static void
walk_free_list(Walk *walk, uint32 number)
{
	const Page *page = &store_pages[number];
	int listed = 0;

	for (uint32 place = page->free_list; place != 0;)
	{
		FreeCell *cell = ref_address(make_ref(number, place - 1));

		if (place > page->cells || ++listed > page->cells)
		{
			probe_complain(walk, "page %u: its list of free cells leads astray", number);
			return;
		}
		if (pg_atomic_read_u32(&cell->version) != VERSION_FREE)
			probe_complain(walk, "page %u: cell %u is free and in use", number,
						   place - 1);
		if (walk->seen[make_ref(number, place - 1)]++)
			probe_complain(walk, "page %u: cell %u is free twice", number, place - 1);
		place = cell->next;
	}
	if (listed != page->free_cells)
		probe_complain(walk, "page %u: %d cells in the list, %d free", number, listed,
					   page->free_cells);
	if (page->has_room != (page->free_cells > 0))
		probe_complain(walk, "page %u: %d cells free, but room is %d", number,
					   page->free_cells, page->has_room);
}

static void
walk_page(Walk *walk, uint32 number, int size_class, Zone zone)
{
	const Page *page = &store_pages[number];
	uint32 stamp = pg_atomic_read_u32(&store_stamps[number]);

	if (walk->page_seen[number]++)
		probe_complain(walk, "page %u belongs to two", number);
	if (page->partition != walk->partition - store_partitions ||
		page->size_class != size_class || page->zone != zone ||
		(stamp & 0xff) != size_class)
		probe_complain(
			walk, "page %u: in a ring of class %d, zone %d, but says %d, %d, %u", number,
			size_class, zone, page->size_class, page->zone, stamp & 0xff);
	if (page->cells != PAGE_BYTES / store->class_bytes[size_class])
		probe_complain(walk, "page %u has %d cells", number, page->cells);
	if (store_pages[page->next].previous != number)
		probe_complain(walk, "page %u: the next one knows it not", number);
	walk_free_list(walk, number);
}

static void
walk_ring(Walk *walk, int size_class, Zone zone)
{
	const Ring *ring = &walk->partition->classes[size_class].rings[zone];
	uint32 number = ring->hand_page;
	uint32 with_room = 0;
	uint32 listed = 0;

	for (uint32 i = 0; i < ring->page_count; i++)
	{
		if (number == 0 || number >= store->page_count)
			break;
		walk_page(walk, number, size_class, zone);
		with_room += store_pages[number].has_room;
		number = store_pages[number].next;
	}
	if (number != ring->hand_page)
		probe_complain(walk, "class %d, zone %d: no circle of %u pages", size_class, zone,
					   ring->page_count);
	for (number = ring->room; number != 0 && listed <= with_room;
		 number = store_pages[number].next_room)
		listed++;
	if (listed != with_room)
		probe_complain(walk, "class %d, zone %d: %u pages of %u with room", size_class,
					   zone, listed, with_room);
}

/* A bucket of a chain, or the chain's head. */
static void
walk_bucket(Walk *walk, const Bucket *bucket, const Bucket *head)
{
	for (int i = 0; i < BUCKET_SLOTS; i++)
	{
		ItemRef ref = pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[i]);
		uint8 tag = bucket->tags[i];
		ItemView view;
		uint64 hash;

		if (tag == TAG_NONE || (tag != TAG_CHAIN && (ref & GHOST)))
			continue;
		if (ref_page(ref) == 0 || ref_page(ref) >= store->page_count ||
			store_pages[ref_page(ref)].partition != walk->partition - store_partitions ||
			ref_cell(ref) >= store_pages[ref_page(ref)].cells)
		{
			probe_complain(walk, "the index names %x, which is none of ours", ref);
			continue;
		}
		if (walk->seen[ref]++)
			probe_complain(walk, "the index names %x twice, or it is free", ref);
		if (tag == TAG_CHAIN)
			continue;
		if (!is_entry(pg_atomic_read_u32(ref_address(ref))))
		{
			probe_complain(walk, "the index names %x, which is no entry", ref);
			continue;
		}
		cg_layout_view(ref, &view);
		hash = cg_layout_hash(walk->partition, &view);
		if (partition_of(hash) != walk->partition || tag_of(hash) != tag ||
			(first_bucket(hash) != head && second_bucket(hash) != head))
			probe_complain(walk, "%x stands where its key does not lead", ref);
	}
}

static bool
has_items(const Bucket *bucket)
{
	for (int i = 0; i < BUCKET_SLOTS; i++)
		if (bucket->tags[i] != TAG_NONE &&
			(pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[i]) & GHOST) == 0)
			return true;
	return false;
}

static void
walk_index(Walk *walk)
{
	Size first =
		(walk->partition - store_partitions) * (Size) store->buckets_per_partition;

	for (uint32 i = 0; i < store->buckets_per_partition; i++)
	{
		const Bucket *head = &store_buckets[first + i];
		const Bucket *bucket = head;
		const Bucket *last = head;

		/* A slot that names a wrong cell was complained of, and is not followed. */
		while (bucket && walk->problems == 0)
		{
			if (bucket != head &&
				pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->version) !=
					VERSION_BUCKET)
				probe_complain(walk, "a chain leads to what is no bucket");
			walk_bucket(walk, bucket, head);
			last = bucket;
			bucket = cg_index_next(bucket);
		}
		if (last != head && !has_items(last))
			probe_complain(walk, "the last bucket of a chain has no items");
	}
}

/* With all locks. */
static void
walk_pool(Walk *walk)
{
	uint32 count = 0;

	for (uint32 number = store->pool; number != 0; number = store_pages[number].next)
	{
		if (number >= store->page_count || ++count > store->pool_count)
			break;
		if (walk->page_seen[number]++ || store_pages[number].partition != NO_PARTITION ||
			(pg_atomic_read_u32(&store_stamps[number]) & 0xff) != CLASS_NONE)
			probe_complain(walk, "page %u of the pool is somebody's", number);
	}
	if (count != store->pool_count)
		probe_complain(walk, "the pool has %u pages and says %u", count,
					   store->pool_count);
	for (uint32 number = 1; number < store->page_count; number++)
		if (walk->page_seen[number] == 0)
			probe_complain(walk, "page %u is lost", number);
}

static void
walk_partition(Walk *walk)
{
	memset(walk->recount, 0, sizeof(Recount));
	for (int size_class = 0; size_class < store->class_count; size_class++)
		for (int zone = 0; zone < ZONES; zone++)
			walk_ring(walk, size_class, (Zone) zone);
	if (walk->problems == 0)
		walk_index(walk);
	if (walk->problems == 0)
		probe_walk_cells(walk);
	if (walk->problems == 0)
		probe_compare_counts(walk);
	if (walk->problems == 0)
		probe_walk_circles(walk);
}

static void
lock_all(void)
{
	LWLockAcquire(store->caches_lock, LW_SHARED);
	for (uint32 i = 0; i < store->partition_count; i++)
		LWLockAcquire(store_partitions[i].lock, LW_EXCLUSIVE);
	LWLockAcquire(store->pool_lock, LW_EXCLUSIVE);
}

static void
unlock_all(void)
{
	LWLockRelease(store->pool_lock);
	for (uint32 i = 0; i < store->partition_count; i++)
		LWLockRelease(store_partitions[i].lock);
	LWLockRelease(store->caches_lock);
}

/* What is wrong with the store, a line each, palloc'd; empty if nothing is. */
const char *
probe_walk(bool at_rest)
{
	Walk *walk = palloc0(sizeof(Walk));

	walk->at_rest = at_rest;
	walk->recount = palloc(sizeof(Recount));
	walk->page_seen = palloc0(store->page_count);
	walk->seen = palloc_extended((Size) store->page_count << CELL_BITS,
								 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	lock_all();
	for (uint32 i = 0; i < store->partition_count && walk->problems == 0; i++)
	{
		walk->partition = &store_partitions[i];
		walk_partition(walk);
	}
	walk->partition = NULL;
	if (walk->problems == 0)
		probe_compare_memory(walk);
	if (walk->problems == 0)
		walk_pool(walk);
	unlock_all();
	pfree(walk->seen);
	pfree(walk->page_seen);
	pfree(walk->recount);
	return walk->report;
}

/* probe_walk(at_rest boolean) -> text */
Datum
probe_walk_sql(PG_FUNCTION_ARGS)
{
	probe_attach();
	PG_RETURN_TEXT_P(cstring_to_text(probe_walk(PG_GETARG_BOOL(0))));
}
