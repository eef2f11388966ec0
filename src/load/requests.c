/*-------------------------------------------------------------------------
 *
 * requests.c
 *	  Keys that sessions want refreshed in the background.
 *
 * A session that uses a value which is due asks for it, and goes on.  So a key is
 * refreshed if it is used while it is due; a cold one expires.  A request stands in a
 * small table in shared memory: their ids hash to groups of places.  Who finds
 * the id there counts a use, and is done; who does not finds a place.  Where all of
 * a group are taken by others the key is not refreshed, but computed by a session when
 * it has expired.
 *
 * A request whose refresh did not succeed stays, and is left alone for a while: a broken
 * loader is not run again for each use.
 *
 * Locks.  One lightweight lock guards all but the id, uses and date of a request, which are
 * read and counted without it.  Nobody raises errors, allocates or waits while holding it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/settings.h"
#include "load/loaders.h"
#include "load/requests.h"
#include "load/running.h"

/* Both powers of two. */
#define REQUESTS		  512
#define REQUESTS_IN_GROUP 8

/* A session whose value is stale trusts in a loader for so long. */
#define PATIENCE_MS 1000
/* What nobody came for is forgotten. */
#define FORGET_MS 60000
/* After a refresh without success the next one waits so long. */
#define REST_MS 1000

/* In shared memory. */
typedef struct SharedRequest
{
	pg_atomic_uint64 id;	   /* 0: free */
	pg_atomic_uint64 asked_at; /* first, by cg_clock_ms() */
	pg_atomic_uint32 uses;
	/* Guarded by the lock. */
	pid_t loader;	  /* whose it is; 0: nobody's yet */
	int64 not_before; /* by cg_clock_ms() */
	LoadWish wish;
} SharedRequest;

/* Backend-local pointers to shared memory. */
static SharedRequest *requests = NULL;
static LWLock *lock = NULL;

Size
cg_load_requests_size(void)
{
	return REQUESTS * sizeof(SharedRequest);
}

void
cg_load_requests_init(LWLock *their_lock)
{
	bool found;

	lock = their_lock;
	requests = ShmemInitStruct("cachegrid requests", cg_load_requests_size(), &found);
	if (found)
		return;
	memset(requests, 0, cg_load_requests_size());
	for (int i = 0; i < REQUESTS; i++)
	{
		pg_atomic_init_u64(&requests[i].id, 0);
		pg_atomic_init_u64(&requests[i].asked_at, 0);
		pg_atomic_init_u32(&requests[i].uses, 0);
	}
}

/* The lowest bit of an id is always set. */
static SharedRequest *
group_of(uint64 id)
{
	return &requests[(id / 2 * REQUESTS_IN_GROUP) & (REQUESTS - 1)];
}

/* The id's request, NULL: there is none.  Without the lock it may be gone at once. */
static SharedRequest *
find_request(uint64 id)
{
	SharedRequest *group = group_of(id);

	for (int i = 0; i < REQUESTS_IN_GROUP; i++)
		if (pg_atomic_read_u64(&group[i].id) == id)
			return &group[i];
	return NULL;
}

/* May the place be another id's? */
static bool
is_free_locked(SharedRequest *request, int64 now)
{
	return pg_atomic_read_u64(&request->id) == 0 ||
		   (request->loader == 0 && request->not_before < now &&
			(int64) pg_atomic_read_u64(&request->asked_at) + FORGET_MS < now);
}

/* Can there be a loader of this role? */
static bool
can_be_loader(Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool can = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_authid authid = (Form_pg_authid) GETSTRUCT(tuple);

		can = authid->rolcanlogin && !authid->rolsuper;
		ReleaseSysCache(tuple);
	}
	return can;
}

static bool
make_wish(const CacheKey *key, uint64 id, uint64 identity, LoadWish *wish)
{
	memset(wish, 0, offsetof(LoadWish, key));
	wish->id = id;
	wish->identity = identity;
	wish->database = MyDatabaseId;
	wish->role = GetUserId();
	wish->row_security = row_security;
	wish->schema_count = fetch_search_path_array(wish->schemas, WISH_SCHEMAS_MAX);
	wish->key_size = key->size;
	memcpy(wish->key, key->data, key->size);
	return wish->schema_count <= WISH_SCHEMAS_MAX && can_be_loader(wish->role);
}

