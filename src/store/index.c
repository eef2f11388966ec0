/*-------------------------------------------------------------------------
 *
 * index.c
 *	  Buckets of a partition: from a key to its item.
 *
 * A key may stand in either of two buckets, which its hash names.  It is put into
 * the first while that has room to spare, so that a reader seldom looks further, and
 * then into the emptier one; so buckets can be nine tenths full before both of one
 * key are ("The power of two choices in randomized load balancing",
 * Mitzenmacher 2001).  Only then one of the two is given a chain of further
 * buckets, made of cells; its last slot then leads there.
 *
 * Beside each reference stands a tag, eight bits of the hash, so that a look at
 * one cache line tells which items are worth a look.
 *
 * An entry that is gone leaves its tag there, and in the place of the reference what
 * eviction wants to know if the key comes back, and who misses it in any case: a
 * ghost.  Its slot is free.
 *
 * A slot is changed by single stores: a reference before its tag when an item is
 * entered, the tag alone when it is taken out, the reference alone when another
 * item or a ghost takes its place, so that readers without the lock find the one or the other.
 * A bucket's version moves, before and after, when its chain changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "base/hash.h"
#include "store/layout.h"

#define ALL_SLOTS	   ((1 << BUCKET_SLOTS) - 1)
#define SLOTS_TO_SPARE 3

/* The next bucket of the chain; NULL at its end. */
Bucket *
cg_index_next(const Bucket *bucket)
{
	if (bucket->tags[BUCKET_SLOTS - 1] != TAG_CHAIN)
		return NULL;
	return ref_address(
		pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[BUCKET_SLOTS - 1]));
}

static bool
holds_key(ItemRef ref, const StoreKey *key)
{
	ItemView view;

	cg_layout_view(ref, &view);
	return view.cache == key->cache && view.key_size == key->size &&
		   memcmp(view.key, key->data, key->size) == 0;
}

/* The key's reference in this bucket, 0: none. */
static ItemRef
find_in_bucket(Bucket *bucket, const StoreKey *key, IndexSlot *slot)
{
	uint32 match = match_tags(bucket, tag_of(key->hash));

	for (; match != 0; match &= match - 1)
	{
		int i = pg_rightmost_one_pos32(match);
		ItemRef ref = pg_atomic_read_u32(&bucket->refs[i]);

		if ((ref & GHOST) == 0 && holds_key(ref, key))
		{
			*slot = (IndexSlot){bucket, i};
			return ref;
		}
	}
	return 0;
}

/* The key's item, alive or not, and where it stands; 0 if there is none. */
ItemRef
cg_index_find_locked(const StoreKey *key, IndexSlot *slot)
{
	Bucket *heads[] = {first_bucket(key->hash), second_bucket(key->hash)};
	ItemRef ref = 0;

	for (int i = 0; i < lengthof(heads) && ref == 0; i++)
		for (Bucket *bucket = heads[i]; bucket && ref == 0;
			 bucket = cg_index_next(bucket))
			ref = find_in_bucket(bucket, key, slot);
	return ref;
}

/* Any item with this hash but one (0: any), and where it stands; 0 if there is none. */
ItemRef
cg_index_find_hash_locked(const Partition *partition, uint64 hash, ItemRef but,
						  IndexSlot *slot)
{
	Bucket *heads[] = {first_bucket(hash), second_bucket(hash)};

	for (int i = 0; i < lengthof(heads); i++)
		for (Bucket *bucket = heads[i]; bucket; bucket = cg_index_next(bucket))
		{
			uint32 match = match_tags(bucket, tag_of(hash));

			for (; match != 0; match &= match - 1)
			{
				int place = pg_rightmost_one_pos32(match);
				ItemRef ref = pg_atomic_read_u32(&bucket->refs[place]);
				ItemView view;

				if ((ref & GHOST) || ref == but)
					continue;
				cg_layout_view(ref, &view);
				*slot = (IndexSlot){bucket, place};
				if (cg_layout_hash(partition, &view) == (hash & CG_HASH_MASK))
					return ref;
			}
		}
	return 0;
}

static bool
locate_in_bucket(Bucket *bucket, uint8 tag, ItemRef ref, IndexSlot *slot)
{
	uint32 match = match_tags(bucket, tag);

	for (; match != 0; match &= match - 1)
	{
		int i = pg_rightmost_one_pos32(match);

		if (pg_atomic_read_u32(&bucket->refs[i]) == ref)
		{
			*slot = (IndexSlot){bucket, i};
			return true;
		}
	}
	return false;
}

