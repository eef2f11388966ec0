/*-------------------------------------------------------------------------
 *
 * options.c
 *	  The options of servers and user mappings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "redis/redis_internal.h"

#define DEFAULT_PORT 6379

/* Reads ":port" or nothing up to end; 0: it is neither. */
static int
parse_port(const char *text, const char *end)
{
	int port = 0;

	if (text == end)
		return DEFAULT_PORT;
	if (*text != ':' || end - text < 2 || end - text > 6)
		return 0;
	for (text++; text < end; text++)
	{
		if (*text < '0' || *text > '9')
			return 0;
		port = port * 10 + (*text - '0');
	}
	return port <= 65535 ? port : 0;
}

static bool
is_host_character(char c, bool bracketed)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		   strchr(bracketed ? ".:%-_" : ".-_", c) != NULL;
}

/* Reads one endpoint between text and end; NULL if it is none. */
static RedisEndpoint *
parse_endpoint(const char *text, const char *end)
{
	RedisEndpoint *endpoint;
	bool bracketed = text < end && *text == '[';
	const char *host = bracketed ? text + 1 : text;
	const char *host_end = memchr(host, bracketed ? ']' : ':', end - host);
	int port;

	if (!host_end)
	{
		if (bracketed)
			return NULL;
		host_end = end;
	}
	port = parse_port(bracketed ? host_end + 1 : host_end, end);
	if (port == 0 || host == host_end)
		return NULL;
	for (const char *c = host; c < host_end; c++)
	{
		if (!is_host_character(*c, bracketed))
			return NULL;
	}

	endpoint = palloc(sizeof(RedisEndpoint));
	endpoint->host = pnstrdup(host, host_end - host);
	endpoint->port = port;
	return endpoint;
}

/* The endpoints of a list, in order; NIL if one of them is none. */
List *
cg_redis_parse_endpoints(const char *text)
{
	List *endpoints = NIL;

	for (;;)
	{
		const char *comma = strchr(text, ',');
		const char *end = comma ? comma : text + strlen(text);
		RedisEndpoint *endpoint;

		while (text < end && *text == ' ')
			text++;
		while (text < end && end[-1] == ' ')
			end--;
		endpoint = parse_endpoint(text, end);
		if (!endpoint)
			return NIL;
		endpoints = lappend(endpoints, endpoint);
		if (!comma)
			return endpoints;
		text = comma + 1;
	}
}

static void
set_mode(RedisOptions *options, const char *value)
{
	if (strcmp(value, "cluster") == 0)
		options->mode = REDIS_MODE_CLUSTER;
	else if (strcmp(value, "single") == 0)
		options->mode = REDIS_MODE_SINGLE;
	else
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid value for option \"mode\": \"%s\"", value),
				errdetail("It says what kind of Redis listens at the endpoints."),
				errhint("Valid values are \"cluster\" and \"single\"."));
}

static void
set_read_from(RedisOptions *options, const char *value)
{
	if (strcmp(value, "master") == 0)
		options->read_from = REDIS_READ_MASTER;
	else if (strcmp(value, "replica") == 0)
		options->read_from = REDIS_READ_REPLICA;
	else
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value for option \"read_from\": \"%s\"", value),
			errdetail("It says which nodes are asked for keys that are only looked at."),
			errhint("Valid values are \"master\" and \"replica\"."));
}

static void
set_endpoints(RedisOptions *options, const char *value)
{
	if (cg_redis_parse_endpoints(value) == NIL)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid value for option \"endpoints\": \"%s\"", value),
				errdetail("It is no list of hosts and ports."),
				errhint("Write host:port, several of them with commas between, and IPv6 "
						"addresses in brackets."));
	options->endpoints = value;
}

static void
set_tls(RedisOptions *options, const char *value)
{
	if (!parse_bool(value, &options->tls.on))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid value for option \"tls\": \"%s\"", value),
				errdetail("It says whether connections are encrypted."),
				errhint("Valid values are \"on\" and \"off\"."));
}

/* The values of these options are secrets, which no message may show. */
static const char *
checked_credential(const char *name, const char *value)
{
	if (value[0] == '\0')
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("option \"%s\" must not be empty", name),
				errdetail("Redis has no empty names or passwords."),
				errhint("Leave the option out if Redis asks for none."));
	return value;
}

