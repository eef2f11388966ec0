/*-------------------------------------------------------------------------
 *
 * session.c
 *	  A session: draws scripts and runs them, whatever befalls it.
 *
 * Its connection may be cancelled, terminated or lost with the server at any
 * time; then the script ends there, and the session goes on with the next.
 * What may not befall it is told in report.c as unexpected.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "checker.h"

/* What servers say when they go down is no news. */
static void
ignore_notice(void *argument, const char *message)
{
	(void) argument;
	(void) message;
}

/* Each session is told apart by its name, to those who cancel and kill. */
PGconn *
session_connect(const Target *target, const char *name)
{
	char info[1024];
	PGconn *conn;

	snprintf(
		info, sizeof(info),
		"host='%s' dbname='%s' user=postgres application_name='%s' connect_timeout=10 "
		"options='-c lock_timeout=1s -c client_min_messages=error -c jit=off'",
		target->host, target->database, name);
	conn = PQconnectdb(info);
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	return conn;
}

/* Deadlocks, cancels, kills and restarts are meant to happen. */
static bool
is_expected(const Session *session, const char *sqlstate, const char *message)
{
	static const char *always = "40001 40P01 57014 57P01 57P02 57P03 57P05 55P03 53300 ";

	if (*sqlstate == '\0' || strncmp(sqlstate, "08", 2) == 0)
		return PQstatus(session->conn) != CONNECTION_OK;
	if (strcmp(sqlstate, "XX000") == 0 &&
		!strstr(message, "could not open relation with OID") &&
		!strstr(message, "cache lookup failed") && !strstr(message, "tuple concurrently"))
		return false;
	return strstr(always, sqlstate) != NULL ||
		   strstr(session->script->expected, sqlstate) != NULL ||
		   (session->check && strstr(session->check->expected, sqlstate) != NULL);
}

static void
judge_error(Session *session, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQerrorMessage(session->conn);

	if (!sqlstate)
		sqlstate = "";
	report_end_of_script(session->script, message);
	if (strcmp(sqlstate, "CG001") == 0)
		report_stale_error(session, message);
	else if (!is_expected(session, sqlstate, message) && !session->checker->stopping)
		report_unexpected(session, sqlstate, message);
}

static void
keep_columns(Session *session, const PGresult *result)
{
	for (int i = 0; i < PQnfields(result) && PQntuples(result) > 0; i++)
	{
		char *value;

		if (PQgetisnull(result, 0, i))
		{
			script_keep(session, PQfname(result, i), "NULL");
			continue;
		}
		value = PQescapeLiteral(session->conn, PQgetvalue(result, 0, i),
								PQgetlength(result, 0, i));
		script_keep(session, PQfname(result, i), value);
		PQfreemem(value);
	}
}

static void
compare(Session *session, const PGresult *result)
{
	int cached = PQfnumber(result, "cached");
	int computed = PQfnumber(result, "computed");

	for (int row = 0; row < PQntuples(result); row++)
		if (PQgetisnull(result, row, cached) != PQgetisnull(result, row, computed) ||
			strcmp(PQgetvalue(result, row, cached), PQgetvalue(result, row, computed)) !=
				0)
			report_stale(session, result, row);
}

static bool
copy_row(Session *session, const Step *step)
{
	char row[SQL_SIZE];
	PGresult *result;
	bool good;

	script_expand(session, step->copy, row);
	strcat(row, "\n");
	good = PQputCopyData(session->conn, row, strlen(row)) == 1 &&
		   PQputCopyEnd(session->conn, NULL) == 1;
	while ((result = PQgetResult(session->conn)) != NULL)
	{
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
		{
			judge_error(session, result);
			good = false;
		}
		PQclear(result);
	}
	return good;
}

/* By either protocol: the extended one has portals of its own. */
static PGresult *
execute(Session *session, const char *sql)
{
	PGresult *result;

	session->statement_at = (long) (now() * 1000);
	if (draw(&session->random, 4) == 0)
		result = PQexecParams(session->conn, sql, 0, NULL, NULL, NULL, NULL, 0);
	else
		result = PQexec(session->conn, sql);
	session->statement_at = 0;
	return result;
}

/* What a check found to differ; or asked again, what differs still. */
static PGresult *
execute_check(Session *session, const char *sql)
{
	PGresult *result = execute(session, sql);

	for (int again = 0; again < 3 && session->check->recheck && PQntuples(result) > 0;
		 again++)
	{
		PQclear(result);
		pause_for(5);
		result = execute(session, sql);
	}
	return result;
}

