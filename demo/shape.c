/*-------------------------------------------------------------------------
 *
 * shape.c
 *	  The shape of a sequence of reads, measured: how popular its objects
 *	  are, how soon an object is read again, how much of it is scans.
 *
 *	  A scan is counted read by read: a read belongs to one if it reads the
 *	  object that followed its predecessor the last time, too.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stack.h"
#include "trace.h"

#define NOBODY UINT32_MAX

static const uint32_t cache_sizes[] = {100,	 250,	763,   1500, 3817,
									   8000, 15269, 30000, 60000};
static const uint32_t ranks[] = {1, 10, 100, 300, 1000, 3000, 10000, 30000};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Counted over the whole sequence. */
typedef struct Shape
{
	uint64_t hits[LENGTH(cache_sizes)]; /* of an LRU cache of that size */
	uint64_t by_depth[33];				/* reads from depth [2^(i-1), 2^i) */
	uint64_t scanned;
	uint64_t new_objects;
	uint64_t *reads_of; /* each object */
} Shape;

static void
count_depth(Shape *shape, uint32_t depth)
{
	int bin = 0;

	for (size_t i = 0; i < LENGTH(cache_sizes); i++)
		shape->hits[i] += depth < cache_sizes[i];
	while (bin < 32 && (UINT32_C(1) << bin) <= depth)
		bin++;
	shape->by_depth[bin]++;
}

static void
measure(Shape *shape, const Trace *trace, LruStack *stack, uint32_t *follower)
{
	for (size_t i = 0; i < trace->nreads; i++)
	{
		uint32_t object = trace->reads[i];
		uint32_t depth = stack_touch(stack, object);

		shape->reads_of[object]++;
		if (depth == STACK_NEW)
			shape->new_objects++;
		else
			count_depth(shape, depth);
		if (i > 0)
		{
			shape->scanned += follower[trace->reads[i - 1]] == object;
			follower[trace->reads[i - 1]] = object;
		}
	}
}

static int
compare_descending(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *) left;
	uint64_t b = *(const uint64_t *) right;

	return (a < b) - (a > b);
}

static void
print_popularity(Shape *shape, const Trace *trace)
{
	uint64_t sum = 0;
	size_t next = 0;

	qsort(shape->reads_of, trace->nobjects, sizeof(uint64_t), compare_descending);
	printf("\nrank        reads of it   %% of all reads up to it\n");
	for (uint32_t i = 0; i < trace->nobjects && next < LENGTH(ranks); i++)
	{
		sum += shape->reads_of[i];
		if (i + 1 == ranks[next])
		{
			printf("%6u  %15llu  %23.1f\n", ranks[next],
				   (unsigned long long) shape->reads_of[i],
				   100.0 * (double) sum / (double) trace->nreads);
			next++;
		}
	}
}

static void
print_shape(Shape *shape, const Trace *trace)
{
	double all = (double) trace->nreads;

	printf("source       %s\n", trace->source);
	printf("reads        %zu\n", trace->nreads);
	printf("objects      %u\n", trace->nobjects);
	printf("in scans     %.1f %%\n", 100.0 * (double) shape->scanned / all);
	printf("\nLRU cache of   hits\n");
	for (size_t i = 0; i < LENGTH(cache_sizes); i++)
		printf("%8u     %5.1f %%\n", cache_sizes[i],
			   100.0 * (double) shape->hits[i] / all);
	printf("\nread again after    %% of reads\n");
	for (int bin = 0; bin < 18; bin++)
		printf("< %6u others  %12.2f\n", 1u << bin,
			   100.0 * (double) shape->by_depth[bin] / all);
	print_popularity(shape, trace);
}

void
trace_print_shape(const Trace *trace)
{
	Shape shape = {0};
	LruStack *stack = stack_create(trace->nobjects);
	uint32_t *follower = malloc(sizeof(uint32_t) * trace->nobjects);

	shape.reads_of = calloc(trace->nobjects, sizeof(uint64_t));
	if (stack && follower && shape.reads_of)
	{
		memset(follower, 0xff, sizeof(uint32_t) * trace->nobjects);
		measure(&shape, trace, stack, follower);
		print_shape(&shape, trace);
	}
	stack_free(stack);
	free(follower);
	free(shape.reads_of);
}
