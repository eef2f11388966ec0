/*-------------------------------------------------------------------------
 *
 * connect.c
 *	  Connections of the bench, and its server started anew.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

/* What cachegrid.memory is for rows that do not ask for more. */
#define USUAL_MEMORY 128

bool
bench_connect(Bench *bench)
{
	bench->conn = PQconnectdb("");
	for (int i = 0; i < MAX_CLIENTS; i++)
	{
		bench->clients[i] = PQconnectdb("");
		if (PQstatus(bench->clients[i]) != CONNECTION_OK)
		{
			bench_fail(bench, "connection", PQerrorMessage(bench->clients[i]));
			return false;
		}
	}
	return bench_run(bench, "SET jit = off; SET max_parallel_workers_per_gather = 0");
}

static void
disconnect(Bench *bench)
{
	PQfinish(bench->conn);
	for (int i = 0; i < MAX_CLIENTS; i++)
		PQfinish(bench->clients[i]);
}

bool
bench_restart(Bench *bench, int memory)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "ALTER SYSTEM SET cachegrid.memory = '%dMB'",
			 memory ? memory : USUAL_MEMORY);
	if (!bench_run(bench, sql))
		return false;
	disconnect(bench);
	/* PGDATA says which; what it reports goes to its log. */
	if (system("pg_ctl -w -t 60 -m fast -s -l \"$PGDATA.log\" restart >/dev/null") != 0)
	{
		bench->conn = NULL;
		bench_fail(bench, "pg_ctl restart", "see the server's log");
		return false;
	}
	return bench_connect(bench);
}

bool
bench_receive(Bench *bench, PGconn *conn, char *field, size_t size)
{
	bool good = true;
	PGresult *result;

	field[0] = '\0';
	while ((result = PQgetResult(conn)) != NULL)
	{
		if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
			snprintf(field, size, "%s", PQgetvalue(result, 0, 0));
		else
			good = false;
		PQclear(result);
	}
	if (!good)
		bench_fail(bench, "session", PQerrorMessage(conn));
	return good && field[0] != '\0';
}
