/*-------------------------------------------------------------------------
 *
 * immediate.c
 *	  Writes that take effect at once and are not rolled back, like
 *	  sequences.
 *
 * What they decide, they decide under the partition's lock, so that two who
 * add the same key, or increment it, cannot both be first.  They see the
 * store, not what this transaction has set and not committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "cache/cache_internal.h"

typedef struct Condition
{
	const StoreKey *key;
	const CachePut *put;
	Oid role; /* who asks */
} Condition;

/* When a present entry is no hit any more. */
static inline StoreTime
fresh_until(const StoreEntry *present)
{
	if (present->meta_size == 0)
		return present->expires_at;
	return meta_fresh_until((const EntryMeta *) present->meta, present->expires_at);
}

/* A computed entry of this role, which is not stale? */
static bool
is_computed_for(const StoreEntry *present, Oid role)
{
	return ((const EntryMeta *) present->meta)->role == role &&
		   (fresh_until(present) == CG_STORE_NEVER ||
			fresh_until(present) > cg_store_now());
}

/*
 * Is it more than a shell, nothing it depends on having been stamped since, and
 * not what another role has computed?  That is none of ours, as for a read: or
 * its presence would tell what he has asked.
 */
static inline bool
is_ours(const StoreKey *key, const StoreEntry *present, Oid role)
{
	return present != NULL && cg_meta_is_current(key, present) &&
		   ((present->flags & STORE_DERIVED) == 0 || is_computed_for(present, role));
}

typedef struct Removal
{
	const StoreKey *key;
	Oid role; /* who asks */
	bool ours;
} Removal;

static StoreVerdict
judge_condition(const StoreEntry *present, StoreEntry *next, void *arg)
{
	const Condition *wanted = arg;
	bool ours = is_ours(wanted->key, present, wanted->role);

	switch (wanted->put->condition)
	{
		case CACHE_IF_ABSENT:
			return ours ? STORE_LEAVE : STORE_REPLACE;
		case CACHE_IF_PRESENT:
			return ours ? STORE_REPLACE : STORE_LEAVE;
		case CACHE_IF_VERSION:
			return ours && present->id == wanted->put->version ? STORE_REPLACE
															   : STORE_LEAVE;
		case CACHE_ALWAYS:
			break;
	}
	return STORE_REPLACE;
}

/*
 * Meta of an entry that depends on its home and its tags, as of now, into the
 * entry.  Where there is nothing else to say its id says all.
 */
static void
build_meta(StoreEntry *entry, const CachePolicy *policy, const CachePut *put,
		   uint32 shape)
{
	MetaBuilder builder;

	if (put->tag_count == 0 && shape == 0)
		return;
	cg_meta_init(&builder, CurrentMemoryContext, 0, InvalidOid);
	(void) cg_meta_add_set(&builder, policy, put->key, put->tags, put->tag_count, NULL);
	builder.meta.shape = shape;
	entry->meta = cg_meta_finish(&builder);
	entry->meta_size = cg_meta_size(&builder);
}

/* Put the value now, if the condition holds.  True if it was put. */
bool
cg_cache_put_now(const CachePut *put)
{
	const CachePolicy *policy = cg_cache_policy(put->key);
	StoreKey key = cg_policy_store_key(policy, put->key, cg_dependency_of_key(put->key));
	Condition wanted = {.key = &key, .put = put, .role = GetUserId()};
	StoreEntry entry = {0};
	FlatValue flat;

	cg_store_count(policy->number, COUNT_SETS, 1);
	cg_value_flatten(put->value, &flat);
	cg_value_compress(policy, &flat);
	build_meta(&entry, policy, put, flat.shape);
	entry.type = flat.type;
	entry.flags = flat.flags;
	entry.expires_at = cg_policy_expiry(policy, put->ttl);
	entry.value = flat.data;
	entry.value_size = flat.size;
	return cg_store_put(&key, &entry, judge_condition, &wanted);
}

static StoreVerdict
judge_removal(const StoreEntry *present, StoreEntry *next, void *arg)
{
	Removal *removal = arg;

	removal->ours = is_ours(removal->key, present, removal->role);
	return present ? STORE_REMOVE : STORE_LEAVE;
}

/* Remove the entry now.  True if there was one for us. */
bool
cg_immediate_remove(const StoreKey *key)
{
	Removal removal = {.key = key, .role = GetUserId()};

	cg_coherence_move(key->hash);
	(void) cg_store_judge(key, NULL, judge_removal, &removal);
	return removal.ours;
}

