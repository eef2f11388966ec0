/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  The trigger on the table cachegrid.cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "api/api.h"
#include "base/compat.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(cachegrid_cache_changed);

static const char *
name_of(HeapTuple row, TupleDesc descriptor)
{
	return SPI_getvalue(row, descriptor, 1);
}

static Datum
column_of(HeapTuple row, TupleDesc descriptor, const char *name, bool *is_null)
{
	return SPI_getbinval(row, descriptor, SPI_fnumber(descriptor, name), is_null);
}

static StoreLimits
limits_of(HeapTuple row, TupleDesc descriptor)
{
	StoreLimits limits = {0};
	bool is_null;
	Datum value = column_of(row, descriptor, "max_memory", &is_null);

	if (!is_null)
		limits.max_memory = DatumGetInt64(value);
	value = column_of(row, descriptor, "pinned", &is_null);
	limits.pinned = !is_null && DatumGetBool(value);
	return limits;
}

/* Rights may be lent by who has them only: else an admin of caches could have anybody's. */
static void
check_lending(HeapTuple row, TupleDesc descriptor)
{
	bool is_null;
	Oid role = DatumGetObjectId(column_of(row, descriptor, "run_as", &is_null));
	const char *name;

	if (is_null)
		return;
	name = GetUserNameFromId(role, false);
	if (!cg_can_set_role(GetUserId(), role))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to lend the rights of role \"%s\"", name),
				errdetail("The loader of cache \"%s\" would run with them.",
						  name_of(row, descriptor)),
				errhint("Have it declared by a role that can SET ROLE to it."));
}

static void
refuse_warm_role(const char *role, int code, const char *detail)
{
	ereport(
		ERROR, errcode(code), errmsg("cannot keep a cache warm for role \"%s\"", role),
		errdetail("%s", detail),
		errhint("Set \"keep_warm_role\" to a role that may log in, is no superuser, and "
				"whose rights you have."));
}

/*
 * What the row says is run in the background with the rights of this role: so who writes the
 * row must have them.  A superuser may restore it before the role is there.
 */
static void
check_warm_role(HeapTuple row, TupleDesc descriptor)
{
	bool is_null;
	Datum value = column_of(row, descriptor, "keep_warm_role", &is_null);
	const char *name = is_null ? NULL : NameStr(*DatumGetName(value));
	Oid role = is_null ? InvalidOid : get_role_oid(name, superuser());
	HeapTuple tuple;

	if (!OidIsValid(role))
		return;
	if (!has_privs_of_role(GetUserId(), role) || !cg_can_set_role(GetUserId(), role))
		refuse_warm_role(name, ERRCODE_INSUFFICIENT_PRIVILEGE,
						 "You do not have the rights of that role.");
	if (superuser_arg(role))
		refuse_warm_role(name, ERRCODE_INVALID_PARAMETER_VALUE,
						 "It is a superuser, and loaders of caches are not run in the "
						 "background by one.");
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	if (HeapTupleIsValid(tuple))
	{
		bool can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

		ReleaseSysCache(tuple);
		if (!can_login)
			refuse_warm_role(name, ERRCODE_INVALID_PARAMETER_VALUE, "It may not log in.");
	}
}

static void
updated(const char *old_name, const char *new_name, const StoreLimits *limits)
{
	if (strcmp(old_name, new_name) == 0)
		cg_cache_policy_changed(new_name, limits);
	else
	{
		cg_cache_policy_dropped(old_name);
		cg_cache_policy_created(new_name, limits);
	}
}

/* AFTER ROW on cachegrid.cache: the policies of old and new name end. */
Datum
cachegrid_cache_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc descriptor;
	HeapTuple row;
	const char *name;
	StoreLimits limits;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" must be called as a trigger", "cache_changed"),
				errdetail("It is the trigger of table cachegrid.cache."),
				errhint("Call cachegrid.alter_cache to change a cache."));
	descriptor = RelationGetDescr(trigger->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
													 : trigger->tg_trigtuple;
	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		check_lending(row, descriptor);
		check_warm_role(row, descriptor);
	}
	if (!cg_store_attached())
		return PointerGetDatum(NULL);
	name = name_of(trigger->tg_trigtuple, descriptor);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		cg_cache_policy_dropped(name);
		return PointerGetDatum(NULL);
	}
	limits = limits_of(row, descriptor);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		cg_cache_policy_created(name, &limits);
	else
		updated(name, name_of(trigger->tg_newtuple, descriptor), &limits);
	return PointerGetDatum(NULL);
}
