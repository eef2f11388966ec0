/*-------------------------------------------------------------------------
 *
 * proxy.c
 *	  The network between the worker and the Redis nodes, and what befalls it.
 *
 * A pair is a connection to the proxy and the one from there to the node. What
 * can happen to it:
 *
 *	cut		after some more bytes to the node both are closed
 *	late	the worker's is closed, but what it has sent, and the proxy held back,
 *			reaches the node some time later, as it does when a host has died
 *	delayed	both ways take their time, for a while
 *	silent	nothing goes through any more, either way
 *	deaf	commands go through, replies do not
 *	refused	the node cannot be reached for a while, and its pairs are closed
 *
 * TCP brings no byte twice: what can come twice is a command that the worker sends
 * again, because it did not hear of the first; cut and deaf make it do that.
 *
 * Replicas are told the proxy's ports, too; they begin with PING, and are let
 * through.
 *
 * One thread owns the pairs; others leave their wishes in "wishes", under "lock".
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chaos.h"

#define MAX_PAIRS	   128
#define BUFFER_SIZE	   65536
#define HOLD_SECONDS   0.05 /* bytes that are late are those sent within */
#define OUTAGE_SECONDS 3
#define LATE_MS		   300 /* they come so much later, or some more */
#define REPLICA		   "*1\r\n$4\r\nPING\r\n"

/* One way through a pair. */
typedef struct Way
{
	int from, to;
	char data[BUFFER_SIZE];
	int size, sent;
	double ready; /* not to be passed on before */
} Way;

typedef enum PairState
{
	PAIR_FREE,
	PAIR_PASSES,
	PAIR_SILENT,
	PAIR_DEAF,
	PAIR_HOLDS, /* late: takes bytes of the worker and keeps them */
	PAIR_ORPHAN /* late: the worker's side is closed */
} PairState;

typedef struct Pair
{
	PairState state;
	int node;
	bool is_known; /* who it is */
	bool is_replica;
	int cut_after; /* bytes to the node, -1: it is not to be cut; of late ones, ms */
	double turn;   /* when a late one goes on to its next state */
	Way up, down;  /* to the node, and back */
} Pair;

static int listeners[NODES];
static Pair *pairs[MAX_PAIRS];

static struct
{
	Trouble how[NODES]; /* 0: none */
	int amount[NODES];	/* bytes or milliseconds */
	double refused_until[NODES];
	double delayed_until[NODES];
	int delay_ms[NODES];
} wishes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
make_nonblocking(int fd)
{
	int one = 1;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* A port for each node, which others learn from it. */
void
proxy_listen(void)
{
	for (int i = 0; i < NODES; i++)
	{
		struct sockaddr_in address = {.sin_family = AF_INET,
									  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t size = sizeof(address);

		listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(listeners[i], (struct sockaddr *) &address, sizeof(address)) != 0 ||
			listen(listeners[i], 64) != 0 ||
			getsockname(listeners[i], (struct sockaddr *) &address, &size) != 0)
		{
			perror("proxy");
			exit(2);
		}
		make_nonblocking(listeners[i]);
		chaos.nodes[i].announced = ntohs(address.sin_port);
	}
}

static int
connect_to_node(int node)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
								  .sin_port = htons(chaos.nodes[node].port),
								  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* On this machine it is there at once, or it is not. */
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		close(fd);
		return -1;
	}
	make_nonblocking(fd);
	return fd;
}

static void
accept_pair(int node)
{
	int worker = accept4(listeners[node], NULL, NULL, SOCK_CLOEXEC);
	int server;
	int i = 0;

	if (worker < 0)
		return;
	while (i < MAX_PAIRS && pairs[i]->state != PAIR_FREE)
		i++;
	server = i < MAX_PAIRS ? connect_to_node(node) : -1;
	if (server < 0)
	{
		close(worker);
		return;
	}
	make_nonblocking(worker);
	pairs[i]->state = PAIR_PASSES;
	pairs[i]->node = node;
	pairs[i]->is_known = pairs[i]->is_replica = false;
	pairs[i]->cut_after = -1;
	pairs[i]->up.from = pairs[i]->down.to = worker;
	pairs[i]->up.to = pairs[i]->down.from = server;
	pairs[i]->up.size = pairs[i]->up.sent = 0;
	pairs[i]->down.size = pairs[i]->down.sent = 0;
}

