/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Many values at once: those that are not there are computed together.
 *
 * A cache at a time, in rounds.  In each round every key that has no value yet is begun as
 * by a fetch of it alone, but for the waiting: those whose leases are to be had, and those
 * that need none, are computed by one query, and their leases are released.  Only then
 * are those waited for that other sessions compute, one after the other; what has come to
 * nothing there is for the next round.  So nobody who holds the lease of one key waits for
 * that of another, and sessions whose keys overlap, in whatever order, cannot wait
 * in a circle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "load/running.h"

/* So many keys are computed by one query. */
#define BATCH_KEYS 1000

/* A key that was asked for, or several that are equal. */
typedef struct Asked
{
	const CacheKey *key;
	int place;		/* among those that were given */
	NameData cache; /* its name: a number may become another's meanwhile */
} Asked;

/* A key that has no value yet. */
typedef struct Missing
{
	LoadRequest request;
	Load load;
	int64 deadline;	  /* of waiting */
	LeaseWait waited; /* what came of it last */
	Begun begun;	  /* in this round */
	CacheValue *value;
} Missing;

static int
compare_asked(const void *a, const void *b)
{
	const Asked *one = a;
	const Asked *other = b;

	int order = strcmp(NameStr(one->cache), NameStr(other->cache));

	if (order != 0)
		return order;
	return cg_key_compare(one->key, other->key);
}

/* Is there an answer, or none to wait for? */
static bool
settle(Missing *missing)
{
	switch (missing->begun)
	{
		case BEGUN_FOUND:
			return true;
		case BEGUN_STALE:
			*missing->value = cg_load_give_stale(&missing->load);
			return true;
		case BEGUN_OFF:
			*missing->value = cg_load_do_without(&missing->load);
			return true;
		case BEGUN_LOAD:
		case BEGUN_WAIT:
			break;
	}
	return false;
}

/* Compute those that have begun, in the order of their keys. */
static void
compute_begun(Missing **missing, int count)
{
	Load **loads = palloc_array(Load *, count);
	Load *outer = cg_load_current;
	int begun = 0;

	for (int i = 0; i < count; i++)
		if (missing[i]->begun == BEGUN_LOAD)
			loads[begun++] = &missing[i]->load;
	if (begun == 0)
		return;
	for (int i = 1; i < begun; i++)
	{
		loads[i]->outer = loads[i - 1];
		loads[i]->companion = true;
	}
	cg_load_current = loads[begun - 1];
	cg_load_compute_many(loads, begun);
	cg_load_current = outer;
	for (int i = 0; i < count; i++)
		if (missing[i]->begun == BEGUN_LOAD)
		{
			*missing[i]->value = missing[i]->load.value;
			cg_load_release(&missing[i]->load);
		}
}

/* Returns how many are still missing; they come first then. */
static int
run_round(Missing **missing, int count)
{
	int left = 0;

	for (int i = 0; i < count; i++)
	{
		Load *load = &missing[i]->load;

		missing[i]->begun = cg_load_begin(load, missing[i]->waited, missing[i]->value);
		if (load->fill)
			cg_cache_fill_set_aside(load->fill);
		if (missing[i]->begun == BEGUN_FOUND)
			cg_load_release(load);
	}
	compute_begun(missing, count);
	for (int i = 0; i < count; i++)
	{
		Missing *now = missing[i];

		if (now->begun == BEGUN_WAIT)
			now->begun =
				cg_load_wait(&now->load, now->deadline, &now->waited, now->value);
		else if (now->begun == BEGUN_LOAD)
			continue;
		if (!settle(now))
			missing[left++] = now;
	}
	return left;
}

/* Some that are missing, of one cache; whatever happens, no lease is left behind. */
static void
load_missing(Missing **missing, int count)
{
	Load *outer = cg_load_current;
	Missing **left = palloc_array(Missing *, count);
	int left_count = count;

	memcpy(left, missing, count * sizeof(Missing *));
	cg_load_lease_reserve(count);
	PG_TRY();
	{
		while (left_count > 0)
			left_count = run_round(left, left_count);
	}
	PG_FINALLY();
	{
		cg_load_current = outer;
		for (int i = 0; i < count; i++)
			cg_load_release(&missing[i]->load);
	}
	PG_END_TRY();
}

/* Look the key up; NULL: it is there. */
static Missing *
look_up(const Asked *asked, const LoadRequest *request, uint64 identity,
		CacheValue *value)
{
	CacheValue found = {InvalidOid, (Datum) 0};
	LoadRequest one = *request;
	StoreTime stale_until;
	Missing *missing;

	one.key = *asked->key;
	if (cg_load_find(&one, identity, &found, &stale_until))
	{
		*value = found;
		return NULL;
	}
	missing = palloc0(sizeof(Missing));
	missing->request = one;
	cg_load_init_missing(&missing->load, &missing->request, identity, &found,
						 stale_until);
	missing->deadline = cg_load_wait_deadline(&missing->load);
	missing->waited = LEASE_ENDED;
	missing->value = value;
	return missing;
}

/* The values of keys of one cache; they are sorted, and equal ones take one value. */
static void
fetch_of_cache(const Asked *asked, int count, CacheValue *values)
{
	LoadRequest request = cg_load_request_by_loader(asked[0].key);
	Missing **missing = palloc_array(Missing *, count);
	int missing_count = 0;
	LoadCaller caller;
	uint64 identity;

	cg_load_rights_begin(&caller, request.run_as);
	identity = cg_load_identity(&request);
	for (int i = 0; i < count; i++)
	{
		Missing *one = NULL;

		if (i == 0 || cg_key_compare(asked[i].key, asked[i - 1].key) != 0)
			one = look_up(&asked[i], &request, identity, &values[asked[i].place]);
		if (one)
			missing[missing_count++] = one;
	}
	for (int done = 0; done < missing_count; done += BATCH_KEYS)
		load_missing(missing + done, Min(missing_count - done, BATCH_KEYS));
	cg_load_rights_end(&caller);

	for (int i = 1; i < count; i++)
		if (cg_key_compare(asked[i].key, asked[i - 1].key) == 0)
			values[asked[i].place] = values[asked[i - 1].place];
}

/* The keys by their caches, which must all have loaders, then by their bytes. */
static Asked *
sort_keys(const CacheKey *keys, int count)
{
	Asked *asked = palloc_array(Asked, count);

	for (int i = 0; i < count; i++)
		asked[i] = (Asked){&keys[i], i, cg_load_policy_with_loader(&keys[i])->name};
	qsort(asked, count, sizeof(Asked), compare_asked);
	return asked;
}

void
cg_load_fetch_many(const CacheKey *keys, int count, Datum *values, bool *nulls)
{
	CacheValue *raw = palloc0_array(CacheValue, count + 1);
	Asked *asked = sort_keys(keys, count);
	int end;

	for (int first = 0; first < count; first = end)
	{
		for (end = first + 1; end < count && strcmp(NameStr(asked[end].cache),
													NameStr(asked[first].cache)) == 0;)
			end++;
		fetch_of_cache(asked + first, end - first, raw);
	}
	for (int i = 0; i < count; i++)
		values[i] = cg_load_value_to_jsonb(&raw[i], &nulls[i]);
}
