/*-------------------------------------------------------------------------
 *
 * intent.c
 *	  What sessions that commit want of their database's consumer: that the
 *	  keys they touched are removed from Redis before the commit, and that the
 *	  commit returns only when what is new has been applied.
 *
 * Every process has a place.  It writes there what it wants, wakes the
 * consumer, and waits on its latch for the answer; the consumer looks through
 * the places in each of its rounds, and answers many at once.  A place has a
 * spinlock, so that an answer meets the question it was meant for: who gives
 * up withdraws his question, and a late answer finds none.
 *
 * Which keys it is about is not said here: they stand in the outbox, in rows
 * of that transaction.  So there may be any number of them, and who has
 * forgotten everything finds them there again.
 *
 * Before the commit everything may still fail, and a wait is like any other.
 * After it nothing may: like a wait for a synchronous standby, it ends with a
 * warning when it is cancelled, and when the session is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "outbox/outbox_internal.h"

/* So many tables and partitions a transaction remembers that it has touched. */
#define MAX_RELATIONS 16

/* In shared memory; guarded by its mutex. */
typedef struct IntentPlace
{
	slock_t mutex;
	Oid database; /* InvalidOid: nothing is wanted; looked at without the lock, too */
	Latch *latch; /* whose */
	OutboxAnswer answer;
	OutboxIntent intent;
} IntentPlace;

static IntentPlace *places = NULL; /* one a process */

/*
 * What the current transaction wants.  A savepoint that is rolled back leaves
 * its wishes here: to wait in vain does no harm.
 */
typedef struct IntentLocal
{
	int wishes;	 /* of all mirrors together */
	int demands; /* of those alone that must not go on without Redis */
	bool whole;	 /* a whole table is touched, of whatever mirror */
	OutboxIntent intent;
	Oid relations[MAX_RELATIONS]; /* whose rows are touched, perhaps not all */
	int relation_count;
} IntentLocal;

static IntentLocal local;

static int
place_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

Size
cg_intent_shmem_size(void)
{
	return mul_size(place_count(), sizeof(IntentPlace));
}

void
cg_intent_shmem_init(void)
{
	bool found;

	places = ShmemInitStruct("cachegrid intents", cg_intent_shmem_size(), &found);
	if (found)
		return;
	memset(places, 0, cg_intent_shmem_size());
	for (int i = 0; i < place_count(); i++)
		SpinLockInit(&places[i].mutex);
}

/* The latest is looked at first: it is touched row by row. */
static void
note_relation(Oid relation)
{
	for (int i = local.relation_count - 1; i >= 0; i--)
	{
		if (local.relations[i] == relation)
			return;
	}
	if (local.relation_count < MAX_RELATIONS)
		local.relations[local.relation_count++] = relation;
}

/*
 * A mirror of this relation, or of the table that it is a partition of, is touched,
 * or the whole of it, and wants this of the commit.  Who touches a whole table does
 * not wait after the commit, for whatever: the consumer waits for his locks then.
 * Cannot fail.
 */
void
cg_intent_note(int32 mirror, Oid relation, int wishes, bool whole)
{
	OutboxIntent *intent = &local.intent;
	int i = 0;

	local.whole |= whole;
	if (wishes == 0)
		return;
	local.wishes |= wishes;
	if (!(wishes & CG_OUTBOX_DEGRADE))
		local.demands |= wishes;

	note_relation(relation);
	while (i < Min(intent->mirror_count, CG_OUTBOX_INTENT_MIRRORS) &&
		   intent->mirrors[i] != mirror)
		i++;
	if (i < intent->mirror_count)
		return;
	if (i < CG_OUTBOX_INTENT_MIRRORS)
		intent->mirrors[i] = mirror;
	intent->mirror_count++;
}

static uint32
wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("CachegridWriteThrough");
	return event;
}

static IntentPlace *
my_place(void)
{
	return &places[cg_my_proc_number()];
}

static void
ask(OutboxWish wish)
{
	static uint32 number = 0;
	IntentPlace *place = my_place();

	local.intent.wish = wish;
	local.intent.number = ++number;
	local.intent.place = cg_my_proc_number();
	local.intent.xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());

	SpinLockAcquire(&place->mutex);
	place->database = MyDatabaseId;
	place->latch = MyLatch;
	place->answer = OUTBOX_UNANSWERED;
	place->intent = local.intent;
	SpinLockRelease(&place->mutex);
	cg_outbox_wake();
}

/* What there is of an answer to what this process asked. */
static OutboxAnswer
look(void)
{
	IntentPlace *place = my_place();
	OutboxAnswer answer;

	SpinLockAcquire(&place->mutex);
	answer = place->answer;
	SpinLockRelease(&place->mutex);
	return answer;
}

static void
withdraw(void)
{
	IntentPlace *place = my_place();

	SpinLockAcquire(&place->mutex);
	place->database = InvalidOid;
	SpinLockRelease(&place->mutex);
}

/* Wait some time for the latch; false if the postmaster is gone. */
static bool
rest(int64 milliseconds)
{
	int events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH,
						   (long) Max(milliseconds, 1), wait_event());

	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	return !(events & WL_POSTMASTER_DEATH);
}

