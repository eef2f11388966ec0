-- Bad input: one clear error, with its code, and nothing left half done.

CREATE TEMP TABLE told (code text, message text, detail text, hint text);
CREATE FUNCTION error_of(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    INSERT INTO told VALUES (code, message, detail, hint);
END
$$;
\pset format unaligned
\pset tuples_only on
SELECT * FROM error_of($$SELECT cachegrid.get('')$$);
SELECT cachegrid.get(repeat('k', 512)) IS NULL AS longest;
SELECT * FROM error_of($$SELECT cachegrid.get(repeat('k', 513))$$);
SELECT * FROM error_of($$SELECT cachegrid.set(NULL, 'x')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('', 'x')$$);
SELECT * FROM error_of($$SELECT cachegrid.set(repeat('ä', 257), 'x')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', NULL::int)$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', ROW(1, 2))$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', ARRAY[ROW(1, 2)])$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', tags => '{a,NULL}')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', tags => '{""}')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', tags => ARRAY[repeat('t', 513)])$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', tags => (SELECT array_agg('tag:' || i) FROM generate_series(1, 200) i))$$);
SELECT * FROM error_of($$SELECT cachegrid.delete('k', NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.mget('{""}')$$);

-- every function says the same of a bad key, a bad tag and a bad time to live
CREATE FUNCTION said(calls text[], bad text[]) RETURNS TABLE (argument text, code text, message text, of text) LANGUAGE sql AS $$
    SELECT b, e.code, e.message, string_agg(split_part(c, '(', 1), ' ' ORDER BY n)
      FROM unnest(bad) AS b, unnest(calls) WITH ORDINALITY AS u (c, n), error_of('SELECT cachegrid.' || format(c, b)) AS e
     GROUP BY 1, 2, 3 ORDER BY b COLLATE "C", 2, 3
$$;
SELECT * FROM said('{get(%s),get(%s\, 1),"mget(ARRAY[NULL, %s])","delete(''k'', %s)",exists(%s),gets(%s),ttl(%s),expires_at(%s),"set(%s, ''x'')","set(%s, 1)",
                     "add(%s, ''x'')","add(%s, 1)","replace(%s, ''x'')","replace(%s, 1)","cas(%s, ''x'', 1)","cas(%s, 1, 1)",incr(%s),decr(%s),"expire(%s, ''1 hour'')",
                     fetch(%s),"fetch(%s, ''SELECT 1'')",lookup(%s),"give_up(%s, ''x'')","fill(%s, ''x'', ''token'')","fill(%s, 1, ''token'')","invalidate(''k'', %s)"}'::text[],
                   ARRAY['NULL::text', $$''$$, $$repeat('k', 513)$$]);
SELECT * FROM said('{"set(''k'', ''x'', tags => ARRAY[''t'', %s])","set(''k'', 1, tags => ARRAY[''t'', %s])","add(''k'', ''x'', tags => ARRAY[''t'', %s])",
                     "replace(''k'', ''x'', tags => ARRAY[''t'', %s])","fetch(''k'', ''SELECT 1'', tags => ARRAY[''t'', %s])","lookup(''k'', ARRAY[''t'', %s])",
                     "fill(''k'', ''x'', ''token'', tags => ARRAY[''t'', %s])","invalidate_tags(''t'', %s)"}',
                   ARRAY['NULL', $$''$$, $$repeat('t', 513)$$]);
SELECT * FROM said('{"set(''k'', ''x'', %s)","set(''k'', 1, %s)","add(''k'', ''x'', %s)","replace(''k'', ''x'', %s)","cas(''k'', ''x'', 1, %s)","incr(''k'', 1, %s)","decr(''k'', 1, %s)",
                     "expire(''k'', %s)","fetch(''k'', ''SELECT 1'', ttl => %s)","fill(''k'', ''x'', ''token'', ttl => %s)","create_cache(''n'', %s)","alter_cache(''n'', %s)"}',
                   ARRAY[$$'0'$$, $$'-1 microsecond'$$, $$'-178000000 years'$$, $$'178000000 years'$$]);
SELECT count(*) AS nothing_of_that FROM cachegrid.entries() WHERE length(key) IN (1, 512, 513);
DROP FUNCTION said(text[], text[]);

-- nor does a list go halfway before its bad element
SELECT cachegrid.create_cache('now', transactional => false);
SELECT cachegrid.set('now:1', 'x'), cachegrid.set('half:1', 'x', tags => '{half}');
SELECT code FROM error_of($$SELECT cachegrid.delete('now:1', '')$$);
SELECT code FROM error_of($$SELECT cachegrid.delete('now:1', 'half:1', NULL)$$);
SELECT code FROM error_of($$SELECT cachegrid.invalidate('now:1', 'half:1', '')$$);
SELECT code FROM error_of($$SELECT cachegrid.invalidate_tags('half', '')$$);
SELECT cachegrid.mget('{now:1,half:1}');
SELECT cachegrid.drop_cache('now');

