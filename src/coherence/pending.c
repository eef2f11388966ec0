/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  What the current transaction touches, until it stamps.
 *
 * Backend-local.  Every touched dependency stands here once, with the lowest
 * subtransaction level that touched it: what a rolled back subtransaction
 * touched is forgotten, but not what an outer one had touched before.  Above
 * NAMES_MAX keys, or tags, their prefixes are touched in their stead; such a
 * mark takes the lowest level among the names it replaces, or rolling back the
 * innermost would forget the outer ones.
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

#define NAMES_MAX 8192

typedef struct Touch
{
	Dependency dependency;
	Dependency prefix; /* of a key or tag: its prefix; else 0 */
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

/* A touch that is not the outermost level's, so that its end finds it. */
typedef struct SubTouch
{
	Dependency dependency;
	int level;
} SubTouch;

/* A dependency under which one of our statements is changing rows. */
typedef struct InFlight
{
	Dependency dependency;
	int level;
} InFlight;

static touch_hash *touches = NULL;
static int key_count = 0;	   /* touches that are keys */
static int tag_count = 0;	   /* touches that are tags */
static uint64 touch_count = 0; /* in this transaction, all calls */

static SubTouch *sub_touches = NULL; /* their levels never fall */
static int sub_touch_count = 0;
static int sub_touch_size = 0;

static InFlight *in_flight = NULL;
static int in_flight_count = 0;
static int in_flight_size = 0;

static void
count_touch(Dependency dependency, int by)
{
	if (cg_dependency_kind(dependency) == DEPENDENCY_KEY)
		key_count += by;
	else if (cg_dependency_kind(dependency) == DEPENDENCY_TAG)
		tag_count += by;
}

static void
reserve_sub_touches(int count)
{
	int size = Max(64, 2 * count);

	if (count <= sub_touch_size)
		return;
	if (sub_touches == NULL)
		sub_touches =
			MemoryContextAllocHuge(TopTransactionContext, (Size) size * sizeof(SubTouch));
	else
		sub_touches = repalloc_huge(sub_touches, (Size) size * sizeof(SubTouch));
	sub_touch_size = size;
}

static void
add_touch(Dependency dependency, Dependency prefix, int level)
{
	Touch *touch;
	bool found;

	if (touches == NULL)
		touches = touch_create(TopTransactionContext, 16, NULL);
	reserve_sub_touches(sub_touch_count + 1);

	touch = touch_insert(touches, dependency, &found);
	if (!found)
	{
		touch->prefix = prefix;
		touch->level = level;
		count_touch(dependency, 1);
		if (level > 1)
			sub_touches[sub_touch_count++] = (SubTouch){dependency, level};
	}
	else if (level < touch->level)
		touch->level = level;
	touch->last = ++touch_count;
}

static void
remove_touch(Touch *touch)
{
	count_touch(touch->dependency, -1);
	touch_delete_item(touches, touch);
}

static int
compare_levels(const void *a, const void *b)
{
	return ((const SubTouch *) a)->level - ((const SubTouch *) b)->level;
}

/* List the touches of subtransactions anew. */
static void
sort_sub_touches(void)
{
	touch_iterator iterator;
	Touch *touch;

	reserve_sub_touches(touches->members);
	sub_touch_count = 0;
	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		if (touch->level > 1)
			sub_touches[sub_touch_count++] = (SubTouch){touch->dependency, touch->level};
	qsort(sub_touches, sub_touch_count, sizeof(SubTouch), compare_levels);
}

/* Too many keys (or tags): touch their prefixes instead. */
static void
degrade_names(DependencyKind kind, int name_count)
{
	Touch *names = palloc(name_count * sizeof(Touch));
	int count = 0;
	touch_iterator iterator;
	Touch *touch;

	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		if (cg_dependency_kind(touch->dependency) == kind)
			names[count++] = *touch;

	for (int i = 0; i < count; i++)
		add_touch(names[i].prefix, 0, names[i].level);
	for (int i = 0; i < count; i++)
		remove_touch(touch_lookup(touches, names[i].dependency));
	sort_sub_touches();
	pfree(names);
}

static void
touch_name(Dependency name, Dependency prefix)
{
	int level = GetCurrentTransactionNestLevel();

	if (cg_coherence_stamped())
		cg_transaction_stamp_late(name, cg_dependency_kind(name) == DEPENDENCY_KEY);
	else if (touches != NULL && touch_lookup(touches, prefix) != NULL)
		/* It stands for its names, and was touched at this level or an outer one. */
		add_touch(prefix, 0, level);
	else
		add_touch(name, prefix, level);
	if (key_count > NAMES_MAX)
		degrade_names(DEPENDENCY_KEY, key_count);
	if (tag_count > NAMES_MAX)
		degrade_names(DEPENDENCY_TAG, tag_count);
}

/* The key's rows change in this transaction, or its entry is to go. */
void
cg_coherence_touch_key(const CacheKey *key)
{
	touch_name(cg_dependency_of_key(key), cg_dependency_of_key_prefix(key));
}

void
cg_coherence_touch_tag(const CacheKey *tag)
{
	touch_name(cg_dependency_of_tag(tag), cg_dependency_of_tag_prefix(tag));
}

/* For whatever is neither a key nor a tag. */
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

bool
cg_coherence_touched_since(uint64 number)
{
	return touch_count > number || in_flight_count > 0;
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

static int
compare_stamps(const void *a, const void *b)
{
	uint32 left = ((const OwnStamp *) a)->slot;
	uint32 right = ((const OwnStamp *) b)->slot;

	return (left > right) - (left < right);
}

/*
 * The slots to stamp, each once, sorted by number.  *stamps is allocated in
 * TopTransactionContext.
 */
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
		if (cg_dependency_kind(touch->dependency) == DEPENDENCY_KEY)
			(*keys)[count++] = touch->dependency;
	return count;
}

/* All of it, allocated in the current context. */
int
cg_pending_all(Dependency **dependencies)
{
	touch_iterator iterator;
	Touch *touch;
	int count = 0;

	*dependencies = NULL;
	if (touches == NULL || touches->members == 0)
		return 0;

	*dependencies = MemoryContextAllocHuge(CurrentMemoryContext,
										   (Size) touches->members * sizeof(Dependency));
	touch_start_iterate(touches, &iterator);
	while ((touch = touch_iterate(touches, &iterator)) != NULL)
		(*dependencies)[count++] = touch->dependency;
	return count;
}

/* The subtransaction of this level joins its parent. */
void
cg_pending_subcommit(int level)
{
	for (int i = 0; i < in_flight_count; i++)
		in_flight[i].level = Min(in_flight[i].level, level - 1);

	for (int i = sub_touch_count - 1; i >= 0 && sub_touches[i].level >= level; i--)
	{
		Touch *touch = touch_lookup(touches, sub_touches[i].dependency);

		if (touch)
			touch->level = Min(touch->level, level - 1);
		sub_touches[i].level = level - 1;
	}
	if (level == 2)
		sub_touch_count = 0;
}

/* The subtransaction of this level is rolled back.  Allocates nothing. */
void
cg_pending_subabort(int level)
{
	int kept = 0;

	for (int i = 0; i < in_flight_count; i++)
		if (in_flight[i].level < level)
			in_flight[kept++] = in_flight[i];
	in_flight_count = kept;

	while (sub_touch_count > 0 && sub_touches[sub_touch_count - 1].level >= level)
	{
		Dependency dependency = sub_touches[--sub_touch_count].dependency;
		Touch *touch = touch_lookup(touches, dependency);

		if (touch && touch->level >= level)
			remove_touch(touch);
	}
}

/* The transaction has ended, and with it the memory of all this. */
void
cg_pending_reset(void)
{
	touches = NULL;
	key_count = 0;
	tag_count = 0;
	touch_count = 0;
	sub_touches = NULL;
	sub_touch_count = 0;
	sub_touch_size = 0;
	in_flight = NULL;
	in_flight_count = 0;
	in_flight_size = 0;
}
