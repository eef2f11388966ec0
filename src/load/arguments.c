/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  From texts to the values of a query's parameters.
 *
 * The texts are elements of an array, or the parts of a key.  They go
 * through the input functions of the parameters' types and are never put
 * into the query's text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "load/purity.h"
#include "load/query.h"

/* Literals of dates and times that mean another one later. */
static const char *const moving_words[] = {"now", "today", "tomorrow", "yesterday"};

static bool
contains_word(const char *text, const char *word)
{
	Size size = strlen(word);

	for (; *text; text++)
		if (pg_strncasecmp(text, word, size) == 0)
			return true;
	return false;
}

static bool
contains_letter(const char *text)
{
	for (; *text; text++)
		if (isalpha((unsigned char) *text) || IS_HIGHBIT_SET(*text))
			return true;
	return false;
}

/*
 * May this literal, or a part of it, mean another value at another time?  The
 * offset of a zone that is given by name is that of the day; a time alone has
 * none but today.
 */
bool
cg_load_literal_moves(const char *literal, Oid type)
{
	if (type == UNKNOWNOID || cg_load_type_is_read_steadily(type))
		return false;
	for (int i = 0; i < lengthof(moving_words); i++)
		if (contains_word(literal, moving_words[i]))
			return true;
	return cg_load_type_has_dayless_zone(type) && contains_letter(literal);
}

static LoadArguments *
make_arguments(const LoadQuery *query)
{
	LoadArguments *arguments = palloc0(sizeof(LoadArguments));

	arguments->count = query->parameter_count;
	arguments->types = query->parameter_types;
	arguments->values = palloc0_array(Datum, query->parameter_count + 1);
	arguments->nulls = palloc0(query->parameter_count + 1);
	memset(arguments->nulls, 'n', query->parameter_count);
	return arguments;
}

/* NULL text: the value is NULL. */
static void
set_argument(LoadArguments *arguments, int i, char *text)
{
	Oid type = arguments->types[i];
	Oid input;
	Oid parameter;

	getTypeInputInfo(type, &input, &parameter);
	arguments->values[i] = OidInputFunctionCall(input, text, parameter, -1);
	if (!text)
		return;
	arguments->nulls[i] = ' ';
	arguments->moving_literal |= cg_load_literal_moves(text, type);
}

static void
check_count(const LoadQuery *query, int given)
{
	if (given != query->parameter_count)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of arguments does not match the query"),
				errdetail("Parameters of the query: %d; arguments: %d.",
						  query->parameter_count, given),
				errhint("Give an element of \"args\" for each of $1, $2 ..."));
}

/* An element of a text[] for each parameter, NULL for NULL. */
LoadArguments *
cg_load_arguments_from_array(const LoadQuery *query, ArrayType *array)
{
	LoadArguments *arguments = make_arguments(query);
	Datum *elements;
	bool *nulls;
	int count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("args must be a one-dimensional array"),
				errdetail("It has %d dimensions.", ARR_NDIM(array)),
				errhint("Give an array as one element, by its text form."));

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	check_count(query, count);
	for (int i = 0; i < count; i++)
		set_argument(arguments, i, nulls[i] ? NULL : TextDatumGetCString(elements[i]));
	return arguments;
}

/*
 * The parts of a key after its prefix, split at each ':'; the last parameter
 * takes the rest, a query without parameters none.
 */
LoadArguments *
cg_load_arguments_from_key(const LoadQuery *query, const CacheKey *key)
{
	LoadArguments *arguments = make_arguments(query);
	char *part = pnstrdup(key->data, key->size);

	if (key->prefix_size > 0 || key->data[0] == ':')
		part += key->prefix_size + 1;
	for (int i = 0; i < query->parameter_count; i++)
	{
		char *colon = i < query->parameter_count - 1 ? strchr(part, ':') : NULL;

		if (!colon && i < query->parameter_count - 1)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("key \"%.*s\" has too few parts for its cache's loader",
						   key->size, key->data),
					errdetail("The loader has %d parameters; the key has %d parts after "
							  "its prefix.",
							  query->parameter_count, i + 1),
					errhint("Write the parts behind the prefix, with colons between."));
		if (colon)
			*colon = '\0';
		set_argument(arguments, i, part);
		part = colon ? colon + 1 : part;
	}
	return arguments;
}

static void
check_one_parameter(const LoadQuery *query, const char *what)
{
	if (query->parameter_count > 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("loader has %d parameters", query->parameter_count),
				errdetail("As its cache says, it takes %s, as $1.", what),
				errhint("Change the loader, or the cache's \"loader_takes\"."));
}

LoadArguments *
cg_load_arguments_of_key(const LoadQuery *query, const CacheKey *key)
{
	LoadArguments *arguments = make_arguments(query);

	check_one_parameter(query, "the key");
	if (query->parameter_count == 1)
		set_argument(arguments, 0, pnstrdup(key->data, key->size));
	return arguments;
}

LoadArguments *
cg_load_arguments_of_keys(const LoadQuery *query, Datum keys)
{
	LoadArguments *arguments = make_arguments(query);

	check_one_parameter(query, "the keys");
	if (query->parameter_count == 0)
		return arguments;
	if (query->parameter_types[0] != TEXTARRAYOID)
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("parameter $1 of the loader has type %s, not text[]",
					   format_type_be(query->parameter_types[0])),
				errdetail("As its cache says, it takes the keys."),
				errhint("Cast it, as in ANY ($1::text[])."));
	arguments->values[0] = keys;
	arguments->nulls[0] = ' ';
	return arguments;
}
