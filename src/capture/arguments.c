/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Reads and writes the arguments of row triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "utils/builtins.h"

#include "capture/arguments.h"

static const char *const WATCH = "watch";
static const char *const KEY = "key=";
static const char *const TAG = "tag=";
static const char *const MIRROR = "mirror=";
static const char *const STREAM = "publish=";
static const char *const NOTIFY = "notify";

/* What comes after the label; NULL if the argument has another one. */
static const char *
after_label(const char *argument, const char *label)
{
	Size size = strlen(label);

	return strncmp(argument, label, size) == 0 ? argument + size : NULL;
}

List *
cg_arguments_of_trigger(const Trigger *trigger)
{
	List *arguments = NIL;

	for (int i = 0; i < trigger->tgnargs; i++)
		arguments = lappend(arguments, pstrdup(trigger->tgargs[i]));
	return arguments;
}

bool
cg_arguments_is_mirror(const char *argument, int32 *mirror, int *wishes)
{
	const char *number = after_label(argument, MIRROR);
	char *rest;

	if (number == NULL)
		return false;
	*mirror = (int32) strtol(number, &rest, 10);
	if (wishes)
		*wishes = *rest == '+' ? (int) strtol(rest, NULL, 10) : 0;
	return true;
}

bool
cg_arguments_is_stream(const char *argument, int32 *stream)
{
	const char *number = after_label(argument, STREAM);

	if (number == NULL)
		return false;
	if (stream != NULL)
		*stream = (int32) strtol(number, NULL, 10);
	return true;
}

bool
cg_arguments_is_notify(const char *argument)
{
	return strcmp(argument, NOTIFY) == 0;
}

/*
 * The columns of "7:{1=id}{2=shop}", or of "7+3:{1=id}{2=shop}" if it has
 * wishes, make a template once the numbers are cut off, with an empty prefix.
 */
static CaptureTemplate *
read_mirror_columns(const char *argument, Relation relation)
{
	const char *columns = strchr(argument, ':');

	if (columns == NULL)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid argument \"%s\" of a capture trigger", argument),
				errdetail("It names no columns of a mirror."),
				errhint("Do not create these triggers by hand: call cachegrid.watch or "
						"cachegrid.mirror."));
	return cg_capture_template_from_argument(columns, relation);
}

static CaptureMirror *
read_mirror(const char *argument, Relation relation)
{
	CaptureTemplate *columns = read_mirror_columns(argument, relation);
	CaptureMirror *result = palloc0(sizeof(CaptureMirror));

	(void) cg_arguments_is_mirror(argument, &result->mirror, &result->wishes);
	result->count = columns->column_count;
	for (int i = 0; i < columns->column_count; i++)
		result->attnums[i] = columns->columns[i].attnum;
	pfree(columns);
	return result;
}

CaptureArguments *
cg_arguments_read(List *arguments, Relation relation)
{
	CaptureArguments *result = palloc0(sizeof(CaptureArguments));
	ListCell *cell;

	foreach (cell, arguments)
	{
		const char *argument = lfirst(cell);
		const char *text;

		if (strcmp(argument, WATCH) == 0)
			result->watched = true;
		else if (cg_arguments_is_notify(argument) ||
				 cg_arguments_is_stream(argument, NULL))
			continue;
		else if ((text = after_label(argument, KEY)) != NULL)
			result->keys =
				lappend(result->keys, cg_capture_template_from_argument(text, relation));
		else if ((text = after_label(argument, TAG)) != NULL)
			result->tags =
				lappend(result->tags, cg_capture_template_from_argument(text, relation));
		else if (after_label(argument, MIRROR) != NULL)
			result->mirrors = lappend(result->mirrors, read_mirror(argument, relation));
		else
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid argument \"%s\" of a capture trigger", argument),
					errdetail("It is neither a watch nor a key, a tag, a mirror or a way "
							  "to tell of changes."),
					errhint("Do not create these triggers by hand: call cachegrid.watch "
							"or cachegrid.mirror."));
	}
	return result;
}

