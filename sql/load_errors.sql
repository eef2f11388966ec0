-- Loads that fail, or take too long: what fetch gives then, how often they are tried, and what is told of it.

CREATE TABLE broken (key text PRIMARY KEY);
INSERT INTO broken SELECT 'bad' || i FROM generate_series(1, 9) AS i;
CREATE FUNCTION work(key text, seconds float8 DEFAULT 0) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    PERFORM cachegrid.set('done:' || key, 'x');
    PERFORM pg_sleep(seconds);
    IF key IN (SELECT b.key FROM broken AS b) THEN
        RAISE EXCEPTION 'no luck with %', key;
    END IF;
    RETURN key;
END
$$;
CREATE FUNCTION runs() RETURNS int LANGUAGE sql AS $$
    SELECT coalesce(cachegrid.get('runs')::int, 0) FROM (SELECT cachegrid.incr('runs', 0)) AS r
$$;
CREATE VIEW told AS SELECT loads, load_errors, last_error, last_error_at <= now() + interval '1 minute' AS dated FROM cachegrid.stat_cache WHERE cache = 'work';
\set VERBOSITY terse

-- The error, unless the cache says otherwise.
SELECT cachegrid.create_cache('work', ttl => '1 hour', loader => 'SELECT work($1)');
SELECT * FROM told;
SELECT cachegrid.fetch('work:good'), cachegrid.fetch('work:good');
SELECT * FROM told;
SELECT cachegrid.fetch('work:bad1');
SELECT cachegrid.fetch('work:bad1');
SELECT * FROM told;

-- NULL, which is not kept; the transaction goes on without what the load did.
SELECT cachegrid.alter_cache('work', on_error => 'null');
SELECT cachegrid.fetch('work:bad2') IS NULL AS null, cachegrid.exists('work:bad2'), runs();
SELECT cachegrid.fetch('work:bad2') IS NULL AS null, cachegrid.exists('work:bad2'), runs();
BEGIN;
SELECT cachegrid.fetch('work:bad3') IS NULL AS null, cachegrid.get('done:bad3'), cachegrid.fetch('work:fine'), cachegrid.get('done:fine');
CREATE TABLE made (n int);
SELECT cachegrid.fetch('work:bad4') IS NULL AS null;
SAVEPOINT s;
SELECT cachegrid.fetch('work:bad4') IS NULL AS null;
ROLLBACK TO s;
INSERT INTO made VALUES (1);
COMMIT;
SELECT n, cachegrid.get('done:bad3'), cachegrid.get('done:fine') FROM made;
SELECT * FROM told;
-- It is not taken for a NULL of the loader.
DELETE FROM broken WHERE key = 'bad2';
SELECT cachegrid.fetch('work:bad2'), cachegrid.exists('work:bad2');
-- An error within is answered where it is, and what was computed from that answer is not kept; else it is the outer load's.
SELECT cachegrid.fetch('around', 'SELECT coalesce(cachegrid.fetch(''work:bad1'') ->> 0, ''without'')', ttl => '1 hour'), cachegrid.exists('around') AS kept;
SELECT cachegrid.create_cache('strict', ttl => '1 hour', loader => 'SELECT work($1)');
SELECT cachegrid.fetch('around', 'SELECT coalesce(cachegrid.fetch(''strict:bad1'') ->> 0, ''without'')', ttl => '1 hour');
SELECT cachegrid.fetch('work:around', 'SELECT coalesce(cachegrid.fetch(''strict:bad1'') ->> 0, ''without'')') IS NULL AS null;
SELECT cache, load_errors, last_error FROM cachegrid.stat_cache WHERE cache IN ('work', 'strict') ORDER BY cache;
-- Circles of keys are the fault of who wrote them, a cancelled query is nobody's.
SELECT cachegrid.alter_cache('work', loader => 'SELECT cachegrid.fetch(''work:'' || $1)');
SELECT cachegrid.fetch('work:self');
SELECT cachegrid.alter_cache('work', loader => 'SELECT work($1)');
SELECT load_errors AS errors FROM told \gset
SET statement_timeout = '50 ms';
SELECT cachegrid.fetch('work:long', 'SELECT work(''long'', 60)');
RESET statement_timeout;
SELECT load_errors - :errors AS counted FROM told;
-- Subtransactions cannot begin beside parallel workers.
CREATE TABLE many AS SELECT i FROM generate_series(1, 10) AS i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), cachegrid.fetch('work:bad1') FROM many;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- Too long.
SELECT cachegrid.alter_cache('work', load_timeout => '300 ms');
SELECT cachegrid.fetch('work:long', 'SELECT work(''long'', 60)') IS NULL AS null;
SELECT last_error FROM told;
SELECT cachegrid.fetch('work:short', 'SELECT work(''short'')'), pg_sleep(0.5);
SELECT cachegrid.alter_cache('work', on_error => 'raise');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT cachegrid.fetch('work:long', 'SELECT work(''long'', 60)');
\set VERBOSITY terse
SELECT cachegrid.fetch('work:shorter', 'SELECT work(''shorter'')');
-- Within a load that has more time, and within one that has less.
SELECT cachegrid.alter_cache('work', on_error => 'null');
SELECT cachegrid.alter_cache('strict', on_error => 'null', load_timeout => '10 min');
SELECT cachegrid.fetch('strict:around', 'SELECT coalesce(cachegrid.fetch(''work:long'', ''SELECT work(''''long'''', 60)'') ->> 0, ''without'')');
SET statement_timeout = '20 s'; -- who has forgotten his time would end by this
SELECT cachegrid.fetch('work:around', 'SELECT coalesce(cachegrid.fetch(''strict:long'', ''SELECT work(''''long'''', 60)'') ->> 0, ''without'')') IS NULL AS null;
RESET statement_timeout;
SELECT cachegrid.fetch('work:shortest', 'SELECT work(''shortest'')');
-- The time of the statement is another matter.
SET statement_timeout = '20 ms';
SELECT cachegrid.fetch('work:long', 'SELECT work(''long'', 60)');
RESET statement_timeout;

