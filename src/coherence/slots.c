/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  The slots: who lately invalidated what hashes there.
 *
 * A slot is one cache line: the xids of the transactions that stamped it
 * lately, a generation that every stamp moves, and a floor that remembers
 * the xids which did not fit.
 *
 * Locking: none but the slot's sequence word.  It is odd while a stamper
 * writes the line; a reader copies the line between two equal even readings
 * of it, so that a slot is always read whole (read piecemeal, a list that
 * shifts under the reader could hide both the dropped and the new xid).  A
 * stamper computes the new line from such a copy and takes the word by
 * compare-and-swap, so nothing is computed while it is odd and nothing there
 * can fail.  A process killed in between takes the shared memory with it.
 *
 * Pruning.  Only a stamper that adds its own xid drops others, and only
 * those finished in a snapshot taken since its PRE_COMMIT began.  That is
 * sound because in any snapshot in which such an xid is unfinished, the
 * stamper itself is unfinished, too: whoever must not believe the slot still
 * finds somebody.  For the same reason an xid counts for everything that
 * hashes to the slot, whatever it was stamped for: were a reader to skip the
 * xids of a neighbour's key, he would skip the one that pruned his.
 *
 * If the list is full of unfinished xids the smallest goes to the floor, and
 * the slot is believed only by snapshots in which nobody at or below the
 * floor runs.  Every stamper announces its xid from before its stamps to its
 * end, so that the next one can tell when nobody at or below the floor is in
 * between any more, and clear it, although an unrelated old transaction
 * still holds back the snapshots' xmin.
 *
 * A gen is the time of the latest stamp, or one more than the one before if that
 * was within the same tick.  So who only wants to know whether there was a stamp
 * since some moment need not have sampled the gen then.  Gens start at random
 * moments before the memory was initialised: a gen remembered from before a
 * restart does not match.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "common/pg_prng.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/s_lock.h"
#include "storage/shmem.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "coherence/slots.h"

#define SLOTS_PER_MEGABYTE 256
#define SLOTS_MIN		   32768

/* In shared memory.  Guarded by its own seq, see above. */
typedef struct Slot
{
	pg_atomic_uint32 seq;
	uint32 count;
	pg_atomic_uint64 gen; /* may be read alone */
	uint64 floor;
	uint64 xids[SLOT_XIDS];
} Slot;

StaticAssertDecl(sizeof(Slot) == 64, "a slot fills one cache line");

/* In shared memory. */
typedef struct SlotsShared
{
	uint64 salt;			/* odd; fixed after initialisation */
	uint32 region_size;		/* a power of two; fixed */
	uint32 announced_count; /* fixed; one a process */
	pg_atomic_uint64 announced[FLEXIBLE_ARRAY_MEMBER]; /* xid, or 0 */
} SlotsShared;

/*
 * Kinds have regions of their own: a relation is stamped by every writer and
 * compared by gen, so a key prefix that shared its slot would never last.
 * In eighths of all slots; half of them are for keys.
 */
static const struct
{
	uint8 first;
	uint8 size;
} regions[] = {
	[DEPENDENCY_KEY] = {0, 4},		  [DEPENDENCY_TAG] = {4, 2},
	[DEPENDENCY_RELATION] = {6, 1},	  [DEPENDENCY_KEY_PREFIX] = {7, 1},
	[DEPENDENCY_CACHE] = {7, 1},	  [DEPENDENCY_TAG_PREFIX] = {7, 1},
	[DEPENDENCY_PRIVILEGES] = {7, 1},
};

static SlotsShared *shared = NULL;
static Slot *slots = NULL;

static uint32
slot_count(void)
{
	int wanted = cg_slots > 0 ? cg_slots : Max(SLOTS_MIN, cg_memory * SLOTS_PER_MEGABYTE);

	return pg_nextpower2_32(Max(wanted, 8));
}

/* Every process that can have an xid. */
static uint32
process_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

