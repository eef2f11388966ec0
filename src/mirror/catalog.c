/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  The tables cachegrid.mirrors and cachegrid.event_streams.
 *
 * Who calls mirror() has no rights on this floor's tables: they are read and
 * written as the superuser, with the settings pinned so that nothing of the
 * caller's leaks in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define DEFINITION_COLUMNS                                                              \
	"id, relation::oid, server::text, owner::oid, key, prefix, mode, columns::text[], " \
	"(extract(epoch FROM ttl) * 1000)::bigint, dropped, strict, on_unavailable, "       \
	"format, ttl_jitter, transform, NULL::text, false"

/* The same of a stream.  No mirror's prefix has a colon. */
#define STREAM_COLUMNS                                                        \
	"id, relation::oid, server::text, owner::oid, '', 'events:' || channel, " \
	"'stream', NULL::text[], NULL::bigint, dropped, false, 'error', 'json', " \
	"0::double precision, NULL::text, channel, sharded"

/* Backend-local: one access at a time; an error ends the transaction with it. */
static MirrorCaller entered;

/*
 * Settings that change what a value looks like as text or JSON, or what a
 * name means.  Redis gets what they give.
 */
void
cg_mirror_pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"DateStyle", "ISO, MDY"},
		{"TimeZone", "UTC"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"xmlbinary", "base64"},
		{"lc_monetary", "C"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		set_config_option(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, 0, false);
}

/* Until the matching end: SPI, as the superuser, with pinned settings. */
void
cg_mirror_catalog_begin(void)
{
	GetUserIdAndSecContext(&entered.user, &entered.security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   entered.security | SECURITY_LOCAL_USERID_CHANGE);
	entered.guc_level = NewGUCNestLevel();
	cg_mirror_pin_settings();
	SPI_connect();
}

void
cg_mirror_catalog_end(void)
{
	SPI_finish();
	AtEOXact_GUC(false, entered.guc_level);
	SetUserIdAndSecContext(entered.user, entered.security);
}

/* Runs a command between begin and end; returns how many rows it touched. */
uint64
cg_mirror_execute(const char *command, int count, Oid *types, Datum *values,
				  const char *nulls)
{
	int result = SPI_execute_with_args(command, count, types, values, nulls, false, 0);

	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", command, SPI_result_code_string(result));
	return SPI_processed;
}

static List *
columns_of(Datum array)
{
	List *columns = NIL;
	Datum *names;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &names,
					  NULL, &count);
	for (int i = 0; i < count; i++)
		columns = lappend(columns, TextDatumGetCString(names[i]));
	return columns;
}

static MirrorMode
mode_of(const char *name)
{
	if (strcmp(name, "invalidate") == 0)
		return MIRROR_INVALIDATE;
	if (strcmp(name, "write-through") == 0)
		return MIRROR_WRITE_THROUGH;
	if (strcmp(name, "stream") == 0)
		return MIRROR_STREAM;
	return MIRROR_WRITE_BEHIND;
}

/* A row of DEFINITION_COLUMNS; copied into the current context. */
static MirrorDefinition *
read_definition(HeapTuple tuple, TupleDesc desc)
{
	MirrorDefinition *definition = palloc0(sizeof(MirrorDefinition));
	Datum values[17];
	bool nulls[17];

	heap_deform_tuple(tuple, desc, values, nulls);
	definition->id = DatumGetInt32(values[0]);
	definition->relation = DatumGetObjectId(values[1]);
	definition->server = TextDatumGetCString(values[2]);
	definition->owner = DatumGetObjectId(values[3]);
	definition->key = TextDatumGetCString(values[4]);
	definition->prefix = TextDatumGetCString(values[5]);
	definition->mode = mode_of(TextDatumGetCString(values[6]));
	definition->columns = nulls[7] ? NIL : columns_of(values[7]);
	definition->ttl_ms = nulls[8] ? 0 : DatumGetInt64(values[8]);
	definition->dropped = DatumGetBool(values[9]);
	definition->strict = DatumGetBool(values[10]);
	definition->degrades = strcmp(TextDatumGetCString(values[11]), "degrade") == 0;
	definition->format =
		strcmp(TextDatumGetCString(values[12]), "hash") == 0 ? MIRROR_HASH : MIRROR_JSON;
	definition->ttl_jitter = DatumGetFloat8(values[13]);
	definition->transform = nulls[14] ? NULL : TextDatumGetCString(values[14]);
	definition->channel = nulls[15] ? NULL : TextDatumGetCString(values[15]);
	definition->sharded = DatumGetBool(values[16]);
	return definition;
}

