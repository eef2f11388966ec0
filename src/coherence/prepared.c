/*-------------------------------------------------------------------------
 *
 * prepared.c
 *	  What a prepared transaction has stamped, for after a restart.
 *
 * A transaction that is prepared writes what it touches to a file, named by
 * its xid, before it is prepared.  A file alone proves nothing: a crash may
 * lose the transaction and give its xid to another, a backup may bring along
 * files of another history.  So the file has a random number, and the
 * transaction holds a lock by that number, which nobody else ever asks for:
 * PostgreSQL keeps the locks of prepared transactions through restarts,
 * crashes, recovery and promotion, and no other transaction has this one.  One
 * that touches nothing holds a lock by number 0, in common, and has no file.
 *
 * Where the file cannot be written the lock is not taken, and the transaction
 * is believed by nobody after a restart (boot.c).
 *
 * In this server's life a prepared transaction has a place in shared memory,
 * as it outlives its process.  Who needs a place frees those of transactions
 * that have ended and removes their files; files of an earlier life are
 * removed at the first use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/twophase.h"
#include "common/file_utils.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "base/hash.h"
#include "coherence/slots.h"

/* Files of this name in a folder that every data folder has. */
#define FOLDER		"pg_stat"
#define NAME_PREFIX "cachegrid_prepared."

#define FILE_VERSION 1

/* A prepared transaction's place. */
typedef struct PreparedPlace
{
	pg_atomic_uint64 xid; /* 0: free */
	uint64 stamps;		  /* dependencies that it stamped; guarded by the lock */
} PreparedPlace;

/* In shared memory; places are taken and freed under the lock, and read without. */
typedef struct PreparedShared
{
	int count; /* fixed */
	PreparedPlace places[FLEXIBLE_ARRAY_MEMBER];
} PreparedShared;

static PreparedShared *shared = NULL;
static LWLock *places_lock = NULL;

/* Behind it come the dependencies. */
typedef struct FileHeader
{
	uint64 version;
	uint64 xid;
	uint64 number; /* of the lock, not 0 */
	uint64 count;  /* of dependencies */
	uint64 hash;   /* of them and of the above */
} FileHeader;

/* Backend-local: the lock of the transaction that is being prepared. */
static LOCKTAG own_lock;
static LOCKMODE own_mode = NoLock;

/* Twice as many, for those that are being prepared while others of them end. */
static int
place_count(void)
{
	return 2 * max_prepared_xacts;
}

Size
cg_prepared_shmem_size(void)
{
	return add_size(offsetof(PreparedShared, places),
					mul_size(place_count(), sizeof(PreparedPlace)));
}

void
cg_prepared_shmem_init(LWLock *lock)
{
	bool found;

	places_lock = lock;
	shared = ShmemInitStruct("cachegrid prepared", cg_prepared_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, cg_prepared_shmem_size());
	shared->count = place_count();
	for (int i = 0; i < shared->count; i++)
		pg_atomic_init_u64(&shared->places[i].xid, 0);
}

static void
make_path(char *path, uint64 xid)
{
	snprintf(path, MAXPGPATH, FOLDER "/" NAME_PREFIX "%016llx", (unsigned long long) xid);
}

/* Beside the locks of pg_advisory_lock(), which are of class 1 and 2. */
static LOCKTAG
lock_of(uint64 number)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, (uint32) (number >> 32), (uint32) number, 0xCA);
	return tag;
}

static uint64
hash_file(const FileHeader *header, const Dependency *dependencies)
{
	return cg_hash(dependencies, header->count * sizeof(Dependency),
				   cg_hash(header, offsetof(FileHeader, hash), 0));
}

/* True if the file is there, whole, and on disk. */
static bool
write_file(const FileHeader *header, const Dependency *dependencies)
{
	char path[MAXPGPATH];
	char temporary[MAXPGPATH + 8];
	Size size = header->count * sizeof(Dependency);
	FILE *file;
	bool written;

	make_path(path, header->xid);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	file = AllocateFile(temporary, PG_BINARY_W);
	if (file == NULL)
		return false;
	written = fwrite(header, sizeof(FileHeader), 1, file) == 1 &&
			  (size == 0 || fwrite(dependencies, size, 1, file) == 1);
	written &= FreeFile(file) == 0;
	return written && durable_rename(temporary, path, LOG) == 0;
}

