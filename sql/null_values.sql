-- A computed NULL is known, and no miss: for fetch, exists and lookup; how long is up to its cache.

CREATE TABLE part (id int PRIMARY KEY, name text);
INSERT INTO part VALUES (1, 'one'), (2, NULL);
SELECT cachegrid.watch('part', keys => '{"part:{id}"}');
SELECT cachegrid.create_cache('part', loader => 'SELECT name FROM part WHERE id = $1');
CREATE FUNCTION loads() RETURNS bigint LANGUAGE sql AS $$ SELECT loads FROM cachegrid.stat_cache WHERE cache = 'part' $$;
CREATE FUNCTION seen(key text, OUT found boolean, OUT value text, OUT must_load boolean, OUT got text, OUT type text) LANGUAGE sql AS $$
    SELECT cachegrid.exists(key), l.value, l.must_load, cachegrid.get(key), (SELECT type::text FROM cachegrid.entries(key))
      FROM cachegrid.lookup(key) AS l
$$;

-- a NULL, and no row at all
SELECT * FROM seen('part:3');
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:2') IS NULL AS null_column, cachegrid.fetch('part:3') IS NULL AS no_row, loads();
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:2') IS NULL AS null_column, cachegrid.fetch('part:3') IS NULL AS no_row, loads();
SELECT s.* FROM unnest('{part:1,part:2,part:3,part:4}'::text[]) AS key, seen(key) AS s;
SELECT cachegrid.ttl('part:3') = cachegrid.ttl('part:1') AS as_long_as_others;
-- what makes it wrong ends it
INSERT INTO part VALUES (3, 'three');
SELECT * FROM seen('part:3');
SELECT cachegrid.fetch('part:3');
UPDATE part SET name = 'two' WHERE id = 2;
SELECT cachegrid.fetch('part:2');
DELETE FROM part WHERE id = 3;
SELECT cachegrid.fetch('part:3') IS NULL AS no_row;
SELECT * FROM seen('part:3');
-- neither the null of JSON nor what is empty is a NULL
SELECT cachegrid.fetch('json', $$SELECT 'null'::jsonb$$), cachegrid.fetch('empty', $$SELECT jsonb_build_array()$$), cachegrid.fetch('blank', $$SELECT ''::text$$);
SELECT key, s.* FROM unnest('{json,empty,blank}'::text[]) AS key, seen(key) AS s;

-- for a time of its own
SELECT cachegrid.alter_cache('part', null_ttl => '1 hour');
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:4') IS NULL AS no_row;
SELECT cachegrid.ttl('part:4') BETWEEN '59 minutes' AND '1 hour' AS an_hour, cachegrid.expires_at('part:1');
SELECT cachegrid.fetch('part:5', 'SELECT NULL', ttl => '1 minute'), cachegrid.ttl('part:5') <= '1 minute' AS shorter,
       cachegrid.fetch('part:6', 'SELECT NULL', ttl => '5 hours'), cachegrid.ttl('part:6') <= '1 hour' AS not_longer;
SELECT cachegrid.fill('part:7', NULL, token), cachegrid.ttl('part:7') BETWEEN '59 minutes' AND '1 hour' AS an_hour FROM cachegrid.lookup('part:7');
SELECT cachegrid.fill('part:8', 'x', token), cachegrid.expires_at('part:8') FROM cachegrid.lookup('part:8');
-- until which it is a hit, and then a miss
SELECT cachegrid.alter_cache('part', null_ttl => '10 ms');
SELECT loads() AS before \gset
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:4') IS NULL AS no_row, loads() - :before AS loads;
DO $$ BEGIN FOR i IN 1..3000 LOOP EXIT WHEN NOT cachegrid.exists('part:4'); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT * FROM seen('part:4');
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:4') IS NULL AS no_row, loads() - :before AS loads;

-- or not at all
SELECT cachegrid.alter_cache('part', null_ttl => '0');
SELECT loads() AS before, (SELECT refused FROM cachegrid.stat_cache WHERE cache = 'part') AS refused \gset
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:4') IS NULL AS no_row, loads() - :before AS loads;
SELECT cachegrid.fetch('part:1'), cachegrid.fetch('part:4') IS NULL AS no_row, loads() - :before AS loads;
SELECT * FROM seen('part:4');
SELECT cachegrid.fill('part:7', NULL, token) FROM cachegrid.lookup('part:7');
-- nor what was computed from it
SELECT cachegrid.fetch('outer:1', 'SELECT cachegrid.fetch(''part:1'') ->> 0', ttl => '1 hour'), cachegrid.exists('outer:1');
SELECT cachegrid.fetch('outer:4', 'SELECT cachegrid.fetch(''part:4'') ->> 0', ttl => '1 hour'), cachegrid.exists('outer:4');
SELECT refused - :refused AS refused FROM cachegrid.stat_cache WHERE cache = 'part';

SELECT cachegrid.drop_cache('part');
DROP TABLE part;
DROP FUNCTION loads(), seen(text);
