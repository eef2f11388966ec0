/*-------------------------------------------------------------------------
 *
 * measure.c
 *	  How the rows of the bench are measured.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

double
bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

double
bench_fail(Bench *bench, const char *what, const char *why)
{
	snprintf(bench->why, sizeof(bench->why), "%.200s: %s", what, why);
	return NAN;
}

void
bench_data(const char *picture, const char *series, double x, double y)
{
	const char *folder = getenv("BENCH_DATA");
	char path[512];
	FILE *file;

	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/%s.tsv", folder, picture);
	file = fopen(path, "a");
	if (!file)
		return;
	fprintf(file, "%s\t%g\t%g\n", series, x, y);
	fclose(file);
}

static int
compare_numbers(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

void
bench_sort(double *numbers, int count)
{
	qsort(numbers, (size_t) count, sizeof(double), compare_numbers);
}

/* NAN if one of the numbers is. */
double
bench_middle(double *numbers, int count)
{
	for (int i = 0; i < count; i++)
		if (isnan(numbers[i]))
			return NAN;
	bench_sort(numbers, count);
	return count % 2 ? numbers[count / 2]
					 : (numbers[count / 2 - 1] + numbers[count / 2]) / 2;
}

double
bench_compare(Bench *bench, Side ours, const void *our_what, Side theirs,
			  const void *their_what)
{
	double ratios[MAX_ROUNDS];

	/* Once for nothing: caches, plans, connections. */
	ours(bench, our_what);
	theirs(bench, their_what);
	for (int i = 0; i < bench->rounds; i++)
	{
		double our_time = i % 2 ? 0 : ours(bench, our_what);
		double their_time = theirs(bench, their_what);

		if (i % 2)
			our_time = ours(bench, our_what);
		ratios[i] = their_time / our_time;
	}
	return bench_middle(ratios, bench->rounds);
}

double
bench_median(Bench *bench, Side side, const void *what)
{
	double times[MAX_ROUNDS];

	side(bench, what);
	for (int i = 0; i < bench->rounds; i++)
		times[i] = side(bench, what);
	return bench_middle(times, bench->rounds);
}

bool
bench_run(Bench *bench, const char *sql)
{
	PGresult *result = PQexec(bench->conn, sql);
	ExecStatusType status = PQresultStatus(result);

	PQclear(result);
	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
		return true;
	bench_fail(bench, sql, PQerrorMessage(bench->conn));
	return false;
}

double
bench_number(Bench *bench, const char *sql)
{
	PGresult *result = PQexec(bench->conn, sql);
	double number = NAN;

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
		number = atof(PQgetvalue(result, 0, 0));
	else
		bench_fail(bench, sql, PQerrorMessage(bench->conn));
	PQclear(result);
	return number;
}

double
side_query(Bench *bench, const void *what)
{
	double began = bench_now();

	return bench_run(bench, what) ? bench_now() - began : NAN;
}

/* One client of a Talk, for its thread. */
typedef struct Talker
{
	Bench *bench;
	const Talk *talk;
	int number;
	uint32_t random;
	bool failed;
} Talker;

static uint32_t
draw(Talker *talker, uint32_t bound)
{
	talker->random = talker->random * 1664525 + 1013904223;
	return (uint32_t) (((uint64_t) talker->random * bound) >> 32);
}

static bool
ask_postgres(Talker *talker, const char *parameter)
{
	const char *values[] = {parameter};
	PGresult *result = PQexecPrepared(talker->bench->clients[talker->number], "talk",
									  strchr(talker->talk->statement, '$') != NULL,
									  values, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);

	PQclear(result);
	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

static bool
ask_redis(Talker *talker, const char *key)
{
	redisReply *reply = redisCommand(talker->bench->redis[talker->number], "GET %s", key);
	bool good = reply && reply->type == REDIS_REPLY_STRING;

	if (reply)
		freeReplyObject(reply);
	return good;
}

static void *
talk_on(void *argument)
{
	Talker *talker = argument;
	char parameter[32];

	for (int i = 0; i < talker->bench->calls && !talker->failed; i++)
	{
		if (talker->talk->by_id)
			snprintf(parameter, sizeof(parameter), "%u", draw(talker, 10000) + 1);
		else
			snprintf(parameter, sizeof(parameter), "bench:%06u",
					 draw(talker, (uint32_t) talker->bench->keys));
		talker->failed = talker->talk->statement ? !ask_postgres(talker, parameter)
												 : !ask_redis(talker, parameter);
	}
	return NULL;
}

/* Prepare the statement of a Talk on a client's connection. */
static bool
prepare(Bench *bench, PGconn *conn, const char *statement)
{
	PGresult *result = PQexec(conn, "DEALLOCATE ALL");
	bool good;

	PQclear(result);
	result = PQprepare(conn, "talk", statement, 0, NULL);
	good = PQresultStatus(result) == PGRES_COMMAND_OK;
	PQclear(result);
	if (!good)
		bench_fail(bench, statement, PQerrorMessage(conn));
	return good;
}

double
side_talk(Bench *bench, const void *what)
{
	const Talk *talk = what;
	Talker talkers[MAX_CLIENTS] = {0};
	pthread_t threads[MAX_CLIENTS];
	double began;
	double took;

	for (int i = 0; i < talk->clients; i++)
	{
		talkers[i] = (Talker){
			.bench = bench, .talk = talk, .number = i, .random = (uint32_t) i + 1};
		if (talk->statement && !prepare(bench, bench->clients[i], talk->statement))
			return NAN;
	}
	began = bench_now();
	for (int i = 1; i < talk->clients; i++)
		pthread_create(&threads[i], NULL, talk_on, &talkers[i]);
	talk_on(&talkers[0]);
	for (int i = 1; i < talk->clients; i++)
		pthread_join(threads[i], NULL);
	took = bench_now() - began;
	for (int i = 0; i < talk->clients; i++)
		if (talkers[i].failed)
			return bench_fail(bench, talk->statement ? talk->statement : "Redis GET",
							  talk->statement ? PQerrorMessage(bench->clients[i])
											  : "no value");
	return took / bench->calls / talk->clients;
}
