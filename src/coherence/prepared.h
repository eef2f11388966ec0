/*-------------------------------------------------------------------------
 *
 * prepared.h
 *	  Files of prepared transactions: for prepared.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_COHERENCE_PREPARED_H
#define CACHEGRID_COHERENCE_PREPARED_H

#include "coherence/slots.h"

#define PREPARED_FILE_VERSION 2

/* Behind it come the dependencies, and the xids of subtransactions, 64 bits each. */
typedef struct PreparedFile
{
	uint64 version;
	uint64 xid;
	uint64 number;	 /* of the lock, not 0 */
	uint64 count;	 /* of dependencies */
	uint64 children; /* of subtransactions */
	uint64 hash;	 /* of them and of the above */
} PreparedFile;

extern Size cg_prepared_file_bytes(const PreparedFile *header);
extern uint64 cg_prepared_file_hash(const PreparedFile *header, const uint64 *body);
extern bool cg_prepared_file_write(const PreparedFile *header, const uint64 *body);
extern uint64 *cg_prepared_file_read(uint64 xid, PreparedFile *header);
extern void cg_prepared_file_remove(uint64 xid);
extern void cg_prepared_file_remove_others(const uint64 *xids, int count);

#endif /* CACHEGRID_COHERENCE_PREPARED_H */
