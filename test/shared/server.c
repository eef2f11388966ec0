/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Time, chance, and servers that are started and killed.
 *
 *-------------------------------------------------------------------------
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server.h"

double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

void
pause_for(int milliseconds)
{
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

	if (milliseconds > 0)
		nanosleep(&time, NULL);
}

/* splitmix64 */
uint64_t
draw(uint64_t *random, uint64_t below)
{
	uint64_t z = (*random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

long
number_of(const char *name, long usual)
{
	const char *text = getenv(name);

	return text && *text ? atol(text) : usual;
}

long
pid_in_file(const char *folder, const char *name)
{
	char path[1024];
	FILE *file;
	long pid = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (fscanf(file, "%ld", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

bool
server_control(const char *data, const char *what)
{
	char command[1024];

	snprintf(command, sizeof(command),
			 "pg_ctl -D '%s' -s -w -t 60 -l '%s.log' %s >'%s.ctl' 2>&1 </dev/null", data,
			 data, what, data);
	return system(command) == 0;
}

/* Its orphans hold the shared memory until they notice. */
bool
server_kill(const char *data)
{
	long pid = pid_in_file(data, "postmaster.pid");

	if (pid <= 1 || kill(pid, SIGKILL) != 0)
		return false;
	for (int i = 0; i < 100; i++)
	{
		if (server_control(data, "start"))
			return true;
		pause_for(100);
	}
	return false;
}
