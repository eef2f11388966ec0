/*-------------------------------------------------------------------------
 *
 * declaration.c
 *	  mirror() and unmirror(): everything is checked, Redis included, before
 *	  anything is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

/* A time to live that Redis takes: below 2^53 milliseconds. */
#define MAX_TTL_MS (INT64CONST(1) << 53)

static MirrorMode
check_mode(const char *mode)
{
	if (strcmp(mode, "write-behind") == 0)
		return MIRROR_WRITE_BEHIND;
	if (strcmp(mode, "invalidate") == 0)
		return MIRROR_INVALIDATE;
	if (strcmp(mode, "write-through") == 0)
		return MIRROR_WRITE_THROUGH;
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid mode \"%s\"", mode),
			errdetail("A mode says what becomes of a changed row's key."),
			errhint("Valid modes are \"write-behind\", \"write-through\" and "
					"\"invalidate\"."));
}

/* What becomes of a commit, which only mode write-through cares about. */
static void
check_commit(const MirrorRequest *request, MirrorDefinition *definition)
{
	bool waits = definition->mode == MIRROR_WRITE_THROUGH;

	definition->degrades = strcmp(request->on_unavailable, "degrade") == 0;
	if (!definition->degrades && strcmp(request->on_unavailable, "error") != 0)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value \"%s\" of \"on_unavailable\"", request->on_unavailable),
			errdetail("It says what becomes of a commit when Redis is away."),
			errhint("Valid values are \"error\" and \"degrade\"."));
	if (!waits && (definition->degrades || !request->strict))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("mode \"%s\" does not wait for Redis", request->mode),
				errdetail("\"strict\" and \"on_unavailable\" say how a commit waits."),
				errhint("Leave them out, or use mode \"write-through\"."));
	definition->strict = waits && request->strict;
}

/* The same, as the table's triggers are to know it. */
static int
commit_wishes(const MirrorDefinition *definition)
{
	if (definition->mode != MIRROR_WRITE_THROUGH)
		return 0;
	return CG_OUTBOX_AWAIT | (definition->strict ? CG_OUTBOX_REMOVE : 0) |
		   (definition->degrades ? CG_OUTBOX_DEGRADE : 0);
}

static MirrorFormat
check_format(const MirrorRequest *request)
{
	bool hash = strcmp(request->format, "hash") == 0;

	if (!hash && strcmp(request->format, "json") != 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid format \"%s\"", request->format),
				errdetail("A format says how a row is written."),
				errhint("Valid formats are \"json\" and \"hash\"."));
	if (request->transform && (hash || request->columns != NIL))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a transform makes the whole value of a row"),
				errdetail("There is no use for \"%s\" beside it.",
						  hash ? "format" : "columns"),
				errhint("Leave it out, and let the function choose."));
	return hash ? MIRROR_HASH : MIRROR_JSON;
}

static void
check_jitter(const MirrorRequest *request)
{
	/* Also what is not a number. */
	if (!(request->ttl_jitter >= 0 && request->ttl_jitter <= 1))
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value %g of \"ttl_jitter\"", request->ttl_jitter),
			errdetail("It is the part of \"ttl\" by which that is shortened at most."),
			errhint("Pass a value between 0 and 1."));
	if (request->ttl_jitter > 0 && !request->ttl)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"ttl_jitter\" without \"ttl\""),
				errdetail("Keys that do not expire have none to shorten."),
				errhint("Pass a \"ttl\", too."));
}

/* In milliseconds, a month being thirty days; 0 for none. */
static int64
check_ttl(const Interval *ttl)
{
	double ms;

	if (!ttl)
		return 0;

	ms = ((double) ttl->month * DAYS_PER_MONTH + ttl->day) * SECS_PER_DAY * 1000.0 +
		 ttl->time / 1000.0;
	if (ms < 1.0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time to live must be at least one millisecond"),
				errdetail("Redis counts it in milliseconds."),
				errhint("Leave \"ttl\" out, or pass NULL, for keys that never expire."));
	if (ms > (double) MAX_TTL_MS)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time to live is too long"),
				errdetail("Redis counts it in milliseconds, at most %lld.",
						  (long long) MAX_TTL_MS),
				errhint("Leave \"ttl\" out, or pass NULL, for keys that never expire."));
	return (int64) ms;
}

static void
append_literal(StringInfo out, const char *text)
{
	for (; *text; text++)
	{
		if (*text == '{' || *text == '}')
			appendStringInfoChar(out, *text);
		appendStringInfoChar(out, *text);
	}
}

