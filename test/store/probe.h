/*-------------------------------------------------------------------------
 *
 * probe.h
 *	  A library for tests alone, that looks into the store of a running server
 *	  and makes it suffer.
 *
 * It has a copy of the store's own objects, attached to the same shared memory,
 * under the same locks; so it is to be built from the very sources that the
 * server runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_PROBE_H
#define CACHEGRID_PROBE_H

#include "store/store.h"

/* The least that a value can be: seed and checksum. */
#define VALUE_MIN 10

typedef struct Random
{
	uint64 state;
} Random;

/* Functions in attach.c */
extern void probe_attach(void);
extern uint64 probe_random(Random *random);
extern uint64 probe_below(Random *random, uint64 limit);
extern StoreKey probe_key(uint16 cache, const char *data);
extern uint16 probe_cache(const char *name, const StoreLimits *limits);

/* Functions in value.c: values that tell whether they are whole, and of that key */
extern void probe_value_write(char *value, Size size, const char *key, Size key_size,
							  uint32 seed);
extern bool probe_value_check(const char *value, Size size, const char *key,
							  Size key_size);
extern uint32 probe_value_seed(const char *value);
extern uint32 probe_value_size(Random *random, int mood);

/* Functions in walk.c */
extern const char *probe_walk(bool at_rest);

/* Functions in fail.c: allocations that fail */
extern void probe_fail_from(int first, int count);
extern int probe_allocations(void);

#endif /* CACHEGRID_PROBE_H */
