/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Prepares the queries that compute values, keeps the last ones used,
 *	  and runs them.
 *
 * A query is one SELECT; the types of its parameters follow from their use.
 * It is run under the very snapshot that its caller reads by, read-only, so
 * that its value is what a hit for that snapshot must be.
 *
 * The result is of one type whatever the data: no row is SQL NULL, one row
 * with one column is that column's value, one row with several is an object;
 * more rows are an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/scansup.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/hash.h"
#include "coherence/coherence.h"
#include "load/purity.h"
#include "load/query.h"

/* As many queries are kept per session; beyond it the longest unused goes. */
#define MAX_KEPT_QUERIES 256

#define MAX_SCHEMAS 16

/* Backend-local: the kept queries by their hash, and the last used first. */
static HTAB *kept_queries = NULL;
static dlist_head kept_by_recency = DLIST_STATIC_INIT(kept_by_recency);

typedef struct KeptQuery
{
	uint64 hash; /* must be first */
	LoadQuery *query;
} KeptQuery;

/* A search for constants that the text writes as 'now' and the like. */
typedef struct LiteralSearch
{
	const char *text;
	bool found;
} LiteralSearch;

/* Show the place of an error in the loader's query, not in the caller's. */
static void
transpose_error_position(void *text)
{
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) text);
	}
}

/* The closing quote of a literal, two of which stand for one inside; or NULL. */
static const char *
end_of_literal(const char *literal)
{
	const char *quote = strchr(literal, '\'');

	while (quote && (quote = strchr(quote + 1, '\'')) != NULL && quote[1] == '\'')
		quote++;
	return quote;
}

/* Does the literal say something else than its bytes, or go on in the next line? */
static bool
is_obscure(const char *literal, const char *end)
{
	for (const char *byte = literal; byte < end; byte++)
		if (*byte == '\\' || *byte == '&')
			return true;
	while (scanner_isspace(*++end))
		;
	return *end == '\'';
}

/* Looks at the literal at this place of the text, or further if it is not in plain quotes. */
static bool
moves(const char *text, int location, Oid type)
{
	const char *literal = text + location;
	const char *end = end_of_literal(literal);

	if (end && is_obscure(literal, end))
		return type != UNKNOWNOID && !cg_load_type_is_read_steadily(type);
	return cg_load_literal_moves(end ? pnstrdup(literal, end - literal) : literal, type);
}

static bool
find_moving_literal(Node *node, void *context)
{
	LiteralSearch *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_moving_literal, context, 0);
	if (IsA(node, Const))
	{
		Const *constant = (Const *) node;

		if (constant->location >= 0 && !constant->constisnull &&
			moves(search->text, constant->location, constant->consttype))
			search->found = true;
		return search->found;
	}
	return expression_tree_walker(node, find_moving_literal, context);
}

static void
check_parameters(const LoadQuery *query)
{
	for (int i = 0; i < query->parameter_count; i++)
		if (query->parameter_types[i] == InvalidOid ||
			query->parameter_types[i] == UNKNOWNOID)
			ereport(ERROR, errcode(ERRCODE_INDETERMINATE_DATATYPE),
					errmsg("could not determine data type of parameter $%d", i + 1),
					errdetail("Its use in the query leaves it open."),
					errhint("Cast it, as in $%d::text.", i + 1));
}

/* Find out whether the text is one SELECT, and the types of its parameters. */
static void
analyze_text(LoadQuery *query)
{
	ErrorContextCallback callback = {.previous = error_context_stack,
									 .callback = transpose_error_position,
									 .arg = unconstify(char *, query->text)};
	LiteralSearch search = {.text = query->text};
	List *statements;
	Query *analyzed;
	Oid *types = NULL;
	int count = 0;

	error_context_stack = &callback;
	statements = pg_parse_query(query->text);
	if (list_length(statements) != 1)
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("query to be cached must be one statement"),
				errdetail("The text has %d.", list_length(statements)),
				errhint("Write one SELECT."));
	if (!IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("query to be cached must be a SELECT"),
				errdetail("It is another command."), errhint("Write one SELECT."));

	analyzed = parse_analyze_varparams(linitial_node(RawStmt, statements), query->text,
									   &types, &count, NULL);
	if (analyzed->commandType != CMD_SELECT)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("query to be cached must not write"),
				errdetail("It is a SELECT INTO."), errhint("Leave out INTO."));
	if (analyzed->hasModifyingCTE)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("query to be cached must not write"),
				errdetail("It has a data-modifying WITH clause."),
				errhint("Write in a statement of its own."));
	(void) find_moving_literal((Node *) analyzed, &search);
	error_context_stack = callback.previous;

	query->moving_literal = search.found;
	query->parameter_count = count;
	query->parameter_types =
		MemoryContextAlloc(query->context, sizeof(Oid) * (count + 1));
	if (count > 0)
		memcpy(query->parameter_types, types, sizeof(Oid) * count);
	check_parameters(query);
}

static void
forget(LoadQuery *query)
{
	(void) hash_search(kept_queries, &query->hash, HASH_REMOVE, NULL);
	dlist_delete(&query->recency);
	SPI_freeplan(query->plan);
	MemoryContextDelete(query->context);
}

