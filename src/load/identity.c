/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Which computation by whom made a value: a 64-bit hash.
 *
 * A derived entry is served only to who asks for the same: the same query
 * and arguments by the same role under the same search path.  So no check of
 * privileges or row-level security is ever skipped by a hit: another role
 * computes, and is checked, for itself.  The hash is seeded with a secret of
 * this server, so that nobody can make up a query with another's identity.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/rls.h"

#include "base/compat.h"
#include "base/hash.h"
#include "cache/cache.h"
#include "load/lease.h"
#include "load/load.h"

#define MAX_SCHEMAS 16

/* Who computes; without padding, it is hashed as a whole. */
typedef struct Computer
{
	Oid role;
	uint32 row_security;
	uint32 lent; /* are the rights those of the role that the cache says? */
	uint32 schema_count;
	Oid schemas[MAX_SCHEMAS]; /* the search path but for temporary schemas */
} Computer;

static uint64
hash_computer(bool lent)
{
	Computer computer = {.role = GetUserId(), .lent = lent};

	computer.row_security = row_security;
	if (!lent)
		computer.schema_count = fetch_search_path_array(computer.schemas, MAX_SCHEMAS);
	if (computer.schema_count > MAX_SCHEMAS)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("search path is too long"),
				errdetail("It has %u schemas; a cached query may search %d.",
						  computer.schema_count, MAX_SCHEMAS),
				errhint("Set a shorter \"search_path\"."));
	return cg_hash(&computer,
				   offsetof(Computer, schemas) + computer.schema_count * sizeof(Oid),
				   cg_load_secret());
}

static uint64
hash_array(ArrayType *array, uint64 seed)
{
	return array ? cg_hash(array, VARSIZE(array), seed) : cg_hash("", 0, seed + 1);
}

/* Has the value an end of its own, so that it need not be exact till then? */
static bool
expires(const LoadRequest *request)
{
	return request->ttl != NULL || cg_cache_policy(&request->key)->ttl != CG_TTL_NEVER;
}

/*
 * Whether it expires belongs to it because a query that may be cached for a
 * ttl only must not hit without one.  The tags belong to it because an entry
 * made without a tag would outlive that tag's invalidation.  Arrays of equal
 * elements that differ in their bounds count as different, which costs a
 * needless miss.
 */
uint64
cg_load_identity(const LoadRequest *request)
{
	uint32 kind[2] = {request->takes, request->row_type};
	uint64 hash = hash_computer(OidIsValid(request->run_as)) + expires(request);

	hash = cg_hash(kind, sizeof(kind), hash);
	hash = cg_hash(request->query, request->query_size, hash);
	hash = hash_array(request->arguments, hash);
	hash = hash_array(request->tags, hash);
	return hash ? hash : 1;
}
