/*-------------------------------------------------------------------------
 *
 * spec.c
 *	  Which keys and tags do changes of a relation report?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "capture/arguments.h"
#include "capture/capture.h"
#include "capture/triggers.h"

static CaptureTemplate **
as_array(List *templates, int *count)
{
	CaptureTemplate **result = palloc(list_length(templates) * sizeof(CaptureTemplate *));
	ListCell *cell;

	*count = 0;
	foreach (cell, templates)
		result[(*count)++] = lfirst(cell);
	return result;
}

CaptureSpec *
cg_capture_declared_spec(Relation relation)
{
	const Trigger *trigger = cg_triggers_row(relation);
	CaptureArguments *arguments;
	CaptureSpec *spec;

	if (trigger == NULL)
		return NULL;
	arguments = cg_arguments_read(cg_arguments_of_trigger(trigger), relation);
	if (!arguments->watched)
		return NULL;

	spec = palloc(sizeof(CaptureSpec));
	spec->root = cg_triggers_root(relation);
	spec->keys = as_array(arguments->keys, &spec->key_count);
	spec->tags = as_array(arguments->tags, &spec->tag_count);
	return spec;
}

CaptureSpec *
cg_capture_spec(Relation relation)
{
	return cg_triggers_complete(relation) ? cg_capture_declared_spec(relation) : NULL;
}
