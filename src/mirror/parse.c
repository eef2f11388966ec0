/*-------------------------------------------------------------------------
 *
 * parse.c
 *	  From a key that was found in Redis back to the columns' values.
 *
 * The template was checked to have at most one reading of a key: between two
 * columns stands a byte that only one column, at most, may hold itself.  So
 * the columns before that one are read from the left and those behind it
 * from the right, each up to the next literal.  What was read is rendered
 * again: only if that gives the same bytes may a row have this key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_enum.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

/* Longest text of one column that is read here, with its terminator. */
#define TEXT_BYTES (CG_KEY_MAX_BYTES + 1)

static bool
parse_integer(const char *text, int64 min, int64 max, int64 *value)
{
	char *end;

	errno = 0;
	*value = strtoi64(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *value >= min && *value <= max;
}

static bool
parse_uuid(const char *text, Datum *value)
{
	if (strlen(text) != 36 || strspn(text, "0123456789abcdef-") != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if ((text[i] == '-') != hyphen)
			return false;
	}
	*value = DirectFunctionCall1(uuid_in, CStringGetDatum(text));
	return true;
}

/* Any three numbers will do: what is no date does not render to itself. */
static bool
parse_date(const char *text, Datum *value)
{
	DateADT date;
	int year;
	int month;
	int day;
	int used = 0;

	if (strcmp(text, "infinity") == 0)
		DATE_NOEND(date);
	else if (strcmp(text, "-infinity") == 0)
		DATE_NOBEGIN(date);
	else
	{
		if (sscanf(text, "%7d-%2d-%2d%n", &year, &month, &day, &used) != 3 || year < 1 ||
			month < 1 || month > 12 || day < 1 || day > 31)
			return false;
		if (strcmp(text + used, " BC") == 0)
			year = 1 - year;
		else if (text[used] != '\0')
			return false;
		if (!IS_VALID_JULIAN(year, month, day))
			return false;
		date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	}
	*value = DateADTGetDatum(date);
	return true;
}

static bool
parse_enum(const char *text, Oid type, Datum *value)
{
	HeapTuple tuple;

	if (strlen(text) >= NAMEDATALEN)
		return false;
	tuple =
		SearchSysCache2(ENUMTYPOIDNAME, ObjectIdGetDatum(type), CStringGetDatum(text));
	if (!HeapTupleIsValid(tuple))
		return false;
	*value = ObjectIdGetDatum(((Form_pg_enum) GETSTRUCT(tuple))->oid);
	ReleaseSysCache(tuple);
	return true;
}

static bool
parse_name(const char *text, Datum *value)
{
	Name name = palloc0(sizeof(NameData));

	if (strlen(text) >= NAMEDATALEN)
		return false;
	strcpy(NameStr(*name), text);
	*value = NameGetDatum(name);
	return true;
}

/* The value of this text, palloc'd if by reference; false if it is none. */
static bool
parse_value(TemplateType type, Oid column_type, const char *text, Datum *value)
{
	int64 integer;

	switch (type)
	{
		case TEMPLATE_INT2:
			if (!parse_integer(text, PG_INT16_MIN, PG_INT16_MAX, &integer))
				return false;
			*value = Int16GetDatum((int16) integer);
			return true;
		case TEMPLATE_INT4:
			if (!parse_integer(text, PG_INT32_MIN, PG_INT32_MAX, &integer))
				return false;
			*value = Int32GetDatum((int32) integer);
			return true;
		case TEMPLATE_INT8:
			if (!parse_integer(text, PG_INT64_MIN, PG_INT64_MAX, &integer))
				return false;
			*value = Int64GetDatum(integer);
			return true;
		case TEMPLATE_UUID:
			return parse_uuid(text, value);
		case TEMPLATE_TEXT:
			*value = CStringGetTextDatum(text);
			return pg_verifymbstr(text, strlen(text), true);
		case TEMPLATE_NAME:
			return parse_name(text, value);
		case TEMPLATE_BOOL:
			*value = BoolGetDatum(strcmp(text, "true") == 0);
			return true;
		case TEMPLATE_DATE:
			return parse_date(text, value);
		case TEMPLATE_ENUM:
			return parse_enum(text, column_type, value);
	}
	return false;
}

/* May this column's text hold what separates two columns? */
static bool
is_free(TemplateType type)
{
	return type == TEMPLATE_TEXT || type == TEMPLATE_NAME || type == TEMPLATE_ENUM;
}

static const char *
find_literal(const char *data, const char *end, const char *literal, int size)
{
	for (; end - data >= size; data++)
	{
		if (memcmp(data, literal, size) == 0)
			return data;
	}
	return NULL;
}

static const char *
find_last_literal(const char *data, const char *end, const char *literal, int size)
{
	for (; end - data >= size; end--)
	{
		if (memcmp(end - size, literal, size) == 0)
			return end - size;
	}
	return NULL;
}

/* Cut the key into the columns' texts: starts and ends, one for each column. */
static bool
cut_key(const CaptureTemplate *template, const char *key, Size size, const char **starts,
		const char **ends)
{
	const TemplateColumn *columns = template->columns;
	const char *start = key;
	const char *end = key + size;
	int first = 0;
	int last = template->column_count - 1;

	if (last < 0 || size < columns[0].literal_size + template->tail_size ||
		memcmp(key, columns[0].literal, columns[0].literal_size) != 0 ||
		memcmp(end - template->tail_size, template->tail, template->tail_size) != 0)
		return false;
	start += columns[0].literal_size;
	end -= template->tail_size;

	for (; first < last && !is_free(columns[first].type); first++)
	{
		const TemplateColumn *next = &columns[first + 1];

		starts[first] = start;
		ends[first] = find_literal(start, end, next->literal, next->literal_size);
		if (!ends[first])
			return false;
		start = ends[first] + next->literal_size;
	}
	for (; last > first; last--)
	{
		const TemplateColumn *column = &columns[last];
		const char *literal =
			find_last_literal(start, end, column->literal, column->literal_size);

		if (!literal)
			return false;
		starts[last] = literal + column->literal_size;
		ends[last] = end;
		end = literal;
	}
	starts[first] = start;
	ends[first] = end;
	return true;
}

/* The values by attribute number; false if a text is no value of its column. */
static bool
parse_values(MirrorTable *table, const char *key, Size size, Datum *values, bool *nulls)
{
	const CaptureTemplate *template = table->keys.template;
	const char *starts[CG_TEMPLATE_MAX_COLUMNS];
	const char *ends[CG_TEMPLATE_MAX_COLUMNS];
	char text[TEXT_BYTES];

	if (!cut_key(template, key, size, starts, ends))
		return false;

	for (int i = 0; i < template->column_count; i++)
	{
		const TemplateColumn *column = &template->columns[i];
		Form_pg_attribute attribute =
			TupleDescAttr(RelationGetDescr(table->relation), column->attnum - 1);
		Size length = ends[i] - starts[i];

		if (memchr(starts[i], '\0', length))
			return false;
		memcpy(text, starts[i], length);
		text[length] = '\0';
		if (!parse_value(column->type, attribute->atttypid, text,
						 &values[column->attnum - 1]))
			return false;
		nulls[column->attnum - 1] = false;
	}
	return true;
}

/*
 * Write the key columns' values, as in a record, into buffer, which holds
 * CG_OUTBOX_MAX_KEY_BYTES; returns their size, 0 if no row can have this key.
 */
Size
cg_mirror_parse_key(MirrorTable *table, const char *key, Size size, char *buffer)
{
	TupleDesc desc = RelationGetDescr(table->relation);
	Datum *values = palloc0(desc->natts * sizeof(Datum));
	bool *nulls = palloc(desc->natts * sizeof(bool));
	char rendered[CG_KEY_MAX_BYTES];
	Datum columns[CG_OUTBOX_MAX_COLUMNS];

	memset(nulls, true, desc->natts * sizeof(bool));
	if (size > CG_KEY_MAX_BYTES || !parse_values(table, key, size, values, nulls) ||
		cg_capture_render_values(table->keys.template, values, nulls, rendered) !=
			(int) size ||
		memcmp(rendered, key, size) != 0)
		return 0;

	for (int i = 0; i < table->keys.count; i++)
		columns[i] = values[table->keys.attnums[i] - 1];
	return cg_outbox_encode_key(buffer, desc, table->keys.attnums, table->keys.count,
								columns);
}
