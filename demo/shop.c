/*-------------------------------------------------------------------------
 *
 * shop.c
 *	  The shop's database.
 *
 *	  The log only numbers its types.  The names given to them here are a
 *	  guess from how they are read (many objects in long lists: products; a
 *	  few, over and over: categories) and from what its publisher tells:
 *	  inventory, availability, prices, customers.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

static const char *const table_names[TRACE_TYPES] = {
	"shop",			 "shop_setting",   "tax_rate",		  "shop_text",
	"visit",		 "banner",		   "country",		  "shipping_method",
	"shipping_rate", "customer",	   "customer_group",  "discount",
	"basket",		 "basket_item",	   "brand",			  "brand_text",
	"brand_image",	 "product",		   "availability",	  "delivery_time",
	"inventory",	 "stock_place",	   "object_22",		  "price",
	"voucher",		 "price_tier",	   "product_detail",  "category",
	"category_text", "category_image", "category_filter", "object_31",
};

const char *
shop_table(int type)
{
	return table_names[type];
}

void
shop_key(const Shop *shop, const Object *object, char *key)
{
	if (shop->indexed[object->type])
		snprintf(key, SHOP_KEY, "%s:%u:%u", table_names[object->type], object->id,
				 object->idx);
	else
		snprintf(key, SHOP_KEY, "%s:%u", table_names[object->type], object->id);
}

/* Run a command that gives no rows; NULL or what went wrong. */
static const char *
command(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	PQclear(result);
	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? NULL
																   : PQerrorMessage(conn);
}

static const char *
create_table(const Shop *shop, PGconn *conn, int type)
{
	char sql[1024];

	snprintf(sql, sizeof(sql),
			 "CREATE TABLE %s ("
			 "    id integer NOT NULL,"
			 "    %s"
			 "    name text NOT NULL,"
			 "    price numeric(10,2) NOT NULL,"
			 "    stock integer NOT NULL,"
			 "    changed timestamptz NOT NULL,"
			 "    details jsonb NOT NULL,"
			 "    PRIMARY KEY (%s))",
			 table_names[type], shop->indexed[type] ? "idx integer NOT NULL," : "",
			 shop->indexed[type] ? "id, idx" : "id");
	return command(conn, sql);
}

/* One line of COPY: the row of object, made from its number. */
static int
write_row(const Shop *shop, const Object *object, char *line, size_t size)
{
	static const char *const colours[] = {"red", "green", "blue", "black", "white"};
	uint32_t chance = (object->id * 31 + object->idx) * UINT32_C(2654435761);
	char idx[16] = "";

	if (shop->indexed[object->type])
		snprintf(idx, sizeof(idx), "%u\t", object->idx);
	return snprintf(line, size,
					"%u\t%s%s no. %u\t%u.%02u\t%u\t2024-%02u-%02u 12:00:00Z\t"
					"{\"colour\": \"%s\", \"weight\": %u, \"tags\": [\"%s\", \"n%u\"]}\n",
					object->id, idx, table_names[object->type], object->id,
					chance % 900 + 1, chance % 100, chance % 500, chance % 12 + 1,
					chance % 28 + 1, colours[chance % 5], chance % 5000,
					table_names[object->type], chance % 97);
}

/* COPY the objects of one type in. */
static const char *
fill_table(const Shop *shop, PGconn *conn, int type)
{
	char line[512];
	bool sent = true;
	PGresult *result;

	snprintf(line, sizeof(line), "COPY %s FROM STDIN", table_names[type]);
	result = PQexec(conn, line);
	if (PQresultStatus(result) != PGRES_COPY_IN)
	{
		PQclear(result);
		return PQerrorMessage(conn);
	}
	PQclear(result);
	for (uint32_t i = 0; sent && i < shop->trace->nobjects; i++)
	{
		if (shop->trace->objects[i].type == type)
			sent = PQputCopyData(conn, line,
								 write_row(shop, &shop->trace->objects[i], line,
										   sizeof(line))) == 1;
	}
	sent = sent && PQputCopyEnd(conn, NULL) == 1;
	while ((result = PQgetResult(conn)) != NULL)
	{
		sent = sent && PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return sent ? NULL : PQerrorMessage(conn);
}

/* Put the cache on a table, and the mirror. */
static const char *
cover_table(const Shop *shop, PGconn *conn, int type)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
			 "SELECT cachegrid.cache_table('%s'), cachegrid.mirror('%s', '%s')",
			 table_names[type], table_names[type], shop->server);
	return command(conn, sql);
}

