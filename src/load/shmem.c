/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  This floor's shared memory: who has what is said where it is used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "load/failures.h"
#include "load/lease.h"
#include "load/load.h"
#include "load/loaders.h"
#include "load/progress.h"
#include "load/requests.h"

#define TRANCHE "cachegrid_load"

/* Lightweight locks, by their places in the tranche. */
enum
{
	LOCK_REQUESTS,
	LOCK_LOADERS,
	LOCKS
};

void
cg_load_shmem_request(void)
{
	Size size = cg_load_leases_size();

	size = add_size(size, cg_load_failures_size());
	size = add_size(size, cg_load_progress_size());
	size = add_size(size, cg_load_requests_size());
	size = add_size(size, cg_loaders_size());
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche(TRANCHE, LOCKS);
}

void
cg_load_shmem_init(void)
{
	LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE);

	cg_load_leases_init();
	cg_load_failures_init();
	cg_load_progress_init();
	cg_load_requests_init(&locks[LOCK_REQUESTS].lock);
	cg_loaders_init(&locks[LOCK_LOADERS].lock);
}
