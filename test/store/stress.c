/*-------------------------------------------------------------------------
 *
 * stress.c
 *	  Calls the SQL functions of the server's own library, as many as it can, and
 *	  checks all that they return.
 *
 * Values say whether they are whole and of their key.  Each session has keys that
 * it alone writes, with a number that rises: whoever reads one gets nothing, or at
 * least the number that was known to be written before he asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "probe.h"

PG_FUNCTION_INFO_V1(probe_stress);
PG_FUNCTION_INFO_V1(probe_stress_counts);
PG_FUNCTION_INFO_V1(probe_check);
PG_FUNCTION_INFO_V1(probe_value);

#define SESSIONS	   64
#define KEYS		   200000
#define HOT_KEYS	   3000
#define HOT_LARGE_KEYS 4
#define FIXED_KEYS	   50
#define MGET_KEYS	   40
#define MOOD_SECONDS   3
#define KEY_LENGTH	   40

#define LIVES_AT_MOST_US INT64CONST(3600000000)

/* What all sessions share.  The numbers of the rising keys: of caches at_once, later. */
typedef struct Shared
{
	pg_atomic_uint64 calls;
	pg_atomic_uint64 reads;				   /* keys asked for, by get and mget */
	pg_atomic_uint64 hits;				   /* ... and found whole */
	pg_atomic_uint64 bytes;				   /* of the values found */
	pg_atomic_uint64 begun[2][SESSIONS];   /* no higher number was ever written */
	pg_atomic_uint64 written[2][SESSIONS]; /* no lower one is right */
} Shared;

static Shared *shared = NULL;
static Random state;

/* The functions that are called. */
typedef enum Function
{
	GET,
	MGET,
	SET,
	ADD,
	REPLACE,
	DELETE,
	EXPIRE,
	TTL,
	INCR,
	FUNCTIONS
} Function;

static const char *const signatures[FUNCTIONS] = {
	"cachegrid.get(text)",
	"cachegrid.mget(text[])",
	"cachegrid.set(text,text,interval,text[])",
	"cachegrid.add(text,text,interval,text[])",
	"cachegrid.replace(text,text,interval,text[])",
	"cachegrid.delete(text[])",
	"cachegrid.expire(text,interval)",
	"cachegrid.ttl(text)",
	"cachegrid.incr(text,bigint,interval)"};

static FmgrInfo functions[FUNCTIONS];

/* So that the function can ask for the types of its arguments. */
static Node *
call_expression(Oid function)
{
	List *arguments = NIL;
	Oid *types;
	int count;
	Oid result = get_func_signature(function, &types, &count);

	for (int i = 0; i < count; i++)
		arguments = lappend(arguments, makeNullConst(types[i], -1, InvalidOid));
	return (Node *) makeFuncExpr(function, result, arguments, InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

static void
prepare(int session)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	bool found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("cachegrid probe", sizeof(Shared), &found);
	if (!found)
		memset(shared, 0, sizeof(*shared));
	LWLockRelease(AddinShmemInitLock);
	for (int i = 0; i < FUNCTIONS; i++)
	{
		Oid function = DatumGetObjectId(
			DirectFunctionCall1(regprocedurein, CStringGetDatum(signatures[i])));

		fmgr_info(function, &functions[i]);
		fmgr_info_set_expr(call_expression(function), &functions[i]);
	}
	state.state = GetCurrentTimestamp() + session;
	MemoryContextSwitchTo(caller);
}

/* Arguments that are 0 are NULL, but for the first. */
static Datum
call(Function function, Datum first, Datum second, Datum third, bool *is_null)
{
	LOCAL_FCINFO(fcinfo, 4);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &functions[function], 4, InvalidOid, NULL, NULL);
	fcinfo->nargs = functions[function].fn_nargs;
	fcinfo->args[0].value = first;
	fcinfo->args[1].value = second;
	fcinfo->args[2].value = third;
	fcinfo->args[3].value = 0;
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = i > 0 && fcinfo->args[i].value == 0;
	result = FunctionCallInvoke(fcinfo);
	if (is_null)
		*is_null = fcinfo->isnull;
	pg_atomic_fetch_add_u64(&shared->calls, 1);
	return result;
}

static uint64
below(uint64 limit)
{
	return probe_below(&state, limit);
}

static Datum
key_datum(const char *key)
{
	return PointerGetDatum(cstring_to_text(key));
}

/* Of one of the caches of setup.sql, or of one that is none. */
static const char *
some_key(char *key)
{
	static const char *const caches[] = {"at_once", "at_once", "at_once", "later",
										 "gone",	"nowhere", "narrow",  "kept",
										 "fixed",	"varied",  "squeezed"};
	const char *cache = caches[below(lengthof(caches))];

	/* What nobody may throw out must not be everything. */
	snprintf(key, KEY_LENGTH, "%s:%d", cache,
			 (int) below(strcmp(cache, "fixed") == 0 ? FIXED_KEYS
						 : below(4)					 ? HOT_KEYS
													 : KEYS));
	return key;
}

static bool
is_transactional(const char *key)
{
	return strncmp(key, "later:", 6) == 0 || strncmp(key, "squeezed:", 9) == 0;
}

