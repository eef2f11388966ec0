/*-------------------------------------------------------------------------
 *
 * misses.c
 *	  The rows of the bench about what the store keeps: its miss ratio on
 *	  traces, beside that of known policies.
 *
 *	  Those count objects, the store has bytes.  So all values are of one size,
 *	  of which so many fit a page, and memory is chosen such that pages times
 *	  values are the wanted number of objects.  Since memory is 8 MB at least,
 *	  several copies of the trace go on, turn by drawn turn, where objects are few: as many
 *	  shops with a cache of so many objects each.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

/* Memory in MB: of one partition of the store, as far as it matters. */
#define MEMORY_MIN 8
#define MEMORY_MAX 31

/* Values that fit a page. */
#define FIT_MIN	  4
#define FIT_MAX	  24
#define FIT_SMALL 66 /* of 100 bytes */

#define COPIES_MAX 400
#define PAGE	   8192

/* How exactly the number of objects is to be reached. */
#define GOOD_ENOUGH 0.002
#define TOLERANCE	0.01

/* A rough run leaves out what takes more accesses. */
#define ROUGH_ACCESSES 30e6

/* What makes a value of a size: header, key, long sizes, and a little room. */
#define AROUND_VALUE 36

/* A store of so many objects. */
typedef struct Plan
{
	int memory;
	int fit;
	int copies;
	double error;
} Plan;

/* Pages of the store at some size of memory: they grow with it. */
static bool
count_pages(Bench *bench, double *pages)
{
	static double at_min = 0;
	static double at_max = 0;
	const char *sql = "SELECT sum(free_bytes) / 8192 FROM cachegrid.stat_memory";

	if (at_max == 0)
	{
		if (!bench_restart(bench, MEMORY_MIN) ||
			isnan(at_min = bench_number(bench, sql)) ||
			!bench_restart(bench, MEMORY_MAX) || isnan(at_max = bench_number(bench, sql)))
			return false;
	}
	for (int i = MEMORY_MIN; i <= MEMORY_MAX; i++)
		pages[i] =
			at_min + (at_max - at_min) * (i - MEMORY_MIN) / (MEMORY_MAX - MEMORY_MIN);
	return true;
}

/* The fewest copies and the least memory that hold so many objects each. */
static bool
make_plan(Bench *bench, const Trace *trace, Plan *plan)
{
	int fit_min = trace->small ? FIT_SMALL : FIT_MIN;
	int fit_max = trace->small ? FIT_SMALL : FIT_MAX;
	double pages[MEMORY_MAX + 1];

	*plan = (Plan){.error = 1};
	if (!count_pages(bench, pages))
		return false;
	for (int copies = 1; copies <= COPIES_MAX && plan->error > GOOD_ENOUGH; copies++)
		for (int memory = MEMORY_MIN; memory <= MEMORY_MAX; memory++)
			for (int fit = fit_min; fit <= fit_max; fit++)
			{
				double wanted = (double) copies * trace->objects;
				double error = fabs(pages[memory] * fit - wanted) / wanted;

				if (error < plan->error)
					*plan = (Plan){memory, fit, copies, error};
			}
	return true;
}

static int
value_bytes(const Plan *plan)
{
	return plan->fit == FIT_SMALL ? 100 : PAGE / plan->fit - AROUND_VALUE;
}

/* The path of a trace, unpacked; NULL if it is not here. */
static const char *
find_trace(const Trace *trace)
{
	static char path[512];
	const char *folder = getenv("TRACES");

	snprintf(path, sizeof(path), "%s/%s.trace", folder ? folder : ".", trace->name);
	return access(path, R_OK) == 0 ? path : NULL;
}

/* Have the trace in the session; how many accesses it has, or NAN. */
static double
make_trace(Bench *bench, const Trace *trace)
{
	char sql[640];

	if (trace->made_of > 0)
		snprintf(sql, sizeof(sql), "SELECT bench_trace_generate('%s', %d, %d)",
				 trace->name, bench->rounds < FULL_ROUNDS ? 500000 : 3000000,
				 trace->made_of);
	else
		snprintf(sql, sizeof(sql), "SELECT bench_trace_read('%s')", find_trace(trace));
	return bench_number(bench, sql);
}

/* The miss ratio that ours is compared with: a known one, or that of LRU. */
static double
other_misses(Bench *bench, const Trace *trace)
{
	char sql[64];

	if (trace->best > 0)
		return trace->best;
	snprintf(sql, sizeof(sql), "SELECT bench_lru(%d)", trace->objects);
	return bench_number(bench, sql);
}

double
row_misses(Bench *bench, const void *what)
{
	const Trace *trace = what;
	double accesses;
	double other;
	double misses;
	double reached;
	char sql[256];
	Plan plan = {0};

	if (trace->made_of == 0 && !find_trace(trace))
	{
		bench->left_out = "no trace";
		return NAN;
	}
	if (!make_plan(bench, trace, &plan) || !bench_restart(bench, plan.memory) ||
		isnan(accesses = make_trace(bench, trace)) ||
		isnan(other = other_misses(bench, trace)))
		return NAN;
	if (bench->rounds < FULL_ROUNDS && plan.copies * accesses > ROUGH_ACCESSES)
	{
		bench->left_out = "takes long, left out";
		return NAN;
	}
	snprintf(sql, sizeof(sql), "SELECT bench_replay(%d, %d)", plan.copies,
			 value_bytes(&plan));
	misses = bench_number(bench, sql);
	snprintf(sql, sizeof(sql),
			 "SELECT entries / %d.0 FROM cachegrid.stat_cache WHERE cache = 'now'",
			 plan.copies);
	reached = bench_number(bench, sql);
	if (isnan(misses) || isnan(reached))
		return NAN;
	snprintf(bench->note, sizeof(bench->note),
			 "%.4f against %s %.4f; %.1f objects, %d x, %d B, %d MB", misses,
			 trace->policy, other, reached, plan.copies, value_bytes(&plan), plan.memory);
	if (fabs(reached - trace->objects) / trace->objects > TOLERANCE)
		return bench_fail(bench, "another number of objects", bench->note);
	return misses / other;
}
