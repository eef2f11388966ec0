/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Rows of a table that cache_table() has given a cache, as they are.
 *
 * A row is kept in its own type, so nothing of it is lost on the way through text or json.
 * It stands beside the object that fetch() gives for the same key, under a key of its
 * own, and depends on the object's key, by which the changes of the row come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "load/running.h"

/* What is appended to the key of the object. */
#define ROW_SUFFIX "::row"

/* The one cache whose source the table is, or an error. */
static const CachePolicy *
find_cache(Oid table, Oid row_type)
{
	const CachePolicy *found = NULL;
	ListCell *cell;

	foreach (cell, cg_cache_policies())
	{
		const CachePolicy *policy = lfirst(cell);

		if (!OidIsValid(table) || policy->source != table)
			continue;
		if (found)
			ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\" has several caches", get_rel_name(table)),
					errdetail("Among them are \"%s\" and \"%s\".", NameStr(found->name),
							  NameStr(policy->name)),
					errhint("Drop all but one, or use fetch(), whose key names one."));
		found = policy;
	}
	if (!found)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("type %s is not the row type of a cached table",
				   format_type_be(row_type)),
			errdetail("No cache was made of such a table, or it has another loader now."),
			errhint("Call cachegrid.cache_table() for it."));
	return found;
}

/* The columns of the primary key, in its order; raises an error if there is none. */
static List *
find_key_columns(Relation table)
{
	Oid oid;
	HeapTuple tuple;
	Form_pg_index index;
	List *columns = NIL;

	(void) RelationGetIndexList(table);
	oid = table->rd_pkindex;
	tuple = OidIsValid(oid) ? SearchSysCache1(INDEXRELID, ObjectIdGetDatum(oid)) : NULL;
	if (!HeapTupleIsValid(tuple))
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("relation \"%s\" has no primary key", RelationGetRelationName(table)),
			errdetail("A row is found by its primary key."),
			errhint("Add one, and make the cache anew."));
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < index->indnkeyatts; i++)
		columns = lappend_int(columns, index->indkey.values[i]);
	ReleaseSysCache(tuple);
	return columns;
}

/* One SELECT of the row, by its key as $1, $2 ...  A column could be called as the table. */
static char *
make_query(Relation table, List *columns)
{
	TupleDesc desc = RelationGetDescr(table);
	const char *name = quote_qualified_identifier(
		get_namespace_name(RelationGetNamespace(table)), RelationGetRelationName(table));
	StringInfoData query;
	ListCell *cell;
	int place = 0;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT t.*::%s FROM %s AS t WHERE", name, name);
	foreach (cell, columns)
	{
		NameData *column = &TupleDescAttr(desc, lfirst_int(cell) - 1)->attname;

		place++;
		appendStringInfo(&query, "%s t.%s OPERATOR(pg_catalog.=) $%d",
						 place > 1 ? " AND" : "", quote_identifier(NameStr(*column)),
						 place);
	}
	return query.data;
}

/* The key of the row's object: the cache and the parts, with colons between. */
static char *
make_key(const char *cache, ArrayType *parts)
{
	StringInfoData key;
	Datum *elements;
	bool *nulls;
	int count;

	initStringInfo(&key);
	appendStringInfoString(&key, cache);
	deconstruct_array(parts, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			cg_key_refuse_null("key");
		appendStringInfo(&key, ":%s", TextDatumGetCString(elements[i]));
	}
	return key.data;
}

static void
check_part_count(Relation table, ArrayType *parts, int columns)
{
	int given = ArrayGetNItems(ARR_NDIM(parts), ARR_DIMS(parts));

	if (given != columns)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of key columns does not match the table"),
				errdetail("The primary key of \"%s\" has %d columns; given are %d.",
						  RelationGetRelationName(table), columns, given),
				errhint("Give a text for each of them."));
}

static void
check_type(const CacheValue *value, const CacheKey *key, Oid row_type)
{
	if (OidIsValid(value->type) && value->type != row_type)
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("value of key \"%.*s\" has type %s, not %s", key->size, key->data,
					   format_type_be(value->type), format_type_be(row_type)),
				errdetail("The key is that of a cached row, and somebody has set it."),
				errhint("Delete it by cachegrid.delete()."));
}

Datum
cg_load_fetch_row(Oid row_type, ArrayType *key, bool *isnull)
{
	LoadRequest request = {.arguments = key, .row_type = row_type};
	const CachePolicy *policy = find_cache(typeidTypeRelid(row_type), row_type);
	CacheKey object_key;
	CacheValue value;
	Relation table;
	List *columns;
	char *name;

	request.run_as = policy->run_as;
	name = make_key(NameStr(policy->name), key);
	table = relation_open(policy->source, AccessShareLock);
	columns = find_key_columns(table);
	check_part_count(table, key, list_length(columns));
	request.query = make_query(table, columns);
	request.query_size = strlen(request.query);
	relation_close(table, AccessShareLock);

	object_key = cg_key_from_text(cstring_to_text(name));
	request.row_key = &object_key;
	request.key = cg_key_from_text(cstring_to_text(psprintf("%s" ROW_SUFFIX, name)));
	value = cg_load_value(&request);
	check_type(&value, &request.key, row_type);
	*isnull = !OidIsValid(value.type);
	return value.datum;
}
