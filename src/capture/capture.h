/*-------------------------------------------------------------------------
 *
 * capture.h
 *	  From a changed row to touched keys and tags.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_CAPTURE_H
#define CACHEGRID_CAPTURE_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "base/key.h"

/* A watched relation's templates, from its trigger's arguments. */
typedef struct CaptureSpec
{
	int key_count;
	int tag_count;
	struct CaptureTemplate **keys; /* see template.h for what may be asked of one */
	struct CaptureTemplate **tags;
} CaptureSpec;

#endif /* CACHEGRID_CAPTURE_H */
