--
-- watch and unwatch: a changed row invalidates the keys and tags that the
-- templates of its table make of it.
--
SET client_min_messages = warning;

CREATE TABLE product (id int PRIMARY KEY, category int, name text);
INSERT INTO product SELECT i, i % 3, 'p' || i FROM generate_series(1, 6) i;

SELECT cachegrid.watch('product', ARRAY['product:{id}'], ARRAY['category:{category}']);
SELECT * FROM cachegrid.watched;

-- What stands in the store of six products and three lists of them.
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
    SELECT cachegrid.set('product:' || i, 'P' || i) FROM generate_series(1, 6) i;
    SELECT cachegrid.set('list:' || i, 'L' || i, tags => ARRAY['category:' || i])
    FROM generate_series(0, 2) i;
$$;
CREATE FUNCTION stand() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT array_to_string(cachegrid.mget(ARRAY(SELECT 'product:' || i FROM generate_series(1, 6) i)
        || ARRAY(SELECT 'list:' || i FROM generate_series(0, 2) i)), ' ', '-');
$$;

SELECT fill();
SELECT stand();

-- each kind of change
UPDATE product SET name = 'x' WHERE id = 1;
SELECT stand();
SELECT fill();
UPDATE product SET id = 20, category = 2 WHERE id = 1;
SELECT stand();
SELECT fill();
DELETE FROM product WHERE id = 2;
SELECT stand();
SELECT fill();
INSERT INTO product VALUES (1, 0, 'new'), (2, 2, 'new') ON CONFLICT DO NOTHING;
SELECT stand();
SELECT fill();
INSERT INTO product VALUES (3, 0, 'dup') ON CONFLICT (id) DO UPDATE SET category = 1;
SELECT stand();
SELECT fill();
MERGE INTO product p USING (VALUES (4), (5), (21)) v (id) ON p.id = v.id
    WHEN MATCHED AND v.id = 4 THEN DELETE
    WHEN MATCHED THEN UPDATE SET name = 'm'
    WHEN NOT MATCHED THEN INSERT VALUES (v.id, 1, 'm');
SELECT stand();
SELECT fill();
COPY product FROM stdin;
4	0	copied
\.
SELECT stand();
SELECT fill();
TRUNCATE product;
SELECT stand();

-- one's own changes at once, rolled back ones never for anybody else
INSERT INTO product SELECT i, i % 3, 'p' || i FROM generate_series(1, 6) i;
SELECT fill();
BEGIN;
UPDATE product SET name = 'x' WHERE id = 1;
SAVEPOINT s;
UPDATE product SET name = 'x' WHERE id = 2;
SELECT stand();
ROLLBACK TO s;
SELECT stand();
ROLLBACK;
SELECT stand();

-- a statement in flight: no trigger has seen the row yet, a function in
-- RETURNING has
CREATE FUNCTION stand_in_flight() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN stand(); END $$;
UPDATE product SET name = 'y' WHERE id = 1 RETURNING stand_in_flight();
SELECT stand();
-- nor does an error leave it in flight
BEGIN;
SAVEPOINT s;
INSERT INTO product VALUES (2, 2, 'duplicate');
ROLLBACK TO s;
SELECT stand();
COMMIT;

-- a BEFORE trigger decides what the row is
CREATE FUNCTION to_six() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := 6; RETURN NEW; END $$;
DELETE FROM product WHERE id = 6;
CREATE TRIGGER to_six BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION to_six();
SELECT fill();
UPDATE product SET name = 'z' WHERE id = 5;
SELECT stand();
DROP TRIGGER to_six ON product;

-- foreign keys that cascade
CREATE TABLE category (id int PRIMARY KEY);
INSERT INTO category VALUES (0), (1), (2);
ALTER TABLE product ADD FOREIGN KEY (category) REFERENCES category ON DELETE CASCADE ON UPDATE CASCADE;
SELECT fill();
UPDATE category SET id = 10 WHERE id = 1;
SELECT stand();
SELECT fill();
DELETE FROM category WHERE id = 0;
SELECT stand();
SELECT fill();
TRUNCATE category CASCADE;
SELECT stand();

