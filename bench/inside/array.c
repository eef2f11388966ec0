/*-------------------------------------------------------------------------
 *
 * array.c
 *	  What no cache can beat: a function that reads an array at a place and
 *	  returns the bytes.  For the bench only.
 *
 *	  The array is private to the backend that filled it.
 *
 *-------------------------------------------------------------------------
 */
#include "inside.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

static char *values = NULL;
static int nvalues = 0;
static int value_size = 0;

PG_FUNCTION_INFO_V1(bench_array_fill);
PG_FUNCTION_INFO_V1(bench_array_get);

/* bench_array_fill(count integer, size integer): make the array anew. */
Datum
bench_array_fill(PG_FUNCTION_ARGS)
{
	Size bytes;

	nvalues = PG_GETARG_INT32(0);
	value_size = PG_GETARG_INT32(1);
	bytes = (Size) nvalues * value_size;
	if (values)
		pfree(values);
	values = MemoryContextAllocHuge(TopMemoryContext, bytes);
	memset(values, 'x', bytes);
	PG_RETURN_VOID();
}

/* bench_array_get(place integer) -> text */
Datum
bench_array_get(PG_FUNCTION_ARGS)
{
	int place = PG_GETARG_INT32(0);

	if (place < 0 || place >= nvalues)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(
		cstring_to_text_with_len(values + (Size) place * value_size, value_size));
}
