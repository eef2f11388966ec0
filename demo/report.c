/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What the replay shows.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

#define LEAST_HIT_RATIO 0.8

/* Seconds between two lines of progress where there is no terminal. */
#define LINE_EVERY 5

#define PROGRESS_WIDTH 24
#define BAR_WIDTH	   30
#define SPARK_WIDTH	   40

static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
static const char *const levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

static double
share(uint64_t part, uint64_t all)
{
	return all > 0 ? (double) part / (double) all : 0;
}

bool
outcome_passes(const Outcome *outcome)
{
	return share(outcome->totals.hits, outcome->totals.reads) > LEAST_HIT_RATIO &&
		   outcome->totals.checked_hits > 0 && outcome->totals.stale_hits == 0 &&
		   outcome->totals.wrong_misses == 0 && outcome->caught_up &&
		   outcome->differences == 0 && outcome->keys == outcome->rows;
}

void
totals_add_up(Totals *totals, const Session *sessions, int count, bool ended)
{
	memset(totals, 0, sizeof(*totals));
	for (int i = 0; i < count; i++)
	{
		const Session *session = &sessions[i];

		totals->reads += atomic_load(&session->reads);
		totals->hits += atomic_load(&session->hits);
		totals->checked_hits += atomic_load(&session->checked_hits);
		totals->stale_hits += atomic_load(&session->stale_hits);
		totals->checked_misses += atomic_load(&session->checked_misses);
		totals->wrong_misses += atomic_load(&session->wrong_misses);
		for (int kind = 0; kind < CHANGES; kind++)
		{
			totals->changes[kind] += atomic_load(&session->changes[kind]);
			totals->writes += atomic_load(&session->changes[kind]);
		}
		if (ended)
		{
			histogram_add(&totals->hit, &session->hit);
			histogram_add(&totals->miss, &session->miss);
			histogram_add(&totals->uncached, &session->uncached);
		}
	}
}

/* A number with a comma every three digits, in one of a few static buffers. */
static const char *
grouped(uint64_t number)
{
	static char buffers[8][32];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long) number);
	char *out = buffer;

	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0)
			*out++ = ',';
		*out++ = digits[i];
	}
	*out = '\0';
	return buffer;
}

/* A bar of part (0 to 1) of width characters, with eighths. */
static void
print_bar(double part, int width)
{
	int units = (int) (part * width * 8 + 0.5);

	if (units > width * 8)
		units = width * 8;
	for (int i = 0; i < units / 8; i++)
		fputs(eighths[8], stdout);
	if (units % 8)
		fputs(eighths[units % 8], stdout);
}

static void
print_progress_bar(double part)
{
	for (int i = 0; i < PROGRESS_WIDTH; i++)
		fputs(i < (int) (part * PROGRESS_WIDTH + 0.5) ? "█" : "░", stdout);
}

void
report_progress(const Totals *totals, const MirrorWatch *mirror, double part,
				double elapsed)
{
	static double next_line = LINE_EVERY;
	bool terminal = isatty(STDOUT_FILENO);

	if (!terminal && elapsed < next_line)
		return;
	next_line += LINE_EVERY;
	fputs(terminal ? "\r\033[K  " : "  ", stdout);
	print_progress_bar(part);
	printf(" %3.0f %%  %s reads  hit ratio %.3f  stale %s  lag %.0f ms", part * 100,
		   grouped(totals->reads), share(totals->hits, totals->reads),
		   grouped(totals->stale_hits), mirror->lag * 1000);
	if (!terminal)
		putchar('\n');
	fflush(stdout);
}

void
report_progress_end(void)
{
	if (isatty(STDOUT_FILENO))
		fputs("\r\033[K", stdout);
}

void
report_step(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("  ", stdout);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
	fflush(stdout);
}

/* A duration in the unit that suits it. */
static const char *
duration(double seconds)
{
	static char buffers[8][24];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];

	if (seconds < 0.001)
		snprintf(buffer, sizeof(buffers[0]), "%.0f µs", seconds * 1e6);
	else if (seconds < 0.01)
		snprintf(buffer, sizeof(buffers[0]), "%.1f ms", seconds * 1e3);
	else if (seconds < 1)
		snprintf(buffer, sizeof(buffers[0]), "%.0f ms", seconds * 1e3);
	else
		snprintf(buffer, sizeof(buffers[0]), "%.1f s", seconds);
	return buffer;
}

/* Spaces until text, of which µ is two bytes but one column, has width. */
static void
print_right(const char *text, int width)
{
	int columns = 0;

	for (const char *at = text; *at; at++)
		columns += ((unsigned char) *at & 0xc0) != 0x80;
	printf("%*s%s", width > columns ? width - columns : 0, "", text);
}