/* InvalidOid if there is none. */
static Oid
find_primary_key(Relation relation)
{
	ListCell *cell;

	/* Also one that is deferrable: it holds for whatever a snapshot shows. */
	foreach (cell, RelationGetIndexList(relation))
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		bool is_primary =
			HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indisprimary;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (is_primary)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* <table>:{first column of the primary key}:{second} ... */
static char *
default_key(Relation relation)
{
	Oid primary = find_primary_key(relation);
	Form_pg_index form;
	StringInfoData key;
	HeapTuple tuple;

	if (!OidIsValid(primary))
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("table \"%s\" has no primary key", RelationGetRelationName(relation)),
			errdetail("A mirror's keys must tell the table's rows apart."),
			errhint("Add a primary key, or pass \"key\", a template with all columns "
					"of another unique index."));

	initStringInfo(&key);
	append_literal(&key, RelationGetRelationName(relation));
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(primary));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", primary);
	form = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < form->indnkeyatts; i++)
		appendStringInfo(
			&key, ":{%s}",
			get_attname(RelationGetRelid(relation), form->indkey.values[i], false));
	ReleaseSysCache(tuple);
	return key.data;
}

static void
refuse_template(const char *key, const char *detail, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("cannot mirror under key template \"%s\"", key),
			errdetail("%s", detail), errhint("%s", hint));
}

/* Parse the template; does it tell the table's rows apart, and own a prefix? */
static CaptureTemplate *
check_template(Relation relation, const char *key, MirrorMode mode)
{
	CaptureTemplate *template = cg_capture_parse_template(key, relation);
	AttrNumber attnums[CG_OUTBOX_MAX_COLUMNS];
	int count = cg_mirror_key_columns(template, attnums);
	int prefix_size;
	const char *prefix = cg_capture_template_prefix(template, &prefix_size);

	if (count == 0)
		refuse_template(key, "It names no column.", "Write it like \"product:{id}\".");
	if (prefix_size == 0)
		refuse_template(key, "It has no prefix: nothing stands before its first colon.",
						"Write it like \"product:{id}\".");
	if (prefix_size == 9 && memcmp(prefix, "cachegrid", 9) == 0)
		refuse_template(key, "The prefix \"cachegrid\" is reserved.",
						"Choose another prefix.");
	if (mode == MIRROR_INVALIDATE)
		return template;

	if (!OidIsValid(cg_mirror_find_index(relation, attnums, count)))
		refuse_template(
			key,
			"Its columns are not those of a unique, not partial index that is "
			"ascending and NOT NULL, so several rows could have one key.",
			"Name all columns of such an index, or use mode \"invalidate\".");
	if (!cg_capture_template_is_injective(template))
		refuse_template(key, "Different rows could have the same key under it.",
						"Put a colon between the columns and use one column of text at "
						"most, or use mode \"invalidate\".");
	return template;
}

static void
check_columns(Relation relation, List *columns)
{
	ListCell *cell;
	ListCell *other;

	foreach (cell, columns)
	{
		const char *name = lfirst(cell);
		AttrNumber attnum = get_attnum(RelationGetRelid(relation), name);

		if (attnum <= 0)
			ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of table \"%s\" does not exist", name,
						   RelationGetRelationName(relation)),
					errdetail("Argument \"columns\" names it."),
					errhint("Column names are taken literally, with their upper and "
							"lower case."));
		for_each_cell(other, columns, lnext(columns, cell))
		{
			if (strcmp(name, lfirst(other)) == 0)
				ereport(ERROR, errcode(ERRCODE_DUPLICATE_COLUMN),
						errmsg("column \"%s\" is named more than once", name),
						errdetail("Argument \"columns\" names it."),
						errhint("Name each column once."));
		}
	}
}

/* Is only its prefix still to be cleaned, because it was ended or its table dropped? */
static bool
is_over(const MirrorDefinition *definition)
{
	return definition->dropped ||
		   !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(definition->relation));
}

/* Is there room for such a mirror? */
static void
check_others(const MirrorDefinition *definition)
{
	MirrorDefinition *other =
		cg_mirror_definition(definition->relation, definition->server);

	if (other)
		ereport(ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("table \"%s\" is already mirrored to server \"%s\"",
					   get_rel_name(definition->relation), definition->server),
				errdetail("A table has one mirror on a server."),
				errhint("Use cachegrid.unmirror() first."));

	other = cg_mirror_definition_of_prefix(definition->server, definition->prefix);
	if (other && !is_over(other))
		ereport(ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("prefix \"%s\" is already used by another mirror on server \"%s\"",
					   definition->prefix, definition->server),
				errdetail("It belongs to the mirror of table \"%s\".",
						  get_rel_name(other->relation)),
				errhint("Choose a key template with another prefix."));
}

/* Does Redis answer, as this user, and is the prefix free there? */
static void
check_redis(const MirrorDefinition *definition, Oid server)
{
	bool mine;

	cg_redis_close(cg_mirror_reach(definition, server, &mine));
	if (!mine)
		ereport(ERROR, errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("prefix \"%s\" in Redis belongs to another database or server",
					   definition->prefix),
				errdetail("The key \"cachegrid:owner:%s\" there says so.",
						  definition->prefix),
				errhint("Choose a key template with another prefix, or delete the key "
						"\"cachegrid:owner:%s\" in Redis if its owner is gone.",
						definition->prefix));
}

