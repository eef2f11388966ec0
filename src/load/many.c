/*-------------------------------------------------------------------------
 *
 * many.c
 *	  From a query for one key to a query for many.
 *
 * The query becomes a LATERAL subquery beside a list of all arguments, whose columns take
 * the places of its parameters.  So for each key it means what it means alone, and what
 * its value follows from is that of the query alone, with these arguments
 * (dependencies.c); but all keys together cost one execution, and the planner
 * chooses how to join.
 *
 * An aggregate whose arguments have no column but these would be one of the outer query,
 * over all keys: such a query is run for each key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"

#include "load/running.h"

#define VALUE_ALIAS "\"cachegrid value\"" /* seen by nobody but us */

/* A parameter of the query, where it stands in its text. */
typedef struct Place
{
	int location;
	int number;
} Place;

static bool
collect_places(Node *node, void *context)
{
	List **places = context;

	if (node == NULL)
		return false;
	if (IsA(node, ParamRef))
	{
		Place *place = palloc(sizeof(Place));

		place->location = ((ParamRef *) node)->location;
		place->number = ((ParamRef *) node)->number;
		*places = lappend(*places, place);
		return false;
	}
	return raw_expression_tree_walker(node, collect_places, context);
}

static int
compare_places(const ListCell *a, const ListCell *b)
{
	return ((Place *) lfirst(a))->location - ((Place *) lfirst(b))->location;
}

/* Has it a column of a query level that it is an expression of? */
static bool
has_column(Node *node, void *context)
{
	if (node == NULL || IsA(node, Query))
		return false;
	return IsA(node, Var) || expression_tree_walker(node, has_column, context);
}

static bool
has_parameter(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_parameter, context, 0);
	return (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN) ||
		   expression_tree_walker(node, has_parameter, context);
}

/* Does nothing that is aggregated say whose level it is?  Direct arguments do not. */
static bool
has_no_column(const Aggref *aggregate)
{
	return !has_column((Node *) aggregate->args, NULL) &&
		   !has_column((Node *) aggregate->aggfilter, NULL);
}

static bool
has_foreign_aggregate(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_foreign_aggregate, context, 0);
	if (IsA(node, Aggref) && has_no_column((Aggref *) node) && has_parameter(node, NULL))
		return true;
	return expression_tree_walker(node, has_foreign_aggregate, context);
}

static bool
fits_into_another(const LoadQuery *query)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(query->plan));

	for (int i = 0; i < query->parameter_count; i++)
		if (!OidIsValid(get_array_type(query->parameter_types[i])))
			return false;
	return !has_foreign_aggregate((Node *) linitial(source->query_list), NULL);
}

/* A quoted name for the list of arguments, which stands nowhere in the query. */
static char *
make_alias(const LoadQuery *query)
{
	for (int i = 0;; i++)
	{
		char *alias = psprintf("\"cachegrid keys %d\"", i);

		if (!strstr(query->text, alias))
			return alias;
	}
}

static void
append_list_of_keys(StringInfo text, const LoadQuery *query, const char *alias)
{
	appendStringInfoString(text, "ROWS FROM (pg_catalog.unnest($1::bigint[])");
	for (int i = 0; i < query->parameter_count; i++)
		appendStringInfo(
			text, ", pg_catalog.unnest($%d::%s)", i + 2,
			format_type_be_qualified(get_array_type(query->parameter_types[i])));
	appendStringInfo(text, ") AS %s (place", alias);
	for (int i = 0; i < query->parameter_count; i++)
		appendStringInfo(text, ", p%d", i + 1);
	appendStringInfoChar(text, ')');
}

/* The query's own text, with columns in the places of its parameters. */
static void
append_query(StringInfo text, const LoadQuery *query, const char *alias)
{
	RawStmt *statement = linitial_node(RawStmt, pg_parse_query(query->text));
	int from = Max(statement->stmt_location, 0);
	int end = statement->stmt_len > 0 ? from + statement->stmt_len : strlen(query->text);
	List *places = NIL;
	ListCell *cell;

	(void) collect_places(statement->stmt, &places);
	list_sort(places, compare_places);
	foreach (cell, places)
	{
		Place *place = lfirst(cell);

		appendBinaryStringInfo(text, query->text + from, place->location - from);
		appendStringInfo(text, " %s.p%d ", alias, place->number);
		from = place->location + 1;
		from += strspn(query->text + from, "0123456789");
	}
	appendBinaryStringInfo(text, query->text + from, end - from);
}

/* The names of the query's columns: a parameter lends its column none, an argument does. */
static void
append_names(StringInfo text, const LoadQuery *query)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(query->plan));
	TupleDesc desc = source->resultDesc;

	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(text, "%s%s", i == 0 ? " (" : ", ",
						 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	if (desc->natts > 0)
		appendStringInfoChar(text, ')');
}

char *
cg_load_many_text(const LoadQuery *query)
{
	StringInfoData text;
	char *alias;

	if (!fits_into_another(query))
		return NULL;
	initStringInfo(&text);
	alias = make_alias(query);
	appendStringInfo(&text, "SELECT %s.place, " VALUE_ALIAS ".* FROM ", alias);
	append_list_of_keys(&text, query, alias);
	/* A comment at its end ends with the line. */
	appendStringInfoString(&text, ", LATERAL (\n");
	append_query(&text, query, alias);
	appendStringInfoString(&text, "\n) AS " VALUE_ALIAS);
	append_names(&text, query);
	return text.data;
}

static Datum
make_array(Oid type, const Datum *values, const bool *nulls, int count)
{
	int dimensions[1] = {count};
	int lower_bounds[1] = {1};
	int16 size;
	bool by_value;
	char align;

	get_typlenbyvalalign(type, &size, &by_value, &align);
	return PointerGetDatum(construct_md_array(unconstify(Datum *, values),
											  unconstify(bool *, nulls), 1, dimensions,
											  lower_bounds, type, size, by_value, align));
}

/* Of each key its arguments, as those of the query alone; of which this is the text for many. */
LoadArguments *
cg_load_many_arguments(const LoadQuery *query, LoadArguments *const *arguments, int count)
{
	LoadArguments *all = palloc0(sizeof(LoadArguments));
	Datum *values = palloc_array(Datum, count);
	bool *nulls = palloc0_array(bool, count);

	all->count = query->parameter_count;
	all->types = query->parameter_types;
	all->values = palloc_array(Datum, all->count);
	all->nulls = palloc(all->count + 1);
	memset(all->nulls, ' ', all->count);
	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(i);
	all->values[0] = make_array(INT8OID, values, nulls, count);
	for (int parameter = 0; parameter < all->count - 1; parameter++)
	{
		for (int i = 0; i < count; i++)
		{
			values[i] = arguments[i]->values[parameter];
			nulls[i] = arguments[i]->nulls[parameter] == 'n';
		}
		all->values[parameter + 1] =
			make_array(arguments[0]->types[parameter], values, nulls, count);
	}
	return all;
}
