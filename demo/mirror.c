/*-------------------------------------------------------------------------
 *
 * mirror.c
 *	  Watches the mirrors, and compares Redis with the tables.
 *
 *	  cachegrid.verify is part of what is on show, so it is not believed
 *	  alone: a plain client reads every key of every Redis master into a
 *	  temporary table, and SQL compares that with the tables.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mirror.h"

/* Keys asked for at once. */
#define BATCH "1000"

const char *
mirror_look(MirrorWatch *mirror, PGconn *conn)
{
	PGresult *result =
		PQexec(conn, "SELECT coalesce(sum(waiting), 0), coalesce(sum(applied), 0),"
					 " coalesce(max(lag_seconds), 0),"
					 " count(*) FILTER (WHERE state IS DISTINCT FROM 'live'),"
					 " coalesce(min(last_error), '') FROM cachegrid.stat_mirror");

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		PQclear(result);
		return PQerrorMessage(conn);
	}
	mirror->waiting = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	mirror->applied = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
	mirror->lag = atof(PQgetvalue(result, 0, 2));
	mirror->sweeping = strtoull(PQgetvalue(result, 0, 3), NULL, 10);
	snprintf(mirror->error, sizeof(mirror->error), "%s", PQgetvalue(result, 0, 4));
	if (mirror->lag > mirror->max_lag)
		mirror->max_lag = mirror->lag;
	PQclear(result);
	return NULL;
}

const char *
mirror_wait(MirrorWatch *mirror, PGconn *conn, const atomic_bool *stop, double limit,
			double *seconds, bool *done)
{
	uint64_t began = now_ns();

	do
	{
		const char *error = mirror_look(mirror, conn);

		if (error)
			return error;
		*seconds = (double) (now_ns() - began) / 1e9;
		*done = mirror->waiting == 0 && mirror->sweeping == 0;
		if (!*done)
			usleep(2000);
	} while (!*done && *seconds < limit && !atomic_load(stop));
	return NULL;
}

/* Write text as one column of COPY: with its special characters escaped. */
static bool
put_column(PGconn *conn, const char *text, size_t length, const char *end)
{
	char *line = malloc(length * 2 + 2);
	size_t used = 0;
	bool sent;

	if (!line)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char c = text[i];

		if (c == '\\' || c == '\n' || c == '\t' || c == '\r')
			line[used++] = '\\';
		line[used++] = c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c;
	}
	line[used++] = *end;
	sent = PQputCopyData(conn, line, (int) used) == 1;
	free(line);
	return sent;
}

/* Send the values of these keys, which lie on this node, to COPY. */
static bool
put_keys(PGconn *conn, redisContext *redis, const redisReply *keys)
{
	bool good = true;

	for (size_t i = 0; i < keys->elements; i++)
		redisAppendCommand(redis, "GET %b", keys->element[i]->str, keys->element[i]->len);
	for (size_t i = 0; i < keys->elements; i++)
	{
		redisReply *value = NULL;

		good = redisGetReply(redis, (void **) &value) == REDIS_OK && good;
		if (good && value->type == REDIS_REPLY_STRING)
			good = put_column(conn, keys->element[i]->str, keys->element[i]->len, "\t") &&
				   put_column(conn, value->str, value->len, "\n");
		else if (good && value->type == REDIS_REPLY_ERROR)
			good = false;
		if (value)
			freeReplyObject(value);
	}
	return good;
}

/* Send all keys of one node, with their values, to COPY. */
static bool
put_node(PGconn *conn, int port)
{
	redisContext *redis = redisConnect("127.0.0.1", port);
	char cursor[32] = "0";
	bool good = redis && !redis->err;

	do
	{
		redisReply *reply =
			good ? redisCommand(redis, "SCAN %s COUNT " BATCH, cursor) : NULL;

		good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
		if (good)
		{
			snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
			good = put_keys(conn, redis, reply->element[1]);
		}
		if (reply)
			freeReplyObject(reply);
	} while (good && strcmp(cursor, "0") != 0);
	if (redis)
		redisFree(redis);
	return good;
}

/* All of Redis into the temporary table in_redis. */
static const char *
copy_redis(PGconn *conn, const char *ports)
{
	bool good = true;
	PGresult *result;

	PQclear(PQexec(conn, "CREATE TEMPORARY TABLE in_redis (key text, value text)"));
	result = PQexec(conn, "COPY in_redis FROM STDIN");
	if (PQresultStatus(result) != PGRES_COPY_IN)
	{
		PQclear(result);
		return PQerrorMessage(conn);
	}
	PQclear(result);
	for (char *end; good && *ports; ports = end)
	{
		long port = strtol(ports, &end, 10);

		if (end == ports)
			break;
		good = put_node(conn, (int) port);
	}
	PQputCopyEnd(conn, good ? NULL : "a Redis node did not answer as expected");
	while ((result = PQgetResult(conn)) != NULL)
	{
		good = good && PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return good ? NULL : PQerrorMessage(conn);
}

/* Run a query of a count and a text; add the count, keep the first text. */
static const char *
count_differences(Outcome *outcome, PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	uint64_t count;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		PQclear(result);
		return PQerrorMessage(conn);
	}
	count = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	if (count > 0 && outcome->differences == 0)
		snprintf(outcome->difference, sizeof(outcome->difference), "%s",
				 PQgetvalue(result, 0, 1));
	outcome->differences += count;
	PQclear(result);
	return NULL;
}

static const char *
count_rows(PGconn *conn, const char *from, uint64_t *rows)
{
	char sql[160];
	PGresult *result;

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", from);
	result = PQexec(conn, sql);
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		*rows += strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return *PQerrorMessage(conn) ? PQerrorMessage(conn) : NULL;
}

static const char *
compare_table(Outcome *outcome, const Shop *shop, PGconn *conn, int type)
{
	const char *table = shop_table(type);
	const char *error = count_rows(conn, table, &outcome->rows);
	char sql[1024];

	/* Keys of the tables only: the mirror has some for itself. */
	snprintf(sql, sizeof(sql), "in_redis WHERE split_part(key, ':', 1) = '%s'", table);
	error = error ? error : count_rows(conn, sql, &outcome->keys);

	snprintf(sql, sizeof(sql),
			 "SELECT count(*), min(key || ': ' || problem)"
			 " FROM cachegrid.verify('%s', '%s')",
			 table, shop->server);
	error = error ? error : count_differences(outcome, conn, sql);
	snprintf(sql, sizeof(sql),
			 "SELECT count(*), min(key || ': the plain client reads ' ||"
			 "                     coalesce(r.value::text, 'nothing'))"
			 " FROM (SELECT concat_ws(':', '%s', id%s) AS key, to_jsonb(t) AS value"
			 "         FROM %s t) s"
			 " FULL JOIN (SELECT key, value::jsonb AS value FROM in_redis"
			 "             WHERE split_part(key, ':', 1) = '%s') r USING (key)"
			 " WHERE s.value IS DISTINCT FROM r.value",
			 table, shop->indexed[type] ? ", idx" : "", table, table);
	return error ? error : count_differences(outcome, conn, sql);
}

const char *
mirror_compare(Outcome *outcome, const Shop *shop, PGconn *conn, const char *ports)
{
	const char *error;

	/* Redis has times in UTC. */
	PQclear(PQexec(conn, "SET timezone = 'UTC'"));
	error = copy_redis(conn, ports);
	for (int type = 0; !error && type < TRACE_TYPES; type++)
	{
		if (shop->used[type])
			error = compare_table(outcome, shop, conn, type);
	}
	return error;
}
