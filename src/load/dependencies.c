/*-------------------------------------------------------------------------
 *
 * dependencies.c
 *	  Finds what the value of a query follows from, in its rewritten tree:
 *	  views expanded, row-level security put in.
 *
 * For each relation that a query level reads:
 *	by key or tag	it is watched, and the level pins the columns of a
 *					template to the fetched key, or to a tag of the entry
 *					(pins.c): nothing is recorded, changes come by that name;
 *	whole			it is watched otherwise, or a materialized view: the relation
 *					is recorded;
 *	unwatched		its changes go unnoticed: recorded too, so that a later
 *					watch ends the entry, but cached for a ttl only.
 * Tables that only the plan knows, children by inheritance and those inside
 * of inlined functions, count whole.
 *
 * The tree is asked after the plan has locked its tables.  That what we know of
 * their triggers is true, the fill has made sure when it began.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "capture/capture.h"
#include "coherence/coherence.h"
#include "load/dependencies.h"
#include "load/pins.h"

/* A walk through a query's tree. */
typedef struct DependencyWalk
{
	const LoadArguments *arguments;
	const LoadTarget *target;
	LoadDependencies *found;
	List *seen; /* oids of the relations in the tree */
} DependencyWalk;

static void
add_relation(DependencyWalk *walk, Oid relation)
{
	walk->found->relations = list_append_unique_oid(walk->found->relations, relation);
}

static bool
is_reached_by_name(const DependencyWalk *walk, const CaptureSpec *spec,
				   const LoadPins *pins)
{
	for (int i = 0; i < spec->key_count && walk->target->key; i++)
		if (cg_load_pins_render_to(pins, spec->keys[i], walk->target->key))
			return true;
	for (int i = 0; i < spec->tag_count; i++)
		for (int tag = 0; tag < walk->target->tag_count; tag++)
			if (cg_load_pins_render_to(pins, spec->tags[i], &walk->target->tags[tag]))
				return true;
	return false;
}

/* It and its ancestors: a later watch on any of them ends the entry. */
static void
add_unwatched(DependencyWalk *walk, Relation relation)
{
	ListCell *cell;

	add_relation(walk, RelationGetRelid(relation));
	if (relation->rd_rel->relispartition)
		foreach (cell, get_partition_ancestors(RelationGetRelid(relation)))
			add_relation(walk, lfirst_oid(cell));
	if (!walk->found->unwatched)
		walk->found->unwatched = pstrdup(RelationGetRelationName(relation));
}

/* What is stored outside, or not as rows that a transaction changes. */
static bool
can_be_watched(Relation relation)
{
	return (relation->rd_rel->relkind == RELKIND_RELATION ||
			relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) &&
		   RelationGetRelid(relation) >= FirstNormalObjectId;
}

/*
 * Between the two halves of a concurrent detachment, or for good if the second
 * fails, it depends on the snapshot whether a plan has the partition, and a
 * plan that is kept has it by the snapshot that it was made under.
 */
static void
note_detachment(DependencyWalk *walk, Relation relation)
{
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		RelationGetPartitionDesc(relation, false)->detached_exist)
		walk->found->detaching = true;
}

/* Its rows change by commands only, which report them without a watch. */
static bool
is_stored_by_command(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_MATVIEW;
}

/* Level is NULL for a relation that the tree does not show. */
static void
add_table(DependencyWalk *walk, Relation relation, const Query *level, Index rtindex)
{
	CaptureSpec *spec = can_be_watched(relation) ? cg_capture_spec(relation) : NULL;

	if (is_stored_by_command(relation))
	{
		add_relation(walk, RelationGetRelid(relation));
		return;
	}
	if (!spec)
	{
		add_unwatched(walk, relation);
		return;
	}
	if (level &&
		is_reached_by_name(walk, spec,
						   cg_load_pins_find(level, rtindex, relation, walk->arguments)))
		return;
	add_relation(walk, spec->root);
	add_relation(walk, RelationGetRelid(relation));
}

/* A view's own slot is recorded for the day that it is replaced. */
static void
visit_relation(DependencyWalk *walk, Oid oid, const Query *level, Index rtindex)
{
	Relation relation = relation_open(oid, AccessShareLock);

	walk->seen = list_append_unique_oid(walk->seen, oid);
	note_detachment(walk, relation);
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP &&
		!walk->found->temporary)
		walk->found->temporary = pstrdup(RelationGetRelationName(relation));
	if (relation->rd_rel->relkind == RELKIND_VIEW)
		add_relation(walk, oid);
	else
		add_table(walk, relation, level, rtindex);
	relation_close(relation, NoLock);
}

/* A table or a view; since PostgreSQL 16 a view's subquery says itself whose it is. */
static bool
is_of_relation(const RangeTblEntry *entry)
{
	return entry->rtekind == RTE_RELATION ||
		   (entry->rtekind == RTE_SUBQUERY && OidIsValid(entry->relid));
}

static void
visit_level(DependencyWalk *walk, const Query *level)
{
	Index rtindex = 0;
	ListCell *cell;

	walk->found->row_security |= level->hasRowSecurity;
	walk->found->locks_rows |= level->rowMarks != NIL;
	foreach (cell, level->rtable)
	{
		RangeTblEntry *entry = lfirst(cell);

		rtindex++;
		if (is_of_relation(entry))
			visit_relation(walk, entry->relid, level, rtindex);
	}
}

