/*-------------------------------------------------------------------------
 *
 * accounts.c
 *	  What the cells of a partition add up to, beside what its counters say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "walk.h"

static SizeClass *
class_of(Walk *walk, ItemRef ref)
{
	return &walk->recount->classes[store_pages[ref_page(ref)].size_class];
}

static void
count_in_cache(Walk *walk, const ItemView *view)
{
	PartitionCache *cache = &walk->recount->caches[view->cache];
	const PartitionCache *theirs = &walk->partition->caches[view->cache];

	walk->recount->entries++;
	cache->items++;
	if (view->id > theirs->cleared_at)
	{
		cache->entries++;
		cache->bytes += view_bytes(view);
	}
}

/*
 * The pieces of an entry name it, and hold what is left of its value.  Returns the bytes
 * of their cells.
 */
static uint64
count_pieces(Walk *walk, ItemRef head, ItemRef ref, Size left)
{
	uint64 cells_bytes = 0;

	while (ref != 0)
	{
		const Piece *piece = ref_address(ref);
		Size size = Min(left, page_cell_bytes(ref_page(ref)) - PIECE_HEADER);

		if (store_pages[ref_page(ref)].partition != walk->partition - store_partitions ||
			pg_atomic_read_u32((pg_atomic_uint32 *) &piece->version) != VERSION_PIECE ||
			piece->head != head || size == 0)
		{
			probe_complain(walk, "%x goes on in %x, which is no piece of it", head, ref);
			return cells_bytes;
		}
		if (walk->seen[ref]++)
			probe_complain(walk, "piece %x belongs to two", ref);
		class_of(walk, ref)->used_bytes += PIECE_HEADER + size;
		cells_bytes += page_cell_bytes(ref_page(ref));
		left -= size;
		ref = piece->next;
	}
	if (left != 0)
		probe_complain(walk, "%x ends %zu bytes too early", head, left);
	return cells_bytes;
}

static void
count_entry(Walk *walk, ItemRef ref)
{
	Size cell_bytes = page_cell_bytes(ref_page(ref));
	uint64 in_pieces;
	ItemView view;
	Size bytes;

	if (!cg_layout_decode(ref_address(ref), cell_bytes, &view))
	{
		probe_complain(
			walk,
			"entry %x does not fit its cell: flags %x, meta %u, key %u, value %u, "
			"rest %x, cell %zu",
			ref, view.flags, view.meta_size, view.key_size, view.value_size, view.rest,
			cell_bytes);
		return;
	}
	if (walk->seen[ref] != 1)
		probe_complain(walk, "entry %x is not in the index", ref);
	bytes = view_before(ref_address(ref), &view) + view.value_size;
	if (bytes > cell_bytes && view.rest == 0)
		probe_complain(walk, "entry %x has no pieces", ref);
	class_of(walk, ref)->entries++;
	class_of(walk, ref)->in_pieces += view.rest != 0;
	class_of(walk, ref)->used_bytes += Min(bytes, cell_bytes);
	in_pieces = count_pieces(walk, ref, view.rest, bytes - Min(bytes, cell_bytes));
	count_in_cache(walk, &view);
	probe_count_limited(walk, ref, &view, cell_bytes + in_pieces);
}

static void
count_cell(Walk *walk, ItemRef ref)
{
	uint32 version = pg_atomic_read_u32(ref_address(ref));
	bool in_pieces = store_pages[ref_page(ref)].zone == ZONE_PIECES;

	if (version == VERSION_FREE)
	{
		if (walk->seen[ref] == 0)
			probe_complain(walk, "cell %x is free, but in no list", ref);
		return;
	}
	class_of(walk, ref)->used_cells++;
	if (version == VERSION_WRITING ||
		(version == VERSION_PIECE && ((Piece *) ref_address(ref))->head == 0))
	{
		walk->recount->unfinished = true;
		if (walk->at_rest)
			probe_complain(walk, "cell %x was left unfinished", ref);
		return;
	}
	if (in_pieces == is_entry(version))
		probe_complain(walk, "cell %x, version %u, is in the wrong zone", ref, version);
	if (version == VERSION_BUCKET)
	{
		class_of(walk, ref)->used_bytes += sizeof(Bucket);
		if (walk->seen[ref] != 1)
			probe_complain(walk, "bucket %x is in no chain", ref);
	}
	else if (is_entry(version))
		count_entry(walk, ref);
}

/* A piece that no entry was found to have. */
static void
find_stray_piece(Walk *walk, ItemRef ref)
{
	if (pg_atomic_read_u32(ref_address(ref)) == VERSION_PIECE && walk->seen[ref] == 0 &&
		!walk->recount->unfinished)
		probe_complain(walk, "piece %x is nobody's", ref);
}

static void
visit_cells(Walk *walk, void (*visit)(Walk *walk, ItemRef ref))
{
	for (uint32 number = 1; number < store->page_count; number++)
	{
		const Page *page = &store_pages[number];

		if (page->partition != walk->partition - store_partitions)
			continue;
		for (int i = 0; i < page->cells; i++)
			visit(walk, make_ref(number, i));
	}
}

/* Every used cell belongs to exactly one: entry, piece of one, bucket of a chain. */
void
probe_walk_cells(Walk *walk)
{
	visit_cells(walk, count_cell);
	visit_cells(walk, find_stray_piece);
}

static void
compare(Walk *walk, const char *what, int number, int64 theirs, int64 ours)
{
	if (theirs != ours)
		probe_complain(walk,
					   "%s %d: the counter says " INT64_FORMAT ", cells " INT64_FORMAT,
					   what, number, theirs, ours);
}

/* What is counted when memory is given out, and so beside what is unfinished. */
static void
compare_classes(Walk *walk)
{
	for (int i = 0; i < store->class_count; i++)
	{
		const SizeClass *theirs = &walk->partition->classes[i];
		const SizeClass *ours = &walk->recount->classes[i];

		compare(walk, "used cells of class", i, theirs->used_cells, ours->used_cells);
		if (walk->recount->unfinished)
		{
			if (theirs->used_bytes < ours->used_bytes ||
				theirs->entries < ours->entries || theirs->in_pieces < ours->in_pieces)
				probe_complain(walk, "class %d: less is counted than there is", i);
			continue;
		}
		compare(walk, "used bytes of class", i, theirs->used_bytes, ours->used_bytes);
		compare(walk, "entries of class", i, theirs->entries, ours->entries);
		compare(walk, "entries in pieces of class", i, theirs->in_pieces,
				ours->in_pieces);
	}
}

void
probe_compare_counts(Walk *walk)
{
	compare_classes(walk);
	compare(walk, "entries of all caches,", 0, walk->partition->entries,
			walk->recount->entries);
	for (int i = 0; i < MAX_CACHES; i++)
	{
		const PartitionCache *theirs = &walk->partition->caches[i];
		const PartitionCache *ours = &walk->recount->caches[i];

		compare(walk, "items of cache", i, theirs->items, ours->items);
		compare(walk, "entries of cache", i, theirs->entries, ours->entries);
		compare(walk, "bytes of cache", i, theirs->bytes, ours->bytes);
	}
}
