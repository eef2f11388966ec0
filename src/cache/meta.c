/*-------------------------------------------------------------------------
 *
 * meta.c
 *	  What an entry depends on, beside its value: made and judged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/cache_internal.h"

/* The builder's memory is of this context, as it grows. */
void
cg_meta_init(MetaBuilder *builder, MemoryContext context, uint64 identity, Oid role)
{
	memset(builder, 0, sizeof(*builder));
	builder->meta.identity = identity;
	builder->meta.role = role;
	builder->context = context;
	builder->gen_size = 8;
	builder->gens =
		MemoryContextAlloc(context, builder->gen_size * sizeof(DependencyGen));
}

/* Give back the builder's memory; it may be all zeros. */
void
cg_meta_free(MetaBuilder *builder)
{
	if (builder->gens)
		pfree(builder->gens);
	if (builder->tags)
		pfree(builder->tags);
}

/*
 * The first gen of a dependency counts: a later one may hide a change.  Where
 * the gens are too many for an entry already, more make no difference.
 */
void
cg_meta_add_gen(MetaBuilder *builder, Dependency dependency, uint64 gen)
{
	if (builder->meta.gen_count * sizeof(DependencyGen) > CG_STORE_META_MAX ||
		cg_meta_covers(builder, dependency))
		return;
	if (builder->meta.gen_count == builder->gen_size)
	{
		builder->gen_size *= 2;
		builder->gens =
			repalloc(builder->gens, builder->gen_size * sizeof(DependencyGen));
	}
	builder->gens[builder->meta.gen_count++] = (DependencyGen){dependency, gen};
}

/* The tag's name, for those who list entries; its gen is added apart. */
void
cg_meta_add_tag_name(MetaBuilder *builder, const CacheKey *tag)
{
	uint32 used = builder->meta.tag_bytes;
	uint16 size = tag->size;

	if (used > CG_STORE_META_MAX)
		return;
	if (builder->tags == NULL)
		builder->tags = MemoryContextAlloc(builder->context, used + sizeof(size) + size);
	else
		builder->tags = repalloc(builder->tags, used + sizeof(size) + size);
	memcpy(builder->tags + used, &size, sizeof(size));
	memcpy(builder->tags + used + sizeof(size), tag->data, size);
	builder->meta.tag_bytes += sizeof(size) + size;
	builder->meta.tag_count++;
}

/* Add the dependency as of now; is it settled in the snapshot, if there is one? */
static bool
add_now(MetaBuilder *builder, Dependency dependency, Snapshot snapshot)
{
	bool settled = false;
	uint64 gen;

	/* The gen must be the one that was found settled: a later one hides a stamp. */
	if (snapshot)
		settled = cg_coherence_settled(dependency, snapshot, &gen);
	else
		gen = cg_coherence_gen(dependency);
	cg_meta_add_gen(builder, dependency, gen);
	return settled;
}

/*
 * What an entry that somebody sets depends on, as of now: its home, its tags
 * and their prefixes.  Is all of it settled in the snapshot, which may be NULL?
 * Raises an error if the tags are too many.
 */
bool
cg_meta_add_set(MetaBuilder *builder, const CachePolicy *policy, const CacheKey *key,
				const CacheKey *tags, int tag_count, Snapshot snapshot)
{
	Dependency home[2];
	int count = cg_policy_home(policy, key, home);
	bool settled = true;

	for (int i = 0; i < count; i++)
		settled &= add_now(builder, home[i], snapshot);
	for (int i = 0; i < tag_count; i++)
	{
		settled &= add_now(builder, cg_dependency_of_tag(&tags[i]), snapshot);
		settled &= add_now(builder, cg_dependency_of_tag_prefix(&tags[i]), snapshot);
		cg_meta_add_tag_name(builder, &tags[i]);
	}
	if (cg_meta_size(builder) > CG_STORE_META_MAX)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many tags"),
				errdetail("The tags of one entry may take about %d bytes together.",
						  CG_STORE_META_MAX),
				errhint("Let one tag stand for several of them."));
	return settled;
}

/* Is the dependency among those whose gen was added? */
bool
cg_meta_covers(const MetaBuilder *builder, Dependency dependency)
{
	for (int i = 0; i < builder->meta.gen_count; i++)
		if (builder->gens[i].dependency == dependency)
			return true;
	return false;
}

/* Bytes that the finished meta takes; the store takes CG_STORE_META_MAX. */
Size
cg_meta_size(const MetaBuilder *builder)
{
	Size grace = builder->meta.flags & META_GRACE ? sizeof(EntryGrace) : 0;
	Size linger = builder->meta.flags & META_LINGERS ? sizeof(EntryLinger) : 0;

	return sizeof(EntryMeta) + grace + linger +
		   builder->meta.gen_count * sizeof(DependencyGen) + builder->meta.tag_bytes;
}

/* The meta in one piece, palloc'd. */
char *
cg_meta_finish(const MetaBuilder *builder)
{
	Size gens = builder->meta.gen_count * sizeof(DependencyGen);
	char *meta = palloc(cg_meta_size(builder));
	char *to = meta + sizeof(EntryMeta);

	memcpy(meta, &builder->meta, sizeof(EntryMeta));
	if (builder->meta.flags & META_GRACE)
	{
		memcpy(to, &builder->grace, sizeof(EntryGrace));
		to += sizeof(EntryGrace);
	}
	if (builder->meta.flags & META_LINGERS)
	{
		memcpy(to, &builder->linger, sizeof(EntryLinger));
		to += sizeof(EntryLinger);
	}
	memcpy(to, builder->gens, gens);
	if (builder->meta.tag_bytes > 0)
		memcpy(to + gens, builder->tags, builder->meta.tag_bytes);
	return meta;
}

/* Was nothing of the entry's home stamped since it was put? */
bool
cg_meta_home_is_older(const Dependency *home, int count, uint64 id)
{
	for (int i = 0; i < count; i++)
		if (cg_coherence_gen(home[i]) >= id)
			return false;
	return true;
}

/* Was none of these slots stamped since?  May be called under a partition's lock. */
bool
cg_meta_gens_are_current(const EntryMeta *meta)
{
	const DependencyGen *gens = meta_gens(meta);

	for (int i = 0; i < meta->gen_count; i++)
		if (cg_coherence_gen(gens[i].dependency) != gens[i].gen)
			return false;
	return true;
}

/* Has nothing that the entry depends on, beside its key, been stamped since? */
bool
cg_meta_is_current(const StoreKey *key, const StoreEntry *entry)
{
	Dependency home[2];

	if (entry->meta_size > 0)
		return cg_meta_gens_are_current((const EntryMeta *) entry->meta);
	return cg_meta_home_is_older(home, cg_policy_home_of_entry(key, home), entry->id);
}
