/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  By whose rights a loader runs.
 *
 * By the caller's, unless the cache lends those of a role.  Then everything, the lookup
 * too, is done as that role: so there is one value for all who may fetch it.  As in a
 * function with SECURITY DEFINER, the role cannot be changed meanwhile, and the search
 * path is not the caller's, who could have it find his objects (pinning.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/syscache.h"

#include "load/running.h"

void
cg_load_rights_begin(LoadCaller *caller, Oid role)
{
	GetUserIdAndSecContext(&caller->role, &caller->security_context);
	if (!OidIsValid(role))
		return;
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role with OID %u does not exist", role),
				errdetail("The cache's loader is to run by its rights."),
				errhint("Name another role by \"run_as\" of cachegrid.alter_cache()."));
	SetUserIdAndSecContext(role, caller->security_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
cg_load_rights_end(const LoadCaller *caller)
{
	SetUserIdAndSecContext(caller->role, caller->security_context);
}