/* So many transactions can be between their stamps and their ends. */
uint32
cg_slots_stampers_max(void)
{
	/* Twice, for those that are being prepared while others of them end. */
	return process_count() + 2 * max_prepared_xacts;
}

static Size
header_size(void)
{
	Size size = offsetof(SlotsShared, announced);

	size = add_size(size, mul_size(process_count(), sizeof(pg_atomic_uint64)));
	return CACHELINEALIGN(size);
}

static Size
slots_size(void)
{
	return add_size(add_size(header_size(), PG_CACHE_LINE_SIZE),
					mul_size(slot_count(), sizeof(Slot)));
}

/* Ask for this floor's shared memory; for shmem_request_hook. */
void
cg_coherence_shmem_request(void)
{
	RequestAddinShmemSpace(add_size(slots_size(), cg_boot_shmem_size()));
	RequestAddinShmemSpace(add_size(cg_prepared_shmem_size(), cg_catalog_shmem_size()));
	RequestAddinShmemSpace(add_size(cg_recovery_shmem_size(), cg_wal_shmem_size()));
	RequestNamedLWLockTranche("cachegrid_coherence", 3);
}

/* Attach, or make and initialise.  The caller holds AddinShmemInitLock. */
void
cg_coherence_shmem_init(void)
{
	LWLockPadded *locks;
	bool found;
	uint32 count = slot_count();

	locks = GetNamedLWLockTranche("cachegrid_coherence");
	cg_boot_shmem_init(&locks[0].lock);
	cg_prepared_shmem_init(&locks[1].lock);
	cg_catalog_shmem_init();
	cg_recovery_shmem_init(&locks[2].lock);
	cg_wal_shmem_init();
	shared = ShmemInitStruct("cachegrid slots", slots_size(), &found);
	slots = (Slot *) CACHELINEALIGN((char *) shared + header_size());
	if (found)
		return;

	memset(shared, 0, slots_size());
	shared->salt = pg_prng_uint64(&pg_global_prng_state) | 1;
	shared->region_size = count / 8;
	shared->announced_count = process_count();
	for (uint32 i = 0; i < shared->announced_count; i++)
		pg_atomic_init_u64(&shared->announced[i], 0);
	for (uint32 i = 0; i < count; i++)
	{
		pg_atomic_init_u32(&slots[i].seq, 0);
		pg_atomic_init_u64(&slots[i].gen,
						   cg_clock_ticks() - pg_prng_uint32(&pg_global_prng_state));
	}
}

/* The slot that a dependency hashes to; differs from start to start. */
uint32
cg_slots_index(Dependency dependency)
{
	DependencyKind kind = cg_dependency_kind(dependency);
	uint32 hash = (dependency * shared->salt) >> 32;

	/* Both factors are powers of two. */
	return regions[kind].first * shared->region_size +
		   (hash & (regions[kind].size * shared->region_size - 1));
}

/* A consistent copy; the even seq it had is returned. */
static uint32
read_whole(Slot *slot, SlotState *state)
{
	SpinDelayStatus delay;
	uint32 seq;

	init_local_spin_delay(&delay);
	for (;;)
	{
		seq = pg_atomic_read_u32(&slot->seq);
		if ((seq & 1) == 0)
		{
			pg_read_barrier();
			state->count = slot->count;
			state->gen = pg_atomic_read_u64(&slot->gen);
			state->floor = slot->floor;
			memcpy(state->xids, slot->xids, sizeof(state->xids));
			pg_read_barrier();
			if (pg_atomic_read_u32(&slot->seq) == seq)
				break;
		}
		perform_spin_delay(&delay);
	}
	finish_spin_delay(&delay);
	return seq;
}

void
cg_slots_read(uint32 slot, SlotState *state)
{
	(void) read_whole(&slots[slot], state);
}

/* The gen alone, for who does not ask for xids; it is read after all before. */
uint64
cg_slots_gen(uint32 slot)
{
	pg_read_barrier();
	return pg_atomic_read_u64(&slots[slot].gen);
}

