/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Checks keys and tags, and finds their prefix.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/key.h"

/* False if the name is empty or too long: then *key is unset. */
bool
cg_key_init(CacheKey *key, const char *data, Size size)
{
	const char *colon;

	if (size < 1 || size > CG_KEY_MAX_BYTES)
		return false;

	colon = memchr(data, ':', size);
	key->data = data;
	key->size = size;
	key->prefix_size = colon ? colon - data : 0;
	return true;
}

int
cg_key_compare(const CacheKey *a, const CacheKey *b)
{
	int order = memcmp(a->data, b->data, Min(a->size, b->size));

	return order != 0 ? order : a->size - b->size;
}

static CacheKey
checked_name(const char *what, const char *data, Size size)
{
	CacheKey key;

	if (!cg_key_init(&key, data, size))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				size == 0 ? errmsg("%s must not be empty", what)
						  : errmsg("%s is too long", what),
				errdetail("The %s has %zu bytes; 1 to %d are allowed.", what, size,
						  CG_KEY_MAX_BYTES),
				size == 0 ? errhint("Write a %s like \"product:42\".", what)
						  : errhint("Put a hash in the place of what makes it long, for "
									"example by md5()."));
	return key;
}

/* Raises an error for a NULL where a key, or a tag, must be. */
void
cg_key_refuse_null(const char *what)
{
	ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			errmsg("%s must not be null", what),
			errdetail("A %s is a text of 1 to %d bytes.", what, CG_KEY_MAX_BYTES),
			errhint("Write a %s like \"product:42\".", what));
}

/* The key points into the text.  Raises an error if it is no valid key. */
CacheKey
cg_key_from_text(const text *name)
{
	return checked_name("key", VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

/* The same for a tag. */
CacheKey
cg_tag_from_text(const text *name)
{
	return checked_name("tag", VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}
