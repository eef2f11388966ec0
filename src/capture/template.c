/*-------------------------------------------------------------------------
 *
 * template.c
 *	  Reads templates and writes them out again.
 *
 * Two notations share one reader: what users write, with columns by name, and
 * what stands in trigger arguments, with columns by number and name.  Both
 * are checked whole each time, since the table may have changed meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/heap.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "capture/template.h"

/* What has been read so far.  Literals are offsets while their buffer grows. */
typedef struct TemplateReader
{
	const char *source;
	Relation relation;
	StringInfoData literals; /* bytes of all literals, one after the other */
	int literal_start;		 /* of the literal being read */
	int column_count;
	TemplateColumn columns[CG_TEMPLATE_MAX_COLUMNS];
} TemplateReader;

typedef AttrNumber (*ColumnFinder)(const TemplateReader *reader, const char *name);

static void
refuse(const TemplateReader *reader, const char *detail)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid template \"%s\"", reader->source),
			errdetail_internal("%s", detail),
			errhint("Write columns in braces, as in \"product:{id}\", and a brace itself "
					"twice."));
}

/* InvalidAttrNumber if there is no such column. */
static AttrNumber
column_named(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped && strcmp(NameStr(column->attname), name) == 0)
			return column->attnum;
	}
	return InvalidAttrNumber;
}

static AttrNumber
find_by_name(const TemplateReader *reader, const char *name)
{
	AttrNumber attnum = column_named(RelationGetDescr(reader->relation), name);

	if (attnum == InvalidAttrNumber && SystemAttributeByName(name) != NULL)
		ereport(ERROR, errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				errmsg("system column \"%s\" cannot be used in a template", name),
				errdetail("The template is \"%s\".", reader->source),
				errhint("Use columns that identify the row, such as its primary key."));
	if (attnum == InvalidAttrNumber)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of relation \"%s\" does not exist", name,
					   RelationGetRelationName(reader->relation)),
				errdetail("The template \"%s\" names it.", reader->source),
				errhint("Column names are taken literally, with their upper and lower "
						"case."));
	return attnum;
}

/*
 * name is "2=shop".  The name is looked for first; only on a table that was
 * watched itself may the column have been renamed meanwhile.  A partition has
 * the arguments of its root, which may number its columns otherwise.
 */
static AttrNumber
find_by_number(const TemplateReader *reader, const char *name)
{
	TupleDesc desc = RelationGetDescr(reader->relation);
	char *rest;
	long number = strtol(name, &rest, 10);
	AttrNumber named = *rest == '=' ? column_named(desc, rest + 1) : InvalidAttrNumber;

	if (named != InvalidAttrNumber)
		return named;
	if (number < 1 || number > desc->natts ||
		TupleDescAttr(desc, number - 1)->attisdropped ||
		reader->relation->rd_rel->relispartition)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("a template of relation \"%s\" has lost its column",
					   RelationGetRelationName(reader->relation)),
				errdetail("The column was {%s}.", name),
				errhint("Call cachegrid.unwatch before you drop the column, or "
						"cachegrid.watch with other templates."));
	return number;
}

/* False: the type has values that are equal and have different texts. */
static bool
find_type(Form_pg_attribute column, TemplateType *type)
{
	Oid base = getBaseType(column->atttypid);

	switch (base)
	{
		case INT2OID:
			*type = TEMPLATE_INT2;
			return true;
		case INT4OID:
			*type = TEMPLATE_INT4;
			return true;
		case INT8OID:
			*type = TEMPLATE_INT8;
			return true;
		case UUIDOID:
			*type = TEMPLATE_UUID;
			return true;
		case TEXTOID:
		case VARCHAROID:
			*type = TEMPLATE_TEXT;
			return get_collation_isdeterministic(column->attcollation);
		case NAMEOID:
			*type = TEMPLATE_NAME;
			return get_collation_isdeterministic(column->attcollation);
		case BOOLOID:
			*type = TEMPLATE_BOOL;
			return true;
		case DATEOID:
			*type = TEMPLATE_DATE;
			return true;
		default:
			*type = TEMPLATE_ENUM;
			return type_is_enum(base);
	}
}

static TemplateType
checked_type(const TemplateReader *reader, Form_pg_attribute column)
{
	TemplateType type;

	/* Virtual generated columns are not in the rows that triggers see. */
	if (column->attgenerated != '\0' &&
		column->attgenerated != ATTRIBUTE_GENERATED_STORED)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("virtual generated column \"%s\" cannot be used in a template",
					   NameStr(column->attname)),
				errdetail("The template is \"%s\".", reader->source),
				errhint("Use a stored generated column."));

	if (!find_type(column, &type))
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of type %s cannot be used in a template",
					   NameStr(column->attname),
					   format_type_with_typemod(column->atttypid, column->atttypmod)),
				errdetail("Equal values of a template's column must have equal text, "
						  "whatever the session's settings."),
				errhint("Use integers, uuid, text or varchar with a deterministic "
						"collation, name, boolean, date or an enum."));
	return type;
}

static void
add_column(TemplateReader *reader, AttrNumber attnum)
{
	TemplateColumn *column;

	if (reader->column_count == CG_TEMPLATE_MAX_COLUMNS)
		refuse(reader, "It has more than 8 columns.");

	column = &reader->columns[reader->column_count++];
	column->attnum = attnum;
	column->type = checked_type(
		reader, TupleDescAttr(RelationGetDescr(reader->relation), attnum - 1));
	column->literal_size = reader->literals.len - reader->literal_start;
	reader->literal_start = reader->literals.len;
}

