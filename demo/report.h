/*-------------------------------------------------------------------------
 *
 * report.h
 *	  What the replay shows: its progress, then its table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "sessions.h"

/* Seconds that the sparkline can show; a longer replay shows its end. */
#define MAX_SECONDS 3600

/* The mirrors as last seen; only the main thread touches it. */
typedef struct MirrorWatch
{
	uint64_t waiting;  /* changes not yet in Redis */
	uint64_t sweeping; /* mirrors that are not live: still filling, or interrupted */
	uint64_t applied;
	char error[256]; /* the last of one of the mirrors */
	double lag;		 /* seconds, the worst of all mirrors, as last seen */
	double max_lag;	 /* the same, ever while sessions wrote */
} MirrorWatch;

/* All sessions added up. */
typedef struct Totals
{
	uint64_t reads;
	uint64_t hits;
	uint64_t checked_hits;
	uint64_t stale_hits;
	uint64_t checked_misses;
	uint64_t wrong_misses;
	uint64_t changes[CHANGES];
	uint64_t writes;
	Histogram hit;
	Histogram miss;
	Histogram uncached;
} Totals;

/* Everything that the table tells. */
typedef struct Outcome
{
	Totals totals;
	MirrorWatch mirror;
	double elapsed;				   /* seconds of the replay */
	double fill_seconds;		   /* until all rows had reached Redis */
	double catch_up;			   /* seconds from the last write until Redis had all */
	bool caught_up;				   /* false: it had not within the time limit */
	uint64_t rows;				   /* in all tables, after the last write */
	uint64_t keys;				   /* in all Redis masters, after the last write */
	uint64_t differences;		   /* rows of verify, all tables */
	char difference[256];		   /* the first of them */
	unsigned seconds;			   /* how many of hit_ratios are set */
	float hit_ratios[MAX_SECONDS]; /* of each second */
} Outcome;

/* What the replay is judged by. */
extern bool outcome_passes(const Outcome *outcome);

/* Add the sessions up; the histograms too if they have ended. */
extern void totals_add_up(Totals *totals, const Session *sessions, int count, bool ended);

/*
 * Show the progress: on a terminal one line, rewritten; else a line every few
 * calls.  part is the share (0 to 1) of the replay that is done.
 */
extern void report_progress(const Totals *totals, const MirrorWatch *mirror, double part,
							double elapsed);

/* Take the progress line off the terminal. */
extern void report_progress_end(void);

/* Print one line of what is being prepared or done. */
extern void report_step(const char *format, ...) __attribute__((format(printf, 1, 2)));

extern void report_table(const Outcome *outcome, const Plan *plan, const Shop *shop);

#endif
