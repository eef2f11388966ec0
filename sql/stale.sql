-- Values that are kept beyond their time to live, and given while, or since, no fresh one is there.

CREATE TABLE work (id int PRIMARY KEY, name text, broken boolean DEFAULT false, seconds float8 DEFAULT 0);
INSERT INTO work VALUES (1, 'one'), (2, 'two');
CREATE ROLE stale_other IN ROLE cachegrid_writer;
GRANT SELECT ON work TO stale_other;
CREATE FUNCTION work(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    w work := (SELECT w FROM work AS w WHERE id = n);
BEGIN
    PERFORM pg_sleep(w.seconds);
    IF w.broken THEN
        RAISE EXCEPTION 'no luck with %', n;
    END IF;
    RETURN w.name;
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
    value := cachegrid.fetch(key) ->> 0;
    SELECT sum(hits) AS hits, sum(loads) AS loads, sum(stale) AS stale, sum(load_errors) AS errors INTO now FROM cachegrid.stat_cache;
    RETURN concat_ws(' ', coalesce(value, 'NULL'), CASE WHEN now.hits > was.hits THEN 'hit' END, CASE WHEN now.loads > was.loads THEN 'loaded' END,
                     CASE WHEN now.errors > was.errors THEN 'failed' END, CASE WHEN now.stale > was.stale THEN 'stale' END);
END
$$;
\set VERBOSITY terse

-- In time, and past it: a miss for all; who fetches it computes it.
SELECT cachegrid.create_cache('work', ttl => '1 microsecond', stale_ttl => '1 hour', loader => 'SELECT work($1)');
SELECT got('work:1');
SELECT cachegrid.get('work:1'), cachegrid.exists('work:1'), cachegrid.ttl('work:1'), cachegrid.mget('{work:1}'), cachegrid.delete('work:1');
SELECT got('work:1');
SELECT must_load FROM cachegrid.lookup('work:1');
SELECT expires_at < clock_timestamp() AS kept_as_stale FROM cachegrid.entries('work:1');
SELECT cachegrid.alter_cache('work', ttl => '10 minutes');
SELECT got('work:1'), got('work:1');
SELECT cachegrid.ttl('work:1') BETWEEN '9 minutes' AND '10 minutes' AS till_it_is_stale,
       cachegrid.expires_at('work:1') < clock_timestamp() + interval '11 minutes' AS the_same,
       (SELECT expires_at < clock_timestamp() + interval '11 minutes' FROM cachegrid.entries('work:1')) AS and_again;
SELECT cachegrid.expire('work:1', '1 minute'), cachegrid.ttl('work:1') <= '1 minute' AS shorter;
SELECT cachegrid.expire('work:1', '2 hours'), cachegrid.ttl('work:1') <= '1 minute' AS not_longer;

-- If it cannot be computed.
SELECT cachegrid.alter_cache('work', ttl => '1 microsecond', on_error => 'stale');
SELECT got('work:1'), got('work:2');
UPDATE work SET broken = true;
SELECT got('work:1');
SELECT got('work:1');
SELECT cachegrid.alter_cache('work', on_error => 'null');
SELECT got('work:1');
UPDATE work SET broken = false;
SELECT got('work:1');
UPDATE work SET broken = true;
SELECT got('work:1');
SELECT cachegrid.alter_cache('work', on_error => 'stale');
-- what the cache was altered for has ended, as all has
SELECT got('work:1');
UPDATE work SET broken = false;
SELECT got('work:1');
UPDATE work SET broken = true;
SELECT got('work:1');
-- another query's, another role's
SELECT cachegrid.fetch('work:1', 'SELECT work(1)');
SET ROLE stale_other;
SELECT cachegrid.fetch('work:1');
RESET ROLE;
SELECT got('work:1');
-- what ends a value ends the stale one, too
SELECT cachegrid.invalidate('work:1');
SELECT got('work:1');
UPDATE work SET broken = false;
SELECT got('work:1');
UPDATE work SET broken = true;
SELECT got('work:1');
SELECT cachegrid.clear('work') > 0 AS cleared;
SELECT got('work:1');
UPDATE work SET broken = false;
SELECT cachegrid.fetch('work:1', 'SELECT work(1)', tags => '{all}') IS NOT NULL AS tagged;
UPDATE work SET broken = true;
SELECT cachegrid.fetch('work:1', 'SELECT work(1)', tags => '{all}') IS NOT NULL AS stale;
SELECT cachegrid.invalidate_tags('all');
SELECT cachegrid.fetch('work:1', 'SELECT work(1)', tags => '{all}');

-- A transaction that has written cannot refresh it, and has it; one that has invalidated it has not.
UPDATE work SET broken = false;
SELECT got('work:1');
BEGIN;
UPDATE work SET broken = false WHERE id = 2;
SELECT got('work:1');
SELECT cachegrid.invalidate('work:1');
SELECT got('work:1');
ROLLBACK;
-- No value is computed from a stale one.
SELECT cachegrid.create_cache('outer', ttl => '1 hour', loader => 'SELECT cachegrid.fetch(''work:'' || $1) ->> 0');
SELECT got('work:1'), got('outer:1');
SELECT cachegrid.ttl('outer:1') IS NULL AS as_stale_as_that;
UPDATE work SET broken = true;
SELECT got('outer:1');
SELECT cachegrid.alter_cache('outer', stale_ttl => '1 hour', on_error => 'stale');
UPDATE work SET broken = false;
SELECT got('outer:1');
UPDATE work SET broken = true;
SELECT got('outer:1');

-- If it takes too long.
UPDATE work SET broken = false;
SELECT cachegrid.alter_cache('work', soft_load_timeout => '300 ms', load_timeout => '10 minutes', on_error => 'raise');
UPDATE work SET seconds = 0.5;
SELECT got('work:1');
UPDATE work SET seconds = 60;
SELECT got('work:1');
SELECT last_error FROM cachegrid.stat_cache WHERE cache = 'work';
UPDATE work SET broken = true, seconds = 0;
SELECT got('work:1');
SELECT cachegrid.alter_cache('work', load_timeout => '300 ms', reset => '{soft_load_timeout}');
UPDATE work SET broken = false;
SELECT got('work:1');
UPDATE work SET seconds = 60;
SELECT got('work:1');
SELECT cachegrid.alter_cache('work', on_error => 'stale');
UPDATE work SET seconds = 0;
SELECT got('work:1');
UPDATE work SET seconds = 60;
SELECT got('work:1');
SELECT got('work:2');

-- Not tried again yet: given at once.
UPDATE work SET seconds = 0;
SELECT cachegrid.alter_cache('work', error_backoff => '1 hour', on_error => 'raise');
SELECT got('work:1');
UPDATE work SET broken = true;
SELECT got('work:1');
SELECT got('work:1');
SELECT cachegrid.invalidate('work:1');
SELECT got('work:1');

-- It has an end, also while it is computed.
UPDATE work SET broken = false;
SELECT cachegrid.alter_cache('work', stale_ttl => '1 second', on_error => 'stale', reset => '{error_backoff,load_timeout}');
SELECT got('work:2');
UPDATE work SET broken = true, seconds = 1.2;
SELECT got('work:2');
SELECT count(*) FROM cachegrid.entries('work:2');

SELECT stale > 5 AS counted, misses >= stale AS as_misses FROM cachegrid.stat_cache WHERE cache = 'work';
SELECT cachegrid.drop_cache('work'), cachegrid.drop_cache('outer');
DROP TABLE work CASCADE;
DROP ROLE stale_other;
DROP FUNCTION got(text), work(int);
