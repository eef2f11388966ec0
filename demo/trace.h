/*-------------------------------------------------------------------------
 *
 * trace.h
 *	  A sequence of reads of a shop's objects: a recorded one, or one made
 *	  up in its shape.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_TRACE_H
#define DEMO_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An access log numbers its types of objects with 5 bits. */
#define TRACE_TYPES 32

/* One object: a row of the table of its type. */
typedef struct Object
{
	uint32_t id;
	uint16_t idx;
	uint8_t type;
} Object;

/* Private to the process; filled once, only read afterwards. */
typedef struct Trace
{
	uint32_t *reads; /* numbers of objects, in the order they were read */
	size_t nreads;
	Object *objects; /* each object once, in the order of first reading */
	uint32_t nobjects;
	bool recorded; /* a real log, not a generated one */
	const char *source;
} Trace;

/*
 * Read the access log at path, through xz if its name ends so.  Returns NULL,
 * or the reason why it could not be read.
 */
extern const char *trace_read(Trace *trace, const char *path);

/*
 * Make up nreads reads in the shape of orm-busy (shape.c says which); always
 * the same ones.  Returns NULL, or the reason why it could not be done.
 */
extern const char *trace_generate(Trace *trace, size_t nreads);

/* Print what trace looks like: popularity, reuse, scans, LRU hit ratios. */
extern void trace_print_shape(const Trace *trace);

#endif
