/*-------------------------------------------------------------------------
 *
 * pins.h
 *	  Which rows of a relation a query can depend on, as far as equalities
 *	  in its WHERE tell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_PINS_H
#define CACHEGRID_PINS_H

#include "nodes/parsenodes.h"
#include "utils/rel.h"

#include "capture/capture.h"
#include "load/query.h"

/* The columns that are pinned to a value; element attnum - 1 is a column's. */
typedef struct LoadPins
{
	int column_count;
	Datum *values;
	bool *nulls; /* true: not pinned, or pinned to NULL */
} LoadPins;

/* Functions in pins.c */

/* The pins of the query level's range table entry rtindex; palloc'd. */
extern LoadPins *cg_load_pins_find(const Query *level, Index rtindex, Relation relation,
								   const LoadArguments *arguments);
/* Do the pinned columns make exactly this key (or tag) of the template? */
extern bool cg_load_pins_render_to(const LoadPins *pins, const CaptureTemplate *template,
								   const CacheKey *key);

#endif /* CACHEGRID_PINS_H */
