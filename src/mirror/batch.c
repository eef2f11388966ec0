/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  The touched keys that are worked on together, each of them once.
 *
 * An array, and a hash of indexes into it.  The array moves when it grows:
 * who holds pointers into it adds nothing more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "base/hash.h"
#include "mirror/mirror_internal.h"

#define FIRST_LIMIT 256

static void
clear(MirrorBatch *batch)
{
	MemoryContext previous = MemoryContextSwitchTo(batch->context);

	batch->count = 0;
	batch->limit = FIRST_LIMIT;
	batch->mask = 2 * FIRST_LIMIT - 1;
	batch->touches = palloc(batch->limit * sizeof(MirrorTouch));
	batch->buckets = palloc0((batch->mask + 1) * sizeof(uint32));
	MemoryContextSwitchTo(previous);
}

/* An empty batch in a context of its own below parent. */
MirrorBatch *
cg_mirror_batch(MemoryContext parent)
{
	MirrorBatch *batch = MemoryContextAlloc(parent, sizeof(MirrorBatch));

	batch->context =
		AllocSetContextCreate(parent, "cachegrid batch", ALLOCSET_DEFAULT_SIZES);
	clear(batch);
	return batch;
}

/* Forget all touches and their memory. */
void
cg_mirror_batch_reset(MirrorBatch *batch)
{
	MemoryContextReset(batch->context);
	clear(batch);
}

/* The bucket of this key, or the free one where it belongs. */
static uint32 *
find_bucket(const MirrorBatch *batch, uint32 hash, int32 mirror, const char *key,
			uint16 size)
{
	uint32 position = hash & batch->mask;

	while (batch->buckets[position] != 0)
	{
		const MirrorTouch *touch = &batch->touches[batch->buckets[position] - 1];

		if (touch->hash == hash && touch->mirror == mirror && touch->key_size == size &&
			memcmp(touch->key, key, size) == 0)
			break;
		position = (position + 1) & batch->mask;
	}
	return &batch->buckets[position];
}

static void
rebuild_buckets(MirrorBatch *batch)
{
	memset(batch->buckets, 0, (batch->mask + 1) * sizeof(uint32));
	for (int i = 0; i < batch->count; i++)
	{
		const MirrorTouch *touch = &batch->touches[i];

		*find_bucket(batch, touch->hash, touch->mirror, touch->key, touch->key_size) =
			i + 1;
	}
}

static void
grow(MirrorBatch *batch)
{
	batch->limit *= 2;
	batch->mask = 2 * batch->limit - 1;
	batch->touches =
		repalloc_huge(batch->touches, (Size) batch->limit * sizeof(MirrorTouch));
	pfree(batch->buckets);
	batch->buckets =
		MemoryContextAllocHuge(batch->context, ((Size) batch->mask + 1) * sizeof(uint32));
	rebuild_buckets(batch);
}

/*
 * The batch's touch of this key, new or old, to be sent; the newest hint
 * counts.  The key is copied.
 */
MirrorTouch *
cg_mirror_batch_add(MirrorBatch *batch, int32 mirror, const char *key, uint16 size,
					const ItemPointerData *tid)
{
	uint32 hash = (uint32) cg_hash(key, size, mirror);
	uint32 *bucket = find_bucket(batch, hash, mirror, key, size);
	MirrorTouch *touch;

	if (*bucket == 0)
	{
		if (batch->count == batch->limit)
		{
			grow(batch);
			bucket = find_bucket(batch, hash, mirror, key, size);
		}
		touch = &batch->touches[batch->count++];
		*bucket = batch->count;
		memset(touch, 0, sizeof(MirrorTouch));
		touch->key = memcpy(MemoryContextAlloc(batch->context, size + 1), key, size);
		touch->hash = hash;
		touch->mirror = mirror;
		touch->key_size = size;
	}
	else
		touch = &batch->touches[*bucket - 1];

	touch->tid = *tid;
	touch->state = TOUCH_PENDING;
	return touch;
}

/* The batch's touch of this key, or NULL.  Not to be asked once it is sorted. */
MirrorTouch *
cg_mirror_batch_find(const MirrorBatch *batch, int32 mirror, const char *key, uint16 size)
{
	uint32 hash = (uint32) cg_hash(key, size, mirror);
	uint32 bucket = *find_bucket(batch, hash, mirror, key, size);

	return bucket == 0 ? NULL : &batch->touches[bucket - 1];
}

/*
 * By mirror; then those with a hint in the order of the table, then the
 * others by key, so that neighbours are read together.
 */
static int
compare_touches(const void *a, const void *b)
{
	const MirrorTouch *left = a;
	const MirrorTouch *right = b;
	bool left_hint = ItemPointerIsValid(&left->tid);
	bool right_hint = ItemPointerIsValid(&right->tid);
	int order;

	if (left->mirror != right->mirror)
		return left->mirror < right->mirror ? -1 : 1;
	if (left_hint != right_hint)
		return left_hint ? -1 : 1;
	if (left_hint)
		return ItemPointerCompare((ItemPointer) &left->tid, (ItemPointer) &right->tid);
	order = memcmp(left->key, right->key, Min(left->key_size, right->key_size));
	return order != 0 ? order : (int) left->key_size - (int) right->key_size;
}

/* Sort the touches; nothing may be added after that. */
void
cg_mirror_batch_sort(MirrorBatch *batch)
{
	qsort(batch->touches, batch->count, sizeof(MirrorTouch), compare_touches);
}
