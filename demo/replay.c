/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  The demo of cachegrid: replays a shop's reads through the cache while
 *	  other sessions write, and tells what came of it.
 *
 *	  Connects as libpq's environment says; REDIS_PORTS lists the ports of the
 *	  Redis masters on 127.0.0.1.  Exit status 0: the demo passed; 1: it did
 *	  not, or something failed; 128 + n: signal n came.
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mirror.h"

/* The mirror may take so many seconds to catch up. */
#define CATCH_UP_LIMIT 60

/* As many reads are generated where no trace is given; as many as orm-busy has. */
#define GENERATED_READS 5000000

typedef struct Options
{
	Plan plan;
	int seconds;
	const char *trace;	/* NULL: generate */
	const char *server; /* of the mirrors */
	bool shape;			/* only print the shape of the reads */
} Options;

static Stage stage;
static Session sessions[MAX_SESSIONS];
static Outcome outcome;
static volatile sig_atomic_t came_signal;

static void
handle_signal(int number)
{
	came_signal = number;
	atomic_store(&stage.stop_readers, true);
	atomic_store(&stage.stop_writers, true);
}

static void
catch_signals(void)
{
	struct sigaction action = {.sa_handler = handle_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int
number_within(const char *text, int least, int most, const char *what)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (end == text || *end || number < least || number > most)
	{
		fprintf(stderr, "replay: %s must be a whole number from %d to %d, not \"%s\"\n",
				what, least, most, text);
		exit(1);
	}
	return (int) number;
}

static Options
read_options(int argc, char **argv)
{
	static const struct option known[] = {{"seconds", required_argument, NULL, 's'},
										  {"trace", required_argument, NULL, 't'},
										  {"readers", required_argument, NULL, 'r'},
										  {"writers", required_argument, NULL, 'w'},
										  {"rate", required_argument, NULL, 'a'},
										  {"check-every", required_argument, NULL, 'c'},
										  {"server", required_argument, NULL, 'S'},
										  {"shape", no_argument, NULL, 'h'},
										  {NULL, 0, NULL, 0}};
	Options options = {.plan = {.readers = 4,
								.writers = 2,
								.rate = 500,
								.check_every = 50,
								.time_every = 10},
					   .seconds = 60,
					   .server = "grid"};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
	{
		switch (option)
		{
			case 's':
				options.seconds = number_within(optarg, 1, MAX_SECONDS, "SECONDS");
				break;
			case 't':
				options.trace = optarg;
				break;
			case 'r':
				options.plan.readers =
					number_within(optarg, 1, MAX_SESSIONS / 2, "READERS");
				break;
			case 'w':
				options.plan.writers =
					number_within(optarg, 1, MAX_SESSIONS / 2, "WRITERS");
				break;
			case 'a':
				options.plan.rate = number_within(optarg, 1, 1000000, "RATE");
				break;
			case 'c':
				options.plan.check_every =
					number_within(optarg, 1, 1000000, "CHECK_EVERY");
				break;
			case 'S':
				options.server = optarg;
				break;
			case 'h':
				options.shape = true;
				break;
			default:
				exit(1);
		}
	}
	return options;
}

/* Read or make the trace, and say which. */
static bool
prepare_trace(Trace *trace, const Options *options)
{
	const char *error = options->trace ? trace_read(trace, options->trace)
									   : trace_generate(trace, GENERATED_READS);
	char reads[32];

	if (error)
	{
		fprintf(stderr, "replay: cannot use trace \"%s\": %s\n",
				options->trace ? options->trace : "generated", error);
		return false;
	}
	if (options->shape)
		return true;
	snprintf(reads, sizeof(reads), "%.1f million reads", (double) trace->nreads / 1e6);
	if (trace->recorded)
		report_step("recorded traffic: %s, from %s", reads, trace->source);
	else
		report_step("generated traffic: %s in the shape of a real shop's log", reads);
	return true;
}

/* True if what went well; else the reason is shown, unless a signal came. */
static bool
well(const char *error, const char *what)
{
	if (error && !came_signal)
		fprintf(stderr, "replay: %s failed: %s\n", what, error);
	return !error && !came_signal;
}

/* Tables, rows, caches, mirrors; returns when all rows are in Redis. */
static bool
prepare_shop(Shop *shop, PGconn *conn)
{
	bool done = false;

	if (!well(shop_create(shop, conn), "preparing the tables"))
		return false;
	report_step("%u rows in %d tables, each with a cache and a mirror",
				shop->trace->nobjects, shop->ntables);
	if (!well(mirror_wait(&outcome.mirror, conn, &stage.stop_writers, CATCH_UP_LIMIT,
						  &outcome.fill_seconds, &done),
			  "filling the mirrors"))
		return false;
	outcome.mirror.max_lag = 0;
	return done || well(*outcome.mirror.error ? outcome.mirror.error
											  : "the rows do not arrive in Redis",
						"filling the mirrors");
}

static int
start_sessions(void)
{
	const Plan *plan = stage.plan;
	int started = 0;

	for (int i = 0; i < plan->readers && !atomic_load(&stage.failed); i++)
		started += session_start_reader(&sessions[started], &stage, i);
	for (int i = 0; i < plan->writers && !atomic_load(&stage.failed); i++)
		started += session_start_writer(&sessions[started], &stage, i);
	return started;
}

/* Note the hit ratio of the second that has just passed. */
static void
note_second(const Totals *totals)
{
	static uint64_t reads;
	static uint64_t hits;

	if (totals->reads > reads && outcome.seconds < MAX_SECONDS)
		outcome.hit_ratios[outcome.seconds++] =
			(float) (totals->hits - hits) / (float) (totals->reads - reads);
	reads = totals->reads;
	hits = totals->hits;
}

/* Watch the sessions until time or trace is up, or they fail. */
static void
watch(PGconn *conn, int started, int seconds)
{
	uint64_t began = now_ns();
	uint64_t next_second = began + UINT64_C(1000000000);
	const Trace *trace = stage.shop->trace;

	while (!atomic_load(&stage.stop_readers))
	{
		double part;
		const char *error;

		usleep(200000);
		outcome.elapsed = (double) (now_ns() - began) / 1e9;
		totals_add_up(&outcome.totals, sessions, started, false);
		error = mirror_look(&outcome.mirror, conn);
		if (error)
			stage_fail(&stage, "stat_mirror", error);
		if (now_ns() >= next_second)
		{
			note_second(&outcome.totals);
			next_second += UINT64_C(1000000000);
		}
		part = (double) atomic_load(&stage.cursor) / (double) trace->nreads;
		if (part < outcome.elapsed / seconds)
			part = outcome.elapsed / seconds;
		report_progress(&outcome.totals, &outcome.mirror, part < 1 ? part : 1,
						outcome.elapsed);
		if (part >= 1)
			atomic_store(&stage.stop_readers, true);
	}
	report_progress_end();
}

/* The replay itself, to the last write; false if it failed or was stopped. */
static bool
replay(PGconn *conn, int seconds)
{
	int started;

	stage.gone = calloc(stage.shop->trace->nobjects, 1);
	if (!stage.gone)
		return well("out of memory", "replay");
	started = start_sessions();
	if (!atomic_load(&stage.failed))
		watch(conn, started, seconds);
	atomic_store(&stage.stop_writers, true);
	for (int i = 0; i < started; i++)
		session_end(&sessions[i]);
	free(stage.gone);
	totals_add_up(&outcome.totals, sessions, started, true);
	return well(atomic_load(&stage.failed) ? stage.error : NULL, "replay");
}

/* Replay on a shop of its own, compare, print the table. */
static int
run(const Options *options, const Trace *trace)
{
	Shop shop = {.trace = trace, .server = options->server};
	const char *ports = getenv("REDIS_PORTS");
	PGconn *conn = PQconnectdb("");
	bool done;

	stage.plan = &options->plan;
	stage.shop = &shop;
	done = well(PQstatus(conn) == CONNECTION_OK ? NULL : PQerrorMessage(conn),
				"connection") &&
		   prepare_shop(&shop, conn) && replay(conn, options->seconds) &&
		   well(mirror_wait(&outcome.mirror, conn, &stage.failed, CATCH_UP_LIMIT,
							&outcome.catch_up, &outcome.caught_up),
				"waiting for the mirror") &&
		   well(mirror_compare(&outcome, &shop, conn, ports ? ports : ""),
				"comparing Redis with the tables");
	PQfinish(conn);
	if (came_signal)
		return 128 + came_signal;
	if (!done)
		return 1;
	report_table(&outcome, &options->plan, &shop);
	return outcome_passes(&outcome) ? 0 : 1;
}

int
main(int argc, char **argv)
{
	Options options = read_options(argc, argv);
	Trace trace;

	catch_signals();
	if (!prepare_trace(&trace, &options))
		return 1;
	if (options.shape)
	{
		trace_print_shape(&trace);
		return 0;
	}
	return run(&options, &trace);
}
