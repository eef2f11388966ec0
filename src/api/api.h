/*-------------------------------------------------------------------------
 *
 * api.h
 *	  What the SQL-callable functions share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_API_H
#define CACHEGRID_API_H

#include "fmgr.h"

#include "cache/cache.h"

/* Functions in arguments.c: read the arguments of the call, or raise errors */
extern Datum cg_api_required(FunctionCallInfo fcinfo, int argument, const char *name,
							 const char *hint);
extern CacheKey cg_api_key(FunctionCallInfo fcinfo, int argument);
extern int64 cg_api_ttl(FunctionCallInfo fcinfo, int argument, const CacheKey *key);
extern int cg_api_names(FunctionCallInfo fcinfo, int argument, bool tags,
						CacheKey **names);
extern void cg_api_value(FunctionCallInfo fcinfo, int argument, CacheValue *value);
extern text *cg_api_value_to_text(const CacheValue *value);

#endif /* CACHEGRID_API_H */
