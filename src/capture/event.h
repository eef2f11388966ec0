/*-------------------------------------------------------------------------
 *
 * event.h
 *	  What changes of watched rows tell subscribers: only for the files of this
 *	  floor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_EVENT_H
#define CACHEGRID_EVENT_H

#include "nodes/pg_list.h"

#include "base/key.h"

/* How a watched table's changes are told. */
typedef struct EventSource
{
	Oid root;	   /* the table that is under watch */
	int32 stream;  /* through the outbox, in this stream of events; 0: not at all */
	bool notifies; /* by NOTIFY */
} EventSource;

/*
 * Functions in event.c
 *
 * All of them are to be called in the transaction that changes the rows, which may
 * be given an xid.  They take effect with its commit, and are taken back with the
 * savepoint that they were called in.  May raise out of memory, and keys() and
 * whole() what writing to the outbox and NOTIFY may raise.
 */

/* What the arguments (of char *) of a row trigger ask for. */
extern EventSource cg_event_source(List *arguments, Oid root);

extern bool cg_event_is_wanted(const EventSource *source);

/* A row had the old key and has the new one; of size 0: there is none. */
extern void cg_event_keys(const EventSource *source, const CacheKey *old_key,
						  const CacheKey *new_key);

/* Any of the table's keys may have changed. */
extern void cg_event_whole(const EventSource *source);

extern bool cg_event_same_key(const CacheKey *a, const CacheKey *b);

#endif /* CACHEGRID_EVENT_H */
