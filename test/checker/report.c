/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What was seen: hits as the servers count them, stale values with all
 *	  that tells why, what else went wrong, and the tables.
 *
 * Hits are counted by the servers, in stat_cache, and asked for several times
 * a second, as a crash forgets them: what came between the last question and
 * a crash is not counted.  Cache "inner" is read by loaders only, and so not
 * counted: its values are compared as parts of others.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checker.h"

#define MAX_PROBLEMS 20

static const char *const count_names[COUNTS] = {"hits",
												"misses",
												"bypasses",
												"miss_absent",
												"miss_evicted",
												"miss_expired",
												"miss_superseded",
												"miss_unsettled",
												"miss_privileges",
												"miss_other_query",
												"miss_own_write",
												"miss_isolation",
												"miss_recovery",
												"refused",
												"loads",
												"evictions",
												"expirations",
												"invalidations",
												"entries"};

/* Guards the evidence, the problems and what is published. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Problem
{
	char what[200]; /* who and how: those alike are told once */
	char message[400];
	int times;
} problems[MAX_PROBLEMS];
static int problem_count = 0;

/* What could be changed under a long row of questions is asked first. */
static const char *const questions[] = {
	"SELECT pg_current_snapshot() AS snapshot_now, clock_timestamp()",
	"SELECT * FROM cachegrid.entries(:key)",
	"SELECT gid, transaction, prepared FROM pg_prepared_xacts",
	"SELECT pid, application_name, state, backend_xid, backend_xmin, xact_start, "
	"left(query, 200) AS query "
	"FROM pg_stat_activity WHERE backend_xid IS NOT NULL OR backend_xmin IS NOT NULL",
	"SELECT checker_slot(:key) AS slot",
	"SELECT id, xmin, xmax, ctid, writer, n FROM item WHERE 'item:' || id = :key",
	"SELECT inhrelid::regclass AS partition, inhdetachpending, i.xmin, i.xmax FROM "
	"pg_inherits i "
	"WHERE inhparent = to_regclass('shelf') AND :key LIKE 'shel%'",
};

static void
write_result(FILE *file, PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		for (int i = 0; i < PQnfields(result); i++)
			fprintf(file, "  %s=%s", PQfname(result, i), PQgetvalue(result, row, i));
		fprintf(file, "\n");
	}
}

/* Asked in the session that saw it, which need not have ended its transaction. */
static void
write_circumstances(Session *session, FILE *file, const char *key)
{
	char *literal = PQescapeLiteral(session->conn, key, strlen(key));

	for (size_t i = 0; literal && i < sizeof(questions) / sizeof(questions[0]); i++)
	{
		char sql[2048];
		const char *place = strstr(questions[i], ":key");
		int before = place ? place - questions[i] : (int) strlen(questions[i]);
		PGresult *result;

		snprintf(sql, sizeof(sql), "%.*s%s%s", before, questions[i], place ? literal : "",
				 place ? place + 4 : "");
		result = PQexec(session->conn, sql);
		if (PQresultStatus(result) == PGRES_TUPLES_OK)
			write_result(file, result);
		PQclear(result);
	}
	PQfreemem(literal);
}

static FILE *
open_evidence(Session *session)
{
	Checker *checker = session->checker;
	FILE *file = fopen(checker->evidence, "a");
	struct timespec time;
	char text[64];

	clock_gettime(CLOCK_REALTIME, &time);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", gmtime(&time.tv_sec));
	fprintf(file,
			"stale: %s.%03ld (%.1f s after the start), seed %llu, %s, session %d, script "
			"%s\n",
			text, time.tv_nsec / 1000000, now() - checker->started,
			(unsigned long long) checker->seed, session->target->name, session->number,
			session->script->name);
	return file;
}

/* The first thousand bytes tell. */
void
report_stale(Session *session, const PGresult *result, int row)
{
	FILE *file;

	pthread_mutex_lock(&lock);
	if (atomic_fetch_add(&session->checker->stale, 1) == 0)
		session->checker->first_stale = now() - session->checker->started;
	file = open_evidence(session);
	for (int i = 0; i < PQnfields(result); i++)
		fprintf(file, "  %-9s %.1000s\n", PQfname(result, i),
				PQgetisnull(result, row, i) ? "NULL" : PQgetvalue(result, row, i));
	if (session->checker->stale <= 20)
		write_circumstances(session, file, PQgetvalue(result, row, 0));
	fclose(file);
	pthread_mutex_unlock(&lock);
}

