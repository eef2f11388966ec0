/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  Turns what went wrong into a RedisError, and that into an ereport.
 *
 * Texts of a server are cut to printable ASCII and left out where they hold our
 * password: Redis repeats the arguments of a command that it does not know.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "redis/redis_internal.h"

/* Error replies that say more than "this command is wrong". */
typedef struct KnownError
{
	const char *code; /* first word of the reply */
	RedisErrorKind kind;
	int sqlstate;
	const char *message; /* of the name of the node */
	const char *hint;
} KnownError;

#define CANNOT_SERVE "Redis node \"%s\" cannot serve at the moment"
#define TRY_AGAIN	 "Try again when the node says that it can."
#define BAD_PASSWORD "Redis node \"%s\" refused the user name or the password"

static const KnownError known_errors[] = {
	{"MOVED", REDIS_ERROR_MOVED},
	{"ASK", REDIS_ERROR_ASK},
	{"TRYAGAIN", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE, CANNOT_SERVE,
	 TRY_AGAIN},
	{"CLUSTERDOWN", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE,
	 "Redis Cluster is down, says node \"%s\"", TRY_AGAIN},
	{"LOADING", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE, CANNOT_SERVE, TRY_AGAIN},
	{"MASTERDOWN", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE, CANNOT_SERVE,
	 TRY_AGAIN},
	{"READONLY", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE,
	 "Redis node \"%s\" is a replica", TRY_AGAIN},
	{"BUSY", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE, CANNOT_SERVE, TRY_AGAIN},
	{"MISCONF", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE, CANNOT_SERVE, TRY_AGAIN},
	{"NOREPLICAS", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE, CANNOT_SERVE,
	 TRY_AGAIN},
	{"DENIED", REDIS_ERROR_TROUBLE, ERRCODE_CONNECTION_FAILURE,
	 "Redis node \"%s\" refuses connections",
	 "Set a password there, or let it listen to this server: see its protected mode."},
	{"OOM", REDIS_ERROR_TROUBLE, ERRCODE_OUT_OF_MEMORY,
	 "Redis node \"%s\" is out of memory",
	 "Increase \"maxmemory\" of the Redis server, or let it evict keys."},
	{"NOAUTH", REDIS_ERROR_TROUBLE, ERRCODE_INVALID_PASSWORD,
	 "Redis node \"%s\" demands a password",
	 "Set the option \"password\" in the user mapping."},
	{"WRONGPASS", REDIS_ERROR_TROUBLE, ERRCODE_INVALID_PASSWORD, BAD_PASSWORD,
	 "Check the options \"username\" and \"password\" in the user mapping."},
	{"NOPERM", REDIS_ERROR_COMMAND, ERRCODE_INSUFFICIENT_PRIVILEGE,
	 "Redis node \"%s\" does not permit a command",
	 "Grant it to the Redis user of the user mapping, by ACL SETUSER."},
};

static const KnownError other_error = {NULL, REDIS_ERROR_COMMAND,
									   ERRCODE_CONNECTION_FAILURE,
									   "Redis node \"%s\" answered with an error", NULL};

/* What a redirection means if there is only one server. */
static const KnownError not_single = {
	NULL, REDIS_ERROR_TROUBLE, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
	"Redis node \"%s\" is part of a cluster",
	"Set the option \"mode\" of the server to 'cluster'."};

static const KnownError *
find_known_error(const RedisReply *reply)
{
	for (int i = 0; i < lengthof(known_errors); i++)
	{
		Size size = strlen(known_errors[i].code);

		if (strncmp(reply->data, known_errors[i].code, size) == 0 &&
			(reply->data[size] == ' ' || reply->data[size] == '\0'))
			return &known_errors[i];
	}
	return &other_error;
}

RedisErrorKind
cg_redis_classify_error(const RedisReply *error)
{
	return find_known_error(error)->kind;
}

