/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  What the current transaction touches, until it stamps.
 *
 * Backend-local.  Every touched dependency stands here once, with the lowest
 * subtransaction level that touched it: what a rolled back subtransaction
 * touched is forgotten, but not what an outer one had touched before.  Above
 * KEYS_MAX keys their prefixes are touched in their stead; such a mark takes
 * the lowest level among the keys it replaces, or rolling back the innermost
 * would forget the outer ones.
 *
 * Everything lives in TopTransactionContext, so that ends of transactions
 * need to free nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "coherence/slots.h"

#define KEYS_MAX 8192

typedef struct Touch
{
	Dependency dependency;
	Dependency prefix; /* of a key: its prefix; else 0 */
	uint64 last;	   /* number of its latest touch */
	int level;		   /* lowest subtransaction level that touched it */
	char status;	   /* for simplehash */
} Touch;

#define SH_PREFIX			 touch
#define SH_ELEMENT_TYPE		 Touch
#define SH_KEY_TYPE			 Dependency
#define SH_KEY				 dependency
#define SH_HASH_KEY(tb, key) ((uint32) (key))
#define SH_EQUAL(tb, a, b)	 ((a) == (b))
#define SH_SCOPE			 static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A dependency under which one of our statements is changing rows. */
typedef struct InFlight
{
	Dependency dependency;
	int level;
} InFlight;

static touch_hash *touches = NULL;
static int key_count = 0;	   /* touches that are keys */
static int deepest = 0;		   /* no touch has a higher level */
static uint64 touch_count = 0; /* in this transaction, all calls */

static InFlight *in_flight = NULL;
static int in_flight_count = 0;
static int in_flight_size = 0;

static inline bool
is_key(Dependency dependency)
{
	return dependency >> 61 == DEPENDENCY_KEY;
}

static void
add_touch(Dependency dependency, Dependency prefix, int level)
{
	Touch *touch;
	bool found;

	if (touches == NULL)
		touches = touch_create(TopTransactionContext, 16, NULL);

	touch = touch_insert(touches, dependency, &found);
	if (!found)
	{
		touch->prefix = prefix;
		touch->level = level;
		key_count += is_key(dependency);
		deepest = Max(deepest, level);
	}
	else if (level < touch->level)
		touch->level = level;
	touch->last = ++touch_count;
}

static void
remove_touch(Touch *touch)
{
	key_count -= is_key(touch->dependency);
	touch_delete_item(touches, touch);
}

/* Too many keys: touch their prefixes instead. */
static void
degrade_keys(void)
{
	Touch *keys = palloc(key_count * sizeof(Touch));
	int count = 0;
	touch_iterator iterator;
	Touch *touch;

	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		if (is_key(touch->dependency))
			keys[count++] = *touch;

	for (int i = 0; i < count; i++)
		add_touch(keys[i].prefix, 0, keys[i].level);
	for (int i = 0; i < count; i++)
		remove_touch(touch_lookup(touches, keys[i].dependency));
	pfree(keys);
}

/* The key's rows change in this transaction, or its entry is to go. */
void
cg_coherence_touch_key(const CacheKey *key)
{
	Dependency dependency = cg_dependency_of_key(key);
	Dependency prefix = cg_dependency_of_key_prefix(key);

	if (cg_coherence_stamped())
	{
		cg_transaction_stamp_late(dependency, true);
		return;
	}
	/* A touched prefix stands for its keys: it was touched at an outer level. */
	if (touches != NULL && touch_lookup(touches, prefix) != NULL)
		dependency = prefix;
	add_touch(dependency, prefix, GetCurrentTransactionNestLevel());
	if (key_count > KEYS_MAX)
		degrade_keys();
}

void
cg_coherence_touch_tag(const CacheKey *tag)
{
	cg_coherence_touch(cg_dependency_of_tag(tag));
}

/* For whatever is not a key. */
void
cg_coherence_touch(Dependency dependency)
{
	if (cg_coherence_stamped())
		cg_transaction_stamp_late(dependency, false);
	else
		add_touch(dependency, 0, GetCurrentTransactionNestLevel());
}

/*
 * Does this transaction touch it, or is one of its statements doing so?  A
 * key whose prefix is touched is not found by itself: ask for the prefix,
 * too, as every entry depends on it.
 */
