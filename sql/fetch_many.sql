-- Many values at once: order and length, what is computed and how often, and what each value depends on.

SELECT cachegrid.delete('runs') IS NOT NULL AS deleted;
CREATE TABLE goods (id int PRIMARY KEY, name text, price int, kind int);
INSERT INTO goods SELECT n, 'goods ' || n, n * 10, n % 3 FROM generate_series(1, 5000) AS n;
-- A cache's counters since the last call.
CREATE TABLE seen (cache text PRIMARY KEY, hits bigint, misses bigint, loads bigint);
CREATE FUNCTION counted(c text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    was seen := (SELECT s FROM seen AS s WHERE cache = c);
    now seen := (SELECT ROW(c, s.hits, s.misses, s.loads)::seen FROM cachegrid.stat_cache AS s WHERE s.cache = c);
BEGIN
    INSERT INTO seen VALUES (now.*) ON CONFLICT (cache) DO UPDATE SET hits = now.hits, misses = now.misses, loads = now.loads;
    RETURN format('%s hits, %s misses, %s loads', now.hits - coalesce(was.hits, 0), now.misses - coalesce(was.misses, 0), now.loads - coalesce(was.loads, 0));
END
$$;
CREATE FUNCTION runs() RETURNS int LANGUAGE sql AS $$
    SELECT coalesce(cachegrid.get('runs')::int, 0) FROM (SELECT cachegrid.incr('runs', 0)) AS r
$$;
CREATE FUNCTION error_of(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;
\set VERBOSITY terse

-- Order, length, doubles, keys without a row; one query for all that are not there.
SELECT cachegrid.cache_table('goods');
SELECT counted('goods');
SELECT v ->> 'name' AS name FROM unnest(cachegrid.fetch_many('{goods:3,goods:1,goods:9999,goods:3,goods:2}')) AS v;
SELECT counted('goods');
SELECT v ->> 'name' AS name FROM unnest(cachegrid.fetch_many('{goods:4,goods:9999,goods:1}')) AS v;
SELECT counted('goods'), cachegrid.exists('goods:9999') AS known;
SELECT cachegrid.fetch('goods:3') = (cachegrid.fetch_many('{goods:3}'))[1] AS same;
SELECT counted('goods');
SELECT cachegrid.fetch_many('{}'), cachegrid.fetch_many('[5:5]={goods:1}'::text[])::text LIKE '{"{%' AS from_1;
-- more than go into one query
SELECT count(*), count(DISTINCT v), bool_and((v ->> 'id')::int = place) AS in_place
  FROM unnest(cachegrid.fetch_many(ARRAY(SELECT 'goods:' || n FROM generate_series(1, 2500) AS n))) WITH ORDINALITY AS u (v, place);
SELECT counted('goods');
SELECT count(*) FROM unnest(cachegrid.fetch_many(ARRAY(SELECT 'goods:' || n FROM generate_series(1, 2500) AS n))) AS v WHERE v IS NOT NULL;
SELECT counted('goods');

-- Each depends on its own rows.
UPDATE goods SET price = 1 WHERE id = 2;
SELECT v ->> 'price' AS price FROM unnest(cachegrid.fetch_many('{goods:1,goods:2,goods:3}')) AS v;
SELECT counted('goods');
INSERT INTO goods VALUES (9999, 'last', 1, 1);
SELECT v ->> 'name' AS name FROM unnest(cachegrid.fetch_many('{goods:1,goods:9999}')) AS v;
SELECT counted('goods');
-- an odd key of the batch depends on more, the others do not
SELECT v ->> 'id' AS id FROM unnest(cachegrid.fetch_many('{goods:3001,goods:03002,goods:3003}')) AS v;
UPDATE goods SET price = 2 WHERE id = 4000;
SELECT key FROM unnest('{goods:3001,goods:03002,goods:3003}'::text[]) AS key WHERE cachegrid.exists(key);
-- own changes, and within a transaction that has written
BEGIN;
UPDATE goods SET price = 7 WHERE id = 1;
SELECT counted('goods');
SELECT v ->> 'price' AS price FROM unnest(cachegrid.fetch_many('{goods:1,goods:2,goods:4999}')) AS v;
SELECT counted('goods'), cachegrid.exists('goods:4999') AS kept;
ROLLBACK;
SELECT v ->> 'price' AS price FROM unnest(cachegrid.fetch_many('{goods:1,goods:2}')) AS v;
SELECT counted('goods');

-- Queries of all sorts: the same as fetch gives, one by one.
CREATE TABLE queries (n int, query text);
INSERT INTO queries VALUES
    (1, 'SELECT name FROM goods WHERE id = $1'),
    (2, 'SELECT id, name AS "key", price AS place FROM goods WHERE id = $1;'),
    (3, 'SELECT sum(price), count(*) FROM goods WHERE kind = $1 -- a comment'),
    (4, 'SELECT max($1::int)'),
    (5, 'SELECT (SELECT max($1::int)), name FROM goods WHERE id = $1'),
    (6, 'WITH g AS (SELECT * FROM goods WHERE id = $1) SELECT jsonb_agg(to_jsonb(g)) FROM g'),
    (7, 'VALUES ($1 || '' $1'', 2)'),
    (8, 'SELECT jsonb_agg(id ORDER BY id) FROM (SELECT id FROM goods WHERE id > $1::int ORDER BY id LIMIT $1::int) AS g'),
    (9, 'SELECT 1'),
    (10, 'SELECT name FROM goods WHERE id = $1 UNION ALL SELECT ''x'' WHERE $1 = 3 LIMIT 1'),
    (11, 'SELECT NULL::int AS a, NULL::int AS b FROM goods WHERE id = $1'),
    (12, 'SELECT g FROM goods AS g WHERE id = $1 AND $1 > 1'),
    (13, 'SELECT count(*) FILTER (WHERE id = $1) FROM goods'),
    (14, 'SELECT array_agg($1::int) OVER () FROM goods WHERE id = $1'),
    (15, 'SELECT DISTINCT ON ($1::int) $1::text FROM goods WHERE id < 5'),
    (16, 'SELECT "cachegrid keys 0".p1, $1::text FROM (SELECT $1 || ''!'' AS p1) AS "cachegrid keys 0"'),
    (17, 'SELECT $1::int, id AS "a ""b"", ($1)" FROM goods WHERE id = $1');
SELECT cachegrid.create_cache('any');
SELECT q.n, a.*, g.one IS NOT DISTINCT FROM g.many AS same, g.many
  FROM queries AS q
 CROSS JOIN LATERAL (SELECT cachegrid.alter_cache('any', loader => q.query) IS NULL AS "-") AS a
 CROSS JOIN LATERAL (SELECT q.n AS again, cachegrid.fetch_many('{any:1,any:2,any:3,any:99999}') AS many,
                            (SELECT array_agg(cachegrid.fetch(k, replace(q.query, '$1', 'nullif($1, $1 || ''.'')' || CASE WHEN q.n IN (1, 2, 3, 5, 6, 8, 10, 11, 12, 13, 14) THEN '::int' ELSE '' END), ARRAY[split_part(k, ':', 2)]) ORDER BY place)
                               FROM unnest('{one:1,one:2,one:3,one:99999}'::text[]) WITH ORDINALITY AS u (k, place) WHERE q.n NOT IN (7, 8, 16, 17)) AS one) AS g
 WHERE q.n NOT IN (9)
 ORDER BY q.n;
SELECT cachegrid.alter_cache('any', loader => 'SELECT 1');
SELECT cachegrid.fetch_many('{any:1,any:2}');
-- one query, not one for each: the table is scanned once
ANALYZE goods;
SELECT cachegrid.alter_cache('any', loader => 'SELECT id FROM goods WHERE name = $1');
BEGIN;
SELECT pg_stat_get_xact_numscans('goods'::regclass) AS before \gset
SELECT cachegrid.fetch_many(ARRAY['any:goods 1', 'any:goods 2', 'any:goods 3', 'any:goods 4']);
SELECT pg_stat_get_xact_numscans('goods'::regclass) - :before AS scans;
COMMIT;
-- several parts
SELECT cachegrid.alter_cache('any', loader => 'SELECT $2::date + $1::int AS day, $3 AS rest');
SELECT cachegrid.fetch_many('{any:1:2024-01-31:a:b,any:2:2024-01-31:c}');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{any:1:2024-01-31:a:b,any:2}')$$);
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{any:1:2024-01-31:a:b,any:x:2024-01-31:c}')$$);

-- Several caches, one of them without a loader.
SELECT cachegrid.create_cache('kind', loader => 'SELECT count(*) FROM goods WHERE kind = $1');
SELECT counted('goods'), counted('kind');
SELECT cachegrid.fetch_many('{kind:1,goods:9999,kind:0}');
SELECT counted('goods'), counted('kind');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{kind:2,nocache:1}')$$);
SELECT counted('kind');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{kind:2,NULL}')$$);
SELECT * FROM error_of($$SELECT cachegrid.fetch_many(NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{{kind:2}}')$$);
SELECT code, message FROM error_of($$SELECT cachegrid.fetch_many(ARRAY['kind:2', ''])$$);
SELECT counted('kind');

-- A loader that takes the keys.
CREATE FUNCTION load_many(keys text[]) RETURNS TABLE (key text, name text, price int) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs'), cachegrid.set('asked', array_to_string(keys, ' '));
    IF 'many:bad' = ANY (keys) THEN
        RAISE EXCEPTION 'no luck';
    END IF;
    RETURN QUERY SELECT 'many:' || g.id, g.name, g.price FROM goods AS g WHERE 'many:' || g.id = ANY (keys) ORDER BY g.id DESC;
END
$$;
SELECT cachegrid.create_cache('many', ttl => '1 hour', loader_function => 'load_many(text[])');
SELECT cachegrid.fetch_many('{many:2,many:x,many:1,many:2}'), runs(), cachegrid.get('asked');
SELECT cachegrid.fetch_many('{many:3,many:x,many:1}'), runs(), cachegrid.get('asked');
SELECT cachegrid.fetch('many:3'), cachegrid.fetch('many:4'), runs(), cachegrid.get('asked');
SELECT cachegrid.alter_cache('many', null_ttl => '0');
SELECT cachegrid.fetch_many('{many:x,many:1}'), cachegrid.exists('many:x') AS null_kept, cachegrid.exists('many:1') AS kept;
-- rows for other keys, for none, for one key twice
SELECT cachegrid.alter_cache('many', loader => 'SELECT k AS key, 1 AS one FROM unnest($1::text[] || ''other''::text) AS k', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{many:1,many:2}')$$);
SELECT cachegrid.alter_cache('many', loader => 'SELECT nullif(k, ''many:2'') AS key, 1 AS one FROM unnest($1::text[]) AS k', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{many:1,many:2}')$$);
SELECT cachegrid.alter_cache('many', loader => 'SELECT k AS key, 1 AS one FROM unnest($1::text[]) AS k, generate_series(1, 2)', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{many:1,many:2}')$$);
SELECT * FROM error_of($$SELECT cachegrid.fetch('many:1')$$);
SELECT cachegrid.alter_cache('any', loader => 'SELECT generate_series(1, $1)');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{any:1,any:2}')$$);
SELECT cachegrid.fetch_many('{any:0,any:1}');
-- all values depend on all that it reads
SELECT cachegrid.alter_cache('many', loader => 'SELECT ''many:'' || id AS key, name FROM goods WHERE ''many:'' || id = ANY ($1)', loader_takes => 'keys', reset => '{ttl}');
SELECT cachegrid.fetch_many('{many:1,many:2}');
UPDATE goods SET price = price + 1 WHERE id = 3;
SELECT cachegrid.exists('many:1'), cachegrid.exists('many:2');

-- What is read by fetch within, all of them depend on.
SELECT cachegrid.create_cache('outer', loader => 'SELECT cachegrid.fetch(''goods:'' || $1) ->> ''price''');
SELECT cachegrid.fetch_many('{outer:11,outer:12}');
UPDATE goods SET price = 0 WHERE id = 11;
SELECT cachegrid.fetch_many('{outer:11,outer:12}');
-- and the value that is computed from many depends on each
SELECT cachegrid.fetch('sum', 'SELECT sum((v ->> ''price'')::int) FROM unnest(cachegrid.fetch_many(''{goods:4501,goods:4502}'')) AS v');
UPDATE goods SET price = 0 WHERE id = 4502;
SELECT cachegrid.fetch('sum', 'SELECT sum((v ->> ''price'')::int) FROM unnest(cachegrid.fetch_many(''{goods:4501,goods:4502}'')) AS v');
UPDATE goods SET price = 0 WHERE id = 4503;
SELECT cachegrid.exists('sum') AS kept;
UPDATE goods SET price = 0 WHERE id = 4501;
SELECT cachegrid.fetch('sum', 'SELECT sum((v ->> ''price'')::int) FROM unnest(cachegrid.fetch_many(''{goods:4501,goods:4502}'')) AS v');
-- by whole relations, too
SELECT cachegrid.fetch('count', 'SELECT sum(v::int) FROM unnest(cachegrid.fetch_many(''{kind:1,kind:2}'')) AS v');
UPDATE goods SET kind = 1 WHERE id = 4503;
SELECT cachegrid.exists('count') AS kept;
-- ... whose direct arguments are columns, which do not say what it is an aggregate of
SELECT cachegrid.create_cache('ordered', ttl => '1 hour', loader => 'SELECT percentile_cont(s) WITHIN GROUP (ORDER BY $1::float8) FROM (VALUES (0.5::float8)) AS v (s) GROUP BY s');
SELECT cachegrid.fetch_many('{ordered:1,ordered:2}');
SELECT cachegrid.drop_cache('ordered');
-- circles
SELECT cachegrid.create_cache('circle', ttl => '1 hour', loader => 'SELECT cachegrid.fetch_many(ARRAY[''circle:b'', ''circle:'' || $1])');
SELECT code, message, detail FROM error_of($$SELECT cachegrid.fetch('circle:a')$$);
SELECT cachegrid.alter_cache('circle', loader => 'SELECT CASE $1 WHEN ''c'' THEN cachegrid.fetch(''circle:a'') ELSE to_jsonb($1) END');
SELECT code, message, detail FROM error_of($$SELECT cachegrid.fetch_many('{circle:a,circle:b,circle:c}')$$);

-- Failures: of all keys that the loader was run for.
SELECT cachegrid.create_cache('fails', ttl => '1 hour', loader => 'SELECT 1 / ($1 - 1)');
SELECT * FROM error_of($$SELECT cachegrid.fetch_many('{fails:1,fails:2,fails:3}')$$);
SELECT load_errors FROM cachegrid.stat_cache WHERE cache = 'fails';
SELECT cachegrid.alter_cache('fails', on_error => 'null');
SELECT cachegrid.fetch_many('{fails:1,fails:2,fails:3}'), cachegrid.exists('fails:2') AS kept;
SELECT cachegrid.fetch_many('{fails:2,fails:3}'), cachegrid.exists('fails:2') AS kept;
SELECT cachegrid.fetch_many('{fails:1,fails:2,fails:3}');
SELECT cachegrid.alter_cache('fails', error_backoff => '1 hour');
SELECT cachegrid.fetch_many('{fails:1,fails:2}');
SELECT counted('fails');
SELECT cachegrid.fetch_many('{fails:1,fails:2,fails:3}');
SELECT counted('fails');
SELECT cachegrid.alter_cache('fails', on_error => 'raise', reset => '{error_backoff}');
-- stale values, where each has one
SELECT cachegrid.alter_cache('fails', loader => 'SELECT 10 / (1 - coalesce(cachegrid.get(''broken'')::int, 0)) + $1', ttl => '1 microsecond', stale_ttl => '1 hour', on_error => 'stale');
SELECT cachegrid.fetch_many('{fails:1,fails:2}');
SELECT cachegrid.set('broken', '1');
SELECT cachegrid.fetch_many('{fails:1,fails:2}'), (SELECT stale FROM cachegrid.stat_cache WHERE cache = 'fails');
SELECT code, message FROM error_of($$SELECT cachegrid.fetch_many('{fails:1,fails:2,fails:4}')$$);
SELECT cachegrid.delete('broken');
-- too long
SELECT cachegrid.create_cache('slow', ttl => '1 hour', loader => 'SELECT pg_sleep(10) IS NULL, $1', load_timeout => '20 ms');
SELECT code, message FROM error_of($$SELECT cachegrid.fetch_many('{slow:1,slow:2}')$$);
-- No lease is left behind.
SELECT cachegrid.alter_cache('slow', loader => 'SELECT $1', on_timeout => 'error', wait_timeout => '0');
SELECT cachegrid.fetch_many('{slow:1,slow:2}');
-- A lease rate limits each key.
SELECT cachegrid.alter_cache('slow', lease_interval => '1 hour');
SELECT cachegrid.fetch_many('{slow:1,slow:2}');
SELECT cachegrid.delete('slow:2');
SELECT code, message FROM error_of($$SELECT cachegrid.fetch_many('{slow:1,slow:2,slow:3}')$$);
SELECT cachegrid.exists('slow:3') AS computed_all_the_same;

-- By lent rights.
CREATE ROLE many_reader IN ROLE cachegrid_reader;
CREATE ROLE many_owner;
GRANT SELECT ON goods TO many_owner;
SELECT cachegrid.alter_cache('goods', run_as => 'many_owner');
SET ROLE many_reader;
SELECT v ->> 'name' AS name FROM unnest(cachegrid.fetch_many('{goods:31,goods:32}')) AS v;
RESET ROLE;
SELECT counted('goods') IS NOT NULL AS begun;
SELECT v ->> 'name' AS name FROM unnest(cachegrid.fetch_many('{goods:31,goods:32}')) AS v;
SELECT counted('goods');

SELECT name, cachegrid.drop_cache(name) FROM cachegrid.cache WHERE name IN ('goods', 'any', 'kind', 'many', 'outer', 'circle', 'fails', 'slow') ORDER BY name;
DROP TABLE goods, seen, queries CASCADE;
DROP FUNCTION counted, runs, error_of, load_many;
DROP OWNED BY many_owner;
DROP ROLE many_reader, many_owner;
SELECT cachegrid.delete('runs', 'asked');
