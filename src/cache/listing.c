/*-------------------------------------------------------------------------
 *
 * listing.c
 *	  What may be said of an entry without reading its value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "cache/cache_internal.h"

bool
cg_cache_entry_is_dead(const StoreKey *key, const StoreEntry *entry)
{
	return !cg_meta_is_current(key, entry) && cg_linger_is_over(key, entry);
}

bool
cg_cache_entry_info(const StoreKey *key, const StoreEntry *entry, CacheEntryInfo *info)
{
	const EntryMeta *meta = (const EntryMeta *) entry->meta;
	const char *tag;
	Oid database;

	if (!cg_store_cache_name(key->cache, &database, &info->cache) ||
		database != MyDatabaseId || !cg_meta_is_current(key, entry))
		return false;

	info->expires_at = entry->expires_at;
	if (entry->meta_size > 0)
		info->expires_at = meta_fresh_until(meta, entry->expires_at);
	info->tag_count = 0;
	info->tags = NULL;
	if (entry->meta_size == 0)
		return true;

	tag = meta_tags(meta);
	info->tag_count = meta->tag_count;
	info->tags = palloc(Max(meta->tag_count, 1) * sizeof(CacheKey));
	for (int i = 0; i < meta->tag_count; i++)
	{
		uint16 size;

		memcpy(&size, tag, sizeof(size));
		(void) cg_key_init(&info->tags[i], tag + sizeof(size), size);
		tag += sizeof(size) + size;
	}
	return true;
}
