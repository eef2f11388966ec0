/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  Attaches the library's copy of the store to the server's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/guc.h"

#include "base/hash.h"
#include "base/settings.h"
#include "probe.h"

PG_MODULE_MAGIC;

/* To be called first by every SQL-callable function. */
void
probe_attach(void)
{
	if (cg_store_attached())
		return;
	cg_memory = atoi(GetConfigOption("cachegrid.memory", false, false));
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cg_store_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

/* SplitMix64 (Steele et al. 2014). */
uint64
probe_random(Random *random)
{
	uint64 z = (random->state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64
probe_below(Random *random, uint64 limit)
{
	return probe_random(random) % limit;
}

/* A key of this database, as the server itself makes it. */
StoreKey
probe_key(uint16 cache, const char *data)
{
	Size size = strlen(data);

	return (StoreKey){cg_name_hash(MyDatabaseId, CG_HASH_OF_KEYS, data, size), data, size,
					  cache};
}

/*
 * The number of this database's cache of the name, which has these limits from now on;
 * NULL: those that it has, or none if it is new.
 */
uint16
probe_cache(const char *name, const StoreLimits *limits)
{
	static const StoreLimits none = {0, false};
	uint16 number;

	if (!cg_store_cache_open(MyDatabaseId, name, limits ? limits : &none, limits != NULL,
							 &number))
		elog(ERROR, "no number is free for cache \"%s\"", name);
	return number;
}
