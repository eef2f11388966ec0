/*-------------------------------------------------------------------------
 *
 * outbox_internal.h
 *	  What the files of this floor share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_OUTBOX_INTERNAL_H
#define CACHEGRID_OUTBOX_INTERNAL_H

#include "access/htup.h"
#include "storage/lockdefs.h"

#include "outbox/outbox.h"

#define CG_OUTBOX_TABLES 3

/* The columns of cachegrid.outbox_N */
typedef enum OutboxColumn
{
	OUTBOX_XID = 1,
	OUTBOX_WRITTEN,
	OUTBOX_FLAGS,
	OUTBOX_PAYLOAD
} OutboxColumn;

#define CG_OUTBOX_COLUMNS 4

/* What stands before a record's key; unaligned, copy it. */
typedef struct OutboxHeader
{
	int32 mirror;
	uint16 key_size;
	uint8 kind;
	uint8 remove;
	ItemPointerData tid;
} OutboxHeader;

#define CG_OUTBOX_HEADER_BYTES	   14
#define CG_OUTBOX_MAX_RECORD_BYTES (CG_OUTBOX_HEADER_BYTES + CG_OUTBOX_MAX_KEY_BYTES)

/* A row of the tables holds whole records, at most so many bytes of them. */
#define CG_OUTBOX_ROW_BYTES 8000

/* Functions in table.c */
extern Relation cg_outbox_open(int table, LOCKMODE lockmode);
extern Relation cg_outbox_open_index(int number, Relation table, LOCKMODE lockmode);
extern void cg_outbox_table_init(void);
extern void cg_outbox_insert(int table, const char *records, Size size, int16 flags);

/* Functions in intent.c */
extern Size cg_intent_shmem_size(void);
extern void cg_intent_shmem_init(void);
extern void cg_intent_note(int32 mirror, Oid relation, int wishes, bool whole);
extern void cg_intent_before_commit(void);

/* Functions in reader.c */
extern void cg_outbox_fill_row(HeapTuple tuple, TupleDesc desc, OutboxRow *row);
extern bool cg_outbox_is_read(int number, const OutboxPosition *position,
							  Snapshot snapshot);

/* Functions in registry.c */
extern int cg_outbox_current(void);
extern void cg_outbox_set_current(int table);

#endif /* CACHEGRID_OUTBOX_INTERNAL_H */
