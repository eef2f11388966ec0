/*-------------------------------------------------------------------------
 *
 * mirror_internal.h
 *	  What the files of this floor share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_MIRROR_INTERNAL_H
#define CACHEGRID_MIRROR_INTERNAL_H

#include "lib/stringinfo.h"

#include "mirror/mirror.h"
#include "mirror/mirror_types.h"

/* Functions in catalog.c */
extern void cg_mirror_catalog_begin(void);
extern void cg_mirror_catalog_end(void);
extern uint64 cg_mirror_execute(const char *command, int count, Oid *types, Datum *values,
								const char *nulls);
extern List *cg_mirror_definitions(void);
extern MirrorDefinition *cg_mirror_definition(Oid relation, const char *server);
extern MirrorDefinition *cg_mirror_definition_of_prefix(const char *server,
														const char *prefix);
extern int32 cg_mirror_insert(const MirrorDefinition *definition, const char *mode,
							  const char *format);
extern void cg_mirror_mark_dropped(int32 mirror);
extern void cg_mirror_delete(int32 mirror);

/* Functions in table.c */
extern int cg_mirror_key_columns(const CaptureTemplate *template, AttrNumber *attnums);
extern Oid cg_mirror_find_index(Relation relation, const AttrNumber *attnums, int count);
extern MirrorTable *cg_mirror_table_open(const MirrorDefinition *definition,
										 Snapshot snapshot);
extern void cg_mirror_table_close(MirrorTable *table);
extern bool cg_mirror_table_fetch(MirrorTable *table, const MirrorTouch *touch);
extern int cg_mirror_table_render(MirrorTable *table, const MirrorTouch *touch,
								  char *buffer);

/* Functions in walk.c */
extern int cg_mirror_table_walk(MirrorTable *table, MirrorState *state,
								MirrorBatch *batch, int limit);

/* Functions in parse.c */
extern Size cg_mirror_parse_key(MirrorTable *table, const char *key, Size size,
								char *buffer);

/* Functions in encode.c */
extern RowEncoder *cg_mirror_encoder(Relation relation, List *columns);
extern void cg_mirror_encode(RowEncoder *encoder, TupleTableSlot *row, StringInfo out);

/* Functions in batch.c */
extern MirrorBatch *cg_mirror_batch(MemoryContext parent);
extern void cg_mirror_batch_reset(MirrorBatch *batch);
extern MirrorTouch *cg_mirror_batch_add(MirrorBatch *batch, int32 mirror, const char *key,
										uint16 size, const ItemPointerData *tid);
extern void cg_mirror_batch_sort(MirrorBatch *batch);

/* Functions in server.c */
extern Oid cg_mirror_server(const char *name);
extern RedisOptions *cg_mirror_server_options(Oid server, Oid role, const char *writer);
extern uint64 cg_mirror_server_version(const char *name, Oid role);
extern char *cg_mirror_writer_name(const char *server, Oid role);
extern bool cg_mirror_owner(RedisGrid *grid, const char *server, const char *prefix,
							MirrorOwnership *ownership);
extern bool cg_mirror_disown(RedisGrid *grid, const char *prefix);

/* Functions in declaration.c */
extern MirrorDefinition *cg_mirror_require(Oid relation, const char *server);

/* Functions in guard.c */
extern void cg_mirror_begin(void);
extern void cg_mirror_commit(void);
extern bool cg_mirror_try(void (*work)(void *argument), void *argument, char **error);

/* Functions in apply.c */
extern void cg_mirror_flush_wal(void);
extern void cg_mirror_send(MirrorChannel *channel);
extern bool cg_mirror_settle(MirrorChannel *channel);

/* Functions in sweep.c */
extern void cg_mirror_want_sweep(MirrorState *mirror);
extern void cg_mirror_want_sweeps(MirrorChannel *channel);
extern MirrorState *cg_mirror_next_sweep(const MirrorChannel *channel);
extern bool cg_mirror_sweep_step(MirrorChannel *channel, MirrorState *mirror);
extern void cg_mirror_stop_scan(MirrorState *mirror);

/* Functions in progress.c */
extern char *cg_mirror_saved_position(const char *server, Oid owner);
extern void cg_mirror_load_channel(MirrorChannel *channel);
extern void cg_mirror_load_mirror(MirrorState *mirror);
extern void cg_mirror_save(MirrorChannel *channel);
extern void cg_mirror_forget_channel(MirrorChannel *channel);
extern void cg_mirror_park(MirrorChannel *channel);
extern void cg_mirror_unpark(MirrorState *mirror);

/* Functions in node_status.c */
extern void cg_mirror_node_shmem_request(void);
extern void cg_mirror_node_shmem_init(void);
extern void cg_mirror_publish_nodes(MirrorChannel *channel, const char *error);
extern void cg_mirror_forget_nodes(const MirrorChannel *channel);
extern void cg_mirror_forget_database_nodes(Oid database);

/* Functions in nodes.c */
extern bool cg_mirror_check_nodes(MirrorChannel *channel);

/* Functions in connection.c */
extern void cg_mirror_follow_server(MirrorChannel *channel);
extern bool cg_mirror_connect(MirrorChannel *channel);
extern void cg_mirror_interrupt(MirrorChannel *channel);
extern void cg_mirror_end_interruption(MirrorChannel *channel);
extern void cg_mirror_bury(MirrorState *mirror);

/* Functions in channel.c */
extern bool cg_mirror_round(MirrorChannel *channel, long *wait_ms);
extern void cg_mirror_overflow(MirrorChannel *channel);
extern MirrorState *cg_mirror_find_state(const MirrorChannel *channel, int32 mirror);
extern bool cg_mirror_lock_tables(MirrorChannel *channel);
extern void cg_mirror_break(MirrorState *mirror, const char *error);

/* Functions in work.c */
extern void cg_mirror_reload_soon(void);

/* Functions in status.c */
extern void cg_mirror_count(int32 mirror, int64 applied, int64 retries);
extern void cg_mirror_count_sweep(int32 mirror);
extern void cg_mirror_set_state(int32 mirror, const char *state);
extern void cg_mirror_set_error(int32 mirror, const char *error);
extern void cg_mirror_forget_status(int32 mirror);

#endif /* CACHEGRID_MIRROR_INTERNAL_H */