/* The definitions that a query selects, in the context that is current. */
static List *
select_definitions(const char *query, int count, Oid *types, Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	List *definitions = NIL;

	cg_mirror_catalog_begin();
	cg_mirror_execute(query, count, types, values, NULL);
	spi = MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		definitions = lappend(
			definitions, read_definition(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
	MemoryContextSwitchTo(spi);
	cg_mirror_catalog_end();
	return definitions;
}

/*
 * All of them, streams and the dropped ones too; palloc'd.  Needs an active snapshot.
 */
List *
cg_mirror_definitions(void)
{
	return select_definitions("SELECT " DEFINITION_COLUMNS " FROM cachegrid.mirrors"
							  " UNION ALL SELECT " STREAM_COLUMNS
							  " FROM cachegrid.event_streams ORDER BY id",
							  0, NULL, NULL);
}

/* The table's stream, NULL if it has none. */
MirrorDefinition *
cg_mirror_stream_of(Oid relation)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(relation);
	List *definitions =
		select_definitions("SELECT " STREAM_COLUMNS " FROM cachegrid.event_streams"
						   " WHERE relation::oid = $1 AND NOT dropped",
						   1, &type, &value);

	return definitions == NIL ? NULL : linitial(definitions);
}

/* The table's mirror on that server, NULL if there is none. */
MirrorDefinition *
cg_mirror_definition(Oid relation, const char *server)
{
	Oid types[] = {OIDOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(relation), CStringGetTextDatum(server)};
	List *definitions = select_definitions(
		"SELECT " DEFINITION_COLUMNS " FROM cachegrid.mirrors"
		" WHERE relation::oid = $1 AND server::text = $2 AND NOT dropped",
		2, types, values);

	return definitions == NIL ? NULL : linitial(definitions);
}

/* Whose prefix it is on that server, dropped mirrors included; or NULL. */
MirrorDefinition *
cg_mirror_definition_of_prefix(const char *server, const char *prefix)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(server), CStringGetTextDatum(prefix)};
	List *definitions =
		select_definitions("SELECT " DEFINITION_COLUMNS " FROM cachegrid.mirrors"
						   " WHERE server::text = $1 AND prefix = $2",
						   2, types, values);

	return definitions == NIL ? NULL : linitial(definitions);
}

/* Is the extension here, and has it a mirror or a stream?  Needs an active snapshot. */
bool
cg_mirror_exists(void)
{
	bool exists;

	if (!OidIsValid(get_extension_oid("cachegrid", true)) ||
		!OidIsValid(get_relname_relid("mirrors", get_namespace_oid("cachegrid", true))))
		return false;

	cg_mirror_catalog_begin();
	exists = cg_mirror_execute("SELECT FROM cachegrid.mirrors UNION ALL"
							   " SELECT FROM cachegrid.event_streams LIMIT 1",
							   0, NULL, NULL, NULL) > 0;
	cg_mirror_catalog_end();
	return exists;
}