static bool
visit_node(Node *node, void *context)
{
	DependencyWalk *walk = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		visit_level(walk, (Query *) node);
		return query_tree_walker((Query *) node, visit_node, context, 0);
	}
	cg_load_purity_of_node(node, &walk->found->purity);
	if (IsA(node, FuncExpr))
		node = (Node *) cg_load_call_arguments((FuncExpr *) node);
	return expression_tree_walker(node, visit_node, context);
}

static bool
is_partition_of_seen(const DependencyWalk *walk, Oid oid)
{
	List *ancestors = get_rel_relispartition(oid) ? get_partition_ancestors(oid) : NIL;
	ListCell *cell;

	foreach (cell, ancestors)
		if (list_member_oid(walk->seen, lfirst_oid(cell)))
			return true;
	return false;
}

/*
 * Partitions report under their root, unless they are foreign tables or their
 * own triggers are disabled.
 */
static void
visit_partition(DependencyWalk *walk, Oid oid)
{
	Relation relation = relation_open(oid, AccessShareLock);

	note_detachment(walk, relation);
	if (!can_be_watched(relation) || !cg_capture_spec(relation))
		add_unwatched(walk, relation);
	relation_close(relation, NoLock);
}

static void
visit_plan(DependencyWalk *walk, const PlannedStmt *plan)
{
	ListCell *cell;

	foreach (cell, plan->rtable)
	{
		RangeTblEntry *entry = lfirst(cell);

		if (!is_of_relation(entry) || list_member_oid(walk->seen, entry->relid))
			continue;
		if (is_partition_of_seen(walk, entry->relid))
			visit_partition(walk, entry->relid);
		else
			visit_relation(walk, entry->relid, NULL, 0);
	}
}

LoadDependencies *
cg_load_dependencies_find(LoadQuery *query, const LoadArguments *arguments,
						  const LoadTarget *target)
{
	DependencyWalk walk = {.arguments = arguments, .target = target};
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(query->plan));
	CachedPlan *plan;
	ListCell *cell;

	walk.found = palloc0(sizeof(LoadDependencies));
	if (query->moving_literal || arguments->moving_literal)
		walk.found->purity.moving = "a date or time that follows from the current one";

	/* This locks the tables, and analyzes the query again if they have changed. */
	plan = SPI_plan_get_cached_plan(query->plan);
	if (!plan || list_length(source->query_list) != 1)
		elog(ERROR, "query has no plan");
	(void) visit_node((Node *) linitial(source->query_list), &walk);
	foreach (cell, plan->stmt_list)
		visit_plan(&walk, lfirst_node(PlannedStmt, cell));
	ReleaseCachedPlan(plan, source->is_saved ? CurrentResourceOwner : NULL);
	return walk.found;
}

/* What must not be cached at all: it differs from session to session. */
static void
check_session(const LoadDependencies *dependencies)
{
	const LoadPurity *purity = &dependencies->purity;

	if (purity->session)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("query to be cached must not use %s", purity->session),
				errdetail("Its value would be served to other sessions too."),
				errhint("Give its value as an argument."));
	if (dependencies->row_security && (purity->moving || purity->opaque))
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("query under row-level security must not use %s",
					   purity->moving ? purity->moving : purity->opaque),
				errdetail("Who may see its value would depend on more than the role."),
				errhint("Give its value as an argument."));
}

static void
refuse_without_ttl(const char *what, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("query to be cached without a ttl must not use %s", what),
			errdetail("The value can change although no watched table does."),
			errhint("%s", hint));
}

static void
check_watched(const LoadDependencies *dependencies)
{
	if (dependencies->unwatched)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation \"%s\" is not watched", dependencies->unwatched),
				errdetail("The query reads it, and its changes would go unnoticed."),
				errhint("Put it under cachegrid.watch(), or give a ttl."));
}

void
cg_load_dependencies_check(const LoadDependencies *dependencies, const LoadTarget *target,
						   bool has_ttl)
{
	const LoadPurity *purity = &dependencies->purity;

	if (dependencies->locks_rows)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("query to be cached must not lock rows"),
				errdetail("A hit would lock none."),
				errhint("Leave out FOR UPDATE and its like."));
	if (dependencies->temporary)
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("temporary relation \"%s\" cannot be cached", dependencies->temporary),
			errdetail("Other sessions have no such relation, or another one."),
			errhint("Use a permanent or an unlogged table."));
	if (!has_ttl)
		check_watched(dependencies);
	check_session(dependencies);
	if (!has_ttl && purity->moving)
		refuse_without_ttl(purity->moving,
						   "Give a ttl, or give its value as an argument.");
	if (!has_ttl && purity->opaque && target->tag_count == 0)
		refuse_without_ttl(
			purity->opaque,
			"Give a ttl, or name tags that are invalidated when its result "
			"changes, or mark it IMMUTABLE if it reads no tables.");
}

bool
cg_load_dependencies_record(const LoadDependencies *dependencies, CacheFill *fill)
{
	ListCell *cell;

	if (dependencies->detaching ||
		!cg_cache_fill_depend(fill, cg_dependency(DEPENDENCY_PRIVILEGES, "", 0)))
		return false;
	foreach (cell, dependencies->relations)
	{
		Oid relation = lfirst_oid(cell);

		if (!cg_cache_fill_depend(fill, cg_dependency_of_relation(relation)) ||
			(cg_cache_fill_lingers(fill) &&
			 !cg_cache_fill_depend(fill, cg_dependency_of_definition(relation))))
			return false;
	}
	return true;
}
