/*-------------------------------------------------------------------------
 *
 * dependency.c
 *	  Names of what an entry may depend on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/hash.h"
#include "coherence/coherence.h"

#define KIND_SHIFT 61

/*
 * The dependency of this kind and name (size bytes, may be empty) in the
 * current database.  Privileges are the whole cluster's: a role that changes
 * in one database changes in all of them.
 */
Dependency
cg_dependency(DependencyKind kind, const void *name, Size size)
{
	Oid database = kind == DEPENDENCY_PRIVILEGES ? InvalidOid : MyDatabaseId;
	uint64 hash = cg_hash(name, size, ((uint64) database << 8) | kind);

	return (hash & (UINT64CONST(-1) >> (64 - KIND_SHIFT))) |
		   ((uint64) kind << KIND_SHIFT);
}

Dependency
cg_dependency_of_key(const CacheKey *key)
{
	return cg_dependency(DEPENDENCY_KEY, key->data, key->size);
}

Dependency
cg_dependency_of_key_prefix(const CacheKey *key)
{
	return cg_dependency(DEPENDENCY_KEY_PREFIX, key->data, key->prefix_size);
}

Dependency
cg_dependency_of_tag(const CacheKey *tag)
{
	return cg_dependency(DEPENDENCY_TAG, tag->data, tag->size);
}

Dependency
cg_dependency_of_tag_prefix(const CacheKey *tag)
{
	return cg_dependency(DEPENDENCY_TAG_PREFIX, tag->data, tag->prefix_size);
}

Dependency
cg_dependency_of_relation(Oid relation)
{
	return cg_dependency(DEPENDENCY_RELATION, &relation, sizeof(relation));
}