/* Where the reference of an item with this hash stands; false: nowhere. */
bool
cg_index_locate_locked(uint64 hash, ItemRef ref, IndexSlot *slot)
{
	Bucket *heads[] = {first_bucket(hash), second_bucket(hash)};

	for (int i = 0; i < lengthof(heads); i++)
		for (Bucket *bucket = heads[i]; bucket; bucket = cg_index_next(bucket))
			if (locate_in_bucket(bucket, tag_of(hash), ref, slot))
				return true;
	return false;
}

/* A bit for each slot whose reference is a ghost, if it is one at all. */
static inline uint32
match_ghosts(const Bucket *bucket)
{
	uint32 match = 0;

#ifdef __SSE2__
	/* A ghost is a reference with the sign bit. */
	for (int i = 0; i < BUCKET_SLOTS; i += 4)
		match |= (uint32) _mm_movemask_ps(_mm_castsi128_ps(
					 _mm_loadu_si128((const __m128i *) &bucket->refs[i])))
				 << i;
#else
	for (int i = 0; i < BUCKET_SLOTS; i++)
		match |= (pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[i]) >> 31) << i;
#endif
	return match;
}

StaticAssertDecl(GHOST == UINT32_C(1) << 31, "match_ghosts looks at the sign bit");

/* A bit for each slot that holds no item: nothing, or a ghost. */
static inline uint32
match_free(const Bucket *bucket)
{
	return match_tags(bucket, TAG_NONE) |
		   (match_ghosts(bucket) & ~match_tags(bucket, TAG_CHAIN));
}

/* How useless a ghost is: those of the main ring are of use a shorter time only. */
static uint32
staleness(const Partition *partition, uint32 ghost)
{
	Zone zone = ghost & GHOST_MAIN ? ZONE_MAIN : ZONE_SMALL;
	uint32 age = (partition->steering.evicted[zone] - ghost) & GHOST_SEQUENCE;

	return zone == ZONE_MAIN ? age * GHOST_MAIN_AGES : age;
}

/* A slot of these to put something into: one with nothing, or that of the oldest ghost. */
static int
pick_slot(const Partition *partition, const Bucket *bucket, uint32 match)
{
	uint32 empty = match_tags(bucket, TAG_NONE);
	uint32 most = 0;
	int picked = pg_rightmost_one_pos32(empty ? empty : match);

	if (empty)
		return picked;
	for (; match != 0; match &= match - 1)
	{
		int i = pg_rightmost_one_pos32(match);
		uint32 ghost = pg_atomic_read_u32((pg_atomic_uint32 *) &bucket->refs[i]);

		if (staleness(partition, ghost) < most)
			continue;
		most = staleness(partition, ghost);
		picked = i;
	}
	return picked;
}

static bool
exorcise_bucket(Bucket *bucket, uint64 hash, Ghost *ghost)
{
	uint32 match = match_tags(bucket, tag_of(hash));

	for (; match != 0; match &= match - 1)
	{
		int i = pg_rightmost_one_pos32(match);

		uint32 ref = pg_atomic_read_u32(&bucket->refs[i]);

		if (!is_ghost_of(ref, hash))
			continue;
		ghost->absence = ghost_absence(ref);
		ghost->zone = ref & GHOST_MAIN ? ZONE_MAIN : ZONE_SMALL;
		ghost->sequence = ref & GHOST_SEQUENCE;
		bucket->tags[i] = TAG_NONE;
		return true;
	}
	return false;
}

/* Take the ghost of a hash away; false: there is none. */
bool
cg_index_exorcise_locked(uint64 hash, Ghost *ghost)
{
	Bucket *heads[] = {first_bucket(hash), second_bucket(hash)};

	for (int i = 0; i < lengthof(heads); i++)
		for (Bucket *bucket = heads[i]; bucket; bucket = cg_index_next(bucket))
			if (exorcise_bucket(bucket, hash, ghost))
				return true;
	return false;
}

static void
enter(Bucket *bucket, int i, uint8 tag, ItemRef ref)
{
	pg_atomic_write_u32(&bucket->refs[i], ref);
	pg_write_barrier();
	bucket->tags[i] = tag;
}

/*
 * Make the empty cell a bucket at the end of the chain; it takes over what stands in
 * the last slot there.
 */
static Bucket *
lengthen(Bucket *last, ItemRef cell)
{
	Bucket *next = ref_address(cell);

	memset((char *) next + sizeof(next->version), 0,
		   sizeof(Bucket) - sizeof(next->version));
	pg_atomic_write_u32(&next->version, VERSION_BUCKET);
	enter(next, 0, last->tags[BUCKET_SLOTS - 1],
		  pg_atomic_read_u32(&last->refs[BUCKET_SLOTS - 1]));

	/* Without the tag the slot is nobody's; who looks there meanwhile looks again. */
	last->tags[BUCKET_SLOTS - 1] = TAG_NONE;
	pg_write_barrier();
	enter(last, BUCKET_SLOTS - 1, TAG_CHAIN, cell);
	return next;
}

