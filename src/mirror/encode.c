/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  A row as Redis is to have it, in a session with the settings that
 *	  cg_mirror_catalog_begin() pins.
 *
 * As JSON: byte for byte what row_to_json(row)::text gives.  As a hash: a field
 * for each column that is not NULL, whose value is what stands in that JSON,
 * without quotes where it is a string.  By a function of the user's: the text
 * of what it makes of the row; NULL is as if there were no row.
 *
 * The common types are written here, with their output functions looked up
 * once; all others (arrays, composites, ranges, types with a cast to json)
 * go through to_json().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* How a column is written. */
typedef enum ColumnForm
{
	FORM_BOOL,
	FORM_INT2,
	FORM_INT4,
	FORM_INT8,
	FORM_NUMBER, /* output function; quoted if it is NaN or infinite */
	FORM_TIME,	 /* date and timestamps */
	FORM_TEXT,	 /* text and varchar */
	FORM_RAW,	 /* json and jsonb: output function, as it is */
	FORM_QUOTED, /* output function, quoted */
	FORM_TO_JSON
} ColumnForm;

typedef struct ColumnEncoder
{
	AttrNumber attnum;
	char *label; /* hash: the name; else as JSON, with what is around it: ,"name": */
	int label_size;
	ColumnForm form;
	Oid type; /* without its domain */
	FmgrInfo output;
} ColumnEncoder;

struct RowEncoder
{
	MirrorFormat format;
	RowTransform *transform; /* NULL: none */
	int column_count;
	AttrNumber last_attnum;
	ColumnEncoder columns[FLEXIBLE_ARRAY_MEMBER];
};

static ColumnForm
choose_form(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return FORM_BOOL;
		case INT2OID:
			return FORM_INT2;
		case INT4OID:
			return FORM_INT4;
		case INT8OID:
			return FORM_INT8;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return FORM_NUMBER;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return FORM_TIME;
		case TEXTOID:
		case VARCHAROID:
			return FORM_TEXT;
		case JSONOID:
		case JSONBOID:
			return FORM_RAW;
		case BPCHAROID:
		case UUIDOID:
		case NAMEOID:
		case BYTEAOID:
		case INTERVALOID:
		case TIMEOID:
		case INETOID:
		case CIDROID:
			return FORM_QUOTED;
		default:
			return FORM_TO_JSON;
	}
}

/* to_json() asks its call expression for the argument's type. */
static void
prepare_to_json(ColumnEncoder *column)
{
	Const *argument = makeNullConst(column->type, -1, InvalidOid);
	FuncExpr *call = makeFuncExpr(F_TO_JSON, JSONOID, list_make1(argument), InvalidOid,
								  InvalidOid, COERCE_EXPLICIT_CALL);

	fmgr_info(F_TO_JSON, &column->output);
	fmgr_info_set_expr((Node *) call, &column->output);
}

/* A virtual column has no value in the row that is read. */
static void
check_column(Relation relation, Form_pg_attribute attribute)
{
	if (attribute->attgenerated != '\0' &&
		attribute->attgenerated != ATTRIBUTE_GENERATED_STORED)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot mirror virtual generated column \"%s\" of table \"%s\"",
					   NameStr(attribute->attname), RelationGetRelationName(relation)),
				errdetail("It has no value in the row that is read."),
				errhint("Pass \"columns\" without it, or make it STORED."));
}

/* Is a value of the type a string in JSON?  For types that are left to to_json(). */
static bool
is_json_string(Oid type)
{
	Oid cast;

	if (OidIsValid(get_element_type(type)) || type_is_rowtype(type))
		return false;
	return find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &cast) !=
		   COERCION_PATH_FUNC;
}

static void
prepare_label(ColumnEncoder *column, const char *name, MirrorFormat format, bool first)
{
	StringInfoData label;

	initStringInfo(&label);
	if (format == MIRROR_HASH)
		appendStringInfoString(&label, name);
	else
	{
		appendStringInfoString(&label, first ? "{" : ",");
		escape_json(&label, name);
		appendStringInfoChar(&label, ':');
	}
	column->label = label.data;
	column->label_size = label.len;
}