bool
cg_coherence_touched_by_me(Dependency dependency)
{
	return cg_coherence_last_touch(dependency) != 0;
}

uint64
cg_coherence_last_touch(Dependency dependency)
{
	Touch *touch;

	for (int i = 0; i < in_flight_count; i++)
		if (in_flight[i].dependency == dependency)
			return PG_UINT64_MAX;
	touch = touches ? touch_lookup(touches, dependency) : NULL;
	return touch ? touch->last : 0;
}

uint64
cg_coherence_touch_count(void)
{
	return touch_count;
}

void
cg_coherence_statement_begins(const Dependency *dependencies, int count)
{
	int level = GetCurrentTransactionNestLevel();

	if (in_flight_count + count > in_flight_size)
	{
		int size = Max(32, 2 * (in_flight_count + count));

		if (in_flight == NULL)
			in_flight =
				MemoryContextAlloc(TopTransactionContext, size * sizeof(InFlight));
		else
			in_flight = repalloc(in_flight, size * sizeof(InFlight));
		in_flight_size = size;
	}
	for (int i = 0; i < count; i++)
		in_flight[in_flight_count++] = (InFlight){dependencies[i], level};
}

void
cg_coherence_statement_ends(const Dependency *dependencies, int count)
{
	while (count-- > 0)
	{
		int i = in_flight_count - 1;

		while (i >= 0 && in_flight[i].dependency != dependencies[count])
			i--;
		if (i >= 0)
			in_flight[i] = in_flight[--in_flight_count];
	}
}

/*
 * The slots to stamp, each once, sorted by number.  *stamps is allocated in
 * TopTransactionContext.
 */
static int
compare_stamps(const void *a, const void *b)
{
	uint32 left = ((const OwnStamp *) a)->slot;
	uint32 right = ((const OwnStamp *) b)->slot;

	return (left > right) - (left < right);
}

int
cg_pending_slots(OwnStamp **stamps)
{
	touch_iterator iterator;
	Touch *touch;
	int count = 0;
	int unique = 0;

	*stamps = NULL;
	if (touches == NULL || touches->members == 0)
		return 0;

	*stamps =
		MemoryContextAlloc(TopTransactionContext, touches->members * sizeof(OwnStamp));
	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		(*stamps)[count++].slot = cg_slots_index(touch->dependency);

	qsort(*stamps, count, sizeof(OwnStamp), compare_stamps);
	for (int i = 0; i < count; i++)
		if (unique == 0 || (*stamps)[i].slot != (*stamps)[unique - 1].slot)
			(*stamps)[unique++] = (*stamps)[i];
	return unique;
}

/* The touched keys, whose entries are to be dropped after the stamps. */
int
cg_pending_keys(Dependency **keys)
{
	touch_iterator iterator;
	Touch *touch;
	int count = 0;

	*keys = NULL;
	if (key_count == 0)
		return 0;

	*keys = MemoryContextAlloc(TopTransactionContext, key_count * sizeof(Dependency));
	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		if (is_key(touch->dependency))
			(*keys)[count++] = touch->dependency;
	return count;
}

/* The subtransaction of this level joins its parent. */
void
cg_pending_subcommit(int level)
{
	touch_iterator iterator;
	Touch *touch;

	for (int i = 0; i < in_flight_count; i++)
		in_flight[i].level = Min(in_flight[i].level, level - 1);

	if (touches == NULL || deepest < level)
		return;
	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		touch->level = Min(touch->level, level - 1);
	deepest = level - 1;
}

/* The subtransaction of this level is rolled back.  Allocates nothing. */
void
cg_pending_subabort(int level)
{
	touch_iterator iterator;
	Touch *touch;
	int kept = 0;

	for (int i = 0; i < in_flight_count; i++)
		if (in_flight[i].level < level)
			in_flight[kept++] = in_flight[i];
	in_flight_count = kept;

	if (touches == NULL || deepest < level)
		return;
	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		if (touch->level >= level)
			remove_touch(touch);
	deepest = level - 1;
}

/* The transaction has ended, and with it the memory of all this. */
void
cg_pending_reset(void)
{
	touches = NULL;
	key_count = 0;
	deepest = 0;
	touch_count = 0;
	in_flight = NULL;
	in_flight_count = 0;
	in_flight_size = 0;
}
