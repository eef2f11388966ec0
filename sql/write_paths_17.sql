--
-- Ways to write that PostgreSQL 17 has added; see write_paths.
--
SELECT current_setting('server_version_num')::int < 170000 AS is_older \gset
\if :is_older
\quit
\endif
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

CREATE TABLE product (id int PRIMARY KEY, price int, twice int GENERATED ALWAYS AS (price * 2) STORED);
INSERT INTO product SELECT i, i FROM generate_series(1, 4) i;
CREATE VIEW cheap AS SELECT id, price FROM product WHERE price < 100;
SELECT cachegrid.watch('product', '{"product:{id}"}');
INSERT INTO value SELECT 'product', 'product ' || i, 'product:' || i, 'SELECT to_jsonb(p) FROM product p WHERE id = ' || i, NULL FROM generate_series(1, 5) i;
INSERT INTO value VALUES ('product', 'sum', 'sum', 'SELECT to_jsonb(sum(twice)) FROM product', NULL);
SELECT warm();
SELECT ended();

MERGE INTO product p USING (VALUES (1), (2), (5)) s (n) ON p.id = s.n
    WHEN MATCHED AND n = 1 THEN UPDATE SET price = 10
    WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (n, n)
    WHEN NOT MATCHED BY SOURCE AND id = 4 THEN DELETE
    RETURNING merge_action(), p.id;
SELECT ended();
WITH merged AS (MERGE INTO product p USING (VALUES (2)) s (n) ON p.id = s.n WHEN MATCHED THEN UPDATE SET price = 20 RETURNING p.*)
    SELECT id FROM merged;
SELECT ended();
MERGE INTO cheap p USING (VALUES (3)) s (n) ON p.id = s.n WHEN MATCHED THEN UPDATE SET price = 30;
SELECT ended();
EXPLAIN (ANALYZE, SERIALIZE) MERGE INTO product p USING (VALUES (3)) s (n) ON p.id = s.n WHEN MATCHED THEN UPDATE SET price = 31 RETURNING p.id \g /dev/null
SELECT ended();
COPY product (id, price) FROM stdin (ON_ERROR ignore);
4	x
4	40
\.
SELECT ended();
ALTER TABLE product ALTER COLUMN twice SET EXPRESSION AS (price * 3);
SELECT ended();
CREATE FUNCTION on_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE test_paths.product SET price = 100 WHERE id = 1; END $$;
CREATE EVENT TRIGGER on_login ON login EXECUTE FUNCTION on_login();
SELECT warm();
\c -
SET search_path = test_paths;
SELECT ended();
DROP EVENT TRIGGER on_login;
-- event triggers that are switched off: a REFRESH is noticed all the same
CREATE MATERIALIZED VIEW stored AS SELECT * FROM product;
INSERT INTO value VALUES ('stored', 'sum', 'stored', 'SELECT to_jsonb(sum(price)) FROM stored', NULL);
SELECT warm('stored');
SET event_triggers = off;
UPDATE product SET price = 50;
REFRESH MATERIALIZED VIEW stored;
RESET event_triggers;
SELECT ended('stored');
SET client_min_messages = warning;
DROP SCHEMA test_paths CASCADE;
