/*-------------------------------------------------------------------------
 *
 * refuse.c
 *	  The errors of who gets no value, though nothing is wrong with what he asks for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "load/refuse.h"

void
cg_load_refuse_to_wait(const CacheKey *key)
{
	ereport(
		ERROR, errcode(ERRCODE_LOCK_NOT_AVAILABLE),
		errmsg("key \"%.*s\" is still being computed", key->size, key->data),
		errdetail("Another session computes it, or has done so lately, and the cache's "
				  "\"wait_timeout\" has passed."),
		errhint("Try again, or give the cache a longer \"wait_timeout\" or another "
				"\"on_timeout\"."));
}

void
cg_load_refuse_to_try(const CacheKey *key)
{
	ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("key \"%.*s\" could not be computed lately", key->size, key->data),
			errdetail("Its loader has failed, and is not run again before the cache's "
					  "\"error_backoff\" has passed."),
			errhint("View cachegrid.stat_cache shows the last error of the cache."));
}

void
cg_load_refuse_without_stale(const CacheKey *key)
{
	ereport(
		ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		errmsg("key \"%.*s\" could not be computed", key->size, key->data),
		errdetail("Its loader has failed, and meanwhile the \"stale_ttl\" of what was "
				  "there has passed."),
		errhint("View cachegrid.stat_cache shows the last error of the cache."));
}
