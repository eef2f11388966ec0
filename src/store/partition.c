/*-------------------------------------------------------------------------
 *
 * partition.c
 *	  The lock of a partition.
 *
 * It is held for less than a microsecond as a rule, and to sleep and to be woken takes
 * many.  Worse: whoever sleeps while the holder has lost its processor is woken one by
 * one, by everybody who comes along, and soon all sessions walk in a convoy (Blasgen et
 * al. 1979).  So one who finds the lock taken looks again, for about as long as waking
 * him would take, before he queues up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/s_lock.h"

#include "store/store_internal.h"

/* So often it is tried, and in between nothing is done for so many pauses. */
#define LOCK_TRIES	64
#define LOCK_PAUSES 4

/* Lock the partition exclusively. */
void
cg_partition_lock(Partition *partition)
{
	for (int tries = 0; tries < LOCK_TRIES; tries++)
	{
		if (LWLockConditionalAcquire(partition->lock, LW_EXCLUSIVE))
			return;
		for (int i = 0; i < LOCK_PAUSES; i++)
			SPIN_DELAY();
	}
	LWLockAcquire(partition->lock, LW_EXCLUSIVE);
}