/* NULL unless the file is there and whole. */
static Dependency *
read_file(uint64 xid, FileHeader *header)
{
	char path[MAXPGPATH];
	Dependency *dependencies = NULL;
	Size size;
	FILE *file;

	make_path(path, xid);
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		return NULL;
	if (fread(header, sizeof(FileHeader), 1, file) == 1 &&
		header->version == FILE_VERSION && header->xid == xid && header->number != 0 &&
		header->count < MaxAllocSize / sizeof(Dependency))
	{
		size = header->count * sizeof(Dependency);
		dependencies = palloc(size + 1);
		if ((size > 0 && fread(dependencies, size, 1, file) != 1) ||
			hash_file(header, dependencies) != header->hash)
		{
			pfree(dependencies);
			dependencies = NULL;
		}
	}
	FreeFile(file);
	return dependencies;
}

/* Under the lock: nobody asks for a place of who has ended, or for his file. */
static void
free_places(Snapshot fresh)
{
	uint64 xmin = cg_snapshot_xmin(fresh);
	char path[MAXPGPATH];

	for (int i = 0; i < shared->count; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->places[i].xid);

		if (xid == 0 || !cg_snapshot_finished(xid, fresh, xmin))
			continue;
		pg_atomic_write_u64(&shared->places[i].xid, 0);
		make_path(path, xid);
		(void) unlink(path);
	}
}

void
cg_prepared_announce(uint64 xid, int stamps, Snapshot fresh)
{
	int i = 0;

	LWLockAcquire(places_lock, LW_EXCLUSIVE);
	free_places(fresh);
	while (i < shared->count && pg_atomic_read_u64(&shared->places[i].xid) != 0)
		i++;
	if (i == shared->count)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("too many transactions are being prepared"),
				errdetail("Each needs a place in shared memory until it has ended."),
				errhint("Increase \"max_prepared_transactions\"."));
	shared->places[i].stamps = stamps;
	pg_atomic_write_u64(&shared->places[i].xid, xid);
	LWLockRelease(places_lock);
}

bool
cg_prepared_runs_below(uint64 floor, Snapshot fresh)
{
	uint64 xmin = cg_snapshot_xmin(fresh);

	for (int i = 0; i < shared->count; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->places[i].xid);

		if (xid != 0 && xid <= floor && !cg_snapshot_finished(xid, fresh, xmin))
			return true;
	}
	return false;
}

int
cg_coherence_prepared(PreparedStamps *prepared, int size)
{
	int count = 0;

	LWLockAcquire(places_lock, LW_SHARED);
	for (int i = 0; i < shared->count && count < size; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->places[i].xid);

		if (xid != 0)
			prepared[count++] = (PreparedStamps){xid, shared->places[i].stamps};
	}
	LWLockRelease(places_lock);
	return count;
}

/*
 * This transaction is about to be prepared, having stamped these with xid: leave proof.
 * Nothing touched: xid may be 0.
 */
void
cg_prepared_prove(uint64 xid, const Dependency *dependencies, int count)
{
	FileHeader header = {.version = FILE_VERSION, .xid = xid, .count = count};

	own_mode = NoLock;
	if (count > 0)
	{
		header.number = pg_prng_uint64(&pg_global_prng_state) | 1;
		header.hash = hash_file(&header, dependencies);
		if (!write_file(&header, dependencies))
		{
			ereport(WARNING, errcode_for_file_access(),
					errmsg("could not write what the prepared transaction touches: %m"),
					errdetail("If the server restarts before it has ended, no computed "
							  "value is served until then."));
			return;
		}
	}
	own_lock = lock_of(header.number);
	own_mode = count > 0 ? ExclusiveLock : ShareLock;
	(void) LockAcquire(&own_lock, own_mode, false, false);
}