static inline void
move_version(Bucket *head)
{
	pg_write_barrier();
	pg_atomic_write_u32(&head->version, pg_atomic_read_u32(&head->version) + 1);
	pg_write_barrier();
}

/*
 * Where a key is to be put: into the first of its buckets, where readers look first,
 * as long as that has room to spare, then into the emptier one.
 */
static Bucket *
preferred_bucket(uint64 hash)
{
	Bucket *first = first_bucket(hash);
	Bucket *second = second_bucket(hash);
	int room = pg_popcount32(match_free(first));

	if (room > SLOTS_TO_SPARE || room >= pg_popcount32(match_free(second)))
		return first;
	return second;
}

/* The first bucket with room of the chain that begins here, or its last one. */
static Bucket *
find_room(Bucket *head)
{
	Bucket *bucket = head;
	Bucket *next;

	while (match_free(bucket) == 0 && (next = cg_index_next(bucket)) != NULL)
		bucket = next;
	return bucket;
}

/* Whether a new key with this hash needs a further bucket. */
bool
cg_index_is_full_locked(uint64 hash)
{
	return match_free(find_room(preferred_bucket(hash))) == 0;
}

/*
 * Enter an item that is not there.  Where the key's buckets are full, *cell, a cell of
 * sizeof(Bucket) bytes, becomes a further one and is set to 0.
 */
void
cg_index_insert_locked(uint64 hash, ItemRef ref, ItemRef *cell)
{
	Bucket *head = preferred_bucket(hash);
	Bucket *bucket = find_room(head);

	if (match_free(bucket) == 0)
	{
		move_version(head);
		bucket = lengthen(bucket, *cell);
		move_version(head);
		*cell = 0;
	}
	enter(bucket, pick_slot(partition_of(hash), bucket, match_free(bucket)), tag_of(hash),
		  ref);
}

/* The head of the chain that the bucket is in, where a key with this hash stood. */
static Bucket *
head_of(Bucket *bucket, uint64 hash)
{
	Bucket *head = first_bucket(hash);

	for (Bucket *next = head; next; next = cg_index_next(next))
		if (next == bucket)
			return head;
	return second_bucket(hash);
}

/*
 * A slot has become free somewhere in a chain: an item of its last bucket comes
 * forward, and a last bucket without items is given back, ghosts and all.  Else where
 * entries come and go there would soon be a chain at every bucket.
 */
static void
shorten(Partition *partition, Bucket *head)
{
	Bucket *before = NULL;
	Bucket *last = head;
	Bucket *room;
	uint32 items;

	for (Bucket *next = cg_index_next(head); next; next = cg_index_next(next))
	{
		before = last;
		last = next;
	}
	if (before == NULL)
		return;
	room = find_room(head);
	items = ALL_SLOTS & ~match_free(last);
	if (items != 0 && (room == last || match_free(room) == 0))
		return;
	move_version(head);
	if (items != 0)
	{
		int i = pg_rightmost_one_pos32(items);

		enter(room, pick_slot(partition, room, match_free(room)), last->tags[i],
			  pg_atomic_read_u32(&last->refs[i]));
		pg_write_barrier();
		last->tags[i] = TAG_NONE;
		items &= items - 1;
	}
	if (items == 0)
		before->tags[BUCKET_SLOTS - 1] = TAG_NONE;
	pg_write_barrier();
	move_version(head);
	if (items == 0)
		cg_arena_free_locked(partition,
							 pg_atomic_read_u32(&before->refs[BUCKET_SLOTS - 1]),
							 sizeof(Bucket));
}

/* Put what is left of an item into its slot. */
void
cg_index_bury_locked(Partition *partition, const IndexSlot *slot, uint64 hash,
					 const Ghost *ghost)
{
	uint32 ref = GHOST | (ghost->zone == ZONE_MAIN ? GHOST_MAIN : 0) |
				 (uint32) ghost->absence << GHOST_ABSENCE_SHIFT | ghost_hash(hash) |
				 (ghost->sequence & GHOST_SEQUENCE);

	pg_atomic_write_u32(&slot->bucket->refs[slot->slot], ref);
	pg_write_barrier();
	shorten(partition, head_of(slot->bucket, hash));
}

/* Take a reference out, of an item with this hash. */
void
cg_index_remove_locked(Partition *partition, IndexSlot *slot, uint64 hash)
{
	slot->bucket->tags[slot->slot] = TAG_NONE;
	pg_write_barrier();
	shorten(partition, head_of(slot->bucket, hash));
}
