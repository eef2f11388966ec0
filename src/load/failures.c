/*-------------------------------------------------------------------------
 *
 * failures.c
 *	  Of each cache the last error of a load.
 *
 * It is kept by the number of the cache, which may be another's by the time somebody
 * looks: its name is kept, too.  That it is of an earlier cache of the same name shows
 * in the count, which begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "load/failures.h"
#include "load/load.h"

#define MESSAGE_BYTES 256

/* In shared memory; guarded by its lock. */
typedef struct SharedFailure
{
	slock_t lock;
	Oid database; /* InvalidOid: there was none */
	NameData cache;
	Oid role; /* who ran the load */
	TimestampTz at;
	char message[MESSAGE_BYTES]; /* terminated, in the encoding of the database */
} SharedFailure;

/* Backend-local pointer to shared memory, [number of the cache]. */
static SharedFailure *failures = NULL;

Size
cg_load_failures_size(void)
{
	return mul_size(CG_STORE_CACHES_MAX, sizeof(SharedFailure));
}

void
cg_load_failures_init(void)
{
	bool found;

	failures =
		ShmemInitStruct("cachegrid failures of loads", cg_load_failures_size(), &found);
	if (found)
		return;
	memset(failures, 0, cg_load_failures_size());
	for (int i = 0; i < CG_STORE_CACHES_MAX; i++)
		SpinLockInit(&failures[i].lock);
}

void
cg_load_failure_note(const LoadGuard *guard, const char *message)
{
	SharedFailure *shared = &failures[guard->number];
	int size = pg_mbcliplen(message, strlen(message), MESSAGE_BYTES - 1);
	TimestampTz now = GetCurrentTimestamp();

	cg_store_count(guard->number, COUNT_LOAD_ERRORS, 1);
	SpinLockAcquire(&shared->lock);
	shared->database = MyDatabaseId;
	shared->cache = guard->cache;
	shared->role = guard->role;
	shared->at = now;
	memcpy(shared->message, message, size);
	shared->message[size] = '\0';
	SpinLockRelease(&shared->lock);
}

bool
cg_load_failure_read(const CachePolicy *policy, LoadFailure *failure)
{
	SharedFailure *shared = &failures[policy->number];
	SharedFailure copy;

	SpinLockAcquire(&shared->lock);
	copy.database = shared->database;
	copy.cache = shared->cache;
	copy.role = shared->role;
	copy.at = shared->at;
	memcpy(copy.message, shared->message, MESSAGE_BYTES);
	SpinLockRelease(&shared->lock);

	if (copy.database != MyDatabaseId ||
		strcmp(NameStr(copy.cache), NameStr(policy->name)) != 0)
		return false;
	failure->at = copy.at;
	failure->message = has_privs_of_role(GetUserId(), copy.role) ||
							   has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS)
						   ? pstrdup(copy.message)
						   : "<insufficient privilege>";
	return true;
}
