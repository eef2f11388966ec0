/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  The sessions that write, at a steady rate.
 *
 *	  Half of the writes go to what is being read just now, so that hot rows
 *	  change often; the other half to any row.  Every writer has rows of its
 *	  own, so none waits for another.  Of 20 writes 16 are updates, 2 delete a
 *	  row, 1 inserts a row that nobody knew, and 1 is an update that is rolled
 *	  back.  A write that meets a row deleted before puts it back instead.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <time.h>

#include "sessions.h"

/* What readers are reading just now: the last so many reads. */
#define HOT_READS 20000

/* Ids of rows that no log names, above its 18 bits. */
#define NEW_IDS (1 << 18)

/* Private to the writer's thread. */
typedef struct Writer
{
	Session *session;
	const Shop *shop;
	uint64_t random;
	uint32_t inserted; /* new rows so far */
} Writer;

/* A number below bound. */
static uint32_t
draw(Writer *writer, uint32_t bound)
{
	writer->random = writer->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t) (((writer->random >> 32) * bound) >> 32);
}

/* An object of this writer's own, hot or any. */
static uint32_t
choose(Writer *writer)
{
	const Trace *trace = writer->shop->trace;
	Stage *stage = writer->session->stage;
	uint32_t writers = (uint32_t) stage->plan->writers;
	uint32_t object = draw(writer, trace->nobjects);
	size_t cursor = atomic_load(&stage->cursor);

	if (draw(writer, 2) == 0 && cursor > HOT_READS && cursor < trace->nreads)
		object = trace->reads[cursor - draw(writer, HOT_READS)];
	object = object - object % writers + (uint32_t) writer->session->number;
	return object < trace->nobjects ? object : (uint32_t) writer->session->number;
}

static bool
change(Writer *writer, Deed deed, const Object *object)
{
	PGconn *conn = writer->session->conn;
	PGresult *result = shop_do(writer->shop, conn, deed, object);
	bool done = PQresultStatus(result) == PGRES_COMMAND_OK;

	PQclear(result);
	if (!done)
		stage_fail(writer->session->stage, "write", PQerrorMessage(conn));
	return done;
}

static bool
say(Writer *writer, const char *sql)
{
	PGconn *conn = writer->session->conn;
	PGresult *result = PQexec(conn, sql);
	bool done = PQresultStatus(result) == PGRES_COMMAND_OK;

	PQclear(result);
	if (!done)
		stage_fail(writer->session->stage, sql, PQerrorMessage(conn));
	return done;
}

/* Insert a row that was not there in the beginning. */
static bool
insert_new(Writer *writer)
{
	Object object = writer->shop->trace->objects[choose(writer)];
	uint32_t writers = (uint32_t) writer->session->stage->plan->writers;

	object.id =
		NEW_IDS + writer->inserted++ * writers + (uint32_t) writer->session->number;
	return change(writer, DEED_INSERT, &object);
}

/* One write of the mixture above; what it was in *kind. */
static bool
write_once(Writer *writer, Change *kind)
{
	uint32_t number = choose(writer);
	const Object *object = &writer->shop->trace->objects[number];
	uint8_t *gone = &writer->session->stage->gone[number];
	uint32_t dice = draw(writer, 20);

	if (*gone)
	{
		*kind = CHANGE_INSERT;
		*gone = 0;
		return change(writer, DEED_INSERT, object);
	}
	if (dice == 0)
	{
		*kind = CHANGE_ROLLED_BACK;
		return say(writer, "BEGIN") && change(writer, DEED_UPDATE, object) &&
			   say(writer, "ROLLBACK");
	}
	if (dice == 1)
	{
		*kind = CHANGE_INSERT;
		return insert_new(writer);
	}
	if (dice < 4)
	{
		*kind = CHANGE_DELETE;
		*gone = 1;
		return change(writer, DEED_DELETE, object);
	}
	*kind = CHANGE_UPDATE;
	return change(writer, DEED_UPDATE, object);
}

/* Sleep until the clock says when. */
static void
sleep_until(uint64_t when)
{
	struct timespec at = {.tv_sec = (time_t) (when / UINT64_C(1000000000)),
						  .tv_nsec = (long) (when % UINT64_C(1000000000))};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

void *
session_write(void *argument)
{
	Session *session = argument;
	Stage *stage = session->stage;
	Writer writer = {.session = session,
					 .shop = stage->shop,
					 .random = (uint64_t) session->number * 7919 + 1};
	uint64_t step = UINT64_C(1000000000) * (uint64_t) stage->plan->writers /
					(uint64_t) stage->plan->rate;
	uint64_t next = now_ns();

	while (!atomic_load(&stage->stop_writers))
	{
		Change kind;

		if (!write_once(&writer, &kind))
			break;
		atomic_fetch_add(&session->changes[kind], 1);
		next += step;
		sleep_until(next);
	}
	return NULL;
}