static Datum
array_of(List *columns)
{
	Datum *names = palloc(list_length(columns) * sizeof(Datum));
	ListCell *cell;
	int count = 0;

	foreach (cell, columns)
		names[count++] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(
		construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Run an INSERT that returns an id. */
static int32
insert_for_id(const char *command, int count, Oid *types, Datum *values,
			  const char *nulls)
{
	bool is_null;
	int32 id;

	cg_mirror_catalog_begin();
	cg_mirror_execute(command, count, types, values, nulls);
	id = DatumGetInt32(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	cg_mirror_catalog_end();
	return id;
}

/* Insert a definition; returns its id. */
int32
cg_mirror_insert(const MirrorDefinition *definition, const char *mode, const char *format)
{
	Oid types[] = {OIDOID,		 TEXTOID, OIDOID,  TEXTOID, TEXTOID,   TEXTOID, TEXTOID,
				   TEXTARRAYOID, INT8OID, BOOLOID, TEXTOID, FLOAT8OID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(definition->relation),
					  CStringGetTextDatum(definition->server),
					  ObjectIdGetDatum(definition->owner),
					  CStringGetTextDatum(definition->key),
					  CStringGetTextDatum(definition->prefix),
					  CStringGetTextDatum(mode),
					  CStringGetTextDatum(format),
					  array_of(definition->columns),
					  Int64GetDatum(definition->ttl_ms),
					  BoolGetDatum(definition->strict),
					  CStringGetTextDatum(definition->degrades ? "degrade" : "error"),
					  Float8GetDatum(definition->ttl_jitter),
					  (Datum) 0};
	char nulls[] = "             ";

	if (definition->columns == NIL)
		nulls[7] = 'n';
	if (definition->ttl_ms == 0)
		nulls[8] = 'n';
	if (definition->transform)
		values[12] = CStringGetTextDatum(definition->transform);
	else
		nulls[12] = 'n';

	return insert_for_id(
		"INSERT INTO cachegrid.mirrors"
		" (relation, server, owner, key, prefix, mode, format, columns, ttl, strict,"
		" on_unavailable, ttl_jitter, transform)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8::name[],"
		" $9 * interval '1 millisecond', $10, $11, $12, $13) RETURNING id",
		lengthof(types), types, values, nulls);
}

/* Insert a stream; returns its id. */
int32
cg_mirror_insert_stream(const MirrorDefinition *definition)
{
	Oid types[] = {OIDOID, TEXTOID, OIDOID, TEXTOID, BOOLOID};
	Datum values[] = {
		ObjectIdGetDatum(definition->relation), CStringGetTextDatum(definition->server),
		ObjectIdGetDatum(definition->owner), CStringGetTextDatum(definition->channel),
		BoolGetDatum(definition->sharded)};

	return insert_for_id("INSERT INTO cachegrid.event_streams"
						 " (relation, server, owner, channel, sharded)"
						 " VALUES ($1, $2, $3, $4, $5) RETURNING id",
						 lengthof(types), types, values, NULL);
}

/* The table's streams end, but for this one; 0: all.  The worker deletes them. */
void
cg_mirror_drop_streams(Oid relation, int32 but)
{
	Oid types[] = {OIDOID, INT4OID};
	Datum values[] = {ObjectIdGetDatum(relation), Int32GetDatum(but)};

	cg_mirror_catalog_begin();
	cg_mirror_execute("UPDATE cachegrid.event_streams SET dropped = true"
					  " WHERE relation::oid = $1 AND id <> $2 AND NOT dropped",
					  2, types, values, NULL);
	cg_mirror_catalog_end();
}

static void
execute_for_mirror(const char *command, int32 mirror)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(mirror);

	cg_mirror_catalog_begin();
	cg_mirror_execute(command, 1, &type, &value, NULL);
	cg_mirror_catalog_end();
}

/* The worker will remove its keys, and then its row. */
void
cg_mirror_mark_dropped(int32 mirror)
{
	execute_for_mirror("UPDATE cachegrid.mirrors SET dropped = true WHERE id = $1",
					   mirror);
}

void
cg_mirror_delete(int32 mirror)
{
	execute_for_mirror("DELETE FROM cachegrid.mirror_progress WHERE mirror = $1", mirror);
	execute_for_mirror("DELETE FROM cachegrid.mirror_parked WHERE mirror = $1", mirror);
	execute_for_mirror("DELETE FROM cachegrid.mirrors WHERE id = $1", mirror);
	execute_for_mirror("DELETE FROM cachegrid.event_streams WHERE id = $1", mirror);
}
