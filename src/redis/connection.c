/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  Makes and ends the connection to a node.
 *
 * A node is linked: its socket stands and it knows who we are.  It is prepared:
 * linked, fenced where the grid has a name, and told that a replica will do where
 * replicas are read.  Only a prepared node is sent commands of the caller.
 *
 * Each node has a circuit breaker.  One that was lost, or could not be connected
 * to, is down: its commands are answered at once, and nobody tries it again before
 * its time, which is put off further and further until it has answered a command.
 * A node that keeps us waiting, instead of refusing us, is tried so seldom that no
 * more than a fifth of our time goes into that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "common/pg_prng.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/settings.h"
#include "redis/redis_internal.h"

#define BACKOFF_FIRST 100 /* ms */
#define BACKOFF_MOST  5000

/* A node is left alone for so many times what the attempt has taken. */
#define REST_PER_ATTEMPT 4

static void
fail_to_connect(RedisNode *node, const char *why)
{
	cg_redis_fail(node->grid, ERRCODE_CONNECTION_FAILURE,
				  "could not connect to Redis node \"%s\": %s", node->name, why);
	cg_redis_count_error(node, node->grid->error.message);
}

/*
 * The numeric addresses of the node's host: hiredis would try one of several.
 * NIL and an error if there is none.
 */
static List *
look_up_addresses(RedisNode *node)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	List *addresses = NIL;
	int status = getaddrinfo(node->host, NULL, &hints, &found);

	if (status != 0)
	{
		fail_to_connect(node, gai_strerror(status));
		return NIL;
	}
	for (struct addrinfo *one = found; one; one = one->ai_next)
	{
		char text[NI_MAXHOST];

		if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), NULL, 0,
						NI_NUMERICHOST) == 0)
			addresses = lappend(addresses, pstrdup(text));
	}
	freeaddrinfo(found);
	if (addresses == NIL)
		fail_to_connect(node, "no address found");
	return addresses;
}

/* Waits until the connection stands; false and an error if it does not. */
static bool
wait_until_connected(RedisNode *node, int64 deadline)
{
	int problem = 0;
	socklen_t size = sizeof(problem);

	if (node->connection->err)
	{
		fail_to_connect(node, node->connection->errstr);
		return false;
	}
	if (!cg_redis_wait_socket(node->grid, node->connection->fd, WL_SOCKET_CONNECTED,
							  deadline, cg_redis_connect_event()))
	{
		fail_to_connect(node, "timeout expired");
		return false;
	}
	if (getsockopt(node->connection->fd, SOL_SOCKET, SO_ERROR, &problem, &size) != 0)
		problem = errno;
	if (problem != 0)
	{
		fail_to_connect(node, strerror(problem));
		return false;
	}
	return true;
}

