/*-------------------------------------------------------------------------
 *
 * token.c
 *	  Fills as tokens, for loaders outside of SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "cache/cache_internal.h"

/*
 * A token: key, its gen, entry's id, dead or not, then dependencies and gens,
 * in hexadecimal.  Written for programs outside to give back, not to read.
 * Gens start at random, so no token survives a restart.
 */
#define TOKEN_WORDS_FIXED 5

char *
cg_cache_fill_to_token(CacheFill *fill)
{
	int count = fill->builder.meta.gen_count;
	uint64 words[TOKEN_WORDS_FIXED] = {fill->key, fill->key_gen, fill->entry_id,
									   fill->dead ? 1 : 0, count};
	Size fixed = sizeof(words);
	Size gens = count * sizeof(DependencyGen);
	char *bytes = palloc(fixed + gens);
	char *token = palloc(2 * (fixed + gens) + 1);

	memcpy(bytes, words, fixed);
	memcpy(bytes + fixed, fill->builder.gens, gens);
	token[hex_encode(bytes, fixed + gens, token)] = '\0';
	cg_fill_end(fill);
	return token;
}

/* Every hexadecimal digit in pairs, and room for the fixed words. */
static bool
token_is_wellformed(const char *token, Size length)
{
	return length % (2 * sizeof(uint64)) == 0 &&
		   length >= 2 * TOKEN_WORDS_FIXED * sizeof(uint64) &&
		   length <= 4 * CG_STORE_META_MAX && strspn(token, "0123456789abcdef") == length;
}

/* No dependency is of kind 0. */
static bool
token_names_dependencies(const uint64 *words)
{
	for (uint64 i = 0; i < words[4]; i++)
		if (cg_dependency_kind(words[TOKEN_WORDS_FIXED + 2 * i]) == 0)
			return false;
	return true;
}

/* Whatever a token says, no entry may outlive its cache. */
static bool
covers_home(const CacheFill *fill, const CacheKey *key)
{
	Dependency home[2];
	int count = cg_policy_home(cg_cache_policy(key), key, home);

	for (int i = 0; i < count; i++)
		if (!cg_meta_covers(&fill->builder, home[i]))
			return false;
	return true;
}

CacheFill *
cg_cache_fill_from_token(const CacheKey *key, const char *token)
{
	Size length = strlen(token);
	Dependency dependency = cg_dependency_of_key(key);
	CacheFill *fill;
	uint64 *words;

	if (!token_is_wellformed(token, length))
		return NULL;
	words = palloc(length / 2);
	hex_decode(token, length, (char *) words);
	if (words[0] != dependency ||
		words[4] != (length / 2 / sizeof(uint64) - TOKEN_WORDS_FIXED) / 2 ||
		!token_names_dependencies(words))
		return NULL;

	fill = cg_fill_make(key, dependency, 0);
	fill->key_gen = words[1];
	fill->entry_id = words[2];
	fill->dead = words[3] != 0;
	for (uint64 i = 0; i < words[4]; i++)
		cg_meta_add_gen(&fill->builder, words[TOKEN_WORDS_FIXED + 2 * i],
						words[TOKEN_WORDS_FIXED + 2 * i + 1]);
	if (covers_home(fill, key))
		return fill;
	cg_fill_free(fill);
	return NULL;
}
