/*-------------------------------------------------------------------------
 *
 * drive.c
 *	  Calls cachegrid over and over inside one session.
 *
 *-------------------------------------------------------------------------
 */
#include "inside.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

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
