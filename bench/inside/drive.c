/*-------------------------------------------------------------------------
 *
 * drive.c
 *	  Calls cachegrid over and over inside one session.
 *
 *-------------------------------------------------------------------------
 */
#include "inside.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Calls between two looks at the clock. */
#define CALLS_AT_ONCE 32

PG_FUNCTION_INFO_V1(bench_calls);
PG_FUNCTION_INFO_V1(bench_calls_until);
PG_FUNCTION_INFO_V1(bench_fill);

/* Look an SQL function up; all its arguments are NULL constants of these types. */
static void
look_up(const char *signature, int count, const Oid *types, FmgrInfo *function)
{
	Oid oid =
		DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(signature)));
	List *arguments = NIL;

	for (int i = 0; i < count; i++)
		arguments = lappend(arguments, makeNullConst(types[i], -1, InvalidOid));
	fmgr_info(oid, function);
	fmgr_info_set_expr((Node *) makeFuncExpr(oid, TEXTOID, arguments, InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL),
					   function);
}

Driver *
make_driver(int value_bytes, int seed)
{
	static const Oid get_types[] = {TEXTOID};
	static const Oid set_types[] = {TEXTOID, TEXTOID, INTERVALOID, TEXTARRAYOID};
	Driver *driver = palloc0(sizeof(Driver));

	look_up("cachegrid.get(text)", 1, get_types, &driver->get);
	look_up("cachegrid.set(text,text,interval,text[])", 4, set_types, &driver->set);
	driver->key = cstring_to_text_with_len("now:00000000", KEY_BYTES);
	driver->value = palloc(VARHDRSZ + value_bytes);
	SET_VARSIZE(driver->value, VARHDRSZ + value_bytes);
	memset(VARDATA(driver->value), 'v', value_bytes);
	driver->random = (uint64) (seed + 1) * UINT64CONST(0x9e3779b97f4a7c15);
	driver->context =
		AllocSetContextCreate(CurrentMemoryContext, "bench call", ALLOCSET_DEFAULT_SIZES);
	return driver;
}

static Datum
key_of(Driver *driver, uint32 number)
{
	char *digit = VARDATA(driver->key) + KEY_BYTES;

	for (int i = 0; i < 8; i++)
	{
		*--digit = '0' + number % 10;
		number /= 10;
	}
	return PointerGetDatum(driver->key);
}

bool
drive_get(Driver *driver, uint32 number)
{
	MemoryContext before = MemoryContextSwitchTo(driver->context);
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &driver->get, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum){key_of(driver, number), false};
	(void) FunctionCallInvoke(fcinfo);
	MemoryContextSwitchTo(before);
	MemoryContextReset(driver->context);
	return !fcinfo->isnull;
}

void
drive_set(Driver *driver, uint32 number, const Interval *ttl)
{
	MemoryContext before = MemoryContextSwitchTo(driver->context);
	LOCAL_FCINFO(fcinfo, 4);

	InitFunctionCallInfoData(*fcinfo, &driver->set, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum){key_of(driver, number), false};
	fcinfo->args[1] = (NullableDatum){PointerGetDatum(driver->value), false};
	fcinfo->args[2] = (NullableDatum){PointerGetDatum(ttl), ttl == NULL};
	fcinfo->args[3] = (NullableDatum){(Datum) 0, true};
	(void) FunctionCallInvoke(fcinfo);
	MemoryContextSwitchTo(before);
	MemoryContextReset(driver->context);
}

/* What a session calls: of keys numbered below a bound, at random. */
typedef enum What
{
	WHAT_GET,
	WHAT_GET_HOT,	  /* all the same key */
	WHAT_GET_MISSING, /* keys that nobody sets */
	WHAT_SET,
	WHAT_ARRAY /* no cache: see array.c */
} What;

static const char *const what_names[] = {"get", "get hot", "get missing", "set", "array"};

static What
what_from_text(const text *name)
{
	char *given = text_to_cstring(name);

	for (int i = 0; i < lengthof(what_names); i++)
		if (strcmp(given, what_names[i]) == 0)
			return i;
	elog(ERROR, "the bench cannot \"%s\"", given);
}

