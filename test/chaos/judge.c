/*-------------------------------------------------------------------------
 *
 * judge.c
 *	  Compares what Redis shows with what it may show; see chaos.h.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "chaos.h"

/* So long the mirror has to come to rest at the end. */
#define REST_SECONDS 90

/* So long Redis has to answer, when nobody disturbs it any more. */
#define ANSWER_SECONDS 10

static void
remember(int table, int id, int64_t version)
{
	int64_t seen = chaos.seen[table][id];

	while (seen < version &&
		   !atomic_compare_exchange_weak(&chaos.seen[table][id], &seen, version))
		;
}

/* Something is older than it may be: is a master's loss an excuse? */
static void
judge_old(Wrong wrong, int table, int id, int64_t version, int64_t expected,
		  const char *who)
{
	char key[KEY_SIZE];

	key_of(table, id, key);
	if (chaos.excused > 0)
		atomic_fetch_add(&chaos.excused_reads, 1);
	else
		report_wrong(wrong, "%s is %lld in Redis, older than %lld (%s)", key,
					 (long long) version, (long long) expected, who);
}

/*
 * A value that was read; seen is what had been seen of the key before the read,
 * floor what Redis may not be older than, 0: nothing.
 */
void
judge(int table, int id, const Value *value, int64_t seen, int64_t floor, const char *who)
{
	char key[KEY_SIZE];

	atomic_fetch_add(&chaos.reads, 1);
	if (!value->found)
	{
		atomic_fetch_add(&chaos.missing, 1);
		return;
	}
	key_of(table, id, key);
	if (value->rolled_back)
		report_wrong(WRONG_UNCOMMITTED, "%s has %lld, which was rolled back (%s)", key,
					 (long long) value->version, who);
	else if (value->torn)
		report_wrong(WRONG_TORN, "%s is torn (%s)", key, who);
	else if (value->version < seen)
		judge_old(WRONG_BACKWARDS, table, id, value->version, seen, who);
	else if (value->version < floor)
		judge_old(WRONG_OUTDATED, table, id, value->version, floor, who);
	if (!value->rolled_back)
		remember(table, id, value->version);
}

/* What was seen in Redis before must be committed in a snapshot taken later. */
void
judge_latest(int table, int id, int64_t latest, int64_t seen)
{
	char key[KEY_SIZE];

	key_of(table, id, key);
	if (latest < seen)
		report_wrong(WRONG_UNCOMMITTED, "%s was %lld in Redis, the table has %lld", key,
					 (long long) seen, (long long) latest);
}

/* The only value of a query; "" if there is none. */
static void
ask_server(PGconn *conn, const char *sql, char *answer, size_t size)
{
	PGresult *result = PQexec(conn, sql);

	snprintf(answer, size, "%s",
			 PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0
				 ? PQgetvalue(result, 0, 0)
				 : PQerrorMessage(conn));
	PQclear(result);
}

/* Until it must be known what Redis lost, nothing waits and no sweep is under way. */
static bool
await_rest(PGconn *conn)
{
	char answer[2000] = "";
	double patience = now() + REST_SECONDS;

	while (now() < chaos.emptied + NOTICE_SECONDS)
		pause_for(50);
	while (now() < patience)
	{
		ask_server(conn,
				   "SELECT bool_and(state = 'live' AND waiting = 0) "
				   "FROM cachegrid.stat_mirror",
				   answer, sizeof(answer));
		if (strcmp(answer, "t") == 0)
			return true;
		pause_for(100);
	}
	ask_server(conn, "SELECT json_agg(m) FROM cachegrid.stat_mirror m", answer,
			   sizeof(answer));
	report_wrong(WRONG_AT_REST, "the mirror does not come to rest: %s", answer);
	return false;
}

