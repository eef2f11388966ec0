/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Defines every setting of cachegrid.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/settings.h"

int cg_memory = 128;

void
cg_settings_init(void)
{
	DefineCustomIntVariable("cachegrid.memory",
							"Sets the size of the shared-memory cache.",
							"Entries are evicted when it is full.", &cg_memory, 128, 8,
							65536, PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);

	MarkGUCPrefixReserved("cachegrid");
}