/* Without a step it is a check's. */
static bool
run_sql(Session *session, const Step *step, const char *sql)
{
	PGresult *result = step ? execute(session, sql) : execute_check(session, sql);
	bool good = true;

	switch (PQresultStatus(result))
	{
		case PGRES_TUPLES_OK:
			if (step && step->result == RESULT_KEPT)
				keep_columns(session, result);
			else if (!step || step->result == RESULT_COMPARED)
				compare(session, result);
			break;
		case PGRES_COPY_IN:
			good = copy_row(session, step);
			break;
		case PGRES_COMMAND_OK:
		case PGRES_EMPTY_QUERY:
			break;
		default:
			judge_error(session, result);
			good = false;
	}
	PQclear(result);
	return good;
}

/* The query of a check, without the semicolon. */
static void
check_query(Session *session, const Script *check, char *sql)
{
	script_expand(session, check->steps[0].text, sql);
	sql[strlen(sql) - 1] = '\0';
}

/* The server compares: only what differs comes over. */
static bool
run_check(Session *session, const char *name)
{
	char query[SQL_SIZE];
	char sql[SQL_SIZE + 256];
	bool good;

	session->check = script_find(&session->checker->checks, name);
	check_query(session, session->check, query);
	snprintf(sql, sizeof(sql),
			 "SELECT key, cached, computed, pg_current_snapshot() AS snapshot "
			 "FROM (%s OFFSET 0) checked WHERE cached IS DISTINCT FROM computed",
			 query);
	good = run_sql(session, NULL, sql);
	session->check = NULL;
	atomic_fetch_add(&session->checker->reads, 1);
	return good;
}

static bool
run_statement(Session *session, const Step *step)
{
	char query[SQL_SIZE];
	char sql[2 * SQL_SIZE];

	script_expand(session, step->text, sql);
	if (step->declared)
	{
		session->check = script_find(&session->checker->checks, step->declared);
		check_query(session, session->check, query);
		strcat(sql, query);
		session->check = NULL;
	}
	return run_sql(session, step, sql);
}

static bool
run_step(Session *session, const Step *step)
{
	char text[SQL_SIZE];

	if (step->kind == STEP_STATEMENT)
		return run_statement(session, step);
	script_expand(session, step->text, text);
	switch (step->kind)
	{
		case STEP_CHECK:
			return run_check(session, text);
		case STEP_SLEEP:
			pause_for(atoi(text));
			return true;
		case STEP_PUBLISH:
			for (int i = 0; i < session->variable_count; i++)
				if (strcmp(session->variables[i].name, text) == 0)
					report_publish(session->target, session->variables[i].value);
			return true;
		default:
		{
			char value[NAME_SIZE];

			if (!report_subscribe(session->target, value))
				return false;
			script_keep(session, text, value);
			return true;
		}
	}
}

/* Back to where every script begins. */
static void
clean_up(Session *session)
{
	if (PQtransactionStatus(session->conn) != PQTRANS_IDLE)
		PQclear(PQexec(session->conn, "ROLLBACK"));
	PQclear(PQexec(session->conn, "DISCARD ALL"));
}

static void
run_script(Session *session)
{
	Script *script = script_draw(session);
	bool good = true;

	session->script = script;
	atomic_fetch_add(&script->runs, 1);
	for (int i = 0; i < script->step_count && good; i++)
		good = run_step(session, &script->steps[i]);
	if (good)
		atomic_fetch_add(&script->ends, 1);
	else
		clean_up(session);
	if (session->book == &session->checker->writers)
		atomic_fetch_add(&session->checker->writes, 1);
	script_forget(session);
}

/* So that those who bring many hits have most of the machine. */
static void
rest(Session *session)
{
	const Checker *checker = session->checker;

	if (session->book == &checker->ddl)
		pause_for(draw(&session->random, 60));
	else if (session->book == &checker->writers)
		pause_for(draw(&session->random, 6));
	else if (session->target->standby && !checker->standby_serves)
		pause_for(30);
}

void *
session_main(void *argument)
{
	Session *session = argument;
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "checker %d", session->number);
	while (!session->checker->stopping)
	{
		if (PQstatus(session->conn) != CONNECTION_OK)
		{
			PQfinish(session->conn);
			session->conn = session_connect(session->target, name);
			if (PQstatus(session->conn) != CONNECTION_OK)
				pause_for(50);
			continue;
		}
		run_script(session);
		rest(session);
	}
	PQfinish(session->conn);
	return NULL;
}
