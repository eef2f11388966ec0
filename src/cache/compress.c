/*-------------------------------------------------------------------------
 *
 * compress.c
 *	  Values compressed for the store, by lz4, where the cache wants it.
 *
 *	  size of the plain value (uint32) | one block of lz4
 *
 * The store keeps these bytes as any others, and a flag, STORE_ENCODED, that it
 * hands back.  A value is compressed before the store is asked for room, and
 * decompressed from the copy that a lookup made: never under a lock.
 *
 * It pays if an eighth of the value is saved; else the value is kept plain.  So is
 * what has few bytes, and with it each text that incr() counts under the partition's
 * lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <lz4.h>

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache_internal.h"

#define BYTES_LEAST 32 /* more than an integer's text has */
#define SAVED_PART	8  /* a value's eighth */
#define BLOCK_START sizeof(uint32)

static bool
may_compress(const CachePolicy *policy, const FlatValue *flat)
{
	return policy->compress_above >= 0 && flat->size > policy->compress_above &&
		   flat->size >= BYTES_LEAST;
}

/* The most bytes that the compressed value may have, in a buffer to begin with. */
static uint32
most_bytes(const FlatValue *flat)
{
	return flat->size - flat->size / SAVED_PART;
}

/*
 * Compress the value if its cache wants that and it pays: then flat points to
 * memory palloc'd for it.
 */
void
cg_value_compress(const CachePolicy *policy, FlatValue *flat)
{
	uint16 cache = policy->number;
	uint32 plain_size = flat->size;
	uint64 began;
	char *encoded;
	int size;

	if (!may_compress(policy, flat))
		return;
	began = cg_clock_ticks();
	encoded = palloc(most_bytes(flat));
	memcpy(encoded, &plain_size, BLOCK_START);
	/* It stops, and says 0, once there is no room: then it does not pay. */
	size = LZ4_compress_default(flat->data, encoded + BLOCK_START, flat->size,
								most_bytes(flat) - BLOCK_START);
	if (size > 0)
	{
		flat->data = encoded;
		flat->size = size + BLOCK_START;
		flat->flags |= STORE_ENCODED;
	}
	else
		pfree(encoded);
	cg_store_count(cache, COUNT_PLAIN_BYTES, plain_size);
	cg_store_count(cache, COUNT_STORED_BYTES, flat->size);
	cg_store_count(cache, COUNT_COMPRESS_TICKS, cg_clock_ticks() - began);
}

/*
 * The plain value of a copied, encoded entry, palloc'd, a varlena if it was one.
 * NULL if the bytes are not what cg_value_compress made; whatever they are, nothing
 * else is read or written.
 */
char *
cg_value_decompress(uint16 cache, const StoreCopy *copy)
{
	uint64 began = cg_clock_ticks();
	Size header = copy->entry.flags & STORE_VARLENA ? VARHDRSZ : 0;
	uint32 block_size = copy->entry.value_size - BLOCK_START;
	uint32 plain_size;
	char *value;

	if (copy->entry.value_size <= BLOCK_START)
		return NULL;
	memcpy(&plain_size, copy->value, BLOCK_START);
	if (plain_size > CG_VALUE_MAX_BYTES)
		return NULL;
	value = palloc(header + plain_size);
	if (LZ4_decompress_safe(copy->value + BLOCK_START, value + header, block_size,
							plain_size) != (int) plain_size)
	{
		pfree(value);
		return NULL;
	}
	if (header)
		SET_VARSIZE(value, header + plain_size);
	cg_store_count(cache, COUNT_COMPRESS_TICKS, cg_clock_ticks() - began);
	return value;
}
