/*-------------------------------------------------------------------------
 *
 * ttl.c
 *	  Times to live: from intervals, and when an entry that is given one expires.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "cache/cache_internal.h"

/* Microseconds; a month counts as 30 days.  The nearest that there is, if it is too long. */
int64
cg_cache_microseconds(const Interval *interval)
{
	int64 days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64 microseconds;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &microseconds) ||
		pg_add_s64_overflow(microseconds, interval->time, &microseconds))
		return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return microseconds;
}

/*
 * Microseconds.  Raises an error for what is not positive, or would end after the
 * clock does.
 */
int64
cg_cache_ttl_from_interval(const Interval *ttl)
{
	int64 microseconds = cg_cache_microseconds(ttl);

	if (microseconds > PG_INT64_MAX / 4)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time to live is too long"),
				errdetail("It would end after the clock does."),
				errhint("Use NULL for an entry that does not expire by itself."));
	if (microseconds <= 0)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("time to live must be greater than zero"),
			microseconds > PG_INT64_MIN
				? errdetail("Its length is %lld microseconds.", (long long) microseconds)
				: errdetail("It is negative."),
			errhint("To remove an entry, use cachegrid.delete."));
	return microseconds;
}

int64
cg_cache_ttl_computed(const Interval *ttl)
{
	return Max(cg_cache_microseconds(ttl), 0);
}

/* When an entry of the cache that is given this time to live now will expire. */
StoreTime
cg_policy_expiry(const CachePolicy *policy, int64 ttl)
{
	if (ttl == CG_TTL_NEVER)
		return CG_STORE_NEVER;
	if (policy->ttl_jitter > 0)
		ttl -= (int64) (ttl * policy->ttl_jitter * pg_prng_double(&pg_global_prng_state));
	return cg_store_now() + Max(ttl, 1);
}
