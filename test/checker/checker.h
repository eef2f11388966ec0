/*-------------------------------------------------------------------------
 *
 * checker.h
 *	  The consistency checker: sessions that read, write, change definitions
 *	  and are killed, and compare every value from the cache with the rows.
 *
 * One process, one thread a session.  What sessions do stands in the scripts
 * (*.sql); a script's form is told in readers.sql.  Scripts are read before
 * the threads start and never change after; counters are atomic; what went
 * wrong is written under the lock of report.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CHECKER_H
#define CHECKER_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../shared/server.h"

#define NAME_SIZE	 64
#define SQL_SIZE	 131072 /* the longest is a page of all items */
#define MAX_STEPS	 24
#define MAX_KEPT	 4
#define MAX_SESSIONS 64

/* What is asked of stat_cache: the columns that report.c names. */
enum
{
	COUNT_HITS,
	COUNT_MISSES,
	COUNT_BYPASSES,
	COUNTS = 19
};

typedef enum StepKind
{
	STEP_STATEMENT,
	STEP_CHECK,		/* text names a check */
	STEP_SLEEP,		/* text: milliseconds */
	STEP_PUBLISH,	/* text names a variable */
	STEP_SUBSCRIBE, /* the same; without a value the script ends */
} StepKind;

/* What becomes of a statement's result. */
typedef enum StepResult
{
	RESULT_NONE,
	RESULT_KEPT,	 /* its columns become variables */
	RESULT_COMPARED, /* its columns cached and computed must agree */
	RESULT_COPY,	 /* COPY FROM STDIN: the row stands in copy */
} StepResult;

typedef struct Step
{
	StepKind kind;
	StepResult result;
	char *text;
	char *copy;
	char *declared; /* the check whose query ends the statement, or NULL */
} Step;

typedef struct Script
{
	char name[NAME_SIZE];
	char expected[256]; /* SQLSTATEs, each followed by a blank */
	int weight;
	bool primary_only;
	bool rare;	  /* need not ever get to its end */
	bool recheck; /* of a check: what differs once may agree the next time */
	int step_count;
	Step steps[MAX_STEPS];
	atomic_long runs;
	atomic_long ends;	  /* that got to the last step */
	char last_error[200]; /* under the lock of report.c */
} Script;

/* The scripts of a file. */
typedef struct Book
{
	const char *name;
	Script *scripts;
	int count;
	int weight;
} Book;

/* A database of a server. */
typedef struct Target
{
	const char *name;
	const char *host; /* folder of the socket */
	const char *database;
	bool standby;
	char published[NAME_SIZE]; /* of STEP_PUBLISH; under the lock of report.c */

	/* As of the last sample of stat_cache, since the server was last emptied, and before that. */
	PGconn *conn;
	int64_t now[COUNTS];
	int64_t before[COUNTS];
} Target;

typedef struct Variable
{
	char name[NAME_SIZE];
	char *value; /* as it stands in SQL */
} Variable;

typedef struct Session
{
	struct Checker *checker;
	int number;
	Target *target;
	Book *book;
	PGconn *conn;
	uint64_t random;
	Variable variables[32]; /* of the script that runs */
	int variable_count;
	Script *script;
	const Script *check;	  /* the check that runs, or NULL */
	atomic_long statement_at; /* milliseconds; 0: none runs */
} Session;

typedef struct Checker
{
	/* options */
	int seconds;
	uint64_t seed;
	bool until_stale;
	bool calm;			 /* nobody is cancelled, killed or restarted */
	bool standby_serves; /* the standby has what it takes to serve hits */
	const char *primary;
	const char *primary_data;
	const char *standby; /* may be NULL */
	const char *standby_data;
	const char *evidence; /* a file */
	const char *scripts;  /* folder */

	Book checks, readers, writers, ddl;
	Target targets[3];
	int target_count;
	Session sessions[MAX_SESSIONS];
	int session_count;

	double started;
	atomic_bool stopping;
	atomic_long stale;
	atomic_long unexpected;
	atomic_long reads; /* checks made */
	atomic_long writes;
	atomic_long cancelled, terminated, killed, restarted, restored, left_prepared;
	double first_stale; /* seconds after the start */
} Checker;

/* script.c */
extern void script_read(Checker *checker, const char *file, Book *book);
extern const Script *script_find(const Book *book, const char *name);
extern Script *script_draw(Session *session);
extern void script_expand(Session *session, const char *text, char *sql);
extern void script_keep(Session *session, const char *name, const char *value);
extern void script_forget(Session *session);

/* session.c */
extern void *session_main(void *session);
extern PGconn *session_connect(const Target *target, const char *name);

/* report.c */
extern void report_stale(Session *session, const PGresult *result, int row);
extern void report_stale_error(Session *session, const char *message);
extern void report_end_of_script(Script *script, const char *message);
extern void report_unexpected(Session *session, const char *sqlstate,
							  const char *message);
extern void report_problem(Checker *checker, const char *message);
extern void report_publish(Target *target, const char *value);
extern bool report_subscribe(Target *target, char *value);
extern void report_sample(Checker *checker);
extern void report_progress(Checker *checker);
extern bool report_end(Checker *checker);

/* chaos.c */
extern void *chaos_main(void *checker);
extern void *restore_main(void *checker);

#endif