-- odd keys are keys like others
SELECT cachegrid.set(k, k) FROM unnest(ARRAY[':', '::', ' ', '*', '?', '{}', '{k}', '''', '"', '\', '%', E'\t', E'\x01', E'\\000', 'ключ', '😀']) k;
SELECT bool_and(cachegrid.get(k) = k) AS all_there
  FROM unnest(ARRAY[':', '::', ' ', '*', '?', '{}', '{k}', '''', '"', '\', '%', E'\t', E'\x01', E'\\000', 'ключ', '😀']) k;

-- times to live
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', ttl => '0')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', ttl => '-1 second')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', ttl => '1 month -31 days')$$);
SELECT * FROM error_of($$SELECT cachegrid.set('k', 'x', ttl => '178000000 years')$$);
SELECT * FROM error_of($$SELECT cachegrid.expire('k', '0')$$);
SELECT cachegrid.get('k') IS NULL AS nothing_left;

SELECT * FROM error_of($$SELECT cachegrid.incr('k', NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.cas('k', 'x', NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.decr('k', (-9223372036854775808)::bigint)$$);

-- caches
SELECT * FROM error_of($$SELECT cachegrid.create_cache('')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache(NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('a:b')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache(repeat('n', 64))$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('n', ttl => '0')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('n', ttl => '178000000 years')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('n', transactional => NULL)$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('n', colour => 'red')$$);
SELECT cachegrid.create_cache('n');
SELECT * FROM error_of($$SELECT cachegrid.create_cache('n')$$);
SELECT * FROM error_of($$SELECT cachegrid.alter_cache('n', colour => 'red')$$);
SELECT * FROM error_of($$SELECT cachegrid.alter_cache('n', reset => '{colour}')$$);
SELECT * FROM error_of($$SELECT cachegrid.alter_cache('none')$$);
SELECT cachegrid.drop_cache('n');
SELECT * FROM error_of($$SELECT cachegrid.drop_cache('n')$$);
SELECT * FROM error_of($$SELECT cachegrid.drop_cache(NULL)$$);
SELECT cachegrid.create_cache(repeat('n', 63));
SELECT * FROM error_of($$SELECT cachegrid.drop_cache(repeat('n', 64))$$);
SELECT cachegrid.drop_cache(repeat('n', 63));
SELECT * FROM error_of($$INSERT INTO cachegrid.cache (name, ttl) VALUES ('long', '170000000 years')$$);
SELECT * FROM error_of($$SELECT cachegrid.clear('none')$$);

-- its options: what create_cache refuses, alter_cache and the table refuse, too, but for NULL, which there changes nothing
SELECT cachegrid.create_cache('n');
CREATE FUNCTION refused(option text, value text) RETURNS TABLE (code text, message text, detail text, hint text) LANGUAGE sql AS $$
    SELECT (error_of(format('SELECT cachegrid.create_cache(''m'', %s => %s)', option, value))).*
    UNION SELECT (error_of(format('SELECT cachegrid.alter_cache(''n'', %s => %s)', option, value))).*
     WHERE value <> 'NULL'
$$;
SELECT v, r.* FROM unnest('{"NULL",-0.1,1.1,''NaN'',''Infinity'',''much''}'::text[]) WITH ORDINALITY AS u (v, n), refused('ttl_jitter', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{-1,16777217,9999999999,''much''}'::text[]) WITH ORDINALITY AS u (v, n), refused('compress_above', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{"NULL",''maybe''}'::text[]) WITH ORDINALITY AS u (v, n), refused('pinned', v) AS r ORDER BY n, r.message;
SELECT v, r.code, r.message FROM unnest('{''-1'',''0'',''65535'',''33MB'',''1000PB'',''much'','''',''64 parsecs''}'::text[]) WITH ORDINALITY AS u (v, n), refused('max_memory', v) AS r ORDER BY n, r.message;
SELECT v, r.detail, r.hint FROM unnest('{''0'',''33MB''}'::text[]) WITH ORDINALITY AS u (v, n), refused('max_memory', v) AS r ORDER BY n;
SELECT v, r.* FROM unnest('{''-1 ms''}'::text[]) WITH ORDINALITY AS u (v, n), refused('wait_timeout', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{"NULL",''wait''}'::text[]) WITH ORDINALITY AS u (v, n), refused('on_timeout', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''-1 ms'',''0''}'::text[]) WITH ORDINALITY AS u (v, n), refused('lease_interval', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''-1 ms''}'::text[]) WITH ORDINALITY AS u (v, n), refused('null_ttl', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{"NULL",''retry''}'::text[]) WITH ORDINALITY AS u (v, n), refused('on_error', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''0''}'::text[]) WITH ORDINALITY AS u (v, n), refused('load_timeout', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''0''}'::text[]) WITH ORDINALITY AS u (v, n), refused('error_backoff', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''0''}'::text[]) WITH ORDINALITY AS u (v, n), refused('stale_ttl', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''0''}'::text[]) WITH ORDINALITY AS u (v, n), refused('soft_load_timeout', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{"NULL",-1,1e13,''NaN''}'::text[]) WITH ORDINALITY AS u (v, n), refused('early_beta', v) AS r ORDER BY n, r.message;
SELECT v, r.* FROM unnest('{''0''}'::text[]) WITH ORDINALITY AS u (v, n), refused('serve_invalidated', v) AS r ORDER BY n, r.message;
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, serve_invalidated) VALUES ('m', '0')$$);
SELECT v, r.* FROM unnest('{"NULL",-0.1,1.1}'::text[]) WITH ORDINALITY AS u (v, n), refused('refresh_ahead', v) AS r ORDER BY n, r.message;
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, refresh_ahead) VALUES ('m', '2')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, early_beta) VALUES ('m', '-1')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, stale_ttl) VALUES ('m', '0')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, soft_load_timeout) VALUES ('m', '0')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, on_error) VALUES ('m', 'retry')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, load_timeout) VALUES ('m', '0')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, error_backoff) VALUES ('m', '0')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, null_ttl) VALUES ('m', '-1 ms')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, wait_timeout) VALUES ('m', '-1 ms')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, on_timeout) VALUES ('m', 'wait')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, lease_interval) VALUES ('m', '0')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, ttl_jitter) VALUES ('m', 'NaN')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, compress_above) VALUES ('m', -1)$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, max_memory) VALUES ('m', 0)$$);
SELECT cachegrid.alter_cache('n', ttl_jitter => NULL, compress_above => NULL, max_memory => NULL, pinned => NULL);
SELECT cachegrid.alter_cache('n', wait_timeout => '1 s', on_timeout => 'error', lease_interval => '10 s', null_ttl => '0',
    on_error => 'null', load_timeout => '1 s', error_backoff => '2 s', stale_ttl => '3 s', soft_load_timeout => '4 s', early_beta => 1.5, serve_invalidated => '5 s', refresh_ahead => 0.8);
SELECT cachegrid.alter_cache('n', wait_timeout => NULL, on_timeout => NULL, lease_interval => NULL, null_ttl => NULL,
    on_error => NULL, load_timeout => NULL, error_backoff => NULL, stale_ttl => NULL, soft_load_timeout => NULL, early_beta => NULL, serve_invalidated => NULL, refresh_ahead => NULL);
SELECT wait_timeout, on_timeout, lease_interval, null_ttl, on_error, load_timeout, error_backoff, stale_ttl, soft_load_timeout, early_beta, serve_invalidated, refresh_ahead FROM cachegrid.cache WHERE name = 'n';
SELECT cachegrid.alter_cache('n', reset => '{wait_timeout,on_timeout,lease_interval,null_ttl,on_error,load_timeout,error_backoff,stale_ttl,soft_load_timeout,early_beta,serve_invalidated,refresh_ahead}');
SELECT wait_timeout, on_timeout, lease_interval, null_ttl, on_error, load_timeout, error_backoff, stale_ttl, soft_load_timeout, early_beta, serve_invalidated, refresh_ahead FROM cachegrid.cache WHERE name = 'n';
SELECT ttl_jitter, compress_above, max_memory, pinned FROM cachegrid.cache WHERE name = 'n';
SELECT cachegrid.drop_cache('n');
DROP FUNCTION refused(text, text);

-- a cache "default" is the policy of all keys that belong to no other
SELECT * FROM error_of($$SELECT cachegrid.fetch('other:1')$$);
SELECT * FROM error_of($$SELECT cachegrid.alter_cache('default', loader => 'SELECT 1')$$);
SELECT cachegrid.create_cache('default', ttl => '1 hour', loader => 'SELECT $1');
SELECT cachegrid.fetch('other:1'), cachegrid.ttl('other:1') <= '1 hour' AS inherited;
SELECT cachegrid.drop_cache('default');
SELECT cachegrid.exists('other:1');
SELECT count(*) FROM cachegrid.stat_cache WHERE cache = 'default';

SELECT * FROM error_of($$SET cachegrid.memory = '64MB'$$);
SELECT * FROM error_of($$SET cachegrid.no_such_setting = 1$$);
SELECT * FROM error_of($$SELECT cachegrid.cache_changed()$$);

-- each of ours has a detail and a hint
SELECT count(*) > 100 AS many, count(*) FILTER (WHERE detail = '' OR hint = '') AS bare FROM told
 WHERE code NOT IN ('22P02', '23514', '42602', '42883', '55P02') AND message !~ '^invalid size:';
DROP FUNCTION error_of(text);
DROP TABLE told;
