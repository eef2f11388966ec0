/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Redis servers as PostgreSQL declares them: foreign servers of the
 *	  wrapper cachegrid_redis, user mappings; and who owns a prefix there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/hash.h"
#include "mirror/mirror_internal.h"

#define WRAPPER	  "cachegrid_redis"
#define OWNER_KEY "cachegrid:owner:"

#define WORD(text) ((RedisString){.data = (text), .size = strlen(text)})

/*
 * The server of this name, if it is one of ours and the current user may use
 * it; raises an error otherwise.
 */
Oid
cg_mirror_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	AclResult result;

	if (!server)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("server \"%s\" does not exist", name),
				errdetail("No foreign server of this database has that name."),
				errhint("Create it with CREATE SERVER ... FOREIGN DATA WRAPPER " WRAPPER
						"."));
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, WRAPPER) != 0)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("server \"%s\" is not a Redis server", name),
				errdetail("It belongs to the foreign-data wrapper \"%s\".",
						  GetForeignDataWrapper(server->fdwid)->fdwname),
				errhint("Name a server of the foreign-data wrapper \"" WRAPPER "\"."));

	result = object_aclcheck(ForeignServerRelationId, server->serverid, GetUserId(),
							 ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, name);
	return server->serverid;
}

/*
 * The server of this name as the role may use it now; InvalidOid, and why, if
 * it may not.  It need not be the server that a mirror was made for.
 */
Oid
cg_mirror_find_server(const char *name, Oid role, const char **problem)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (!server)
		*problem = "the server does not exist any more";
	else if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, WRAPPER) != 0)
		*problem = "the server is not a Redis server any more";
	else if (object_aclcheck(ForeignServerRelationId, server->serverid, role,
							 ACL_USAGE) != ACLCHECK_OK)
		*problem = "the owner of the mirror may not use the server any more";
	else
		return server->serverid;
	return InvalidOid;
}

static void
set_options(RedisOptions *options, RedisOptionPlace place, List *list)
{
	ListCell *cell;

	foreach (cell, list)
	{
		DefElem *option = lfirst(cell);

		(void) cg_redis_set_option(options, place, option->defname, defGetString(option));
	}
}

/* The role's own mapping, else PUBLIC's, else none: then there is no AUTH. */
static void
set_mapping_options(RedisOptions *options, Oid server, Oid role)
{
	HeapTuple tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
									  ObjectIdGetDatum(server));
	Datum list;
	bool is_null;

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return;

	list = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions,
						   &is_null);
	if (!is_null)
		set_options(options, REDIS_OPTION_USER_MAPPING, untransformRelOptions(list));
	ReleaseSysCache(tuple);
}

/*
 * What it takes to connect to the server as the role, palloc'd; writer is
 * the name of RedisOptions.
 */
RedisOptions *
cg_mirror_server_options(Oid server, Oid role, const char *writer)
{
	RedisOptions *options = palloc0(sizeof(RedisOptions));

	set_options(options, REDIS_OPTION_SERVER, GetForeignServer(server)->options);
	set_mapping_options(options, server, role);
	options->name = writer;
	return options;
}

/*
 * Changes when the server or the role's mapping does, but for what only readers
 * heed: read_from; 0: there is none to use.
 */
uint64
cg_mirror_server_version(const char *name, Oid role)
{
	const char *problem;
	Oid server = cg_mirror_find_server(name, role, &problem);
	const RedisOptions *options;
	const char *parts[10];
	uint64 version;

	if (!OidIsValid(server))
		return 0;
	options = cg_mirror_server_options(server, role, NULL);
	parts[0] = options->mode == REDIS_MODE_CLUSTER ? "cluster" : "single";
	parts[1] = options->endpoints;
	parts[2] = options->username;
	parts[3] = options->password;
	parts[4] = options->tls.on ? "on" : "off";
	parts[5] = options->tls.ca;
	parts[6] = options->tls.server_name;
	parts[7] = options->tls.certificate;
	parts[8] = options->tls.key;
	parts[9] = options->tls.key_password;
	version = server;
	for (int i = 0; i < lengthof(parts); i++)
		version = parts[i] ? cg_hash(parts[i], strlen(parts[i]), version) : version + 1;
	return version;
}

/* The name under which this database writes to that server; palloc'd. */
char *
cg_mirror_writer_name(const char *server, Oid role)
{
	return psprintf("cachegrid:" UINT64_FORMAT ":%u:%016llx:%u", GetSystemIdentifier(),
					MyDatabaseId, (unsigned long long) cg_hash(server, strlen(server), 0),
					role);
}

/*
 * Look up, or with claim take, the mark in Redis that says whose prefix this
 * is.  False if Redis did not answer: see cg_redis_error().  *mine: it is
 * ours, or without claim nobody's.  *found: it was there before.
 */
