-- What the rows of the bench work on.  Variables: keys (how many), bulk (rows of
-- the large tables), module (path of the bench's library without its ending).

\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE EXTENSION cachegrid;

CREATE FUNCTION bench_array_fill(count integer, size integer) RETURNS void
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_array_get(place integer) RETURNS text
    AS :'module' LANGUAGE C STRICT;

-- What the bench does inside a session: bench/inside.
CREATE FUNCTION bench_calls(what text, keys integer, value_bytes integer, calls integer,
        seed integer) RETURNS double precision
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_calls_until(what text, keys integer, value_bytes integer, seed integer,
        from_time double precision, until_time double precision) RETURNS bigint
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_fill(first integer, last integer, value_bytes integer,
        expire_at double precision) RETURNS double precision
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_stalls(what text, keys integer, value_bytes integer, seed integer,
        until_time double precision) RETURNS double precision[]
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_trace_read(path text) RETURNS integer
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_trace_generate(what text, count integer, objects integer) RETURNS integer
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_replay(copies integer, value_bytes integer) RETURNS double precision
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION bench_lru(capacity integer) RETURNS double precision
    AS :'module' LANGUAGE C STRICT;

-- The cache of the keys that these functions use.
SELECT cachegrid.create_cache('now', transactional => false);

-- Keys of 12 bytes, values of 100.
CREATE UNLOGGED TABLE kv (k text PRIMARY KEY, v text NOT NULL);
INSERT INTO kv
    SELECT 'bench:' || lpad(i::text, 6, '0'), rpad(md5(i::text), 100, md5((-i)::text))
    FROM generate_series(0, :keys - 1) i;

-- The same in random order, in batches of 1000.
CREATE UNLOGGED TABLE probe (batch integer, n integer, k text, v text);
INSERT INTO probe
    SELECT (row_number() OVER () - 1) / 1000, right(k, 6)::integer, k, v
    FROM (SELECT k, v FROM kv ORDER BY hashtext(k || 'shuffled')) shuffled;
CREATE INDEX ON probe (batch);

-- And in arrays of 500 keys.
CREATE UNLOGGED TABLE keyrings AS
    SELECT array_agg(k) AS ks
    FROM (SELECT k, row_number() OVER () / 500 AS ring FROM probe) numbered GROUP BY ring;

-- Rows to update one by one, and all at once: bare, watched, mirrored in each mode.
SELECT format('CREATE TABLE one_%1$s (id integer PRIMARY KEY, n integer NOT NULL, v text NOT NULL)
                   WITH (fillfactor = 70, autovacuum_enabled = off)', kind),
       format('INSERT INTO one_%1$s SELECT i, 0, repeat(''x'', 100) FROM generate_series(1, 10000) i', kind),
       format('CREATE TABLE all_%1$s (id integer PRIMARY KEY, n integer NOT NULL, v text NOT NULL)
                   WITH (autovacuum_enabled = off)', kind),
       format('INSERT INTO all_%1$s SELECT i, 0, repeat(''x'', 100) FROM generate_series(1, %2$s) i', kind, :bulk)
    FROM unnest(ARRAY['bare', 'watched', 'mirrored', 'through', 'waiting']) kind \gexec

SELECT cachegrid.watch(t, keys => ARRAY[t || ':{id}'])
    FROM unnest(ARRAY['one_watched', 'all_watched']) t;

VACUUM ANALYZE;
