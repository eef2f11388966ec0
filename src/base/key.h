/*-------------------------------------------------------------------------
 *
 * key.h
 *	  Keys and tags: texts of 1 to 512 bytes, and their prefix, the part
 *	  before the first ':'.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_KEY_H
#define CACHEGRID_KEY_H

#include "fmgr.h"

#define CG_KEY_MAX_BYTES 512

/*
 * A key or a tag.  The bytes belong to whoever made it and carry no
 * terminator.  A name without ':' has the empty prefix.
 */
typedef struct CacheKey
{
	const char *data;
	uint16 size;		/* bytes, 1 to CG_KEY_MAX_BYTES */
	uint16 prefix_size; /* bytes before the first ':', 0 if there is none */
} CacheKey;

/* Functions in key.c */
extern bool cg_key_init(CacheKey *key, const char *data, Size size);
/* By their bytes: less than 0, 0, or more. */
extern int cg_key_compare(const CacheKey *a, const CacheKey *b);
extern CacheKey cg_key_from_text(const text *name);
extern CacheKey cg_tag_from_text(const text *name);
extern void cg_key_refuse_null(const char *what);

#endif /* CACHEGRID_KEY_H */