/* The hit ratio of each second, from the lowest to 1. */
static void
print_sparkline(const Outcome *outcome)
{
	unsigned width = outcome->seconds < SPARK_WIDTH ? outcome->seconds : SPARK_WIDTH;
	float lowest = 1;

	for (unsigned i = 0; i < outcome->seconds; i++)
		lowest = outcome->hit_ratios[i] < lowest ? outcome->hit_ratios[i] : lowest;
	if (width < 2 || lowest >= 1)
		return;
	printf("   %.2f ", (double) lowest);
	for (unsigned i = 0; i < width; i++)
	{
		float ratio = outcome->hit_ratios[i * outcome->seconds / width];

		fputs(levels[(int) ((ratio - lowest) / (1 - lowest) * 7.99f)], stdout);
	}
	fputs(" 1.00 over time", stdout);
}

static void
print_latency(const char *what, const Histogram *histogram, double longest)
{
	double median = histogram_quantile(histogram, 0.5) / 1e9;

	if (histogram->total == 0)
		return;
	printf("  %-22s", what);
	print_right(duration(median), 10);
	print_right(duration(histogram_quantile(histogram, 0.99) / 1e9), 12);
	fputs("   ", stdout);
	print_bar(longest > 0 ? median / longest : 0, BAR_WIDTH);
	putchar('\n');
}

static void
print_latencies(const Totals *totals)
{
	double longest = 0;
	const Histogram *all[] = {&totals->hit, &totals->uncached, &totals->miss};

	for (int i = 0; i < 3; i++)
	{
		double median = all[i]->total > 0 ? histogram_quantile(all[i], 0.5) / 1e9 : 0;

		longest = median > longest ? median : longest;
	}
	printf("\n  %-22s%10s%12s\n", "latency, round trip", "median", "99 % within");
	print_latency("  hit", &totals->hit, longest);
	print_latency("  uncached read", &totals->uncached, longest);
	print_latency("  miss", &totals->miss, longest);
}

static void
print_traffic(const Outcome *outcome, const Plan *plan)
{
	const Totals *totals = &outcome->totals;

	printf("  %-22s%10s   %s a second, %d sessions\n", "reads", grouped(totals->reads),
		   grouped((uint64_t) ((double) totals->reads / outcome->elapsed)),
		   plan->readers);
	printf("  %-22s%10s   %s a second, %d sessions: %s updates, %s inserts,"
		   " %s deletes, %s rolled back\n",
		   "writes", grouped(totals->writes),
		   grouped((uint64_t) ((double) totals->writes / outcome->elapsed)),
		   plan->writers, grouped(totals->changes[CHANGE_UPDATE]),
		   grouped(totals->changes[CHANGE_INSERT]),
		   grouped(totals->changes[CHANGE_DELETE]),
		   grouped(totals->changes[CHANGE_ROLLED_BACK]));
	printf("  %-22s%8.1f %%", "hit ratio", 100 * share(totals->hits, totals->reads));
	print_sparkline(outcome);
	printf("\n  %-22s%10s   answered without asking a table\n", "queries spared",
		   grouped(totals->hits));
}

static void
print_truth(const Outcome *outcome, const Shop *shop)
{
	const Totals *totals = &outcome->totals;
	const MirrorWatch *mirror = &outcome->mirror;

	printf("\n  %-22s%10s   of %s hits compared with the table in one snapshot\n",
		   "stale hits", grouped(totals->stale_hits), grouped(totals->checked_hits));
	if (totals->wrong_misses > 0)
		printf("  %-22s%10s   of %s misses compared\n", "wrong misses",
			   grouped(totals->wrong_misses), grouped(totals->checked_misses));
	printf("  %-22s%10s   of %d tables; at first in Redis within %s\n", "rows mirrored",
		   grouped(outcome->rows), shop->ntables, duration(outcome->fill_seconds));
	printf("  %-22s", "lag of the mirror");
	print_right(duration(mirror->max_lag), 10);
	if (outcome->caught_up)
		printf("   at most; all in Redis %s after the last write\n",
			   duration(outcome->catch_up));
	else
		printf("   at most; %s changes still wait %s after the last write\n",
			   grouped(mirror->waiting), duration(outcome->catch_up));
	printf("  %-22s%10s   ", "Redis and tables",
		   outcome->differences == 0 && outcome->keys == outcome->rows ? "equal"
																	   : "DIFFER");
	printf("verify and a plain client find %s differences in %s keys\n",
		   grouped(outcome->differences), grouped(outcome->keys));
	if (outcome->differences > 0)
		printf("  %-22s%10s   first: %s\n", "", "", outcome->difference);
}

void
report_table(const Outcome *outcome, const Plan *plan, const Shop *shop)
{
	putchar('\n');
	print_traffic(outcome, plan);
	print_latencies(&outcome->totals);
	print_truth(outcome, shop);
	printf("\n  %s\n\n",
		   outcome_passes(outcome)
			   ? "passed: hit ratio above 0.8, no stale hit, Redis equals the tables"
			   : "FAILED: wanted a hit ratio above 0.8, no stale hit, and Redis equal to"
				 " the tables");
	fflush(stdout);
}
