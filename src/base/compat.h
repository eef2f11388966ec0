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
#include "nodes/primnodes.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "cachegrid needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* This process's place among all that can have an xid, from 0. */
static inline int
cg_my_proc_number(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

/*
 * The next full xid to be assigned, or one assigned a moment ago.  Read
 * without XidGenLock where eight bytes are read at once: it only widens
 * other xids, and is never far from them.
 */
static inline uint64
cg_next_full_xid(void)
{
#ifndef PG_HAVE_8BYTE_SINGLE_COPY_ATOMICITY
	return U64FromFullTransactionId(ReadNextFullTransactionId());
#elif PG_VERSION_NUM >= 170000
	return ((volatile FullTransactionId *) &TransamVariables->nextXid)->value;
#else
	return ((volatile FullTransactionId *) &ShmemVariableCache->nextXid)->value;
#endif
}

/* Of older xids clog may not be asked any more.  For the startup process, which moves it. */
static inline TransactionId
cg_oldest_clog_xid(void)
{
#if PG_VERSION_NUM >= 170000
	return TransamVariables->oldestClogXid;
#else
	return ShmemVariableCache->oldestClogXid;
#endif
}

/* The number of this process's top-level transaction, with or without an xid. */
static inline LocalTransactionId
cg_local_transaction_id(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProc->vxid.lxid;
#else
	return MyProc->lxid;
#endif
}

/*
 * Macros, so that only who uses them needs the headers they stand on.
 *
 * object_ownercheck(), object_aclcheck(): 15 has a function for each class,
 * and only pg_class and pg_foreign_server are asked for here.
 * cg_enable_trigger() is ALTER TABLE ... ENABLE TRIGGER name, on the
 * relation's partitions, too.
 */
#if PG_VERSION_NUM >= 160000
#define cg_owns_database(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#define cg_enable_trigger(relation, name, fires_when)                         \
	EnableDisableTrigger(relation, name, InvalidOid, fires_when, false, true, \
						 ShareRowExclusiveLock)
#else
#define cg_owns_database(database, role)	   pg_database_ownercheck(database, role)
#define object_ownercheck(class, object, role) pg_class_ownercheck(object, role)
#define object_aclcheck(class, object, role, mode) \
	pg_foreign_server_aclcheck(object, role, mode)
#define cg_enable_trigger(relation, name, fires_when) \
	EnableDisableTrigger(relation, name, fires_when, false, ShareRowExclusiveLock)
#endif

/* May the member SET ROLE to the role?  Before 16 every member may. */
#if PG_VERSION_NUM >= 160000
#define cg_can_set_role(member, role) member_can_set_role(member, role)
#else
#define cg_can_set_role(member, role) is_member_of_role(member, role)
#endif

/* The names in a qualified name, of String nodes; raises an error if it is none. */
#if PG_VERSION_NUM >= 160000
#define cg_name_list(name) stringToQualifiedNameList((name), NULL)
#else
#define cg_name_list(name) stringToQualifiedNameList(name)
#endif

/* Before 16 a column that the other relation has not is always an error. */
#if PG_VERSION_NUM < 160000
#define build_attrmap_by_name(indesc, outdesc, missing_ok) \
	(AssertMacro(!(missing_ok)), build_attrmap_by_name((indesc), (outdesc)))
#endif

#if PG_VERSION_NUM < 170000

/* Before 17 only the very mode that is asked for counts. */
#define LockHeldByMe(locktag, lockmode, orstronger) \
	(AssertMacro(!(orstronger)), LockHeldByMe((locktag), (lockmode)))

/* Wait events have no names of ours before 17. */
static inline uint32
WaitEventExtensionNew(const char *wait_event_name)
{
	return PG_WAIT_EXTENSION;
}

/* Only for sets that no resource owner holds: they live until FreeWaitEventSet. */
#define CreateWaitEventSet(resowner, nevents) \
	(AssertMacro((resowner) == NULL), CreateWaitEventSet(TopMemoryContext, (nevents)))

#endif

#if PG_VERSION_NUM < 180000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/* Is it JSON_OBJECT() or another expression of SQL/JSON's own? */
static inline bool
cg_is_sql_json(const Node *node)
{
#if PG_VERSION_NUM >= 170000
	return IsA(node, JsonConstructorExpr) || IsA(node, JsonExpr);
#elif PG_VERSION_NUM >= 160000
	return IsA(node, JsonConstructorExpr);
#else
	return false;
#endif
}

#endif /* CACHEGRID_COMPAT_H */
