-- fetch(): what it answers, what it keeps, and what each kept value depends on.
-- Every answer is shown with how it was come by: from the cache or by a load.
CREATE SCHEMA test_fetch;
SET search_path = test_fetch;
CREATE FUNCTION fetched(key text, query text, args text[] DEFAULT '{}',
    ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    before record;
    after record;
    value jsonb;
BEGIN
    SELECT sum(hits) AS hits, sum(loads) AS loads INTO before FROM cachegrid.stat_cache;
    value := CASE WHEN query IS NULL THEN cachegrid.fetch(key)
                  ELSE cachegrid.fetch(key, query, args, ttl, tags) END;
    SELECT sum(hits) AS hits, sum(loads) AS loads INTO after FROM cachegrid.stat_cache;
    RETURN format('%s hit, %s load: %s', after.hits - before.hits, after.loads - before.loads,
                  coalesce(value::text, 'NULL'));
END
$$;

CREATE TABLE product (id int PRIMARY KEY, name text, price numeric(10, 2), category_id int);
INSERT INTO product SELECT n, 'product ' || n, n * 1.5, n % 3 FROM generate_series(1, 50) AS n;
SELECT cachegrid.watch('product', keys => '{"product:{id}"}', tags => '{"category:{category_id}"}');

-- The result rule: NULL, a column's value, an object.
SELECT fetched('product:42', 'SELECT to_jsonb(p) FROM product p WHERE id = $1', '{42}');
SELECT fetched('product:42', 'SELECT to_jsonb(p) FROM product p WHERE id = $1', '{42}');
SELECT fetched('product:43', 'SELECT name FROM product WHERE id = $1', '{43}');
SELECT fetched('product:44', 'SELECT id, price FROM product WHERE id = 44');
SELECT fetched('product:99', 'SELECT name FROM product WHERE id = 99');
SELECT fetched('product:99', 'SELECT name FROM product WHERE id = 99');
SELECT fetched('null', 'SELECT NULL::int');
SELECT fetched('null', 'SELECT NULL::int');
SELECT fetched('values', 'VALUES (1, ''a'')');
SELECT fetched('list', 'SELECT jsonb_agg(id ORDER BY id) FROM product WHERE category_id = $1 AND id < 10', '{1}');
SELECT fetched('json', 'SELECT ''{"b":1, "a": [null]}''::json');

-- By key: changes of other rows leave the entry, changes of its row end it.
UPDATE product SET price = 0 WHERE id = 41;
SELECT fetched('product:42', 'SELECT to_jsonb(p) FROM product p WHERE id = $1', '{42}');
UPDATE product SET price = 0 WHERE id = 42;
SELECT fetched('product:42', 'SELECT to_jsonb(p) FROM product p WHERE id = $1', '{42}');
INSERT INTO product VALUES (99, 'new', 1, 1);
SELECT fetched('product:99', 'SELECT name FROM product WHERE id = 99');
DELETE FROM product WHERE id = 99;
SELECT fetched('product:99', 'SELECT name FROM product WHERE id = 99');

-- Another query, other arguments, other tags under the same key: another value.
SELECT fetched('product:42', 'SELECT name FROM product WHERE id = $1', '{42}');
SELECT fetched('product:42', 'SELECT name FROM product WHERE id = $1', '{43}');
SELECT fetched('product:42', 'SELECT name FROM product WHERE id = $1', '{42}');
SELECT fetched('product:42', 'SELECT name FROM product WHERE id = $1', '{42}', tags => '{t}');

-- A query that is not pinned to its key depends on the whole table, whatever
-- its key looks like: a change of any row ends the entry.
CREATE TABLE unpinned (n int, query text, args text[] DEFAULT '{}');
INSERT INTO unpinned VALUES
    (1, 'SELECT count(*) FROM product', '{}'),
    (2, 'SELECT sum(price) FROM product WHERE category_id = $1', '{42}'),
    (3, 'SELECT count(*) FROM product WHERE id = 42 OR price > 0', '{}'),
    (4, 'SELECT count(*) FROM product WHERE NOT (id = 42)', '{}'),
    (5, 'SELECT count(*) FROM product WHERE id >= 42', '{}'),
    (6, 'SELECT count(*) FROM product WHERE id IN (42, 43)', '{}'),
    (7, 'SELECT count(*) FROM product WHERE id <> $1', '{42}'),
    (8, 'SELECT count(*) FROM product a JOIN product b ON true WHERE a.id = 42', '{}'),
    (9, 'SELECT count(*) FROM product WHERE id IN (SELECT id FROM product WHERE id = 42)', '{}'),
    (10, 'SELECT (SELECT count(*) FROM product) FROM product WHERE id = 42', '{}'),
    (11, 'SELECT count(*) FROM product GROUP BY () HAVING count(*) FILTER (WHERE id = 42) > 0', '{}'),
    (12, 'SELECT count(*) FILTER (WHERE id = 42) FROM product', '{}'),
    (13, 'SELECT count(b.id) FROM (SELECT 1) a LEFT JOIN product b ON b.id = 42', '{}'),
    (14, 'SELECT count(*) FROM product WHERE id = (SELECT max(id) FROM product WHERE id = 42)', '{}'),
    (15, 'SELECT count(*) FROM product WHERE id = $1', '{NULL}'),
    (16, 'SELECT count(*) FROM product WHERE id = $1', '{43}'),
    (17, 'SELECT count(*) FROM product WHERE id::text = ''42''', '{}'),
    (18, 'SELECT count(*) FROM product WHERE id = 42.0', '{}'),
    (19, 'SELECT count(*) FROM product WHERE id = 42 UNION ALL SELECT count(*) FROM product WHERE false LIMIT 1', '{}'),
    (20, 'WITH p AS (SELECT * FROM product) SELECT count(*) FROM p WHERE id = 42', '{}'),
    (21, 'SELECT count(*) FROM product WHERE id = category_id + 42', '{}'),
    (22, 'SELECT count(*) FROM product a, LATERAL (SELECT 1 FROM product b WHERE b.id = a.id) c WHERE a.id = 42', '{}');
SELECT n, cachegrid.fetch('product:42', query, args) IS NOT NULL AS loaded FROM unpinned WHERE n = 1;
UPDATE product SET price = price + 1 WHERE id = 7;
SELECT n, left(fetched('product:42', query, args), 13) FROM unpinned WHERE n = 1;
-- (each under a key of its own, so that all stand at once)
UPDATE unpinned SET query = replace(query, '42', (100 + n)::text);
SELECT count(*), count(cachegrid.fetch('product:' || 100 + n, query, args)) FROM unpinned;
SELECT DISTINCT left(fetched('product:' || 100 + n, query, args), 13) FROM unpinned;
UPDATE product SET price = price + 1 WHERE id = 7;
SELECT n, left(fetched('product:' || 100 + n, query, args), 13) FROM unpinned ORDER BY n;

-- These are pinned: an entry per form, and none ends by a change elsewhere.
CREATE TABLE pinned (key text, query text, args text[] DEFAULT '{}');
INSERT INTO pinned VALUES
    ('product:1', 'SELECT price FROM product WHERE id = 1', '{}'),
    ('product:2', 'SELECT price FROM product WHERE $1 = id', '{2}'),
    ('product:3', 'SELECT price FROM product WHERE price >= 0 AND (id = $1 AND name <> '''')', '{3}'),
    ('product:4', 'SELECT price FROM product WHERE id = 4::bigint', '{}'),
    ('product:5', 'SELECT price FROM product WHERE id = $1::smallint', '{5}'),
    ('product:6', 'SELECT price FROM product WHERE id = split_part($1, ''-'', 2)::int', '{a-6}'),
    ('product:8', 'SELECT count(*) FROM product a LEFT JOIN (SELECT 1) b ON true WHERE a.id = 8', '{}'),
    ('product:9', 'SELECT (SELECT price FROM product WHERE id = 9)', '{}'),
    ('product:10', 'WITH p AS (SELECT * FROM product WHERE id = $1) SELECT count(*) FROM p', '{10}'),
    ('product:11', 'SELECT count(*) FROM product a JOIN product b ON a.id = b.id WHERE a.id = 11 AND b.id = 11', '{}');
SELECT count(cachegrid.fetch(key, query, args)) FROM pinned;
UPDATE product SET price = price + 1 WHERE id = 7;
SELECT key, fetched(key, query, args) FROM pinned;
UPDATE product SET price = 100 WHERE id < 20;
SELECT key, left(fetched(key, query, args), 13) FROM pinned;

-- The key is the text that the template makes, not one that means the same.
SELECT fetched('product:042', 'SELECT price FROM product WHERE id = $1', '{042}');
UPDATE product SET price = 101 WHERE id = 42;
SELECT fetched('product:042', 'SELECT price FROM product WHERE id = $1', '{042}');

-- By tag: pinned to a tag that the entry carries.
SELECT fetched('page:1', 'SELECT sum(price) FROM product WHERE category_id = $1', '{1}', tags => '{category:1}');
UPDATE product SET price = 0 WHERE category_id = 2;
SELECT fetched('page:1', 'SELECT sum(price) FROM product WHERE category_id = $1', '{1}', tags => '{category:1}');
UPDATE product SET category_id = 1 WHERE id = 2;
SELECT fetched('page:1', 'SELECT sum(price) FROM product WHERE category_id = $1', '{1}', tags => '{category:1}');
SELECT cachegrid.invalidate_tags('category:1');
SELECT fetched('page:1', 'SELECT sum(price) FROM product WHERE category_id = $1', '{1}', tags => '{category:1}');
-- Another tag than that of its rows does not do.
SELECT fetched('page:2', 'SELECT sum(price) FROM product WHERE category_id = $1', '{2}', tags => '{category:1}');
UPDATE product SET price = 5 WHERE category_id = 0;
SELECT fetched('page:2', 'SELECT sum(price) FROM product WHERE category_id = $1', '{2}', tags => '{category:1}');

-- All types that a template may have.
CREATE TYPE size AS ENUM ('small', 'large');
CREATE TABLE typed (i2 smallint, i8 bigint, u uuid, v varchar(10), s name, b boolean, d date, e size, n int);
SELECT cachegrid.watch('typed', keys => '{"typed:{i2}:{i8}:{u}:{v}:{s}:{b}:{d}:{e}"}');
INSERT INTO typed VALUES (1, -2, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'v', 's', true, '2024-05-31', 'large', 1),
    (1, -2, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'v', 's', true, '2024-06-01', 'large', 2);
PREPARE typed AS SELECT fetched('typed:1:-2:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11:v:s:true:2024-05-31:large',
    'SELECT n FROM typed WHERE i2 = $1 AND i8 = $2 AND u = $3 AND v = $4 AND s = $5 AND b = $6 AND d = $7 AND e = $8',
    '{1,-2,A0EEBC999C0B4EF8BB6D6BB9BD380A11,v,s,yes,2024/5/31,large}');
EXECUTE typed;
UPDATE typed SET n = 3 WHERE d = '2024-06-01';
EXECUTE typed;
UPDATE typed SET n = 4 WHERE d = '2024-05-31';
EXECUTE typed;
DEALLOCATE typed;

-- Types whose equality is not that of their text.
CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE word (word text PRIMARY KEY, n int);
INSERT INTO word VALUES ('abc', 1);
SELECT cachegrid.watch('word', keys => '{"word:{word}"}');
SELECT fetched('word:ABC', 'SELECT sum(n) FROM word WHERE word = $1 COLLATE no_case', '{ABC}');
UPDATE word SET n = 2;
SELECT fetched('word:ABC', 'SELECT sum(n) FROM word WHERE word = $1 COLLATE no_case', '{ABC}');
SELECT fetched('word:abc', 'SELECT n FROM word WHERE word = $1', '{abc}');
INSERT INTO word VALUES ('def', 1);
SELECT fetched('word:abc', 'SELECT n FROM word WHERE word = $1', '{abc}');
SELECT fetched('word:abc ', 'SELECT sum(n) FROM word WHERE word::char(5) = $1', '{"abc "}');
UPDATE word SET n = 3;
SELECT fetched('word:abc ', 'SELECT sum(n) FROM word WHERE word::char(5) = $1', '{"abc "}');

-- A view over a watched table, and the view replaced.
CREATE VIEW cheap AS SELECT * FROM product WHERE price < 10;
SELECT fetched('cheap', 'SELECT count(*) FROM cheap');
SELECT fetched('cheap', 'SELECT count(*) FROM cheap');
UPDATE product SET price = 1 WHERE id = 50;
SELECT fetched('cheap', 'SELECT count(*) FROM cheap');
CREATE OR REPLACE VIEW cheap AS SELECT * FROM product WHERE price < 2;
SELECT fetched('cheap', 'SELECT count(*) FROM cheap');

-- A table that only a function names which the planner puts in its place.
CREATE FUNCTION all_products() RETURNS SETOF product LANGUAGE sql STABLE AS 'SELECT * FROM product';
SELECT fetched('inlined', 'SELECT count(*) FROM all_products() WHERE price < 2', tags => '{t}');
SELECT fetched('inlined', 'SELECT count(*) FROM all_products() WHERE price < 2', tags => '{t}');
UPDATE product SET price = 1 WHERE id = 49;
SELECT fetched('inlined', 'SELECT count(*) FROM all_products() WHERE price < 2', tags => '{t}');
DROP FUNCTION all_products();

-- Changed tables: a column more, a template less, a watch less.
SELECT fetched('product:1', 'SELECT to_jsonb(p) FROM product p WHERE id = 1');
ALTER TABLE product ADD COLUMN stock int NOT NULL DEFAULT 9;
SELECT fetched('product:1', 'SELECT to_jsonb(p) FROM product p WHERE id = 1');
ALTER TABLE product ALTER COLUMN stock TYPE text;
SELECT fetched('product:1', 'SELECT stock FROM product WHERE stock = $1 AND id = 1', '{9}');
TRUNCATE product;
SELECT fetched('product:1', 'SELECT to_jsonb(p) FROM product p WHERE id = 1');

-- Partitions, and rows that move between them.
CREATE TABLE event (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (100) TO (200);
SELECT cachegrid.watch('event', keys => '{"event:{id}"}');
INSERT INTO event SELECT n, '2024-05-31' FROM generate_series(1, 199) AS n;
SELECT fetched('event:7', 'SELECT count(*) FROM event WHERE id = 7');
SELECT fetched('events', 'SELECT count(*) FROM event');
SELECT fetched('events:1', 'SELECT count(*) FROM event_1');
DELETE FROM event_2 WHERE id = 150;
SELECT fetched('event:7', 'SELECT count(*) FROM event WHERE id = 7');
SELECT fetched('events', 'SELECT count(*) FROM event');
UPDATE event SET id = 150 WHERE id = 7;
SELECT fetched('event:7', 'SELECT count(*) FROM event WHERE id = 7');
SELECT fetched('events:1', 'SELECT count(*) FROM event_1');

-- With a ttl anything goes that is the same for all sessions; a later watch ends it.
CREATE TABLE plain (n int);
INSERT INTO plain VALUES (1);
SELECT fetched('plain', 'SELECT n FROM plain', ttl => '1 hour');
UPDATE plain SET n = 2;
SELECT fetched('plain', 'SELECT n FROM plain', ttl => '1 hour');
SELECT cachegrid.watch('plain');
SELECT fetched('plain', 'SELECT n FROM plain', ttl => '1 hour');
SELECT fetched('random', 'SELECT random() < 2', ttl => '1 hour');
SELECT cachegrid.ttl('random') BETWEEN '59 minutes' AND '60 minutes' AS ttl;
-- Nobody can have it live longer.
SELECT cachegrid.expire('random', NULL), cachegrid.ttl('random') <= '60 minutes' AS bounded;
SELECT cachegrid.expire('random', '2 hours'), cachegrid.ttl('random') <= '60 minutes' AS bounded;
SELECT cachegrid.expire('random', '1 minute'), cachegrid.ttl('random') <= '1 minute' AS shortened;
SELECT fetched('exact', 'SELECT 1'), cachegrid.expire('exact', '1 minute'), cachegrid.ttl('exact') <= '1 minute' AS shortened;

-- Pinned settings: what a session has set does not show.
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SET bytea_output = 'escape';
SELECT fetched('settings', $$SELECT jsonb_build_object('tz', timestamptz '2024-05-31 12:00:00', 'date', date '2024-05-31',
    'text', (timestamptz '2024-05-31 12:00:00')::text, 'arg', $1::timestamptz, 'interval', interval '1 day', 'bytea', '\x01'::bytea,
    'month', to_char(date '2024-05-31', 'TMMonth'))$$, '{2024-01-02 00:00}');
SHOW TimeZone;
RESET TimeZone;
RESET DateStyle;
RESET IntervalStyle;
RESET bytea_output;
SELECT fetched('settings', $$SELECT jsonb_build_object('tz', timestamptz '2024-05-31 12:00:00', 'date', date '2024-05-31',
    'text', (timestamptz '2024-05-31 12:00:00')::text, 'arg', $1::timestamptz, 'interval', interval '1 day', 'bytea', '\x01'::bytea,
    'month', to_char(date '2024-05-31', 'TMMonth'))$$, '{2024-01-02 00:00}');

-- So is the locale.  C and POSIX are the same, and everywhere; what has a row's
-- column is not computed ahead.
CREATE FUNCTION locale_for(n int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN current_setting('lc_numeric'); END $$;
SET lc_numeric = 'POSIX';
SELECT fetched('locale', 'SELECT jsonb_build_array(locale_for(n), to_char(n, ''9'')) FROM plain');
SHOW lc_numeric;
RESET lc_numeric;

-- An index is asked for all that it has.
CREATE TABLE labelled (id int, labels int[]);
INSERT INTO labelled SELECT n, ARRAY[1, n] FROM generate_series(1, 5000) n;
CREATE INDEX ON labelled USING gin (labels);
VACUUM ANALYZE labelled;
SELECT cachegrid.watch('labelled');
SET enable_seqscan = off;
SET gin_fuzzy_search_limit = 1;
SELECT fetched('labelled', 'SELECT count(*) FROM labelled WHERE labels @> ARRAY[1]');
RESET gin_fuzzy_search_limit;
RESET enable_seqscan;

-- The search path is part of what is asked; a temporary table hides nothing.
CREATE SCHEMA other;
CREATE TABLE other.plain (n int);
INSERT INTO other.plain VALUES (100);
SELECT cachegrid.watch('other.plain');
SELECT fetched('plain', 'SELECT n FROM plain');
SET search_path = other, test_fetch;
SELECT fetched('plain', 'SELECT n FROM plain');
-- A table of the same name earlier in the path, or another function, is found at once.
CREATE TABLE test_fetch.shadowed AS SELECT 1 AS n;
CREATE FUNCTION test_fetch.constant() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
SELECT cachegrid.watch('shadowed');
SELECT fetched('shadowed', 'SELECT n FROM shadowed');
SELECT fetched('constant', 'SELECT constant()');
CREATE TABLE other.shadowed AS SELECT 2 AS n;
SELECT cachegrid.watch('other.shadowed');
SELECT fetched('shadowed', 'SELECT n FROM shadowed');
DROP TABLE other.shadowed;
SELECT fetched('shadowed', 'SELECT n FROM shadowed');
CREATE FUNCTION other.constant() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2';
SELECT fetched('constant', 'SELECT constant()');
CREATE OR REPLACE FUNCTION other.constant() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
SELECT fetched('constant', 'SELECT constant()');
SET search_path = test_fetch;
SELECT fetched('constant', 'SELECT constant()');
CREATE TEMP TABLE plain (n int);
INSERT INTO plain VALUES (-1);
SELECT fetched('plain', 'SELECT n FROM plain');
SELECT fetched('plain', 'SELECT n FROM plain');
DROP TABLE pg_temp.plain;

-- SERIALIZABLE is not served; a value too large is computed each time; no column is an empty object.
SELECT fetched('one', 'SELECT 1');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT fetched('one', 'SELECT 1');
COMMIT;
SELECT fetched('one', 'SELECT 1');
SELECT left(fetched('large', 'SELECT repeat(''x'', 17000000)'), 20), left(fetched('large', 'SELECT repeat(''x'', 17000000)'), 20);
SELECT fetched('empty', 'SELECT');

-- A parameter whose type has changed since the query was prepared.
CREATE TABLE changing (id int PRIMARY KEY, n int);
INSERT INTO changing VALUES (1, 1);
SELECT cachegrid.watch('changing', keys => '{"changing:{id}"}');
SELECT fetched('changing:1', 'SELECT n FROM changing WHERE id = $1', '{1}');
ALTER TABLE changing ALTER COLUMN id TYPE text;
SELECT fetched('changing:1', 'SELECT n FROM changing WHERE id = $1', '{1}');
SELECT fetched('changing:a', 'SELECT n FROM changing WHERE id = $1', '{a}');

-- In the leader of a parallel query.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT cachegrid.fetch('parallel', 'SELECT count(*) FROM product'), count(*) FROM unpinned;
SELECT fetched('parallel', 'SELECT count(*) FROM product');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- A transaction that has written computes for itself and publishes nothing.
BEGIN;
INSERT INTO test_fetch.plain VALUES (3);
SELECT fetched('count', 'SELECT count(*) FROM plain');
SELECT fetched('count', 'SELECT count(*) FROM plain');
ROLLBACK;
SELECT fetched('count', 'SELECT count(*) FROM plain');
SELECT fetched('count', 'SELECT count(*) FROM plain');

-- Nested: a query may fetch, and depends on what that depends on.
INSERT INTO product VALUES (1, 'a', 1, 1), (2, 'b', 2, 1);
SELECT fetched('outer', $$SELECT jsonb_build_object('n', n, 'product',
    cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1')) FROM plain$$);
SELECT fetched('outer', $$SELECT jsonb_build_object('n', n, 'product',
    cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1')) FROM plain$$);
UPDATE product SET name = 'c' WHERE id = 2;
SELECT fetched('outer', $$SELECT jsonb_build_object('n', n, 'product',
    cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1')) FROM plain$$);
UPDATE product SET name = 'd' WHERE id = 1;
SELECT fetched('outer', $$SELECT jsonb_build_object('n', n, 'product',
    cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1')) FROM plain$$);
UPDATE test_fetch.plain SET n = 4;
SELECT fetched('outer', $$SELECT jsonb_build_object('n', n, 'product',
    cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1')) FROM plain$$);
UPDATE product SET name = 'e' WHERE id = 1;
SELECT fetched('outer', $$SELECT jsonb_build_object('n', n, 'product',
    cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1')) FROM plain$$);
-- ... and lives no longer than it.
SELECT fetched('outer:ttl', $$SELECT cachegrid.fetch('inner:ttl', 'SELECT random() < 2', ttl => '1 minute')$$);
SELECT cachegrid.ttl('outer:ttl') <= '1 minute' AS bounded;
SELECT fetched('outer:ttl2', $$SELECT cachegrid.fetch('inner:ttl', 'SELECT random() < 2', ttl => '1 minute')$$);
SELECT cachegrid.ttl('outer:ttl2') <= '1 minute' AS bounded;
-- What this transaction has set, or anybody may set, does not go into it.
BEGIN;
SELECT cachegrid.set('inner:own', 'mine');
SELECT fetched('outer:own', $$SELECT cachegrid.fetch('inner:own', 'SELECT ''computed''')$$);
ROLLBACK;
SELECT fetched('outer:own', $$SELECT cachegrid.fetch('inner:own', 'SELECT ''computed''')$$);
SELECT cachegrid.set('inner:set', 'set');
SELECT fetched('outer:set', $$SELECT cachegrid.fetch('inner:set', 'SELECT ''computed''')$$);
SELECT cachegrid.set('inner:set', 'set again');
SELECT fetched('outer:set', $$SELECT cachegrid.fetch('inner:set', 'SELECT ''computed''')$$);