/* A function found it, and said so by an error. */
void
report_stale_error(Session *session, const char *message)
{
	FILE *file;

	pthread_mutex_lock(&lock);
	if (atomic_fetch_add(&session->checker->stale, 1) == 0)
		session->checker->first_stale = now() - session->checker->started;
	file = open_evidence(session);
	fprintf(file, "  %s\n", message);
	fclose(file);
	pthread_mutex_unlock(&lock);
}

static void
remember(Checker *checker, const char *what, const char *message)
{
	int i = 0;

	pthread_mutex_lock(&lock);
	atomic_fetch_add(&checker->unexpected, 1);
	while (i < problem_count && strcmp(problems[i].what, what) != 0)
		i++;
	if (i == problem_count && i < MAX_PROBLEMS)
	{
		snprintf(problems[i].what, sizeof(problems[i].what), "%s", what);
		snprintf(problems[i].message, sizeof(problems[i].message), "%s", message);
		problem_count++;
	}
	if (i < MAX_PROBLEMS)
		problems[i].times++;
	pthread_mutex_unlock(&lock);
}

/* Why it did not get to its end, for scripts that never do. */
void
report_end_of_script(Script *script, const char *message)
{
	pthread_mutex_lock(&lock);
	snprintf(script->last_error, sizeof(script->last_error), "%s", message);
	pthread_mutex_unlock(&lock);
}

void
report_problem(Checker *checker, const char *message)
{
	remember(checker, message, "");
}

void
report_unexpected(Session *session, const char *sqlstate, const char *message)
{
	char what[200];

	snprintf(what, sizeof(what), "%s, %s%s%s: %s", session->target->name,
			 session->script->name, session->check ? ", check " : "",
			 session->check ? session->check->name : "", sqlstate);
	remember(session->checker, what, message);
}

void
report_publish(Target *target, const char *value)
{
	pthread_mutex_lock(&lock);
	snprintf(target->published, NAME_SIZE, "%s", value);
	pthread_mutex_unlock(&lock);
}

bool
report_subscribe(Target *target, char *value)
{
	pthread_mutex_lock(&lock);
	strcpy(value, target->published);
	pthread_mutex_unlock(&lock);
	return *value != '\0';
}

static void
ask(Target *target)
{
	char sql[2048] = "SELECT ";
	PGresult *result;

	for (int i = 0; i < COUNTS; i++)
		sprintf(sql + strlen(sql), "%ssum(%s)", i ? ", " : "", count_names[i]);
	strcat(sql, " FROM cachegrid.stat_cache WHERE cache <> 'inner'");
	result = PQexec(target->conn, sql);
	for (int i = 0; i < COUNTS && PQntuples(result) == 1; i++)
		target->now[i] = atoll(PQgetvalue(result, 0, i));
	PQclear(result);
}

/* A server whose connection was lost may have been emptied: begin anew. */
static void
sample(Target *target)
{
	if (PQstatus(target->conn) != CONNECTION_OK)
	{
		for (int i = 0; i < COUNTS; i++)
		{
			target->before[i] += target->now[i];
			target->now[i] = 0;
		}
		PQfinish(target->conn);
		target->conn = session_connect(target, "counter");
	}
	ask(target);
}

void
report_sample(Checker *checker)
{
	for (int i = 0; i < checker->target_count; i++)
		sample(&checker->targets[i]);
}

static int64_t
count(const Target *target, int which)
{
	return target->before[which] + target->now[which];
}

static double
hit_ratio(const Target *target)
{
	double reads = count(target, COUNT_HITS) + count(target, COUNT_MISSES) +
				   count(target, COUNT_BYPASSES);

	return reads > 0 ? count(target, COUNT_HITS) / reads : 0;
}

void
report_progress(Checker *checker)
{
	printf("%5.0f s ", now() - checker->started);
	for (int i = 0; i < checker->target_count; i++)
		printf(" %s %lld hits (%.0f %%)", checker->targets[i].name,
			   (long long) count(&checker->targets[i], COUNT_HITS),
			   100 * hit_ratio(&checker->targets[i]));
	printf(
		"; stale %ld; %ld writes, %ld cancels, %ld terminates, %ld kills, %ld restarts\n",
		checker->stale, checker->writes, checker->cancelled, checker->terminated,
		checker->killed, checker->restarted);
	fflush(stdout);
}

static bool
print_book(const Book *book)
{
	bool all_ended = true;

	printf("%s, times to the end:", book->name);
	for (int i = 0; i < book->count; i++)
	{
		const Script *script = &book->scripts[i];

		printf(" %s %ld/%ld", script->name, script->ends, script->runs);
		all_ended &= script->ends > 0 || script->runs < 50 || script->rare;
	}
	printf("\n");
	for (int i = 0; i < book->count; i++)
		if (book->scripts[i].ends == 0 && book->scripts[i].runs > 5 &&
			!book->scripts[i].rare)
			printf("%s never came to its end: %s\n", book->scripts[i].name,
				   book->scripts[i].last_error);
	return all_ended;
}