bool
cg_mirror_owner(RedisGrid *grid, const char *server, const char *prefix,
				MirrorOwnership *ownership)
{
	RedisString key = WORD(psprintf(OWNER_KEY "%s", prefix));
	RedisString mark = WORD(
		psprintf(UINT64_FORMAT ":%u:%s", GetSystemIdentifier(), MyDatabaseId, server));
	RedisString get[] = {WORD("GET"), key};
	RedisString set[] = {WORD("SET"), key, mark, WORD("NX")};
	const RedisReply *reply;

	reply = cg_redis_call(grid, key, lengthof(get), get);
	if (!reply || reply->kind == REDIS_ERROR)
		return false;
	ownership->found = reply->kind == REDIS_STRING;
	ownership->mine =
		!ownership->found ||
		(reply->size == mark.size && memcmp(reply->data, mark.data, mark.size) == 0);
	if (ownership->found || !ownership->claim)
		return true;

	reply = cg_redis_call(grid, key, lengthof(set), set);
	if (!reply || reply->kind == REDIS_ERROR)
		return false;
	ownership->mine = reply->kind == REDIS_STATUS;
	return true;
}

/*
 * Connect as the definition's owner to its server; the grid is the caller's to
 * close.  *mine: the definition's prefix is ours there, or nobody's.  Raises an
 * error if Redis does not answer.
 */
RedisGrid *
cg_mirror_reach(const MirrorDefinition *definition, Oid server, bool *mine)
{
	RedisOptions *options = cg_mirror_server_options(server, definition->owner, NULL);
	RedisGrid *grid = cg_redis_open(CurrentMemoryContext, options);
	MirrorOwnership ownership = {.claim = false};

	if (!cg_redis_connect(grid) ||
		!cg_mirror_owner(grid, definition->server, definition->prefix, &ownership))
		cg_redis_report(grid, ERROR);
	*mine = ownership.mine;
	return grid;
}

/* Give the prefix up, if it is ours.  False if Redis did not answer. */
bool
cg_mirror_disown(RedisGrid *grid, const char *server, const char *prefix)
{
	RedisString key = WORD(psprintf(OWNER_KEY "%s", prefix));
	RedisString delete[] = {WORD("DEL"), key};
	MirrorOwnership ownership = {.claim = false};

	if (!cg_mirror_owner(grid, server, prefix, &ownership))
		return false;
	if (!ownership.mine)
		return true;
	return cg_redis_call(grid, key, lengthof(delete), delete) != NULL;
}

static void
refuse_option(const char *name, bool server)
{
	ereport(
		ERROR, errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
		errmsg("invalid option \"%s\"", name),
		errdetail("The foreign-data wrapper \"" WRAPPER "\" does not know it."),
		server
			? errhint("Valid options of a server are \"mode\", \"endpoints\", "
					  "\"read_from\", \"tls\", \"tls_ca\" and \"tls_server_name\".")
			: errhint("Valid options of a user mapping are \"username\", \"password\", "
					  "\"tls_certificate\", \"tls_key\" and \"tls_key_password\"."));
}

/* Who names a file has the server read it, and learns at least that it is there. */
static void
check_file_option(const char *name)
{
	if (cg_redis_names_file(name) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(
			ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied for option \"%s\"", name),
			errdetail("Only roles with the privileges of \"pg_read_server_files\" may "
					  "name files of the server."),
			errhint("Have such a role set the option."));
}

/*
 * Check the options of an object of the wrapper, which is of this catalog.
 * Raises an error for a bad one, and for any object but servers and user
 * mappings; never shows a user mapping's values.
 */
void
cg_mirror_check_options(List *list, Oid catalog)
{
	bool server = catalog == ForeignServerRelationId;
	RedisOptionPlace place = server ? REDIS_OPTION_SERVER : REDIS_OPTION_USER_MAPPING;
	RedisOptions options = {0};
	ListCell *cell;

	if (catalog == ForeignTableRelationId)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("foreign-data wrapper \"" WRAPPER "\" has no foreign tables"),
				errdetail("It only declares where Redis is."),
				errhint("Use cachegrid.mirror() to write a table's rows to Redis."));
	if (!server && catalog != UserMappingRelationId)
	{
		if (list != NIL)
			ereport(
				ERROR, errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				errmsg("invalid option \"%s\"", ((DefElem *) linitial(list))->defname),
				errdetail("The foreign-data wrapper itself has none."),
				errhint("Options belong to servers and user mappings."));
		return;
	}

	foreach (cell, list)
	{
		DefElem *option = lfirst(cell);

		if (!cg_redis_set_option(&options, place, option->defname, defGetString(option)))
			refuse_option(option->defname, server);
		check_file_option(option->defname);
	}
	cg_redis_check_declaration(&options, place);
}