/* Is anybody for whom this floor stands unfinished?  Else a stamper clears it. */
static bool
floor_is_needed(uint64 floor, Snapshot fresh)
{
	uint64 xmin = cg_snapshot_xmin(fresh);

	if (floor < xmin)
		return false;
	/* In recovery that snapshot is of stampers only: here runs one from before. */
	if (fresh->takenDuringRecovery)
		return true;
	for (uint32 i = 0; i < shared->announced_count; i++)
	{
		uint64 xid = pg_atomic_read_u64(&shared->announced[i]);

		if (xid != 0 && xid <= floor && !cg_snapshot_finished(xid, fresh, xmin))
			return true;
	}
	return cg_prepared_runs_below(floor, fresh);
}

/* Add xid to the list, dropping who is finished and pushing down who is not. */
static void
add_xid(SlotState *state, uint64 xid, Snapshot fresh)
{
	uint64 xmin = cg_snapshot_xmin(fresh);
	uint32 kept = 0;

	for (uint32 i = 0; i < state->count; i++)
		if (state->xids[i] != xid && !cg_snapshot_finished(state->xids[i], fresh, xmin))
			state->xids[kept++] = state->xids[i];

	if (state->floor != 0 && !floor_is_needed(state->floor, fresh))
		state->floor = 0;

	if (kept == SLOT_XIDS)
	{
		uint32 smallest = 0;

		for (uint32 i = 1; i < kept; i++)
			if (state->xids[i] < state->xids[smallest])
				smallest = i;
		state->floor = Max(state->floor, state->xids[smallest]);
		state->xids[smallest] = state->xids[--kept];
	}
	state->xids[kept++] = xid;
	state->count = kept;
}

/*
 * Stamp stamp->slot: the gen up to now and, unless xid is 0, xid into the list
 * (announced before; fresh = a snapshot taken since PRE_COMMIT began, or what
 * recovery.c has in its stead).  Sets the gens around the stamp.  Cannot fail.
 */
void
cg_slots_stamp(OwnStamp *stamp, uint64 xid, Snapshot fresh)
{
	Slot *slot = &slots[stamp->slot];
	SlotState state;
	uint32 seq;

	do
	{
		seq = read_whole(slot, &state);
		stamp->gen_before = state.gen;
		state.gen = Max(state.gen + 1, cg_clock_ticks());
		stamp->gen_after = state.gen;
		if (xid != 0)
			add_xid(&state, xid, fresh);
	} while (!pg_atomic_compare_exchange_u32(&slot->seq, &seq, seq + 1));

	pg_write_barrier();
	slot->count = state.count;
	pg_atomic_write_u64(&slot->gen, state.gen);
	slot->floor = state.floor;
	memcpy(slot->xids, state.xids, sizeof(slot->xids));
	pg_write_barrier();
	pg_atomic_write_u32(&slot->seq, seq + 2);
}

/*
 * Move the gens of all prefixes and caches: every entry depends on one, so all
 * entries end, and all fills under way.  Cannot fail.
 */
void
cg_slots_move_homes(void)
{
	uint32 first = regions[DEPENDENCY_KEY_PREFIX].first * shared->region_size;
	uint32 count = regions[DEPENDENCY_KEY_PREFIX].size * shared->region_size;

	for (uint32 i = 0; i < count; i++)
	{
		OwnStamp stamp = {.slot = first + i};

		cg_slots_stamp(&stamp, 0, NULL);
	}
}

/* Show that xid is between its stamps and its end.  To be called before the first stamp. */
void
cg_slots_announce(uint64 xid)
{
	pg_atomic_write_u64(&shared->announced[cg_my_proc_number()], xid);
	pg_memory_barrier();
}

/* The transaction of this process has ended. */
void
cg_slots_withdraw(void)
{
	pg_atomic_write_u64(&shared->announced[cg_my_proc_number()], 0);
}
