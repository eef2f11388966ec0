/*-------------------------------------------------------------------------
 *
 * mirror.h
 *	  Tables whose rows are also written to a Redis server.
 *
 * The outbox says which keys were touched.  For each of them the row is read
 * again, under a snapshot that only ever moves forward, and Redis gets what
 * the table has: a row gives SET, no row gives DEL.  So it does not matter
 * how often, in what order and from what half-done work a touch arrives.
 * When in doubt the whole table is swept the same way.
 *
 * A watched table may have a stream: what happens to its keys is published on a
 * Redis channel.  A stream is a mirror of another kind, with the same life: its
 * records come through the outbox, and its sweep is one event that says "all".
 *
 * Order comes from one writer: a database has one worker, which keeps at
 * most one command of a key in flight and ends its predecessor's connections
 * before it writes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_MIRROR_H
#define CACHEGRID_MIRROR_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/tuplestore.h"

#include "capture/capture.h"

/* What mirror() is asked for, as the user wrote it. */
typedef struct MirrorRequest
{
	Oid relation;
	const char *server;
	const char *key; /* template, or NULL: table:{primary key} */
	const char *mode;
	const char *format;
	List *columns;		 /* of char *; NIL: all */
	const Interval *ttl; /* NULL: none */
	bool strict;
	const char *on_unavailable;
	double ttl_jitter;
	const char *transform; /* name of a function, or NULL */
} MirrorRequest;

/* Where watch() is to publish what happens to a table's keys, as the user wrote it. */
typedef struct StreamRequest
{
	const char *server;	 /* NULL: where the table is mirrored to */
	const char *channel; /* of Redis; NULL: named after the table */
	bool sharded;
} StreamRequest;

/*
 * Each function's contract stands at its body.
 */

/* Functions in stream.c */
extern void cg_mirror_watch(Oid relation, CaptureWatch *watch,
							const StreamRequest *request);
extern void cg_mirror_unwatch(Oid relation);

/* Functions in declaration.c */
extern void cg_mirror_declare(const MirrorRequest *request);
extern void cg_mirror_undeclare(Oid relation, const char *server);
extern void cg_mirror_resync(Oid relation, const char *server, bool differences);

/* Functions in server.c */
extern void cg_mirror_check_options(List *options, Oid catalog);

/* Functions in verify.c */
extern void cg_mirror_verify(Oid relation, const char *server, Tuplestorestate *problems,
							 TupleDesc desc);

/* When the worker's next round is due. */
typedef struct MirrorRest
{
	bool more;	  /* there may be more to do at once */
	long wait_ms; /* else: so long, or until somebody wakes the worker */
	long nap_us;  /* before either, whoever wakes it: see pace.c */
} MirrorRest;

/* Functions in work.c: for the one worker of a database */
extern bool cg_mirror_work(MirrorRest *rest);

/* Functions in catalog.c */
extern bool cg_mirror_exists(void);
extern void cg_mirror_pin_settings(void);

/* Functions in status.c */
extern void cg_mirror_statuses(Tuplestorestate *rows, TupleDesc desc);
extern void cg_mirror_progress(Tuplestorestate *rows, TupleDesc desc);
extern void cg_mirror_forget_database(Oid database);
extern void cg_mirror_shmem_request(void);
extern void cg_mirror_shmem_init(void);

/* Functions in node_status.c */
extern void cg_mirror_node_statuses(Tuplestorestate *rows, TupleDesc desc);

#endif /* CACHEGRID_MIRROR_H */
