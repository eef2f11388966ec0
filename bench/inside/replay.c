/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Replays traces of accesses through the cache, and through an exact LRU.
 *
 *	  The trace is private to the session: numbers of objects, counted from 0,
 *	  in the order in which they are accessed.  It is read from a file of
 *	  big-endian 32-bit integers, or made up, always the same.
 *
 *-------------------------------------------------------------------------
 */
#include "inside.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(bench_trace_read);
PG_FUNCTION_INFO_V1(bench_trace_generate);
PG_FUNCTION_INFO_V1(bench_replay);
PG_FUNCTION_INFO_V1(bench_lru);

static uint32 *trace = NULL;
static int length = 0;
static int objects = 0;

static void
make_trace(int count)
{
	if (trace)
		pfree(trace);
	trace = NULL;
	trace = MemoryContextAllocHuge(TopMemoryContext, sizeof(uint32) * (Size) count);
	length = count;
}

/* Number the objects in the order of their first access. */
static void
number_objects(void)
{
	typedef struct Numbered
	{
		uint32 object;
		uint32 number;
	} Numbered;
	HASHCTL control = {.keysize = sizeof(uint32), .entrysize = sizeof(Numbered)};
	HTAB *numbers =
		hash_create("bench objects", 1 << 16, &control, HASH_ELEM | HASH_BLOBS);

	objects = 0;
	for (int i = 0; i < length; i++)
	{
		bool found;
		Numbered *entry = hash_search(numbers, &trace[i], HASH_ENTER, &found);

		if (!found)
			entry->number = objects++;
		trace[i] = entry->number;
	}
	hash_destroy(numbers);
}

/* bench_trace_read(path text) -> integer: the number of accesses */
Datum
bench_trace_read(PG_FUNCTION_ARGS)
{
	char *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	FILE *file = AllocateFile(path, "rb");
	long bytes;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (bytes = ftell(file)) <= 0 ||
		fseek(file, 0, SEEK_SET) != 0)
		ereport(ERROR, errcode_for_file_access(),
				errmsg("could not open \"%s\": %m", path));
	make_trace(bytes / sizeof(uint32));
	if (fread(trace, sizeof(uint32), length, file) != length)
		ereport(ERROR, errcode_for_file_access(),
				errmsg("could not read \"%s\": %m", path));
	FreeFile(file);
	for (int i = 0; i < length; i++)
		trace[i] = pg_ntoh32(trace[i]);
	number_objects();
	PG_RETURN_INT32(length);
}

/* Zipf's law with exponent 1 over so many objects: cumulated shares. */
static double *
zipf_shares(int count)
{
	double *shares = palloc(sizeof(double) * count);
	double sum = 0;

	for (int i = 0; i < count; i++)
		shares[i] = sum += 1.0 / (i + 1);
	for (int i = 0; i < count; i++)
		shares[i] /= sum;
	return shares;
}

static int
draw_share(const double *shares, int count, uint64 *random)
{
	double wanted = draw(random, 1 << 30) / (double) (1 << 30);
	int low = 0;
	int high = count - 1;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (shares[middle] > wanted)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/*
 * bench_trace_generate(what text, count integer, objects integer) -> integer: make a
 * trace up.  "zipf"; "scan": zipf, and after each 100,000 accesses as many objects
 * one after the other as there are in zipf, never seen again; "loop": all in turn.
 */
Datum
bench_trace_generate(PG_FUNCTION_ARGS)
{
	char *what = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int count = PG_GETARG_INT32(1);
	int popular = PG_GETARG_INT32(2);
	double *shares = zipf_shares(popular);
	uint64 random = UINT64CONST(0x2545f4914f6cdd1d);
	int scanned = 0;

	make_trace(count);
	for (int i = 0; i < count; i++)
	{
		bool in_scan = strcmp(what, "scan") == 0 && i % (100000 + popular) >= 100000;

		if (in_scan)
			trace[i] = popular + scanned++;
		else
			trace[i] = strcmp(what, "loop") == 0 ? i % popular
												 : draw_share(shares, popular, &random);
	}
	number_objects();
	PG_RETURN_INT32(length);
}

/*
 * bench_replay(copies integer, value_bytes integer) -> double precision: read each
 * object of the trace from the cache, and set it if it is not there; the share of
 * those that were not.  So many copies of the trace go on at the same time, each with
 * objects of its own.  Whose turn it is is drawn: in step, the entries of one object
 * would stand side by side in as many copies, which no cache of one shop ever sees.
 */
Datum
bench_replay(PG_FUNCTION_ARGS)
{
	int copies = PG_GETARG_INT32(0);
	Driver *driver = make_driver(PG_GETARG_INT32(1), 0);
	int *done = palloc0(sizeof(int) * copies);
	int *going = palloc(sizeof(int) * copies);
	int left = copies;
	uint64 random = UINT64CONST(0x2545f4914f6cdd1d);
	int64 misses = 0;

	for (int copy = 0; copy < copies; copy++)
		going[copy] = copy;
	while (left > 0 && length > 0)
	{
		int turn = draw(&random, left);
		int copy = going[turn];
		uint32 number = trace[done[copy]] * (uint32) copies + copy;

		CHECK_FOR_INTERRUPTS();
		if (++done[copy] == length)
			going[turn] = going[--left];
		if (drive_get(driver, number))
			continue;
		misses++;
		drive_set(driver, number, NULL);
	}
	PG_RETURN_FLOAT8((double) misses / copies / length);
}

/* A circle of objects, by when they were accessed; its head is nobody. */
typedef struct Link
{
	uint32 previous, next;
	bool cached;
} Link;

static void
take_out(Link *links, uint32 object)
{
	links[links[object].previous].next = links[object].next;
	links[links[object].next].previous = links[object].previous;
}

static void
put_first(Link *links, uint32 head, uint32 object)
{
	links[object].previous = head;
	links[object].next = links[head].next;
	links[links[head].next].previous = object;
	links[head].next = object;
}

/* bench_lru(capacity integer) -> double precision: LRU's misses on the trace */
Datum
bench_lru(PG_FUNCTION_ARGS)
{
	int capacity = PG_GETARG_INT32(0);
	uint32 head = objects;
	Link *links =
		MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Link) * ((Size) objects + 1));
	int cached = 0;
	int misses = 0;

	memset(links, 0, sizeof(Link) * ((Size) objects + 1));
	links[head].previous = links[head].next = head;
	for (int i = 0; i < length; i++)
	{
		uint32 object = trace[i];

		if (links[object].cached)
			take_out(links, object);
		else
		{
			misses++;
			links[object].cached = true;
			if (++cached > capacity)
			{
				uint32 last = links[head].previous;

				take_out(links, last);
				links[last].cached = false;
			}
		}
		put_first(links, head, object);
	}
	PG_RETURN_FLOAT8((double) misses / length);
}