static void
prepare_column(ColumnEncoder *column, Form_pg_attribute attribute, MirrorFormat format,
			   bool first)
{
	Oid output;
	bool is_varlena;

	prepare_label(column, NameStr(attribute->attname), format, first);
	column->attnum = attribute->attnum;
	column->type = getBaseType(attribute->atttypid);
	column->form = choose_form(column->type);
	if (format == MIRROR_HASH && column->form == FORM_TO_JSON &&
		is_json_string(column->type))
		column->form = FORM_QUOTED;

	if (column->form == FORM_TO_JSON)
		prepare_to_json(column);
	else
	{
		getTypeOutputInfo(column->type, &output, &is_varlena);
		fmgr_info(output, &column->output);
	}
}

static AttrNumber
find_column(Relation relation, const char *name)
{
	AttrNumber attnum = get_attnum(RelationGetRelid(relation), name);

	if (attnum <= 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of table \"%s\" does not exist", name,
					   RelationGetRelationName(relation)),
				errdetail("The mirror writes it."),
				errhint("Unmirror the table, and mirror it without that column."));
	return attnum;
}

static void
prepare_columns(RowEncoder *encoder, Relation relation, List *columns)
{
	TupleDesc desc = RelationGetDescr(relation);
	ListCell *cell = list_head(columns);

	for (int i = 0; columns == NIL ? i < desc->natts : cell != NULL; i++)
	{
		AttrNumber attnum = i + 1;
		Form_pg_attribute attribute;

		if (columns != NIL)
		{
			attnum = find_column(relation, lfirst(cell));
			cell = lnext(columns, cell);
		}
		attribute = TupleDescAttr(desc, attnum - 1);
		if (attribute->attisdropped)
			continue;
		check_column(relation, attribute);
		prepare_column(&encoder->columns[encoder->column_count], attribute,
					   encoder->format, encoder->column_count == 0);
		encoder->column_count++;
		encoder->last_attnum = Max(encoder->last_attnum, attnum);
	}
}

/*
 * An encoder of the mirror's columns in its format, palloc'd for as long as the
 * relation stays open.  Raises an error if a column or the transform does not
 * exist, or cannot be used.
 */
RowEncoder *
cg_mirror_encoder(Relation relation, const MirrorDefinition *definition)
{
	int limit = Max(list_length(definition->columns), RelationGetDescr(relation)->natts);
	RowEncoder *encoder =
		palloc0(offsetof(RowEncoder, columns) + limit * sizeof(ColumnEncoder));

	encoder->format = definition->format;
	if (definition->transform)
		encoder->transform = cg_mirror_transform(relation, definition->transform);
	else
		prepare_columns(encoder, relation, definition->columns);
	return encoder;
}

/* Columns that it writes; a hash with fewer fields has one that is NULL. */
int
cg_mirror_encoder_columns(const RowEncoder *encoder)
{
	return encoder->column_count;
}

/* A JSON string of bytes that need no terminator. */
static void
append_quoted(StringInfo out, const char *data, Size size)
{
	Size plain = 0;

	appendStringInfoCharMacro(out, '"');
	while (plain < size && (unsigned char) data[plain] >= ' ' && data[plain] != '"' &&
		   data[plain] != '\\')
		plain++;
	if (plain == size)
	{
		appendBinaryStringInfo(out, data, size);
		appendStringInfoCharMacro(out, '"');
	}
	else
	{
		char *text = pnstrdup(data, size);

		out->len--;
		escape_json(out, text);
		pfree(text);
	}
}

static void
append_integer(StringInfo out, int64 value)
{
	enlargeStringInfo(out, MAXINT8LEN + 1);
	out->len += pg_lltoa(value, out->data + out->len);
}

/* JSON knows no NaN and no infinity; everything else starts like a number. */
static void
append_number(StringInfo out, const char *text)
{
	if (isdigit((unsigned char) text[0]) ||
		(text[0] == '-' && isdigit((unsigned char) text[1])))
		appendStringInfoString(out, text);
	else
		append_quoted(out, text, strlen(text));
}

static void
append_text(StringInfo out, Datum value)
{
	struct varlena *text =
		pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));

	append_quoted(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	if ((Pointer) text != DatumGetPointer(value))
		pfree(text);
}