/* Enter the wish, anew if it was forgotten, unless it is there; false: there is no place. */
static bool
enter_wish(const LoadWish *wish)
{
	SharedRequest *group = group_of(wish->id);
	int64 now = cg_clock_ms();
	SharedRequest *place;
	bool is_new = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find_request(wish->id);
	for (int i = 0; i < REQUESTS_IN_GROUP && !place; i++)
		if (is_free_locked(&group[i], now))
			place = &group[i];
	if (place && is_free_locked(place, now))
	{
		place->loader = 0;
		place->not_before = 0;
		place->wish = *wish;
		pg_atomic_write_u64(&place->asked_at, now);
		pg_atomic_write_u32(&place->uses, 1);
		pg_write_barrier();
		pg_atomic_write_u64(&place->id, wish->id);
		is_new = true;
	}
	LWLockRelease(lock);
	if (is_new)
		cg_loader_wake(wish->database, wish->role);
	return place != NULL;
}

bool
cg_load_ask(const CacheKey *key, uint64 identity)
{
	uint64 id = cg_load_lease_id(key, identity);
	SharedRequest *request = find_request(id);
	LoadWish wish;

	if (request)
	{
		int64 age = cg_clock_ms() - (int64) pg_atomic_read_u64(&request->asked_at);

		pg_atomic_fetch_add_u32(&request->uses, 1);
		if (age <= FORGET_MS)
			return age < PATIENCE_MS;
	}
	return cg_refresh_workers > 0 && !RecoveryInProgress() &&
		   make_wish(key, id, identity, &wish) && enter_wish(&wish);
}

static bool
is_waiting_locked(SharedRequest *request, int64 now)
{
	return pg_atomic_read_u64(&request->id) != 0 && request->loader == 0 &&
		   request->not_before <= now;
}

bool
cg_load_next_wish(LoadWish *wish)
{
	int64 now = cg_clock_ms();
	SharedRequest *best = NULL;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < REQUESTS; i++)
	{
		SharedRequest *request = &requests[i];

		if (is_waiting_locked(request, now) && request->wish.database == MyDatabaseId &&
			request->wish.role == GetUserId() &&
			(best == NULL ||
			 pg_atomic_read_u32(&request->uses) > pg_atomic_read_u32(&best->uses)))
			best = request;
	}
	if (best)
	{
		best->loader = MyProcPid;
		*wish = best->wish;
	}
	LWLockRelease(lock);
	return best != NULL;
}

/* One that is not done with is left alone for a while, and then has a new date. */
static void
end_request_locked(SharedRequest *request, bool done)
{
	int64 next = cg_clock_ms() + REST_MS;

	request->loader = 0;
	request->not_before = next;
	if (done)
		pg_atomic_write_u64(&request->id, 0);
}

void
cg_load_end_wish(const LoadWish *wish, bool done)
{
	SharedRequest *request;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	request = find_request(wish->id);
	if (request && request->loader == MyProcPid)
		end_request_locked(request, done);
	LWLockRelease(lock);
}

void
cg_load_abandon_wishes(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < REQUESTS; i++)
		if (pg_atomic_read_u64(&requests[i].id) != 0 && requests[i].loader == MyProcPid)
			end_request_locked(&requests[i], false);
	LWLockRelease(lock);
}

void
cg_load_forget_wishes(Oid database, Oid role)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < REQUESTS; i++)
		if (pg_atomic_read_u64(&requests[i].id) != 0 && requests[i].loader == 0 &&
			requests[i].wish.database == database &&
			(!OidIsValid(role) || requests[i].wish.role == role))
			pg_atomic_write_u64(&requests[i].id, 0);
	LWLockRelease(lock);
}

/* Count a request of this party in. */
static int
add_party(LoadParty *parties, int count, int size, const LoadWish *wish, int64 asked_at)
{
	int i = 0;

	while (i < count &&
		   (parties[i].database != wish->database || parties[i].role != wish->role))
		i++;
	if (i == size)
		return count;
	if (i == count)
		parties[i] = (LoadParty){
			.database = wish->database, .role = wish->role, .since = asked_at};
	parties[i].waiting++;
	parties[i].since = Min(parties[i].since, asked_at);
	return Max(count, i + 1);
}

int
cg_load_waiting_parties(LoadParty *parties, int size)
{
	int64 now = cg_clock_ms();
	int count = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < REQUESTS; i++)
	{
		int64 asked_at = (int64) pg_atomic_read_u64(&requests[i].asked_at);

		if (is_waiting_locked(&requests[i], now) && asked_at + FORGET_MS >= now)
			count = add_party(parties, count, size, &requests[i].wish, asked_at);
	}
	LWLockRelease(lock);
	return count;
}