static void
end_pair(Pair *pair)
{
	if (pair->state != PAIR_ORPHAN)
		close(pair->up.from);
	close(pair->up.to);
	pair->state = PAIR_FREE;
}

/* False if that side has ended. */
static bool
take(Way *way, double delay)
{
	ssize_t size;

	if (way->size == BUFFER_SIZE || (way->sent > 0 && way->sent == way->size))
		return true;
	size = read(way->from, way->data + way->size, BUFFER_SIZE - way->size);
	if (size < 0)
		return errno == EAGAIN || errno == EINTR;
	if (size == 0)
		return false;
	if (way->size == 0)
		way->ready = now() + delay;
	way->size += size;
	return true;
}

/* At most so many bytes; returns how many went on, -1 if that side has ended. */
static int
give(Way *way, int most)
{
	int left = way->size - way->sent;
	ssize_t size;

	if (left == 0 || now() < way->ready)
		return 0;
	size = write(way->to, way->data + way->sent, most >= 0 && most < left ? most : left);
	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	way->sent += size;
	if (way->sent == way->size)
		way->size = way->sent = 0;
	return size;
}

static void
drop(Way *way)
{
	way->size = way->sent = 0;
}

static double
delay_of(const Pair *pair)
{
	double delay;

	if (pair->is_replica)
		return 0;
	pthread_mutex_lock(&lock);
	delay = now() < wishes.delayed_until[pair->node]
				? wishes.delay_ms[pair->node] / 1000.0
				: 0;
	pthread_mutex_unlock(&lock);
	return delay;
}

static bool
pass(Pair *pair)
{
	double delay = delay_of(pair);
	int given;

	if (!take(&pair->up, delay))
		return false;
	if (!pair->is_known && pair->up.size > 0)
	{
		pair->is_known = true;
		pair->is_replica = pair->up.size >= (int) strlen(REPLICA) &&
						   memcmp(pair->up.data, REPLICA, strlen(REPLICA)) == 0;
	}
	given = give(&pair->up, pair->cut_after);
	if (given < 0)
		return false;
	if (pair->cut_after >= 0 && (pair->cut_after -= given) == 0)
		return false;
	if (!take(&pair->down, delay))
		return false;
	if (pair->state == PAIR_DEAF)
		drop(&pair->down);
	return give(&pair->down, -1) >= 0;
}

static bool
keep_silent(Pair *pair)
{
	if (!take(&pair->up, 0) || !take(&pair->down, 0))
		return false;
	drop(&pair->up);
	drop(&pair->down);
	return true;
}

/* Bytes are held, then the worker finds the connection closed, then they arrive. */
static bool
be_late(Pair *pair)
{
	if (pair->state == PAIR_HOLDS)
	{
		if (!take(&pair->up, 0) || !take(&pair->down, 0) || give(&pair->down, -1) < 0)
			return false;
		if (now() < pair->turn)
			return true;
		close(pair->up.from);
		pair->state = PAIR_ORPHAN;
		pair->turn = now() + pair->cut_after / 1000.0;
		return true;
	}
	if (!take(&pair->down, 0))
		return false;
	drop(&pair->down);
	if (now() < pair->turn)
		return true;
	return give(&pair->up, -1) >= 0 && pair->up.size > 0;
}

static void
serve(Pair *pair)
{
	bool good;

	switch (pair->state)
	{
		case PAIR_FREE:
			return;
		case PAIR_SILENT:
			good = keep_silent(pair);
			break;
		case PAIR_HOLDS:
		case PAIR_ORPHAN:
			good = be_late(pair);
			break;
		default:
			good = pass(pair);
	}
	if (!good)
		end_pair(pair);
}

