/*-------------------------------------------------------------------------
 *
 * result.c
 *	  From the rows that a query gives to values.
 *
 * A value is of one type whatever the data: no row is SQL NULL, one row with one column
 * is that column's value, one row with several is an object; more rows are an
 * error.  Columns that say something about the value are not part of it: the key that it
 * is of, and how long it may live.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"

#include "load/running.h"

#define KEY_COLUMN "key"

/* What the columns of a result are, by their numbers from 1. */
typedef struct Columns
{
	TupleDesc desc;
	int key;	 /* the key, or its place; 0: there is none */
	int ttl;	 /* 0: there is none */
	int *values; /* the others */
	int value_count;
	TupleDesc value_desc; /* of the others, if there are several */
} Columns;

static void
refuse_result(const char *message, const char *detail, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("%s", message),
			errdetail("%s", detail), errhint("%s", hint));
}

/* The first column of this name behind another one, 0 if there is none. */
static int
find_column(TupleDesc desc, const char *name, int behind)
{
	for (int i = behind; i < desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i + 1;
	return 0;
}

static int
find_ttl(TupleDesc desc, const char *name, int behind)
{
	int column = find_column(desc, name, behind);

	if (column == 0)
		refuse_result(psprintf("loader gives no column \"%s\"", name),
					  "Its cache says that this column is the time to live of the value.",
					  "Add the column, or change the cache's \"ttl_column\".");
	if (TupleDescAttr(desc, column - 1)->atttypid != INTERVALOID)
		refuse_result(psprintf("column \"%s\" has type %s, not interval", name,
							   format_type_be(TupleDescAttr(desc, column - 1)->atttypid)),
					  "Its cache says that this column is the time to live of the value.",
					  "Cast it, or change the cache's \"ttl_column\".");
	return column;
}

/* key is the number of that column, 0 for none. */
static void
init_columns(Columns *columns, const Load *load, int key)
{
	const LoadRequest *request = load->request;
	/* A place stands before the loader's own columns, whatever they are called. */
	int behind = request->takes == LOADER_TAKES_KEYS ? 0 : key;

	memset(columns, 0, sizeof(*columns));
	columns->desc = SPI_tuptable->tupdesc;
	columns->key = key;
	if (request->ttl_column)
		columns->ttl = find_ttl(columns->desc, request->ttl_column, behind);
	columns->values = palloc_array(int, columns->desc->natts + 1);
	for (int i = 1; i <= columns->desc->natts; i++)
		if (i != columns->key && i != columns->ttl)
			columns->values[columns->value_count++] = i;
	if (columns->value_count == 0 && columns->desc->natts > behind)
		refuse_result("loader gives no value",
					  "Its result has no columns but those that are not part of it.",
					  "Add the columns of the value.");
	if (columns->value_count == 1)
		return;
	columns->value_desc = CreateTemplateTupleDesc(columns->value_count);
	for (int i = 0; i < columns->value_count; i++)
		TupleDescCopyEntry(columns->value_desc, i + 1, columns->desc, columns->values[i]);
	columns->value_desc = BlessTupleDesc(columns->value_desc);
}

/* Several columns, as an object. */
static Datum
make_object(const Columns *columns, HeapTuple row)
{
	Datum *values = palloc_array(Datum, columns->value_count + 1);
	bool *nulls = palloc_array(bool, columns->value_count + 1);

	for (int i = 0; i < columns->value_count; i++)
		values[i] = heap_getattr(row, columns->values[i], columns->desc, &nulls[i]);
	return cg_load_to_jsonb(
		HeapTupleGetDatum(heap_form_tuple(columns->value_desc, values, nulls)),
		RECORDOID);
}

static CacheValue
make_value(const Columns *columns, HeapTuple row, Oid row_type)
{
	CacheValue value = {JSONBOID, (Datum) 0};
	bool isnull = false;
	Oid type;

	if (columns->value_count != 1)
	{
		value.datum = make_object(columns, row);
		return value;
	}
	type = TupleDescAttr(columns->desc, columns->values[0] - 1)->atttypid;
	value.datum = heap_getattr(row, columns->values[0], columns->desc, &isnull);
	if (isnull)
		value.type = InvalidOid;
	else if (!OidIsValid(row_type))
		value.datum = cg_load_to_jsonb(value.datum, type);
	else
	{
		Assert(type == row_type);
		value.type = type;
		value.datum = datumCopy(value.datum, false, -1);
	}
	return value;
}

/* The time to live that the row gives bounds the one that the cache gives. */
static void
bound_ttl(Load *load, const Columns *columns, HeapTuple row)
{
	bool isnull;
	Datum ttl;

	if (columns->ttl == 0)
		return;
	ttl = heap_getattr(row, columns->ttl, columns->desc, &isnull);
	if (!isnull)
		load->ttl = Min(load->ttl, cg_cache_ttl_computed(DatumGetIntervalP(ttl)));
}

static void
refuse_several_rows(const CacheKey *key)
{
	ereport(ERROR, errcode(ERRCODE_CARDINALITY_VIOLATION),
			errmsg("query to be cached returned more than one row"),
			errdetail("The key \"%.*s\" has one value.", key->size, key->data),
			errhint("Aggregate the rows, for example with jsonb_agg()."));
}

/* given: has the load been given one already? */
static void
read_row(Load *load, const Columns *columns, HeapTuple row, bool *given,
		 MemoryContext context)
{
	MemoryContext old_context;

	if (*given)
		refuse_several_rows(&load->request->key);
	*given = true;
	old_context = MemoryContextSwitchTo(context);
	load->value = make_value(columns, row, load->request->row_type);
	MemoryContextSwitchTo(old_context);
	bound_ttl(load, columns, row);
}

/* One key's. */
void
cg_load_result_read(Load *load, MemoryContext context)
{
	Columns columns;
	bool given = false;

	init_columns(&columns, load, 0);
	load->value = (CacheValue){InvalidOid, (Datum) 0};
	for (uint64 i = 0; i < SPI_processed; i++)
		read_row(load, &columns, SPI_tuptable->vals[i], &given, context);
}

/* Of cg_load_many_text(): the first column is the load's place. */
void
cg_load_result_read_places(Load **loads, int count, MemoryContext context)
{
	bool *given = palloc0_array(bool, count);
	Columns columns;

	init_columns(&columns, loads[0], 1);
	for (int i = 0; i < count; i++)
		loads[i]->value = (CacheValue){InvalidOid, (Datum) 0};
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		bool isnull;
		int64 place = DatumGetInt64(heap_getattr(row, 1, columns.desc, &isnull));

		Assert(!isnull && place >= 0 && place < count);
		read_row(loads[place], &columns, row, &given[place], context);
	}
}

