/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Put, change and drop entries.
 *
 * Whoever writes gives a judge that decides under the partition's lock, with
 * the present entry before his eyes.  An entry that fits the cell of the present
 * one is written over it.  Else memory is found for it, which may throw out the
 * present one, or let others have the lock meanwhile: then the judge is asked
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "store/evict.h"

/* So often a judge is asked again, before the entry is given up. */
#define PUT_TRIES 8

/* The present entry of a key, under its partition's lock. */
typedef struct Present
{
	ItemRef ref; /* 0: none that is alive */
	IndexSlot slot;
	ItemView view;
} Present;

/* The key's living item; one that is dead is removed on the way. */
static void
find_alive(Partition *partition, const StoreKey *key, Present *present)
{
	present->ref = cg_index_find_locked(key, &present->slot);
	if (present->ref == 0)
		return;
	cg_layout_view(present->ref, &present->view);
	if (cg_store_is_alive(&present->view))
		return;
	if (cg_store_has_expired(&present->view))
		partition->caches[key->cache].expirations++;
	cg_item_remove_locked(partition, present->ref, &present->slot,
						  cg_store_absence_of_dead(&present->view));
	present->ref = 0;
}

static StoreVerdict
ask_judge(const Present *present, StoreEntry *next, StoreJudge judge, void *arg)
{
	StoreEntry entry;

	if (judge == NULL)
		return STORE_REPLACE;
	if (present->ref)
		cg_layout_describe(&present->view, &entry);
	return judge(present->ref ? &entry : NULL, next, arg);
}

/* Where a new entry begins. */
static Zone
zone_for(Partition *partition, const StoreKey *key, const Present *present)
{
	if (pg_atomic_read_u32(&store->caches[key->cache].pinned) != 0)
		return ZONE_PINNED;
	if (present->ref && store_pages[ref_page(present->ref)].zone != ZONE_PINNED)
		return (Zone) store_pages[ref_page(present->ref)].zone;
	return cg_evict_admit_locked(partition, key);
}

/*
 * May a key be entered at all?  Not if its cache was closed meanwhile and its number
 * belongs to another database: the hash would not be found again.
 */
static bool
is_at_home(const Partition *partition, const StoreKey *key)
{
	return OidIsValid(MyDatabaseId) &&
		   partition->caches[key->cache].database == MyDatabaseId;
}

/* Put a made item in the place of the present one, or as a first one. */
static void
enter_item(Partition *partition, const StoreKey *key, StoreEntry *entry, ItemRef ref,
		   const Present *present, ItemRef *bucket)
{
	cg_item_publish_locked(partition, ref, entry);
	if (present->ref)
	{
		/* One store: the key never flickers to a miss. */
		pg_atomic_write_u32(&present->slot.bucket->refs[present->slot.slot], ref);
		cg_item_retire_locked(partition, present->ref);
	}
	else
		cg_index_insert_locked(key->hash, ref, bucket);
}

typedef enum Attempt
{
	ATTEMPT_DONE,
	ATTEMPT_FAILED, /* no room; the present entry is removed */
	ATTEMPT_AGAIN	/* the present entry has changed meanwhile */
} Attempt;

/*
 * Make the item, and a bucket if the index needs one.  False if there is no room for
 * both; *disturbed as for cg_item_make.
 */
static bool
make_parts(Partition *partition, const StoreKey *key, const StoreEntry *entry,
		   const Present *present, ItemRef *item, ItemRef *bucket, bool *disturbed)
{
	*bucket = 0;
	*item =
		cg_item_make(partition, key, entry, zone_for(partition, key, present), disturbed);
	if (*item == 0)
		return false;
	if (present->ref && !*disturbed)
		return true;
	if (cg_index_is_full_locked(key->hash))
		*bucket = cg_item_make_bucket(partition, disturbed);
	/* What was thrown out for the bucket may have emptied others; or filled them. */
	if (*bucket || !cg_index_is_full_locked(key->hash))
		return true;
	cg_item_free_locked(partition, *item);
	return false;
}

/*
 * The present entry died meanwhile, and took the bucket that it stood in along, which
 * had room when somebody looked?
 */
static bool
lacks_bucket(const StoreKey *key, const Present *present, ItemRef bucket)
{
	return present->ref == 0 && bucket == 0 && cg_index_is_full_locked(key->hash);
}

/* Replace what is present, if anything, by the entry. */
static Attempt
replace(Partition *partition, const StoreKey *key, StoreEntry *entry, Present *present)
{
	const uint64 id_before = present->ref ? present->view.id : 0;
	Attempt attempt = ATTEMPT_FAILED;
	bool disturbed = false;
	ItemRef bucket = 0;
	ItemRef item;

	if (!is_at_home(partition, key))
		return ATTEMPT_FAILED;
	if (present->ref && cg_item_rewrite_locked(partition, present->ref, key, entry))
	{
		cg_item_publish_locked(partition, present->ref, entry);
		return ATTEMPT_DONE;
	}
	if (make_parts(partition, key, entry, present, &item, &bucket, &disturbed))
		attempt = ATTEMPT_DONE;
	if (disturbed)
		find_alive(partition, key, present);
	if (attempt == ATTEMPT_DONE && disturbed &&
		!(is_at_home(partition, key) && cg_item_suits_cache(item)))
	{
		cg_item_free_locked(partition, item);
		attempt = ATTEMPT_FAILED;
	}
	if ((present->ref != 0 && present->view.id != id_before) ||
		(attempt == ATTEMPT_DONE && lacks_bucket(key, present, bucket)))
	{
		if (attempt == ATTEMPT_DONE)
			cg_item_free_locked(partition, item);
		attempt = ATTEMPT_AGAIN;
	}
	if (attempt == ATTEMPT_DONE)
		enter_item(partition, key, entry, item, present, &bucket);
	else if (attempt == ATTEMPT_FAILED && present->ref)
		cg_item_remove_locked(partition, present->ref, &present->slot, ABSENCE_EVICTED);
	if (bucket)
		cg_item_free_bucket_locked(partition, bucket);
	return attempt;
}

