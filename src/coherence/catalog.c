/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  Do this session's catalog caches know all that its snapshot sees?
 *
 * What a value depends on is read from the catalogs: which table is watched
 * by which templates, what its partitions are.  Sessions read them from
 * caches, and learn of a change by messages that the changing transaction
 * sends a moment after it has become visible, when somebody locks a relation
 * anew.  So a snapshot may see a change that the caches do not know, in that
 * moment, or for as long as a statement holds the lock that it took before.
 * Whoever filled in between would believe templates that no writer obeys any
 * more, and would never be told.
 *
 * So a transaction that changes catalogs announces it before it becomes
 * visible, until its messages are out.  A fill, its snapshot taken, asks
 * whether anybody is announced, and only then receives messages: a change
 * that its snapshot sees was announced by then, and is so still, or its
 * messages are among those received.  Changes that the snapshot does not see
 * are none of its business: they have left unsettled stamps.  COMMIT PREPARED
 * sends another transaction's messages, and announces itself for that.  On a
 * standby nobody announces: there a fill waits until nothing is being redone
 * that was when its snapshot was taken, for a moment, or does without.
 *
 * In this session, too, the caches and the catalogs tell of what the event
 * triggers have not reported yet: a command that changes catalogs has done so
 * before it reports, and other event triggers and functions may read while it
 * runs.  So as long as one is under way, nothing derived is served.
 *
 * Shared memory: one counter, atomic.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/inval.h"
#include "utils/resowner.h"

#include "coherence/slots.h"

/* In shared memory: transactions whose messages may still be to come. */
static pg_atomic_uint32 *announced = NULL;

/* Backend-local, of the current transaction. */
static bool changes = false;
static bool announced_by_me = false;

/* Backend-local: commands that change catalogs, one within the other. */
static int commands = 0;

Size
cg_catalog_shmem_size(void)
{
	return sizeof(pg_atomic_uint32);
}

void
cg_catalog_shmem_init(void)
{
	bool found;

	announced =
		ShmemInitStruct("cachegrid catalog changes", cg_catalog_shmem_size(), &found);
	if (!found)
		pg_atomic_init_u32(announced, 0);
}

/* Just before this transaction becomes visible, or prepared. */
void
cg_catalog_announce(void)
{
	if (!changes || announced_by_me)
		return;
	announced_by_me = true;
	pg_atomic_fetch_add_u32(announced, 1);
}

void
cg_coherence_catalog_changes(void)
{
	changes = true;
	if (cg_coherence_stamped())
		cg_catalog_announce();
}

void
cg_coherence_catalog_changes_now(void)
{
	changes = true;
	cg_catalog_announce();
}

bool
cg_coherence_catalog_changed_by_me(void)
{
	return changes || commands > 0;
}

void
cg_coherence_catalog_command_begins(void)
{
	commands++;
}

void
cg_coherence_catalog_command_ends(void)
{
	commands--;
}

bool
cg_coherence_catalog_command_runs(void)
{
	return commands > 0;
}

bool
cg_coherence_catalog_current(void)
{
	/* A full barrier, after the snapshot was taken. */
	if (pg_atomic_fetch_add_u32(announced, 0) != 0)
		return false;
	if (RecoveryInProgress() && !cg_recovery_is_between_records())
		return false;
	AcceptInvalidationMessages();
	return true;
}

/* Locks are released after the messages are sent, at the end of any kind. */
static void
release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	if (announced_by_me)
		pg_atomic_fetch_sub_u32(announced, 1);
	announced_by_me = false;
	changes = false;
}

/* At load time. */
void
cg_catalog_init(void)
{
	RegisterResourceReleaseCallback(release, NULL);
}
