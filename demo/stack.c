/*-------------------------------------------------------------------------
 *
 * stack.c
 *	  An LRU stack with its depths.
 *
 *	  Every touch takes the next place on a shelf; an object stands at the
 *	  place of its last touch.  A binary indexed tree counts the places that
 *	  are taken, so both questions, how deep is an object and which object is
 *	  that deep, cost the logarithm of the shelf's length.  When the shelf is
 *	  full, the objects move together at its beginning.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stack.h"

/* Not on the shelf, or nobody at this place. */
#define NOWHERE UINT32_MAX

struct LruStack
{
	uint32_t capacity;
	uint32_t length; /* of the shelf, a power of two */
	uint32_t next;	 /* the next free place */
	uint32_t size;	 /* places taken */
	uint32_t *place; /* of each object, or NOWHERE */
	uint32_t *owner; /* of each place, or NOWHERE */
	uint32_t *tree;	 /* partial sums of taken places, from 1 */
};

static void
count_place(LruStack *stack, uint32_t place, int32_t by)
{
	for (uint32_t i = place + 1; i <= stack->length; i += i & -i)
		stack->tree[i] += (uint32_t) by;
}

/* How many places up to and including this one are taken. */
static uint32_t
taken_until(const LruStack *stack, uint32_t place)
{
	uint32_t sum = 0;

	for (uint32_t i = place + 1; i > 0; i -= i & -i)
		sum += stack->tree[i];
	return sum;
}

LruStack *
stack_create(uint32_t capacity)
{
	LruStack *stack = calloc(1, sizeof(*stack));

	if (!stack)
		return NULL;
	stack->capacity = capacity;
	stack->length = 1024;
	while (stack->length < capacity * 2)
		stack->length *= 2;
	stack->place = malloc(sizeof(uint32_t) * (capacity + 1));
	stack->owner = malloc(sizeof(uint32_t) * stack->length);
	stack->tree = calloc(stack->length + 1, sizeof(uint32_t));
	if (!stack->place || !stack->owner || !stack->tree)
	{
		stack_free(stack);
		return NULL;
	}
	memset(stack->place, 0xff, sizeof(uint32_t) * (capacity + 1));
	memset(stack->owner, 0xff, sizeof(uint32_t) * stack->length);
	return stack;
}

void
stack_free(LruStack *stack)
{
	if (!stack)
		return;
	free(stack->place);
	free(stack->owner);
	free(stack->tree);
	free(stack);
}

uint32_t
stack_size(const LruStack *stack)
{
	return stack->size;
}

/* Move everybody to the beginning of the shelf, in order. */
static void
close_ranks(LruStack *stack)
{
	uint32_t to = 0;

	memset(stack->tree, 0, sizeof(uint32_t) * (stack->length + 1));
	for (uint32_t from = 0; from < stack->length; from++)
	{
		uint32_t object = stack->owner[from];

		if (object == NOWHERE)
			continue;
		stack->owner[from] = NOWHERE;
		stack->owner[to] = object;
		stack->place[object] = to;
		count_place(stack, to, 1);
		to++;
	}
	stack->next = to;
}

uint32_t
stack_touch(LruStack *stack, uint32_t object)
{
	uint32_t depth = STACK_NEW;

	if (stack->next == stack->length)
		close_ranks(stack);

	if (stack->place[object] != NOWHERE)
	{
		uint32_t place = stack->place[object];

		depth = stack->size - taken_until(stack, place);
		count_place(stack, place, -1);
		stack->owner[place] = NOWHERE;
		stack->size--;
	}
	stack->place[object] = stack->next;
	stack->owner[stack->next] = object;
	count_place(stack, stack->next, 1);
	stack->next++;
	stack->size++;
	return depth;
}

uint32_t
stack_at(const LruStack *stack, uint32_t depth)
{
	uint32_t rest = stack->size - depth; /* the rest-th taken place */
	uint32_t at = 0;

	for (uint32_t step = stack->length; step > 0; step /= 2)
	{
		if (at + step <= stack->length && stack->tree[at + step] < rest)
		{
			at += step;
			rest -= stack->tree[at];
		}
	}
	return stack->owner[at];
}