-- replication applies changes as "replica"
SELECT fill();
SET session_replication_role = replica;
INSERT INTO product VALUES (1, 1, 'r');
RESET session_replication_role;
SELECT stand();

-- more keys than are remembered one by one
SELECT fill();
INSERT INTO category SELECT generate_series(0, 9);
INSERT INTO product SELECT i, 9, 'many' FROM generate_series(1000, 11000) i;
SELECT stand();
DELETE FROM product;

-- watching again replaces the templates, and ends what stood under the old ones and the new ones
SELECT fill();
SELECT cachegrid.watch('product', keys => ARRAY['list:{category}']);
SELECT stand();
SELECT * FROM cachegrid.watched;
SELECT fill();
INSERT INTO product VALUES (1, 1, 'l');
SELECT stand();
BEGIN;
SELECT cachegrid.unwatch('product');
ROLLBACK;
SELECT stand();
SELECT cachegrid.unwatch('product');
SELECT stand();
SELECT * FROM cachegrid.watched;
SELECT fill();
DELETE FROM product;
SELECT stand();
SELECT tgname FROM pg_trigger WHERE tgrelid = 'product'::regclass AND NOT tgisinternal;

-- rows changed before the watch in the same transaction
BEGIN;
INSERT INTO product VALUES (1, 1, 'early');
SELECT cachegrid.watch('product', ARRAY['product:{id}']);
COMMIT;
SELECT stand();
DROP TABLE product, category;

--
-- the text of every type, whatever the session's settings
--
CREATE TYPE colour AS ENUM ('red', 'dark red');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE kinds (dropped int, s smallint, i int, b bigint, u uuid, t text, v varchar(600), n name,
    o boolean, d date, e colour, p positive, g int GENERATED ALWAYS AS (i * 2) STORED, "a ""b" int);
ALTER TABLE kinds DROP COLUMN dropped;
SELECT cachegrid.watch('kinds', ARRAY['kinds:{s}:{i}:{b}', 'kinds:{u}', 'kinds:{{{t}}}-{v}', 'kinds:{n}/{o}', 'kinds:{d}',
    'kinds:{e}', 'kinds:{p}.{g}', 'all kinds', '{i}{{', 'kinds:"{a "b}"']);
SELECT keys FROM cachegrid.watched;
CREATE FUNCTION gone(VARIADIC keys text[]) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY keys LOOP
        IF cachegrid.get(name) IS NULL THEN RETURN NEXT name; END IF;
    END LOOP;
END $$;
CREATE FUNCTION put(VARIADIC keys text[]) RETURNS void LANGUAGE sql VOLATILE AS
    $$ SELECT cachegrid.set(name, 'v') FROM unnest(keys) name $$;
SELECT put('kinds:-2:1:9223372036854775807', 'kinds:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'kinds:{tëxt}-var',
    'kinds:nm/false', 'kinds:0044-03-15 BC', 'kinds:dark red', 'kinds:5.2', 'all kinds', '1{', 'kinds:"7"', 'kinds:other');
SET datestyle = 'German';
INSERT INTO kinds VALUES (-2, 1, 9223372036854775807, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'tëxt', 'var', 'nm', false,
    '15.03.0044 BC', 'dark red', 5, DEFAULT, 7);
RESET datestyle;
SELECT gone('kinds:-2:1:9223372036854775807', 'kinds:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'kinds:{tëxt}-var',
    'kinds:nm/false', 'kinds:0044-03-15 BC', 'kinds:dark red', 'kinds:5.2', 'all kinds', '1{', 'kinds:"7"', 'kinds:other');