/* json and text look alike in memory. */
static void
append_raw_text(StringInfo out, Datum value)
{
	struct varlena *text =
		pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));

	appendBinaryStringInfo(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	if ((Pointer) text != DatumGetPointer(value))
		pfree(text);
}

static void
append_time(StringInfo out, Datum value, Oid type)
{
	char buffer[MAXDATELEN + 1];

	JsonEncodeDateTime(buffer, value, type, NULL);
	append_quoted(out, buffer, strlen(buffer));
}

static void
append_output(StringInfo out, ColumnEncoder *column, Datum value)
{
	char *text = OutputFunctionCall(&column->output, value);

	if (column->form == FORM_NUMBER)
		append_number(out, text);
	else if (column->form == FORM_RAW)
		appendStringInfoString(out, text);
	else
		append_quoted(out, text, strlen(text));
	pfree(text);
}

static void
append_value(StringInfo out, ColumnEncoder *column, Datum value)
{
	switch (column->form)
	{
		case FORM_BOOL:
			appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
			break;
		case FORM_INT2:
			append_integer(out, DatumGetInt16(value));
			break;
		case FORM_INT4:
			append_integer(out, DatumGetInt32(value));
			break;
		case FORM_INT8:
			append_integer(out, DatumGetInt64(value));
			break;
		case FORM_TEXT:
			append_text(out, value);
			break;
		case FORM_TIME:
			append_time(out, value, column->type);
			break;
		case FORM_TO_JSON:
			append_raw_text(out, FunctionCall1(&column->output, value));
			break;
		default:
			append_output(out, column, value);
			break;
	}
}

/* What stands in JSON's quotes, without them; other values as they are there. */
static void
append_bare_value(StringInfo out, ColumnEncoder *column, Datum value)
{
	char buffer[MAXDATELEN + 1];
	char *text;

	switch (column->form)
	{
		case FORM_TEXT:
			append_raw_text(out, value);
			break;
		case FORM_TIME:
			JsonEncodeDateTime(buffer, value, column->type, NULL);
			appendStringInfoString(out, buffer);
			break;
		case FORM_NUMBER:
		case FORM_QUOTED:
			text = OutputFunctionCall(&column->output, value);
			appendStringInfoString(out, text);
			pfree(text);
			break;
		default:
			append_value(out, column, value);
			break;
	}
}

static void
encode_hash(RowEncoder *encoder, TupleTableSlot *row, StringInfo out)
{
	for (int i = 0; i < encoder->column_count; i++)
	{
		ColumnEncoder *column = &encoder->columns[i];
		int start;

		if (row->tts_isnull[column->attnum - 1])
			continue;
		start = cg_mirror_begin_string(out);
		appendBinaryStringInfo(out, column->label, column->label_size);
		cg_mirror_end_string(out, start);
		start = cg_mirror_begin_string(out);
		append_bare_value(out, column, row->tts_values[column->attnum - 1]);
		cg_mirror_end_string(out, start);
	}
}

static void
encode_json(RowEncoder *encoder, TupleTableSlot *row, StringInfo out)
{
	if (encoder->column_count == 0)
	{
		appendStringInfoString(out, "{}");
		return;
	}
	for (int i = 0; i < encoder->column_count; i++)
	{
		ColumnEncoder *column = &encoder->columns[i];

		appendBinaryStringInfo(out, column->label, column->label_size);
		if (row->tts_isnull[column->attnum - 1])
			appendStringInfoString(out, "null");
		else
			append_value(out, column, row->tts_values[column->attnum - 1]);
	}
	appendStringInfoCharMacro(out, '}');
}

/*
 * Append the row, as it is to be in Redis, to out; a hash as its
 * fields and values in turn: see strings.c.  False if Redis is to have nothing: a hash without
 * fields, or what a transform makes NULL.  May leave some memory in the current
 * context; raises what output functions and transforms raise.
 */
bool
cg_mirror_encode(RowEncoder *encoder, TupleTableSlot *row, StringInfo out)
{
	int start = out->len;

	if (encoder->transform)
		return cg_mirror_apply_transform(encoder->transform, row, out);
	slot_getsomeattrs(row, encoder->last_attnum);
	if (encoder->format == MIRROR_JSON)
		encode_json(encoder, row, out);
	else
		encode_hash(encoder, row, out);
	return out->len > start;
}
