-- Values that are computed anew before they expire, by who hits them.

CREATE TABLE work (id int PRIMARY KEY, name text, broken boolean DEFAULT false, seconds float8 DEFAULT 0);
INSERT INTO work VALUES (1, 'one'), (2, 'two'), (3, 'three');
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
    SELECT sum(hits) AS hits, sum(loads) AS loads, sum(early) AS early, sum(load_errors) AS errors INTO was FROM cachegrid.stat_cache;
    value := cachegrid.fetch(key) ->> 0;
    SELECT sum(hits) AS hits, sum(loads) AS loads, sum(early) AS early, sum(load_errors) AS errors INTO now FROM cachegrid.stat_cache;
    RETURN concat_ws(' ', coalesce(value, 'NULL'), CASE WHEN now.hits > was.hits THEN 'hit' END, CASE WHEN now.early > was.early THEN 'early' END,
                     CASE WHEN now.loads > was.loads THEN 'loaded' END, CASE WHEN now.errors > was.errors THEN 'failed' END);
END
$$;
-- How many of so many hits have computed the value.
CREATE FUNCTION early(key text, times int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    was bigint := (SELECT sum(early) FROM cachegrid.stat_cache);
BEGIN
    FOR i IN 1 .. times LOOP
        PERFORM cachegrid.fetch(key);
    END LOOP;
    RETURN (SELECT sum(early) FROM cachegrid.stat_cache) - was;
END
$$;
\set VERBOSITY terse

-- Never, and always.
SELECT cachegrid.create_cache('task', ttl => '1 minute', loader => 'SELECT work($1)');
SELECT got('task:1'), got('task:1');
SELECT early('task:1', 100);
SELECT cachegrid.alter_cache('task', early_beta => 1e12);
SELECT got('task:1');
UPDATE work SET name = 'uno' WHERE id = 1;
SELECT cachegrid.get('task:1'), got('task:1'), got('task:1');
SELECT early('task:1', 100);
-- An end is needed.
SELECT cachegrid.fetch('task:w', 'SELECT cachegrid.fetch(''task:1'') ->> 0', ttl => '1 hour') ->> 0;
SELECT cachegrid.create_cache('endless', loader => 'SELECT 1', early_beta => 1e12);
SELECT got('endless:1'), got('endless:1');
-- Not what somebody put.
SELECT cachegrid.set('task:2', '"put"'::jsonb);
SELECT got('task:2');
SELECT cachegrid.delete('task:2');
SELECT got('task:2'), got('task:2');

-- It takes more than eagerness: the value must take long to compute, too, and the dice fall well.
SELECT cachegrid.alter_cache('task', ttl => '10 s', early_beta => 300);
UPDATE work SET seconds = 0.05 WHERE id = 2;
SELECT got('task:1'), got('task:2');
SELECT early('task:1', 40) AS quick, early('task:2', 40) BETWEEN 5 AND 37 AS slow;

-- If it fails there is still the value; and it is not tried again and again.
UPDATE work SET seconds = 0;
SELECT cachegrid.alter_cache('task', ttl => '1 minute', early_beta => 1e12);
SELECT got('task:1');
UPDATE work SET broken = true;
SELECT got('task:1');
SELECT got('task:1');
SELECT last_error FROM cachegrid.stat_cache WHERE cache = 'task';
UPDATE work SET broken = false;
SELECT cachegrid.alter_cache('task', error_backoff => '1 hour');
SELECT got('task:3');
UPDATE work SET broken = true;
SELECT got('task:3'), got('task:3');
UPDATE work SET broken = false, seconds = 60;
SELECT cachegrid.alter_cache('task', load_timeout => '100 ms', reset => '{error_backoff}');
UPDATE work SET seconds = 0;
SELECT got('task:1');
UPDATE work SET seconds = 60;
SELECT got('task:1');
UPDATE work SET seconds = 0;
-- A key is not computed more often than its cache allows.
SELECT cachegrid.alter_cache('task', lease_interval => '1 hour', reset => '{load_timeout}');
SELECT got('task:2'), got('task:2');
SELECT cachegrid.alter_cache('task', reset => '{lease_interval}');

-- Not by who has written, for it could not be kept; nor within another load.
SELECT got('task:1');
BEGIN;
UPDATE work SET name = 'ein' WHERE id = 1;
SELECT got('task:1');
ROLLBACK;
SELECT cachegrid.create_cache('outer', ttl => '1 hour', loader => 'SELECT cachegrid.fetch(''task:'' || $1) ->> 0');
SELECT early('outer:1', 1);
-- A cancelled query is.
SET statement_timeout = '200 ms';
UPDATE work SET seconds = 60;
SELECT cachegrid.fetch('task:1');
RESET statement_timeout;
UPDATE work SET seconds = 0;
SELECT got('task:1');

SELECT cachegrid.alter_cache('task', reset => '{early_beta}');
SELECT got('task:1'), got('task:1');
SELECT cachegrid.drop_cache('task'), cachegrid.drop_cache('outer'), cachegrid.drop_cache('endless');
DROP TABLE work CASCADE;
DROP FUNCTION got(text), early(text, int), work(int);