SELECT put('kinds:infinity', 'kinds:{' || repeat('x', 503) || '}-', 'kinds:nm/true');
UPDATE kinds SET d = 'infinity', o = true, v = '', t = repeat('x', 503);
SELECT count(*) FROM gone('kinds:infinity', 'kinds:{' || repeat('x', 503) || '}-', 'kinds:nm/true');
-- no key at all: a column is NULL, or the key too long, compressed or not
SELECT put('kinds:', 'kinds::1:9223372036854775807', 'kinds:{' || repeat('x', 504) || '}', 'kinds:{' || repeat('x', 505));
UPDATE kinds SET t = repeat('x', 504);
UPDATE kinds SET t = repeat('x', 100000), s = NULL, d = NULL, e = NULL;
UPDATE kinds SET t = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i);
DELETE FROM kinds;
SELECT gone('kinds:', 'kinds::1:9223372036854775807', 'kinds:{' || repeat('x', 504) || '}', 'kinds:{' || repeat('x', 505));

--
-- errors
--
CREATE FUNCTION watch_error(keys text[], "table" regclass DEFAULT 'kinds') RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
    PERFORM cachegrid.watch("table", keys);
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN format(E'%s: %s\n%s\n%s', state, left(message, 100), detail, hint);
END $$;
\pset format unaligned
\pset tuples_only on
SELECT watch_error(NULL, NULL);
SELECT watch_error(ARRAY['kinds:{i}', NULL]);
SELECT watch_error(ARRAY['']);
SELECT watch_error(ARRAY['kinds:{nope}']);
SELECT watch_error(ARRAY['kinds:{I}']);
SELECT watch_error(ARRAY['kinds:{ctid}']);
SELECT watch_error(ARRAY['kinds:{dropped}']);
SELECT watch_error(ARRAY['kinds:{i']);
SELECT watch_error(ARRAY['kinds:i}']);
SELECT watch_error(ARRAY['kinds:{}']);
SELECT watch_error(ARRAY['kinds:{i{b}}']);
SELECT watch_error(ARRAY['{i}:kinds']);
SELECT watch_error(ARRAY['{t}']);
SELECT watch_error(ARRAY['kinds{e}']);
SELECT watch_error(ARRAY[repeat('k', 513)]);
SELECT watch_error(ARRAY['k:' || repeat('{i}', 9)]);
SELECT watch_error(array_agg('k:' || i)) FROM generate_series(1, 33) i;
SELECT watch_error(NULL, 1);
CREATE COLLATION nondeterministic (provider = icu, locale = 'und', deterministic = false);
CREATE TABLE refused (x numeric, f float8, ts timestamptz, c char(3), j jsonb, a int[], by bytea, l text COLLATE nondeterministic);
SELECT watch_error(ARRAY['r:{x}'], 'refused');
SELECT watch_error(ARRAY['r:{f}'], 'refused');
SELECT watch_error(ARRAY['r:{ts}'], 'refused');
SELECT watch_error(ARRAY['r:{c}'], 'refused');
SELECT watch_error(ARRAY['r:{j}'], 'refused');
SELECT watch_error(ARRAY['r:{a}'], 'refused');
SELECT watch_error(ARRAY['r:{by}'], 'refused');
SELECT watch_error(ARRAY['r:{l}'], 'refused');
CREATE VIEW a_view AS SELECT 1 AS x;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS x;
CREATE TEMP TABLE a_temp (x int);
CREATE SEQUENCE a_sequence;
CREATE FOREIGN DATA WRAPPER a_wrapper;
CREATE SERVER a_server FOREIGN DATA WRAPPER a_wrapper;
CREATE FOREIGN TABLE a_foreign (x int) SERVER a_server;
CREATE TABLE a_parent (x int PRIMARY KEY);
CREATE TABLE a_child () INHERITS (a_parent);
CREATE TABLE a_root (x int PRIMARY KEY) PARTITION BY RANGE (x);
CREATE TABLE a_partition PARTITION OF a_root DEFAULT;
SELECT watch_error(NULL, 'a_view');
SELECT watch_error(NULL, 'a_matview');
SELECT watch_error(NULL, 'a_temp');
SELECT watch_error(NULL, 'a_sequence');
SELECT watch_error(NULL, 'a_foreign');
SELECT watch_error(NULL, 'a_parent');
SELECT watch_error(NULL, 'a_child');
SELECT watch_error(NULL, 'a_partition');
SELECT watch_error(NULL, 'a_parent_pkey');
SELECT watch_error(NULL, 'pg_class');
SELECT watch_error(NULL, 'information_schema.sql_features');
SELECT watch_error(NULL, 'cachegrid.cache');
\pset format aligned
\pset tuples_only off
-- none of them left anything
SELECT "table", keys[1], active FROM cachegrid.watched;
SELECT cachegrid.unwatch(NULL);
SELECT cachegrid.unwatch('refused');
SELECT cachegrid.unwatch('a_view');
SELECT cachegrid.unwatch('a_partition');
SELECT cachegrid.capture();
SELECT cachegrid.capture_statement();
SELECT cachegrid.capture_command();
CREATE TRIGGER by_hand AFTER INSERT ON refused FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('watch');
CREATE TRIGGER "!cachegrid_by_hand" AFTER INSERT OR UPDATE OR DELETE ON refused FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('wrong');
CREATE TRIGGER "!cachegrid_by_hand" AFTER INSERT OR UPDATE OR DELETE ON refused FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('key=}');
CREATE TRIGGER "!cachegrid_by_hand" AFTER INSERT OR UPDATE OR DELETE ON refused FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('tag={');
CREATE TRIGGER "!cachegrid_by_hand" BEFORE INSERT ON refused FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('watch');
INSERT INTO refused DEFAULT VALUES;
DROP TRIGGER "!cachegrid_by_hand" ON refused;
CREATE TRIGGER "!cachegrid_by_hand" BEFORE INSERT ON refused FOR EACH ROW EXECUTE FUNCTION cachegrid.capture_statement();
INSERT INTO refused DEFAULT VALUES;

