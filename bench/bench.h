/*-------------------------------------------------------------------------
 *
 * bench.h
 *	  How the rows of the bench are measured.
 *
 *	  A row compares two sides, or measures one.  Sides take turns in rounds,
 *	  and who begins alternates, so that what else the machine does falls on
 *	  both; the median of the rounds' ratios counts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_H
#define BENCH_H

#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_CLIENTS 2
#define FULL_ROUNDS 7 /* fewer: a rough run */
#define MAX_ROUNDS	101

/* One run of the bench; its only thread uses it, but for the clients' own. */
typedef struct Bench
{
	PGconn *conn;					  /* for everything that one session does */
	PGconn *clients[MAX_CLIENTS];	  /* for what clients do beside each other */
	redisContext *redis[MAX_CLIENTS]; /* the single Redis on a Unix socket */
	const char *ports;				  /* of the Redis Cluster's masters */
	int rounds;
	int keys;			  /* in kv, probe and the cache */
	int calls;			  /* of a client in one round */
	int bulk;			  /* rows of the all_ tables */
	char why[512];		  /* what went wrong last; empty: nothing */
	const char *left_out; /* why the row is not measured, though nothing is wrong */
	char note[512];		  /* what a row has to say beside its figure; empty: nothing */
} Bench;

/*
 * One side: does its work once and returns the seconds that one operation
 * took, or NAN and bench->why.
 */
typedef double (*Side)(Bench *bench, const void *what);

/* Connect to PostgreSQL; false and bench->why. */
extern bool bench_connect(Bench *bench);

/*
 * Start the server anew, empty, with so many MB of cachegrid.memory (0: as usual).
 * False and bench->why.
 */
extern bool bench_restart(Bench *bench, int memory);

/*
 * What a session answers to what was sent to it: the one field of one row.  False and
 * bench->why if it is something else.
 */
extern bool bench_receive(Bench *bench, PGconn *conn, char *field, size_t size);

/* Hand a point of a curve to whoever draws the picture: the folder BENCH_DATA. */
extern void bench_data(const char *picture, const char *series, double x, double y);

/* The median of numbers, which are sorted; NAN if one of them is. */
extern double bench_middle(double *numbers, int count);

/* How many times as long as ours theirs took: the median of the rounds. */
extern double bench_compare(Bench *bench, Side ours, const void *our_what, Side theirs,
							const void *their_what);

/* The median of the rounds of one side. */
extern double bench_median(Bench *bench, Side side, const void *what);

/* Ascending. */
extern void bench_sort(double *numbers, int count);

/* Remember what went wrong; returns NAN. */
extern double bench_fail(Bench *bench, const char *what, const char *why);

/* Seconds of a clock that only goes forward. */
extern double bench_now(void);

/* Run sql; false and bench->why if it failed. */
extern bool bench_run(Bench *bench, const char *sql);

/* The first column of the first row of sql as a number, or NAN and bench->why. */
extern double bench_number(Bench *bench, const char *sql);

/* A side: run the SQL text `what`; the seconds of all of it. */
extern double side_query(Bench *bench, const void *what);

/* What a client says over and over, to PostgreSQL or to Redis. */
typedef struct Talk
{
	int clients;
	const char *statement; /* with $1 = a key or an id; NULL: Redis GET */
	bool by_id;			   /* $1 is an id of the one_ tables */
} Talk;

/* A side: the clients of a Talk; the seconds of a call, clients in parallel. */
extern double side_talk(Bench *bench, const void *what);

/* The rate of single-row updates on a table, as a share of that on one_bare. */
extern double compare_updates(Bench *bench, int clients, const char *table);

/* The time of updating a whole table at once, in times of that of all_bare. */
extern double compare_bulk(Bench *bench, const char *table);

/* The rows that are more than two SQL texts; each returns its figure or NAN. */
extern double row_memory(Bench *bench);
extern double row_mget_key(Bench *bench);
extern double row_herd(Bench *bench);
extern double row_update_watched(Bench *bench);
extern double row_update_watched_alone(Bench *bench);
extern double row_update_mirrored_alone(Bench *bench);
extern double row_update_mirrored(Bench *bench);
extern double row_update_through(Bench *bench);
extern double row_update_waiting(Bench *bench);
extern double row_bulk_watched(Bench *bench);
extern double row_bulk_mirrored(Bench *bench);
extern double row_rows_in_bulk(Bench *bench);
extern double row_rows_one_by_one(Bench *bench);
extern double row_visible_median(Bench *bench);
extern double row_visible_99(Bench *bench);

/* A trace through a store of so many objects. */
typedef struct Trace
{
	const char *name;
	int objects;		/* that the store holds */
	double best;		/* known miss ratio to compare with; 0: that of LRU */
	const char *policy; /* whose that is */
	bool small;			/* values of 100 bytes, so the index is as full as it gets */
	int made_of;		/* objects of a trace that is made up; 0: it is in a file */
} Trace;

/* A side: the miss ratio on a Trace, in parts of the other one. */
extern double row_misses(Bench *bench, const void *what);

/* What many sessions do at once. */
typedef struct Crowd
{
	const char *series; /* its name in the picture */
	const char *what;	/* as bench_calls_until knows it */
	int filled;			/* entries that are put before */
	int keys;			/* that the sessions draw from */
} Crowd;

/* A side: the rate of 32 sessions, as a share of that of the best number of them. */
extern double row_crowd(Bench *bench, const void *what);

/* Milliseconds that the longest call takes longer when a million entries expire. */
extern double row_expiry(Bench *bench);
extern double row_listing(Bench *bench);

/* Print the time of a call at numbers of entries; false and bench->why. */
extern bool bench_scale(Bench *bench);

/*
 * Print what the database is asked when many keys expire at once, for each answer to that;
 * false and bench->why.
 */
extern bool bench_stampede(Bench *bench);

#endif