static void
print_table(const Checker *checker)
{
	printf("\n%-16s", "");
	for (int i = 0; i < checker->target_count; i++)
		printf("%16s", checker->targets[i].name);
	for (int which = 0; which < COUNTS; which++)
	{
		printf("\n%-16s", count_names[which]);
		for (int i = 0; i < checker->target_count; i++)
			printf("%16lld", (long long) count(&checker->targets[i], which));
	}
	printf("\n%-16s", "hit ratio");
	for (int i = 0; i < checker->target_count; i++)
		printf("%15.1f%%", 100 * hit_ratio(&checker->targets[i]));
	printf("\n\n");
	printf("%ld checks, %ld writing scripts; %ld backends cancelled, %ld terminated; %ld "
		   "killed "
		   "with -9, %ld restarts; %ld restores; %ld left prepared\n",
		   checker->reads, checker->writes, checker->cancelled, checker->terminated,
		   checker->killed, checker->restarted, checker->restored,
		   checker->left_prepared);
}

/* Of the reads that may use the cache, as not all may. */
static double
served_ratio(const Target *target)
{
	double reads = count(target, COUNT_HITS) + count(target, COUNT_MISSES);

	return reads > 0 ? count(target, COUNT_HITS) / reads : 0;
}

/*
 * A cache that never hits is right, and useless.  A standby must not hit while a
 * transaction runs of which it has not heard all, as one that is left prepared at a
 * restart: of a short run that may leave little but the time in which it fills.
 */
static bool
is_useful(const Checker *checker)
{
	bool is_short = now() - checker->started < 90;
	bool useful = true;

	for (int i = 0; i < checker->target_count; i++)
	{
		const Target *target = &checker->targets[i];
		bool serves = !target->standby || checker->standby_serves;
		bool good = serves ? served_ratio(target) >= 0.4 : count(target, COUNT_HITS) == 0;

		if (target->standby && is_short && serves &&
			count(target, COUNT_HITS) + count(target, COUNT_MISSES) < 50000)
			good = true;

		if (!good)
			printf("%s: %s\n", target->name,
				   serves ? "the hit ratio is not useful"
						  : "there are hits, where none can be");
		useful &= good;
	}
	return useful;
}

static bool
verdict(int number, bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", number, what);
	return good;
}

/* The first case, for those who see the output alone. */
static void
print_first_evidence(const Checker *checker)
{
	FILE *file = fopen(checker->evidence, "r");
	char line[1200];

	if (file == NULL)
		return;
	for (int i = 0; i < 40 && fgets(line, sizeof(line), file); i++)
	{
		if (i > 0 && strncmp(line, "stale:", 6) == 0)
			break;
		printf("# %.400s%s", line, strlen(line) > 400 ? "\n" : "");
	}
	fclose(file);
}

static int64_t
all_hits(const Checker *checker)
{
	int64_t hits = 0;

	for (int i = 0; i < checker->target_count; i++)
		hits += count(&checker->targets[i], COUNT_HITS);
	return hits;
}

/* True if all is well.  The verdicts are in the form of TAP. */
bool
report_end(Checker *checker)
{
	bool all_ended = true;
	bool useful;
	bool good;

	print_table(checker);
	all_ended &= print_book(&checker->readers);
	all_ended &= print_book(&checker->writers);
	all_ended &= print_book(&checker->ddl);
	useful = is_useful(checker);
	for (int i = 0; i < problem_count; i++)
		printf("unexpected, %d times: %s %s\n", problems[i].times, problems[i].what,
			   problems[i].message);
	if (checker->stale > 0)
	{
		printf(
			"the first stale value came after %.1f s; all that is known stands in %s\n",
			checker->first_stale, checker->evidence);
		print_first_evidence(checker);
	}
	good =
		verdict(1, checker->stale == 0, "every value is what the reader's snapshot sees");
	good &= verdict(2, useful, "most reads are hits, where hits can be");
	good &= verdict(3, checker->unexpected == 0, "nothing unexpected befell a session");
	good &= verdict(4, all_ended, "every script came to its end");
	printf("1..4\n%lld hits, %ld stale, %ld unexpected (seed %llu)\n",
		   (long long) all_hits(checker), checker->stale, checker->unexpected,
		   (unsigned long long) checker->seed);
	return good;
}
