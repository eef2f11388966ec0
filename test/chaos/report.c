/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What is told: progress, what went wrong, and a table at the end.
 *
 * Events and wrongs go to the evidence, in their order, under "lock".
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "chaos.h"

/* So many are told in full on the terminal; all of them stand in the evidence. */
#define MAX_TOLD 10

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int told = 0;
static char first_wrongs[WRONGS][200]; /* the first of each, perhaps cut */

static const char *const trouble_names[TROUBLES] = {
	[BACKEND_TERMINATED] = "backend terminated",
	[BACKEND_KILLED] = "backend kill -9",
	[WORKER_TERMINATED] = "worker terminated",
	[WORKER_KILLED] = "worker kill -9",
	[POSTMASTER_KILLED] = "postmaster kill -9",
	[SERVER_STOPPED] = "server stopped immediately",
	[MASTER_KILLED] = "Redis master kill -9",
	[MASTER_HANDED_OVER] = "Redis master handed over",
	[MASTER_RESTARTED] = "Redis master restarted",
	[NETWORK_CUT] = "network cut within a batch",
	[NETWORK_LATE] = "network closed, bytes came later",
	[NETWORK_DELAYED] = "network delayed",
	[NETWORK_SILENT] = "network silent",
	[NETWORK_DEAF] = "network without replies",
	[NETWORK_REFUSED] = "network refused connections"};

static const char *const wrong_names[WRONGS] = {
	[WRONG_BACKWARDS] = "backwards",	 [WRONG_UNCOMMITTED] = "uncommitted",
	[WRONG_OUTDATED] = "outdated",		 [WRONG_TORN] = "torn",
	[WRONG_AT_REST] = "differs at rest", [WRONG_UNEXPECTED] = "unexpected"};

static const char *const promises[WRONGS] = {
	[WRONG_BACKWARDS] = "no key goes backwards",
	[WRONG_UNCOMMITTED] = "nothing uncommitted is seen",
	[WRONG_OUTDATED] = "write-through keys are never older than the table",
	[WRONG_TORN] = "no value is of two versions",
	[WRONG_AT_REST] = "at rest nothing waits, and Redis has what the tables have",
	[WRONG_UNEXPECTED] = "nothing else goes wrong"};

static double
elapsed(void)
{
	return chaos.started > 0 ? now() - chaos.started : 0;
}

static void
write_evidence(const char *text)
{
	FILE *file = fopen(chaos.evidence, "a");

	if (!file)
		return;
	fprintf(file, "%9.3f  %s\n", elapsed(), text);
	fclose(file);
}

/* It has happened, or is about to. */
void
report_event(Trouble trouble, const char *what)
{
	char text[256];

	atomic_fetch_add(&chaos.troubles[trouble], 1);
	snprintf(text, sizeof(text), "%s %s", trouble_names[trouble], what);
	pthread_mutex_lock(&lock);
	write_evidence(text);
	pthread_mutex_unlock(&lock);
}

void
report_wrong(Wrong wrong, const char *format, ...)
{
	char text[4000];
	int size = snprintf(text, sizeof(text), "%s: ", wrong_names[wrong]);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + size, sizeof(text) - size, format, arguments);
	va_end(arguments);
	for (char *end = text + strlen(text); end > text && end[-1] == '\n';)
		*--end = '\0';
	atomic_fetch_add(&chaos.wrongs[wrong], 1);
	pthread_mutex_lock(&lock);
	if (chaos.first_wrong == 0)
		chaos.first_wrong = elapsed();
	if (first_wrongs[wrong][0] == '\0')
		snprintf(first_wrongs[wrong], sizeof(first_wrongs[wrong]), ": after %.1f s, %s",
				 elapsed(), text + size);
	write_evidence(text);
	if (told++ < MAX_TOLD)
		printf("%7.1f s: %s\n", elapsed(), text);
	fflush(stdout);
	pthread_mutex_unlock(&lock);
}

static long
sum(const atomic_long *counts, int first, int last)
{
	long all = 0;

	for (int i = first; i <= last; i++)
		all += counts[i];
	return all;
}

void
report_progress(void)
{
	printf("%7.0f s: %ld transactions, %ld kills, %ld disturbances, %ld reads of Redis, "
		   "%ld wrong\n",
		   elapsed(), chaos.transactions,
		   sum(chaos.troubles, BACKEND_TERMINATED, MASTER_RESTARTED),
		   sum(chaos.troubles, NETWORK_CUT, NETWORK_REFUSED), chaos.reads,
		   sum(chaos.wrongs, 0, WRONGS - 1));
	fflush(stdout);
}

static void
tell(const char *what, long count)
{
	printf("  %-40s %10ld\n", what, count);
}

/*
 * Would nothing be noticed?  Readers must have read what writers wrote; a run of no
 * time need not have met everything.
 */
static void
demand_work(void)
{
	if (chaos.transactions < 2 * chaos.seconds)
		report_wrong(WRONG_UNEXPECTED, "too few transactions");
	if (chaos.reads - chaos.missing < 50 * chaos.seconds)
		report_wrong(WRONG_UNEXPECTED, "too few keys were read");
	if (chaos.checked_commits < chaos.seconds / 2)
		report_wrong(WRONG_UNEXPECTED, "too few commits were followed by a read");
}

/* The table.  True if nothing was wrong. */
bool
report_end(void)
{
	if (!chaos.until_wrong)
		demand_work();
	printf("%.0f s, seed %lld\n", elapsed(), (long long) chaos.seed);
	tell("transactions", chaos.transactions);
	tell("  changes of rows", chaos.changes);
	tell("  rolled back, in part or whole", chaos.rolled_back);
	tell("  prepared", chaos.prepared);
	tell("  TRUNCATE", chaos.truncated);
	tell("  COPY", chaos.copied);
	tell("  refused for want of Redis", chaos.unavailable);
	tell("  committed with a warning", chaos.warnings);
	tell("resync, verify meanwhile", chaos.resyncs + chaos.verifies);
	for (int i = 0; i < TROUBLES; i++)
		tell(trouble_names[i], chaos.troubles[i]);
	tell("keys read from Redis", chaos.reads);
	tell("  missing", chaos.missing);
	tell("  after a COMMIT that waited", chaos.checked_commits);
	tell("  old because a master was lost", chaos.excused_reads);
	tell("compared at rest", chaos.rests);
	for (int i = 0; i < WRONGS; i++)
		tell(wrong_names[i], chaos.wrongs[i]);
	for (int i = 0; i < WRONGS; i++)
		printf("%sok %d - %s%s\n", chaos.wrongs[i] > 0 ? "not " : "", i + 1, promises[i],
			   first_wrongs[i]);
	printf("1..%d\n", WRONGS);
	if (chaos.first_wrong > 0)
		printf("the first wrong came after %.1f s\n", chaos.first_wrong);
	return sum(chaos.wrongs, 0, WRONGS - 1) == 0;
}