/* Nothing depends on these, so their failure is not looked at. */
static void
tune_socket(int fd)
{
	int on = 1;

	(void) fcntl(fd, F_SETFD, FD_CLOEXEC);
	(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static bool
connect_to_address(RedisNode *node, const char *address)
{
	int64 deadline = cg_redis_now() + cg_redis_connect_timeout;

	if (!AcquireExternalFD())
	{
		fail_to_connect(node, "too many open files");
		return false;
	}
	node->connection = redisConnectNonBlock(address, node->port);
	if (!node->connection)
	{
		ReleaseExternalFD();
		fail_to_connect(node, "out of memory");
		return false;
	}
	cg_redis_forget_wait_set(node->grid);
	if (!wait_until_connected(node, deadline))
	{
		cg_redis_unlink_node(node);
		return false;
	}
	tune_socket(node->connection->fd);
	if (node->grid->tls.on && !cg_redis_start_tls(node, deadline))
	{
		cg_redis_unlink_node(node);
		return false;
	}
	cg_redis_parse_into(node->connection->reader, node->replies);
	node->connections++;
	node->grid->connections++;
	node->stat.connects++;
	return true;
}

static bool
authenticate(RedisNode *node)
{
	RedisGrid *grid = node->grid;
	const RedisReply *reply;
	char reason[REDIS_REASON_BYTES];

	if (!grid->username && !grid->password)
		return true;

	/* A user may have no password: Redis takes any then. */
	if (grid->username)
		reply = cg_redis_ask_words(node, 3, "AUTH", grid->username,
								   grid->password ? grid->password : "");
	else
		reply = cg_redis_ask_words(node, 2, "AUTH", grid->password);
	if (!reply)
		return false;
	if (reply->kind != REDIS_ERROR)
		return true;

	/* Old servers say just ERR, and who has no password says that too. */
	cg_redis_fail_reply(node, reply);
	if (cg_redis_classify_error(reply) == REDIS_ERROR_COMMAND)
	{
		cg_redis_copy_reason(grid, reply->data, reason);
		cg_redis_fail(grid, ERRCODE_INVALID_PASSWORD,
					  "Redis node \"%s\" refused the user name or the password",
					  node->name);
		cg_redis_fail_detail(grid, "The node said: %s", reason);
		cg_redis_fail_hint(grid, "Check the options \"username\" and \"password\" in the "
								 "user mapping.");
	}
	cg_redis_unlink_node(node);
	return false;
}

/* Connects and says who we are, if that is not done; false and an error if not. */
bool
cg_redis_link_node(RedisNode *node)
{
	List *addresses;
	ListCell *cell;

	if (node->connection)
		return true;
	node->attempt_at = cg_redis_now();
	addresses = look_up_addresses(node);
	foreach (cell, addresses)
	{
		if (connect_to_address(node, lfirst(cell)))
			break;
	}
	list_free_deep(addresses);
	return node->connection && authenticate(node);
}

/*
 * Makes the node ready for commands; false and an error if it cannot be, or if it is
 * not yet time to try.
 */
bool
cg_redis_prepare_node(RedisNode *node)
{
	MemoryContext old;

	if (node->connection && node->fenced)
		return true;
	if (!cg_redis_may_retry(node))
	{
		cg_redis_fail(node->grid, ERRCODE_CONNECTION_FAILURE, "%s", node->reason);
		return false;
	}
	old = MemoryContextSwitchTo(node->grid->round_context);
	node->down = !cg_redis_link_node(node) || !cg_redis_fence_node(node) ||
				 !cg_redis_allow_replica(node);
	MemoryContextSwitchTo(old);
	if (node->down)
		cg_redis_mark_down(node);
	node->attempt_at = 0;
	return !node->down;
}

/*
 * Whether an idle connection still stands: Redis ends idle ones if it is told to,
 * and a server that went away says so first to who asks the socket.
 */
bool
cg_redis_node_is_alive(const RedisNode *node)
{
	char byte;

	return recv(node->connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
		   (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* Closes the connection, if there is one.  Its commands are the caller's matter. */
void
cg_redis_unlink_node(RedisNode *node)
{
	if (!node->connection)
		return;
	cg_redis_forget_wait_set(node->grid);
	redisFree(node->connection);
	ReleaseExternalFD();
	node->connection = NULL;
	node->fenced = false;
	node->caught_up = false;
	node->readable = false;
}

/*
 * Somewhere between half of it and all: whoever lost the node with us shall not
 * come back to it with us.
 */
static int64
jitter(int64 delay)
{
	return delay - (int64) (pg_prng_double(&pg_global_prng_state) * (delay / 2));
}

/* Ends the connection for the reason that was just remembered as an error. */
void
cg_redis_mark_down(RedisNode *node)
{
	int64 now = cg_redis_now();
	int64 taken = node->attempt_at > 0 ? now - node->attempt_at : 0;

	cg_redis_unlink_node(node);
	node->down = true;

	/* Another replica is asked meanwhile; there is no other master. */
	if (node->is_replica)
		node->backoff = Max(node->backoff, BACKOFF_FIRST);
	node->retry_at = now + Max(jitter(node->backoff), taken * REST_PER_ATTEMPT);
	node->backoff = Min(Max(node->backoff * 2, BACKOFF_FIRST), BACKOFF_MOST);
	strlcpy(node->reason, node->grid->error.message, sizeof(node->reason));
	node->grid->map_stale = true;
}

/* Whether a node may be connected to: it is not down, or was so for long enough. */
bool
cg_redis_may_retry(const RedisNode *node)
{
	return !node->down || cg_redis_now() >= node->retry_at;
}
