/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Declares streams: where what happens to the keys of a watched table is
 *	  published.
 *
 * Their life is that of the watch: each watch() says anew whether there is one.
 * One with the same server and channel goes on with its numbers; any other ends,
 * and its row is left to the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

#define MAX_CHANNEL_BYTES 512

#define WORD(text) ((RedisString){.data = (text), .size = strlen(text)})

/* The server that the user has the table mirrored to, if it is one. */
static char *
server_of_mirrors(Oid relation)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID, OIDOID};
	Datum values[] = {ObjectIdGetDatum(relation), ObjectIdGetDatum(GetUserId())};
	char *server = NULL;
	uint64 count;

	cg_mirror_catalog_begin();
	count = cg_mirror_execute("SELECT DISTINCT server FROM cachegrid.mirrors WHERE"
							  " relation::oid = $1 AND owner::oid = $2 AND NOT dropped",
							  2, types, values, NULL);
	if (count == 1)
		server = MemoryContextStrdup(
			caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	cg_mirror_catalog_end();
	if (!server)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("no server to publish changes of table \"%s\" through",
				   get_rel_name(relation)),
			count == 0
				? errdetail("You have not mirrored it to any.")
				: errdetail("You have mirrored it to " UINT64_FORMAT " servers.", count),
			errhint("Name one with the argument \"server\"."));
	return server;
}

/* cachegrid:<database>:<schema>.<table> */
static char *
default_channel(Oid relation)
{
	return psprintf("cachegrid:%s:%s.%s", get_database_name(MyDatabaseId),
					get_namespace_name(get_rel_namespace(relation)),
					get_rel_name(relation));
}

static char *
check_channel(const StreamRequest *request, Oid relation)
{
	if (!request->channel)
		return default_channel(relation);
	if (request->channel[0] == '\0' || strlen(request->channel) > MAX_CHANNEL_BYTES)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid channel \"%.64s\"", request->channel),
				errdetail("The name of a channel has 1 to %d bytes.", MAX_CHANNEL_BYTES),
				errhint("Leave \"channel\" out for one that is named after the table."));
	return pstrdup(request->channel);
}

/* Does Redis know the command?  Who may not ask learns it from the worker. */
static void
check_sharded(RedisGrid *grid)
{
	RedisString words[] = {WORD("COMMAND"), WORD("INFO"), WORD("SPUBLISH")};
	const RedisReply *reply = cg_redis_call_node(grid, 0, lengthof(words), words);

	if (!reply)
		cg_redis_report(grid, ERROR);
	if (reply->kind == REDIS_ARRAY && reply->element_count == 1 &&
		reply->elements[0]->kind == REDIS_NIL)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("Redis node \"%s\" has no sharded channels",
					   cg_redis_node_name(grid, 0)),
				errdetail("It does not know the command SPUBLISH, which came with "
						  "Redis 7.0."),
				errhint("Leave \"sharded\" out."));
}

/* Does Redis answer, as this user, and is the channel free there? */
static void
check_redis(const MirrorDefinition *definition, Oid server)
{
	bool mine;
	RedisGrid *grid = cg_mirror_reach(definition, server, &mine);

	if (definition->sharded)
		check_sharded(grid);
	cg_redis_close(grid);

	if (!mine)
		ereport(ERROR, errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("channel \"%s\" belongs to another database or server",
					   definition->channel),
				errdetail("The key \"cachegrid:owner:%s\" in Redis says so.",
						  definition->prefix),
				errhint("Choose another channel, or delete that key if its owner is "
						"gone."));
}

static bool
is_same(const MirrorDefinition *a, const MirrorDefinition *b)
{
	return strcmp(a->server, b->server) == 0 && a->owner == b->owner &&
		   strcmp(a->channel, b->channel) == 0 && a->sharded == b->sharded;
}

/* The id of the stream that is asked for, new or the one that is there. */
static int32
declare_stream(Oid relation, const StreamRequest *request)
{
	MirrorDefinition definition = {.relation = relation,
								   .owner = GetUserId(),
								   .mode = MIRROR_STREAM,
								   .sharded = request->sharded};
	const MirrorDefinition *present;
	Oid server;

	definition.channel = check_channel(request, relation);
	definition.prefix = psprintf("events:%s", definition.channel);
	definition.server =
		request->server ? pstrdup(request->server) : server_of_mirrors(relation);
	server = cg_mirror_server(definition.server);
	cg_outbox_require_database();
	check_redis(&definition, server);

	present = cg_mirror_stream_of(relation);
	if (present && is_same(present, &definition))
		return present->id;
	return cg_mirror_insert_stream(&definition);
}

/*
 * Put a table under watch; with a request, publish what happens to its keys, from an
 * event that says "all" on.  Waits for Redis, before the table is locked in SHARE ROW
 * EXCLUSIVE mode to the end of the transaction.  Raises one clear error for
 * everything that is wrong.
 */
void
cg_mirror_watch(Oid relation, CaptureWatch *watch, const StreamRequest *request)
{
	char *name = get_rel_name(relation);

	/* Without a table, the capture says what is wrong. */
	if (request && name)
	{
		if (!object_ownercheck(RelationRelationId, relation, GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, name);
		watch->stream = declare_stream(relation, request);
	}
	cg_capture_watch(relation, watch);
	cg_mirror_drop_streams(relation, watch->stream);
	if (watch->stream != 0)
		cg_outbox_event(watch->stream, OUTBOX_SWEEP, "", 0);
}

/* End the watch, and the stream. */
void
cg_mirror_unwatch(Oid relation)
{
	cg_capture_unwatch(relation);
	cg_mirror_drop_streams(relation, 0);
}
