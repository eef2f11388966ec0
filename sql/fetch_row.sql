-- Rows by primary key, in their own type.

CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE TYPE point3 AS (x float8, y float8, name text);
CREATE TABLE wide (
    gone int, id int PRIMARY KEY, n numeric, f float8, at timestamptz, day date, span interval, b bytea, a int[], p positive, m mood,
    c point3, cs point3[], j json, jb jsonb, fixed char(5), r int4range, u uuid, bits bit varying, "Odd, name" text, wide text, t text
);
INSERT INTO wide VALUES
    (0, 1, 'NaN', '-0', '2024-02-29 12:34:56.789012+02', 'infinity', '1 mon -1 day 00:00:01', '\x00ff10', '[0:1]={1,NULL}', 7, 'fine',
     '(1,NaN,"a,b")', ARRAY['(1,2,x)', NULL]::point3[], '{"a": 1,  "a": 2}', '{"b": [1.10]}', 'ab', '[1,5)', '00000000-0000-0000-0000-00000000000a', B'101', 'x', NULL, repeat('long', 5000)),
    (0, 2, 1.10, 0.1, NULL, NULL, NULL, '', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'empty', NULL, NULL, NULL, NULL, NULL);
ALTER TABLE wide DROP COLUMN gone;
CREATE FUNCTION row_of(id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    loads bigint := (SELECT s.loads FROM cachegrid.stat_cache AS s WHERE cache = 'wide');
    given wide := cachegrid.fetch_row(NULL::wide, id);
    wanted wide := (SELECT w FROM wide AS w WHERE w.id = row_of.id::int);
BEGIN
    RETURN format('%s, loads %s, same %s', CASE WHEN given IS NOT DISTINCT FROM NULL THEN 'NULL' ELSE given.id::text END,
                  (SELECT s.loads FROM cachegrid.stat_cache AS s WHERE cache = 'wide') - loads,
                  given::text IS NOT DISTINCT FROM wanted::text AND (given::text IS NULL OR given *= wanted));
END
$$;
\set VERBOSITY terse
SELECT cachegrid.fetch_row(NULL::wide, '1');
SELECT cachegrid.cache_table('wide');
SELECT source, loader FROM cachegrid.cache WHERE name = 'wide';
SELECT row_of('1'), row_of('1'), row_of('2'), row_of('2'), row_of('3'), row_of('3');
SELECT cachegrid.fetch_row(NULL::wide, '3') IS NULL AS null, pg_typeof(cachegrid.fetch_row(NULL::wide, '3')), pg_typeof(cachegrid.fetch_row(NULL::wide, '1'));
SELECT (cachegrid.fetch_row(NULL::wide, '1')).a, (cachegrid.fetch_row(NULL::wide, '1')).j, length((cachegrid.fetch_row(NULL::wide, '1')).t);

-- Beside the object, and ending with it.
SELECT cachegrid.fetch('wide:1') ->> 'n' AS n;
SELECT row_of('1');
SELECT key, type FROM cachegrid.entries('wide:*') ORDER BY key;
UPDATE wide SET n = 2 WHERE id = 2;
SELECT row_of('1'), row_of('2');
UPDATE wide SET m = 'sad' WHERE id = 1;
SELECT row_of('1'), row_of('2');
INSERT INTO wide (id) VALUES (3);
SELECT row_of('3');
DELETE FROM wide WHERE id = 3;
SELECT row_of('3');
SELECT cachegrid.invalidate('wide:1');
SELECT row_of('1'), row_of('1');
SELECT cachegrid.delete('wide:1');
SELECT row_of('1');
BEGIN;
UPDATE wide SET m = 'fine' WHERE id = 1;
SELECT row_of('1');
ROLLBACK;
SELECT row_of('1');
-- what means the same row, and is not the key that its changes come by
SELECT row_of('01'), row_of('01');
UPDATE wide SET m = 'fine' WHERE id = 1;
SELECT row_of('01'), row_of('01');
-- Columns that come, go, and change.
ALTER TABLE wide ADD COLUMN new text DEFAULT 'added', DROP COLUMN span;
SELECT row_of('1'), row_of('1'), (cachegrid.fetch_row(NULL::wide, '1')).new;
ALTER TYPE point3 ADD ATTRIBUTE z float8;
SELECT row_of('1'), row_of('1');
ALTER TYPE mood ADD VALUE 'new';
UPDATE wide SET m = 'new' WHERE id = 1;
SELECT row_of('1');
ALTER TABLE wide RENAME COLUMN id TO key;
ALTER TABLE wide RENAME COLUMN key TO id;
SELECT row_of('1');

-- Keys of several columns.
CREATE TABLE order_line ("order" text, place bigint, item text, PRIMARY KEY (place, "order"));
INSERT INTO order_line VALUES ('a', 1, 'pen'), ('b:c', 2, 'ink');
SELECT cachegrid.cache_table('order_line', ttl => '1 hour');
SELECT cachegrid.fetch_row(NULL::order_line, '1', 'a'), cachegrid.fetch_row(NULL::order_line, VARIADIC '{2,b:c}'), cachegrid.fetch_row(NULL::order_line, '2', 'a') IS NULL AS null;
UPDATE order_line SET item = item || '!';
SELECT cachegrid.fetch_row(NULL::order_line, '1', 'a'), cachegrid.fetch_row(NULL::order_line, VARIADIC '{2,b:c}');

-- Errors.
SELECT cachegrid.fetch_row(NULL::order_line, '1');
SELECT cachegrid.fetch_row(NULL::order_line, '1', NULL);
SELECT cachegrid.fetch_row(NULL::order_line, VARIADIC NULL);
SELECT cachegrid.fetch_row(NULL::order_line, VARIADIC '{}');
SELECT cachegrid.fetch_row(NULL::order_line, 'x', 'a');
SELECT cachegrid.fetch_row(NULL::point3, '1');
SELECT cachegrid.fetch_row(NULL::int, '1');
SELECT cachegrid.fetch_row(NULL, '1');
SELECT cachegrid.fetch_row(NULL::order_line, '1', repeat('x', 496));
SELECT cachegrid.set('order_line:1:a::row', 'mine');
SELECT cachegrid.fetch_row(NULL::order_line, '1', 'a');
SELECT cachegrid.delete('order_line:1:a::row');
SELECT cachegrid.cache_table('order_line', 'lines');
SELECT cachegrid.fetch_row(NULL::order_line, '1', 'a');
SELECT cachegrid.alter_cache('order_line', loader => 'SELECT 1');
SELECT cachegrid.fetch_row(NULL::order_line, '1', 'a');
SELECT cachegrid.drop_cache('lines');
SELECT cachegrid.fetch_row(NULL::order_line, '1', 'a');
-- Within another value.
SELECT cachegrid.fetch('around', 'SELECT (cachegrid.fetch_row(NULL::wide, ''2'')).n');
UPDATE wide SET n = 3 WHERE id = 2;
SELECT cachegrid.fetch('around', 'SELECT (cachegrid.fetch_row(NULL::wide, ''2'')).n');
-- By whose rights, as the loader.
CREATE ROLE row_reader IN ROLE cachegrid_reader;
SET ROLE row_reader;
SELECT (cachegrid.fetch_row(NULL::wide, '2')).n;
RESET ROLE;
CREATE ROLE row_owner;
GRANT SELECT ON wide TO row_owner;
SELECT cachegrid.alter_cache('wide', run_as => 'row_owner');
SET ROLE row_reader;
SELECT (cachegrid.fetch_row(NULL::wide, '2')).n, cachegrid.fetch('wide:2') -> 'n' AS object;
RESET ROLE;

SELECT name, cachegrid.drop_cache(name) FROM cachegrid.cache WHERE name IN ('wide', 'order_line') ORDER BY name;
DROP TABLE wide, order_line CASCADE;
DROP ROLE row_reader, row_owner;
DROP FUNCTION row_of;
DROP TYPE point3, mood, positive;
