/*-------------------------------------------------------------------------
 *
 * record.c
 *	  The bytes of a record: a header and the key, each of whose columns is
 *	  a two-byte length and the value: as it stands in memory if it is passed
 *	  by reference; else its highest byte first and its sign turned, so that
 *	  the order of keys is that of the bytes.
 *
 * A column may change its type between write and read.  Reading checks the
 * lengths; a key that still passes and was meant otherwise touches a key
 * that nobody changed, which does no harm, and the change of the table has
 * queued a sweep.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/rel.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

static void
encode_by_value(char *to, Datum value, int size)
{
	uint64 bits = (uint64) value ^ (UINT64CONST(1) << (8 * size - 1));

	for (int i = size - 1; i >= 0; i--, bits >>= 8)
		to[i] = (char) (bits & 0xFF);
}

static Datum
decode_by_value(const char *from, int size)
{
	uint64 bits = 0;

	for (int i = 0; i < size; i++)
		bits = bits << 8 | (unsigned char) from[i];
	bits ^= UINT64CONST(1) << (8 * size - 1);

	switch (size)
	{
		case sizeof(char):
			return CharGetDatum((char) bits);
		case sizeof(int16):
			return Int16GetDatum((int16) bits);
		case sizeof(int32):
			return Int32GetDatum((int32) bits);
		default:
			return (Datum) bits;
	}
}

/* Appends a column at cursor; NULL if the value is too long for a key. */
static char *
encode_column(char *cursor, Form_pg_attribute column, Datum value)
{
	const char *data;
	Size size;
	uint16 length;
	struct varlena *text = NULL;

	if (column->attbyval)
	{
		size = column->attlen;
		encode_by_value(cursor + sizeof(length), value, size);
		data = NULL;
	}
	else if (column->attlen > 0)
	{
		size = column->attlen;
		data = DatumGetPointer(value);
	}
	else
	{
		text = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));
		size = VARSIZE_ANY_EXHDR(text);
		data = VARDATA_ANY(text);
	}

	if (size > CG_OUTBOX_MAX_COLUMN_BYTES)
		return NULL;

	length = size;
	memcpy(cursor, &length, sizeof(length));
	if (data)
		memcpy(cursor + sizeof(length), data, size);
	if (text && (Pointer) text != DatumGetPointer(value))
		pfree(text);
	return cursor + sizeof(length) + size;
}

/*
 * Writes the key columns' values into buffer, which has room for the longest
 * key; returns the size, 0 if a value is too long for any key.
 */
Size
cg_outbox_encode_key(char *buffer, TupleDesc desc, const AttrNumber *attnums, int count,
					 const Datum *values)
{
	char *cursor = buffer;

	for (int i = 0; i < count; i++)
	{
		cursor = encode_column(cursor, TupleDescAttr(desc, attnums[i] - 1), values[i]);
		if (!cursor)
			return 0;
	}
	return cursor - buffer;
}

/* The same from a row; 0 also if a column is NULL. */
Size
cg_outbox_encode_row_key(char *buffer, TupleTableSlot *row, const AttrNumber *attnums,
						 int count)
{
	Datum values[CG_OUTBOX_MAX_COLUMNS];

	Assert(count <= CG_OUTBOX_MAX_COLUMNS);
	for (int i = 0; i < count; i++)
	{
		bool is_null;

		values[i] = slot_getattr(row, attnums[i], &is_null);
		if (is_null)
			return 0;
	}
	return cg_outbox_encode_key(buffer, row->tts_tupleDescriptor, attnums, count, values);
}

/*
 * Reads the record at *cursor and moves on; false at the end of the row.
 * Raises an error if the bytes make no record.
 */
bool
cg_outbox_next_record(const char **cursor, const char *end, OutboxRecord *record)
{
	OutboxHeader header;

	if (*cursor >= end)
		return false;

	if (end - *cursor >= CG_OUTBOX_HEADER_BYTES)
	{
		memcpy(&header, *cursor, CG_OUTBOX_HEADER_BYTES);
		*cursor += CG_OUTBOX_HEADER_BYTES;
		if (end - *cursor >= header.key_size)
		{
			record->mirror = header.mirror;
			record->kind = header.kind;
			record->remove = header.remove;
			record->tid = header.tid;
			record->key_size = header.key_size;
			record->key = *cursor;
			*cursor += header.key_size;
			return true;
		}
	}
	ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("outbox holds an incomplete record"));
}

static Datum
decode_column(Form_pg_attribute column, const char *data, uint16 length)
{
	char *copy;

	if (column->attbyval)
		return decode_by_value(data, length);

	if (column->attlen > 0)
	{
		copy = palloc(length);
		memcpy(copy, data, length);
	}
	else
	{
		copy = palloc(VARHDRSZ + length);
		SET_VARSIZE(copy, VARHDRSZ + length);
		memcpy(VARDATA(copy), data, length);
	}
	return PointerGetDatum(copy);
}

/*
 * The values of a record's key, palloc'd where they are by reference.  False
 * if the columns are not those that the key was written with.
 */
bool
cg_outbox_decode_key(const OutboxRecord *record, TupleDesc desc,
					 const AttrNumber *attnums, int count, Datum *values)
{
	const char *cursor = record->key;
	const char *end = cursor + record->key_size;

	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, attnums[i] - 1);
		uint16 length;

		if (end - cursor < (ptrdiff_t) sizeof(length))
			return false;
		memcpy(&length, cursor, sizeof(length));
		cursor += sizeof(length);
		if (end - cursor < length || (column->attlen > 0 && column->attlen != length))
			return false;
		values[i] = decode_column(column, cursor, length);
		cursor += length;
	}
	return cursor == end;
}
