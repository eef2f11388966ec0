/*-------------------------------------------------------------------------
 *
 * strings.c
 *	  Several strings in one piece of memory, each behind its size.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "mirror/mirror_internal.h"

/* What is appended until the matching end is one string. */
int
cg_mirror_begin_string(StringInfo out)
{
	uint32 size = 0;
	int start = out->len;

	appendBinaryStringInfo(out, (const char *) &size, sizeof(size));
	return start;
}

void
cg_mirror_end_string(StringInfo out, int start)
{
	uint32 size = out->len - start - sizeof(size);

	memcpy(out->data + start, &size, sizeof(size));
}

/* The strings in size bytes, palloc'd; they point into data. */
RedisString *
cg_mirror_split_strings(const char *data, Size size, int *count)
{
	int limit = 64;
	RedisString *strings = palloc(limit * sizeof(RedisString));

	*count = 0;
	for (Size at = 0; at < size;)
	{
		uint32 length;

		memcpy(&length, data + at, sizeof(length));
		if (*count == limit)
		{
			limit *= 2;
			strings = repalloc(strings, limit * sizeof(RedisString));
		}
		strings[(*count)++] = (RedisString){data + at + sizeof(length), length};
		at += sizeof(length) + length;
	}
	return strings;
}
