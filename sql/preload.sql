-- Keys that are loaded before somebody asks for them.

CREATE TABLE product (id int PRIMARY KEY, name text);
INSERT INTO product SELECT i, 'product ' || i FROM generate_series(1, 10) AS i;
CREATE ROLE preload_other IN ROLE cachegrid_writer;
GRANT SELECT ON product TO preload_other;
-- Fails for what is called broken.
CREATE FUNCTION pass(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF value ->> 0 = 'broken' THEN
        RAISE EXCEPTION 'no luck';
    END IF;
    RETURN value;
END
$$;
CREATE FUNCTION counts() RETURNS text LANGUAGE sql AS
    $$ SELECT format('%s loads, %s hits, %s misses', sum(loads), sum(hits), sum(misses)) FROM cachegrid.stat_cache WHERE cache = 'product' $$;
\set VERBOSITY terse

SELECT cachegrid.create_cache('product', loader => 'SELECT pass((SELECT to_jsonb(name) FROM product WHERE id = $1))');
SELECT cachegrid.create_cache('unloaded');
SELECT cachegrid.watch('product', ARRAY['product:{id}']);

-- What is not there, once.
SELECT cachegrid.preload('product', ARRAY['product:1', 'product:2', 'product:1']);
SELECT counts();
SELECT cachegrid.preload('product', keys => '{product:1,product:2,product:3}');
SELECT cachegrid.preload('product', 'SELECT ''product:'' || id FROM product');
SELECT cachegrid.preload('product', 'SELECT ''product:'' || id FROM product'), cachegrid.preload('product', '{}'::text[]),
       cachegrid.preload('product', 'SELECT ''product:1'' WHERE false');
SELECT counts();
SELECT cachegrid.fetch('product:7'), cachegrid.get('product:8');
SELECT counts();
UPDATE product SET name = 'new' WHERE id = 5;
SELECT cachegrid.preload('product', 'SELECT ''product:'' || id FROM product');
SELECT cachegrid.fetch('product:5');
-- A row that is not there has a value, too.
SELECT cachegrid.preload('product', ARRAY['product:11']), cachegrid.exists('product:11');
-- It is for the role that calls.
SET ROLE preload_other;
SELECT cachegrid.preload('product', ARRAY['product:1']);
SELECT cachegrid.get('product:1');
RESET ROLE;
SELECT cachegrid.get('product:1') AS of_the_other_role;
SELECT cachegrid.preload('product', ARRAY['product:1']);

-- Under REPEATABLE READ.
SELECT cachegrid.clear('product') > 0 AS cleared;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cachegrid.preload('product', ARRAY['product:1']);
COMMIT;
-- Where nothing could be kept it is an error, and nothing is computed.
SELECT counts();
BEGIN;
UPDATE product SET name = name WHERE id = 1;
SELECT cachegrid.preload('product', ARRAY['product:2']);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cachegrid.preload('product', ARRAY['product:2']);
ROLLBACK;
SELECT counts();

-- If a loader fails, as its cache says.
UPDATE product SET name = 'broken' WHERE id = 2;
SELECT cachegrid.preload('product', ARRAY['product:1', 'product:2', 'product:3']);
SELECT cachegrid.exists('product:1'), cachegrid.exists('product:3');
SELECT count(*) FROM cachegrid.stat_preload;
SELECT cachegrid.alter_cache('product', on_error => 'null');
SELECT cachegrid.preload('product', ARRAY['product:1', 'product:2', 'product:3']);
SELECT cachegrid.exists('product:2'), cachegrid.exists('product:3');

-- How far it is, as a loader sees it.
SELECT cachegrid.create_cache('progress', ttl => '1 hour',
    loader => 'SELECT jsonb_build_array(cache, keys_total, keys_done, keys_loaded, pid > 0, keys_done <= keys_total) FROM cachegrid.stat_preload WHERE $1 = $1');
SELECT cachegrid.preload('progress', ARRAY['progress:1', 'progress:1', 'progress:2']);
SELECT cachegrid.get('progress:1'), cachegrid.get('progress:2');
SELECT count(*) FROM cachegrid.stat_preload;

-- Wrong calls do nothing.
SELECT counts();
SELECT cachegrid.preload(NULL, ARRAY['product:1']);
SELECT cachegrid.preload('product', NULL::text[]);
SELECT cachegrid.preload('product', NULL::text);
SELECT cachegrid.preload('none', ARRAY['none:1']);
SELECT cachegrid.preload('unloaded', ARRAY['unloaded:1']);
SELECT cachegrid.preload('product', ARRAY['product:4', 'unloaded:1']);
SELECT cachegrid.preload('product', ARRAY['product:4', NULL]);
SELECT cachegrid.preload('product', ARRAY['product:4', '']);
SELECT cachegrid.preload('product', 'SELECT id FROM product');
SELECT cachegrid.preload('product', 'SELECT ''product:4'', 1');
SELECT cachegrid.preload('product', 'SELECT NULL::text');
SELECT cachegrid.preload('product', 'DELETE FROM product RETURNING id');
SELECT cachegrid.preload('product', 'SET work_mem = ''1MB''');
SELECT cachegrid.preload('product', 'nonsense');
SELECT cachegrid.preload('product', '');
SELECT counts();
SET ROLE preload_other;
SELECT cachegrid.preload('product', 'SELECT rolname FROM pg_authid');
RESET ROLE;

-- Keep warm: for whom.
SELECT cachegrid.create_cache('warm', loader => 'SELECT 1', keep_warm => 'SELECT ''warm:1''');
CREATE ROLE preload_app LOGIN;
CREATE ROLE preload_admin LOGIN IN ROLE cachegrid_admin;
SELECT cachegrid.create_cache('warm', loader => 'SELECT 1', keep_warm => 'SELECT ''warm:1''', keep_warm_role => 'preload_other');
-- a superuser restores a cache before its role is there; nobody else may
SELECT cachegrid.create_cache('unborn', loader => 'SELECT 1', keep_warm => 'SELECT ''unborn:1''', keep_warm_role => 'preload_none');
SELECT cachegrid.create_cache('warm', loader => 'SELECT 1', keep_warm_role => 'preload_app');
SELECT cachegrid.create_cache('warm', loader => 'SELECT 1', keep_warm => 'SELECT ''warm:1''', keep_warm_role => 'preload_app');
SET ROLE preload_admin;
SELECT cachegrid.alter_cache('unborn', loader => 'SELECT 2');
SELECT cachegrid.alter_cache('warm', loader => 'SELECT 2');
UPDATE cachegrid.cache SET loader = 'SELECT 2' WHERE name = 'warm';
INSERT INTO cachegrid.cache (name, keep_warm, keep_warm_role) VALUES ('other', 'SELECT 1', 'preload_app');
INSERT INTO cachegrid.cache (name, keep_warm) VALUES ('other', 'SELECT 1');
SELECT cachegrid.create_cache('mine', loader => 'SELECT 1', keep_warm => 'SELECT ''mine:1''');
SELECT keep_warm, keep_warm_role FROM cachegrid.cache WHERE name = 'mine';
SELECT cachegrid.alter_cache('mine', reset => '{keep_warm}');
SELECT cachegrid.alter_cache('mine', keep_warm_role => 'preload_admin');
SELECT keep_warm, keep_warm_role FROM cachegrid.cache WHERE name = 'mine';
RESET ROLE;
GRANT preload_app TO preload_admin;
SET ROLE preload_admin;
SELECT cachegrid.alter_cache('warm', loader => 'SELECT 2');
SELECT cachegrid.alter_cache('warm', reset => '{keep_warm_role}');
SELECT keep_warm_role FROM cachegrid.cache WHERE name = 'warm';
RESET ROLE;

SELECT cachegrid.drop_cache(name::text) FROM cachegrid.cache WHERE name IN ('product', 'unloaded', 'progress', 'warm', 'mine', 'unborn');
DROP TABLE product;
DROP FUNCTION pass(jsonb), counts();
DROP ROLE preload_other, preload_app, preload_admin;
