/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  What the slot of a key remembers, for the evidence of the checker.
 *
 * Finds cachegrid's own functions where its symbols are visible.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "coherence/coherence.h"
#include "coherence/slots.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(checker_slot);

Datum
checker_slot(PG_FUNCTION_ARGS)
{
	CacheKey key = cg_key_from_text(PG_GETARG_TEXT_PP(0));
	Dependency dependency = cg_dependency_of_key(&key);
	SlotState state;
	char text[256];
	int used;

	cg_slots_read(cg_slots_index(dependency), &state);
	used =
		snprintf(text, sizeof(text), "gen " UINT64_FORMAT " floor " UINT64_FORMAT " xids",
				 state.gen, state.floor);
	for (uint32 i = 0; i < state.count; i++)
		used +=
			snprintf(text + used, sizeof(text) - used, " " UINT64_FORMAT, state.xids[i]);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}
