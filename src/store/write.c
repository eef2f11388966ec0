/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Put, change and drop entries.
 *
 * Whoever writes gives a judge that decides under the partition's lock, with
 * the present entry before his eyes.  Memory for the new entry is found
 * first, for that may throw out the present one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

static void
remove_item(Partition *partition, Item *item)
{
	cg_index_unlink_locked(partition, item);
	cg_item_free_locked(partition, item);
}

/* The key's living item; one that is dead is removed on the way. */
static Item *
find_alive(Partition *partition, const StoreKey *key, StoreTime now)
{
	Item *item = cg_index_find_locked(key);

	if (item && !item_is_alive(item, now))
	{
		if (item->expires_at <= now)
			partition->caches[item->cache].expirations++;
		remove_item(partition, item);
		item = NULL;
	}
	return item;
}

static StoreVerdict
ask_judge(const Item *present, StoreEntry *next, StoreJudge judge, void *arg)
{
	StoreEntry view;

	if (judge == NULL)
		return STORE_REPLACE;
	if (present)
		cg_item_view(present, &view);
	return judge(present ? &view : NULL, next, arg);
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
	StoreVerdict verdict;
	Item *present;
	Item *item;

	Assert(entry->meta_size <= CG_STORE_META_MAX);
	Assert(entry->value_size <= CG_STORE_VALUE_MAX);

	LWLockAcquire(partition->lock, LW_EXCLUSIVE);
	item = cg_item_make(partition, key, entry);
	present = find_alive(partition, key, cg_store_now());
	verdict = ask_judge(present, entry, judge, arg);

	if (verdict == STORE_REPLACE && item)
	{
		/* The new one first, so that the key never flickers to a miss. */
		item->expires_at = entry->expires_at;
		if (item->rest == 0)
			memcpy(item->data + item->meta_size + item->key_size, entry->value,
				   entry->value_size);
		cg_index_link_locked(partition, item);
		entry->id = pg_atomic_read_u64(&item->version);
	}
	else if (item)
		cg_item_free_locked(partition, item);
	if (present && (verdict == STORE_REPLACE || verdict == STORE_REMOVE))
		remove_item(partition, present);
	else if (present && verdict == STORE_RETIME)
		present->expires_at = entry->expires_at;
	LWLockRelease(partition->lock);

	return verdict == STORE_REPLACE && item != NULL;
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
	Item *present;

	LWLockAcquire(partition->lock, LW_EXCLUSIVE);
	present = find_alive(partition, key, cg_store_now());
	verdict = ask_judge(present, next, judge, arg);
	if (present && verdict == STORE_REMOVE)
		remove_item(partition, present);
	else if (present && verdict == STORE_RETIME)
		present->expires_at = next->expires_at;
	LWLockRelease(partition->lock);
	return verdict;
}

/* Drop every entry with this hash, whatever its key. */
void
cg_store_drop(uint64 hash)
{
	Partition *partition = partition_of(hash);
	ItemRef ref;

	LWLockAcquire(partition->lock, LW_EXCLUSIVE);
	ref = pg_atomic_read_u32(bucket_of(hash));
	while (ref != 0)
	{
		Item *item = ref_address(ref);

		ref = item->next;
		if (item->hash == hash)
			remove_item(partition, item);
	}
	LWLockRelease(partition->lock);
}
