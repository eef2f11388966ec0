/*-------------------------------------------------------------------------
 *
 * place.c
 *	  Can the changes of a relation be captured, where it stands?
 *
 * Only those of ordinary and partitioned tables.  A statement on a parent
 * table changes rows of its children without firing their statement triggers,
 * and a row of the parent and one of a child may be equal in all columns of a
 * key: so not those of inheritance trees; and partitions are captured by
 * their root, never by themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"

#include "capture/place.h"

static void
check_kind(Relation relation)
{
	const char *name = RelationGetRelationName(relation);

	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot capture changes of relation \"%s\"", name),
				errdetail_relkind_not_supported(relation->rd_rel->relkind),
				errhint("Name the tables that it takes its rows from."));
	if (IsSystemRelation(relation) || RelationGetRelid(relation) < FirstNormalObjectId ||
		RelationGetNamespace(relation) == get_namespace_oid("cachegrid", true))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot capture changes of relation \"%s\"", name),
				errdetail("It belongs to the system."),
				errhint("Only tables of users can be watched and mirrored."));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(
			ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("cannot capture changes of temporary table \"%s\"", name),
			errdetail("The cache is shared, a temporary table belongs to one session."),
			errhint("Use a permanent or an unlogged table."));
}

static void
check_family(Relation relation)
{
	const char *name = RelationGetRelationName(relation);
	Oid relid = RelationGetRelid(relation);

	if (relation->rd_rel->relispartition)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot capture changes of partition \"%s\" by itself", name),
				errdetail("A row may leave it without a statement that names it."),
				errhint("Watch or mirror the partitioned table that it is part of."));
	if (relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
		(has_superclass(relid) || find_inheritance_children(relid, NoLock) != NIL))
		ereport(
			ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("cannot capture changes of table \"%s\" in an inheritance tree", name),
			errdetail("A statement on a parent table changes its children without "
					  "firing their statement triggers."),
			errhint("Use a partitioned table, or end the inheritance with ALTER TABLE "
					"... NO INHERIT."));
}

void
cg_place_check(Relation relation)
{
	check_kind(relation);
	check_family(relation);
}

List *
cg_place_parents(Oid relation)
{
	Relation catalog = table_open(InheritsRelationId, AccessShareLock);
	List *parents = NIL;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return parents;
}

List *
cg_place_ancestors(Oid partition)
{
	List *ancestors = NIL;
	List *parents;

	while ((parents = cg_place_parents(partition)) != NIL)
	{
		partition = linitial_oid(parents);
		ancestors = lappend_oid(ancestors, partition);
	}
	return ancestors;
}