static void
read_array(Driver *driver, uint32 number)
{
	MemoryContext before = MemoryContextSwitchTo(driver->context);

	(void) DirectFunctionCall1(bench_array_get, Int32GetDatum(number));
	MemoryContextSwitchTo(before);
	MemoryContextReset(driver->context);
}

/* No key is as high as this. */
#define MISSING 90000000

static inline void
call(Driver *driver, What what, uint32 keys)
{
	bool found = true;

	switch (what)
	{
		case WHAT_GET:
			found = drive_get(driver, draw(&driver->random, keys));
			break;
		case WHAT_GET_HOT:
			found = drive_get(driver, 7);
			break;
		case WHAT_GET_MISSING:
			found = !drive_get(driver, MISSING + draw(&driver->random, keys));
			break;
		case WHAT_SET:
			drive_set(driver, draw(&driver->random, keys), NULL);
			break;
		case WHAT_ARRAY:
			read_array(driver, draw(&driver->random, keys));
			break;
	}
	/* A get that misses is faster than a hit, and no figure of one. */
	if (!found)
		elog(ERROR, "a key of the bench is %s",
			 what == WHAT_GET_MISSING ? "in the cache" : "not in the cache");
}

/*
 * bench_calls(what text, keys integer, value_bytes integer, calls integer, seed
 * integer) -> double precision: the seconds of the processor that one call took
 */
Datum
bench_calls(PG_FUNCTION_ARGS)
{
	What what = what_from_text(PG_GETARG_TEXT_PP(0));
	int keys = PG_GETARG_INT32(1);
	int calls = PG_GETARG_INT32(3);
	Driver *driver = make_driver(PG_GETARG_INT32(2), PG_GETARG_INT32(4));
	int64 began = processor_ns();

	for (int i = 0; i < calls; i++)
	{
		CHECK_FOR_INTERRUPTS();
		call(driver, what, keys);
	}
	PG_RETURN_FLOAT8((processor_ns() - began) / 1e9 / calls);
}

/*
 * bench_calls_until(what text, keys integer, value_bytes integer, seed integer,
 * from_time double precision, until_time double precision) -> bigint: how many calls
 * were made from one time to the other, in seconds of the clock that only goes forward
 */
Datum
bench_calls_until(PG_FUNCTION_ARGS)
{
	What what = what_from_text(PG_GETARG_TEXT_PP(0));
	int keys = PG_GETARG_INT32(1);
	Driver *driver = make_driver(PG_GETARG_INT32(2), PG_GETARG_INT32(3));
	int64 from = (int64) (PG_GETARG_FLOAT8(4) * 1e9);
	int64 until = (int64) (PG_GETARG_FLOAT8(5) * 1e9);
	int64 calls = 0;

	while (now_ns() < from)
		pg_usleep((from - now_ns()) / 1000 + 1);
	while (now_ns() < until)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < CALLS_AT_ONCE; i++)
			call(driver, what, keys);
		calls += CALLS_AT_ONCE;
	}
	PG_RETURN_INT64(calls);
}

/*
 * bench_fill(first integer, last integer, value_bytes integer, expire_at double
 * precision) -> double precision: set every key; all expire at one time of the clock
 * that only goes forward (0: never), or at once if that has passed.  The seconds of the
 * processor that one took.
 */
Datum
bench_fill(PG_FUNCTION_ARGS)
{
	int first = PG_GETARG_INT32(0);
	int last = PG_GETARG_INT32(1);
	Driver *driver = make_driver(PG_GETARG_INT32(2), 0);
	int64 expire_at = (int64) (PG_GETARG_FLOAT8(3) * 1e9);
	int64 began = processor_ns();

	for (int i = first; i <= last; i++)
	{
		Interval ttl = {0};

		CHECK_FOR_INTERRUPTS();
		if (expire_at != 0)
			ttl.time = Max((expire_at - now_ns()) / 1000, 1);
		drive_set(driver, i, expire_at != 0 ? &ttl : NULL);
	}
	PG_RETURN_FLOAT8((processor_ns() - began) / 1e9 / (last - first + 1));
}
