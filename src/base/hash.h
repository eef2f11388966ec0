/*-------------------------------------------------------------------------
 *
 * hash.h
 *	  Hashes of names: XXH3 of the xxHash library.
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

/*
 * Names of all kinds are told apart by 61 bits; three are left to say the kind.
 * That of a key is here since the store must find it again from the key's bytes.
 */
#define CG_HASH_BITS	61
#define CG_HASH_MASK	((UINT64CONST(1) << CG_HASH_BITS) - 1)
#define CG_HASH_OF_KEYS 1

static inline uint64
cg_name_hash(Oid database, int kind, const void *data, Size size)
{
	return cg_hash(data, size, ((uint64) database << 8) | kind) & CG_HASH_MASK;
}

#endif /* CACHEGRID_HASH_H */