static void
verify_table(PGconn *conn, int table)
{
	char sql[256];
	double patience = now() + ANSWER_SECONDS;
	PGresult *result;

	snprintf(sql, sizeof(sql),
			 "SELECT key, problem FROM cachegrid.verify('%s', 'grid') "
			 "WHERE problem <> 'expired'",
			 tables[table].name);
	result = PQexec(conn, sql);
	while (PQresultStatus(result) != PGRES_TUPLES_OK && now() < patience)
	{
		pause_for(200);
		PQclear(result);
		result = PQexec(conn, sql);
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		report_wrong(WRONG_AT_REST, "verify: %s", PQerrorMessage(conn));
	for (int i = 0; i < PQntuples(result); i++)
		report_wrong(WRONG_AT_REST, "verify: %s %s", PQgetvalue(result, i, 0),
					 PQgetvalue(result, i, 1));
	PQclear(result);
}

/* A node may not have heard yet who is master now. */
static bool
read_at_rest(Client *client, int table, int id, Value *value)
{
	double patience = now() + ANSWER_SECONDS;

	while (!client_read(client, table, id, value))
	{
		if (now() > patience)
			return false;
		pause_for(20);
	}
	return true;
}

/* Read by ourselves, not by verify. */
static void
compare_table(PGconn *conn, Client *client, int table)
{
	char sql[256];
	PGresult *result;

	snprintf(sql, sizeof(sql),
			 "SELECT id, CASE WHEN present THEN version ELSE 0 END, present = EXISTS "
			 "(SELECT FROM %s t WHERE t.id = l.id AND t.version = l.version) "
			 "FROM latest l WHERE tab = '%s'",
			 tables[table].name, tables[table].name);
	result = PQexec(conn, sql);
	for (int i = 0; i < PQntuples(result); i++)
	{
		int id = atoi(PQgetvalue(result, i, 0));
		long long version = atoll(PQgetvalue(result, i, 1));
		char key[KEY_SIZE];
		Value value;

		key_of(table, id, key);
		if (strcmp(PQgetvalue(result, i, 2), "t") != 0)
			report_wrong(WRONG_UNEXPECTED, "the table itself is wrong of %s", key);
		if (!read_at_rest(client, table, id, &value))
			report_wrong(WRONG_AT_REST, "%s cannot be read", key);
		else if (value.version != version && !(tables[table].expires && !value.found))
			report_wrong(WRONG_AT_REST, "%s is %lld in Redis, %lld in the table", key,
						 (long long) value.version, version);
	}
	PQclear(result);
}

/* Keys that no table has: besides rows, an owner's mark for each prefix. */
static void
count_keys(PGconn *conn)
{
	char answer[1000];
	long keys = 0;
	long most;

	for (int i = 0; i < NODES; i++)
	{
		redisReply *reply;

		if (!node_is_master(i))
			continue;
		reply = node_command(i, "DBSIZE");
		keys += reply ? reply->integer : 0;
		if (reply)
			freeReplyObject(reply);
	}
	ask_server(conn, "SELECT count(*) FROM latest WHERE present", answer, sizeof(answer));
	most = atol(answer) + TABLES;
	if (keys > most)
		report_wrong(WRONG_AT_REST, "Redis has %ld keys, at most %ld were expected", keys,
					 most);
}

/* Have writers rest, until what they wrote is in Redis, and compare. */
void
judge_rest(void)
{
	PGconn *conn;
	Client *client = client_open();

	atomic_store(&chaos.resting, true);
	proxy_stop_disturbing();
	while (chaos.busy > 0)
		pause_for(5);
	conn = connect_for_long();
	finish_prepared(conn);
	if (await_rest(conn))
	{
		for (int table = 0; table < TABLES; table++)
			compare_table(conn, client, table);
	}
	atomic_fetch_add(&chaos.rests, 1);
	atomic_store(&chaos.resting, false);
	client_close(client);
	PQfinish(conn);
}

/* All is quiet: now everything must be equal. */
void
judge_end(void)
{
	PGconn *conn = connect_for_long();
	Client *client = client_open();
	char parked[1000];

	finish_prepared(conn);
	if (await_rest(conn))
	{
		for (int table = 0; table < TABLES; table++)
		{
			verify_table(conn, table);
			compare_table(conn, client, table);
		}
		count_keys(conn);
	}
	ask_server(conn, "SELECT count(*) FROM cachegrid.mirror_parked", parked,
			   sizeof(parked));
	if (strcmp(parked, "0") != 0)
		report_wrong(WRONG_AT_REST, "keys are parked: %s", parked);
	client_close(client);
	PQfinish(conn);
}
