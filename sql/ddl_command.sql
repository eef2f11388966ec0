-- What is read within a DDL command is what the command has made of it, be it
-- not yet reported: other event triggers fire before those of the extension.
CREATE SCHEMA test_command;
SET search_path = test_command;
SET client_min_messages = warning;
CREATE TABLE product (id int PRIMARY KEY, price int);
INSERT INTO product VALUES (1, 10);
SELECT cachegrid.watch('product', keys => '{"price:{id}"}');
CREATE FUNCTION price() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN jsonb_build_array(
        cachegrid.fetch('price:1', 'SELECT to_jsonb(p) FROM test_command.product p WHERE id = 1'),
        cachegrid.fetch('prices', 'SELECT jsonb_agg(price) FROM product'));
END $$;
CREATE TABLE seen (number serial, tag text, "when" text, price text);
CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    price text;
BEGIN
    IF tg_tag LIKE '%TABLE%' THEN
        BEGIN
            price := price();
        EXCEPTION WHEN OTHERS THEN
            price := sqlerrm;
        END;
        INSERT INTO test_command.seen (tag, "when", price) VALUES (tg_tag, tg_event, price);
    END IF;
END $$;
CREATE EVENT TRIGGER a_start ON ddl_command_start EXECUTE FUNCTION look();
CREATE EVENT TRIGGER a_end ON ddl_command_end EXECUTE FUNCTION look();
CREATE EVENT TRIGGER a_drop ON sql_drop EXECUTE FUNCTION look();
CREATE FUNCTION hits() RETURNS numeric LANGUAGE sql AS 'SELECT sum(hits) FROM cachegrid.stat_cache';

SELECT price();
ALTER TABLE product ALTER COLUMN price TYPE text USING 'EUR ' || price;
SELECT price();
ALTER TABLE product ADD COLUMN stock int DEFAULT 5;
SELECT price();
ALTER TABLE product RENAME COLUMN stock TO stored;
SELECT price();
-- Another table by that name, which the query finds first.
CREATE SCHEMA test_before;
SET search_path = test_before, test_command;
SELECT price();
CREATE TABLE product AS SELECT 20 AS price;
SELECT price();
SELECT cachegrid.watch('product');
SELECT price();
DROP TABLE product;
SELECT price();
-- EXPLAIN fires no event triggers.
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) CREATE TABLE product AS SELECT 30 AS price \g /dev/null
SELECT price();
DROP TABLE product;
SET search_path = test_command;
SELECT price();
DROP TABLE product;
SELECT tag, "when", price FROM seen ORDER BY number;

-- A command that fails in its middle is over, too.
CREATE TABLE product (id int PRIMARY KEY, price int);
INSERT INTO product VALUES (1, 10);
SELECT cachegrid.watch('product', keys => '{"price:{id}"}');
SELECT price();
ALTER TABLE product ADD CHECK (price > 10);
SELECT hits() AS before \gset
SELECT price();
SELECT hits() - :before AS hits;

DROP EVENT TRIGGER a_start;
DROP EVENT TRIGGER a_end;
DROP EVENT TRIGGER a_drop;
DROP SCHEMA test_command, test_before CASCADE;
