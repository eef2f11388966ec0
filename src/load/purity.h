/*-------------------------------------------------------------------------
 *
 * purity.h
 *	  Does the result of an expression follow from rows and arguments alone?
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_PURITY_H
#define CACHEGRID_PURITY_H

#include "nodes/primnodes.h"

/*
 * What else the result follows from, the first that was found of each sort,
 * for errors: "function now()".  NULL: nothing of that sort.
 */
typedef struct LoadPurity
{
	char *session; /* of who asks: never cached */
	char *moving;  /* of time, chance or settings: cached for a ttl */
	char *opaque;  /* of what a function of the user's reads: for a ttl, or by tags */
	bool locale;   /* writes numbers or dates by the locale, to be pinned */
} LoadPurity;

/* Functions in purity.c */

/* Add what this one node asks; its children are the caller's to visit. */
extern void cg_load_purity_of_node(Node *node, LoadPurity *purity);

/* The call's arguments, and the defaults of those that it leaves out. */
extern List *cg_load_call_arguments(const FuncExpr *call);

/* Functions in types.c */

/* Has a value of the type the same text, always and in every session? */
extern bool cg_load_type_is_written_steadily(Oid type);
/* Does a text mean the same value of the type, always and in every session? */
extern bool cg_load_type_is_read_steadily(Oid type);
/* Has a value of the type a time zone, and no day to find its offset by? */
extern bool cg_load_type_has_dayless_zone(Oid type);
/* Does the session alone know the type, or its elements? */
extern bool cg_load_type_is_temporary(Oid type);
/* Are the same values allowed, always and in every session, where it has domains in it? */
extern bool cg_load_type_is_checked_steadily(Oid type);
/* Does a value of the type become json without any function that a user wrote? */
extern bool cg_load_type_is_json_by_itself(Oid type);

#endif /* CACHEGRID_PURITY_H */