/* Something was touched after all that: the proof is none. */
void
cg_prepared_withdraw_proof(void)
{
	if (own_mode != NoLock)
		(void) LockRelease(&own_lock, own_mode, false);
	own_mode = NoLock;
}

/* Does the prepared transaction, which recovery brought back, hold the lock? */
static bool
holds_lock(uint64 xid, uint64 number)
{
	LOCKTAG tag = lock_of(number);
	VirtualTransactionId *holders = GetLockConflicts(&tag, ExclusiveLock, NULL);

	for (int i = 0; VirtualTransactionIdIsValid(holders[i]); i++)
		if (VirtualTransactionIdIsRecoveredPreparedXact(holders[i]) &&
			holders[i].localTransactionId == (TransactionId) xid)
			return true;
	return false;
}

/* False if nobody knows what it has touched. */
static bool
stamp_anew(uint64 xid, Snapshot fresh)
{
	FileHeader header;
	Dependency *dependencies;

	if (holds_lock(xid, 0))
		return true;
	dependencies = read_file(xid, &header);
	if (dependencies == NULL || !holds_lock(xid, header.number))
		return false;

	cg_prepared_announce(xid, header.count, fresh);
	for (uint64 i = 0; i < header.count; i++)
	{
		OwnStamp stamp = {.slot = cg_slots_index(dependencies[i])};

		cg_slots_stamp(&stamp, xid, fresh);
	}
	return true;
}

/* The xids of all prepared transactions, which pg_prepared_xact() lists; *count of them. */
static TransactionId *
list_prepared(int *count)
{
	TransactionId *xids = palloc_array(TransactionId, max_prepared_xacts + 1);
	ExprContext *context = CreateStandaloneExprContext();
	ReturnSetInfo result = {.type = T_ReturnSetInfo,
							.econtext = context,
							.allowedModes = SFRM_ValuePerCall,
							.returnMode = SFRM_ValuePerCall};
	FmgrInfo function;
	LOCAL_FCINFO(call, 0);

	fmgr_info(F_PG_PREPARED_XACT, &function);
	InitFunctionCallInfoData(*call, &function, 0, InvalidOid, NULL, (Node *) &result);
	*count = 0;
	for (;;)
	{
		bool isnull;
		Datum row;

		call->isnull = false;
		row = FunctionCallInvoke(call);
		if (result.isDone == ExprEndResult)
			break;
		if (*count < max_prepared_xacts)
			xids[(*count)++] = DatumGetTransactionId(
				GetAttributeByNum(DatumGetHeapTupleHeader(row), 1, &isnull));
	}
	FreeExprContext(context, true);
	return xids;
}

/* Remove the files of those that are not among these. */
static void
remove_other_files(const uint64 *xids, int count)
{
	DIR *folder = AllocateDir(FOLDER);
	struct dirent *entry;

	while ((entry = ReadDirExtended(folder, FOLDER, LOG)) != NULL)
	{
		char path[MAXPGPATH * 2];
		char own[MAXPGPATH];
		bool is_needed = false;

		if (strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", FOLDER, entry->d_name);
		for (int i = 0; i < count && !is_needed; i++)
		{
			make_path(own, xids[i]);
			is_needed = strcmp(own, path) == 0;
		}
		if (!is_needed)
			(void) unlink(path);
	}
	if (folder)
		FreeDir(folder);
}

void
cg_prepared_stamp_anew(void (*is_unknown)(uint64 xid))
{
	int count;
	TransactionId *list;
	uint64 *xids;
	Snapshot fresh;

	/* The list first: who is in it and no longer runs is none of anybody's business. */
	list = list_prepared(&count);
	fresh = GetLatestSnapshot();
	xids = palloc_array(uint64, count + 1);
	for (int i = 0; i < count; i++)
	{
		xids[i] = cg_snapshot_widen(list[i]);
		if (!stamp_anew(xids[i], fresh))
			is_unknown(xids[i]);
	}
	remove_other_files(xids, count);
	pfree(xids);
	pfree(list);
}