static void
befall(Pair *pair, Trouble how, int amount)
{
	if (pair->state != PAIR_PASSES || pair->is_replica || !pair->is_known)
		return;
	switch (how)
	{
		case NETWORK_CUT:
			pair->cut_after = amount + 1;
			break;
		case NETWORK_LATE:
			pair->state = PAIR_HOLDS;
			pair->turn = now() + HOLD_SECONDS;
			pair->cut_after = LATE_MS + amount;
			break;
		case NETWORK_SILENT:
			pair->state = PAIR_SILENT;
			break;
		case NETWORK_DEAF:
			pair->state = PAIR_DEAF;
			break;
		case NETWORK_REFUSED:
			end_pair(pair);
			break;
		default:
			break;
	}
}

/* What others wish for is done to all of a node's pairs. */
static void
grant_wishes(void)
{
	pthread_mutex_lock(&lock);
	for (int node = 0; node < NODES; node++)
	{
		if (wishes.how[node] == 0)
			continue;
		for (int i = 0; i < MAX_PAIRS; i++)
			if (pairs[i]->state != PAIR_FREE && pairs[i]->node == node)
				befall(pairs[i], wishes.how[node], wishes.amount[node]);
		wishes.how[node] = 0;
	}
	pthread_mutex_unlock(&lock);
}

static bool
is_refused(int node)
{
	bool refused;

	pthread_mutex_lock(&lock);
	refused = now() < wishes.refused_until[node];
	pthread_mutex_unlock(&lock);
	return refused;
}

static void
accept_pairs(void)
{
	for (int node = 0; node < NODES; node++)
	{
		if (is_refused(node))
		{
			int fd = accept4(listeners[node], NULL, NULL, SOCK_CLOEXEC);

			if (fd >= 0)
				close(fd);
		}
		else
			accept_pair(node);
	}
}

/* Until somebody has something to say, or a moment, if something is held back. */
static void
await_bytes(void)
{
	struct pollfd polled[NODES + 2 * MAX_PAIRS];
	int count = 0;
	int patience = 20;

	for (int i = 0; i < NODES; i++)
		polled[count++] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
	for (int i = 0; i < MAX_PAIRS; i++)
	{
		const Pair *pair = pairs[i];

		if (pair->state == PAIR_FREE)
			continue;
		if (pair->up.size > 0 || pair->down.size > 0)
			patience = 1;
		if (pair->state != PAIR_ORPHAN && pair->up.size == 0)
			polled[count++] = (struct pollfd){.fd = pair->up.from, .events = POLLIN};
		if (pair->down.size == 0)
			polled[count++] = (struct pollfd){.fd = pair->down.from, .events = POLLIN};
	}
	poll(polled, count, patience);
}

/* For as long as the process lives. */
void *
proxy_main(void *unused)
{
	(void) unused;
	for (int i = 0; i < MAX_PAIRS; i++)
		pairs[i] = calloc(1, sizeof(Pair));
	for (;;)
	{
		await_bytes();
		grant_wishes();
		accept_pairs();
		for (int i = 0; i < MAX_PAIRS; i++)
			serve(pairs[i]);
	}
	return NULL;
}

/* No node can be reached, for longer than the worker tries before it calls it an outage. */
static void
refuse_all(void)
{
	for (int node = 0; node < NODES; node++)
	{
		wishes.refused_until[node] = now() + OUTAGE_SECONDS;
		wishes.how[node] = NETWORK_REFUSED;
	}
}

/* Have it happen to what leads to the node now; one refusal in three is everybody's. */
void
proxy_disturb(Trouble how, int node, uint64_t *random)
{
	pthread_mutex_lock(&lock);
	if (how == NETWORK_REFUSED && draw(random, 3) == 0)
		refuse_all();
	else if (how == NETWORK_DELAYED)
	{
		wishes.delay_ms[node] = 1 + (int) draw(random, 150);
		wishes.delayed_until[node] = now() + draw(random, 1500) / 1000.0;
	}
	else
	{
		if (how == NETWORK_REFUSED)
			wishes.refused_until[node] = now() + draw(random, 1500) / 1000.0;
		wishes.how[node] = how;
		wishes.amount[node] = (int) draw(random, 1500);
	}
	pthread_mutex_unlock(&lock);
}

void
proxy_stop_disturbing(void)
{
	pthread_mutex_lock(&lock);
	memset(&wishes, 0, sizeof(wishes));
	pthread_mutex_unlock(&lock);
}
