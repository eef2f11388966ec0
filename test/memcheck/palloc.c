/*-------------------------------------------------------------------------
 *
 * palloc.c
 *	  For make test-valgrind: what palloc hands out has been written by nobody.
 *
 * A PostgreSQL that was not built for valgrind does not tell it so, and what lay
 * there before counts as written.  The linker leads the calls of cachegrid here
 * (--wrap).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <valgrind/memcheck.h>

extern void *__real_palloc(Size size);
extern void *__wrap_palloc(Size size);
extern void *__real_MemoryContextAlloc(MemoryContext context, Size size);
extern void *__wrap_MemoryContextAlloc(MemoryContext context, Size size);

void *
__wrap_palloc(Size size)
{
	void *memory = __real_palloc(size);

	VALGRIND_MAKE_MEM_UNDEFINED(memory, size);
	return memory;
}

void *
__wrap_MemoryContextAlloc(MemoryContext context, Size size)
{
	void *memory = __real_MemoryContextAlloc(context, size);

	VALGRIND_MAKE_MEM_UNDEFINED(memory, size);
	return memory;
}
