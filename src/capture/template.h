/*-------------------------------------------------------------------------
 *
 * template.h
 *	  Templates: how the columns of a row make a key or a tag.
 *
 * 'product:{id}' names a column in braces; '{{' and '}}' are braces
 * themselves.  A template may use columns of types whose equal values have
 * equal text, whatever the session's settings:
 *
 *	smallint, integer, bigint	decimal
 *	uuid						lower case, with hyphens
 *	text, varchar, name			as they are; the collation must be deterministic
 *	boolean						true, false (as by a cast to text)
 *	date						2024-05-31, 0044-03-15 BC, infinity (ISO)
 *	an enum						its label
 *
 * The part before the first ':' must be constant: it is the prefix that a
 * change of the whole table invalidates.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_TEMPLATE_H
#define CACHEGRID_TEMPLATE_H

#include "access/attnum.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

#include "base/key.h"

#define CG_TEMPLATE_MAX_COLUMNS 8

/* How a column's value becomes text. */
typedef enum TemplateType
{
	TEMPLATE_INT2,
	TEMPLATE_INT4,
	TEMPLATE_INT8,
	TEMPLATE_UUID,
	TEMPLATE_TEXT, /* text and varchar */
	TEMPLATE_NAME,
	TEMPLATE_BOOL,
	TEMPLATE_DATE,
	TEMPLATE_ENUM,
} TemplateType;

/* A column in a template, and the literal bytes before it. */
typedef struct TemplateColumn
{
	const char *literal; /* not terminated */
	int literal_size;
	AttrNumber attnum;
	TemplateType type;
} TemplateColumn;

/*
 * A template of a relation as it stands; read it, do not change it.  One
 * allocation in the memory context that was current when it was made, free
 * it with pfree().
 */
typedef struct CaptureTemplate
{
	int prefix_size;  /* bytes before the first ':', which are the first
						 * of columns[0].literal, or of tail; 0: no ':' */
	int column_count; /* 0: a constant */
	const char *tail; /* literal bytes after the last column, not terminated */
	int tail_size;
	TemplateColumn columns[FLEXIBLE_ARRAY_MEMBER];
} CaptureTemplate;

/*
 * From the text that a user wrote, raising errors that name the template.
 * The caller holds a lock on the relation.
 */
extern CaptureTemplate *cg_capture_parse_template(const char *text, Relation relation);

/*
 * To and from what stands in a trigger's arguments, 'product:{1=id}'.  Names
 * are looked for first: dump and restore leave dropped columns out, and
 * partitions number theirs as they like.  The number finds a column that was
 * renamed.  Raises an error if there is no such column any more.
 */
extern char *cg_capture_template_to_argument(const CaptureTemplate *template,
											 TupleDesc desc);
extern CaptureTemplate *cg_capture_template_from_argument(const char *argument,
														  Relation relation);

/* The text as the user would write it today; palloc'd. */
extern char *cg_capture_template_to_text(const CaptureTemplate *template, TupleDesc desc);

/* The constant part before the first ':'; bytes of the template's own. */
extern const char *cg_capture_template_prefix(const CaptureTemplate *template, int *size);

/*
 * Write a row's key into buffer, which holds CG_KEY_MAX_BYTES, and return
 * its size; 0 if the row has no key: a column is NULL, or the key is empty
 * or too long.  Of values and nulls, element attnum - 1 belongs to a column.
 */
extern int cg_capture_render_row(const CaptureTemplate *template, TupleTableSlot *row,
								 char *buffer);
extern int cg_capture_render_values(const CaptureTemplate *template, const Datum *values,
									const bool *nulls, char *buffer);

/*
 * True if rows that differ in the template's columns always have different
 * keys: '{a}{b}' would not do, nor would '{a}:{b}' for two text columns.
 */
extern bool cg_capture_template_is_injective(const CaptureTemplate *template);

#endif /* CACHEGRID_TEMPLATE_H */
