/*-------------------------------------------------------------------------
 *
 * stack.h
 *	  An LRU stack with its depths: which object was touched how many other
 *	  objects ago.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_STACK_H
#define DEMO_STACK_H

#include <stdint.h>

#define STACK_NEW UINT32_MAX

typedef struct LruStack LruStack;

/* A stack for objects below capacity; NULL if there is no memory. */
extern LruStack *stack_create(uint32_t capacity);
extern void stack_free(LruStack *stack);

/* How many objects are on the stack. */
extern uint32_t stack_size(const LruStack *stack);

/*
 * Put object on top.  Returns how deep it was, 0 being the top, or STACK_NEW
 * if it was not there.
 */
extern uint32_t stack_touch(LruStack *stack, uint32_t object);

/* The object at depth, which must be below stack_size(). */
extern uint32_t stack_at(const LruStack *stack, uint32_t depth);

#endif
