/*-------------------------------------------------------------------------
 *
 * inside.h
 *	  What the bench does inside a session of the server.
 *
 *	  A driver calls cachegrid.get and cachegrid.set as SQL does, by their
 *	  addresses, so that a call's time is the function's own.  Its keys begin
 *	  with "now:", a cache whose sets take effect at once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_INSIDE_H
#define BENCH_INSIDE_H

#include "postgres.h"

#include <time.h>

#include "fmgr.h"
#include "utils/timestamp.h"

#define KEY_BYTES 12

typedef struct Driver
{
	MemoryContext context; /* of one call; emptied after it */
	FmgrInfo get;
	FmgrInfo set;
	text *key;
	text *value;
	uint64 random;
} Driver;

/* A driver of values of so many bytes; lives in the current context. */
extern Driver *make_driver(int value_bytes, int seed);

/* Is there a value for the key of this number? */
extern bool drive_get(Driver *driver, uint32 number);

/* Set it; ttl may be NULL. */
extern void drive_set(Driver *driver, uint32 number, const Interval *ttl);

static inline uint32
draw(uint64 *random, uint32 bound)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (uint32) (((*random >> 32) * bound) >> 32);
}

/* Nanoseconds of a clock that only goes forward, the same in all processes. */
static inline int64
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nanoseconds that this process has had a processor, whoever else wants it. */
static inline int64
processor_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* In array.c */
extern Datum bench_array_get(PG_FUNCTION_ARGS);

#endif
