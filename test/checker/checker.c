/*-------------------------------------------------------------------------
 *
 * checker.c
 *	  The consistency checker: options, threads, the end.
 *
 * checker SCRIPTS EVIDENCE PRIMARY_SOCKET PRIMARY_DATA [STANDBY_SOCKET STANDBY_DATA]
 *
 * The environment says the rest: CHECKER_SECONDS, CHECKER_SEED,
 * CHECKER_UNTIL_STALE, CHECKER_CALM.  Status 0: all is well; 1: it is not.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checker.h"

/* A statement that takes longer hangs. */
#define PATIENCE_SECONDS 60

static void
add_target(Checker *checker, const char *name, const char *host, const char *database,
		   bool standby)
{
	Target *target = &checker->targets[checker->target_count++];

	*target =
		(Target){.name = name, .host = host, .database = database, .standby = standby};
}

static void
add_sessions(Checker *checker, int count, int target, Book *book)
{
	for (int i = 0; i < count; i++)
	{
		Session *session = &checker->sessions[checker->session_count++];

		session->checker = checker;
		session->number = checker->session_count;
		session->target = &checker->targets[target];
		session->book = book;
		session->random = checker->seed * 1000003 + session->number;
	}
}

static void
set_up(Checker *checker, int count, char **arguments)
{
	checker->seconds = number_of("CHECKER_SECONDS", 60);
	checker->seed = number_of("CHECKER_SEED", time(NULL) % 1000000);
	checker->until_stale = number_of("CHECKER_UNTIL_STALE", 0);
	checker->calm = number_of("CHECKER_CALM", 0);
	checker->standby_serves = number_of("CHECKER_STANDBY_SERVES", 0);
	checker->scripts = arguments[1];
	checker->evidence = arguments[2];
	checker->primary = arguments[3];
	checker->primary_data = arguments[4];
	script_read(checker, "checks", &checker->checks);
	script_read(checker, "readers", &checker->readers);
	script_read(checker, "writers", &checker->writers);
	script_read(checker, "ddl", &checker->ddl);

	add_target(checker, "primary", checker->primary, "postgres", false);
	add_target(checker, "subscriber", checker->primary, "subscriber", false);
	add_sessions(checker, 6, 0, &checker->readers);
	add_sessions(checker, 5, 0, &checker->writers);
	add_sessions(checker, 1, 0, &checker->ddl);
	add_sessions(checker, 2, 1, &checker->readers);
	if (count > 6)
	{
		checker->standby = arguments[5];
		checker->standby_data = arguments[6];
		add_target(checker, "standby", checker->standby, "postgres", true);
		add_sessions(checker, 2, 2, &checker->readers);
	}
}

/* Says who hangs; his statement is no mere wait for a server that is down. */
static void
look_for_hangs(Checker *checker)
{
	for (int i = 0; i < checker->session_count; i++)
	{
		Session *session = &checker->sessions[i];
		long since = session->statement_at;

		if (since == 0 || now() * 1000 - since < PATIENCE_SECONDS * 1000)
			continue;
		session->statement_at = 0;
		report_unexpected(session, "", "hangs");
	}
}

static void
watch(Checker *checker)
{
	double period = checker->seconds > 100 ? 10 : 5;
	double progress = now() + period;

	while (now() - checker->started < checker->seconds &&
		   !(checker->until_stale && checker->stale > 0))
	{
		pause_for(200);
		report_sample(checker);
		look_for_hangs(checker);
		if (now() < progress)
			continue;
		report_progress(checker);
		progress += period;
	}
}

int
main(int count, char **arguments)
{
	static Checker checker;
	pthread_t threads[MAX_SESSIONS];
	pthread_t chaos;
	pthread_t restore;

	if (count < 5)
	{
		fprintf(stderr, "usage: %s SCRIPTS EVIDENCE SOCKET DATA [SOCKET DATA]\n",
				arguments[0]);
		return 2;
	}
	set_up(&checker, count, arguments);
	checker.started = now();
	for (int i = 0; i < checker.session_count; i++)
		pthread_create(&threads[i], NULL, session_main, &checker.sessions[i]);
	pthread_create(&chaos, NULL, chaos_main, &checker);
	pthread_create(&restore, NULL, restore_main, &checker);
	watch(&checker);
	atomic_store(&checker.stopping, true);
	pthread_join(chaos, NULL);
	pthread_join(restore, NULL);
	for (int i = 0; i < checker.session_count; i++)
		pthread_join(threads[i], NULL);
	report_sample(&checker);
	return report_end(&checker) ? 0 : 1;
}
