/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Tells subscribers what happens to the keys of a watched table, in two ways.
 *
 * Published events go to the outbox, as records of a stream; the worker gives
 * them tokens and sends them to Redis (mirror/events.c).
 *
 * Notifications are handed to PostgreSQL at once, which keeps them until the
 * commit, forgets them with their savepoint, and merges those that are equal.
 * It delivers them in the order of commits, for which all notifying transactions
 * of the server hold one lock while they commit: hence only who asks for it pays.
 * After so many of one transaction what follows is told as "all", once: that is
 * left to the merging, too, so that no savepoint can take it back.
 *
 * PostgreSQL refuses to prepare a transaction that has notified.  So do we, just
 * before it, to tell which table it is about.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "capture/arguments.h"
#include "capture/event.h"
#include "outbox/outbox.h"

/* What LISTEN names. */
#define NOTIFY_CHANNEL "cachegrid"

/* Notifications of one transaction; beyond them whole tables are told of. */
#define MAX_NOTIFICATIONS 8192

/* Backend-local; what the current transaction has notified of. */
typedef struct NotifyLocal
{
	LocalTransactionId transaction; /* that count is of */
	int count;						/* what was taken back included */
	int level; /* the lowest nesting level that has notified, 0: none */
	Oid table; /* one that it was about */
} NotifyLocal;

static NotifyLocal local;

EventSource
cg_event_source(List *arguments, Oid root)
{
	EventSource source = {.root = root};
	ListCell *cell;

	foreach (cell, arguments)
	{
		(void) cg_arguments_is_stream(lfirst(cell), &source.stream);
		source.notifies |= cg_arguments_is_notify(lfirst(cell));
	}
	return source;
}

bool
cg_event_is_wanted(const EventSource *source)
{
	return source->stream != 0 || source->notifies;
}

bool
cg_event_same_key(const CacheKey *a, const CacheKey *b)
{
	return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static const char *
operation_name(OutboxKind kind)
{
	switch (kind)
	{
		case OUTBOX_INSERT:
			return "insert";
		case OUTBOX_UPDATE:
			return "update";
		case OUTBOX_DELETE:
			return "delete";
		default:
			return "all";
	}
}

static void
remember_notification(Oid table)
{
	LocalTransactionId transaction = cg_local_transaction_id();
	int level = GetCurrentTransactionNestLevel();

	if (local.transaction != transaction)
		local.count = 0;
	local.transaction = transaction;
	local.count++;
	if (local.level != 0 && local.level <= level)
		return;
	local.level = level;
	local.table = table;
}

/* Keys and names are so short that this is below NOTIFY's 8000 bytes, however escaped. */
static void
notify(Oid table, OutboxKind kind, const CacheKey *key)
{
	char *schema = get_namespace_name(get_rel_namespace(table));
	StringInfoData payload;

	remember_notification(table);
	if (local.count > MAX_NOTIFICATIONS)
		kind = OUTBOX_SWEEP;
	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"table\":");
	escape_json(&payload, quote_qualified_identifier(schema, get_rel_name(table)));
	appendStringInfo(&payload, ",\"operation\":\"%s\",\"key\":", operation_name(kind));
	if (kind == OUTBOX_SWEEP)
		appendStringInfoString(&payload, "null");
	else
		escape_json(&payload, pnstrdup(key->data, key->size));
	appendStringInfoChar(&payload, '}');
	Async_Notify(NOTIFY_CHANNEL, payload.data);
	pfree(payload.data);
}

static void
tell(const EventSource *source, OutboxKind kind, const CacheKey *key)
{
	if (source->stream != 0)
		cg_outbox_event(source->stream, kind, key->data, key->size);
	if (source->notifies)
		notify(source->root, kind, key);
}

/* Who changes its key is gone under the old one, and new under the other. */
void
cg_event_keys(const EventSource *source, const CacheKey *old_key, const CacheKey *new_key)
{
	if (old_key->size > 0 && cg_event_same_key(old_key, new_key))
	{
		tell(source, OUTBOX_UPDATE, new_key);
		return;
	}
	if (old_key->size > 0)
		tell(source, OUTBOX_DELETE, old_key);
	if (new_key->size > 0)
		tell(source, OUTBOX_INSERT, new_key);
}

void
cg_event_whole(const EventSource *source)
{
	CacheKey none = {"", 0, 0};

	tell(source, OUTBOX_SWEEP, &none);
}

static void
refuse_to_prepare(void)
{
	char *name = get_rel_name(local.table);

	ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot prepare a transaction that has changed table \"%s\"",
				   name ? name : "?"),
			errdetail("Its watch notifies of changes, and PostgreSQL does not prepare "
					  "transactions that have executed NOTIFY."),
			errhint("Commit it in one step, or watch the table without \"notify\"."));
}

static void
transaction_callback(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_PREPARE && local.level != 0)
		refuse_to_prepare();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		local.level = 0;
}

static void
subtransaction_callback(SubXactEvent event, SubTransactionId subxid,
						SubTransactionId parent, void *argument)
{
	int level = GetCurrentTransactionNestLevel();

	if (local.level != level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		local.level = 0;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		local.level--;
}

void
cg_capture_init_events(void)
{
	RegisterXactCallback(transaction_callback, NULL);
	RegisterSubXactCallback(subtransaction_callback, NULL);
}
