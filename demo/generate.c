/*-------------------------------------------------------------------------
 *
 * generate.c
 *	  Makes up reads in the shape of a real shop's access log.
 *
 *	  The log is orm-busy of the cache2k benchmarks, (c) headissue GmbH, Jens
 *	  Wilke, CC BY 4.0.  Nothing of it is here but the numbers below, which
 *	  were measured on it; README.md compares the two.  The model:
 *
 *	  - New objects appear as fast as the log's did (growth).
 *	  - Reuse: a read goes to a depth of the LRU stack, drawn from the depths
 *	    at which the log jumped (jump_depths).
 *	  - Popularity: of some objects around that depth, one is chosen by
 *	    weight.  Weights are drawn at birth, some objects being much heavier
 *	    than others, and objects of a type that is read much more so.
 *	  - Scans: a jump is followed by reading on, for as long as the log did
 *	    (scan_lengths), what came after this object the last time.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stack.h"
#include "trace.h"

#define NOBODY		  UINT32_MAX
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* After so many reads so many objects had been seen. */
static const struct
{
	double reads;
	double objects;
} growth[] = {
	{0, 0},			  {15625, 3527},	{62500, 11136},	  {125000, 17149},
	{250000, 24244},  {500000, 33006},	{1000000, 44178}, {1500000, 53571},
	{2000000, 60734}, {3000000, 66997}, {4000000, 71858}, {5000000, 76349},
};

/* New objects come in rows of this length on average. */
#define NEW_IN_A_ROW 1.85

/*
 * The share of jumps to depth 0, 1, 2 to 3, 4 to 7 and so on.  It is the log's, corrected
 * until the depths of all reads, those in scans included, came out as the log's.
 */
static const double jump_depths[] = {.0472, .0456, .0501, .0438, .0497, .0884,
									 .1234, .0526, .0622, .0806, .1097, .0215,
									 .0282, .0426, .0549, .0555, .0415, .0024};

/* The share of jumps that read on for 0, 1, 2 to 3, 4 to 7 and so on objects. */
static const double scan_lengths[] = {.6403, .2168, .1214, .0150, .0024, .0038, .0003};

/* Of how many objects around the depth one is chosen. */
#define CANDIDATES 8

/* Weights of one type's objects are uneven by up to exp(UNEVENNESS). */
#define UNEVENNESS 4.3

/* How far a type's reads for each of its objects decide their weight. */
#define WEIGHT_OF_TYPE 0.45

/* For each type its share of the objects and of the reads, in 1/1000. */
static const struct
{
	uint8_t type;
	uint8_t indexed; /* objects that share an id; 0: no index */
	double objects;
	double reads;
} types[] = {
	{0, 0, 1.1, .2},	 {1, 1, 1.8, .1},		{3, 0, 1.0, .1},	{4, 0, 1.1, .02},
	{5, 1, .7, .02},	 {6, 255, 4.3, .07},	{7, 0, 1.9, 47.6},	{8, 1, 1.6, 5.5},
	{9, 0, 36.4, 28.8},	 {10, 0, 34.1, 7.4},	{11, 1, 7.7, 3.2},	{12, 1, 34.1, 4.3},
	{13, 1, 33.7, 3.3},	 {14, 0, 8.2, 14.3},	{15, 0, 7.7, 1.8},	{16, 1, 1.8, .7},
	{17, 0, 135.7, 480}, {18, 0, 87.2, 87.4},	{19, 1, 28.0, 8.7}, {20, 0, 86.6, 87.5},
	{21, 1, 81.6, 60.5}, {23, 20, 143.7, 20.7}, {24, 1, 9.6, .6},	{25, 20, 143.5, 42.2},
	{26, 0, 78.2, 22.7}, {27, 0, 8.1, 40.5},	{28, 0, 7.8, 10.0}, {29, 1, 5.0, 8.2},
	{30, 1, 7.8, 13.9},
};

/* Everything the making of one trace needs. */
typedef struct Maker
{
	Trace *trace;
	LruStack *stack;
	uint32_t capacity;
	double *weight;		/* of each object */
	uint32_t *follower; /* what was read after each object the last time */
	uint32_t born[TRACE_TYPES];
	uint64_t random;
	uint32_t scan_left;	 /* reads still to go in this scan */
	uint32_t births_due; /* new objects still to go in this row */
	uint32_t current;	 /* the object read last */
} Maker;

