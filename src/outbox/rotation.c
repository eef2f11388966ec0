/*-------------------------------------------------------------------------
 *
 * rotation.c
 *	  Gives the outbox's space back without dead rows: when the current
 *	  table has grown, another becomes current, and a table that is not is
 *	  truncated once nobody needs its rows.
 *
 * A writer that looked up the current table before the switch may insert
 * after the truncation: nothing is lost, since every batch reads all tables,
 * and that one will be truncated again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

#define MAX_TABLE_BYTES (64 * 1024 * 1024)

static BlockNumber
table_blocks(int table)
{
	Relation relation = cg_outbox_open(table, AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(relation);

	table_close(relation, AccessShareLock);
	return blocks;
}

/* The name has a fixed form, so it needs no quoting. */
static void
truncate_table(int table)
{
	char command[64];

	snprintf(command, sizeof(command), "TRUNCATE cachegrid.outbox_%d", table);
	SPI_connect();
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not truncate table \"cachegrid.outbox_%d\"", table);
	SPI_finish();
}

/*
 * Under the table's lock there are no rows of unfinished transactions in it;
 * hence a snapshot taken then sees all that count.
 */
static void
try_truncate(int table, const OutboxPosition *const *positions, int count)
{
	Relation relation = cg_outbox_open(table, AccessShareLock);
	Oid oid = RelationGetRelid(relation);
	bool covered = true;

	table_close(relation, AccessShareLock);
	if (!ConditionalLockRelationOid(oid, AccessExclusiveLock))
		return;

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count && covered; i++)
		covered = cg_outbox_is_read(table, positions[i], GetActiveSnapshot());
	if (covered)
		truncate_table(table);
	else
		UnlockRelationOid(oid, AccessExclusiveLock);
	PopActiveSnapshot();
}

/*
 * Switch to an empty table if the current one is over room bytes, or a fixed
 * size, and truncate those that everybody has read: positions are those of
 * all consumers, as they are on disk.  To be called in a transaction of its
 * own, now and then.
 */
void
cg_outbox_rotate(const OutboxPosition *const *positions, int count, int64 room)
{
	int64 table_room = Min(room, MAX_TABLE_BYTES);
	int current = cg_outbox_current();

	for (int i = 1; i < CG_OUTBOX_TABLES; i++)
	{
		int table = (current + i) % CG_OUTBOX_TABLES;

		if (table_blocks(table) > 0)
			try_truncate(table, positions, count);
	}

	if ((int64) table_blocks(current) * BLCKSZ < table_room)
		return;
	for (int i = 1; i < CG_OUTBOX_TABLES; i++)
	{
		int table = (current + i) % CG_OUTBOX_TABLES;

		if (table_blocks(table) == 0)
		{
			cg_outbox_set_current(table);
			return;
		}
	}
}

/* Bytes of all the tables, with what nobody needs any more. */
int64
cg_outbox_bytes(void)
{
	int64 blocks = 0;

	for (int i = 0; i < CG_OUTBOX_TABLES; i++)
		blocks += table_blocks(i);
	return blocks * BLCKSZ;
}
