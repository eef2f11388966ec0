-- Values that are given as stale ones for a while after a change has ended them.

CREATE TABLE product (id int PRIMARY KEY, category int, name text);
INSERT INTO product VALUES (1, 7, 'one'), (2, 7, 'two');
CREATE ROLE linger_other IN ROLE cachegrid_writer;
GRANT SELECT ON product TO linger_other;
-- Passes a value on, unless the loaders of this session are broken.
CREATE FUNCTION pass(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_setting('test.broken', true) = 'on' THEN
        RAISE EXCEPTION 'no luck';
    END IF;
    RETURN value;
END
$$;
-- What fetch gives, and how it came by that.
CREATE FUNCTION got(key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    was record;
    now record;
    value text;
BEGIN
    SELECT sum(hits) AS hits, sum(loads) AS loads, sum(stale) AS stale, sum(load_errors) AS errors INTO was FROM cachegrid.stat_cache;
    value := cachegrid.fetch(key);
    SELECT sum(hits) AS hits, sum(loads) AS loads, sum(stale) AS stale, sum(load_errors) AS errors INTO now FROM cachegrid.stat_cache;
    RETURN concat_ws(' ', coalesce(value, 'NULL'), CASE WHEN now.hits > was.hits THEN 'hit' END, CASE WHEN now.loads > was.loads THEN 'loaded' END,
                     CASE WHEN now.errors > was.errors THEN 'failed' END, CASE WHEN now.stale > was.stale THEN 'stale' END);
END
$$;
\set VERBOSITY terse

SELECT cachegrid.create_cache('linger', on_error => 'stale', serve_invalidated => '1 hour',
    loader => 'SELECT pass((SELECT to_jsonb(name) FROM product WHERE id = $1))');
SELECT cachegrid.create_cache('all', on_error => 'stale', serve_invalidated => '1 hour',
    loader => 'SELECT pass((SELECT jsonb_agg(name ORDER BY id) FROM product))');
SELECT cachegrid.watch('product', ARRAY['linger:{id}'], ARRAY['category:{category}']);

-- It never ends by itself, and says so.
SELECT got('linger:1'), got('linger:1'), got('all:'), got('all:');
SELECT cachegrid.ttl('linger:1') > '1000 years' AS never, cachegrid.expires_at('linger:1'), (SELECT expires_at FROM cachegrid.entries('linger:1'));
-- Changed: who can computes; who cannot has the old one, which is a miss for all others.
UPDATE product SET name = 'uno' WHERE id = 1;
SELECT cachegrid.get('linger:1'), cachegrid.exists('linger:1'), cachegrid.mget('{linger:1}'), (SELECT must_load FROM cachegrid.lookup('linger:1')),
       (SELECT count(*) FROM cachegrid.entries('linger:1'));
SET test.broken = on;
SELECT got('linger:1'), got('all:');
UPDATE product SET name = 'ein' WHERE id = 1;
SELECT got('linger:1'), got('all:');
RESET test.broken;
SELECT got('linger:1'), got('linger:1'), got('all:'), got('all:');
-- Another row's change is none.
UPDATE product SET name = 'due' WHERE id = 2;
SELECT got('linger:1');
-- By key, by tag.
SET test.broken = on;
SELECT cachegrid.invalidate('linger:1');
SELECT got('linger:1');
RESET test.broken;
SELECT cachegrid.fetch('linger:tagged', 'SELECT pass((SELECT jsonb_agg(name ORDER BY id) FROM product WHERE category = 7))', tags => '{category:7}');
SET test.broken = on;
SELECT cachegrid.invalidate_tags('category:7');
SELECT cachegrid.fetch('linger:tagged', 'SELECT pass((SELECT jsonb_agg(name ORDER BY id) FROM product WHERE category = 7))', tags => '{category:7}');
UPDATE product SET name = 'zwei' WHERE id = 2;
SELECT cachegrid.fetch('linger:tagged', 'SELECT pass((SELECT jsonb_agg(name ORDER BY id) FROM product WHERE category = 7))', tags => '{category:7}');

-- Who has changed it is not given it; nor another role; nor another query; nor REPEATABLE READ.
BEGIN;
UPDATE product SET name = 'un' WHERE id = 1;
SAVEPOINT s;
SELECT got('linger:1');
ROLLBACK TO s;
SELECT got('all:');
ROLLBACK;
SELECT got('linger:1');
SET ROLE linger_other;
SELECT cachegrid.fetch('linger:1');
RESET ROLE;
SELECT cachegrid.fetch('linger:1', 'SELECT pass(''1'')');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT got('linger:1');
ROLLBACK;
SELECT got('linger:1');
-- No value is computed from it.
SELECT cachegrid.create_cache('outer', loader => 'SELECT cachegrid.fetch(''linger:'' || $1)');
SELECT got('outer:1');

-- What it means, who may read it, its cache: then it is gone.  So it is if it is deleted.
RESET test.broken;
SELECT got('linger:1'), got('all:');
SET test.broken = on;
SELECT cachegrid.delete('linger:1');
SELECT got('linger:1');
ALTER TABLE product ENABLE ROW LEVEL SECURITY;
SELECT got('all:');
RESET test.broken;
SELECT got('linger:1'), got('all:');
SET test.broken = on;
ALTER TABLE product DISABLE ROW LEVEL SECURITY;
SELECT got('linger:1');
RESET test.broken;
SELECT got('linger:1'), got('all:');
SET test.broken = on;
GRANT SELECT ON product TO linger_other;
SELECT got('linger:1');
SELECT got('all:');
RESET test.broken;
SELECT got('linger:1'), got('all:');
SET test.broken = on;
SELECT cachegrid.clear('linger') > 0 AS cleared;
SELECT got('linger:1');
SELECT cachegrid.alter_cache('all', on_timeout => 'stale');
SELECT got('all:');
RESET test.broken;
SELECT got('linger:1');
SET test.broken = on;
-- What somebody puts takes its place.
UPDATE product SET name = 'un' WHERE id = 1;
SELECT cachegrid.set('linger:1', '"put"'::jsonb);
SELECT got('linger:1');
SELECT cachegrid.delete('linger:1');
SELECT got('linger:1');

-- It has an end.  Whether a table was changed, and not just the key, is known for what is read again and again only.
RESET test.broken;
SELECT cachegrid.alter_cache('linger', serve_invalidated => '1 s'), cachegrid.alter_cache('all', serve_invalidated => '1 s');
SELECT got('linger:1'), got('linger:2'), got('all:1'), got('all:2');
SELECT pg_sleep(1.1);
SELECT got('linger:2'), got('all:2');
UPDATE product SET name = name || '!';
SET test.broken = on;
SELECT got('linger:1');
SELECT got('all:1');
SELECT got('linger:2'), got('all:2');
SELECT pg_sleep(1.1);
SELECT got('linger:1');
SELECT got('linger:2');
SELECT got('all:2');
-- A further change does not prolong it.
RESET test.broken;
SELECT got('linger:1'), got('all:1');
SET test.broken = on;
UPDATE product SET name = name || '!';
SELECT got('linger:1'), got('all:1');
SELECT pg_sleep(0.6);
UPDATE product SET name = name || '!';
SELECT pg_sleep(0.5);
SELECT got('linger:1');
SELECT got('all:1');

-- With a time to live it ends with that, too; or with what it is kept for beyond it.
RESET test.broken;
SELECT cachegrid.alter_cache('linger', ttl => '300 ms', serve_invalidated => '1 hour'), cachegrid.alter_cache('all', ttl => '300 ms', stale_ttl => '1 hour', serve_invalidated => '1 hour');
SELECT got('linger:1'), got('all:1');
SELECT pg_sleep(0.4);
UPDATE product SET name = name || '!';
SET test.broken = on;
SELECT got('linger:1');
SELECT got('all:1');
RESET test.broken;

SELECT cachegrid.drop_cache('linger'), cachegrid.drop_cache('all'), cachegrid.drop_cache('outer');
DROP TABLE product;
DROP ROLE linger_other;
DROP FUNCTION got(text), pass(jsonb);
