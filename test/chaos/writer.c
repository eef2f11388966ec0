/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  A session that writes: transactions of some changes, which commit, roll
 *	  back, in part or whole, or are prepared.
 *
 * What is going to be rolled back is marked as such, and must not be seen by
 * anybody.  After a COMMIT without WARNING, the keys of strict tables are read
 * from Redis.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "chaos.h"

#define MAX_CHANGES 6

typedef struct Change
{
	int table;
	int id;
	int64_t version;
} Change;

typedef struct Writer
{
	PGconn *conn;
	Client *client;
	uint64_t random;
	int number;
	int transaction; /* of its prepared ones' names */
	bool warned;	 /* in this statement */
	bool doomed;	 /* the transaction will be rolled back */
	Change changes[MAX_CHANGES];
	int change_count;
} Writer;

static void
note_warning(void *argument, const PGresult *result)
{
	Writer *writer = argument;
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (severity && strcmp(severity, "WARNING") == 0)
		writer->warned = true;
}

/*
 * Deadlocks, kills, restarts, lost connections and Redis that is away are meant to
 * happen; and that somebody else ends what is prepared.
 */
static bool
is_expected(const char *sqlstate)
{
	static const char *const states =
		"40P01 40001 55P03 57P01 57P02 57P03 57P05 53300 55006 42704 55000 ";

	if (*sqlstate == '\0' || strncmp(sqlstate, "08", 2) == 0)
		return true;
	if (strcmp(sqlstate, "HV00N") == 0)
	{
		atomic_fetch_add(&chaos.unavailable, 1);
		return !chaos.calm;
	}
	return strstr(states, sqlstate) != NULL;
}

static void
disconnect(Writer *writer)
{
	PQfinish(writer->conn);
	writer->conn = NULL;
}

/* The first column of the first row, 0 without; false if it failed. */
static bool
run(Writer *writer, const char *sql, int64_t *value)
{
	PGresult *result;
	bool good;
	bool lost = false;

	writer->warned = false;
	result = PQexec(writer->conn, sql);
	good = PQresultStatus(result) == PGRES_TUPLES_OK ||
		   PQresultStatus(result) == PGRES_COMMAND_OK ||
		   PQresultStatus(result) == PGRES_COPY_IN;
	if (value)
		*value = good && PQntuples(result) > 0 ? atoll(PQgetvalue(result, 0, 0)) : 0;
	if (!good)
	{
		const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		lost = !sqlstate;
		if (!is_expected(sqlstate ? sqlstate : ""))
			report_wrong(WRONG_UNEXPECTED, "%s: %s", sql, PQerrorMessage(writer->conn));
	}
	PQclear(result);
	if (lost)
		disconnect(writer);
	return good;
}

static void
note_change(Writer *writer, int table, int id, int64_t version)
{
	atomic_fetch_add(&chaos.changes, 1);
	if (writer->change_count < MAX_CHANGES)
		writer->changes[writer->change_count++] =
			(Change){.table = table, .id = id, .version = version};
}

/* Some ids are wanted by everybody. */
static int
draw_id(Writer *writer)
{
	return (int) draw(&writer->random, draw(&writer->random, 2) == 0 ? 4 : KEYS);
}

static bool
change_row(Writer *writer, bool doomed)
{
	static const char *const ways[] = {"put",  "put",	"put", "put",
									   "take", "renew", "move"};
	const char *way = ways[draw(&writer->random, sizeof(ways) / sizeof(ways[0]))];
	int table = (int) draw(&writer->random, TABLES);
	int id = draw_id(writer);
	char sql[256];
	int64_t version;

	snprintf(sql, sizeof(sql), "SELECT %s('%s', %d, '%s')", way, tables[table].name, id,
			 doomed ? "rolled back" : "committed");
	if (!run(writer, sql, &version))
		return false;
	if (!doomed)
		note_change(writer, table, id, version);
	return true;
}

static bool
change_and_undo(Writer *writer)
{
	atomic_fetch_add(&chaos.rolled_back, 1);
	return run(writer, "SAVEPOINT here", NULL) && change_row(writer, true) &&
		   change_row(writer, true) && run(writer, "ROLLBACK TO here", NULL);
}

