/*-------------------------------------------------------------------------
 *
 * index.c
 *	  Buckets of a partition: from a key to its item.
 *
 * Chains are changed under the partition's lock, between two steps of its
 * chain_seq: readers without the lock that came to a chain's end believe in
 * a miss only if chain_seq was even and has not moved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_internal.h"

static inline void
begin_change(Partition *partition)
{
	pg_atomic_write_u32(&partition->chain_seq,
						pg_atomic_read_u32(&partition->chain_seq) + 1);
	pg_write_barrier();
}

static inline void
end_change(Partition *partition)
{
	pg_write_barrier();
	pg_atomic_write_u32(&partition->chain_seq,
						pg_atomic_read_u32(&partition->chain_seq) + 1);
}

/* The key's item, alive or not; NULL if there is none. */
Item *
cg_index_find_locked(const StoreKey *key)
{
	ItemRef ref = pg_atomic_read_u32(bucket_of(key->hash));

	while (ref != 0)
	{
		Item *item = ref_address(ref);

		if (item->hash == key->hash && item->cache == key->cache &&
			item->key_size == key->size &&
			memcmp(item_key(item), key->data, key->size) == 0)
			return item;
		ref = item->next;
	}
	return NULL;
}

/* The cache's counters in this partition, begun anew after a clear. */
static PartitionCache *
counters_of_epoch(Partition *partition, uint16 cache, uint32 epoch)
{
	PartitionCache *counters = &partition->caches[cache];

	if (counters->epoch != epoch)
	{
		counters->epoch = epoch;
		counters->entries = 0;
		counters->bytes = 0;
	}
	return counters;
}

/*
 * Put a finished item in front of its bucket and give it its id: readers see
 * it from here on.
 */
void
cg_index_link_locked(Partition *partition, Item *item)
{
	pg_atomic_uint32 *bucket = bucket_of(item->hash);
	PartitionCache *counters;

	item->epoch = pg_atomic_read_u32(&store->caches[item->cache].epoch);
	counters = counters_of_epoch(partition, item->cache, item->epoch);
	counters->entries++;
	counters->bytes += item_bytes(item);

	item->next = pg_atomic_read_u32(bucket);
	partition->last_id += 4;
	pg_write_barrier();
	pg_atomic_write_u64(&item->version, partition->last_id);
	begin_change(partition);
	pg_atomic_write_u32(bucket, address_ref(item));
	end_change(partition);
}

/* Take the item out of its bucket; copies under way become invalid. */
void
cg_index_unlink_locked(Partition *partition, Item *item)
{
	pg_atomic_uint32 *bucket = bucket_of(item->hash);
	PartitionCache *counters = &partition->caches[item->cache];
	ItemRef self = address_ref(item);
	ItemRef ref = pg_atomic_read_u32(bucket);

	begin_change(partition);
	if (ref == self)
		pg_atomic_write_u32(bucket, item->next);
	else
	{
		Item *before = ref_address(ref);

		while (before->next != self)
			before = ref_address(before->next);
		before->next = item->next;
	}
	pg_atomic_write_u64(&item->version, VERSION_WRITING);
	end_change(partition);

	if (counters->epoch == item->epoch)
	{
		counters->entries--;
		counters->bytes -= item_bytes(item);
	}
}
