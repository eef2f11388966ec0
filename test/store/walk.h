/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  The whole store, recounted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_PROBE_WALK_H
#define CACHEGRID_PROBE_WALK_H

#include "probe.h"
#include "store/layout.h"

/* What the cells of a partition say; to be compared with its counters. */
typedef struct Recount
{
	SizeClass classes[CLASS_MAX];	   /* only the counters are used */
	PartitionCache caches[MAX_CACHES]; /* likewise */
	uint32 entries;
	bool unfinished; /* somebody is writing: what he has allocated is no entry yet */
} Recount;

typedef struct Walk
{
	Partition *partition;
	Recount *recount;
	uint8 *seen;			   /* [ref]: how often a reference was met */
	uint8 *page_seen;		   /* [page] */
	bool at_rest;			   /* nobody writes: nothing may be unfinished */
	uint64 memory[MAX_CACHES]; /* cells of linked entries, of all partitions */
	int problems;
	char report[4000];
} Walk;

/* Functions in walk.c, accounts.c and limits.c */
extern void probe_complain(Walk *walk, const char *format, ...) pg_attribute_printf(2, 3);
extern void probe_walk_cells(Walk *walk);
extern void probe_compare_counts(Walk *walk);
extern void probe_count_limited(Walk *walk, ItemRef ref, const ItemView *view,
								uint64 cells_bytes);
extern void probe_walk_circles(Walk *walk);
extern void probe_compare_memory(Walk *walk);

#endif /* CACHEGRID_PROBE_WALK_H */
