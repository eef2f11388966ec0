/*-------------------------------------------------------------------------
 *
 * query.h
 *	  A query that computes a value: prepared, kept, run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_QUERY_H
#define CACHEGRID_QUERY_H

#include "executor/spi.h"
#include "lib/ilist.h"
#include "utils/array.h"
#include "utils/snapshot.h"

#include "cache/cache.h"

/*
 * A prepared query.  Backend-local, owned by the kept queries of query.c;
 * lives at least until the outermost load of this backend ends.
 */
typedef struct LoadQuery
{
	uint64 hash;	  /* of text, search path and role: what it is kept by */
	const char *text; /* terminated */
	SPIPlanPtr plan;  /* saved */
	int parameter_count;
	Oid *parameter_types;
	bool moving_literal;   /* has 'now', 'today' ... as a date or time */
	bool names_settled;	   /* was that so when it was analyzed? */
	uint64 names_gen;	   /* of what may change the meaning of its names */
	MemoryContext context; /* holds this struct and everything but the plan */
	dlist_node recency;	   /* place among the kept queries, last used first */
} LoadQuery;

/* The values of a query's parameters, in the context they were made in. */
typedef struct LoadArguments
{
	int count;
	const Oid *types; /* the query's */
	Datum *values;
	char *nulls;		 /* 'n' or ' ' for each, as SPI wants them */
	bool moving_literal; /* one says 'now', 'today' ... for a date or time */
} LoadArguments;

/* Functions in query.c; to be called between SPI_connect and SPI_finish */
extern LoadQuery *cg_load_query_prepare(const char *text, int size, bool nested);
extern LoadQuery *cg_load_query_prepare_anew(const LoadQuery *query);
/* Leaves at most so many rows in SPI_tuptable, SPI_processed. */
extern void cg_load_query_run(LoadQuery *query, const LoadArguments *arguments, int rows);
extern Datum cg_load_to_jsonb(Datum value, Oid type);
/* A value of whatever type as jsonb, for a reader with no more rights than he has. */
extern Datum cg_load_value_to_jsonb(const CacheValue *value, bool *isnull);

/* Functions in arguments.c */
extern LoadArguments *cg_load_arguments_from_array(const LoadQuery *query,
												   ArrayType *array);
extern LoadArguments *cg_load_arguments_from_key(const LoadQuery *query,
												 const CacheKey *key);
/* The one parameter is the whole key ... */
extern LoadArguments *cg_load_arguments_of_key(const LoadQuery *query,
											   const CacheKey *key);
/* ... or a text[] of keys. */
extern LoadArguments *cg_load_arguments_of_keys(const LoadQuery *query, Datum keys);
extern bool cg_load_literal_moves(const char *literal, Oid type);

/* Functions in pinning.c */
extern int cg_load_pin_settings(bool lent_rights);
extern void cg_load_pin_locale(void);

#endif /* CACHEGRID_QUERY_H */
