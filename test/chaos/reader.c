/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  Polls Redis, table by table, and knows what the table had before.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "chaos.h"

/*
 * What has been seen of the table's keys, and after that what is committed of them;
 * false, and nothing is known to be committed, if the server does not say.
 */
static bool
ask_latest(PGconn *conn, int table, int64_t *seen, int64_t *latest)
{
	const char *values[] = {tables[table].name};
	PGresult *result;
	bool good;

	for (int id = 0; id < KEYS; id++)
	{
		seen[id] = chaos.seen[table][id];
		latest[id] = 0;
	}
	result = PQexecParams(conn, "SELECT id, version FROM latest WHERE tab = $1", 1, NULL,
						  values, NULL, NULL, 0);
	good = PQresultStatus(result) == PGRES_TUPLES_OK;
	for (int i = 0; i < PQntuples(result); i++)
		latest[atoi(PQgetvalue(result, i, 0))] = atoll(PQgetvalue(result, i, 1));
	PQclear(result);
	return good;
}

static void
read_table(PGconn *conn, Client *client, int table)
{
	int64_t seen[KEYS];
	int64_t latest[KEYS];
	bool known = ask_latest(conn, table, seen, latest);

	for (int id = 0; id < KEYS; id++)
	{
		int64_t before = chaos.seen[table][id];
		Value value;

		if (known)
			judge_latest(table, id, latest[id], seen[id]);
		if (client_read(client, table, id, &value))
			judge(table, id, &value, before, tables[table].strict ? latest[id] : 0,
				  "read");
	}
}

void *
reader_main(void *number)
{
	Client *client = client_open();
	PGconn *conn = NULL;
	int turn = (int) (intptr_t) number;

	while (!chaos.stopping)
	{
		if (PQstatus(conn) != CONNECTION_OK)
		{
			PQfinish(conn);
			conn = connect_to_server("reader");
		}
		read_table(conn, client, turn++ % TABLES);
	}
	PQfinish(conn);
	client_close(client);
	return NULL;
}