typedef struct Increment
{
	const StoreKey *key;
	Oid role; /* who asks */
	int64 by;
	int64 result;
	bool not_a_number;
	bool overflow;
} Increment;

/* The digits of a text value; no error may be raised here. */
static bool
parse_integer(const char *digits, uint32 size, int64 *number)
{
	bool negative = size > 0 && digits[0] == '-';
	uint32 i = negative ? 1 : 0;

	*number = 0;
	if (i == size || size > MAXINT8LEN)
		return false;
	for (; i < size; i++)
	{
		int digit = digits[i] - '0';

		if (digit < 0 || digit > 9 || pg_mul_s64_overflow(*number, 10, number) ||
			pg_sub_s64_overflow(*number, digit, number))
			return false;
	}
	return negative || (*number != PG_INT64_MIN && (*number = -*number, true));
}

static bool
integer_of(const StoreEntry *present, int64 *number)
{
	Datum datum;

	/* What is a number was not encoded. */
	if (present->value == NULL || (present->flags & (STORE_NULL | STORE_ENCODED)))
		return false;
	if (present->type == TEXTOID)
		return parse_integer(present->value, present->value_size, number);
	if (present->type != INT8OID && present->type != INT4OID && present->type != INT2OID)
		return false;
	memcpy(&datum, present->value, sizeof(datum));
	*number = present->type == INT8OID	 ? DatumGetInt64(datum)
			  : present->type == INT4OID ? DatumGetInt32(datum)
										 : DatumGetInt16(datum);
	return true;
}

static StoreVerdict
judge_increment(const StoreEntry *present, StoreEntry *next, void *arg)
{
	Increment *increment = arg;
	int64 number = 0;

	if (is_ours(increment->key, present, increment->role))
	{
		increment->not_a_number = !integer_of(present, &number);
		if (increment->not_a_number)
			return STORE_LEAVE;
		next->expires_at = fresh_until(present);
	}
	increment->overflow = pg_add_s64_overflow(number, increment->by, &increment->result);
	if (increment->overflow)
		return STORE_LEAVE;
	/* next->value points to the result. */
	return STORE_REPLACE;
}

/*
 * Add by to the key's integer, which begins at 0 and then lives for ttl; an
 * existing one keeps its expiry.  Returns the sum.
 */
int64
cg_cache_increment(const CacheKey *key, int64 by, int64 ttl)
{
	const CachePolicy *policy = cg_cache_policy(key);
	StoreKey store_key = cg_policy_store_key(policy, key, cg_dependency_of_key(key));
	Increment increment = {.key = &store_key, .role = GetUserId(), .by = by};
	StoreEntry entry = {0};

	entry.type = INT8OID;
	entry.expires_at = cg_policy_expiry(policy, ttl);
	entry.value = (const char *) &increment.result;
	entry.value_size = sizeof(increment.result);
	(void) cg_store_put(&store_key, &entry, judge_increment, &increment);

	if (increment.not_a_number)
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("value of key \"%.*s\" is not an integer", key->size, key->data),
				errdetail("What is counted is a smallint, integer or bigint, or a text "
						  "of at most 20 digits."),
				errhint("Delete the key first; then it begins at 0."));
	if (increment.overflow)
		ereport(
			ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			errmsg("bigint out of range"),
			errdetail("The value of key \"%.*s\" would not fit.", key->size, key->data),
			errhint("Delete the key first; then it begins at 0."));
	return increment.result;
}

/*
 * A computed value that expires may have been allowed for that reason only: it does not
 * live longer than it was to.
 */
static StoreVerdict
judge_expire(const StoreEntry *present, StoreEntry *next, void *arg)
{
	const StoreKey *key = arg;

	if (present != NULL && (present->flags & STORE_DERIVED) != 0)
		next->expires_at = Min(next->expires_at, present->expires_at);
	return is_ours(key, present, GetUserId()) ? STORE_RETIME : STORE_LEAVE;
}

/* Give the living entry a new time to live, from now.  False: no such key. */
bool
cg_cache_expire(const CacheKey *key, int64 ttl)
{
	const CachePolicy *policy = cg_cache_policy(key);
	StoreKey store_key = cg_policy_store_key(policy, key, cg_dependency_of_key(key));
	StoreEntry next = {.expires_at = cg_policy_expiry(policy, ttl)};

	return cg_store_judge(&store_key, &next, judge_expire, &store_key) == STORE_RETIME;
}
