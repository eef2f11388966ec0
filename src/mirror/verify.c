/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Compares a mirror with its table, both ways, from a user's session.
 *
 * Rows and keys go on changing meanwhile, and Redis follows a little later:
 * so what looks wrong is looked at again, and is reported only if it never
 * was right.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"
#include "mirror/table.h"

#define CHUNK 1000

/* Look at what seems wrong so often, at such intervals. */
#define MAX_LOOKS		 20
#define LOOK_INTERVAL_MS 100

/* So often replicas are asked, if each time one of them fails. */
#define MAX_TRIES 10

typedef struct Verification
{
	MirrorDefinition *definition;
	RedisGrid *grid;
	MirrorBatch *suspects;
	Tuplestorestate *problems;
	TupleDesc desc;
} Verification;

/*
 * Have Redis ready; if replicas are read, those that have what their masters have
 * now: what such a replica shows later is a difference, not a delay.
 */
static void
connect_to_redis(Verification *verification)
{
	if (!cg_redis_connect(verification->grid))
		cg_redis_report(verification->grid, ERROR);
}

/*
 * Compare some touches under a new snapshot; results into comparisons.  A replica
 * that fails over it is replaced by another one, as long as there is any.
 */
static void
compare_touches(Verification *verification, MirrorTouch *touches, int count,
				MirrorComparison *comparisons)
{
	for (int tries = 1;; tries++)
	{
		bool answered;

		memset(comparisons, 0, count * sizeof(MirrorComparison));
		PushActiveSnapshot(GetLatestSnapshot());
		answered = cg_mirror_compare(verification->definition, verification->grid,
									 touches, count, comparisons, true);
		PopActiveSnapshot();
		if (answered)
			return;
		if (tries == MAX_TRIES || !cg_redis_reads_replicas(verification->grid))
			cg_redis_report(verification->grid, ERROR);
		connect_to_redis(verification);
	}
}

static void
report(Verification *verification, const char *key, int size, const char *problem)
{
	Datum values[2] = {PointerGetDatum(cstring_to_text_with_len(key, size)),
					   CStringGetTextDatum(problem)};
	bool nulls[2] = {false};

	/* What stands in Redis under our prefix need not be text. */
	if (!pg_verifymbstr(key, size, true))
		values[0] = DirectFunctionCall2(
			binary_encode, PointerGetDatum(cstring_to_text_with_len(key, size)),
			CStringGetTextDatum("escape"));
	tuplestore_putvalues(verification->problems, verification->desc, values, nulls);
}

static void
handle_problem(Verification *verification, const MirrorComparison *comparison,
			   bool last_look)
{
	const MirrorTouch *touch = comparison->touch;

	if (last_look)
		report(verification, comparison->key, comparison->key_size, comparison->problem);
	else
		cg_mirror_batch_add(verification->suspects, touch->mirror, touch->key,
							touch->key_size, &touch->tid);
}

/* Compare a batch; what seems wrong becomes a suspect, at the last look a problem. */
static void
examine(Verification *verification, MirrorBatch *batch, bool last_look)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "cachegrid verify", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);

	for (int i = 0; i < batch->count; i += CHUNK)
	{
		int count = Min(batch->count - i, CHUNK);
		MirrorComparison *comparisons = palloc(count * sizeof(MirrorComparison));

		compare_touches(verification, &batch->touches[i], count, comparisons);
		for (int j = 0; j < count; j++)
		{
			if (comparisons[j].problem)
				handle_problem(verification, &comparisons[j], last_look);
		}
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
}

static void
walk_table(Verification *verification)
{
	MirrorBatch *batch = cg_mirror_batch(CurrentMemoryContext);
	MirrorState place = {.definition = verification->definition};
	int count;

	do
	{
		MirrorTable *table;

		cg_mirror_batch_reset(batch);
		PushActiveSnapshot(GetLatestSnapshot());
		table = cg_mirror_table_open(verification->definition, GetActiveSnapshot(),
									 MIRROR_LOCKS_AWAITED);
		count = cg_mirror_table_walk(table, &place, batch, CHUNK);
		cg_mirror_table_close(table);
		PopActiveSnapshot();
		examine(verification, batch, false);
	} while (count == CHUNK);
}

