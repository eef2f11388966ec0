/*-------------------------------------------------------------------------
 *
 * reshape.h
 *	  DDL after which rows look otherwise that nobody has touched.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHEGRID_CAPTURE_RESHAPE_H
#define CACHEGRID_CAPTURE_RESHAPE_H

#include "nodes/nodes.h"

/* Functions in reshape.c */
extern void cg_reshape_follow(Node *command, bool columns_changed);
extern void cg_reshape_touch_all(void);

#endif /* CACHEGRID_CAPTURE_RESHAPE_H */
