/*-------------------------------------------------------------------------
 *
 * running.c
 *	  What all loads have in common, before and after they compute.
 *
 * They nest, for a query may fetch: each knows its outer one, so that one that would
 * compute what an outer one computes is found.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/hash.h"
#include "coherence/coherence.h"
#include "load/running.h"

Load *cg_load_current = NULL;

static void
set_tags(LoadTarget *target, ArrayType *tags)
{
	CacheKey *names;
	Datum *elements;
	bool *nulls;
	int count;

	if (!tags)
		return;
	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	names = palloc_array(CacheKey, count + 1);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			cg_key_refuse_null("tag");
		names[i] = cg_tag_from_text(DatumGetTextPP(elements[i]));
	}
	target->tags = names;
	target->tag_count = count;
}

uint64
cg_load_lease_id(const CacheKey *key, uint64 identity)
{
	uint64 ids[2] = {cg_dependency_of_key(key), identity};

	return cg_hash(ids, sizeof(ids), 0) | 1;
}

void
cg_load_init(Load *load, const LoadRequest *request, uint64 identity)
{
	const CachePolicy *policy = cg_cache_policy(&request->key);

	memset(load, 0, sizeof(Load));
	load->request = request;
	load->query = pnstrdup(request->query, request->query_size);
	load->identity = identity;
	load->lease = cg_load_lease_id(&request->key, identity);
	load->ttl = request->ttl ? cg_cache_ttl_from_interval(request->ttl) : policy->ttl;
	load->options = policy->loading;
	load->cache = policy->name;
	load->cache_number = policy->number;
	load->target.key = request->row_key ? request->row_key : &request->key;
	if (!request->arguments && request->takes == LOADER_TAKES_KEYS)
		load->target.key = NULL;
	set_tags(&load->target, request->tags);
	load->outer = cg_load_current;
}

/*
 * Append the keys of the loads from first, an outer one, to last.  Of those in between that
 * are computed together, one stands for all.
 */
static void
append_chain(StringInfo chain, const Load *first, const Load *last)
{
	const CacheKey *key = &last->request->key;

	if (last != first)
		append_chain(chain, first, last->outer);
	if (last != first && last->companion)
		return;
	appendStringInfo(chain, "%s\"%.*s\"", last == first ? "" : ", ", key->size,
					 key->data);
}

void
cg_load_check_recursion(const Load *load)
{
	for (const Load *outer = load->outer; outer; outer = outer->outer)
	{
		StringInfoData chain;

		if (outer->lease != load->lease)
			continue;
		initStringInfo(&chain);
		append_chain(&chain, outer, load);
		ereport(ERROR, errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				errmsg("key \"%.*s\" is computed from itself", load->request->key.size,
					   load->request->key.data),
				errdetail("Each of these is fetched by what computes the one before: %s.",
						  chain.data),
				errhint("Let the query read tables, or fetch other keys."));
	}
}

void
cg_load_init_missing(Load *load, const LoadRequest *request, uint64 identity,
					 const CacheValue *stale, StoreTime stale_until)
{
	cg_load_init(load, request, identity);
	load->stale = *stale;
	/* What is computed from a stale value would be stale from the start. */
	load->stale_until = load->outer ? 0 : stale_until;
	cg_load_check_recursion(load);
}

void
cg_load_release(Load *load)
{
	LeaseEnd end = load->failed		 ? LEASE_END_FAILED
				   : load->fruitless ? LEASE_END_FRUITLESS
									 : LEASE_END_QUIET;

	if (load->leased)
		cg_load_lease_release(load->lease, end,
							  load->options.error_backoff / MICROSECONDS_IN_MS);
	load->leased = false;
}

LeaseOutcome
cg_load_take_lease(Load *load)
{
	LeaseOutcome outcome = cg_load_lease_take(load->lease, load->options.lease_interval /
															   MICROSECONDS_IN_MS);

	load->leased = outcome == LEASE_TAKEN;
	return outcome;
}

bool
cg_load_is_running(void)
{
	return cg_load_current != NULL;
}

void
cg_load_enter(Load *load)
{
	cg_load_current = load;
}

void
cg_load_leave(Load *load)
{
	cg_load_current = load->outer;
	cg_load_release(load);
}
