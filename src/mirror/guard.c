/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  The worker's transactions; how to run something that may fail because of
 *	  one row or one table, and go on with the others; and as whom rows are
 *	  encoded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* Where the worker was when it began its transaction. */
static MemoryContext outer_context = NULL;

/* Begin a transaction of the worker. */
void
cg_mirror_begin(void)
{
	outer_context = CurrentMemoryContext;
	StartTransactionCommand();
}

/* Commit it, and return to the memory context that it was begun in. */
void
cg_mirror_commit(void)
{
	CommitTransactionCommand();
	MemoryContextSwitchTo(outer_context);
}

/*
 * Casts to json may be anybody's functions: they run as the table's owner, as
 * they would for him, and what they set ends with the matching leave.  An error
 * in between ends both with its subtransaction.
 */
void
cg_mirror_enter_owner(Relation relation, MirrorCaller *caller)
{
	GetUserIdAndSecContext(&caller->user, &caller->security);
	SetUserIdAndSecContext(relation->rd_rel->relowner,
						   caller->security | SECURITY_RESTRICTED_OPERATION);
	caller->guc_level = NewGUCNestLevel();
}

void
cg_mirror_leave_owner(const MirrorCaller *caller)
{
	AtEOXact_GUC(false, caller->guc_level);
	SetUserIdAndSecContext(caller->user, caller->security);
}

/*
 * Run work(argument) in a subtransaction.  If it raises an error that is_ours, or
 * whichever if that is NULL: false, and the message into *error, palloc'd in the
 * caller's context.  Other errors are raised again.  Whatever work opens it must
 * close.
 */
bool
cg_mirror_try_some(void (*work)(void *argument), void *argument,
				   bool (*is_ours)(const ErrorData *error, void *argument), char **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		work(argument);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData *data;

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (is_ours && !is_ours(data, argument))
			ReThrowError(data);
		*error = MemoryContextStrdup(context, data->message);
		FreeErrorData(data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

/* The same for the worker: whatever is raised, as nobody cancels that. */
bool
cg_mirror_try(void (*work)(void *argument), void *argument, char **error)
{
	return cg_mirror_try_some(work, argument, NULL, error);
}
