/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  Every setting of cachegrid, alphabetically, and its unit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_SETTINGS_H
#define CACHEGRID_SETTINGS_H

extern int cg_lease_timeout;		  /* milliseconds to wait for a lease */
extern bool cg_lock_reads;			  /* have every lookup take the partition's lock */
extern int cg_memory;				  /* megabytes of the store */
extern int cg_outbox_limit;			  /* megabytes of a database's outbox */
extern int cg_redis_connect_timeout;  /* milliseconds */
extern int cg_redis_timeout;		  /* milliseconds */
extern int cg_refresh_time;			  /* milliseconds of each second */
extern int cg_refresh_workers;		  /* processes */
extern int cg_write_through_timeout;  /* milliseconds */
extern int cg_slots;				  /* slots of coherence, 0: by the memory */
extern bool cg_wal_log_invalidations; /* have standbys obey, too */

/* Functions in settings.c */
extern void cg_settings_init(void);

#endif /* CACHEGRID_SETTINGS_H */
