/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  The worker's transactions; and how to run something that may fail
 *	  because of one row or one table, and go on with the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
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
 * Run work(argument) in a subtransaction.  If it raises an error, false, and
 * the message into *error, palloc'd in the caller's context.  Whatever work
 * opens it must close.
 */
bool
cg_mirror_try(void (*work)(void *argument), void *argument, char **error)
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

		/* That is meant for the worker, not for the row. */
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		*error = pstrdup(data->message);
		FreeErrorData(data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}