static int
mood(void)
{
	return GetCurrentTimestamp() / (MOOD_SECONDS * USECS_PER_SEC) % 4;
}

static Datum
make_value(const char *key, uint32 seed, Size size)
{
	text *value = palloc(VARHDRSZ + size);

	SET_VARSIZE(value, VARHDRSZ + size);
	probe_value_write(VARDATA(value), size, key, strlen(key), seed);
	return PointerGetDatum(value);
}

static Datum
some_value(const char *key)
{
	return make_value(key, below(0x10000), probe_value_size(&state, mood()));
}

static void
check(const char *key, Datum datum)
{
	const text *value = DatumGetTextPP(datum);
	Size size = VARSIZE_ANY_EXHDR(value);

	if (!probe_value_check(VARDATA_ANY(value), size, key, strlen(key)))
		elog(ERROR, "torn: the value of key \"%s\", %zu bytes, is not whole: \"%.*s\"",
			 key, size, (int) Min(size, 100), VARDATA_ANY(value));
	pg_atomic_fetch_add_u64(&shared->hits, 1);
	pg_atomic_fetch_add_u64(&shared->bytes, size);
}

static void
do_get(const char *key)
{
	bool is_null;
	Datum value = call(GET, key_datum(key), 0, 0, &is_null);

	pg_atomic_fetch_add_u64(&shared->reads, 1);
	if (!is_null)
		check(key, value);
}

