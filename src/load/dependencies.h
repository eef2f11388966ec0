/*-------------------------------------------------------------------------
 *
 * dependencies.h
 *	  What the value of a query follows from.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_DEPENDENCIES_H
#define CACHEGRID_DEPENDENCIES_H

#include "nodes/pg_list.h"

#include "cache/cache.h"
#include "load/purity.h"
#include "load/query.h"

/* The entry that a query is to fill: its key and its tags. */
typedef struct LoadTarget
{
	const CacheKey *key; /* NULL: no one key's, for the query is that of many */
	const CacheKey *tags;
	int tag_count;
} LoadTarget;

/* What a query's value follows from; in the context it was found in. */
typedef struct LoadDependencies
{
	List *relations; /* oids: any change in them counts */
	char *unwatched; /* a relation whose changes go unnoticed, or NULL */
	char *temporary; /* a temporary table, or NULL */
	bool row_security;
	bool locks_rows;
	bool detaching; /* a partition is being detached concurrently */
	LoadPurity purity;
} LoadDependencies;

/* Functions in dependencies.c */

/*
 * Lock what the query reads, then find what it follows from.  Relations that
 * can change the value by the target's key or tags alone are not among it.
 */
extern LoadDependencies *cg_load_dependencies_find(LoadQuery *query,
												   const LoadArguments *arguments,
												   const LoadTarget *target);
/* Raises an error if such a value must not be cached, or not without a ttl. */
extern void cg_load_dependencies_check(const LoadDependencies *dependencies,
									   const LoadTarget *target, bool has_ttl);
/* Sample their gens for the fill; false: it is dead. */
extern bool cg_load_dependencies_record(const LoadDependencies *dependencies,
										CacheFill *fill);

#endif /* CACHEGRID_DEPENDENCIES_H */
