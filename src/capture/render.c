/*-------------------------------------------------------------------------
 *
 * render.c
 *	  From a row and a template to a key.
 *
 * Runs for every changed row of a watched table: no allocation, except to
 * decompress a short text, and no error, whatever is in the row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "capture/template.h"

#define NO_KEY (-1)

/* Longest text of an integer, uuid, boolean or date. */
#define MAX_PLAIN_BYTES MAXDATELEN

static int
write_uuid(const pg_uuid_t *uuid, char *out)
{
	static const char digits[] = "0123456789abcdef";
	char *next = out;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*next++ = '-';
		*next++ = digits[uuid->data[i] >> 4];
		*next++ = digits[uuid->data[i] & 0x0F];
	}
	return next - out;
}

static int
write_date(DateADT date, char *out)
{
	struct pg_tm tm;

	if (DATE_NOT_FINITE(date))
		EncodeSpecialDate(date, out);
	else
	{
		j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		EncodeDateOnly(&tm, USE_ISO_DATES, out);
	}
	return strlen(out);
}

static int
write_bytes(const char *data, int size, char *out, int room)
{
	if (size > room)
		return NO_KEY;
	memcpy(out, data, size);
	return size;
}

static int
write_text(struct varlena *value, char *out, int room)
{
	struct varlena *plain;
	int size;

	if (!VARATT_IS_EXTENDED(value) || VARATT_IS_SHORT(value))
		return write_bytes(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), out, room);

	if (toast_raw_datum_size(PointerGetDatum(value)) - VARHDRSZ > room)
		return NO_KEY;
	plain = detoast_attr(value);
	size = write_bytes(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain), out, room);
	pfree(plain);
	return size;
}

static int
write_enum(Oid value, char *out, int room)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	const char *label;
	int size;

	if (!HeapTupleIsValid(tuple))
		return NO_KEY;
	label = NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel);
	size = write_bytes(label, strlen(label), out, room);
	ReleaseSysCache(tuple);
	return size;
}

/* Types whose text has a bounded size; out holds MAX_PLAIN_BYTES. */
static int
write_plain(TemplateType type, Datum value, char *out)
{
	switch (type)
	{
		case TEMPLATE_INT2:
			return pg_itoa(DatumGetInt16(value), out);
		case TEMPLATE_INT4:
			return pg_ltoa(DatumGetInt32(value), out);
		case TEMPLATE_INT8:
			return pg_lltoa(DatumGetInt64(value), out);
		case TEMPLATE_UUID:
			return write_uuid(DatumGetUUIDP(value), out);
		case TEMPLATE_BOOL:
			strcpy(out, DatumGetBool(value) ? "true" : "false");
			return DatumGetBool(value) ? 4 : 5;
		case TEMPLATE_DATE:
			return write_date(DatumGetDateADT(value), out);
		default:
			elog(ERROR, "template type %d has no bounded text", type);
	}
}

/* Returns the bytes written, or NO_KEY if there is not enough room. */
static int
write_value(TemplateType type, Datum value, char *out, int room)
{
	char plain[MAX_PLAIN_BYTES];

	switch (type)
	{
		case TEMPLATE_TEXT:
			return write_text((struct varlena *) DatumGetPointer(value), out, room);
		case TEMPLATE_NAME:
			return write_bytes(NameStr(*DatumGetName(value)),
							   strlen(NameStr(*DatumGetName(value))), out, room);
		case TEMPLATE_ENUM:
			return write_enum(DatumGetObjectId(value), out, room);
		default:
			if (room >= MAX_PLAIN_BYTES)
				return write_plain(type, value, out);
			return write_bytes(plain, write_plain(type, value, plain), out, room);
	}
}

/* Appends the column's literal and value at *size; false: no key. */
static inline bool
append_column(const TemplateColumn *column, Datum value, char *buffer, int *size)
{
	int written;

	if (column->literal_size > CG_KEY_MAX_BYTES - *size)
		return false;
	memcpy(buffer + *size, column->literal, column->literal_size);
	*size += column->literal_size;

	written = write_value(column->type, value, buffer + *size, CG_KEY_MAX_BYTES - *size);
	if (written == NO_KEY)
		return false;
	*size += written;
	return true;
}

/* The whole size, 0 if it is too much. */
static inline int
append_tail(const CaptureTemplate *template, char *buffer, int size)
{
	if (template->tail_size > CG_KEY_MAX_BYTES - size)
		return 0;
	memcpy(buffer + size, template->tail, template->tail_size);
	return size + template->tail_size;
}

int
cg_capture_render_row(const CaptureTemplate *template, TupleTableSlot *row, char *buffer)
{
	int size = 0;

	for (int i = 0; i < template->column_count; i++)
	{
		const TemplateColumn *column = &template->columns[i];
		bool isnull;
		Datum value = slot_getattr(row, column->attnum, &isnull);

		if (isnull || !append_column(column, value, buffer, &size))
			return 0;
	}
	return append_tail(template, buffer, size);
}

int
cg_capture_render_values(const CaptureTemplate *template, const Datum *values,
						 const bool *nulls, char *buffer)
{
	int size = 0;

	for (int i = 0; i < template->column_count; i++)
	{
		const TemplateColumn *column = &template->columns[i];
		int element = column->attnum - 1;

		if (nulls[element] || !append_column(column, values[element], buffer, &size))
			return 0;
	}
	return append_tail(template, buffer, size);
}