-- Not again at once.
SELECT cachegrid.alter_cache('work', error_backoff => '1 hour', on_error => 'raise', reset => '{load_timeout}');
SELECT runs() AS before \gset
SELECT cachegrid.fetch('work:bad5');
\set VERBOSITY default
SELECT cachegrid.fetch('work:bad5');
\set VERBOSITY terse
SELECT cachegrid.fetch('work:better'), runs() - :before AS runs;
SELECT cachegrid.fetch('work:bad5', 'SELECT 5');
SELECT cachegrid.alter_cache('work', on_error => 'null');
SELECT cachegrid.fetch('work:bad5') IS NULL AS null, runs() - :before AS runs;
SELECT cachegrid.fetch('around', 'SELECT coalesce(cachegrid.fetch(''work:bad5'') ->> 0, ''without'')', ttl => '1 hour'), cachegrid.exists('around') AS kept;
-- Longer and longer, until it works.
SELECT cachegrid.alter_cache('work', error_backoff => '200 ms');
SELECT runs() AS before \gset
DO $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    WHILE clock_timestamp() < began + interval '1 second' LOOP
        PERFORM cachegrid.fetch('work:bad6');
    END LOOP;
END
$$;
SELECT runs() - :before BETWEEN 2 AND 3 AS few;
DELETE FROM broken WHERE key = 'bad6';
DO $$ BEGIN FOR i IN 1..3000 LOOP EXIT WHEN cachegrid.fetch('work:bad6') IS NOT NULL; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT cachegrid.fetch('work:bad6');
-- A success ends it.
INSERT INTO broken VALUES ('bad6');
SELECT cachegrid.invalidate('work:bad6');
SELECT runs() AS before \gset
DO $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    WHILE clock_timestamp() < began + interval '300 ms' LOOP
        PERFORM cachegrid.fetch('work:bad6');
    END LOOP;
END
$$;
SELECT runs() - :before AS runs;

-- The text is for who ran it.
CREATE ROLE load_errors_other IN ROLE cachegrid_writer;
CREATE ROLE load_errors_monitor IN ROLE cachegrid_reader, pg_read_all_stats;
SELECT last_error FROM cachegrid.stat_cache WHERE cache = 'work';
SET ROLE load_errors_other;
SELECT last_error, last_error_at IS NOT NULL AS dated FROM cachegrid.stat_cache WHERE cache = 'work';
SET ROLE load_errors_monitor;
SELECT last_error FROM cachegrid.stat_cache WHERE cache = 'work';
RESET ROLE;
-- A new cache of the name begins anew.
SELECT cachegrid.drop_cache('work');
SELECT cachegrid.create_cache('work', ttl => '1 hour', loader => 'SELECT $1');
SELECT * FROM told;

DROP ROLE load_errors_other, load_errors_monitor;
SELECT cachegrid.drop_cache('work'), cachegrid.drop_cache('strict');
DROP VIEW told;
DROP TABLE broken, made, many;
DROP FUNCTION work(text, float8), runs();
