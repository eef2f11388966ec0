/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The one place that tells PostgreSQL versions apart.
 *
 * Wrappers carry the name and the signature of the newest version, so that no
 * other file needs to know which one it is built against.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_COMPAT_H
#define CACHEGRID_COMPAT_H

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#if PG_VERSION_NUM < 150000
#error "cachegrid needs PostgreSQL 15 or later"
#endif

#endif /* CACHEGRID_COMPAT_H */
