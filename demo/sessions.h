/*-------------------------------------------------------------------------
 *
 * sessions.h
 *	  The sessions of the replay: some read through the cache, others write.
 *
 *	  Every session is a thread with a connection of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_SESSIONS_H
#define DEMO_SESSIONS_H

#include <pthread.h>
#include <stdatomic.h>

#include "histogram.h"
#include "shop.h"

#define MAX_SESSIONS 64
#define ERROR_SIZE	 512

/* What was asked for; only read while sessions run. */
typedef struct Plan
{
	int readers;
	int writers;
	int rate;		 /* writes a second, all writers together */
	int check_every; /* reads */
	int time_every;
} Plan;

typedef enum Change
{
	CHANGE_UPDATE,
	CHANGE_INSERT,
	CHANGE_DELETE,
	CHANGE_ROLLED_BACK,
	CHANGES
} Change;

/* Shared by all sessions. */
typedef struct Stage
{
	const Plan *plan;
	const Shop *shop;
	atomic_size_t cursor;	  /* the next read of the trace */
	atomic_bool stop_readers; /* set by anybody, never reset */
	atomic_bool stop_writers; /* the same */
	atomic_bool failed;		  /* error holds why; set once by who fails first */
	char error[ERROR_SIZE];
	uint8_t *gone; /* per object: its row is deleted; its only writer writes it */
} Stage;

/*
 * One session.  Its thread writes, the main thread reads the atomic counters
 * at any time and the histograms after the thread has ended.
 */
typedef struct Session
{
	Stage *stage;
	int number; /* among its kind, from 0 */
	pthread_t thread;
	PGconn *conn;
	atomic_uint_fast64_t reads;
	atomic_uint_fast64_t hits;
	atomic_uint_fast64_t checked_hits;
	atomic_uint_fast64_t stale_hits;
	atomic_uint_fast64_t checked_misses;
	atomic_uint_fast64_t wrong_misses;
	atomic_uint_fast64_t changes[CHANGES];
	Histogram hit;
	Histogram miss;
	Histogram uncached;
} Session;

/*
 * Connect and start a reader or a writer.  The first reader reads in
 * REPEATABLE READ transactions, the others under READ COMMITTED.  False and
 * stage->error if that failed.
 */
extern bool session_start_reader(Session *session, Stage *stage, int number);
extern bool session_start_writer(Session *session, Stage *stage, int number);

/* The body of a writer's thread; in writer.c. */
extern void *session_write(void *argument);

/* Wait until the session has ended by itself, and disconnect. */
extern void session_end(Session *session);

/* Remember why the replay failed, unless it has failed before, and stop it. */
extern void stage_fail(Stage *stage, const char *what, const char *why);

/* Nanoseconds of a clock that only goes forward. */
extern uint64_t now_ns(void);

#endif