/* Keys that no row can have are reported, the others compared. */
static void
sort_keys(Verification *verification, const RedisString *keys, int count,
		  MirrorBatch *batch)
{
	MirrorTable *table;
	ItemPointerData no_hint;

	ItemPointerSetInvalid(&no_hint);
	PushActiveSnapshot(GetLatestSnapshot());
	table = cg_mirror_table_open(verification->definition, GetActiveSnapshot(),
								 MIRROR_LOCKS_AWAITED);
	for (int i = 0; i < count; i++)
	{
		char key[CG_OUTBOX_MAX_KEY_BYTES];
		Size size = cg_mirror_parse_key(table, keys[i].data, keys[i].size, key);

		if (size == 0)
			report(verification, keys[i].data, keys[i].size, "surplus");
		else
			cg_mirror_batch_add(batch, verification->definition->id, key, size, &no_hint);
	}
	cg_mirror_table_close(table);
	PopActiveSnapshot();
}

static void
scan_redis(Verification *verification)
{
	MirrorBatch *batch = cg_mirror_batch(CurrentMemoryContext);
	char *prefix = psprintf("%s:", verification->definition->prefix);
	RedisScan *scan =
		cg_redis_scan_begin(verification->grid, (RedisString){prefix, strlen(prefix)});

	for (;;)
	{
		RedisString *keys;
		int count;
		RedisScanState state = cg_redis_scan_next(scan, &keys, &count);

		CHECK_FOR_INTERRUPTS();
		if (state == REDIS_SCAN_FAILED)
			cg_redis_report(verification->grid, ERROR);
		if (state == REDIS_SCAN_BROKEN)
			ereport(ERROR, errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("the nodes of Redis changed meanwhile"),
					errdetail("A hash slot moved, or a connection was lost: keys may "
							  "have been left out."),
					errhint("Try again."));
		if (state == REDIS_SCAN_END)
			break;
		cg_mirror_batch_reset(batch);
		sort_keys(verification, keys, count, batch);
		examine(verification, batch, false);
	}
	cg_redis_scan_end(scan);
}

static void
look_again_later(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 LOOK_INTERVAL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Look at the suspects until none is left, or they are found guilty. */
static void
try_suspects(Verification *verification)
{
	for (int looks = 1; verification->suspects->count > 0; looks++)
	{
		MirrorBatch *batch = verification->suspects;

		look_again_later();
		connect_to_redis(verification);
		verification->suspects = cg_mirror_batch(CurrentMemoryContext);
		examine(verification, batch, looks == MAX_LOOKS);
		MemoryContextDelete(batch->context);
	}
}

static void
verify(Verification *verification, Oid relation)
{
	int guc_level = NewGUCNestLevel();
	Relation table;

	connect_to_redis(verification);
	cg_mirror_pin_settings();
	table = relation_open(relation, AccessShareLock);
	walk_table(verification);
	scan_redis(verification);
	try_suspects(verification);
	relation_close(table, NoLock);
	AtEOXact_GUC(false, guc_level);
}

/*
 * Put the mirror's problems, (key text, problem text), into problems:
 * "missing" or "expired" keys, keys whose value "differs", "surplus" keys, keys
 * of rows that "cannot be encoded: ...".
 * Waits a little for Redis to catch up.  Asks replicas if the server says so.
 */
void
cg_mirror_verify(Oid relation, const char *server, Tuplestorestate *problems,
				 TupleDesc desc)
{
	Verification verification = {.problems = problems, .desc = desc};
	Oid owner = GetUserId();

	verification.definition = cg_mirror_require(relation, server);
	if (verification.definition->mode == MIRROR_INVALIDATE)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot verify a mirror in mode \"invalidate\""),
				errdetail("It writes no values to Redis."),
				errhint("Verify mirrors in mode \"write-behind\"."));
	verification.suspects = cg_mirror_batch(CurrentMemoryContext);
	verification.grid = cg_redis_open_reader(
		CurrentMemoryContext,
		cg_mirror_server_options(cg_mirror_server(server), owner, NULL));
	PG_TRY();
	{
		verify(&verification, relation);
	}
	PG_FINALLY();
	{
		cg_mirror_publish_replicas(server, owner, verification.grid);
	}
	PG_END_TRY();
	cg_redis_close(verification.grid);
}
