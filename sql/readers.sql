--
-- Every reader in one session: isolation levels, functions of any volatility,
-- triggers, one's own rows that are not committed, workers of parallel plans.
-- Each value is compared with the table in the same statement.  What a reader
-- of another session sees meanwhile is in the specifications of test/specs.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA test_readers;
SET search_path = test_readers;
\pset format unaligned
\pset tuples_only on
CREATE TABLE product (id int PRIMARY KEY, price int);
INSERT INTO product VALUES (1, 10), (2, 20);
SELECT cachegrid.cache_table('product');
SELECT cachegrid.create_cache('prices', loader => 'SELECT sum(price) FROM product');

-- What was counted since the last call: hits, misses, and reads past the cache.
CREATE FUNCTION counts() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was numeric[] := current_setting('test.counted');
    now numeric[];
BEGIN
    SELECT ARRAY[sum(hits), sum(misses), sum(bypasses)] INTO now FROM cachegrid.stat_cache;
    PERFORM set_config('test.counted', now::text, false);
    RETURN format('%s hits, %s misses, %s past it', now[1] - was[1], now[2] - was[2], now[3] - was[3]);
END $$;
SET test.counted = '{0,0,0}';
SELECT counts() \g /dev/null

-- The same by functions of each volatility: the price of 1 and the sum, and whether that is what the table says.
CREATE FUNCTION said() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (SELECT row || ' ' || sum || CASE WHEN row = in_table AND sum = sum_in_table THEN '' ELSE ' STALE' END
            FROM (SELECT (cachegrid.fetch('product:1') ->> 'price')::int AS row, cachegrid.fetch('prices:')::int AS sum,
                         (SELECT price FROM product WHERE id = 1) AS in_table, (SELECT sum(price) FROM product) AS sum_in_table) s);
END $$;
CREATE FUNCTION said_stable() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT row || ' ' || sum || CASE WHEN row = in_table AND sum = sum_in_table THEN '' ELSE ' STALE' END
            FROM (SELECT (cachegrid.fetch('product:1') ->> 'price')::int AS row, cachegrid.fetch('prices:')::int AS sum,
                         (SELECT price FROM product WHERE id = 1) AS in_table, (SELECT sum(price) FROM product) AS sum_in_table) s);
END $$;
CREATE FUNCTION said_immutable(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN said_stable(); END';
CREATE FUNCTION said_sql() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT row || ' ' || sum || CASE WHEN row = in_table AND sum = sum_in_table THEN '' ELSE ' STALE' END
    FROM (SELECT (cachegrid.fetch('product:1') ->> 'price')::int AS row, cachegrid.fetch('prices:')::int AS sum,
                 (SELECT price FROM product WHERE id = 1) AS in_table, (SELECT sum(price) FROM product) AS sum_in_table) s $$;
\set say 'SELECT said(), said_stable(), said_immutable(id), said_sql() FROM product WHERE id = 2;'
CREATE TABLE seen (number serial, at text, volatile text, stable text, immutable text);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (at, volatile, stable, immutable) VALUES (concat_ws(' ', TG_WHEN, TG_LEVEL, TG_OP), said(), said_stable(), said_immutable(pg_trigger_depth()));
    RETURN NEW;
END $$;

:say
SELECT counts();
:say
SELECT counts();

-- Isolation levels, first with nothing of one's own, then beside own changes and after them.
BEGIN ISOLATION LEVEL READ COMMITTED;
:say
SELECT counts();
UPDATE product SET price = 11 WHERE id = 1;
:say
SELECT counts();
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
:say
SELECT counts();
SAVEPOINT s;
UPDATE product SET price = 11 WHERE id = 1;
:say
ROLLBACK TO s;
SELECT counts();
:say
SELECT counts();
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
:say
SELECT counts();
UPDATE product SET price = 11 WHERE id = 1;
:say
COMMIT;
SELECT counts();
SELECT said();
:say
SELECT counts();
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
:say
COMMIT;
SELECT counts();
BEGIN READ ONLY;
:say
COMMIT;
SELECT counts();

-- Within statements: functions in RETURNING and WHERE, triggers of every sort, exceptions.
UPDATE product SET price = price + 1 WHERE said() <> '' RETURNING id, said(), said_stable();
SELECT counts();
SELECT said();
CREATE TRIGGER a BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER b AFTER UPDATE ON product FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER c BEFORE UPDATE ON product FOR EACH STATEMENT EXECUTE FUNCTION look();
CREATE TRIGGER d AFTER UPDATE ON product FOR EACH STATEMENT EXECUTE FUNCTION look();
CREATE CONSTRAINT TRIGGER e AFTER UPDATE ON product DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
SELECT said();
UPDATE product SET price = price + 1;
SELECT at, volatile, stable, immutable FROM seen ORDER BY number;
DROP TRIGGER a ON product;
DROP TRIGGER b ON product;
DROP TRIGGER c ON product;
DROP TRIGGER d ON product;
DROP TRIGGER e ON product;
:say
SELECT counts();
DO $$
BEGIN
    RAISE INFO 'before: %', said();
    BEGIN
        UPDATE product SET price = 50;
        RAISE INFO 'within: %', said();
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        RAISE INFO 'after: %', said();
    END;
END $$;
SELECT counts();

-- A column's default, and a check.
CREATE TABLE checked (id int CHECK (said_immutable(id) NOT LIKE '%STALE'), said text DEFAULT said());
INSERT INTO checked (id) VALUES (1) RETURNING said;
SELECT counts();

-- Cursors, and a held one.
SELECT counts() \g /dev/null
BEGIN;
DECLARE plain CURSOR FOR SELECT said_sql() FROM generate_series(1, 3);
DECLARE held CURSOR WITH HOLD FOR SELECT said_sql() FROM generate_series(1, 3);
FETCH 1 FROM plain;
UPDATE product SET price = 60 WHERE id = 1;
FETCH 1 FROM plain;
FETCH 1 FROM held;
COMMIT;
FETCH 2 FROM held;
CLOSE held;
SELECT said();
SELECT counts();

-- Parallel plans: in the leader hits, in a worker, where only who lies about his function gets, never.
CREATE FUNCTION said_parallel(int) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE WHEN pg_backend_pid()::text = current_setting('test.leader') THEN 'leader: ' ELSE 'worker: ' END || said_stable();
END $$;
SELECT set_config('test.leader', pg_backend_pid()::text, false) \g /dev/null
CREATE TABLE many AS SELECT i FROM generate_series(1, 1000) i;
ANALYZE many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT said();
SELECT counts();
SELECT said_stable(), count(*) FROM many;
SELECT counts();
SET parallel_leader_participation = off;
SELECT DISTINCT said_parallel(i) FROM many WHERE i < 3;
RESET parallel_leader_participation;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT split_part(counts(), ',', 1);

SELECT cachegrid.drop_cache('product'), cachegrid.drop_cache('prices');
DROP SCHEMA test_readers CASCADE;
