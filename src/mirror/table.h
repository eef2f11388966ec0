/*-------------------------------------------------------------------------
 *
 * table.h
 *	  A mirrored table, opened to be read: only for the files of this floor.
 *
 * Each function's contract stands at its body.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_MIRROR_TABLE_H
#define CACHEGRID_MIRROR_TABLE_H

#include "executor/tuptable.h"
#include "partitioning/partdefs.h"
#include "storage/block.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "mirror/mirror_internal.h"

/*
 * What rows of a mirrored table are read from: the table itself, or a tree of its
 * partitions.  One that is partitioned leads to others, a leaf holds rows.  See part.c.
 */
typedef struct MirrorPart
{
	Relation relation;
	struct AttrMap *map; /* from its columns to the mirrored table's; NULL: it is that */
	AttrNumber attnums[CG_OUTBOX_MAX_COLUMNS]; /* key columns, as numbered here */

	/* Of one that is partitioned: */
	PartitionDesc partitions;  /* as the table's snapshot has them; NULL: it is a leaf */
	int *routing;			   /* columns that say which, as indexes into attnums */
	struct MirrorPart **parts; /* a partition each, NULL until first needed */

	/* Of a leaf: */
	BlockNumber blocks; /* when it was opened */
	TupleTableSlot *slot;
	Relation index;
	int index_count;					   /* its key columns ... */
	int index_keys[CG_OUTBOX_MAX_COLUMNS]; /* ... as indexes into attnums */
	struct ScanKeyData *lookup_keys;	   /* index_count of them */
	struct IndexScanDescData *lookup;	   /* NULL until first used */
} MirrorPart;

/* A mirrored table, opened for one transaction and one snapshot. */
typedef struct MirrorTable
{
	const MirrorDefinition *definition;
	Relation relation;
	MirrorKeys keys;
	MirrorPart *part; /* the table's own; NULL in mode invalidate */
	Snapshot snapshot;
	TupleTableSlot *slot; /* a row, whichever part it is from, with the table's columns */
	RowEncoder *encoder;
} MirrorTable;

/* How the locks are had that a table is read under. */
typedef enum MirrorLocks
{
	MIRROR_LOCKS_TRIED, /* they are, or it is an error: the worker waits for nobody */
	MIRROR_LOCKS_AWAITED
} MirrorLocks;

/* Functions in table.c */
extern Oid cg_mirror_find_index(Relation relation, const AttrNumber *attnums, int count);
extern MirrorTable *cg_mirror_table_open(const MirrorDefinition *definition,
										 Snapshot snapshot, MirrorLocks locks);
extern void cg_mirror_table_close(MirrorTable *table);
extern bool cg_mirror_table_fetch(MirrorTable *table, const MirrorTouch *touch);

/* Functions in part.c */
extern bool cg_mirror_lock_parts(Relation relation);
extern void cg_mirror_lock_partitions(Relation relation, MirrorLocks locks);
extern MirrorPart *cg_mirror_part_open(const MirrorTable *table);
extern MirrorPart *cg_mirror_part_at(const MirrorTable *table, MirrorPart *part,
									 int index);
extern int cg_mirror_part_find(const MirrorPart *part, const Datum *values);
extern void cg_mirror_part_close(MirrorPart *part);
extern void cg_mirror_part_show(const MirrorTable *table, const MirrorPart *leaf);
extern double cg_mirror_row_estimate(Relation relation);

/* Functions in walk.c */
extern int cg_mirror_table_walk(MirrorTable *table, MirrorState *state,
								MirrorBatch *batch, int limit);

/* Functions in parse.c */
extern Size cg_mirror_parse_key(MirrorTable *table, const char *key, Size size,
								char *buffer);

#endif /* CACHEGRID_MIRROR_TABLE_H */
