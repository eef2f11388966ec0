/*-------------------------------------------------------------------------
 *
 * hash.h
 *	  64-bit hashes of names: XXH3 of the xxHash library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_HASH_H
#define CACHEGRID_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Hash of size bytes at data; another seed gives an independent hash. */
static inline uint64
cg_hash(const void *data, Size size, uint64 seed)
{
	return XXH3_64bits_withSeed(data, size, seed);
}

#endif /* CACHEGRID_HASH_H */
