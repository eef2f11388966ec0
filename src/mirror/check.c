/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Can a table be mirrored?
 *
 * A partitioned one as a whole, with all its partitions: rows move among them, and
 * their triggers are those of the root.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

static void
check_kind(Relation relation)
{
	const char *name = RelationGetRelationName(relation);

	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot mirror \"%s\"", name),
				errdetail_relkind_not_supported(relation->rd_rel->relkind),
				errhint("Only ordinary and partitioned tables can be mirrored."));
	if (relation->rd_rel->relispartition)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot mirror partition \"%s\" by itself", name),
				errdetail("A row may leave it without a statement that names it."),
				errhint("Mirror the partitioned table that it is part of."));
	if (IsCatalogRelation(relation) ||
		RelationGetNamespace(relation) == get_namespace_oid("cachegrid", true))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot mirror \"%s\"", name),
				errdetail("It is a system table, or one of cachegrid's own."),
				errhint("Only tables of users can be mirrored."));
}

static void
check_persistence(Relation relation)
{
	const char *name = RelationGetRelationName(relation);

	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot mirror temporary table \"%s\"", name),
				errdetail("Its rows are visible to one session only."),
				errhint("Use a permanent table."));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot mirror unlogged table \"%s\"", name),
				errdetail("A crash empties it without leaving a trace."),
				errhint("Use ALTER TABLE ... SET LOGGED first."));
}

static void
check_partition(Relation relation, Relation partition)
{
	const char *name = RelationGetRelationName(relation);

	if (partition->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot mirror table \"%s\" with foreign partition \"%s\"", name,
					   RelationGetRelationName(partition)),
				errdetail("Its rows may change without a statement on this server."),
				errhint("Detach it first."));
	if (partition->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot mirror table \"%s\" with unlogged partition \"%s\"", name,
					   RelationGetRelationName(partition)),
				errdetail("A crash empties it without leaving a trace."),
				errhint("Use ALTER TABLE ... SET LOGGED on it first."));
}

static void
check_partitions(Relation relation)
{
	ListCell *cell;

	if (relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	foreach (cell, find_all_inheritors(RelationGetRelid(relation), AccessShareLock, NULL))
	{
		Relation partition = relation_open(lfirst_oid(cell), NoLock);

		check_partition(relation, partition);
		relation_close(partition, NoLock);
	}
}

/*
 * Is it a table that can be mirrored, and the current user's?  Raises an error that
 * says why not.  The relation is locked; its partitions get locked in ACCESS SHARE
 * mode, to the end of the transaction.
 */
void
cg_mirror_check_table(Relation relation)
{
	check_kind(relation);
	check_persistence(relation);
	if (!object_ownercheck(RelationRelationId, RelationGetRelid(relation), GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE,
					   RelationGetRelationName(relation));
	check_partitions(relation);
}
