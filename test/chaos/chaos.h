/*-------------------------------------------------------------------------
 *
 * chaos.h
 *	  Sessions that write to mirrored tables, readers that poll Redis, and
 *	  somebody who kills, restarts and cuts whatever lies between.
 *
 * What is compared.  Each key has a version, drawn from a clock under a lock on
 * the key that is held to the end of the transaction: so versions of a key rise
 * in the order of their commits, over deletes and crashes, too.  The table
 * "latest" has each key's last committed version.  So
 *
 *	backwards	Redis shows less than somebody saw there before
 *	uncommitted	Redis shows what was rolled back, or is newer than "latest"
 *	outdated	of a strict table: it shows less than "latest" had before the
 *				read, or than a COMMIT that gave no WARNING
 *	torn		a value is of two versions at once
 *
 * Now and then, and at the end, writers rest until nothing waits, and everything must
 * be equal.  So a change that was lost is found before some sweep mends it.
 *
 * None of these may ever be.  A key may be missing at any time.  The first and the
 * third are excused, and counted apart, from the kill of a Redis master until the
 * mirror has swept: it may have lost what it had acknowledged.
 *
 * Redis nodes announce the ports of a proxy, so the worker comes to them through
 * that; readers go to the nodes themselves, and replicas are let through.
 *
 * One process, one thread a session.  What all of them see is atomic, or
 * written under the lock of report.c or proxy.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CHAOS_H
#define CHAOS_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../shared/server.h"

#define TABLES	 5
#define KEYS	 40 /* ids of a table, from 0 */
#define NODES	 6
#define WRITERS	 5
#define READERS	 2
#define KEY_SIZE 64

/* A worker looks at its nodes every five seconds. */
#define NOTICE_SECONDS 6

typedef struct Table
{
	const char *name;
	const char *options; /* of cachegrid.mirror */
	bool hash;
	bool strict;  /* write-through */
	bool expires; /* keys have a time to live */
} Table;

/* A Redis node. */
typedef struct Node
{
	int port;
	int announced;		/* the proxy's port */
	const char *folder; /* with its redis.conf */
} Node;

/* What Redis has of a key. */
typedef struct Value
{
	bool found;
	bool rolled_back;
	bool torn;
	int64_t version;
} Value;

/* The kinds of trouble, as they are counted and told. */
typedef enum Trouble
{
	BACKEND_TERMINATED,
	BACKEND_KILLED,
	WORKER_TERMINATED,
	WORKER_KILLED,
	POSTMASTER_KILLED,
	SERVER_STOPPED,
	MASTER_KILLED,
	MASTER_HANDED_OVER,
	MASTER_RESTARTED,
	NETWORK_CUT,
	NETWORK_LATE,
	NETWORK_DELAYED,
	NETWORK_SILENT,
	NETWORK_DEAF,
	NETWORK_REFUSED,
	TROUBLES
} Trouble;

/* What may not be. */
typedef enum Wrong
{
	WRONG_BACKWARDS,
	WRONG_UNCOMMITTED,
	WRONG_OUTDATED,
	WRONG_TORN,
	WRONG_AT_REST,	  /* the table and Redis differ when all is quiet */
	WRONG_UNEXPECTED, /* an error of a session, or something did not come back */
	WRONGS
} Wrong;

typedef struct Chaos
{
	/* options */
	int seconds;
	uint64_t seed;
	bool calm;			  /* nothing is killed or cut */
	bool until_wrong;	  /* end at the first wrong */
	const char *host;	  /* folder of the socket */
	const char *data;	  /* folder of the server */
	const char *evidence; /* a file */

	Node nodes[NODES];
	int slots[TABLES][KEYS]; /* hash slot of each key */
	double started;
	double first_wrong; /* seconds after the start */
	atomic_bool stopping;
	atomic_int excused;		/* a master may have lost keys */
	_Atomic double emptied; /* when one came back without any */
	atomic_bool resting;	/* nobody begins a transaction, nothing is disturbed */
	atomic_int busy;		/* sessions within one */

	_Atomic int64_t seen[TABLES][KEYS]; /* the newest version that Redis showed */
	atomic_long transactions, changes, rolled_back, prepared, truncated, copied, resyncs,
		verifies, warnings, unavailable;
	atomic_long reads, missing, checked_commits, excused_reads, rests;
	atomic_long troubles[TROUBLES];
	atomic_long wrongs[WRONGS];
} Chaos;

extern Chaos chaos;
extern const Table tables[TABLES];

/* chaos.c */
extern PGconn *connect_to_server(const char *name);
extern PGconn *connect_for_long(void);
extern void key_of(int table, int id, char *key);

/* redis.c: a client of the cluster, of one thread */
typedef struct Client Client;
extern Client *client_open(void);
extern void client_close(Client *client);
extern bool client_read(Client *client, int table, int id, Value *value);
extern void *node_command(int node, const char *format, ...);
extern bool node_is_master(int node);

/* judge.c */
extern void judge_rest(void);
extern void judge(int table, int id, const Value *value, int64_t seen, int64_t floor,
				  const char *who);
extern void judge_latest(int table, int id, int64_t latest, int64_t seen);
extern void judge_end(void);

/* writer.c, reader.c, kills.c: threads */
extern void *writer_main(void *number);
extern void *reader_main(void *number);
extern void *kills_main(void *unused);
extern void *network_main(void *unused);
extern void finish_prepared(PGconn *conn);

/* proxy.c */
extern void proxy_listen(void);
extern void *proxy_main(void *unused);
extern void proxy_disturb(Trouble how, int node, uint64_t *random);
extern void proxy_stop_disturbing(void);

/* report.c */
extern void report_event(Trouble trouble, const char *what);
extern void report_wrong(Wrong wrong, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
extern void report_progress(void);
extern bool report_end(void);

#endif