static bool
end_copy(Writer *writer)
{
	PGresult *result;
	bool good = writer->conn && PQputCopyEnd(writer->conn, NULL) == 1;

	while ((result = PQgetResult(writer->conn)) != NULL)
	{
		good = good && PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return good;
}

/* Rows with neighbouring ids. */
static bool
copy_rows(Writer *writer)
{
	int table = (int) draw(&writer->random, TABLES);
	int first = (int) draw(&writer->random, KEYS - 4);
	const char *mark = writer->doomed ? "rolled back" : "committed";
	char text[512];
	int64_t version;

	atomic_fetch_add(&chaos.copied, 1);
	snprintf(text, sizeof(text), "SELECT make_room('%s', '{%d,%d,%d}')",
			 tables[table].name, first, first + 1, first + 2);
	if (!run(writer, text, &version))
		return false;
	snprintf(text, sizeof(text), "COPY %s (id, version, twin, mark) FROM STDIN",
			 tables[table].name);
	if (!run(writer, text, NULL))
		return false;
	for (int id = first; id < first + 3; id++)
	{
		snprintf(text, sizeof(text), "%d\t%lld\t%lld\t%s\n", id, (long long) version,
				 (long long) version, mark);
		if (PQputCopyData(writer->conn, text, strlen(text)) != 1)
			return false;
		if (!writer->doomed)
			note_change(writer, table, id, version);
	}
	return end_copy(writer);
}

static bool
empty_table(Writer *writer)
{
	int table = (int) draw(&writer->random, TABLES);
	char sql[128];
	int64_t version;

	atomic_fetch_add(&chaos.truncated, 1);
	snprintf(sql, sizeof(sql), "SELECT empty('%s')", tables[table].name);
	if (!run(writer, sql, &version))
		return false;
	if (!writer->doomed)
		note_change(writer, table, 0, version);
	return true;
}

static bool
make_changes(Writer *writer)
{
	int count = 1 + (int) draw(&writer->random, 4);

	for (int i = 0; i < count; i++)
	{
		uint64_t what = draw(&writer->random, 3000);
		bool good = what == 0	  ? empty_table(writer)
					: what <= 8	  ? copy_rows(writer)
					: what <= 300 ? change_and_undo(writer)
								  : change_row(writer, writer->doomed);

		if (!good)
			return false;
	}
	return true;
}

/* Of strict tables, Redis has nothing older now, whatever else goes on. */
static void
check_commit(Writer *writer)
{
	atomic_fetch_add(&chaos.transactions, 1);
	if (writer->warned)
	{
		atomic_fetch_add(&chaos.warnings, 1);
		return;
	}
	for (int i = 0; i < writer->change_count; i++)
	{
		const Change *change = &writer->changes[i];
		int64_t seen = chaos.seen[change->table][change->id];
		Value value;

		if (!tables[change->table].strict ||
			!client_read(writer->client, change->table, change->id, &value))
			continue;
		atomic_fetch_add(&chaos.checked_commits, 1);
		judge(change->table, change->id, &value, seen, change->version, "after COMMIT");
	}
}

/* The last word is another transaction's, and may never be said. */
static void
prepare(Writer *writer, bool commit)
{
	char name[64];
	char sql[128];

	atomic_fetch_add(&chaos.prepared, 1);
	snprintf(name, sizeof(name), "writer %d %d %s", writer->number, writer->transaction++,
			 commit ? "commit" : "rollback");
	snprintf(sql, sizeof(sql), "PREPARE TRANSACTION '%s'", name);
	if (!run(writer, sql, NULL))
		return;
	pause_for((int) draw(&writer->random, 30));
	snprintf(sql, sizeof(sql), "%s PREPARED '%s'", commit ? "COMMIT" : "ROLLBACK", name);
	if (run(writer, sql, NULL) && commit)
		atomic_fetch_add(&chaos.transactions, 1);
}

static bool
all_asynchronous(void)
{
	return (int64_t) (now() / 5) % 2 == 0;
}

static void
end_transaction(Writer *writer)
{
	if (!all_asynchronous() && draw(&writer->random, 6) == 0)
		prepare(writer, !writer->doomed);
	else if (writer->doomed)
	{
		atomic_fetch_add(&chaos.rolled_back, 1);
		run(writer, "ROLLBACK", NULL);
	}
	else if (run(writer, "COMMIT", NULL))
		check_commit(writer);
}

/*
 * Every other five seconds all are, so that nobody's commit takes those of others to
 * the disk; else every other.
 */
static bool
is_asynchronous(Writer *writer)
{
	return all_asynchronous() || draw(&writer->random, 2) == 0;
}

static void
run_transaction(Writer *writer)
{
	writer->change_count = 0;
	writer->doomed = draw(&writer->random, 10) == 0;
	if (run(writer, "BEGIN", NULL) &&
		(!is_asynchronous(writer) ||
		 run(writer, "SET LOCAL synchronous_commit = off", NULL)) &&
		make_changes(writer))
		end_transaction(writer);
	if (writer->conn && PQtransactionStatus(writer->conn) != PQTRANS_IDLE)
		run(writer, "ROLLBACK", NULL);
}

/* Beside writing, somebody asks for a sweep, or compares. */
static void
look_after(Writer *writer)
{
	const char *name = tables[draw(&writer->random, TABLES)].name;
	char sql[128];

	if (draw(&writer->random, 2) == 0)
	{
		atomic_fetch_add(&chaos.resyncs, 1);
		snprintf(sql, sizeof(sql), "SELECT cachegrid.resync('%s', 'grid')", name);
	}
	else
	{
		atomic_fetch_add(&chaos.verifies, 1);
		snprintf(sql, sizeof(sql), "SELECT count(*) FROM cachegrid.verify('%s', 'grid')",
				 name);
	}
	run(writer, sql, NULL);
}

static bool
is_connected(Writer *writer)
{
	char name[32];

	if (PQstatus(writer->conn) == CONNECTION_OK)
		return true;
	disconnect(writer);
	snprintf(name, sizeof(name), "writer %d", writer->number);
	writer->conn = connect_to_server(name);
	PQsetNoticeReceiver(writer->conn, note_warning, writer);
	return PQstatus(writer->conn) == CONNECTION_OK;
}

/* Who begins is counted as busy first: so whoever waits for rest waits for him. */
static void
work(Writer *writer)
{
	atomic_fetch_add(&chaos.busy, 1);
	if (!chaos.resting && draw(&writer->random, 2000) == 0)
		look_after(writer);
	else if (!chaos.resting)
		run_transaction(writer);
	atomic_fetch_sub(&chaos.busy, 1);
	while (chaos.resting && !chaos.stopping)
		pause_for(5);
}

void *
writer_main(void *number)
{
	Writer writer = {.number = (int) (intptr_t) number, .client = client_open()};

	writer.random = chaos.seed * 1000003 + writer.number;
	while (!chaos.stopping)
	{
		if (!is_connected(&writer))
			pause_for(50);
		else
			work(&writer);
	}
	disconnect(&writer);
	client_close(writer.client);
	return NULL;
}
