/*-------------------------------------------------------------------------
 *
 * pins.c
 *	  Finds the columns that a query's WHERE pins to a value.
 *
 * A column is pinned if "column = expression of constants and parameters"
 * stands in the AND-list of the WHERE of the query level that reads the
 * relation.  Whatever else that level does, joins of all kinds included, a
 * row with another value there cannot change its result.  A watched table
 * reports a changed row under the key that its template makes of the old and
 * of the new row; if all columns of a template are pinned, to values that
 * make exactly the fetched key, every change that matters comes by that key.
 *
 * So equality must be that of the key's text: the type's own operator, or
 * one between integers, under a deterministic collation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "load/pins.h"

/* A pinning in the making. */
typedef struct PinSearch
{
	Index rtindex;
	TupleDesc desc;
	const LoadArguments *arguments;
	LoadPins *pins;
} PinSearch;

static Node *
strip_relabel(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* Does "column operator value" hold for equal texts only, and for all of them? */
static bool
is_equality_of_text(const OpExpr *operator, Oid column_type, Oid value_type)
{
	TypeCacheEntry *type;

	if (OidIsValid(operator->inputcollid) &&
		!get_collation_isdeterministic(operator->inputcollid))
		return false;

	type = lookup_type_cache(column_type, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	if (is_integer(column_type) && is_integer(value_type))
		return get_op_opfamily_strategy(operator->opno, type->btree_opf) ==
			   BTEqualStrategyNumber;
	if (operator->opno != type->eq_opr)
		return false;
	return value_type == column_type ||
		   ((column_type == TEXTOID || column_type == VARCHAROID) &&
			(value_type == TEXTOID || value_type == VARCHAROID));
}

/* True if it has anything in it but constants, parameters and calls of functions. */
static bool
varies(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Const:
		case T_List:
		case T_FuncExpr:
		case T_OpExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_CoalesceExpr:
			return expression_tree_walker(node, varies, context);
		case T_Param:
			return ((Param *) node)->paramkind != PARAM_EXTERN;
		default:
			return true;
	}
}

static ParamListInfo
make_parameters(const LoadArguments *arguments)
{
	ParamListInfo parameters = makeParamList(arguments->count);

	for (int i = 0; i < arguments->count; i++)
	{
		parameters->params[i].value = arguments->values[i];
		parameters->params[i].isnull = arguments->nulls[i] == 'n';
		parameters->params[i].pflags = PARAM_FLAG_CONST;
		parameters->params[i].ptype = arguments->types[i];
	}
	return parameters;
}

static Datum
evaluate_by_executor(Node *expression, const LoadArguments *arguments, bool *isnull)
{
	Oid type = exprType(expression);
	EState *estate = CreateExecutorState();
	int16 size;
	bool by_value;
	Datum value;

	estate->es_param_list_info = make_parameters(arguments);
	value = ExecEvalExprSwitchContext(
		ExecPrepareExpr((Expr *) copyObject(expression), estate),
		GetPerTupleExprContext(estate), isnull);
	get_typlenbyval(type, &size, &by_value);
	if (!*isnull)
		value = datumCopy(value, by_value, size);
	FreeExecutorState(estate);
	return value;
}

static Datum
evaluate(Node *expression, const LoadArguments *arguments, bool *isnull)
{
	if (IsA(expression, Const))
	{
		*isnull = ((Const *) expression)->constisnull;
		return ((Const *) expression)->constvalue;
	}
	if (IsA(expression, Param))
	{
		int i = ((Param *) expression)->paramid - 1;

		*isnull = arguments->nulls[i] == 'n';
		return arguments->values[i];
	}
	return evaluate_by_executor(expression, arguments, isnull);
}

/* An integer of one width as one of another; false if it does not fit. */
static bool
convert_integer(Datum *value, Oid from, Oid to)
{
	int64 number = from == INT2OID	 ? DatumGetInt16(*value)
				   : from == INT4OID ? DatumGetInt32(*value)
									 : DatumGetInt64(*value);

	if ((to == INT2OID && number != (int16) number) ||
		(to == INT4OID && number != (int32) number))
		return false;
	*value = to == INT2OID	 ? Int16GetDatum((int16) number)
			 : to == INT4OID ? Int32GetDatum((int32) number)
							 : Int64GetDatum(number);
	return true;
}

/* If the column is one of the relation's, remember what it is pinned to. */
static void
pin_column(PinSearch *search, const OpExpr *operator, Node * column, Node *expression)
{
	Var *var = (Var *) strip_relabel(column);
	Oid column_type;
	Oid value_type;
	Datum value;
	bool isnull;

	if (!IsA(var, Var) || var->varno != search->rtindex || var->varlevelsup != 0 ||
		var->varattno <= 0 || !search->pins->nulls[var->varattno - 1])
		return;
	expression = strip_relabel(expression);
	column_type = getBaseType(TupleDescAttr(search->desc, var->varattno - 1)->atttypid);
	value_type = getBaseType(exprType(expression));
	if (!is_equality_of_text(operator, column_type, value_type) ||
		varies(expression, NULL) || contain_mutable_functions(expression))
		return;

	value = evaluate(expression, search->arguments, &isnull);
	if (isnull ||
		(is_integer(column_type) && !convert_integer(&value, value_type, column_type)))
		return;
	search->pins->values[var->varattno - 1] = value;
	search->pins->nulls[var->varattno - 1] = false;
}

static void
pin_condition(PinSearch *search, Node *condition)
{
	ListCell *cell;

	if (condition && IsA(condition, BoolExpr) &&
		((BoolExpr *) condition)->boolop == AND_EXPR)
	{
		foreach (cell, ((BoolExpr *) condition)->args)
			pin_condition(search, lfirst(cell));
	}
	else if (condition && IsA(condition, OpExpr) &&
			 list_length(((OpExpr *) condition)->args) == 2)
	{
		OpExpr *operator=(OpExpr *) condition;

		pin_column(search, operator, linitial(operator->args), lsecond(operator->args));
		pin_column(search, operator, lsecond(operator->args), linitial(operator->args));
	}
}

LoadPins *
cg_load_pins_find(const Query *level, Index rtindex, Relation relation,
				  const LoadArguments *arguments)
{
	TupleDesc desc = RelationGetDescr(relation);
	LoadPins *pins = palloc(sizeof(LoadPins));
	PinSearch search = {
		.rtindex = rtindex, .desc = desc, .arguments = arguments, .pins = pins};

	pins->column_count = desc->natts;
	pins->values = palloc0_array(Datum, desc->natts + 1);
	pins->nulls = palloc_array(bool, desc->natts + 1);
	memset(pins->nulls, true, desc->natts + 1);
	pin_condition(&search, level->jointree->quals);
	return pins;
}

/*
 * A template without a prefix is not asked: a change of the whole table
 * reaches its keys by their prefix, and these could have any.
 */
bool
cg_load_pins_render_to(const LoadPins *pins, const CaptureTemplate *template,
					   const CacheKey *key)
{
	char buffer[CG_KEY_MAX_BYTES];
	int size;

	if (template->prefix_size != key->prefix_size)
		return false;
	size = cg_capture_render_values(template, pins->values, pins->nulls, buffer);
	return size == key->size && memcmp(buffer, key->data, size) == 0;
}