static int
compare_to_load(const void *a, const void *b)
{
	const CacheKey *key = a;

	return cg_key_compare(key, &(*(Load *const *) b)->request->key);
}

static Load **
find_load(Load **loads, int count, Datum name)
{
	text *bytes = DatumGetTextPP(name);
	CacheKey key;

	if (!cg_key_init(&key, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)))
		return NULL;
	return bsearch(&key, loads, count, sizeof(Load *), compare_to_load);
}

static void
refuse_key(Datum key, bool isnull)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("loader gave a value for a key that it was not asked for"),
			isnull ? errdetail("The key is null.")
				   : errdetail("The key is \"%s\".", TextDatumGetCString(key)),
			errhint("Have column \"%s\" be an element of $1, as it stands there.",
					KEY_COLUMN));
}

/* Of a loader that takes many keys: the rows name them.  Sorted by them are the loads. */
void
cg_load_result_read_keys(Load **loads, int count, MemoryContext context)
{
	TupleDesc desc = SPI_tuptable->tupdesc;
	bool *given = palloc0_array(bool, count);
	int key = find_column(desc, KEY_COLUMN, 0);
	Columns columns;

	if (key == 0 || TupleDescAttr(desc, key - 1)->atttypid != TEXTOID)
		refuse_result(psprintf("loader gives no column \"%s\" of type text", KEY_COLUMN),
					  "It takes many keys, and has to say which one a row is of.",
					  "Add the column, or cast it.");
	init_columns(&columns, loads[0], key);
	for (int i = 0; i < count; i++)
		loads[i]->value = (CacheValue){InvalidOid, (Datum) 0};
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		bool isnull;
		Datum name = heap_getattr(row, key, desc, &isnull);
		Load **load = isnull ? NULL : find_load(loads, count, name);

		if (!load)
			refuse_key(name, isnull);
		else
			read_row(*load, &columns, row, &given[load - loads], context);
	}
}
