--
-- watch under DDL: partitions, columns that change, triggers that are
-- disabled, tables that are renamed or dropped.
--
SET client_min_messages = warning;

CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
    SELECT cachegrid.set('sale:' || i, 'S' || i) FROM generate_series(1, 6) i;
    SELECT cachegrid.set('of ' || r, 'R' || r, tags => ARRAY['region:' || r]) FROM unnest('{a,b,c,d}'::text[]) r;
$$;
CREATE FUNCTION stand() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT array_to_string(cachegrid.mget(ARRAY(SELECT 'sale:' || i FROM generate_series(1, 6) i)
        || '{of a,of b,of c,of d}'), ' ', '-');
$$;
-- What PostgreSQL has of the triggers; the arguments of clones are those of the root.
CREATE FUNCTION triggers() RETURNS TABLE (on_table regclass, name name, enabled "char", clone boolean, arguments text)
LANGUAGE sql STABLE AS $$
    SELECT tgrelid::regclass, tgname, tgenabled, tgparentid <> 0,
           replace(encode(tgargs, 'escape'), E'\\000', ' ')
    FROM pg_trigger WHERE tgname LIKE '!cachegrid%' ORDER BY tgrelid::regclass::text, tgname
$$;

--
-- partitions, one with its columns in another order
--
CREATE TABLE sale (id int, region text, amount int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sale_a PARTITION OF sale FOR VALUES IN ('a');
CREATE TABLE sale_b (amount int, dropped int, region text NOT NULL, id int NOT NULL);
ALTER TABLE sale_b DROP COLUMN dropped;
ALTER TABLE sale ATTACH PARTITION sale_b FOR VALUES IN ('b');
SELECT cachegrid.watch('sale_b');
SELECT cachegrid.watch('sale', ARRAY['sale:{id}'], ARRAY['region:{region}']);
SELECT * FROM triggers();
SELECT * FROM cachegrid.watched;
SELECT cachegrid.unwatch('sale_b');

SELECT fill();
INSERT INTO sale VALUES (1, 'a', 10), (2, 'b', 20);
SELECT stand();
SELECT fill();
UPDATE sale SET region = 'a' WHERE id = 2;
SELECT stand();
SELECT fill();
INSERT INTO sale_b VALUES (30, 'b', 3);
SELECT stand();
-- in flight, by the partition's own name
CREATE FUNCTION stand_in_flight() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN stand(); END $$;
SELECT fill();
UPDATE sale_b SET amount = 31 RETURNING stand_in_flight();
SELECT fill();
TRUNCATE sale_b;
SELECT stand();

-- new partitions get their triggers, and bring rows along
SELECT fill();
CREATE TABLE sale_c PARTITION OF sale FOR VALUES IN ('c');
SELECT stand();
CREATE TABLE sale_d (LIKE sale);
INSERT INTO sale_d VALUES (4, 'd', 40);
SELECT fill();
ALTER TABLE sale ATTACH PARTITION sale_d FOR VALUES IN ('d');
SELECT stand();
SELECT on_table, name, enabled, clone FROM triggers() WHERE on_table IN ('sale_c'::regclass, 'sale_d'::regclass);
SELECT fill();
UPDATE sale SET amount = 41 WHERE id = 4;
SELECT stand();

-- and take them along
SELECT fill();
ALTER TABLE sale DETACH PARTITION sale_d;
SELECT stand();
SELECT fill();
ALTER TABLE sale DETACH PARTITION sale_c CONCURRENTLY;
SELECT stand();
SELECT on_table, name FROM triggers() WHERE on_table IN ('sale_c'::regclass, 'sale_d'::regclass);
SELECT fill();
UPDATE sale_d SET amount = 42;
SELECT stand();
CREATE TABLE sale_x PARTITION OF sale FOR VALUES IN ('x');
SELECT fill();
DROP TABLE sale_x;
SELECT stand();

-- a watched table does not become a partition or part of an inheritance tree
SELECT cachegrid.watch('sale_d');
ALTER TABLE sale ATTACH PARTITION sale_d FOR VALUES IN ('d');
CREATE TABLE other (LIKE sale_d) PARTITION BY LIST (region);
ALTER TABLE other ATTACH PARTITION sale_d FOR VALUES IN ('d');
CREATE TABLE child () INHERITS (sale_d);
CREATE TABLE parent (LIKE sale_d);
ALTER TABLE sale_d INHERIT parent;
SELECT "table" FROM cachegrid.watched;
DROP TABLE sale_c, sale_d, other, parent;

--
-- columns
--
SELECT fill();
ALTER TABLE sale RENAME COLUMN id TO number;
SELECT stand();
SELECT keys FROM cachegrid.watched;
SELECT on_table, arguments FROM triggers() WHERE name LIKE '%row';
-- the old name for another column
ALTER TABLE sale RENAME COLUMN amount TO id;
SELECT fill();
INSERT INTO sale (number, region, id) VALUES (5, 'b', 6);
SELECT stand();
ALTER TABLE sale DROP COLUMN number CASCADE;
ALTER TABLE sale ALTER COLUMN number TYPE numeric;
SELECT fill();
ALTER TABLE sale ALTER COLUMN number TYPE bigint;
SELECT stand();
SELECT fill();
UPDATE sale SET id = 7 WHERE number = 5;
SELECT stand();
SELECT fill();
ALTER TABLE sale DROP COLUMN id;
SELECT stand();
ALTER TABLE sale RENAME COLUMN number TO "odd}{name";
ALTER TABLE sale RENAME COLUMN number TO id;
-- a type whose column goes
CREATE TYPE shade AS ENUM ('light', 'dark');
CREATE TABLE paint (id int PRIMARY KEY, shade shade);
SELECT cachegrid.watch('paint', ARRAY['paint:{shade}']);
DROP TYPE shade CASCADE;
ALTER TYPE shade RENAME VALUE 'dark' TO 'dim';
SELECT cachegrid.set('paint:dim', 'v');
INSERT INTO paint VALUES (1, 'dim');
SELECT cachegrid.get('paint:dim');
DROP TABLE paint;
DROP TYPE shade;

--
-- triggers that are disabled: everything is invalidated, and not counted on
--
SELECT fill();
ALTER TABLE sale DISABLE TRIGGER ALL;
SELECT stand();
SELECT "table", active FROM cachegrid.watched;
SELECT fill();
ALTER TABLE sale ENABLE TRIGGER ALL;
SELECT stand();
SELECT "table", active FROM cachegrid.watched;
SELECT fill();
ALTER TABLE sale_b DISABLE TRIGGER "!cachegrid_row";
SELECT stand();
SELECT cachegrid.fetch('sale:5', 'SELECT to_jsonb(region) FROM sale WHERE id = $1', '{5}');
ALTER TABLE sale_b ENABLE TRIGGER "!cachegrid_row";
SELECT cachegrid.fetch('sale:5', 'SELECT to_jsonb(region) FROM sale WHERE id = $1', '{5}');
SELECT name, enabled FROM triggers() WHERE on_table = 'sale_b'::regclass;
ALTER TRIGGER "!cachegrid_row" ON sale RENAME TO something;
SELECT fill();
BEGIN;
DROP TRIGGER "!cachegrid_row" ON sale;
SELECT stand();
SELECT * FROM cachegrid.watched;
COMMIT;
SELECT stand();
SELECT cachegrid.unwatch('sale');
SELECT cachegrid.watch('sale', ARRAY['sale:{id}'], ARRAY['region:{region}']);

--
-- tables
--
SELECT fill();
ALTER TABLE sale RENAME TO trade;
SELECT stand();
SELECT * FROM cachegrid.watched;
SELECT fill();
ALTER TABLE trade ENABLE ROW LEVEL SECURITY;
SELECT stand();
SELECT fill();
-- nothing that anybody could see
COMMENT ON TABLE trade IS 'renamed';
ANALYZE trade;
VACUUM trade;
SELECT stand();
DROP TABLE trade;
SELECT stand();
SELECT * FROM triggers();

-- temporary tables fire event triggers, too
CREATE TEMP TABLE brief (id int) ON COMMIT DROP;
DROP FUNCTION fill, stand, stand_in_flight, triggers;
