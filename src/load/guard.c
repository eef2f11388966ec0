/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Runs a load so that its failure can be answered by something else, and so
 *	  that it ends in time.
 *
 * To go on after an error means to run the load in a subtransaction, as PL/pgSQL
 * does for a block with EXCEPTION; who does not want to goes without.  What such a block
 * does not catch we do not either: cancelled queries.
 *
 * One timer of ours serves all loads of the session, nested ones too: it is set
 * to the first of their deadlines.  When it fires it cancels the query, as
 * statement_timeout does; the error that comes of it is taken for what it is by the
 * load whose deadline has passed, and is a cancelled query to all within.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "cache/cache.h"
#include "load/failures.h"
#include "load/guard.h"

/* A load that must end in time.  Backend-local, on the stack. */
typedef struct Watch
{
	TimestampTz deadline; /* DT_NOEND: none */
	struct Watch *outer;
} Watch;

/* Backend-local: the innermost watch, our timer, and whether it has cancelled us. */
static Watch *current_watch = NULL;
static TimeoutId timer = MAX_TIMEOUTS;
static volatile sig_atomic_t has_fired = false;

/* In a signal handler. */
static void
cancel_load(void)
{
	has_fired = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

static void
set_timer(void)
{
	TimestampTz first = DT_NOEND;

	for (Watch *watch = current_watch; watch; watch = watch->outer)
		first = Min(first, watch->deadline);
	if (timer == MAX_TIMEOUTS && first == DT_NOEND)
		return;
	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, cancel_load);
	if (first == DT_NOEND)
		disable_timeout(timer, false);
	else
		enable_timeout_at(timer, first);
}

static void
begin_watch(Watch *watch, int64 timeout)
{
	watch->deadline = timeout > 0 ? GetCurrentTimestamp() + timeout : DT_NOEND;
	watch->outer = current_watch;
	current_watch = watch;
	set_timer();
}

/*
 * Stop.  A cancel that comes too late must not end what comes after the load, unless
 * somebody else wants that, too.
 */
static void
end_watch(const Watch *watch)
{
	if (has_fired && watch->deadline <= GetCurrentTimestamp())
	{
		has_fired = false;
		if (!get_timeout_indicator(STATEMENT_TIMEOUT, false) &&
			!get_timeout_indicator(LOCK_TIMEOUT, false))
			QueryCancelPending = false;
	}
	current_watch = watch->outer;
	set_timer();
}

/* Has the watch run out, and nothing else that cancels a query? */
static bool
has_run_out(const Watch *watch)
{
	TimestampTz now = GetCurrentTimestamp();

	return has_fired && watch->deadline <= now &&
		   !(StatementTimeout > 0 && get_timeout_finish_time(STATEMENT_TIMEOUT) <= now);
}

static void
begin_subtransaction(MemoryContext context)
{
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
}

static void
end_subtransaction(MemoryContext context, ResourceOwner owner, bool commit)
{
	if (commit)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

static void
raise_timeout(const LoadGuard *guard)
{
	ereport(ERROR, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg("computing key \"%.*s\" took too long", guard->key->size,
				   guard->key->data),
			errdetail("It was ended after %lld ms, as its cache says.",
					  (long long) (guard->timeout / 1000)),
			errhint("Make the loader faster, or allow it a longer \"load_timeout\"."));
}

/*
 * The present error, of a load that has failed: note it, and tell whether it may be
 * survived.  The text is not of the failed transaction.
 */
static bool
note_failure(const LoadGuard *guard, const ErrorData *error, bool timed_out, bool *failed)
{
	const char *message = error->message ? error->message : "an error without a text";

	if (timed_out)
		message = "the loader took too long";
	else if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return false;
	*failed = true;
	cg_load_failure_note(guard, message);
	if (timed_out)
		return guard->survive_timeout;
	return guard->survive_error && error->sqlerrcode != ERRCODE_ASSERT_FAILURE &&
		   error->sqlerrcode != ERRCODE_STATEMENT_TOO_COMPLEX;
}

LoadEnd
cg_load_guarded(const LoadGuard *guard, bool *failed)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const bool survive =
		(guard->survive_error || guard->survive_timeout) && !IsInParallelMode();
	volatile LoadEnd end = LOAD_DONE;
	Watch watch;

	*failed = false;
	if (survive)
		begin_subtransaction(context);
	begin_watch(&watch, guard->timeout);
	PG_TRY();
	{
		guard->run(guard->argument);
		end_watch(&watch);
		if (survive)
			end_subtransaction(context, owner, true);
	}
	PG_CATCH();
	{
		ErrorData *error;
		bool timed_out;
		bool go_on;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		timed_out = error->sqlerrcode == ERRCODE_QUERY_CANCELED && has_run_out(&watch);
		end_watch(&watch);
		go_on = note_failure(guard, error, timed_out, failed) && survive;
		FlushErrorState();
		if (survive)
			end_subtransaction(context, owner, false);
		if (!go_on && timed_out)
			raise_timeout(guard);
		if (!go_on)
			ReThrowError(error);
		FreeErrorData(error);
		end = timed_out ? LOAD_TIMED_OUT : LOAD_FAILED;
	}
	PG_END_TRY();
	return end;
}