--
-- privileges: the owner of the table, and a writer
--
CREATE ROLE watch_owner;
CREATE ROLE watch_stranger IN ROLE cachegrid_admin;
CREATE TABLE owned (id int PRIMARY KEY);
ALTER TABLE owned OWNER TO watch_owner;
SELECT cachegrid.watch('owned');
SET ROLE watch_stranger;
SELECT cachegrid.watch('owned');
SELECT cachegrid.unwatch('owned');
RESET ROLE;
SET ROLE watch_owner;
SELECT cachegrid.watch('owned');
RESET ROLE;
GRANT cachegrid_writer TO watch_owner;
SET ROLE watch_owner;
-- a trigger made by hand could name the mirror of another's table
CREATE TRIGGER "!cachegrid_row" AFTER INSERT OR UPDATE OR DELETE ON owned FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('mirror=1:{1=id}');
SELECT cachegrid.watch('owned', ARRAY['owned:{id}']);
RESET ROLE;
-- who changes rows needs nothing
GRANT INSERT ON owned TO watch_stranger;
REVOKE cachegrid_admin FROM watch_stranger;
SELECT put('owned:1', 'owned:2');
SET ROLE watch_stranger;
INSERT INTO owned VALUES (1);
RESET ROLE;
SELECT gone('owned:1', 'owned:2');
DROP TABLE owned;
DROP ROLE watch_owner, watch_stranger;

-- a colon in a column's name is none of the key
CREATE TABLE colons ("a:b" int);
SELECT cachegrid.watch('colons', ARRAY['{a:b}']);
SELECT put('4711');
TRUNCATE colons;
SELECT gone('4711');
DROP TABLE colons;

-- the extension does not go while tables are watched
SELECT cachegrid.watch('a_root');
\set VERBOSITY terse
DROP EXTENSION cachegrid;
\set VERBOSITY default
SELECT cachegrid.unwatch('a_root');
DROP FUNCTION watch_error;
DROP TABLE kinds, refused, a_temp, a_root, a_parent CASCADE;
DROP FOREIGN DATA WRAPPER a_wrapper CASCADE;
DROP VIEW a_view;
DROP MATERIALIZED VIEW a_matview;
DROP SEQUENCE a_sequence;
DROP TYPE colour, positive;
DROP COLLATION nondeterministic;
DROP FUNCTION fill, stand, stand_in_flight, to_six, gone, put;
SELECT * FROM cachegrid.watched;