-- Loaders: the parts of the key are the parameters, the last takes the rest.
SELECT cachegrid.create_cache('place', loader => 'SELECT jsonb_build_array($1::int, $2::text, $3::text)');
SELECT fetched('place:1:b:c:d', NULL);
SELECT fetched('place:1:b:c:d', NULL);
SELECT fetched($$place:1:'; DROP TABLE product; --:"{}\$$, NULL);
SELECT cachegrid.alter_cache('place', loader => 'SELECT 2');
SELECT fetched('place:1:b:c:d', NULL);

-- cache_table(): cache, loader and watch in one call.
CREATE TABLE "or""der" (shop text, "no" int, "order" text, PRIMARY KEY (shop, "no"));
INSERT INTO "or""der" VALUES ('north', 1, 'first'), ('south', 1, 'second');
SELECT cachegrid.cache_table('"or""der"', 'order');
SELECT fetched('order:north:1', NULL);
UPDATE "or""der" SET "order" = 'changed' WHERE shop = 'south';
SELECT fetched('order:north:1', NULL);
UPDATE "or""der" SET "order" = 'changed' WHERE shop = 'north';
SELECT fetched('order:north:1', NULL);
SELECT fetched('order:west:1', NULL);
INSERT INTO "or""der" VALUES ('west', 1, 'third');
SELECT fetched('order:west:1', NULL);
SELECT cachegrid.watch('product', tags => '{"category:{category_id}"}');
SELECT cachegrid.cache_table('product', ttl => '1 hour');
SELECT * FROM cachegrid.watched WHERE "table" = 'product'::regclass;
SELECT fetched('product:1', NULL);
SELECT fetched('product:1', NULL);

-- What names mean after DDL of this transaction, and after it was rolled back.
CREATE FUNCTION meaning(bigint) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bigint' $$;
SELECT fetched('names:1', 'SELECT meaning(1)');
BEGIN;
CREATE FUNCTION meaning(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'int' $$;
SELECT fetched('names:1', 'SELECT meaning(1)');
COMMIT;
BEGIN;
DROP FUNCTION meaning(int);
SELECT fetched('names:1', 'SELECT meaning(1)');
ROLLBACK;
SELECT fetched('names:2', 'SELECT meaning(1)');
CREATE TABLE other.meant AS SELECT 'other' AS here;
CREATE TABLE meant AS SELECT 'test_fetch' AS here;
SELECT cachegrid.watch('meant'), cachegrid.watch('other.meant');
SET search_path = test_fetch, other;
BEGIN;
ALTER TABLE meant RENAME TO meant_no_more;
SELECT fetched('names:3', 'SELECT here FROM meant');
ROLLBACK;
SELECT fetched('names:3', 'SELECT here FROM meant');
-- A table's row type hides another type, and a type that goes does so no more.
CREATE DOMAIN other.kind AS text;
SELECT fetched('names:6', $$SELECT to_jsonb('(1)'::kind)$$);
CREATE TABLE kind (n int);
SELECT fetched('names:6', $$SELECT to_jsonb('(1)'::kind)$$);
DROP TABLE kind;
CREATE DOMAIN kind AS int;
SELECT fetched('names:7', $$SELECT to_jsonb('1'::kind)$$);
DROP DOMAIN kind;
SELECT fetched('names:7', $$SELECT to_jsonb('1'::kind)$$);
SET search_path = test_fetch;
-- The same for a query within a query.
CREATE FUNCTION inner_meaning(bigint) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bigint' $$;
SELECT fetched('names:4', $$SELECT cachegrid.fetch('names:5', 'SELECT inner_meaning(1)')$$);
CREATE FUNCTION inner_meaning(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'int' $$;
SELECT fetched('names:4', $$SELECT cachegrid.fetch('names:5', 'SELECT inner_meaning(1)')$$);
SELECT fetched('names:5', 'SELECT inner_meaning(1)');

-- What is dropped may be how a type is compared, though no query names it.
SET client_min_messages = warning;
CREATE TYPE own;
CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, LIKE = int4);
CREATE FUNCTION own_lt(own, own) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION own_eq(own, own) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION own_cmp(own, own) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE OPERATOR < (LEFTARG = own, RIGHTARG = own, FUNCTION = own_lt);
CREATE OPERATOR = (LEFTARG = own, RIGHTARG = own, FUNCTION = own_eq);
CREATE OPERATOR CLASS own_ops DEFAULT FOR TYPE own USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 own_cmp(own, own);
CREATE TABLE owned (value own);
INSERT INTO owned VALUES ('1'), ('2'), ('1');
SELECT cachegrid.watch('owned');
SELECT fetched('owned', 'SELECT count(DISTINCT value) FROM owned');
DROP OPERATOR FAMILY own_ops USING btree;
SELECT fetched('owned', 'SELECT count(DISTINCT value) FROM owned');
RESET client_min_messages;

-- A row type is another one: of its own, of a table that is not read, of a typed table.
CREATE TYPE spot AS (x int, y int);
CREATE TABLE site (x int, y int);
CREATE TABLE marked (id int PRIMARY KEY, spot spot, site site);
INSERT INTO marked VALUES (1, (1, 2), (3, 4));
CREATE TABLE spots OF spot (PRIMARY KEY (x));
INSERT INTO spots VALUES (1, 2);
SELECT cachegrid.watch('marked', keys => '{"marked:{id}"}'), cachegrid.watch('spots', keys => '{"spots:{x}"}');
SELECT fetched('marked:1', 'SELECT to_jsonb(m) FROM marked m WHERE id = 1');
ALTER TABLE site RENAME COLUMN x TO a;
SELECT fetched('marked:1', 'SELECT to_jsonb(m) FROM marked m WHERE id = 1');
SELECT fetched('spots:1', 'SELECT to_jsonb(s) FROM spots s WHERE x = 1');
SELECT cachegrid.fill('spots:2', 'of programs', token) FROM cachegrid.lookup('spots:2');
ALTER TYPE spot ADD ATTRIBUTE z int CASCADE;
SELECT fetched('marked:1', 'SELECT to_jsonb(m) FROM marked m WHERE id = 1');
SELECT fetched('spots:1', 'SELECT to_jsonb(s) FROM spots s WHERE x = 1');
SELECT cachegrid.get('spots:2');

SET client_min_messages = warning;
DROP SCHEMA test_fetch, other CASCADE;
SELECT cachegrid.drop_cache('place');
SELECT cachegrid.drop_cache('order');
SELECT cachegrid.drop_cache('product');
