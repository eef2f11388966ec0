/*-------------------------------------------------------------------------
 *
 * crowd.c
 *	  The rows of the bench about many sessions at once: what they do together
 *	  in a second.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define SESSIONS_MAX 32
#define STEPS		 6 /* 1, 2, 4, ... sessions */

#define VALUE_BYTES 100

/* Sessions get so long to receive their order before they begin. */
#define HEAD_START 0.05

static bool
open_sessions(Bench *bench, PGconn **conns, int count)
{
	for (int i = 0; i < count; i++)
	{
		conns[i] = PQconnectdb("");
		if (PQstatus(conns[i]) == CONNECTION_OK)
			continue;
		bench_fail(bench, "session", PQerrorMessage(conns[i]));
		return false;
	}
	return true;
}

static void
close_sessions(PGconn **conns, int count)
{
	for (int i = 0; i < count; i++)
		PQfinish(conns[i]);
}

/* The calls that so many sessions make together in a second. */
static double
rate_of(Bench *bench, const Crowd *crowd, PGconn **conns, int sessions)
{
	double seconds = bench->rounds < FULL_ROUNDS ? 0.2 : 0.5;
	double begin = bench_now() + HEAD_START;
	double calls = 0;
	bool good = true;
	char text[256];

	for (int i = 0; i < sessions; i++)
	{
		snprintf(text, sizeof(text),
				 "SELECT bench_calls_until('%s', %d, %d, %d, %.6f, %.6f)", crowd->what,
				 crowd->keys, VALUE_BYTES, i, begin, begin + seconds);
		good &= PQsendQuery(conns[i], text) == 1;
	}
	for (int i = 0; i < sessions; i++)
	{
		good &= bench_receive(bench, conns[i], text, sizeof(text));
		calls += strtod(text, NULL);
	}
	return good ? calls / seconds : NAN;
}

/* Say the rates, in millions, and hand them to whoever draws pictures. */
static void
tell_rates(Bench *bench, const Crowd *crowd, const double *rates)
{
	size_t used = 0;

	for (int step = 0; step < STEPS; step++)
	{
		used += snprintf(bench->note + used, sizeof(bench->note) - used, "%s%d: %.2f",
						 step ? ", " : "", 1 << step, rates[step] / 1e6);
		bench_data("contention", crowd->series, 1 << step, rates[step] / 1e6);
	}
	snprintf(bench->note + used, sizeof(bench->note) - used, " million a second");
}

double
row_crowd(Bench *bench, const void *what)
{
	const Crowd *crowd = what;
	PGconn *conns[SESSIONS_MAX];
	double rates[STEPS][MAX_ROUNDS];
	double medians[STEPS];
	double best = 0;
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT bench_fill(0, %d, %d, 0)", crowd->filled - 1,
			 VALUE_BYTES);
	if (!bench_restart(bench, 0) || !bench_run(bench, sql) ||
		!open_sessions(bench, conns, SESSIONS_MAX))
		return NAN;
	for (int step = 0; step < STEPS; step++)
		rate_of(bench, crowd, conns, 1 << step);
	for (int round = 0; round < bench->rounds; round++)
		for (int step = 0; step < STEPS; step++)
			rates[step][round] = rate_of(bench, crowd, conns, 1 << step);
	close_sessions(conns, SESSIONS_MAX);
	for (int step = 0; step < STEPS; step++)
	{
		medians[step] = bench_middle(rates[step], bench->rounds);
		if (isnan(medians[step]))
			return NAN;
		best = fmax(best, medians[step]);
	}
	tell_rates(bench, crowd, medians);
	return medians[STEPS - 1] / best;
}
