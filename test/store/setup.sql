-- The functions of the library probe.so.  Variable: module, its path without the
-- ending.

CREATE FUNCTION probe_walk(at_rest boolean) RETURNS text
    AS :'module', 'probe_walk_sql' LANGUAGE C STRICT;
CREATE FUNCTION probe_property(seed bigint, operations integer) RETURNS text
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION probe_fail_put(cache text, key text, before integer, after integer) RETURNS integer
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION probe_fail_bucket(cache text, entries integer, after integer) RETURNS integer
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION probe_limit(cache text, max_memory bigint, pinned boolean) RETURNS void
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION share_of_memory(part integer) RETURNS text LANGUAGE sql AS
    $$ SELECT (pg_size_bytes(current_setting('cachegrid.memory')) / part)::text $$;
CREATE FUNCTION probe_stress(session integer, operations integer) RETURNS void
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION probe_stress_counts() RETURNS bigint[]
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION probe_value(key text, size integer) RETURNS text
    AS :'module' LANGUAGE C STRICT;
CREATE FUNCTION probe_check(key text, value text) RETURNS boolean
    AS :'module' LANGUAGE C STRICT;

-- The caches of probe_stress: immediate and transactional ones, with a quota, pinned, both,
-- one whose limits change all the time, and one that compresses and shortens lives.
CREATE FUNCTION create_caches() RETURNS void LANGUAGE sql AS $$
    SELECT cachegrid.create_cache('at_once', transactional => false);
    SELECT cachegrid.create_cache('later');
    SELECT cachegrid.create_cache('gone', transactional => false);
    SELECT cachegrid.create_cache('narrow', transactional => false, max_memory => share_of_memory(8));
    SELECT cachegrid.create_cache('kept', transactional => false, max_memory => share_of_memory(8), pinned => true);
    SELECT cachegrid.create_cache('fixed', transactional => false, pinned => true);
    SELECT cachegrid.create_cache('varied', transactional => false, max_memory => share_of_memory(8));
    SELECT cachegrid.create_cache('squeezed', ttl => '1 hour', ttl_jitter => 0.5, compress_above => 50);
$$;

-- What beside the sessions of probe_stress goes on, once: caches are dropped and made
-- anew, cleared, and given other limits; many keys are set in one transaction, or not in
-- the end.
CREATE PROCEDURE churn(round integer) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.drop_cache('gone');
    COMMIT;
    PERFORM cachegrid.create_cache('gone', transactional => false);
    COMMIT;
    PERFORM cachegrid.set(key, probe_value(key, 10 + round % 500))
       FROM generate_series(1, 2000) i, format('later:%s', i * 7) key;
    COMMIT;
    PERFORM cachegrid.set(key, probe_value(key, 40))
       FROM generate_series(1, 500) i, format('later:%s', i * 3) key;
    ROLLBACK;
    PERFORM cachegrid.clear(CASE round % 50 WHEN 0 THEN 'at_once' WHEN 25 THEN 'later' ELSE 'gone' END);
    COMMIT;
    PERFORM CASE round % 4
            WHEN 0 THEN cachegrid.alter_cache('varied', reset => '{max_memory}')
            WHEN 1 THEN cachegrid.alter_cache('varied', pinned => round % 8 = 1)
            ELSE cachegrid.alter_cache('varied', max_memory => share_of_memory(4 + round % 200)) END;
    COMMIT;
    IF round % 300 = 0 THEN
        PERFORM cachegrid.clear();
    END IF;
END $$;

-- What must be so whoever is at work: a text of what is not.
CREATE FUNCTION unsound(at_rest boolean) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n', nullif(probe_walk(at_rest), ''),
        (SELECT 'memory: ' || sum(used_bytes + free_bytes) || ' bytes in all' FROM cachegrid.stat_memory
         HAVING sum(used_bytes + free_bytes) <> pg_size_bytes(current_setting('cachegrid.memory')) AND at_rest),
        (SELECT string_agg(format('cache %s takes %s bytes of %s', cache, memory, max_memory), E'\n')
           FROM cachegrid.stat_cache JOIN cachegrid.cache ON name = cache
          WHERE memory > max_memory AND cache <> 'varied'))
$$;

-- The same where nobody is at work: each entry is read, and checked, and counted.
CREATE FUNCTION differences() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n', nullif(unsound(true), ''),
        (SELECT string_agg(format('%s is torn', key), E'\n')
           FROM cachegrid.entries() JOIN LATERAL (SELECT cachegrid.get(key)) AS found(value) ON true
          WHERE key !~ ':(count|rising)' AND value IS NOT NULL AND NOT probe_check(key, value)),
        (SELECT string_agg(format('cache %s has %s entries of %s bytes, and %s of %s are counted', cache, e.n, e.b, c.n, c.b), E'\n')
           FROM (SELECT cache, count(*) AS n, sum(bytes + octet_length(key)) AS b FROM cachegrid.entries() GROUP BY cache) AS e
           FULL JOIN (SELECT cache, entries AS n, bytes AS b FROM cachegrid.stat_cache) AS c USING (cache)
          WHERE coalesce(e.n, 0) <> c.n OR coalesce(e.b, 0) <> c.b))
$$;

-- What is counted and may no longer be read, since its cache was altered, is swept by and by.
CREATE FUNCTION unsound_at_rest() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    differs text;
BEGIN
    FOR i IN 1..600 LOOP
        differs := differences();
        EXIT WHEN differs !~ 'are counted';
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN differs;
END $$;
