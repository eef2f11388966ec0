/*-------------------------------------------------------------------------
 *
 * prepared_file.c
 *	  The files in which prepared transactions leave what they have stamped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "common/file_utils.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/hash.h"
#include "coherence/prepared.h"

/* Files of this name in a folder that every data folder has. */
#define FOLDER		"pg_stat"
#define NAME_PREFIX "cachegrid_prepared."

/* More would be an error of reading. */
#define FILE_ENTRIES_MAX (MaxAllocSize / sizeof(uint64))

static void
make_path(char *path, uint64 xid)
{
	snprintf(path, MAXPGPATH, FOLDER "/" NAME_PREFIX "%016llx", (unsigned long long) xid);
}

void
cg_prepared_file_remove(uint64 xid)
{
	char path[MAXPGPATH];

	make_path(path, xid);
	(void) unlink(path);
}

Size
cg_prepared_file_bytes(const PreparedFile *header)
{
	return (header->count + header->children) * sizeof(uint64);
}

uint64
cg_prepared_file_hash(const PreparedFile *header, const uint64 *body)
{
	return cg_hash(body, cg_prepared_file_bytes(header),
				   cg_hash(header, offsetof(PreparedFile, hash), 0));
}

/* True if the file is there, whole, and on disk. */
bool
cg_prepared_file_write(const PreparedFile *header, const uint64 *body)
{
	char path[MAXPGPATH];
	char temporary[MAXPGPATH + 8];
	FILE *file;
	bool written;

	make_path(path, header->xid);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	file = AllocateFile(temporary, PG_BINARY_W);
	if (file == NULL)
		return false;
	written = fwrite(header, sizeof(PreparedFile), 1, file) == 1 &&
			  fwrite(body, cg_prepared_file_bytes(header), 1, file) == 1;
	written &= FreeFile(file) == 0;
	return written && durable_rename(temporary, path, LOG) == 0;
}

/* NULL unless the file is there and whole. */
uint64 *
cg_prepared_file_read(uint64 xid, PreparedFile *header)
{
	char path[MAXPGPATH];
	uint64 *body = NULL;
	FILE *file;

	make_path(path, xid);
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		return NULL;
	if (fread(header, sizeof(PreparedFile), 1, file) == 1 &&
		header->version == PREPARED_FILE_VERSION && header->xid == xid &&
		header->number != 0 && header->count < FILE_ENTRIES_MAX &&
		header->children < FILE_ENTRIES_MAX)
	{
		body = palloc_extended(cg_prepared_file_bytes(header),
							   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
		if (body && (fread(body, cg_prepared_file_bytes(header), 1, file) != 1 ||
					 cg_prepared_file_hash(header, body) != header->hash))
		{
			pfree(body);
			body = NULL;
		}
	}
	FreeFile(file);
	return body;
}

/* Remove the files of those that are not among these. */
void
cg_prepared_file_remove_others(const uint64 *xids, int count)
{
	DIR *folder = AllocateDir(FOLDER);
	struct dirent *entry;

	while ((entry = ReadDirExtended(folder, FOLDER, LOG)) != NULL)
	{
		char path[MAXPGPATH * 2];
		char own[MAXPGPATH];
		bool is_needed = false;

		if (strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", FOLDER, entry->d_name);
		for (int i = 0; i < count && !is_needed; i++)
		{
			make_path(own, xids[i]);
			is_needed = strcmp(own, path) == 0;
		}
		if (!is_needed)
			(void) unlink(path);
	}
	if (folder)
		FreeDir(folder);
}
