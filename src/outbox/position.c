/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Positions: a snapshot's 64-bit transaction ids, kept as the text of a
 *	  pg_snapshot, "xmin:xmax:running,running".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "lib/stringinfo.h"
#include "utils/snapshot.h"

#include "base/compat.h"
#include "outbox/outbox_internal.h"

static OutboxPosition *
make_position(uint64 xmax, int running_count)
{
	OutboxPosition *position =
		palloc(offsetof(OutboxPosition, running) + running_count * sizeof(uint64));

	position->xmax = xmax;
	position->running_count = running_count;
	return position;
}

static int
compare_xids(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

/* A transaction id of a snapshot is never ahead of the next one to be given. */
static uint64
widen_xid(TransactionId xid, FullTransactionId next)
{
	uint32 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

/* What an MVCC snapshot of this server, not in recovery, has seen. */
OutboxPosition *
cg_outbox_position_of(Snapshot snapshot)
{
	FullTransactionId next = ReadNextFullTransactionId();
	OutboxPosition *position =
		make_position(widen_xid(snapshot->xmax, next), snapshot->xcnt);

	for (uint32 i = 0; i < snapshot->xcnt; i++)
		position->running[i] = widen_xid(snapshot->xip[i], next);
	qsort(position->running, position->running_count, sizeof(uint64), compare_xids);
	return position;
}

OutboxPosition *
cg_outbox_position_copy(const OutboxPosition *position)
{
	OutboxPosition *copy = make_position(position->xmax, position->running_count);

	memcpy(copy->running, position->running, position->running_count * sizeof(uint64));
	return copy;
}

/* Raises an error if the text is no pg_snapshot. */
OutboxPosition *
cg_outbox_position_from_text(const char *text)
{
	OutboxPosition *position;
	const char *cursor = strchr(text, ':');
	int count = 0;
	char *end;
	uint64 xmax;

	if (!cursor)
		elog(ERROR, "malformed position \"%s\"", text);
	xmax = strtou64(cursor + 1, &end, 10);
	if (*end != ':')
		elog(ERROR, "malformed position \"%s\"", text);

	for (const char *c = end + 1; *c; c++)
		count += *c == ',';
	count += end[1] != '\0';

	position = make_position(xmax, count);
	for (int i = 0; i < count; i++)
		position->running[i] = strtou64(end + 1, &end, 10);
	return position;
}

/* The oldest transaction that is not surely covered. */
uint64
cg_outbox_position_xmin(const OutboxPosition *position)
{
	return position->running_count > 0 ? position->running[0] : position->xmax;
}

/* palloc'd */
char *
cg_outbox_position_to_text(const OutboxPosition *position)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":",
					 cg_outbox_position_xmin(position), position->xmax);
	for (int i = 0; i < position->running_count; i++)
		appendStringInfo(&text, "%s" UINT64_FORMAT, i > 0 ? "," : "",
						 position->running[i]);
	return text.data;
}

/* Had the transaction ended when the position was taken? */
bool
cg_outbox_position_covers(const OutboxPosition *position, uint64 xid)
{
	return xid < position->xmax &&
		   bsearch(&xid, position->running, position->running_count, sizeof(uint64),
				   compare_xids) == NULL;
}