/* Copies at most REDIS_REASON_BYTES of a server's text, made fit to be shown. */
void
cg_redis_copy_reason(const RedisGrid *grid, const char *text, char *reason)
{
	bool secret = grid->password && grid->password[0] && strstr(text, grid->password);
	int size = 0;

	for (; text[size] && size < REDIS_REASON_BYTES - 1; size++)
	{
		if (secret && text[size] == ' ')
			break;
		reason[size] = text[size] >= ' ' && text[size] <= '~' ? text[size] : '?';
	}
	reason[size] = '\0';

	/* A secret in the very first word. */
	if (secret && strstr(reason, grid->password))
		strlcpy(reason, "(not shown)", REDIS_REASON_BYTES);
}

__attribute__((format(printf, 2, 0))) static char *
format_text(RedisGrid *grid, const char *format, va_list arguments)
{
	MemoryContext old = MemoryContextSwitchTo(grid->round_context);
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list copy;
		int needed;

		va_copy(copy, arguments);
		needed = appendStringInfoVA(&text, format, copy);
		va_end(copy);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	MemoryContextSwitchTo(old);
	return text.data;
}

/* Remembers an error, without detail and hint, in place of an earlier one. */
void
cg_redis_fail(RedisGrid *grid, int sqlstate, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	grid->error = (RedisError){.sqlstate = sqlstate,
							   .message = format_text(grid, format, arguments)};
	va_end(arguments);
	grid->failed = true;
	grid->trouble = true;
}

void
cg_redis_fail_detail(RedisGrid *grid, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	grid->error.detail = format_text(grid, format, arguments);
	va_end(arguments);
}

/* The hint must be a constant. */
void
cg_redis_fail_hint(RedisGrid *grid, const char *hint)
{
	grid->error.hint = hint;
}

/* Remembers what an error reply means. */
void
cg_redis_fail_reply(RedisNode *node, const RedisReply *error)
{
	const KnownError *known = find_known_error(error);
	char reason[REDIS_REASON_BYTES];

	if (known->kind == REDIS_ERROR_MOVED || known->kind == REDIS_ERROR_ASK)
		known = node->grid->mode == REDIS_MODE_SINGLE ? &not_single : &other_error;
	cg_redis_copy_reason(node->grid, error->data, reason);
	cg_redis_fail(node->grid, known->sqlstate, known->message, node->name);
	cg_redis_fail_detail(node->grid, "The node said: %s", reason);
	cg_redis_fail_hint(node->grid, known->hint);
	cg_redis_count_error(node, reason);
}

/* Remembers that a node does not behave as a Redis server; what is a sentence. */
void
cg_redis_fail_nonsense(RedisNode *node, const char *what)
{
	cg_redis_fail(node->grid, ERRCODE_PROTOCOL_VIOLATION,
				  "unexpected reply from Redis node \"%s\"", node->name);
	cg_redis_fail_detail(node->grid, "%s", what);
	cg_redis_count_error(node, node->grid->error.message);
	cg_redis_fail_hint(node->grid, "Check that a Redis server listens there.");
}

void
cg_redis_clear_error(RedisGrid *grid)
{
	grid->failed = false;
	grid->trouble = false;
	MemoryContextReset(grid->round_context);
}

/* The last trouble since cg_redis_connect began, NULL if there was none. */
const RedisError *
cg_redis_error(const RedisGrid *grid)
{
	return grid->failed ? &grid->error : NULL;
}

/*
 * Raises, or only logs, what cg_redis_error says.  The one place where trouble
 * with Redis becomes an ereport.  Who calls it has changed nothing yet.
 */
void
cg_redis_report(const RedisGrid *grid, int elevel)
{
	const RedisError *error = cg_redis_error(grid);

	if (!error)
		elog(ERROR, "no trouble with Redis to report");
	ereport(elevel, errcode(error->sqlstate), errmsg_internal("%s", error->message),
			error->detail ? errdetail_internal("%s", error->detail)
						  : errdetail("Nothing was changed."),
			error->hint ? errhint("%s", error->hint)
						: errhint("Check that Redis runs there, and that this server can "
								  "reach it."));
}