/* Reads "{...}" at start; returns what comes after it. */
static const char *
read_column(TemplateReader *reader, const char *start, ColumnFinder find_column)
{
	const char *end = strpbrk(start + 1, "{}");
	char *name;

	if (end == NULL || *end != '}')
		refuse(reader, "A brace is not closed.");
	if (end == start + 1)
		refuse(reader, "A column name is empty.");

	name = pnstrdup(start + 1, end - start - 1);
	add_column(reader, find_column(reader, name));
	pfree(name);
	return end + 1;
}

static void
read_source(TemplateReader *reader, ColumnFinder find_column)
{
	const char *next = reader->source;

	while (*next != '\0')
	{
		if (*next == '{' && next[1] != '{')
		{
			next = read_column(reader, next, find_column);
			continue;
		}
		if (*next == '}' && next[1] != '}')
			refuse(reader, "A closing brace has no opening one.");
		if (*next == '{' || *next == '}')
			next++;
		appendStringInfoCharMacro(&reader->literals, *next++);
	}
}

static bool
may_contain_colon(TemplateType type)
{
	return type == TEMPLATE_TEXT || type == TEMPLATE_NAME || type == TEMPLATE_ENUM;
}

/*
 * Returns the size of the constant prefix.  It must be the prefix of every
 * key that the template can make, whatever is in the row.
 */
static int
checked_prefix_size(const TemplateReader *reader)
{
	const char *literals = reader->literals.data;
	const char *colon = memchr(literals, ':', reader->literals.len);
	int before_columns =
		reader->column_count > 0 ? reader->columns[0].literal_size : reader->literals.len;

	if (colon != NULL && colon - literals < before_columns)
		return colon - literals;
	if (colon != NULL)
		refuse(reader, "A column stands before the first colon.");
	for (int i = 0; i < reader->column_count; i++)
	{
		if (may_contain_colon(reader->columns[i].type))
			refuse(reader, "It has no constant prefix: no colon stands before a column "
						   "whose text may contain one.");
	}
	return 0;
}

/* Everything in one allocation: the struct, its columns, their literals. */
static CaptureTemplate *
finish(TemplateReader *reader)
{
	Size head = offsetof(CaptureTemplate, columns) +
				reader->column_count * sizeof(TemplateColumn);
	CaptureTemplate *template;
	char *literal;

	if (reader->source[0] == '\0')
		refuse(reader, "It is empty.");
	if (reader->literals.len > CG_KEY_MAX_BYTES)
		refuse(reader, "It makes keys of more than 512 bytes.");

	template = palloc(head + reader->literals.len);
	literal = (char *) template + head;
	template->prefix_size = checked_prefix_size(reader);
	template->column_count = reader->column_count;
	memcpy(literal, reader->literals.data, reader->literals.len);

	for (int i = 0; i < reader->column_count; i++)
	{
		template->columns[i] = reader->columns[i];
		template->columns[i].literal = literal;
		literal += reader->columns[i].literal_size;
	}
	template->tail = literal;
	template->tail_size = reader->literals.len - reader->literal_start;
	pfree(reader->literals.data);
	return template;
}

static CaptureTemplate *
read_template(const char *source, Relation relation, ColumnFinder find_column)
{
	TemplateReader reader = {.source = source, .relation = relation};

	initStringInfo(&reader.literals);
	read_source(&reader, find_column);
	return finish(&reader);
}

CaptureTemplate *
cg_capture_parse_template(const char *text, Relation relation)
{
	return read_template(text, relation, find_by_name);
}

CaptureTemplate *
cg_capture_template_from_argument(const char *argument, Relation relation)
{
	return read_template(argument, relation, find_by_number);
}

static void
write_literal(StringInfo out, const char *literal, int size)
{
	for (int i = 0; i < size; i++)
	{
		if (literal[i] == '{' || literal[i] == '}')
			appendStringInfoChar(out, literal[i]);
		appendStringInfoChar(out, literal[i]);
	}
}

static char *
write_template(const CaptureTemplate *template, TupleDesc desc, bool as_argument)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < template->column_count; i++)
	{
		const TemplateColumn *column = &template->columns[i];
		const char *name = NameStr(TupleDescAttr(desc, column->attnum - 1)->attname);

		write_literal(&out, column->literal, column->literal_size);
		if (!as_argument)
			appendStringInfo(&out, "{%s}", name);
		else if (strpbrk(name, "{}") != NULL)
			ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" cannot be used in a template", name),
					errdetail("Its name contains a brace."),
					errhint("Give the column another name."));
		else
			appendStringInfo(&out, "{%d=%s}", column->attnum, name);
	}
	write_literal(&out, template->tail, template->tail_size);
	return out.data;
}

char *
cg_capture_template_to_argument(const CaptureTemplate *template, TupleDesc desc)
{
	return write_template(template, desc, true);
}

char *
cg_capture_template_to_text(const CaptureTemplate *template, TupleDesc desc)
{
	return write_template(template, desc, false);
}

const char *
cg_capture_template_prefix(const CaptureTemplate *template, int *size)
{
	*size = template->prefix_size;
	return template->column_count > 0 ? template->columns[0].literal : template->tail;
}

/* Can byte stand in the text of an integer, uuid, boolean or date? */
static bool
is_plain(char byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
		   (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == ' ';
}

/*
 * Sufficient, not necessary: only one column may hold any text at all, and
 * between two columns there is a byte that the other ones never contain.
 * Then a key can be read back from both its ends.
 */
bool
cg_capture_template_is_injective(const CaptureTemplate *template)
{
	int free_columns = 0;

	for (int i = 0; i < template->column_count; i++)
	{
		const TemplateColumn *column = &template->columns[i];
		int separators = 0;

		free_columns += may_contain_colon(column->type);
		for (int j = 0; j < column->literal_size; j++)
			separators += !is_plain(column->literal[j]);
		if (i > 0 && separators == 0)
			return false;
	}
	return free_columns <= 1;
}
