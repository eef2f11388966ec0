/*-------------------------------------------------------------------------
 *
 * outside.c
 *	  Values that are computed outside of SQL: lookup, then fill with a token.
 *
 * The token is that of a fill (cache/fill.c).  Who asks for a lease besides has its grant
 * in the token, too, behind a dot: the lease outlives the call, the transaction, and,
 * where a pool deals out connections, may be ended by another session.  It ends with the
 * fill, when it is given up, when its time has passed, or when the session ends that it was
 * lent to.
 *
 * Like the lease of a load it saves work and decides nothing about correctness: whether a
 * value may be kept is up to the fill.  It belongs to a key and a role, for a role is never
 * served what another has filled: so who takes leases and fills nothing is in his own
 * way only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/settings.h"
#include "cache/cache.h"
#include "load/lease.h"
#include "load/load.h"
#include "load/refuse.h"

#define MICROSECONDS_IN_MS 1000
#define GRANT_MARK		   '.' /* before the grant's digits */
#define GRANT_DIGITS	   16

static uint64
lease_id(const CacheKey *key)
{
	uint64 ids[2] = {cg_dependency_of_key(key), GetUserId()};

	return cg_hash(ids, sizeof(ids), cg_load_secret()) | 1;
}

/* A fill that covers the tags, or NULL if there is nothing to fill. */
static CacheFill *
begin_fill(const OutsideRequest *request)
{
	CacheFill *fill = cg_cache_fill_begin(&request->key, 0);

	for (int i = 0; fill && i < request->tag_count; i++)
		if (!cg_cache_fill_tag(fill, &request->tags[i]))
		{
			cg_cache_fill_abandon(fill);
			fill = NULL;
		}
	return fill;
}

/* Milliseconds, rounded up.  Raises an error for what is not positive. */
static int64
lease_duration(const Interval *lease)
{
	int64 microseconds = cg_cache_microseconds(lease);

	if (microseconds <= 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("lease must be greater than zero"),
				errdetail("It is how long the computation may take."),
				errhint("Use NULL to look a key up without a lease."));
	return (microseconds - 1) / MICROSECONDS_IN_MS + 1;
}

/*
 * A fill with a lease, or without one where none is to be had; NULL: there is nothing to
 * fill, or *found, the value is there now.
 */
static CacheFill *
begin_leased(const OutsideRequest *request, int64 duration, CacheValue *value,
			 bool *found, uint64 *grant)
{
	CacheLoading options = cg_cache_policy(&request->key)->loading;
	int64 timeout = options.wait_timeout < 0 ? cg_lease_timeout
											 : options.wait_timeout / MICROSECONDS_IN_MS;
	int64 deadline = cg_clock_ms() + timeout;
	uint64 id = lease_id(&request->key);
	LeaseWait waited = LEASE_ENDED;
	LeaseOutcome lease = LEASE_NONE;
	CacheFill *fill;

	*grant = 0;
	for (;;)
	{
		fill = begin_fill(request);
		if (!fill && lease == LEASE_TAKEN)
			(void) cg_load_lease_return(id, *grant, LEASE_END_FRUITLESS);
		/* Where it was in vain all compute: who took the lease now had the others wait. */
		if (!fill || lease == LEASE_TAKEN || waited == LEASE_FRUITLESS)
			return fill;
		lease = cg_load_lease_lend(id, options.lease_interval / MICROSECONDS_IN_MS,
								   duration, grant);
		if (lease == LEASE_NONE || (lease != LEASE_TAKEN && waited != LEASE_ENDED))
			return fill;

		/* Who has waited, and who has the lease, looks whether it is there now. */
		cg_cache_fill_abandon(fill);
		if (lease != LEASE_TAKEN)
			waited = cg_load_lease_wait(id, deadline);
		*found = cg_cache_lookup_again(&request->key, 0, value) == CACHE_HIT;
		if (*found && lease == LEASE_TAKEN)
			(void) cg_load_lease_return(id, *grant, LEASE_END_QUIET);
		if (*found)
			return NULL;
		if (waited == LEASE_TIMEOUT && options.on_timeout == ON_TIMEOUT_ERROR)
			cg_load_refuse_to_wait(&request->key);
	}
}

bool
cg_load_lookup(const OutsideRequest *request, CacheValue *value, char **token)
{
	int64 duration = request->lease ? lease_duration(request->lease) : 0;
	bool found = cg_cache_lookup(&request->key, 0, value) == CACHE_HIT;
	uint64 grant = 0;
	CacheFill *fill;

	*token = NULL;
	if (found)
		return true;
	fill = request->lease ? begin_leased(request, duration, value, &found, &grant)
						  : begin_fill(request);
	if (!fill)
		return found;
	*token = cg_cache_fill_to_token(fill);
	if (grant != 0)
		*token =
			psprintf("%s%c%0*llx", *token, GRANT_MARK, GRANT_DIGITS, (long long) grant);
	return false;
}

/*
 * Cut the grant off the token, a copy of the caller's; 0: it has none.  False: the token
 * is none that lookup gave.
 */
static bool
cut_grant(char *token, uint64 *grant)
{
	char *mark = strchr(token, GRANT_MARK);

	*grant = 0;
	if (!mark)
		return true;
	*mark++ = '\0';
	if (strlen(mark) != GRANT_DIGITS || strspn(mark, "0123456789abcdef") != GRANT_DIGITS)
		return false;
	*grant = strtoull(mark, NULL, 16);
	return true;
}

/* Publish the value under the fill's token. */
static bool
publish(const OutsideRequest *request, const CacheValue *value, const char *token,
		int64 ttl)
{
	CacheFill *fill = cg_cache_fill_from_token(&request->key, token);

	if (!fill)
		return false;
	for (int i = 0; i < request->tag_count; i++)
		if (!cg_cache_fill_covers_tag(fill, &request->tags[i]))
		{
			cg_cache_fill_abandon(fill);
			return false;
		}
	return cg_cache_fill_publish(fill, value, ttl);
}

bool
cg_load_fill(const OutsideRequest *request, const CacheValue *value, const char *token,
			 int64 ttl)
{
	char *copy = pstrdup(token);
	uint64 grant;
	bool published;

	if (!cut_grant(copy, &grant))
		return false;
	published = publish(request, value, copy, ttl);
	if (grant != 0)
		(void) cg_load_lease_return(lease_id(&request->key), grant,
									published ? LEASE_END_QUIET : LEASE_END_FRUITLESS);
	return published;
}

bool
cg_load_give_up(const CacheKey *key, const char *token)
{
	uint64 id = lease_id(key);
	uint64 grant;

	return cut_grant(pstrdup(token), &grant) && grant != 0 &&
		   cg_load_lease_return(id, grant, LEASE_END_QUIET);
}
