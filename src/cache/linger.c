/*-------------------------------------------------------------------------
 *
 * linger.c
 *	  Values that are given though they were invalidated, by caches that say so.
 *
 * This is the one place where the promise of exact hits is given away, by name
 * (serve_invalidated), for those to whom an old value is better than a wait.  What
 * may be given so is no hit: fetch() gives it as it gives stale values, while somebody
 * computes it anew.
 *
 * What is given away: that nothing was changed since that the reader's snapshot sees.
 * What stays: the value is one that was computed from committed rows, by the
 * same query, for the same role; it is not given to a transaction that has itself changed
 * what it depends on; nor where more than rows has changed: a definition, privileges,
 * the cache; nor where a whole cache or prefix was ended, by clear() or too many keys
 * at once; nor under REPEATABLE READ, whose reads are to fit together.
 *
 * Until when?  So long after the first change that ended it.  A change of its very key
 * finds the entry, and instead of dropping it brings its expiry forward.  Changes of
 * tags and relations find no entries.  Their gens tell when the last was, and not the
 * first: so who hits such an entry notes now and then that it is current, and it is given
 * for as long after that.  The notes stand in a table of words, each a part of a hash of
 * the entry and a time.  A word may be overwritten by another entry's, and then the entry
 * is only known to have been current when it was published, which is earlier: it may be
 * given for a shorter time, never for longer.
 *
 * Memory: words are read and written one by one, atomically, without a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "port/atomics.h"
#include "storage/shmem.h"

#include "base/hash.h"
#include "cache/cache_internal.h"

/* A power of two. */
#define NOTES 8192

/* A note is renewed when this part of the time has passed that it is good for. */
#define NOTE_PARTS 8

/* A note: upper bits of a hash, and milliseconds of cg_store_now(), enough for 34 years. */
#define NOTE_TIME_BITS 40
#define NOTE_TIME_MASK ((UINT64CONST(1) << NOTE_TIME_BITS) - 1)

/* Backend-local pointer to shared memory. */
static pg_atomic_uint64 *notes = NULL;

void
cg_cache_shmem_request(void)
{
	RequestAddinShmemSpace(NOTES * sizeof(pg_atomic_uint64));
}

/* The caller holds AddinShmemInitLock. */
void
cg_cache_shmem_init(void)
{
	bool found;

	notes = ShmemInitStruct("cachegrid notes of current entries",
							NOTES * sizeof(pg_atomic_uint64), &found);
	for (int i = 0; i < NOTES && !found; i++)
		pg_atomic_init_u64(&notes[i], 0);
}

/* An entry's own number: its key may have had others before. */
static uint64
number_of(const EntryMeta *meta, Dependency key)
{
	uint64 words[3] = {key, meta->identity, meta_linger(meta)->current_at};

	return cg_hash(words, sizeof(words), 0);
}

/* When the entry with this key was last known to be current. */
static StoreTime
last_current(const EntryMeta *meta, Dependency key)
{
	uint64 number = number_of(meta, key);
	uint64 note = pg_atomic_read_u64(&notes[number & (NOTES - 1)]);
	StoreTime current_at = meta_linger(meta)->current_at;

	if ((note ^ number) & ~NOTE_TIME_MASK)
		return current_at;
	return Max(current_at, (StoreTime) (note & NOTE_TIME_MASK) * 1000);
}

/* The entry, a hit, was current at a time not before now. */
void
cg_linger_note(const EntryMeta *meta, Dependency key, StoreTime now)
{
	uint64 number = number_of(meta, key);
	pg_atomic_uint64 *note = &notes[number & (NOTES - 1)];

	if (now - last_current(meta, key) < meta_linger(meta)->for_time / NOTE_PARTS)
		return;
	pg_atomic_write_u64(note, (number & ~NOTE_TIME_MASK) |
								  ((uint64) (now / 1000) & NOTE_TIME_MASK));
}

/* May a change of this be overlooked for a while?  Not what says more than rows. */
static bool
is_of_rows(Dependency dependency)
{
	DependencyKind kind = cg_dependency_kind(dependency);

	return kind == DEPENDENCY_KEY || kind == DEPENDENCY_TAG ||
		   kind == DEPENDENCY_RELATION;
}

/*
 * Until when the entry with this key may be given, which lingers; 0: not at all.  If its
 * own key was changed, its expiry says that.  snapshot: in which all but the rows must
 * be settled, or NULL.
 */
static StoreTime
find_end(const StoreEntry *entry, const EntryMeta *meta, Dependency key,
		 Snapshot snapshot)
{
	const DependencyGen *gens = meta_gens(meta);
	StoreTime end = entry->expires_at;

	for (int i = 0; i < meta->gen_count; i++)
	{
		Dependency dependency = gens[i].dependency;
		uint64 gen = cg_coherence_gen(dependency);
		bool is_settled = is_of_rows(dependency) || snapshot == NULL ||
						  cg_coherence_settled(dependency, snapshot, &gen);

		if (!is_of_rows(dependency) && (!is_settled || gen != gens[i].gen))
			return 0;
		if (gen != gens[i].gen && dependency != key)
			end = Min(end, last_current(meta, key) + meta_linger(meta)->for_time);
	}
	return end;
}

/* Until when the entry, which is not current, may be given to this transaction; 0: not. */
StoreTime
cg_linger_until(const StoreEntry *entry, const EntryMeta *meta, Dependency key)
{
	Snapshot snapshot = cg_coherence_snapshot();
	StoreTime end;

	if ((meta->flags & META_LINGERS) == 0 || snapshot == NULL ||
		IsolationUsesXactSnapshot())
		return 0;
	end = find_end(entry, meta, key, snapshot);
	return end > cg_store_now() ? end : 0;
}

/* Is nobody given the entry any more, which is not current?  May be called under a lock. */
bool
cg_linger_is_over(const StoreKey *key, const StoreEntry *entry)
{
	const EntryMeta *meta = (const EntryMeta *) entry->meta;
	Dependency dependency = key->hash | (uint64) DEPENDENCY_KEY << CG_HASH_BITS;

	return entry->meta_size == 0 || (meta->flags & META_LINGERS) == 0 ||
		   find_end(entry, meta, dependency, NULL) <= cg_store_now();
}

/* StoreSpare, for the entries of a key that was changed: the time begins. */
StoreTime
cg_linger_spare(const StoreEntry *present)
{
	const EntryMeta *meta = (const EntryMeta *) present->meta;

	if (present->meta_size == 0 || (meta->flags & META_LINGERS) == 0)
		return 0;
	return cg_store_now() + meta_linger(meta)->for_time;
}