/* A number from 0 to below 1 (splitmix64). */
static double
draw(Maker *maker)
{
	uint64_t x = (maker->random += UINT64_C(0x9e3779b97f4a7c15));

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (double) ((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

/* Draw a bin 0, 1, 2 to 3, 4 to 7, ... by its share; its bounds in from, to. */
static void
draw_bin(Maker *maker, const double *shares, size_t count, uint32_t *from, uint32_t *to)
{
	double at = draw(maker);
	size_t bin = 0;

	while (bin + 1 < count && at >= shares[bin])
		at -= shares[bin++];
	*from = bin == 0 ? 0 : UINT32_C(1) << (bin - 1);
	*to = bin == 0 ? 1 : UINT32_C(1) << bin;
}

static uint32_t
give_birth(Maker *maker)
{
	Trace *trace = maker->trace;
	uint32_t object = trace->nobjects++;
	double at = draw(maker) * 1000;
	size_t i = 0;
	uint32_t nth;

	while (i + 1 < LENGTH(types) && at >= types[i].objects)
		at -= types[i++].objects;
	nth = maker->born[types[i].type]++;
	trace->objects[object].type = types[i].type;
	trace->objects[object].id = types[i].indexed ? nth / types[i].indexed + 1 : nth + 1;
	trace->objects[object].idx = types[i].indexed ? nth % types[i].indexed + 1 : 0;
	maker->weight[object] = pow(types[i].reads / types[i].objects, WEIGHT_OF_TYPE) *
							exp(UNEVENNESS * draw(maker));
	return object;
}

/* Whether the next read is of an object never read before. */
static bool
birth_is_due(Maker *maker, size_t done)
{
	size_t i = 1;
	double slope;

	if (maker->trace->nobjects == maker->capacity)
		return false;
	if (maker->births_due > 0)
	{
		maker->births_due--;
		return true;
	}
	while (i + 1 < LENGTH(growth) && growth[i].reads <= (double) done)
		i++;
	/* A lag or lead against the log is made good within the step. */
	slope = (growth[i].objects - maker->trace->nobjects) /
			fmax(growth[i].reads - (double) done, 1000);
	if (draw(maker) >= slope / NEW_IN_A_ROW)
		return maker->trace->nobjects == 0;
	while (draw(maker) < 1 - 1 / NEW_IN_A_ROW)
		maker->births_due++;
	return true;
}

/* Leave the scan: choose by depth and weight, and how long to read on there. */
static uint32_t
jump(Maker *maker)
{
	uint32_t size = stack_size(maker->stack);
	uint32_t chosen = NOBODY;
	double weights = 0;
	uint32_t from;
	uint32_t to;

	draw_bin(maker, scan_lengths, LENGTH(scan_lengths), &from, &to);
	maker->scan_left = from + (uint32_t) (draw(maker) * (to - from));

	do
		draw_bin(maker, jump_depths, LENGTH(jump_depths), &from, &to);
	while (from >= size);
	if (to > size)
		to = size;
	/* Weighted choice in one pass: the sum so far is replaced by chance. */
	for (int i = 0; i < CANDIDATES && (chosen == NOBODY || to - from > 1); i++)
	{
		uint32_t depth = from + (uint32_t) (draw(maker) * (to - from));
		uint32_t object = stack_at(maker->stack, depth);

		weights += maker->weight[object];
		if (draw(maker) * weights < maker->weight[object])
			chosen = object;
	}
	return chosen;
}

static uint32_t
choose_next(Maker *maker, size_t done)
{
	if (birth_is_due(maker, done))
	{
		maker->scan_left = 0;
		return give_birth(maker);
	}
	if (maker->scan_left > 0 && maker->follower[maker->current] != NOBODY)
	{
		maker->scan_left--;
		return maker->follower[maker->current];
	}
	return jump(maker);
}

static void
make(Maker *maker, size_t nreads)
{
	for (size_t i = 0; i < nreads; i++)
	{
		uint32_t next = choose_next(maker, i);

		maker->trace->reads[i] = next;
		stack_touch(maker->stack, next);
		if (i > 0)
			maker->follower[maker->current] = next;
		maker->current = next;
	}
	maker->trace->nreads = nreads;
}

const char *
trace_generate(Trace *trace, size_t nreads)
{
	Maker maker = {.trace = trace, .capacity = 80000, .random = 42};

	*trace = (Trace){.source = "generated in the shape of orm-busy"};
	trace->reads = malloc(sizeof(uint32_t) * nreads);
	trace->objects = calloc(maker.capacity, sizeof(Object));
	maker.stack = stack_create(maker.capacity);
	maker.weight = malloc(sizeof(double) * maker.capacity);
	maker.follower = malloc(sizeof(uint32_t) * maker.capacity);
	if (trace->reads && trace->objects && maker.stack && maker.weight && maker.follower)
	{
		memset(maker.follower, 0xff, sizeof(uint32_t) * maker.capacity);
		make(&maker, nreads);
	}
	stack_free(maker.stack);
	free(maker.weight);
	free(maker.follower);
	return trace->nreads > 0 ? NULL : "out of memory";
}