const char *
shop_create(Shop *shop, PGconn *conn)
{
	const char *error = command(conn, "BEGIN");

	for (uint32_t i = 0; i < shop->trace->nobjects; i++)
	{
		const Object *object = &shop->trace->objects[i];

		shop->used[object->type] = true;
		shop->indexed[object->type] |= object->idx != 0;
		shop->objects[object->type]++;
	}
	for (int type = 0; !error && type < TRACE_TYPES; type++)
	{
		if (!shop->used[type])
			continue;
		shop->ntables++;
		error = create_table(shop, conn, type);
		error = error ? error : fill_table(shop, conn, type);
	}
	error = error ? error : command(conn, "COMMIT");
	error = error ? error : command(conn, "VACUUM ANALYZE");
	for (int type = 0; !error && type < TRACE_TYPES; type++)
	{
		if (shop->used[type])
			error = cover_table(shop, conn, type);
	}
	return error;
}

/*
 * The statement behind a deed.  The columns of a SELECT are computed from
 * left to right, all under one snapshot: exists tells whether the fetch right
 * of it is a hit, and the table is asked last.
 */
static void
write_statement(const Shop *shop, Deed deed, int type, char *sql, size_t size)
{
	const char *table = table_names[type];
	bool indexed = shop->indexed[type];
	const char *row =
		indexed ? "id = $1::integer AND idx = $2::integer" : "id = $1::integer";
	const char *key = indexed ? "$3" : "$2";

	switch (deed)
	{
		case DEED_READ:
			snprintf(sql, size, "SELECT to_jsonb(t) FROM %s t WHERE %s", table, row);
			break;
		case DEED_CHECK:
			snprintf(sql, size,
					 "SELECT hit, fetched IS NOT DISTINCT FROM stored FROM ("
					 "SELECT cachegrid.exists(%s) AS hit,"
					 " cachegrid.fetch(%s) AS fetched,"
					 " (SELECT to_jsonb(t) FROM %s t WHERE %s) AS stored"
					 " OFFSET 0) compared",
					 key, key, table, row);
			break;
		case DEED_UPDATE:
			snprintf(sql, size,
					 "UPDATE %s SET price = round(random()::numeric * 900, 2),"
					 " stock = stock + 1, changed = clock_timestamp() WHERE %s",
					 table, row);
			break;
		case DEED_INSERT:
			snprintf(sql, size,
					 "INSERT INTO %s (id, %sname, price, stock, changed, details)"
					 " VALUES ($1::integer, %s 'new ' || $1::integer,"
					 " round(random()::numeric * 900, 2), 1, clock_timestamp(),"
					 " '{\"new\": true}')",
					 table, indexed ? "idx, " : "", indexed ? "$2::integer," : "");
			break;
		case DEED_DELETE:
			snprintf(sql, size, "DELETE FROM %s WHERE %s", table, row);
			break;
		case DEEDS:
			break;
	}
}

const char *
shop_prepare(const Shop *shop, PGconn *conn, Deed deed)
{
	char name[32];
	char sql[512];

	for (int type = 0; type < TRACE_TYPES; type++)
	{
		PGresult *result;
		ExecStatusType status;

		if (!shop->used[type])
			continue;
		write_statement(shop, deed, type, sql, sizeof(sql));
		snprintf(name, sizeof(name), "deed_%d_%d", (int) deed, type);
		result = PQprepare(conn, name, sql, 0, NULL);
		status = PQresultStatus(result);
		PQclear(result);
		if (status != PGRES_COMMAND_OK)
			return PQerrorMessage(conn);
	}
	return NULL;
}

PGresult *
shop_do(const Shop *shop, PGconn *conn, Deed deed, const Object *object)
{
	char name[32];
	char id[16];
	char idx[16];
	char key[SHOP_KEY];
	const char *values[3] = {id};
	int count = 1;

	snprintf(name, sizeof(name), "deed_%d_%d", (int) deed, object->type);
	snprintf(id, sizeof(id), "%u", object->id);
	if (shop->indexed[object->type])
	{
		snprintf(idx, sizeof(idx), "%u", object->idx);
		values[count++] = idx;
	}
	if (deed == DEED_CHECK)
	{
		shop_key(shop, object, key);
		values[count++] = key;
	}
	return PQexecPrepared(conn, name, count, values, NULL, NULL, 0);
}
