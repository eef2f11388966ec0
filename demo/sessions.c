/*-------------------------------------------------------------------------
 *
 * sessions.c
 *	  What all sessions of the replay have in common, and those that read.
 *
 *	  Readers share a cursor: each takes the next read of the trace, so that
 *	  together they read in its order.  Now and then a reader takes the time,
 *	  and reads the same row without the cache, too; and now and then it has
 *	  the server compare what fetch gives with what the table holds.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sessions.h"

/* Reads in one REPEATABLE READ transaction: it should grow old. */
#define LONG_TRANSACTION 5000

uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * UINT64_C(1000000000) + (uint64_t) now.tv_nsec;
}

void
stage_fail(Stage *stage, const char *what, const char *why)
{
	if (!atomic_exchange(&stage->failed, true))
		snprintf(stage->error, sizeof(stage->error), "%s: %s", what, why);
	atomic_store(&stage->stop_readers, true);
	atomic_store(&stage->stop_writers, true);
}

/* The result if it is as expected; else NULL, and the replay has failed. */
static PGresult *
expect_row(Session *session, PGresult *result, const char *what)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		return result;
	stage_fail(session->stage, what, PQerrorMessage(session->conn));
	PQclear(result);
	return NULL;
}

static bool
is_true(const PGresult *result, int column)
{
	return *PQgetvalue(result, 0, column) == 't';
}

/* Execute a prepared statement on the key of object; NULL: it failed. */
static PGresult *
ask(Session *session, const char *statement, const Object *object)
{
	char key[SHOP_KEY];
	const char *values[] = {key};

	shop_key(session->stage->shop, object, key);
	return expect_row(session,
					  PQexecPrepared(session->conn, statement, 1, values, NULL, NULL, 0),
					  statement);
}

static void
count_read(Session *session, bool hit)
{
	atomic_fetch_add_explicit(&session->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&session->hits, hit, memory_order_relaxed);
}

/* Read object through the cache. */
static bool
read_cached(Session *session, const Object *object)
{
	PGresult *result = ask(session, "exists_and_fetch", object);

	if (!result)
		return false;
	count_read(session, is_true(result, 0));
	PQclear(result);
	return true;
}

/* The same, but take the time that fetch alone needs. */
static bool
read_timed(Session *session, const Object *object)
{
	PGresult *result = ask(session, "exists", object);
	uint64_t began;
	uint64_t took;
	bool hit;

	if (!result)
		return false;
	hit = is_true(result, 0);
	PQclear(result);
	began = now_ns();
	result = ask(session, "fetch", object);
	took = now_ns() - began;
	if (!result)
		return false;
	PQclear(result);
	count_read(session, hit);
	histogram_count(hit ? &session->hit : &session->miss, took);
	return true;
}

/* Read object through the cache and compare it with its row. */
static bool
read_checked(Session *session, const Object *object)
{
	PGresult *result = shop_do(session->stage->shop, session->conn, DEED_CHECK, object);
	bool hit;
	bool equal;

	if (!expect_row(session, result, "checked fetch"))
		return false;
	hit = is_true(result, 0);
	equal = is_true(result, 1);
	PQclear(result);

	count_read(session, hit);
	atomic_fetch_add(hit ? &session->checked_hits : &session->checked_misses, 1);
	atomic_fetch_add(hit ? &session->stale_hits : &session->wrong_misses, !equal);
	return true;
}

/* Read object as without a cache and take the time. */
static bool
read_uncached(Session *session, const Object *object)
{
	uint64_t began = now_ns();
	PGresult *result = shop_do(session->stage->shop, session->conn, DEED_READ, object);
	uint64_t took = now_ns() - began;

	if (!expect_row(session, result, "uncached read"))
		return false;
	PQclear(result);
	histogram_count(&session->uncached, took);
	return true;
}

static bool
run_command(Session *session, const char *sql)
{
	PGresult *result = PQexec(session->conn, sql);
	bool done = PQresultStatus(result) == PGRES_COMMAND_OK;

	PQclear(result);
	if (!done)
		stage_fail(session->stage, sql, PQerrorMessage(session->conn));
	return done;
}

/* The read at this place of the trace, in the way that is its turn. */
static bool
read_once(Session *session, size_t at, const Object *object)
{
	const Plan *plan = session->stage->plan;

	if (at % (size_t) plan->check_every == 0)
		return read_checked(session, object);
	if (at % (size_t) plan->time_every == 1)
		return read_timed(session, object) && read_uncached(session, object);
	return read_cached(session, object);
}

/* The body of a reader's thread. */
static void *
read_on(void *argument)
{
	Session *session = argument;
	Stage *stage = session->stage;
	const Trace *trace = stage->shop->trace;
	bool repeatable = session->number == 0;
	bool working = true;

	for (uint64_t n = 0; working && !atomic_load(&stage->stop_readers); n++)
	{
		size_t at = atomic_fetch_add(&stage->cursor, 1);
		const Object *object;

		if (at >= trace->nreads)
			break;
		if (repeatable && n % LONG_TRANSACTION == 0)
			working = (n == 0 || run_command(session, "COMMIT")) &&
					  run_command(session, "BEGIN ISOLATION LEVEL REPEATABLE READ");
		object = &trace->objects[trace->reads[at]];
		working = working && read_once(session, at, object);
	}
	return NULL;
}

static bool
connect_session(Session *session, Stage *stage, int number)
{
	session->stage = stage;
	session->number = number;
	session->conn = PQconnectdb("");
	if (PQstatus(session->conn) == CONNECTION_OK)
		return true;
	stage_fail(stage, "connection", PQerrorMessage(session->conn));
	return false;
}

/* The statements on a key; NULL or what went wrong. */
static const char *
prepare_reads(PGconn *conn)
{
	static const char *const statements[][2] = {
		{"exists", "SELECT cachegrid.exists($1)"},
		{"fetch", "SELECT cachegrid.fetch($1)"},
		/* Computed from left to right: was it there, then give it. */
		{"exists_and_fetch", "SELECT cachegrid.exists($1), cachegrid.fetch($1)"},
	};

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		PGresult *result = PQprepare(conn, statements[i][0], statements[i][1], 0, NULL);
		bool prepared = PQresultStatus(result) == PGRES_COMMAND_OK;

		PQclear(result);
		if (!prepared)
			return PQerrorMessage(conn);
	}
	return NULL;
}

bool
session_start_reader(Session *session, Stage *stage, int number)
{
	const char *error;

	if (!connect_session(session, stage, number))
		return false;
	error = prepare_reads(session->conn);
	error = error ? error : shop_prepare(stage->shop, session->conn, DEED_READ);
	error = error ? error : shop_prepare(stage->shop, session->conn, DEED_CHECK);
	if (!error && pthread_create(&session->thread, NULL, read_on, session) != 0)
		error = "no thread";
	if (error)
		stage_fail(stage, "reading session", error);
	return error == NULL;
}

bool
session_start_writer(Session *session, Stage *stage, int number)
{
	const char *error;

	if (!connect_session(session, stage, number))
		return false;
	error = shop_prepare(stage->shop, session->conn, DEED_UPDATE);
	error = error ? error : shop_prepare(stage->shop, session->conn, DEED_INSERT);
	error = error ? error : shop_prepare(stage->shop, session->conn, DEED_DELETE);
	if (!error && pthread_create(&session->thread, NULL, session_write, session) != 0)
		error = "no thread";
	if (error)
		stage_fail(stage, "writing session", error);
	return error == NULL;
}

void
session_end(Session *session)
{
	pthread_join(session->thread, NULL);
	PQfinish(session->conn);
	session->conn = NULL;
}
