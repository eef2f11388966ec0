/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  The trigger on the table cachegrid.cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "api/api.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(cachegrid_cache_changed);

static void
changed(HeapTuple row, TupleDesc descriptor)
{
	char *name = SPI_getvalue(row, descriptor, 1);

	if (name)
		cg_cache_policy_changed(name);
}

/* AFTER ROW on cachegrid.cache: the policies of old and new name end. */
Datum
cachegrid_cache_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc descriptor;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" must be called as a trigger", "cache_changed"));
	if (!cg_store_attached())
		return PointerGetDatum(NULL);
	descriptor = RelationGetDescr(trigger->tg_relation);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		changed(trigger->tg_newtuple, descriptor);
	changed(trigger->tg_trigtuple, descriptor);
	return PointerGetDatum(NULL);
}
