-- Named caches: who belongs to them, what happens when they change.

SELECT cachegrid.set('shop:1', 'in default');
SELECT cache FROM cachegrid.entries('shop:*');
SELECT cachegrid.create_cache('shop', ttl => '1 hour');
SELECT cachegrid.get('shop:1') IS NULL AS made_under_the_old_policy;
SELECT cachegrid.set('shop:1', 'in shop');
SELECT cachegrid.set('shop', 'no colon: in default');
SELECT cachegrid.set('shopping:1', 'in default');
SELECT key, cache, type, bytes, tags FROM cachegrid.entries('shop*') ORDER BY key;

-- clearing one leaves the others
SELECT cachegrid.clear('shop');
SELECT cachegrid.mget('{shop:1,shop,shopping:1}');
SELECT cachegrid.set('shop:1', 'again');
SELECT cachegrid.clear('default') > 0 AS cleared;
SELECT cachegrid.mget('{shop:1,shop,shopping:1}');
SELECT cachegrid.clear() > 0 AS cleared;
SELECT cachegrid.mget('{shop:1,shop,shopping:1}');
SELECT entries FROM cachegrid.stat_cache WHERE cache = 'shop';

-- hits and misses are counted where they belong
CREATE TEMP TABLE before AS SELECT * FROM cachegrid.stat_cache WHERE cache = 'shop';
SELECT cachegrid.set('shop:2', 'x');
SELECT cachegrid.get('shop:2'), cachegrid.get('shop:3'), cachegrid.get('shop:2'), cachegrid.exists('shop:2');
SELECT cachegrid.mget('{shop:2,shop:4}');
SELECT a.hits - b.hits AS hits, a.misses - b.misses AS misses, a.sets - b.sets AS sets, a.entries
  FROM cachegrid.stat_cache a, before b WHERE a.cache = 'shop';

-- altering and dropping
SELECT cachegrid.alter_cache('shop', ttl => '1 minute');
SELECT cachegrid.get('shop:2') IS NULL AS made_under_the_old_policy;
SELECT name, ttl, loader, transactional FROM cachegrid.cache;
SELECT cachegrid.alter_cache('shop', transactional => false, reset => '{ttl}');
SELECT name, ttl, loader, transactional FROM cachegrid.cache;
BEGIN;
SELECT cachegrid.drop_cache('shop');
ROLLBACK;
SELECT name FROM cachegrid.cache;
SELECT cachegrid.set('shop:5', 'x');
SELECT cachegrid.drop_cache('shop');
SELECT cachegrid.get('shop:5') IS NULL AS ended;
SELECT cache FROM cachegrid.stat_cache;

-- a cache that this transaction makes is there for it
BEGIN;
SELECT cachegrid.create_cache('soon', ttl => '1 hour');
SELECT cachegrid.set('soon:1', 'x');
COMMIT;
SELECT cachegrid.get('soon:1'), cachegrid.ttl('soon:1') <= '1 hour' AS inherited;
SELECT cachegrid.drop_cache('soon');

-- patterns
SELECT cachegrid.set('p:ä1', 'x');
SELECT cachegrid.set('p:b2', 'x', tags => '{t:1,t:2}');
SELECT key, tags FROM cachegrid.entries('p:?1');
SELECT key, tags FROM cachegrid.entries('*:b*') ORDER BY key;
SELECT count(*) FROM cachegrid.entries('p:');

-- memory: every byte is somewhere
SELECT sum(used_bytes + free_bytes) = pg_size_bytes(current_setting('cachegrid.memory')) AS exact FROM cachegrid.stat_memory;

-- dropped and created anew, the extension starts empty
SELECT cachegrid.create_cache('left');
SELECT cachegrid.set('left', 'x'), cachegrid.set('left:1', 'x');
DROP EXTENSION cachegrid;
CREATE EXTENSION cachegrid;
SELECT cachegrid.mget('{left,left:1}');
SELECT cachegrid.create_cache('left');
SELECT cachegrid.mget('{left,left:1}');
SELECT cachegrid.drop_cache('left');

-- the server has numbers for 256 caches: dropped or rolled back, they come back
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        PERFORM cachegrid.create_cache('passing' || i), cachegrid.set('passing' || i || ':1', 'x');
        PERFORM cachegrid.drop_cache('passing' || i);
        COMMIT;
    END LOOP;
    FOR i IN 1..300 LOOP
        PERFORM cachegrid.create_cache('rolled back' || i), cachegrid.exists('rolled back' || i || ':1');
        ROLLBACK;
    END LOOP;
END
$$;
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        PERFORM cachegrid.create_cache('crowd' || i);
    END LOOP;
EXCEPTION WHEN configuration_limit_exceeded THEN
    RAISE NOTICE '%', sqlerrm;
END
$$;
SELECT cachegrid.set('p:after', 'others go on'), cachegrid.create_cache('anew');
SELECT cachegrid.get('p:after'), cachegrid.get('anew:1') IS NULL AS miss;
SELECT hits, misses, sets FROM cachegrid.stat_cache WHERE cache = 'anew';
SELECT cachegrid.drop_cache('anew');
