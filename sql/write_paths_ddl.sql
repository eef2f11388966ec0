--
-- Partitions, inheritance, and every change of a definition that values are
-- computed by: which of the values that are kept it ends.  test/ended.sql says
-- how ended() knows.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA test_paths;
SET search_path = test_paths;
\pset format unaligned
\pset tuples_only on
\getenv source PG_ABS_SRCDIR
\set source :source /test/ended.sql
\set ECHO none
\i :source
\set ECHO all

--
-- Partitions: by key, the whole, one of them by its name
--
CREATE TABLE sale (id int, region text, amount int DEFAULT 1, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sale_a PARTITION OF sale FOR VALUES IN ('a');
CREATE TABLE sale_b (amount int DEFAULT 1, gone int, region text NOT NULL, id int NOT NULL);
ALTER TABLE sale_b DROP COLUMN gone;
ALTER TABLE sale ATTACH PARTITION sale_b FOR VALUES IN ('b');
CREATE TABLE sale_c PARTITION OF sale FOR VALUES IN ('c', 'd') PARTITION BY LIST (region);
CREATE TABLE sale_d PARTITION OF sale_c FOR VALUES IN ('d');
SELECT cachegrid.watch('sale', '{"sale:{id}"}', '{"region:{region}"}');
INSERT INTO sale SELECT i, chr(96 + i) FROM generate_series(1, 2) i;
INSERT INTO sale VALUES (4, 'd');
INSERT INTO value SELECT 'sale', 'sale ' || i, 'sale:' || i, 'SELECT jsonb_agg(s ORDER BY region) FROM sale s WHERE id = ' || i, NULL FROM generate_series(1, 5) i;
INSERT INTO value SELECT 'sale', 'region ' || r, 'region:' || r, format('SELECT jsonb_agg(s ORDER BY id) FROM sale s WHERE region = %L', r), ARRAY['region:' || r] FROM unnest('{a,b,d,e}'::text[]) r;
INSERT INTO value SELECT 'sale', 'table ' || t, t, format('SELECT to_jsonb(count(*)) FROM %I', t), NULL FROM unnest('{sale,sale_a,sale_b,sale_c,sale_d}'::text[]) t;
SELECT ended('sale');
SELECT ended('sale');
INSERT INTO sale VALUES (3, 'a');
SELECT ended('sale');
INSERT INTO sale_b (id, region) VALUES (3, 'b');
SELECT ended('sale');
INSERT INTO sale_c VALUES (3, 'd');
SELECT ended('sale');
UPDATE sale SET region = 'b' WHERE id = 1;
SELECT ended('sale');
UPDATE sale_c SET id = 5 WHERE id = 3;
SELECT ended('sale');
INSERT INTO sale VALUES (5, 'd') ON CONFLICT (id, region) DO UPDATE SET amount = 2;
SELECT ended('sale');
INSERT INTO sale VALUES (5, 'd') ON CONFLICT (id, region) DO UPDATE SET region = 'b';
SELECT ended('sale');
MERGE INTO sale s USING (VALUES (5)) v (n) ON s.id = n WHEN MATCHED THEN UPDATE SET region = 'a';
SELECT ended('sale');
DELETE FROM sale_a WHERE id = 5;
SELECT ended('sale');
COPY sale FROM stdin;
5	d	5
\.
SELECT ended('sale');
TRUNCATE sale_a;
SELECT ended('sale');
-- more and fewer of them
CREATE TABLE sale_e PARTITION OF sale FOR VALUES IN ('e');
SELECT ended('sale');
INSERT INTO sale VALUES (5, 'e');
SELECT ended('sale');
ALTER TABLE sale DETACH PARTITION sale_e;
SELECT ended('sale');
UPDATE sale_e SET amount = 3;
SELECT ended('sale');
ALTER TABLE sale ATTACH PARTITION sale_e FOR VALUES IN ('e');
SELECT ended('sale');
UPDATE sale SET amount = 3 WHERE region = 'e';
SELECT ended('sale');
ALTER TABLE sale DETACH PARTITION sale_e CONCURRENTLY;
SELECT ended('sale');
DROP TABLE sale_e;
SELECT ended('sale');
CREATE TABLE sale_rest PARTITION OF sale DEFAULT;
SELECT ended('sale');
INSERT INTO sale VALUES (5, 'z'), (1, 'e');
SELECT ended('sale');
CREATE TABLE whole (LIKE sale INCLUDING ALL);
INSERT INTO whole VALUES (2, 'd');
BEGIN;
ALTER TABLE sale DETACH PARTITION sale_c;
ALTER TABLE sale ATTACH PARTITION whole FOR VALUES IN ('d');
COMMIT;
DELETE FROM value WHERE name ~ 'table sale_[cd]';
SELECT ended('sale');
UPDATE whole SET amount = 7;
SELECT ended('sale');
DROP TABLE sale_c;
SELECT ended('sale');
DROP TABLE whole;
SELECT ended('sale');

--
-- Inheritance: children report nothing, so who reads them through their parent
-- must not be kept, and a watched table has no children.
--
CREATE TABLE parent (id int PRIMARY KEY, n int);
CREATE TABLE child (more int) INHERITS (parent);
SELECT cachegrid.fetch('parent:1', 'SELECT n FROM parent WHERE id = 1');
SELECT cachegrid.fetch('parents', 'SELECT count(*) FROM ONLY parent');
SELECT cachegrid.watch('parent');
SELECT cachegrid.watch('child');
ALTER TABLE child NO INHERIT parent;
SELECT cachegrid.watch('parent', '{"parent:{id}"}'), cachegrid.watch('child');
ALTER TABLE child INHERIT parent;
CREATE TABLE child_too () INHERITS (parent);
INSERT INTO value VALUES ('parent', 'row', 'parent:1', 'SELECT to_jsonb(p) FROM parent p WHERE id = 1', NULL), ('parent', 'all', 'parents', 'SELECT to_jsonb(count(*)) FROM parent', NULL);
SELECT warm('parent');
INSERT INTO child VALUES (1, 1);
SELECT ended('parent');

--
-- Commands on the table itself
--
CREATE TABLE product (id int PRIMARY KEY, category int, price int NOT NULL DEFAULT 1, name text);
INSERT INTO product (id, category) SELECT i, i % 2 FROM generate_series(1, 3) i;
CREATE TABLE apart (id int PRIMARY KEY, price int);
INSERT INTO apart VALUES (1, 1);
SELECT cachegrid.watch('product', '{"product:{id}"}', '{"category:{category}"}'), cachegrid.watch('apart');
INSERT INTO value VALUES
    ('product', 'row', 'product:1', 'SELECT to_jsonb(p) FROM product p WHERE id = 1', NULL),
    ('product', 'list', 'list', 'SELECT jsonb_agg(p.id ORDER BY id) FROM product p WHERE category = 1', '{category:1}'),
    ('product', 'sum', 'sum', 'SELECT to_jsonb(sum(price)) FROM product', NULL),
    ('product', 'apart', 'apart', 'SELECT to_jsonb(count(*)) FROM apart', NULL);
SELECT warm();
SELECT ended();
ALTER TABLE product ADD COLUMN stock int DEFAULT 7;
SELECT ended();
ALTER TABLE product ALTER COLUMN stock TYPE bigint;
SELECT ended();
ALTER TABLE product ALTER COLUMN name TYPE varchar(10);
SELECT ended();
ALTER TABLE product RENAME COLUMN stock TO stored;
SELECT ended();
ALTER TABLE product DROP COLUMN stored;
SELECT ended();
ALTER TABLE product ALTER COLUMN price SET DEFAULT 5, ALTER COLUMN price SET STATISTICS 10;
SELECT ended();
ALTER TABLE product ADD CHECK (price > 0) NOT VALID;
SELECT ended();
ALTER TABLE product VALIDATE CONSTRAINT product_price_check;
SELECT ended();
ALTER TABLE product SET UNLOGGED;
SELECT ended();
ALTER TABLE product SET LOGGED;
SELECT ended();
ALTER TABLE product CLUSTER ON product_pkey;
SELECT ended();
ALTER TABLE product SET TABLESPACE pg_default;
SELECT ended();
ALTER TABLE product RENAME TO former;
CREATE TABLE product AS SELECT * FROM former WHERE id = 1;
ALTER TABLE product ADD PRIMARY KEY (id);
SELECT cachegrid.watch('product', '{"product:{id}"}', '{"category:{category}"}');
SELECT ended();
UPDATE former SET price = 9;
SELECT ended();
UPDATE product SET price = 9;
SELECT ended();
CREATE SCHEMA test_paths_too;
BEGIN;
ALTER TABLE product SET SCHEMA test_paths_too;
ALTER TABLE former RENAME TO product;
COMMIT;
SELECT ended();
DROP TABLE test_paths_too.product;
SELECT ended();
-- columns that templates name
ALTER TABLE product DROP COLUMN category;
ALTER TABLE product ALTER COLUMN id TYPE numeric;
SELECT ended();
ALTER TABLE product RENAME COLUMN category TO sort;
UPDATE value SET query = replace(query, 'category =', 'sort =') WHERE sort = 'product';
SELECT warm();
UPDATE product SET sort = 0 WHERE id = 1;
SELECT ended();
ALTER TABLE product ALTER COLUMN id TYPE bigint;
SELECT ended();
UPDATE product SET price = 11 WHERE id = 1;
SELECT ended();
-- triggers that are off are noticed, and said
ALTER TABLE product DISABLE TRIGGER "!cachegrid_row";
SELECT cachegrid.get('product:1'), cachegrid.get('sum');
SELECT active FROM cachegrid.watched WHERE "table" = 'product'::regclass;
UPDATE product SET price = 12;
SELECT ended();
ALTER TABLE product ENABLE TRIGGER "!cachegrid_row";
SELECT ended();
ALTER TABLE product DISABLE TRIGGER USER;
UPDATE product SET price = 13;
SELECT ended();
ALTER TABLE product ENABLE TRIGGER USER;
SELECT ended();
ALTER TABLE product ENABLE REPLICA TRIGGER "!cachegrid_row";
SELECT active FROM cachegrid.watched WHERE "table" = 'product'::regclass;
UPDATE product SET price = 14 WHERE id = 1;
SELECT ended();
DROP TRIGGER "!cachegrid_row" ON product;
UPDATE product SET price = 15;
SELECT ended();
SELECT cachegrid.watch('product', '{"product:{id}"}', '{"category:{sort}"}');
SELECT ended();

--
-- What queries use
--
CREATE VIEW dear AS SELECT id, price FROM product WHERE price > 10;
CREATE VIEW dearest AS SELECT * FROM dear ORDER BY price DESC LIMIT 1;
CREATE FUNCTION label(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'no. ' || $1 $$;
CREATE FUNCTION list() RETURNS SETOF product LANGUAGE sql STABLE AS 'SELECT * FROM product';
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN small AS int;
CREATE TABLE painted (id int PRIMARY KEY, colour colour, pair pair, small small);
INSERT INTO painted VALUES (1, 'red', (1, 2), 3);
SELECT cachegrid.watch('painted', '{"painted:{id}"}');
INSERT INTO value VALUES
    ('used', 'view', 'view', 'SELECT to_jsonb(count(*)) FROM dear', NULL),
    ('used', 'view of view', 'view of view', 'SELECT to_jsonb(d) FROM dearest d', NULL),
    ('used', 'function', 'function', 'SELECT to_jsonb(label(price)) FROM product WHERE id = 2', NULL),
    ('used', 'tagged', 'inlined', 'SELECT to_jsonb(count(*)) FROM list()', '{t}'),
    ('used', 'painted', 'painted:1', 'SELECT to_jsonb(p) FROM painted p WHERE id = 1', NULL);
SELECT warm('used');
SELECT ended('used');
UPDATE product SET price = 20 WHERE id = 1;
SELECT ended('used');
CREATE OR REPLACE VIEW dear AS SELECT id, price FROM product WHERE price > 15;
SELECT ended('used');
ALTER VIEW dear RENAME COLUMN price TO euros;
SELECT ended('used');
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO dear DO INSTEAD SELECT id, price + 1 AS euros FROM product;
SELECT ended('used');
ALTER VIEW dear SET (security_barrier);
SELECT ended('used');
BEGIN;
DROP VIEW dear CASCADE;
CREATE VIEW dear AS SELECT 1 AS one;
CREATE VIEW dearest AS SELECT * FROM dear;
COMMIT;
SELECT ended('used');
CREATE OR REPLACE FUNCTION label(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'number ' || $1 $$;
SELECT ended('used');
ALTER FUNCTION label(int) RENAME TO label_no_more;
CREATE FUNCTION label(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'other' $$;
SELECT ended('used');
CREATE OR REPLACE FUNCTION list() RETURNS SETOF product LANGUAGE sql STABLE AS 'SELECT * FROM product WHERE id > 1';
SELECT ended('used');
ALTER TYPE colour ADD VALUE 'blue';
SELECT ended('used');
ALTER TYPE colour RENAME VALUE 'red' TO 'rouge';
SELECT ended('used');
ALTER TYPE pair RENAME ATTRIBUTE a TO c;
SELECT ended('used');
ALTER TYPE pair ADD ATTRIBUTE d int;
SELECT ended('used');
ALTER DOMAIN small ADD CHECK (VALUE < 10);
SELECT ended('used');
ALTER TABLE painted ENABLE ROW LEVEL SECURITY;
SELECT ended('used');
CREATE POLICY none_of_it ON painted USING (false);
SELECT ended('used');
DROP TYPE pair CASCADE;
SELECT ended('used');
CREATE CAST (colour AS json) WITH INOUT;
SELECT ended('used');

--
-- Materialized views: they change when they are refreshed
--
CREATE MATERIALIZED VIEW stored AS SELECT id, price FROM product;
CREATE UNIQUE INDEX ON stored (id);
CREATE VIEW over AS SELECT * FROM stored WHERE id > 1;
INSERT INTO value VALUES
    ('stored', 'sum', 'stored', 'SELECT to_jsonb(sum(price)) FROM stored', NULL),
    ('stored', 'view', 'over', 'SELECT to_jsonb(sum(price)) FROM over', NULL),
    ('stored', 'painted', 'painted:1', 'SELECT to_jsonb(p) FROM painted p WHERE id = 1', NULL);
SELECT warm('stored');
UPDATE product SET price = 30;
SELECT ended('stored');
REFRESH MATERIALIZED VIEW stored;
SELECT ended('stored');
UPDATE product SET price = 31;
REFRESH MATERIALIZED VIEW CONCURRENTLY stored;
SELECT ended('stored');
BEGIN;
UPDATE product SET price = 32;
REFRESH MATERIALIZED VIEW stored;
ROLLBACK;
SELECT ended('stored');
DO $$ BEGIN REFRESH MATERIALIZED VIEW stored WITH NO DATA; REFRESH MATERIALIZED VIEW stored; END $$;
SELECT ended('stored');
ALTER MATERIALIZED VIEW stored RENAME COLUMN price TO cost;
UPDATE value SET query = replace(query, 'price', 'cost') WHERE name = 'sum' AND sort = 'stored';
SELECT ended('stored');

--
-- Things that go
--
DROP TABLE painted;
SELECT cachegrid.fetch('painted:1', 'SELECT to_jsonb(p) FROM painted p WHERE id = 1');
SELECT cachegrid.get('painted:1');
CREATE TABLE test_paths_too.doomed (id int PRIMARY KEY);
SELECT cachegrid.watch('test_paths_too.doomed');
SELECT cachegrid.fetch('doomed', 'SELECT count(*) FROM test_paths_too.doomed');
DROP SCHEMA test_paths_too CASCADE;
SELECT cachegrid.get('doomed');
CREATE ROLE paths_owner IN ROLE cachegrid_writer;
CREATE TABLE owned (id int PRIMARY KEY);
ALTER TABLE owned OWNER TO paths_owner;
SELECT cachegrid.watch('owned');
SELECT cachegrid.fetch('owned', 'SELECT count(*) FROM owned');
DROP OWNED BY paths_owner;
SELECT cachegrid.get('owned');
DROP ROLE paths_owner;
DROP SCHEMA test_paths CASCADE;