/* Before the commit: nobody holds interrupts back. */
static OutboxAnswer
await_removal(void)
{
	int64 deadline = cg_clock_ms() + cg_write_through_timeout;

	for (;;)
	{
		OutboxAnswer answer = look();
		int64 now = cg_clock_ms();

		if (answer != OUTBOX_UNANSWERED || now >= deadline)
			return answer;
		if (!rest(deadline - now))
			proc_exit(1);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
refuse_commit(OutboxAnswer answer)
{
	ereport(ERROR, errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
			errmsg("could not remove the changed rows' keys from Redis"),
			answer == OUTBOX_UNANSWERED
				? errdetail("The worker did not do it within %d ms, "
							"\"cachegrid.write_through_timeout\".",
							cg_write_through_timeout)
				: errdetail("The server is out of reach, or does not take them; the view "
							"cachegrid.stat_mirror says why."),
			errhint("Try again when Redis is back. A mirror with on_unavailable => "
					"'degrade' goes on without it."));
}

/*
 * All rows are in the outbox: have the keys removed that are to be, and be
 * sure of it.  Raises an error if Redis is out of reach, unless every mirror
 * concerned goes on without it; may be cancelled.
 */
void
cg_intent_before_commit(void)
{
	OutboxAnswer answer;

	if (!(local.wishes & CG_OUTBOX_REMOVE))
		return;
	ask(OUTBOX_WISH_REMOVAL);
	answer = await_removal();
	withdraw();
	if (answer != OUTBOX_GRANTED && (local.demands & CG_OUTBOX_REMOVE))
		refuse_commit(answer);
}

/* Does this transaction lock out whoever wants to read what it has touched? */
static bool
locks_readers_out(void)
{
	for (int i = 0; i < local.relation_count; i++)
	{
		LOCKTAG tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, local.relations[i]);
		if (LockHeldByMe(&tag, AccessExclusiveLock, false))
			return true;
	}
	return false;
}

/* Why to wait no longer, or NULL.  What interrupts is left to be answered later. */
static const char *
reason_to_leave(bool has_postmaster)
{
	if (!has_postmaster)
	{
		ProcDiePending = true;
		whereToSendOutput = DestNone;
		return "the postmaster is gone";
	}
	if (ProcDiePending)
	{
		whereToSendOutput = DestNone;
		return "the session is terminated";
	}
	if (QueryCancelPending)
	{
		QueryCancelPending = false;
		return "the wait was cancelled";
	}
	return NULL;
}

/* After the commit: interrupts are held back, and nothing may be raised. */
static const char *
await_application(void)
{
	int64 deadline = cg_clock_ms() + cg_write_through_timeout;
	bool has_postmaster = true;

	for (;;)
	{
		OutboxAnswer answer = look();
		int64 now = cg_clock_ms();
		const char *reason;

		if (answer == OUTBOX_GRANTED)
			return NULL;
		if (answer == OUTBOX_REFUSED)
			return "Redis is out of reach, or does not take them, or a table is locked";
		if (now >= deadline)
			return "the worker did not do it within \"cachegrid.write_through_timeout\"";
		reason = reason_to_leave(has_postmaster);
		if (reason)
			return reason;
		has_postmaster = rest(deadline - now);
	}
}

/*
 * The transaction is committed, and visible: wait until Redis has its rows.
 * The consumer must be able to read them, which our own locks may prevent.
 */
static void
after_commit(void)
{
	const char *reason;

	if (!(local.wishes & CG_OUTBOX_AWAIT) || local.whole || locks_readers_out())
		return;
	ask(OUTBOX_WISH_APPLICATION);
	reason = await_application();
	withdraw();
	if (reason && (local.demands & CG_OUTBOX_AWAIT))
		ereport(WARNING, errmsg("not waiting for Redis any longer"),
				errdetail("The transaction has committed, but its rows may not be in "
						  "Redis yet: %s.",
						  reason));
}

static void
transaction_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		after_commit();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (local.wishes != 0)
	{
		withdraw();
		/* Whose keys were removed in vain: they are to be set again. */
		if (event == XACT_EVENT_ABORT)
			cg_outbox_wake();
	}
	if (local.wishes != 0 || local.whole)
		memset(&local, 0, sizeof(local));
}

/*
 * Called once, when the library is loaded, before anybody else registers:
 * callbacks run in reverse order, and nobody is to wait for this one.
 */
void
cg_outbox_init_intents(void)
{
	RegisterXactCallback(transaction_callback, NULL);
}

/*
 * For the consumer: what sessions of the current database want now and have no
 * answer to, palloc'd; returns how many.
 */
int
cg_outbox_intents(OutboxIntent **intents)
{
	int count = 0;

	*intents = NULL;
	for (int i = 0; i < place_count(); i++)
	{
		IntentPlace *place = &places[i];

		if (*(volatile Oid *) &place->database != MyDatabaseId)
			continue;
		if (!*intents)
			*intents = palloc(place_count() * sizeof(OutboxIntent));
		SpinLockAcquire(&place->mutex);
		if (place->database == MyDatabaseId && place->answer == OUTBOX_UNANSWERED)
			(*intents)[count++] = place->intent;
		SpinLockRelease(&place->mutex);
	}
	return count;
}

/* For the consumer: answer one, unless it has been withdrawn. */
void
cg_outbox_answer(const OutboxIntent *intent, OutboxAnswer answer)
{
	IntentPlace *place = &places[intent->place];
	Latch *latch = NULL;

	SpinLockAcquire(&place->mutex);
	/* Who has given up may have asked again since, for more keys. */
	if (place->database == MyDatabaseId && place->intent.xid == intent->xid &&
		place->intent.number == intent->number)
	{
		place->answer = answer;
		latch = place->latch;
	}
	SpinLockRelease(&place->mutex);
	if (latch)
		SetLatch(latch);
}
