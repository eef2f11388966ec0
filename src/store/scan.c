/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Walk through all living entries, a few buckets at a time.
 *
 * Keys and metas of some buckets are copied into a buffer under the
 * partition's lock, shared, and handed out without it.  Who was put or
 * removed meanwhile may be missed; nobody is seen torn or, in the same
 * bucket, twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/layout.h"

#define BATCH_BYTES	  (128 * 1024)
#define BATCH_BUCKETS 64

struct StoreScan
{
	uint32 partition;
	uint32 bucket; /* in the partition: the next to copy */
	char *buffer;
	Size size; /* of the buffer */
	Size used;
	Size read;
};

/* An entry in the buffer, followed by its meta and its key. */
typedef struct Scanned
{
	StoreEntry entry;
	StoreKey key;
} Scanned;

StoreScan *
cg_store_scan_begin(void)
{
	StoreScan *scan = palloc0(sizeof(StoreScan));

	scan->size = BATCH_BYTES;
	scan->buffer = palloc(scan->size);
	return scan;
}

void
cg_store_scan_end(StoreScan *scan)
{
	pfree(scan->buffer);
	pfree(scan);
}

/* Append one entry; false if the buffer is too small for it. */
static bool
copy_item_locked(StoreScan *scan, const Partition *partition, ItemRef ref)
{
	Scanned *scanned = (Scanned *) (scan->buffer + scan->used);
	ItemView view;
	Size bytes;

	cg_layout_view(ref, &view);
	if (!cg_store_is_alive(&view))
		return true;
	bytes = MAXALIGN(sizeof(Scanned) + view.meta_size + view.key_size);
	if (scan->used + bytes > scan->size)
		return false;
	cg_layout_describe(&view, &scanned->entry);
	scanned->entry.value = NULL;
	scanned->key =
		(StoreKey){cg_layout_hash(partition, &view), NULL, view.key_size, view.cache};
	memcpy(scanned + 1, view.meta, view.meta_size);
	memcpy((char *) (scanned + 1) + view.meta_size, view.key, view.key_size);
	scan->used += bytes;
	return true;
}

/* Append a bucket and those of its chain; false if the buffer is too small for them. */
static bool
copy_bucket_locked(StoreScan *scan, const Partition *partition, const Bucket *bucket)
{
	Size used = scan->used;

	for (; bucket; bucket = cg_index_next(bucket))
		for (int i = 0; i < BUCKET_SLOTS; i++)
		{
			uint8 tag = bucket->tags[i];
			ItemRef ref = pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[i]);

			if (tag == TAG_NONE || tag == TAG_CHAIN || (ref & GHOST) != 0 ||
				copy_item_locked(scan, partition, ref))
				continue;
			scan->used = used;
			return false;
		}
	return true;
}

/* Fill the buffer with the next buckets; false at the end of the store. */
static bool
next_batch(StoreScan *scan)
{
	bool fits = true;

	scan->used = scan->read = 0;
	while (scan->partition < store->partition_count && scan->used == 0)
	{
		Partition *partition = &store_partitions[scan->partition];
		const Bucket *buckets =
			&store_buckets[(Size) scan->partition * store->buckets_per_partition];
		uint32 end = Min(scan->bucket + BATCH_BUCKETS, store->buckets_per_partition);

		LWLockAcquire(partition->lock, LW_SHARED);
		while (scan->bucket < end &&
			   (fits = copy_bucket_locked(scan, partition, &buckets[scan->bucket])))
			scan->bucket++;
		LWLockRelease(partition->lock);

		if (!fits && scan->used == 0)
		{
			scan->size *= 2;
			scan->buffer = repalloc(scan->buffer, scan->size);
		}
		if (scan->bucket == store->buckets_per_partition)
		{
			scan->partition++;
			scan->bucket = 0;
		}
		CHECK_FOR_INTERRUPTS();
	}
	return scan->used > 0;
}

/*
 * The next entry, without its value; false at the end.  Key and meta point
 * into the scan and hold until the next call.
 */
bool
cg_store_scan_next(StoreScan *scan, StoreKey *key, StoreEntry *entry)
{
	Scanned *scanned;

	if (scan->read == scan->used && !next_batch(scan))
		return false;
	scanned = (Scanned *) (scan->buffer + scan->read);
	*entry = scanned->entry;
	*key = scanned->key;
	entry->meta = (const char *) (scanned + 1);
	key->data = entry->meta + entry->meta_size;
	scan->read += MAXALIGN(sizeof(Scanned) + entry->meta_size + key->size);
	return true;
}