static void
do_mget(void)
{
	char(*keys)[KEY_LENGTH] = palloc(MGET_KEYS * KEY_LENGTH);
	Datum *names = palloc(MGET_KEYS * sizeof(Datum));
	Datum *values;
	bool *nulls;
	int count;

	for (int i = 0; i < MGET_KEYS; i++)
		names[i] = key_datum(some_key(keys[i]));
	deconstruct_array(
		DatumGetArrayTypeP(call(MGET,
								PointerGetDatum(construct_array(names, MGET_KEYS, TEXTOID,
																-1, false, TYPALIGN_INT)),
								0, 0, NULL)),
		TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	if (count != MGET_KEYS)
		elog(ERROR, "mget returns %d values for %d keys", count, MGET_KEYS);
	pg_atomic_fetch_add_u64(&shared->reads, count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			check(keys[i], values[i]);
}

static Datum
some_interval(void)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = below(2) ? below(20000) + 1 : LIVES_AT_MOST_US;
	return IntervalPGetDatum(interval);
}

/* Whatever it was shortened to, it is none that nobody gave; in a cache with one it is one. */
static void
do_ttl(const char *key)
{
	bool is_null;
	Datum datum = call(TTL, key_datum(key), 0, 0, &is_null);
	const Interval *ttl = is_null ? NULL : DatumGetIntervalP(datum);

	if (is_null || (ttl->month == PG_INT32_MAX && strncmp(key, "squeezed:", 9) != 0))
		return;
	if (ttl->month != 0 || ttl->day != 0 || ttl->time <= 0 ||
		ttl->time > LIVES_AT_MOST_US)
		elog(ERROR, "key \"%s\" has " INT64_FORMAT " microseconds to live", key,
			 ttl->time);
}

/* A set, and what this transaction reads then: itself, if the cache is transactional. */
static void
do_set(const char *key)
{
	uint32 seed = below(0x10000);
	Datum value = make_value(key, seed, probe_value_size(&state, mood()));
	bool is_null;

	call(SET, key_datum(key), value, below(4) ? 0 : some_interval(), NULL);
	if (!is_transactional(key) || below(4))
		return;
	call(SET, key_datum(key), value, 0, NULL);
	value = call(GET, key_datum(key), 0, 0, &is_null);
	pg_atomic_fetch_add_u64(&shared->reads, 1);
	if (is_null)
		elog(ERROR, "key \"%s\" was set by this transaction, and is not there", key);
	check(key, value);
	if (probe_value_seed(VARDATA_ANY(DatumGetTextPP(value))) != seed)
		elog(ERROR, "key \"%s\" was set by this transaction to something else", key);
}

static void
do_delete(const char *key)
{
	Datum name = key_datum(key);

	call(DELETE,
		 PointerGetDatum(construct_array(&name, 1, TEXTOID, -1, false, TYPALIGN_INT)), 0,
		 0, NULL);
}

static const char *
rising_key(char *key, int later, int session)
{
	snprintf(key, KEY_LENGTH, "%s:rising%d", later ? "later" : "at_once", session);
	return key;
}

/*
 * Write a number higher than all before, in a value of some size.  That of an
 * immediate cache is there at once; the other is known to be there when the
 * session is called again.
 */
static void
write_rising(int session)
{
	int later = below(2);
	uint64 number = pg_atomic_add_fetch_u64(&shared->begun[later][session], 1);
	char head[32];
	char key[KEY_LENGTH];
	Size size = 20 + below(below(50) ? 300 : 30000);
	text *value = palloc(VARHDRSZ + size);

	snprintf(head, sizeof(head), UINT64_FORMAT, number);
	memset(VARDATA(value), ' ', size);
	memcpy(VARDATA(value), head, strlen(head));
	SET_VARSIZE(value, VARHDRSZ + size);
	call(SET, key_datum(rising_key(key, later, session)), PointerGetDatum(value), 0,
		 NULL);
	if (!later)
		pg_atomic_write_u64(&shared->written[0][session], number);
}

static void
read_rising(void)
{
	int later = below(2);
	int session = below(SESSIONS);
	uint64 least = pg_atomic_read_u64(&shared->written[later][session]);
	uint64 most;
	uint64 number;
	char key[KEY_LENGTH];
	bool is_null;
	Datum value;

	if (pg_atomic_read_u64(&shared->begun[later][session]) == 0)
		session = 0;
	least = pg_atomic_read_u64(&shared->written[later][session]);
	pg_memory_barrier();
	value = call(GET, key_datum(rising_key(key, later, session)), 0, 0, &is_null);
	pg_memory_barrier();
	most = pg_atomic_read_u64(&shared->begun[later][session]);
	pg_atomic_fetch_add_u64(&shared->reads, 1);
	if (is_null)
		return;
	number = strtoull(text_to_cstring(DatumGetTextPP(value)), NULL, 10);
	if (number < least || number > most)
		elog(ERROR,
			 "key \"%s\" has number " UINT64_FORMAT ", not one from " UINT64_FORMAT
			 " to " UINT64_FORMAT,
			 key, number, least, most);
	pg_atomic_fetch_add_u64(&shared->hits, 1);
}

/* A few large values, written and read all the time: copies take long. */
static void
do_hot(char *key)
{
	snprintf(key, KEY_LENGTH, "at_once:hot%d", (int) below(HOT_LARGE_KEYS));
	if (below(3))
		do_get(key);
	else
		call(SET, key_datum(key), make_value(key, below(0x10000), 50000 + below(200000)),
			 0, NULL);
}

static void
do_something(int session)
{
	char key[KEY_LENGTH];
	int dice = below(1000);

	some_key(key);
	if (dice < 10)
		do_hot(key);
	else if (dice < 700)
		do_get(key);
	else if (dice < 820)
		do_set(key);
	else if (dice < 830)
		call(ADD, key_datum(key), some_value(key), 0, NULL);
	else if (dice < 840)
		call(REPLACE, key_datum(key), some_value(key), 0, NULL);
	else if (dice < 855)
		do_delete(key);
	else if (dice < 860)
		do_ttl(key);
	else if (dice < 880)
		call(EXPIRE, key_datum(key), some_interval(), 0, NULL);
	else if (dice < 890)
		do_mget();
	else if (dice < 900)
		call(INCR, key_datum(below(2) ? "at_once:count" : "nowhere:count"),
			 Int64GetDatum(1), 0, NULL);
	else if (dice < 930)
		write_rising(session);
	else
		read_rising();
}

/*
 * probe_stress(session integer, operations integer) -> void
 *
 * Each session has a number of its own, from 0, and calls this over and over, each
 * time in a transaction of its own.
 */
Datum
probe_stress(PG_FUNCTION_ARGS)
{
	int session = PG_GETARG_INT32(0);
	MemoryContext once;
	MemoryContext outer;

	if (session < 0 || session >= SESSIONS)
		elog(ERROR, "there are sessions from 0 to %d", SESSIONS - 1);
	if (shared == NULL)
		prepare(session);
	/* The transaction before has been committed. */
	pg_atomic_write_u64(&shared->written[1][session],
						pg_atomic_read_u64(&shared->begun[1][session]));
	once = AllocSetContextCreate(CurrentMemoryContext, "probe operation",
								 ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(once);
	for (int i = 0; i < PG_GETARG_INT32(1); i++)
	{
		do_something(session);
		MemoryContextReset(once);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(once);
	PG_RETURN_VOID();
}

/* probe_stress_counts() -> bigint[]: calls, keys read, hits, bytes of the hits */
Datum
probe_stress_counts(PG_FUNCTION_ARGS)
{
	pg_atomic_uint64 *counts[4];
	Datum numbers[lengthof(counts)];

	if (shared == NULL)
		prepare(0);
	counts[0] = &shared->calls;
	counts[1] = &shared->reads;
	counts[2] = &shared->hits;
	counts[3] = &shared->bytes;
	for (int i = 0; i < lengthof(counts); i++)
		numbers[i] = Int64GetDatum(pg_atomic_read_u64(counts[i]));
	PG_RETURN_ARRAYTYPE_P(construct_array(numbers, lengthof(counts), INT8OID,
										  sizeof(int64), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}

/* probe_value(key text, size integer) -> text: one that can be checked */
Datum
probe_value(PG_FUNCTION_ARGS)
{
	const char *key = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_DATUM(make_value(key, below(0x10000), PG_GETARG_INT32(1)));
}

/* probe_check(key text, value text) -> boolean */
Datum
probe_check(PG_FUNCTION_ARGS)
{
	const text *key = PG_GETARG_TEXT_PP(0);
	const text *value = PG_GETARG_TEXT_PP(1);

	PG_RETURN_BOOL(probe_value_check(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
									 VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
}
