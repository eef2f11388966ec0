/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Values of any type, flattened for the store and restored from it.
 *
 * A value is kept as its type's datum in one piece: eight bytes by value,
 * the bytes themselves, or a varlena's body, decompressed and without its
 * header.  Nothing is converted to text, so a jsonb comes back without
 * parsing.
 *
 * A composite type may be altered while values of it stand in the cache.  So
 * the shape of the type when a value was put is kept beside it, and a value
 * of another shape is not restored: reading it by today's would read
 * nonsense.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "cache/cache_internal.h"

static uint32 shape_of_type(Oid type, List **seen);

static uint32
shape_of_row(Oid type, List **seen)
{
	TupleDesc descriptor = lookup_rowtype_tupdesc(type, -1);
	uint32 shape = 1;

	*seen = lappend_oid(*seen, type);
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		uint32 column = attribute->attisdropped
							? 0
							: hash_combine(attribute->atttypid, attribute->atttypmod);

		shape = hash_combine(shape, column);
		if (!attribute->attisdropped)
			shape = hash_combine(shape, shape_of_type(attribute->atttypid, seen));
	}
	ReleaseTupleDesc(descriptor);
	return shape | 1;
}

/*
 * 0 for what cannot change under us: everything without a composite in it.  A
 * composite that was seen counts once, or those of many columns each would
 * take for ever.
 */
static uint32
shape_of_type(Oid type, List **seen)
{
	Oid base;
	Oid element;

	if (type < FirstNormalObjectId)
		return 0;
	check_stack_depth();
	base = getBaseType(type);
	element = get_element_type(base);
	if (OidIsValid(element))
		return shape_of_type(element, seen);
	switch (get_typtype(base))
	{
		case TYPTYPE_COMPOSITE:
			return list_member_oid(*seen, base) ? 1 : shape_of_row(base, seen);
		case TYPTYPE_RANGE:
			return shape_of_type(get_range_subtype(base), seen);
		case TYPTYPE_MULTIRANGE:
			return shape_of_type(get_multirange_range(base), seen);
		default:
			return 0;
	}
}

static uint32
shape_of(Oid type)
{
	List *seen = NIL;
	uint32 shape = shape_of_type(type, &seen);

	list_free(seen);
	return shape;
}

static void
refuse_type(Oid type)
{
	if (type == RECORDOID || type == RECORDARRAYOID)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot cache a value of an anonymous row type"),
				errdetail("Only this session knows its columns."),
				errhint("Cast the row to a named composite type."));
	if (get_typtype(type) == TYPTYPE_PSEUDO)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot cache a value of pseudo-type %s", format_type_be(type)),
				errdetail("Such values are for the arguments of functions."),
				errhint("Cast the value, for example to text."));
}

typedef struct TypeFacts
{
	Oid type;
	int16 length;
	bool by_value;
	uint32 shape;
} TypeFacts;

/* Built-in types never change, and sessions set one type again and again. */
static const TypeFacts *
facts_of_type(Oid type)
{
	static TypeFacts facts = {InvalidOid};

	if (type == facts.type && type < FirstNormalObjectId)
		return &facts;
	facts.type = InvalidOid;
	refuse_type(type);
	get_typlenbyval(type, &facts.length, &facts.by_value);
	facts.shape = shape_of(type);
	facts.type = type;
	return &facts;
}

static void
flatten_varlena(Datum datum, FlatValue *flat)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);

	flat->flags = STORE_VARLENA;
	flat->data = VARDATA_ANY(value);
	flat->size = VARSIZE_ANY_EXHDR(value);
}

/*
 * *flat points into the value or to memory palloc'd for it.  Raises an error
 * for types that cannot be kept and for values over CG_VALUE_MAX_BYTES.
 */
void
cg_value_flatten(const CacheValue *value, FlatValue *flat)
{
	const TypeFacts *type;

	memset(flat, 0, sizeof(*flat));
	flat->type = value->type;
	if (!OidIsValid(value->type))
	{
		flat->flags = STORE_NULL;
		flat->data = "";
		return;
	}
	type = facts_of_type(value->type);
	if (type->by_value)
	{
		flat->by_value = (int64) value->datum;
		flat->data = (const char *) &flat->by_value;
		flat->size = sizeof(flat->by_value);
	}
	else if (type->length == -1)
		flatten_varlena(value->datum, flat);
	else
	{
		flat->data = DatumGetPointer(value->datum);
		flat->size = type->length == -2 ? strlen(flat->data) + 1 : type->length;
	}
	flat->shape = type->shape;

	if (flat->size > CG_VALUE_MAX_BYTES)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("value is too large for the cache"),
				errdetail("The value has %u bytes; at most %d are allowed.", flat->size,
						  CG_VALUE_MAX_BYTES),
				errhint("Spread it over several keys."));
}

/*
 * The datum of a copied entry, taking over copy->value unless that is encoded; value
 * NULL: nobody wants it.  False if its type is no longer what it was.
 */
bool
cg_value_restore(uint16 cache, const StoreCopy *copy, uint32 shape, CacheValue *value)
{
	Oid type = copy->entry.type;
	char *data = copy->value;
	bool is_null = (copy->entry.flags & STORE_NULL) != 0;

	if (!is_null && type >= FirstNormalObjectId &&
		(!get_typisdefined(type) || (shape != 0 && shape != shape_of(type))))
		return false;
	if (value == NULL)
		return true;
	value->type = type;
	value->datum = (Datum) 0;
	if (is_null)
		return true;

	if (copy->entry.flags & STORE_ENCODED)
		data = cg_value_decompress(cache, copy);
	if (data == NULL)
		return false;
	if (copy->entry.flags & STORE_VARLENA || !get_typbyval(type))
		value->datum = PointerGetDatum(data);
	else
		value->datum = *(Datum *) data;
	return true;
}
