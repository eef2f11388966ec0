-- Compression: values above a threshold are kept compressed where it pays, and nobody who reads them notices.

-- Values that can be compressed well, or not at all; and both in one, larger than a page of the store.
CREATE FUNCTION even(size int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT left(repeat('cachegrid keeps it ', size / 19 + 1), size) $$;
CREATE FUNCTION random_bytes(size int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT decode(left(string_agg(md5(i::text), ''), size * 2), 'hex') FROM generate_series(1, size / 16 + 1) AS i
$$;
CREATE FUNCTION kept(wanted text) RETURNS bigint LANGUAGE sql AS $$ SELECT bytes FROM cachegrid.entries(wanted) $$;
CREATE TYPE pair AS (a int, b text);

SELECT cachegrid.create_cache('z', compress_above => 1000);
SELECT compress_above FROM cachegrid.cache WHERE name = 'z';
SELECT compress_ratio IS NULL AS nothing_yet, compress_ms FROM cachegrid.stat_cache WHERE cache = 'z';

-- above, and not at it
SELECT cachegrid.set('z:1000', even(1000)), cachegrid.set('z:1001', even(1001));
SELECT kept('z:1000'), kept('z:1001') < 100 AS compressed;
SELECT cachegrid.get('z:1000') = even(1000) AND cachegrid.get('z:1001') = even(1001) AS the_same;
SELECT compress_ratio < 0.1 AS pays, compress_ms > 0 AS takes_time FROM cachegrid.stat_cache WHERE cache = 'z';

-- what saves less than an eighth is kept plain
SELECT cachegrid.set('z:random', random_bytes(3000)), cachegrid.set('z:some', random_bytes(9000) || convert_to(even(1000), 'UTF8')),
       cachegrid.set('z:half', random_bytes(2000) || convert_to(even(2000), 'UTF8'));
SELECT kept('z:random'), kept('z:some'), kept('z:half') BETWEEN 2000 AND 2400 AS compressed;
SELECT cachegrid.get('z:random', NULL::bytea) = random_bytes(3000) AND cachegrid.get('z:some', NULL::bytea) = random_bytes(9000) || convert_to(even(1000), 'UTF8')
       AND cachegrid.get('z:half', NULL::bytea) = random_bytes(2000) || convert_to(even(2000), 'UTF8') AS the_same;
SELECT compress_ratio BETWEEN 0.5 AND 1 AS some_do FROM cachegrid.stat_cache WHERE cache = 'z';

-- every type, every size up to the limit, which is that of the plain value
SELECT cachegrid.set('z:json', to_jsonb(even(5000))), cachegrid.set('z:array', array_fill(7, '{4000}')),
       cachegrid.set('z:row', ROW(7, even(5000))::pair), cachegrid.set('z:toasted', (SELECT string_agg(even(19) || i, '') FROM generate_series(1, 2000) AS i));
SELECT cachegrid.get('z:json', NULL::jsonb) = to_jsonb(even(5000)) AS json, cachegrid.get('z:array', NULL::int[]) = array_fill(7, '{4000}') AS array,
       cachegrid.get('z:row', NULL::pair) = ROW(7, even(5000))::pair AS row,
       cachegrid.get('z:toasted') = (SELECT string_agg(even(19) || i, '') FROM generate_series(1, 2000) AS i) AS toasted;
SELECT bool_and(cachegrid.add('z:size:' || i, even(i))) FROM generate_series(1001, 300000, 1777) AS i;
SELECT bool_and(cachegrid.get('z:size:' || i) = even(i)) AS the_same FROM generate_series(1001, 300000, 1777) AS i;
SELECT cachegrid.add('z:largest', even(16 * 1024 * 1024)), kept('z:largest') < 1024 * 1024 AS compressed;
SELECT md5(cachegrid.get('z:largest')) = md5(even(16 * 1024 * 1024)) AS the_same;
SELECT cachegrid.add('z:larger', even(16 * 1024 * 1024 + 1));
SELECT cachegrid.delete('z:largest');

-- every reader and writer
SELECT cachegrid.mget('{z:1000,z:1001,z:none,z:1001}') = ARRAY[even(1000), even(1001), NULL, even(1001)] AS mget;
SELECT value = even(1001) AS gets, cachegrid.cas('z:1001', even(2000), version) AS cas FROM cachegrid.gets('z:1001');
SELECT cachegrid.get('z:1001') = even(2000) AS the_same, kept('z:1001') < 100 AS compressed;
SELECT cachegrid.replace('z:1001', even(3000)), cachegrid.get('z:1001') = even(3000) AS the_same;
SELECT cachegrid.expire('z:1001', '1 hour'), cachegrid.get('z:1001') = even(3000) AS the_same, cachegrid.ttl('z:1001') > '59 minutes' AS expires;
SELECT cachegrid.expire('z:1001', NULL), cachegrid.get('z:1001') = even(3000) AS the_same, cachegrid.exists('z:1001');
SELECT cachegrid.get('z:1001', 1);
SELECT cachegrid.incr('z:1001');
SELECT cachegrid.fetch('z:fetched', $$SELECT to_jsonb(even(4000))$$) = to_jsonb(even(4000)) AS computed;
SELECT hits FROM cachegrid.stat_cache WHERE cache = 'z' \gset
SELECT cachegrid.fetch('z:fetched', $$SELECT to_jsonb(even(4000))$$) = to_jsonb(even(4000)) AS the_same, kept('z:fetched') < 100 AS compressed;
SELECT hits - :hits AS hits FROM cachegrid.stat_cache WHERE cache = 'z';
SELECT (cachegrid.lookup('z:filled')).token AS token \gset
SELECT cachegrid.fill('z:filled', even(4000), :'token'), cachegrid.get('z:filled') = even(4000) AS the_same;
SET cachegrid.lock_reads = on;
SELECT cachegrid.get('z:1001') = even(3000) AND cachegrid.get('z:size:299537') = even(299537) AS the_same;
RESET cachegrid.lock_reads;

-- what this transaction has set
BEGIN;
SELECT cachegrid.set('z:own', even(6000));
SELECT cachegrid.get('z:own') = even(6000) AS the_same;
SAVEPOINT s;
SELECT cachegrid.set('z:own', even(7000));
SELECT cachegrid.get('z:own') = even(7000) AS the_same, (cachegrid.mget('{z:own,z:own}'))[2] = even(7000) AS mget;
ROLLBACK TO s;
SELECT cachegrid.get('z:own') = even(6000) AS the_same, cachegrid.delete('z:none');
COMMIT;
SELECT cachegrid.get('z:own') = even(6000) AS the_same, kept('z:own') < 100 AS compressed;

-- a row type that has been altered since is a miss
ALTER TYPE pair ADD ATTRIBUTE c int;
SELECT cachegrid.exists('z:row'), cachegrid.get('z:row', NULL::pair) IS NULL AS miss;

-- the least values, and none
SELECT cachegrid.alter_cache('z', compress_above => 0);
SELECT cachegrid.set('z:' || i, even(i)) FROM generate_series(0, 60, 20) AS i;
SELECT cachegrid.set('z:number', 1), cachegrid.set('z:box', '(0,0),(0,0)'::box), cachegrid.set('z:spaces', repeat(' ', 60)),
       cachegrid.set('z:zeros', repeat('0', 31)), cachegrid.set('z:count', repeat('0', 18) || '41');
SELECT bool_and(cachegrid.get('z:' || i) = even(i)) AS the_same FROM generate_series(0, 60, 20) AS i;
SELECT cachegrid.get('z:number', 0), cachegrid.get('z:box', NULL::box), kept('z:box') < 28 AS compressed,
       cachegrid.get('z:spaces') = repeat(' ', 60) AS the_same, kept('z:spaces') < 30 AS compressed;
SELECT kept('z:zeros') AS plain, cachegrid.incr('z:count');
SELECT cachegrid.alter_cache('z', reset => '{compress_above}');
SELECT cachegrid.set('z:2000', even(2000)), cachegrid.get('z:2000') = even(2000) AS the_same;
SELECT kept('z:2000');
SELECT cachegrid.drop_cache('z');

DROP FUNCTION even(int), random_bytes(int), kept(text);
DROP TYPE pair;