/* label, then the template "text" as it reads today. */
static char *
renew(const char *label, const char *text, Relation relation)
{
	CaptureTemplate *template = cg_capture_template_from_argument(text, relation);

	return psprintf(
		"%s%s", label,
		cg_capture_template_to_argument(template, RelationGetDescr(relation)));
}

List *
cg_arguments_renew(List *arguments, Relation relation)
{
	List *result = NIL;
	ListCell *cell;

	foreach (cell, arguments)
	{
		char *argument = lfirst(cell);
		const char *text;

		if ((text = after_label(argument, KEY)) != NULL)
			argument = renew(KEY, text, relation);
		else if ((text = after_label(argument, TAG)) != NULL)
			argument = renew(TAG, text, relation);
		else if (after_label(argument, MIRROR) != NULL)
			argument = cg_arguments_mirror(read_mirror(argument, relation),
										   RelationGetDescr(relation));
		result = lappend(result, argument);
	}
	return result;
}

char *
cg_arguments_watch(void)
{
	return pstrdup(WATCH);
}

char *
cg_arguments_stream(int32 stream)
{
	return psprintf("%s%d", STREAM, stream);
}

char *
cg_arguments_notify(void)
{
	return pstrdup(NOTIFY);
}

static char *
write_template(const char *label, const char *text, Relation relation)
{
	CaptureTemplate *template = cg_capture_parse_template(text, relation);

	return psprintf(
		"%s%s", label,
		cg_capture_template_to_argument(template, RelationGetDescr(relation)));
}

/* text is the template as a user wrote it. */
char *
cg_arguments_key(const char *text, Relation relation)
{
	return write_template(KEY, text, relation);
}

char *
cg_arguments_tag(const char *text, Relation relation)
{
	return write_template(TAG, text, relation);
}

char *
cg_arguments_mirror(const CaptureMirror *mirror, TupleDesc desc)
{
	Size size =
		offsetof(CaptureTemplate, columns) + mirror->count * sizeof(TemplateColumn);
	CaptureTemplate *columns = palloc0(size);
	const char *wishes = mirror->wishes != 0 ? psprintf("+%d", mirror->wishes) : "";

	columns->column_count = mirror->count;
	for (int i = 0; i < mirror->count; i++)
		columns->columns[i].attnum = mirror->attnums[i];
	return psprintf("%s%d%s:%s", MIRROR, mirror->mirror, wishes,
					cg_capture_template_to_argument(columns, desc));
}

/*
 * The prefix of a template as it stands in an argument, where braces are
 * doubled: empty unless a colon comes before the first column, whose name may
 * have one, too.
 */
static Dependency
prefix_of_argument(DependencyKind kind, const char *text)
{
	StringInfoData prefix;
	Dependency result;

	initStringInfo(&prefix);
	while (*text != '\0' && *text != ':' && !(*text == '{' && text[1] != '{'))
	{
		if ((*text == '{' || *text == '}') && text[1] == *text)
			text++;
		appendStringInfoChar(&prefix, *text++);
	}
	if (*text != ':')
		resetStringInfo(&prefix);
	result = cg_dependency(kind, prefix.data, prefix.len);
	pfree(prefix.data);
	return result;
}

Dependency *
cg_arguments_dependencies(List *arguments, Oid root, int *count)
{
	Dependency *result = palloc((list_length(arguments) + 1) * sizeof(Dependency));
	ListCell *cell;
	int size = 0;

	result[size++] = cg_dependency_of_relation(root);
	foreach (cell, arguments)
	{
		const char *text;

		if ((text = after_label(lfirst(cell), KEY)) != NULL)
			result[size++] = prefix_of_argument(DEPENDENCY_KEY_PREFIX, text);
		else if ((text = after_label(lfirst(cell), TAG)) != NULL)
			result[size++] = prefix_of_argument(DEPENDENCY_TAG_PREFIX, text);
	}
	*count = size;
	return result;
}
