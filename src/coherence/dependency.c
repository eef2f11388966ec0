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

StaticAssertDecl(DEPENDENCY_KEY == CG_HASH_OF_KEYS, "the store hashes keys as we do");

/* The dependency of this kind and name (size bytes, may be empty) in a database. */
Dependency
cg_dependency_in(Oid database, DependencyKind kind, const void *name, Size size)
{
	return cg_name_hash(database, kind, name, size) | ((uint64) kind << CG_HASH_BITS);
}

/*
 * The same in the current database.  Privileges are the whole cluster's: a role that
 * changes in one database changes in all of them.
 */
Dependency
cg_dependency(DependencyKind kind, const void *name, Size size)
{
	return cg_dependency_in(kind == DEPENDENCY_PRIVILEGES ? InvalidOid : MyDatabaseId,
							kind, name, size);
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

/* No cache has a name with a byte that is zero. */
Dependency
cg_dependency_of_definition(Oid relation)
{
	char name[1 + sizeof(relation)] = {0};

	memcpy(name + 1, &relation, sizeof(relation));
	return cg_dependency(DEPENDENCY_CACHE, name, sizeof(name));
}
