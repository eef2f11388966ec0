/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  Reads a recorded access log: big-endian 32-bit integers, one a read,
 *	  of 5 bits type, 18 bits id and 9 bits index.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trace.h"

/* A hash table from the packed access to the number of its object. */
typedef struct Numbers
{
	uint32_t size; /* a power of two */
	uint32_t used;
	uint32_t *packed;
	uint32_t *number; /* counted from 1; 0 is a free place */
} Numbers;

/* Start xz as a child that writes to the returned stream. */
static FILE *
open_compressed(const char *path, pid_t *child)
{
	int ends[2];

	if (pipe(ends) != 0)
		return NULL;
	*child = fork();
	if (*child == 0)
	{
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execlp("xz", "xz", "-dc", "--", path, (char *) NULL);
		_exit(127);
	}
	close(ends[1]);
	if (*child > 0)
		return fdopen(ends[0], "rb");
	close(ends[0]);
	return NULL;
}

/* The whole file into trace->reads, as it stands; false if memory is out. */
static bool
slurp(Trace *trace, FILE *file)
{
	size_t room = 1 << 20;
	size_t got;

	trace->reads = malloc(room * sizeof(uint32_t));
	while (trace->reads && (got = fread(trace->reads + trace->nreads, sizeof(uint32_t),
										room - trace->nreads, file)) > 0)
	{
		trace->nreads += got;
		if (trace->nreads == room)
		{
			uint32_t *larger = realloc(trace->reads, room * 2 * sizeof(uint32_t));

			if (!larger)
				return false;
			trace->reads = larger;
			room *= 2;
		}
	}
	return trace->reads != NULL;
}

/* The place of packed, or the free place where it belongs. */
static uint32_t
find_place(const Numbers *numbers, uint32_t packed)
{
	uint32_t place = (packed * UINT32_C(2654435761)) & (numbers->size - 1);

	while (numbers->number[place] != 0 && numbers->packed[place] != packed)
		place = (place + 1) & (numbers->size - 1);
	return place;
}

static bool
grow(Numbers *numbers)
{
	Numbers larger = {.size = numbers->size ? numbers->size * 2 : 1 << 16,
					  .used = numbers->used};

	larger.packed = malloc(larger.size * sizeof(uint32_t));
	larger.number = calloc(larger.size, sizeof(uint32_t));
	if (!larger.packed || !larger.number)
	{
		free(larger.packed);
		free(larger.number);
		return false;
	}
	for (uint32_t i = 0; i < numbers->size; i++)
	{
		if (numbers->number[i] != 0)
		{
			uint32_t place = find_place(&larger, numbers->packed[i]);

			larger.packed[place] = numbers->packed[i];
			larger.number[place] = numbers->number[i];
		}
	}
	free(numbers->packed);
	free(numbers->number);
	*numbers = larger;
	return true;
}

/* Replace every packed access by its object's number. */
static bool
number_objects(Trace *trace, Numbers *numbers)
{
	for (size_t i = 0; i < trace->nreads; i++)
	{
		uint32_t packed = ntohl(trace->reads[i]);
		uint32_t place;

		if (numbers->used * 2 >= numbers->size && !grow(numbers))
			return false;
		place = find_place(numbers, packed);
		if (numbers->number[place] == 0)
		{
			numbers->packed[place] = packed;
			numbers->number[place] = ++numbers->used;
		}
		trace->reads[i] = numbers->number[place] - 1;
	}
	return true;
}

static bool
list_objects(Trace *trace, const Numbers *numbers)
{
	trace->nobjects = numbers->used;
	trace->objects = malloc(sizeof(Object) * (numbers->used + 1));
	if (!trace->objects)
		return false;
	for (uint32_t i = 0; i < numbers->size; i++)
	{
		uint32_t packed = numbers->packed ? numbers->packed[i] : 0;

		if (numbers->number[i] != 0)
			trace->objects[numbers->number[i] - 1] =
				(Object){.type = packed >> 27,
						 .id = (packed >> 9) & 0x3ffff,
						 .idx = packed & 0x1ff};
	}
	return true;
}

const char *
trace_read(Trace *trace, const char *path)
{
	size_t length = strlen(path);
	bool compressed = length > 3 && strcmp(path + length - 3, ".xz") == 0;
	pid_t child = 0;
	int status = 0;
	bool complete;
	Numbers numbers = {0};
	FILE *file;

	*trace = (Trace){.recorded = true, .source = path};
	if (access(path, R_OK) != 0)
		return strerror(errno);
	file = compressed ? open_compressed(path, &child) : fopen(path, "rb");
	if (!file)
		return strerror(errno);
	complete = slurp(trace, file);
	fclose(file);
	if (child > 0 && (waitpid(child, &status, 0) < 0 || status != 0))
		return "xz could not unpack it";
	complete = complete && number_objects(trace, &numbers);
	complete = complete && list_objects(trace, &numbers);
	free(numbers.packed);
	free(numbers.number);
	if (!complete)
		return "out of memory";
	return trace->nreads > 0 ? NULL : "it is empty";
}
