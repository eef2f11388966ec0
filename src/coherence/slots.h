/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  The slots in shared memory: only for the files of this floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_SLOTS_H
#define CACHEGRID_SLOTS_H

#include "storage/lwlock.h"

#include "coherence/coherence.h"

#define SLOT_XIDS 5

/* What a slot says, read or written as a whole. */
typedef struct SlotState
{
	uint32 count;			/* of xids */
	uint64 gen;				/* moved by every stamp */
	uint64 floor;			/* every xid pushed out of the list is at or below */
	uint64 xids[SLOT_XIDS]; /* full top-level xids of late stampers */
} SlotState;

/* A transaction's stamp on one slot. */
typedef struct OwnStamp
{
	uint32 slot;
	uint64 gen_before;
	uint64 gen_after;
} OwnStamp;

/*
 * So many prepared transactions, with their subtransactions, a standby can know of that
 * have stamped before it began to believe.
 */
#define CG_KNOWN_MAX 1024

/* Why a standby believes nothing. */
typedef enum RecoveryDoubt
{
	DOUBT_NONE,
	DOUBT_NOTHING_SEEN,
	DOUBT_OFF,
	DOUBT_RESTARTED,
	DOUBT_FORMAT,
	DOUBT_TOO_MANY
} RecoveryDoubt;

/*
 * Each function's contract stands at its body.
 */

/* Functions in slots.c */
extern uint32 cg_slots_index(Dependency dependency);
extern void cg_slots_read(uint32 slot, SlotState *state);
extern uint64 cg_slots_gen(uint32 slot);
extern void cg_slots_stamp(OwnStamp *stamp, uint64 xid, Snapshot fresh);
extern void cg_slots_announce(uint64 xid);
extern void cg_slots_withdraw(void);
extern uint32 cg_slots_stampers_max(void);
extern void cg_slots_move_homes(void);

/* Functions in snapshot.c */
extern bool cg_snapshot_finished(uint64 xid, Snapshot snapshot, uint64 xmin);
extern uint64 cg_snapshot_xmin(Snapshot snapshot);
extern uint64 cg_snapshot_widen(TransactionId xid);
extern int cg_snapshot_compare(const void *left, const void *right);

/* Functions in boot.c */
extern Size cg_boot_shmem_size(void);
extern void cg_boot_shmem_init(LWLock *lock);
extern void cg_boot_begin(void);
extern bool cg_boot_knows(Snapshot snapshot);

/* Functions in prepared.c */
extern Size cg_prepared_shmem_size(void);
extern void cg_prepared_shmem_init(LWLock *lock);
extern void cg_prepared_announce(uint64 xid, const Dependency *dependencies, int count,
								 Snapshot fresh);
extern void cg_prepared_announce_late(void);
extern void cg_prepared_forget(void);
extern bool cg_prepared_runs_below(uint64 floor, Snapshot fresh);
extern void cg_prepared_stamp_anew(Snapshot fresh, void (*is_unknown)(uint64 xid));
extern int cg_prepared_log_anew(uint64 *known);

/* Functions in pending.c */
extern int cg_pending_slots(OwnStamp **stamps);
extern int cg_pending_keys(Dependency **keys);
extern int cg_pending_all(Dependency **dependencies);
extern void cg_pending_subcommit(int level);
extern void cg_pending_subabort(int level);
extern void cg_pending_reset(void);

/* Functions in catalog.c */
extern Size cg_catalog_shmem_size(void);
extern void cg_catalog_shmem_init(void);
extern void cg_catalog_init(void);
extern void cg_catalog_announce(void);

/* Functions in transaction.c */
extern void cg_transaction_stamp_late(Dependency dependency, bool is_key);
extern void cg_transaction_redo_drop(Dependency key);
extern void cg_transaction_redo_database_drop(Oid database);

/* Functions in recovery.c */
extern Size cg_recovery_shmem_size(void);
extern void cg_recovery_shmem_init(LWLock *lock);
extern void cg_recovery_begin(void);
extern void cg_recovery_hears_again(void);
extern void cg_recovery_believe(const uint64 *known, int count);
extern void cg_recovery_doubts(RecoveryDoubt doubt);
extern bool cg_recovery_believes(Snapshot snapshot, uint64 xmin);
extern RecoveryDoubt cg_recovery_doubt(void);
extern const char *cg_recovery_explain(RecoveryDoubt doubt);
extern Snapshot cg_recovery_stampers(uint64 xid);
extern bool cg_recovery_is_between_records(void);

/* Functions in wal.c */
extern Size cg_wal_shmem_size(void);
extern void cg_wal_shmem_init(void);
extern void cg_wal_init(void);
extern void cg_wal_log_stamps(uint64 xid, const Dependency *dependencies, int count,
							  bool again);

#endif /* CACHEGRID_SLOTS_H */
