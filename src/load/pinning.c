/*-------------------------------------------------------------------------
 *
 * pinning.c
 *	  The settings that a query runs under, the same for everybody.
 *
 * A cached value is served to sessions with other settings than that which
 * computed it, so what settings say must not show in it.  Every setting that
 * decides how a query is read or how a value is written is pinned while a
 * query is prepared and run.  The search path is the session's own and part
 * of the value's identity; only a temporary schema is moved to its end, so
 * that no temporary table hides a table of the same name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "load/query.h"

typedef struct PinnedSetting
{
	const char *name;
	const char *value;
} PinnedSetting;

static const PinnedSetting pinned_settings[] = {
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"array_nulls", "on"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"},
	{"gin_fuzzy_search_limit", "0"},
	{"quote_all_identifiers", "off"},
	{"standard_conforming_strings", "on"},
	{"timezone_abbreviations", "Default"},
	{"transform_null_equals", "off"},
};

/* Only to_char() and its like ask these, and they are slow to set. */
static const PinnedSetting pinned_locale[] = {
	{"lc_monetary", "C"},
	{"lc_numeric", "C"},
	{"lc_time", "C"},
};

static void
set_locally(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

static void
pin(const PinnedSetting *settings, int count)
{
	for (int i = 0; i < count; i++)
	{
		const char *now = GetConfigOption(settings[i].name, false, false);

		if (strcmp(now, settings[i].value) != 0)
			set_locally(settings[i].name, settings[i].value);
	}
}

/* The session's search path by name, the temporary schema last. */
static void
pin_search_path(void)
{
	StringInfoData path;
	List *schemas = fetch_search_path(true);
	ListCell *cell;

	initStringInfo(&path);
	foreach (cell, schemas)
	{
		char *name = get_namespace_name(lfirst_oid(cell));

		if (name && !isTempNamespace(lfirst_oid(cell)))
			appendStringInfo(&path, "%s, ", quote_identifier(name));
	}
	appendStringInfoString(&path, "pg_temp");
	set_locally("search_path", path.data);
	pfree(path.data);
	list_free(schemas);
}

/*
 * Pin all settings but the locale's; with lent rights the search path, too.  They are
 * restored by AtEOXact_GUC() with the nest level that this returns, or when the
 * (sub)transaction aborts.
 */
int
cg_load_pin_settings(bool lent_rights)
{
	int nest_level = NewGUCNestLevel();
	Oid temporary;
	Oid temporary_toast;

	pin(pinned_settings, lengthof(pinned_settings));
	GetTempNamespaceState(&temporary, &temporary_toast);
	if (lent_rights)
		set_locally("search_path", "pg_catalog, pg_temp");
	else if (OidIsValid(temporary))
		pin_search_path();
	return nest_level;
}

void
cg_load_pin_locale(void)
{
	pin(pinned_locale, lengthof(pinned_locale));
}