static const char *
checked_name(const char *name, const char *value)
{
	if (value[0] == '\0')
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("option \"%s\" must not be empty", name),
				errdetail("Nothing has an empty name."),
				errhint("Leave the option out to have the default."));
	return value;
}

/* Whether the value of an option is the path of a file. */
bool
cg_redis_names_file(const char *name)
{
	return strcmp(name, "tls_ca") == 0 || strcmp(name, "tls_certificate") == 0 ||
		   strcmp(name, "tls_key") == 0;
}

static bool
set_server_option(RedisOptions *options, const char *name, const char *value)
{
	if (strcmp(name, "mode") == 0)
		set_mode(options, value);
	else if (strcmp(name, "endpoints") == 0)
		set_endpoints(options, value);
	else if (strcmp(name, "read_from") == 0)
		set_read_from(options, value);
	else if (strcmp(name, "tls") == 0)
		set_tls(options, value);
	else if (strcmp(name, "tls_ca") == 0)
		options->tls.ca = checked_name(name, value);
	else if (strcmp(name, "tls_server_name") == 0)
		options->tls.server_name = checked_name(name, value);
	else
		return false;
	return true;
}

static bool
set_mapping_option(RedisOptions *options, const char *name, const char *value)
{
	if (strcmp(name, "username") == 0)
		options->username = checked_credential(name, value);
	else if (strcmp(name, "password") == 0)
		options->password = checked_credential(name, value);
	else if (strcmp(name, "tls_certificate") == 0)
		options->tls.certificate = checked_name(name, value);
	else if (strcmp(name, "tls_key") == 0)
		options->tls.key = checked_name(name, value);
	else if (strcmp(name, "tls_key_password") == 0)
		options->tls.key_password = checked_name(name, value);
	else
		return false;
	return true;
}

/*
 * Sets one option of CREATE SERVER or CREATE USER MAPPING; the value is not
 * copied.  False if no such option exists in that place.  Raises an error if the
 * value is not valid.
 */
bool
cg_redis_set_option(RedisOptions *options, RedisOptionPlace place, const char *name,
					const char *value)
{
	return place == REDIS_OPTION_SERVER ? set_server_option(options, name, value)
										: set_mapping_option(options, name, value);
}

/*
 * Raises an error if the options of a server, taken together, describe none.
 * cg_redis_open calls it.
 */
void
cg_redis_check_options(const RedisOptions *options)
{
	if (!options->endpoints)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("option \"endpoints\" is missing"),
				errdetail("Nothing says where Redis is."),
				errhint("Name at least one Redis node: OPTIONS (endpoints "
						"'host:port')."));
	if (options->mode == REDIS_MODE_SINGLE &&
		list_length(cg_redis_parse_endpoints(options->endpoints)) > 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a single Redis server has one endpoint"),
				errdetail("%d endpoints are named.",
						  list_length(cg_redis_parse_endpoints(options->endpoints))),
				errhint("Name one endpoint, or set the option \"mode\" to 'cluster'."));
}

static void
refuse_declaration(const char *option, const char *other)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("option \"%s\" needs option \"%s\"", option, other),
			errdetail("Without it, it has no use."), errhint("Set both, or neither."));
}

/*
 * Raises an error if the options of one place do not go together, or if they ask
 * for what this library was not built for.  For the validator alone: a declaration
 * that another build has taken must not stop a worker.
 */
void
cg_redis_check_declaration(const RedisOptions *options, RedisOptionPlace place)
{
	const RedisTlsOptions *tls = &options->tls;

	if (place == REDIS_OPTION_USER_MAPPING)
	{
		if (tls->certificate && !tls->key)
			refuse_declaration("tls_certificate", "tls_key");
		if (tls->key && !tls->certificate)
			refuse_declaration("tls_key", "tls_certificate");
		if (tls->key_password && !tls->key)
			refuse_declaration("tls_key_password", "tls_key");
		return;
	}
	cg_redis_check_options(options);
	if (tls->ca && !tls->on)
		refuse_declaration("tls_ca", "tls");
	if (tls->server_name && !tls->on)
		refuse_declaration("tls_server_name", "tls");
	if (tls->on && !cg_redis_has_tls())
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg(REDIS_NO_TLS),
				errdetail(REDIS_NO_TLS_DETAIL), errhint(REDIS_NO_TLS_HINT));
}
