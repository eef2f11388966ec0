/*-------------------------------------------------------------------------
 *
 * redis.c
 *	  A client of the cluster that reads keys from their masters, without the
 *	  proxy; and single commands to single nodes.
 *
 * A read that does not get an answer is given up, and the map of slots is asked
 * for anew: so what is read comes from whoever says that the slot is his.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "chaos.h"

#define SLOTS 16384

struct Client
{
	redisContext *contexts[NODES];
	signed char owners[SLOTS]; /* -1: not known */
	bool mapped;
};

static redisContext *
connect_to_node(int node)
{
	struct timeval timeout = {1, 0};
	redisContext *context =
		redisConnectWithTimeout("127.0.0.1", chaos.nodes[node].port, timeout);

	if (context && !context->err && redisSetTimeout(context, timeout) == REDIS_OK)
		return context;
	if (context)
		redisFree(context);
	return NULL;
}

/* The reply, to be freed; NULL if the node does not answer. */
void *
node_command(int node, const char *format, ...)
{
	redisContext *context = connect_to_node(node);
	void *reply;
	va_list arguments;

	if (!context)
		return NULL;
	va_start(arguments, format);
	reply = redisvCommand(context, format, arguments);
	va_end(arguments);
	redisFree(context);
	return reply;
}

bool
node_is_master(int node)
{
	redisReply *reply = node_command(node, "ROLE");
	bool is = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
			  strcmp(reply->element[0]->str, "master") == 0;

	if (reply)
		freeReplyObject(reply);
	return is;
}

Client *
client_open(void)
{
	return calloc(1, sizeof(Client));
}

static void
forget_node(Client *client, int node)
{
	if (client->contexts[node])
		redisFree(client->contexts[node]);
	client->contexts[node] = NULL;
	client->mapped = false;
}

void
client_close(Client *client)
{
	for (int i = 0; i < NODES; i++)
		forget_node(client, i);
	free(client);
}

/* The node's answer; NULL, and the connection is gone, if there is none. */
static redisReply *
ask(Client *client, int node, const char *format, ...)
{
	redisReply *reply = NULL;
	va_list arguments;

	if (!client->contexts[node])
		client->contexts[node] = connect_to_node(node);
	if (client->contexts[node])
	{
		va_start(arguments, format);
		reply = redisvCommand(client->contexts[node], format, arguments);
		va_end(arguments);
	}
	if (!reply)
		forget_node(client, node);
	return reply;
}

static int
node_of_port(long long announced)
{
	for (int i = 0; i < NODES; i++)
		if (chaos.nodes[i].announced == announced)
			return i;
	return -1;
}

static bool
take_map(Client *client, const redisReply *reply)
{
	if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
		return false;
	memset(client->owners, -1, sizeof(client->owners));
	for (size_t i = 0; i < reply->elements; i++)
	{
		redisReply **range = reply->element[i]->element;
		int owner = node_of_port(range[2]->element[1]->integer);

		for (long long slot = range[0]->integer; slot <= range[1]->integer; slot++)
			client->owners[slot] = owner;
	}
	return true;
}

/* Ask this node and, if it does not know, the others. */
static bool
learn_map(Client *client, int first)
{
	for (int i = 0; i < NODES && !client->mapped; i++)
	{
		redisReply *reply = ask(client, (first + i) % NODES, "CLUSTER SLOTS");

		client->mapped = take_map(client, reply);
		if (reply)
			freeReplyObject(reply);
	}
	return client->mapped;
}

static int64_t
number_behind(const char *text, const char *name)
{
	const char *found = strstr(text, name);

	return found ? strtoll(found + strlen(name), NULL, 10) : 0;
}

static void
take_json(const char *json, Value *value)
{
	value->found = true;
	value->version = number_behind(json, "\"version\":");
	value->torn = value->version != number_behind(json, "\"twin\":");
	value->rolled_back = strstr(json, "rolled back") != NULL;
}

static void
take_hash(const redisReply *reply, Value *value)
{
	int64_t twin = 0;

	value->found = reply->elements > 0;
	for (size_t i = 0; i + 1 < reply->elements; i += 2)
	{
		const char *name = reply->element[i]->str;
		const char *field = reply->element[i + 1]->str;

		if (strcmp(name, "version") == 0)
			value->version = strtoll(field, NULL, 10);
		else if (strcmp(name, "twin") == 0)
			twin = strtoll(field, NULL, 10);
		else if (strcmp(name, "mark") == 0)
			value->rolled_back = strcmp(field, "rolled back") == 0;
	}
	value->torn = value->version != twin;
}

/* What the key's master has; false if that cannot be said now. */
bool
client_read(Client *client, int table, int id, Value *value)
{
	char key[KEY_SIZE];
	int slot = chaos.slots[table][id];
	int owner;
	redisReply *reply;
	bool good;

	if (!client->mapped && !learn_map(client, slot % NODES))
		return false;
	owner = client->owners[slot];
	key_of(table, id, key);
	reply = owner < 0 ? NULL
					  : ask(client, owner, "%s %s",
							tables[table].hash ? "HGETALL" : "GET", key);
	good = reply && reply->type != REDIS_REPLY_ERROR;
	*value = (Value){.found = false};
	if (!good)
		client->mapped = false;
	else if (reply->type == REDIS_REPLY_STRING)
		take_json(reply->str, value);
	else if (reply->type == REDIS_REPLY_ARRAY)
		take_hash(reply, value);
	if (reply)
		freeReplyObject(reply);
	return good;
}