/* The checked definition; palloc'd, without an id. */
static MirrorDefinition *
check_request(const MirrorRequest *request, Relation relation, CaptureTemplate **template)
{
	MirrorDefinition *definition = palloc0(sizeof(MirrorDefinition));
	const char *prefix;
	int prefix_size;

	definition->mode = check_mode(request->mode);
	check_commit(request, definition);
	definition->format = check_format(request);
	definition->ttl_ms = check_ttl(request->ttl);
	check_jitter(request);
	definition->ttl_jitter = request->ttl_jitter;
	cg_mirror_check_table(relation);
	*template = check_template(
		relation, request->key ? request->key : default_key(relation), definition->mode);
	check_columns(relation, request->columns);
	definition->columns = request->columns;
	if (request->transform)
		definition->transform = cg_mirror_transform_name(relation, request->transform);
	if (definition->mode != MIRROR_INVALIDATE)
		(void) cg_mirror_encoder(relation, definition);

	prefix = cg_capture_template_prefix(*template, &prefix_size);
	definition->relation = RelationGetRelid(relation);
	definition->server = pstrdup(request->server);
	definition->owner = GetUserId();
	definition->key =
		cg_capture_template_to_argument(*template, RelationGetDescr(relation));
	definition->prefix = pnstrdup(prefix, prefix_size);
	return definition;
}

/* A relation that exists, opened and locked; raises a user's error if not. */
static Relation
open_relation(Oid oid, LOCKMODE lockmode)
{
	Relation relation = try_relation_open(oid, lockmode);

	if (!relation)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", oid),
				errdetail("It may have been dropped meanwhile."),
				errhint("Name a table that exists."));
	return relation;
}

/*
 * Mirror a table.  Locks it in SHARE ROW EXCLUSIVE mode to the end of the
 * transaction, but not while it waits for Redis.  Raises one clear error for
 * everything that is wrong.
 */
void
cg_mirror_declare(const MirrorRequest *request)
{
	Relation relation = open_relation(request->relation, AccessShareLock);
	CaptureTemplate *template;
	MirrorDefinition *definition;
	MirrorDefinition *dropped;
	CaptureMirror capture;
	Oid server;

	definition = check_request(request, relation, &template);
	server = cg_mirror_server(request->server);
	cg_outbox_require_database();
	check_others(definition);
	check_redis(definition, server);

	/* Its keys become ours: those that have no row will be found by the sweep. */
	dropped = cg_mirror_definition_of_prefix(definition->server, definition->prefix);
	if (dropped && is_over(dropped))
		cg_mirror_delete(dropped->id);
	capture.mirror = cg_mirror_insert(definition, request->mode, request->format);
	capture.wishes = commit_wishes(definition);
	capture.count = cg_mirror_key_columns(template, capture.attnums);
	cg_capture_set_mirror(definition->relation, &capture);
	cg_outbox_sweep(capture.mirror, definition->relation, 0);
	relation_close(relation, NoLock);
}

/* The mirror that the current user names and owns; raises an error if not. */
MirrorDefinition *
cg_mirror_require(Oid oid, const char *server)
{
	Relation relation = open_relation(oid, AccessShareLock);
	MirrorDefinition *definition;

	if (!object_ownercheck(RelationRelationId, oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE,
					   RelationGetRelationName(relation));
	definition = cg_mirror_definition(oid, server);
	if (!definition)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("table \"%s\" is not mirrored to server \"%s\"",
					   RelationGetRelationName(relation), server),
				errdetail("The view cachegrid.stat_mirror lists the tables that are."),
				errhint("Use cachegrid.mirror() to mirror it."));
	relation_close(relation, NoLock);
	return definition;
}

/* Stop mirroring; the worker then removes the keys from Redis. */
void
cg_mirror_undeclare(Oid relation, const char *server)
{
	MirrorDefinition *definition = cg_mirror_require(relation, server);

	cg_outbox_require_database();
	cg_mirror_mark_dropped(definition->id);
	cg_capture_drop_mirror(relation, definition->id);
	cg_outbox_sweep(definition->id, relation, 0);
}

/*
 * Have the worker write the whole table again, or those rows that differ from what Redis
 * has, and remove surplus keys.
 */
void
cg_mirror_resync(Oid relation, const char *server, bool differences)
{
	MirrorDefinition *definition = cg_mirror_require(relation, server);

	cg_outbox_require_database();
	if (differences)
		cg_outbox_compare(definition->id);
	else
		cg_outbox_sweep(definition->id, relation, 0);
}