static void
keep(LoadQuery *query)
{
	KeptQuery *kept;
	bool found;

	if (!kept_queries)
	{
		HASHCTL info = {.keysize = sizeof(uint64), .entrysize = sizeof(KeptQuery)};

		kept_queries = hash_create("kept queries of cachegrid", MAX_KEPT_QUERIES, &info,
								   HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(kept_queries, &query->hash, HASH_ENTER, &found);
	Assert(!found);
	kept->query = query;
	dlist_push_head(&kept_by_recency, &query->recency);
	(void) SPI_keepplan(query->plan);
	MemoryContextSetParent(query->context, CacheMemoryContext);
}

/*
 * A name in the query may come to mean something else without any change of
 * what it meant: a table earlier in the search path, another function.  All
 * DDL of that sort stamps the slot of the privileges.
 */
static Dependency
meaning_of_names(void)
{
	return cg_dependency(DEPENDENCY_PRIVILEGES, "", 0);
}

/*
 * As long as a stamper is unsettled, its DDL may not have been seen yet; and
 * our own has no stamp before the commit, and none at all if it is rolled back.
 */
static bool
names_mean_the_same(const LoadQuery *query)
{
	return query->names_settled && !cg_coherence_catalog_changed_by_me() &&
		   query->names_gen == cg_coherence_gen(meaning_of_names());
}

static LoadQuery *
make_query(const char *text, int size, uint64 hash)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "query of cachegrid", ALLOCSET_SMALL_SIZES);
	LoadQuery *query = MemoryContextAllocZero(context, sizeof(LoadQuery));
	char *copy = MemoryContextAlloc(context, size + 1);

	memcpy(copy, text, size);
	copy[size] = '\0';
	query->hash = hash;
	query->text = copy;
	query->context = context;
	query->names_settled = cg_coherence_settled(meaning_of_names(), GetActiveSnapshot(),
												&query->names_gen) &&
						   cg_coherence_believes(GetActiveSnapshot()) &&
						   !cg_coherence_catalog_changed_by_me();
	analyze_text(query);
	query->plan = SPI_prepare(copy, query->parameter_count, query->parameter_types);
	if (!query->plan)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	return query;
}

static bool
is_text(const LoadQuery *query, const char *text, int size)
{
	return strncmp(query->text, text, size) == 0 && query->text[size] == '\0';
}

/*
 * Of text, search path and role: schemas are looked into, and functions taken
 * for their results, by the rights of who prepares the query.
 */
static uint64
hash_query(const char *text, int size)
{
	Oid schemas[MAX_SCHEMAS] = {0};
	int count = fetch_search_path_array(schemas, MAX_SCHEMAS);

	return cg_hash(text, size,
				   cg_hash(schemas, sizeof(Oid) * Min(count, MAX_SCHEMAS), GetUserId()));
}

/*
 * The prepared query of this text under the present search path and role, made
 * or kept.  One whose tables have changed, or whose names may mean something
 * else, is made anew, and its parameters may have other types then.  A nested
 * load, whose outer one may be running the kept one, leaves that alone and
 * makes one for itself, until SPI_finish.
 */
LoadQuery *
cg_load_query_prepare(const char *text, int size, bool nested)
{
	uint64 hash = hash_query(text, size);
	KeptQuery *kept =
		kept_queries ? hash_search(kept_queries, &hash, HASH_FIND, NULL) : NULL;
	LoadQuery *query;

	if (kept && is_text(kept->query, text, size) &&
		SPI_plan_is_valid(kept->query->plan) && names_mean_the_same(kept->query))
	{
		dlist_move_head(&kept_by_recency, &kept->query->recency);
		return kept->query;
	}
	query = make_query(text, size, hash);
	if (kept && nested)
		return query;
	if (kept)
		forget(kept->query);
	while (!nested && kept_queries &&
		   hash_get_num_entries(kept_queries) >= MAX_KEPT_QUERIES)
		forget(dlist_container(LoadQuery, recency, dlist_tail_node(&kept_by_recency)));
	keep(query);
	return query;
}

/*
 * The query prepared once more, for this load alone, until SPI_finish.  It is planned
 * under the active snapshot, not under the one of whoever ran the kept one before.
 */
LoadQuery *
cg_load_query_prepare_anew(const LoadQuery *query)
{
	return make_query(query->text, strlen(query->text), query->hash);
}

/* Any value as jsonb, as to_jsonb() would make it, in the current context. */
Datum
cg_load_to_jsonb(Datum value, Oid type)
{
	FmgrInfo function;
	Node *argument;

	if (type == JSONBOID)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));

	/* to_jsonb() asks its call for the type of its argument. */
	argument = (Node *) makeNullConst(type, -1, InvalidOid);
	fmgr_info(F_TO_JSONB, &function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &function);
	return FunctionCall1(&function, value);
}

/*
 * What somebody put may be of a type whose cast to json is a function of his:
 * the reader's rights are not lent to that, such a value counts as its text.
 */
Datum
cg_load_value_to_jsonb(const CacheValue *value, bool *isnull)
{
	Oid output;
	bool is_varlena;

	*isnull = value->type == InvalidOid;
	if (*isnull || value->type == JSONBOID)
		return value->datum;
	if (cg_load_type_is_json_by_itself(value->type))
		return cg_load_to_jsonb(value->datum, value->type);

	getTypeOutputInfo(value->type, &output, &is_varlena);
	return cg_load_to_jsonb(
		CStringGetTextDatum(OidOutputFunctionCall(output, value->datum)), TEXTOID);
}

/* Run the query under the active snapshot. */
void
cg_load_query_run(LoadQuery *query, const LoadArguments *arguments, int rows)
{
	int result =
		SPI_execute_snapshot(query->plan, arguments->values, arguments->nulls,
							 GetActiveSnapshot(), InvalidSnapshot, true, false, rows);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not run query: %s", SPI_result_code_string(result));
}
