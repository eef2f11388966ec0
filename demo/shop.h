/*-------------------------------------------------------------------------
 *
 * shop.h
 *	  The shop's database: a table for each type of object, its rows, and the
 *	  statements that read and change them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_SHOP_H
#define DEMO_SHOP_H

#include <libpq-fe.h>

#include "trace.h"

/* Long enough for '<table>:<id>:<idx>' and for the number of either. */
#define SHOP_KEY 64

/* Filled by shop_create; only read afterwards. */
typedef struct Shop
{
	const Trace *trace;
	const char *server;			   /* the Redis server of the mirrors */
	bool used[TRACE_TYPES];		   /* the type has a table */
	bool indexed[TRACE_TYPES];	   /* its primary key is (id, idx), else (id) */
	uint32_t objects[TRACE_TYPES]; /* rows that shop_create put there */
	int ntables;
} Shop;

/* What a session does with a row; each is a prepared statement per table. */
typedef enum Deed
{
	DEED_READ,	 /* uncached: the row as jsonb */
	DEED_CHECK,	 /* fetch, and whether it is what the table has */
	DEED_UPDATE, /* these give no row back */
	DEED_INSERT,
	DEED_DELETE,
	DEEDS
} Deed;

/* The name of the table for type. */
extern const char *shop_table(int type);

/* The key of object, in a buffer of SHOP_KEY bytes. */
extern void shop_key(const Shop *shop, const Object *object, char *key);

/*
 * Create and fill the tables, put the cache and the mirror on each.  Returns
 * NULL or what went wrong.
 */
extern const char *shop_create(Shop *shop, PGconn *conn);

/* Prepare deed on every table.  Returns NULL or what went wrong. */
extern const char *shop_prepare(const Shop *shop, PGconn *conn, Deed deed);

/* Execute a prepared deed on the row of object. */
extern PGresult *shop_do(const Shop *shop, PGconn *conn, Deed deed, const Object *object);

#endif
