--
-- Ways to write that PostgreSQL 18 has added; see write_paths.
--
SELECT current_setting('server_version_num')::int < 180000 AS is_older \gset
\if :is_older
\quit
\endif
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA test_paths;
SET search_path = test_paths;
SET DateStyle = ISO;
\pset format unaligned
\pset tuples_only on
\getenv source PG_ABS_SRCDIR
\set source :source /test/ended.sql
\set ECHO none
\i :source
\set ECHO all

-- virtual generated columns are computed by who reads them
CREATE TABLE product (id int PRIMARY KEY, price int, twice int GENERATED ALWAYS AS (price * 2) VIRTUAL);
INSERT INTO product SELECT i, i FROM generate_series(1, 3) i;
SELECT cachegrid.watch('product', '{"twice:{twice}"}');
SELECT cachegrid.watch('product', '{"product:{id}"}');
INSERT INTO value SELECT 'product', 'product ' || i, 'product:' || i, 'SELECT to_jsonb(p) FROM product p WHERE id = ' || i, NULL FROM generate_series(1, 4) i;
INSERT INTO value VALUES ('product', 'sum', 'sum', 'SELECT to_jsonb(sum(twice)) FROM product', NULL);
INSERT INTO value VALUES ('product', 'by virtual', 'twice:4', 'SELECT to_jsonb(id) FROM product WHERE twice = 4', NULL);
SELECT warm();
UPDATE product SET price = 4 WHERE id = 2;
SELECT ended();
ALTER TABLE product ALTER COLUMN twice SET EXPRESSION AS (price * 3);
SELECT ended();

-- the old and the new row
INSERT INTO product VALUES (4, 4) RETURNING old.id, new.twice;
SELECT ended();
UPDATE product SET price = 5 WHERE id = 4 RETURNING old.price, new.price;
SELECT ended();
INSERT INTO product VALUES (4, 6) ON CONFLICT (id) DO UPDATE SET price = excluded.price RETURNING WITH (OLD AS o, NEW AS n) o.price, n.price;
SELECT ended();
MERGE INTO product p USING (VALUES (1)) s (n) ON p.id = s.n WHEN MATCHED THEN UPDATE SET price = 11 RETURNING old.price, new.price;
SELECT ended();
DELETE FROM product WHERE id = 4 RETURNING old.price, new.price;
SELECT ended();

COPY product (id, price) FROM stdin (ON_ERROR ignore, REJECT_LIMIT 1);
4	x
4	40
\.
SELECT ended();

-- foreign keys over time, and such that are not enforced
CREATE EXTENSION btree_gist;
CREATE TABLE rate (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE bill (id int, during daterange, rate int, PRIMARY KEY (id, during WITHOUT OVERLAPS), FOREIGN KEY (rate, PERIOD during) REFERENCES rate (id, PERIOD during));
INSERT INTO rate VALUES (1, '[2024-01-01,2025-01-01)');
SELECT cachegrid.watch('rate', '{"rate:{id}"}'), cachegrid.watch('bill', '{"bill:{id}"}');
INSERT INTO value VALUES ('time', 'rate 1', 'rate:1', 'SELECT jsonb_agg(r ORDER BY r) FROM rate r WHERE id = 1', NULL), ('time', 'bill 1', 'bill:1', 'SELECT jsonb_agg(b ORDER BY b) FROM bill b WHERE id = 1', NULL), ('time', 'bills', 'bills', 'SELECT to_jsonb(count(*)) FROM bill', NULL);
SELECT warm('time');
INSERT INTO bill VALUES (1, '[2024-02-01,2024-03-01)', 1);
SELECT ended('time');
UPDATE rate SET during = '[2024-01-01,2026-01-01)' WHERE id = 1;
SELECT ended('time');
DELETE FROM rate;
SELECT ended('time');
ALTER TABLE product ADD COLUMN rate int, ADD CONSTRAINT no_force FOREIGN KEY (rate) REFERENCES product NOT ENFORCED;
ALTER TABLE product ADD CONSTRAINT self FOREIGN KEY (rate) REFERENCES product ON DELETE CASCADE;
UPDATE product SET rate = 2 WHERE id = 3;
SELECT warm();
DELETE FROM product WHERE id = 2;
SELECT ended();
SET client_min_messages = warning;
DROP SCHEMA test_paths CASCADE;
