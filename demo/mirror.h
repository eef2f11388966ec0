/*-------------------------------------------------------------------------
 *
 * mirror.h
 *	  Watches the mirrors, and compares Redis with the tables in two ways.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_MIRROR_H
#define DEMO_MIRROR_H

#include "report.h"

/*
 * All below return NULL, or what went wrong.
 */

/* Look at cachegrid.stat_mirror; max_lag only ever rises. */
extern const char *mirror_look(MirrorWatch *mirror, PGconn *conn);

/*
 * Wait until no change waits and every mirror is live, or until limit seconds have passed, or stop is
 * set.  *seconds: how long it took; *done: whether it came to that.
 */
extern const char *mirror_wait(MirrorWatch *mirror, PGconn *conn, const atomic_bool *stop,
							   double limit, double *seconds, bool *done);

/*
 * Compare Redis with the tables: by cachegrid.verify, and by reading all keys
 * of the Redis masters on the ports of 127.0.0.1 (separated by blanks) with a plain
 * client.  Sets rows, keys, differences and difference of outcome.
 */
extern const char *mirror_compare(Outcome *outcome, const Shop *shop, PGconn *conn,
								  const char *ports);

#endif
