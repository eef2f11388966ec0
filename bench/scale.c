/*-------------------------------------------------------------------------
 *
 * scale.c
 *	  The time of get and set from ten thousand to ten million entries, beside
 *	  that of reading an array of the same values: a curve, not a row.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define MEMORY		1536 /* for the largest number of entries */
#define VALUE_BYTES 100
#define BAR_NS		50 /* a character of a bar */
#define LENGTH(a)	(sizeof(a) / sizeof((a)[0]))

static const int sizes[] = {10000, 30000, 100000, 300000, 1000000, 3000000, 10000000};

/* What bench_calls is told, and how it is called here. */
static const char *const whats[][2] = {
	{"array", "read array"}, {"get", "get"}, {"set", "set"}};

static void
print_bar(const char *name, double ns)
{
	printf("  %-12s%7.0f ns  ", name, ns);
	for (int i = 0; i < ns / BAR_NS; i++)
		putchar('#');
	putchar('\n');
	fflush(stdout);
}

/* Measure at so many entries, of which some are there; *new_ns is what a new one takes. */
static bool
measure_at(Bench *bench, int present, int entries, double *new_ns, double *ns)
{
	int calls = bench->rounds < FULL_ROUNDS ? 200000 : 1000000;
	double times[LENGTH(whats)][MAX_ROUNDS];
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT bench_fill(%d, %d, %d, 0)", present, entries - 1,
			 VALUE_BYTES);
	*new_ns = bench_number(bench, sql) * 1e9;
	snprintf(sql, sizeof(sql), "SELECT bench_array_fill(%d, %d)", entries, VALUE_BYTES);
	if (isnan(*new_ns) || !bench_run(bench, sql))
		return false;
	/* Round -1 is for nothing: the session maps the memory. */
	for (int round = -1; round < bench->rounds; round++)
		for (size_t i = 0; i < LENGTH(whats); i++)
		{
			double seconds;

			snprintf(sql, sizeof(sql), "SELECT bench_calls('%s', %d, %d, %d, %d)",
					 whats[i][0], entries, VALUE_BYTES, calls, round + 1);
			seconds = bench_number(bench, sql);
			if (isnan(seconds))
				return false;
			if (round >= 0)
				times[i][round] = seconds * 1e9;
		}
	for (size_t i = 0; i < LENGTH(whats); i++)
		ns[i] = bench_middle(times[i], bench->rounds);
	return true;
}

bool
bench_scale(Bench *bench)
{
	int present = 0;

	if (!bench_restart(bench, MEMORY))
		return false;
	printf("One call at random keys of 12 bytes, values of %d\n", VALUE_BYTES);
	for (size_t size = 0; size < LENGTH(sizes); size++)
	{
		double ns[LENGTH(whats)];
		double new_ns;

		if (!measure_at(bench, present, sizes[size], &new_ns, ns))
			return false;
		present = sizes[size];
		printf("%d entries\n", present);
		for (size_t i = 0; i < LENGTH(whats); i++)
		{
			print_bar(whats[i][1], ns[i]);
			bench_data("scale", whats[i][1], present, ns[i]);
		}
		print_bar("set new", new_ns);
		bench_data("scale", "set new", present, new_ns);
	}
	return true;
}
