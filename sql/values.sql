-- Values: set, get, mget, delete, exists, and the types they keep.

SELECT cachegrid.get('v:none') IS NULL AS miss;
SELECT cachegrid.set('v:1', 'one');
SELECT cachegrid.get('v:1'), cachegrid.exists('v:1'), cachegrid.exists('v:2');
SELECT cachegrid.get(NULL) IS NULL AS null_key;
SELECT cachegrid.set('v:1', 'uno');
SELECT cachegrid.get('v:1');
SELECT cachegrid.set('v:2', '');
SELECT cachegrid.get('v:2') = '' AS empty;

-- many at once, in order, misses and NULLs as NULL
SELECT cachegrid.mget('{v:2,v:none,v:1,NULL,v:1}');
SELECT cachegrid.mget('{}');
SELECT cachegrid.mget('{{v:1,v:none},{v:none,v:1}}');

SELECT cachegrid.delete('v:1', 'v:2', 'v:none');
SELECT cachegrid.mget('{v:1,v:2}');

-- types come back as they went in
CREATE TYPE pair AS (a int, b text);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
SELECT cachegrid.set('t:int', 42);
SELECT cachegrid.set('t:bool', true);
SELECT cachegrid.set('t:numeric', 12345678901234567890.123456789::numeric);
SELECT cachegrid.set('t:jsonb', '{"b": [1, 2.50, null], "a": "x"}'::jsonb);
SELECT cachegrid.set('t:timestamptz', '2026-01-02 03:04:05.678+00'::timestamptz);
SELECT cachegrid.set('t:interval', '1 month 2 days'::interval);
SELECT cachegrid.set('t:uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid);
SELECT cachegrid.set('t:bytea', '\x00ff00'::bytea);
SELECT cachegrid.set('t:array', ARRAY[[1, 2], [3, NULL]]);
SELECT cachegrid.set('t:pair', ROW(1, 'x''y')::pair);
SELECT cachegrid.set('t:pairs', ARRAY[ROW(1, 'x')::pair, NULL, ROW(NULL, NULL)::pair]);
SELECT cachegrid.set('t:mood', 'glad'::mood);
SELECT cachegrid.set('t:positive', 7::positive);
SELECT cachegrid.set('t:range', '[1,5)'::int4range);
SELECT cachegrid.set('t:name', 'a name'::name); -- what casts to text by itself is kept as text

SELECT cachegrid.get('t:int', 0) + 1 AS int, cachegrid.get('t:bool', NULL::bool) AS bool,
       cachegrid.get('t:numeric', 0::numeric) AS numeric;
SELECT cachegrid.get('t:jsonb', NULL::jsonb) -> 'b' AS jsonb;
SELECT cachegrid.get('t:timestamptz', NULL::timestamptz) AS timestamptz,
       cachegrid.get('t:interval', NULL::interval) AS interval;
SELECT cachegrid.get('t:uuid', NULL::uuid) AS uuid, cachegrid.get('t:bytea', NULL::bytea) AS bytea;
SELECT cachegrid.get('t:array', NULL::int[]) AS array, (cachegrid.get('t:pair', NULL::pair)).b;
SELECT (cachegrid.get('t:pairs', NULL::pair[]))[1].a, cachegrid.get('t:pairs');
SELECT cachegrid.get('t:mood', NULL::mood) AS mood, cachegrid.get('t:positive', NULL::positive) AS positive,
       cachegrid.get('t:range', NULL::int4range) AS range, cachegrid.get('t:name', ''::text) AS name;
SELECT cachegrid.get('t:int'), cachegrid.get('t:jsonb'), cachegrid.get('t:pair');
SELECT cachegrid.get('t:none', 0) IS NULL AS miss;

-- another type is an error that names both
SELECT cachegrid.get('t:int', NULL::text);
SELECT cachegrid.get('t:jsonb', NULL::pair);

-- a type that is no longer what it was is a miss, never nonsense
ALTER TYPE pair ALTER ATTRIBUTE a TYPE text;
SELECT cachegrid.get('t:pair', NULL::pair) IS NULL AS altered, cachegrid.get('t:pairs') IS NULL AS altered_too;
DROP TYPE mood;
SELECT cachegrid.get('t:mood') IS NULL AS dropped;
CREATE TYPE bounds AS (low int, high int);
CREATE TYPE span AS RANGE (SUBTYPE = bounds, MULTIRANGE_TYPE_NAME = spans);
SELECT cachegrid.set('t:span', span(ROW(1, 2)::bounds, ROW(3, 4)::bounds)), cachegrid.set('t:spans', spans(span(ROW(1, 2)::bounds, ROW(3, 4)::bounds)));
SELECT cachegrid.get('t:span'), cachegrid.get('t:spans');
ALTER TYPE bounds ALTER ATTRIBUTE low TYPE text;
SELECT cachegrid.get('t:span') IS NULL AND cachegrid.get('t:spans') IS NULL AS ranges_of_other_rows_are_gone;
-- so it is however deep the altered one lies
CREATE SCHEMA nest;
CREATE TYPE nest.t0 AS (a int);
DO $$
DECLARE
    value text := 'ROW(1)::nest.t0';
BEGIN
    FOR i IN 1..20 LOOP
        EXECUTE format('CREATE TYPE nest.t%s AS (a nest.t%s, b int)', i, i - 1);
        value := format('ROW(%s, %s)::nest.t%s', value, i, i);
    END LOOP;
    EXECUTE format('SELECT cachegrid.set(''t:nested'', %s)', value);
END $$;
SELECT ((cachegrid.get('t:nested', NULL::nest.t20)).a).b;
ALTER TYPE nest.t0 ALTER ATTRIBUTE a TYPE text;
SELECT cachegrid.get('t:nested') IS NULL AS altered;
SET client_min_messages = warning;
DROP SCHEMA nest CASCADE;
RESET client_min_messages;

-- a toasted value is kept whole, a value out of a table, too
CREATE TABLE documents (id int, body text);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
INSERT INTO documents VALUES (1, repeat('0123456789', 100000));
SELECT cachegrid.set('d:1', body) FROM documents;
DROP TABLE documents;
SELECT length(cachegrid.get('d:1')), md5(cachegrid.get('d:1')) = md5(repeat('0123456789', 100000)) AS same;

-- 16 MB fit, a byte more does not
SELECT cachegrid.set('d:large', repeat('x', 16 * 1024 * 1024));
SELECT length(cachegrid.get('d:large')), cachegrid.get('d:large') = repeat('x', 16 * 1024 * 1024) AS same;
SELECT cachegrid.set('d:large', repeat('x', 16 * 1024 * 1024 + 1));
SELECT length(cachegrid.get('d:large'));

-- immediate operations
SELECT cachegrid.add('i:1', 'first'), cachegrid.add('i:1', 'second'), cachegrid.get('i:1');
SELECT cachegrid.replace('i:1', 'third'), cachegrid.replace('i:none', 'x'), cachegrid.get('i:1'), cachegrid.get('i:none');
SELECT value, version IS NOT NULL AS versioned FROM cachegrid.gets('i:1');
SELECT * FROM cachegrid.gets('i:none');
SELECT version AS old_version FROM cachegrid.gets('i:1') \gset
SELECT cachegrid.cas('i:1', 'fourth', :old_version), cachegrid.cas('i:1', 'fifth', :old_version), cachegrid.get('i:1');
SELECT cachegrid.incr('i:n'), cachegrid.incr('i:n', 41), cachegrid.decr('i:n'), cachegrid.decr('i:n', -9);
SELECT cachegrid.set('i:text', '-5');
SELECT cachegrid.incr('i:text', 6), cachegrid.get('i:text', 0::bigint);
SELECT cachegrid.set('i:long', repeat('0', 21));
SELECT cachegrid.incr('i:long');
SELECT cachegrid.incr('i:1');
SELECT cachegrid.incr('i:n', 9223372036854775807);
SELECT cachegrid.get('i:n');
BEGIN;
SELECT cachegrid.incr('i:n');
SELECT cachegrid.add('i:2', 1);
ROLLBACK;
SELECT cachegrid.get('i:n'), cachegrid.get('i:2');

DROP TYPE pair;
DROP DOMAIN positive;
