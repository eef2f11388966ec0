/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  When things are done that no session does: a launcher for the server,
 *	  a worker for each database that has mirrors, and loaders.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_WORKER_H
#define CACHEGRID_WORKER_H

#include "postgres_ext.h"

/*
 * Each function's contract stands at its body.
 */

/* Functions in launcher.c */
extern void cg_worker_init(void);
extern PGDLLEXPORT void cg_worker_launcher_main(Datum argument);

/* Functions in database.c */
extern PGDLLEXPORT void cg_worker_database_main(Datum argument);

/* Functions in loader.c; the launcher calls the second in each round */
extern PGDLLEXPORT void cg_worker_loader_main(Datum argument);
extern void cg_worker_start_loaders(void);

/* Functions in yield.c: only for the files of this floor */
extern void cg_worker_install_hooks(void);

/* Functions in loop.c: only for the files of this floor */
extern void cg_worker_begin(void);
extern void cg_worker_begin_round(void);
extern void cg_worker_rest(long milliseconds);
extern void cg_worker_nap(long microseconds);

#endif /* CACHEGRID_WORKER_H */