/*
 * Give the present entry another expiry, and a new id.  One that had none and has no
 * room for it is made anew; if that fails it is gone, rather than live too long.
 */
static void
retime(Partition *partition, const StoreKey *key, StoreTime expires_at, Present *present)
{
	char value[PAGE_BYTES];
	StoreEntry entry;

	if (cg_item_retime_locked(partition, present->ref, expires_at))
		return;
	cg_layout_describe(&present->view, &entry);
	memcpy(value, entry.value, entry.value_size);
	entry.value = value;
	entry.expires_at = expires_at;
	(void) replace(partition, key, &entry, present);
}

/* Carry out what the judge said about the present entry, but to replace it. */
static void
carry_out(Partition *partition, StoreVerdict verdict, const StoreKey *key,
		  const StoreEntry *next, Present *present)
{
	if (present->ref == 0)
		return;
	if (verdict == STORE_REMOVE)
		cg_item_remove_locked(partition, present->ref, &present->slot, ABSENCE_UNKNOWN);
	else if (verdict == STORE_RETIME)
		retime(partition, key, next->expires_at, present);
}

/*
 * Have the memory that the put will look at on its way to the processor before the lock
 * is taken: or waiting for it would be most of the time for which that is held.
 */
static void
prefetch(const Partition *partition, const StoreKey *key, const StoreEntry *entry)
{
	ItemMeasure size;

	if (cg_lookup_prefetch(key))
		return;
	cg_layout_measure(key, entry, &size);
	cg_evict_prefetch(partition, size.size_class);
}

/*
 * Put the entry if the judge says STORE_REPLACE (NULL: always); his other
 * verdicts are carried out, too.  True if the entry now stands in the store.
 * False also if no room could be made; then a present entry that was to be
 * replaced is removed.  Raises no errors.
 */
bool
cg_store_put(const StoreKey *key, StoreEntry *entry, StoreJudge judge, void *arg)
{
	Partition *partition = partition_of(key->hash);
	const StoreEntry original = *entry;
	Attempt attempt = ATTEMPT_FAILED;

	Assert(entry->meta_size <= CG_STORE_META_MAX);
	Assert(entry->value_size <= CG_STORE_VALUE_MAX);

	prefetch(partition, key, entry);
	cg_partition_lock(partition);
	for (int tries = 0; tries < PUT_TRIES; tries++)
	{
		StoreVerdict verdict;
		Present present;

		find_alive(partition, key, &present);
		verdict = ask_judge(&present, entry, judge, arg);
		if (verdict != STORE_REPLACE)
		{
			carry_out(partition, verdict, key, entry, &present);
			attempt = ATTEMPT_FAILED;
			break;
		}
		attempt = replace(partition, key, entry, &present);
		if (attempt != ATTEMPT_AGAIN)
			break;
		*entry = original;
	}
	LWLockRelease(partition->lock);
	return attempt == ATTEMPT_DONE;
}

/*
 * Let the judge decide about the present entry, with nothing to put in its
 * place.  next (may be NULL) carries the expiry for STORE_RETIME.  Returns
 * the verdict.  Raises no errors.
 */
StoreVerdict
cg_store_judge(const StoreKey *key, StoreEntry *next, StoreJudge judge, void *arg)
{
	Partition *partition = partition_of(key->hash);
	StoreVerdict verdict;
	Present present;

	(void) cg_lookup_prefetch(key);
	cg_partition_lock(partition);
	find_alive(partition, key, &present);
	verdict = ask_judge(&present, next, judge, arg);
	carry_out(partition, verdict, key, next, &present);
	LWLockRelease(partition->lock);
	return verdict;
}

/* Drop every entry with this hash, whatever its key. */
void
cg_store_drop(uint64 hash)
{
	cg_store_end(hash, NULL);
}

/* May the item stay for a while?  Then it does not for longer, from now on. */
static bool
is_spared(Partition *partition, ItemRef ref, StoreSpare spare)
{
	StoreEntry entry;
	StoreTime until;
	ItemView view;

	cg_layout_view(ref, &view);
	if (spare == NULL || !cg_store_is_alive(&view))
		return false;
	cg_layout_describe(&view, &entry);
	until = spare(&entry);
	return until != 0 &&
		   (until >= view.expires_at || cg_item_retime_locked(partition, ref, until));
}

/*
 * The same, but an entry that is spared (NULL: none is) stays for so long, if it has an
 * expiry that can be changed.  Of several with one hash, which are of different keys or
 * caches, one is spared at most.  Raises no errors.
 */
void
cg_store_end(uint64 hash, StoreSpare spare)
{
	Partition *partition = partition_of(hash);
	ItemRef spared = 0;
	IndexSlot slot;
	ItemRef ref;

	cg_partition_lock(partition);
	while ((ref = cg_index_find_hash_locked(partition, hash, spared, &slot)) != 0)
	{
		if (spared == 0 && is_spared(partition, ref, spare))
			spared = ref;
		else
			cg_item_remove_locked(partition, ref, &slot, ABSENCE_DROPPED);
	}
	LWLockRelease(partition->lock);
}
