/*-------------------------------------------------------------------------
 *
 * compare.c
 *	  Compares rows with what Redis has of them: for verify(), in a user's
 *	  session, and for the worker, which then writes what differs.
 *
 * Rows are read and encoded before anything is asked of Redis, in a
 * subtransaction: a cast to json may fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

/* Touches whose rows are read together, and what becomes of them. */
typedef struct Reading
{
	const MirrorDefinition *definition;
	MemoryContext context;
	MirrorTouch *touches;
	MirrorComparison *comparisons; /* of each touch */
	int count;
	bool may_be_cancelled;			  /* by a user, who means the whole statement */
	const MirrorComparison *encoding; /* whose row, now; NULL: none */
} Reading;

/* Has the hash this field, with this value? */
static bool
has_field(const RedisReply *hash, const RedisString *field)
{
	for (int i = 0; i + 1 < hash->element_count; i += 2)
	{
		const RedisReply *name = hash->elements[i];
		const RedisReply *value = hash->elements[i + 1];

		if (name->size == field[0].size &&
			memcmp(name->data, field[0].data, name->size) == 0)
			return value->size == field[1].size &&
				   memcmp(value->data, field[1].data, value->size) == 0;
	}
	return false;
}

static bool
is_equal(const MirrorComparison *comparison, const RedisReply *reply)
{
	RedisString *fields;
	int count;
	bool equal;

	if (reply->kind == REDIS_STRING)
		return reply->size == comparison->size &&
			   memcmp(reply->data, comparison->value, comparison->size) == 0;

	fields = cg_mirror_split_strings(comparison->value, comparison->size, &count);
	equal = reply->element_count == count;
	for (int i = 0; i < count && equal; i += 2)
		equal = has_field(reply, &fields[i]);
	pfree(fields);
	return equal;
}

static void
compare(const RedisResult *result, void *user_data)
{
	MirrorComparison *comparison = user_data;
	bool found;

	/* The whole verification fails then: see cg_redis_drain. */
	if (result->outcome == REDIS_RETRY)
	{
		comparison->problem = "unanswered";
		return;
	}
	/* What is of another kind is refused. */
	found = result->outcome == REDIS_REFUSED || result->reply->kind == REDIS_STRING ||
			result->reply->element_count > 0;
	if (!found && comparison->value)
		comparison->problem = comparison->definition->ttl_ms > 0 ? "expired" : "missing";
	else if (found && !comparison->value)
		comparison->problem = "surplus";
	else if (found &&
			 (result->outcome == REDIS_REFUSED || !is_equal(comparison, result->reply)))
		comparison->problem = "differs";
}

/* What the table says of a touch, into its comparison. */
static void
read_row(Reading *reading, MirrorTable *table, int number)
{
	MirrorComparison *comparison = &reading->comparisons[number];
	MirrorTouch *touch = &reading->touches[number];
	char key[CG_KEY_MAX_BYTES];
	StringInfoData value;

	comparison->touch = touch;
	comparison->definition = reading->definition;
	comparison->value = NULL;
	comparison->key_size = cg_mirror_render(&table->keys, touch, key);
	if (comparison->key_size == 0)
		return;
	comparison->key = pnstrdup(key, comparison->key_size);
	if (!cg_mirror_table_fetch(table, touch))
		return;

	initStringInfo(&value);
	reading->encoding = comparison;
	if (cg_mirror_encode(table->encoder, table->slot, &value))
	{
		comparison->value = value.data;
		comparison->size = value.len;
	}
	reading->encoding = NULL;
}

static void
read_rows(void *argument)
{
	Reading *reading = argument;
	MemoryContext previous = MemoryContextSwitchTo(reading->context);
	MirrorTable *table = cg_mirror_table_open(
		reading->definition, GetActiveSnapshot(),
		reading->may_be_cancelled ? MIRROR_LOCKS_AWAITED : MIRROR_LOCKS_TRIED);
	MirrorCaller caller;

	cg_mirror_enter_owner(table->relation, &caller);
	for (int i = 0; i < reading->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_row(reading, table, i);
	}
	cg_mirror_leave_owner(&caller);
	cg_mirror_table_close(table);
	MemoryContextSwitchTo(previous);
}

/*
 * Is it the row's own error?  A cancel may be meant for the whole statement.  The
 * worker has nobody to tell what is wrong beyond a row: it tries to send it.
 */
static bool
is_of_row(const ErrorData *error, void *argument)
{
	const Reading *reading = argument;

	return !reading->may_be_cancelled ||
		   (reading->encoding && error->sqlerrcode != ERRCODE_QUERY_CANCELED);
}

static void
name_row(void *argument)
{
	const Reading *reading = argument;

	if (reading->encoding)
		errcontext("JSON of the row with key \"%.*s\"", reading->encoding->key_size,
				   reading->encoding->key);
}

/*
 * Read the rows under the active snapshot, together, or else one by one: one that
 * cannot be encoded is a problem of its key.
 */
static void
read_or_blame(Reading *reading)
{
	ErrorContextCallback context = {error_context_stack, name_row, reading};
	char *error;
	bool done;

	error_context_stack = &context;
	done = cg_mirror_try_some(read_rows, reading, is_of_row, &error);
	error_context_stack = context.previous;
	if (done)
		return;
	if (reading->count == 1)
	{
		reading->comparisons->value = NULL;
		reading->comparisons->problem = psprintf("cannot be encoded: %s", error);
		return;
	}
	for (int i = 0; i < reading->count; i++)
	{
		Reading single = {.definition = reading->definition,
						  .context = reading->context,
						  .touches = &reading->touches[i],
						  .comparisons = &reading->comparisons[i],
						  .count = 1,
						  .may_be_cancelled = reading->may_be_cancelled};

		read_or_blame(&single);
	}
}

/* Ask Redis for the keys; false if it does not answer. */
static bool
ask_redis(const Reading *reading, RedisGrid *grid)
{
	for (int i = 0; i < reading->count; i++)
	{
		MirrorComparison *comparison = &reading->comparisons[i];
		RedisString key = {comparison->key, comparison->key_size};
		RedisHandler handler = {compare, comparison};

		if (comparison->key_size == 0 || comparison->problem)
			continue;
		if (reading->definition->format == MIRROR_HASH)
			cg_redis_queue_get_hash(grid, key, handler);
		else
			cg_redis_queue_get(grid, key, handler);
	}
	return cg_redis_drain(grid);
}

/*
 * Compare the rows behind some touches, under the active snapshot, with what Redis
 * has; results, palloc'd, into comparisons, which the caller has zeroed.  Nothing may
 * be in flight.  False if Redis does not answer: then they say nothing.  may_be_cancelled:
 * by a user; then whatever is not a row's own error is raised.
 */
bool
cg_mirror_compare(const MirrorDefinition *definition, RedisGrid *grid,
				  MirrorTouch *touches, int count, MirrorComparison *comparisons,
				  bool may_be_cancelled)
{
	Reading reading = {.definition = definition,
					   .context = CurrentMemoryContext,
					   .touches = touches,
					   .comparisons = comparisons,
					   .count = count,
					   .may_be_cancelled = may_be_cancelled};

	read_or_blame(&reading);
	return ask_redis(&reading, grid);
}
