/*-------------------------------------------------------------------------
 *
 * server.h
 *	  What the checkers of this folder's neighbours have in common: time,
 *	  chance, and servers that are started and killed.
 *
 * All of it may be called from any thread.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SHARED_SERVER_H
#define SHARED_SERVER_H

#include <stdbool.h>
#include <stdint.h>

/* Seconds of a clock that never steps. */
extern double now(void);
extern void pause_for(int milliseconds);

/* A number from 0 on, below this one; moves the state of its chance on. */
extern uint64_t draw(uint64_t *random, uint64_t below);

/* A number in the environment; the usual one if it is not there, or empty. */
extern long number_of(const char *name, long usual);

/* The process id that a file of the folder begins with; 0: there is none. */
extern long pid_in_file(const char *folder, const char *name);

/* pg_ctl does what these words say; waits for it.  False if it failed. */
extern bool server_control(const char *data, const char *what);

/* kill -9 of the postmaster, and a new one.  False if none came up. */
extern bool server_kill(const char *data);

#endif
