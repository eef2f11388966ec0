-- The store: a hard limit, exact accounting, eviction, values of shifting sizes.

CREATE FUNCTION is_exact() RETURNS boolean LANGUAGE sql AS $$
    SELECT sum(used_bytes + free_bytes) = pg_size_bytes(current_setting('cachegrid.memory'))
           AND min(used_bytes) >= 0 AND min(free_bytes) >= 0
           AND bool_and(waste_bytes BETWEEN 0 AND used_bytes)
      FROM cachegrid.stat_memory
$$;
CREATE FUNCTION entries_agree() RETURNS boolean LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM cachegrid.entries('s:*')) = (SELECT entries FROM cachegrid.stat_cache WHERE cache = 's')
$$;
SELECT cachegrid.create_cache('s');

-- more than fits: old entries go, the latest stay, nothing is ever in excess
SELECT count(cachegrid.set('s:' || i, repeat('x', 1000))) FROM generate_series(1, 100000) AS i;
SELECT is_exact(), entries_agree(), evictions > 0 AS evicted, entries BETWEEN 10000 AND 40000 AS filled
  FROM cachegrid.stat_cache WHERE cache = 's';
SELECT count(cachegrid.get('s:' || i)) > 990 AS latest_are_there FROM generate_series(99001, 100000) AS i;

-- what is read stays
SELECT count(cachegrid.set('s:' || i, repeat('y', 100), ttl => '1 hour')) FROM generate_series(1, 100) AS i;
DO $$
BEGIN
    FOR round IN 1..60 LOOP
        PERFORM cachegrid.get('s:' || i) FROM generate_series(1, 100) AS i;
        PERFORM cachegrid.set('s:f' || i, repeat('z', 100)) FROM generate_series(round * 10000, round * 10000 + 9999) AS i;
        COMMIT;
    END LOOP;
END
$$;
SELECT count(cachegrid.get('s:' || i)) > 90 AS read_ones_stay FROM generate_series(1, 100) AS i;
SELECT is_exact(), entries_agree();

-- also where only other sizes are put: those that nobody reads make room, page by page
SELECT count(cachegrid.set('s:mixed' || i, repeat('m', 300))) FROM generate_series(1, 6000) AS i;
SELECT count(cachegrid.set('s:hot' || i, repeat('h', 600))) FROM generate_series(1, 100) AS i;
DO $$
BEGIN
    FOR round IN 1..50 LOOP
        PERFORM cachegrid.get('s:mixed' || i) FROM generate_series(1, 6000, 3) AS i;
        PERFORM cachegrid.get('s:hot' || i) FROM generate_series(1, 100) AS i;
        PERFORM cachegrid.set('s:g' || i, repeat('z', 100)) FROM generate_series(round * 10000, round * 10000 + 9999) AS i;
        COMMIT;
    END LOOP;
END
$$;
SELECT count(cachegrid.get('s:hot' || i)) > 90 AS read_ones_stay FROM generate_series(1, 100) AS i;
SELECT count(cachegrid.get('s:mixed' || i)) > 800 AS read_ones_stay FROM generate_series(1, 6000, 3) AS i;
SELECT is_exact(), entries_agree();

-- sizes shift, from small to large and back
SELECT count(cachegrid.set('s:large' || i, repeat('L', 65536))) FROM generate_series(1, 1000) AS i;
SELECT is_exact(), entries_agree(), count(cachegrid.get('s:large' || i)) > 150 AS many_fit FROM generate_series(1, 1000) AS i;
SELECT cachegrid.set('s:huge', repeat('H', 16 * 1024 * 1024));
SELECT cachegrid.get('s:huge') = repeat('H', 16 * 1024 * 1024) AS whole, is_exact(), entries_agree();
SELECT count(cachegrid.set('s:' || i, 'small')) FROM generate_series(1, 300000) AS i;
SELECT is_exact(), entries_agree(), count(cachegrid.get('s:' || i)) > 80000 AS many_fit FROM generate_series(1, 300000) AS i;

-- every size from nothing to some cells, each read back whole
SELECT count(cachegrid.set('s:' || n, repeat(chr(65 + n % 26), n))) FROM generate_series(0, 40000, 37) AS n;
SELECT count(*) AS different FROM generate_series(0, 40000, 37) AS n
 WHERE cachegrid.get('s:' || n) <> repeat(chr(65 + n % 26), n);

-- a short value beside tags of any size
SELECT count(*) AS found FROM generate_series(1, 500) AS n
 WHERE CASE WHEN cachegrid.add('s:tags' || n, repeat('v', 250), tags => (SELECT array_agg(tag || repeat('t', n)) FROM generate_series(1, 6) AS tag))
            THEN cachegrid.get('s:tags' || n) = repeat('v', 250) END;

-- cleared and swept, all memory is free again
SELECT cachegrid.clear('s') > 0 AS cleared;
SELECT entries, bytes FROM cachegrid.stat_cache WHERE cache = 's';
CREATE FUNCTION wait_until_swept() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3000 LOOP
        IF (SELECT sum(entries) < 100 FROM cachegrid.stat_memory) THEN
            RETURN true;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN false;
END
$$;
SELECT wait_until_swept(), is_exact();
SELECT cachegrid.drop_cache('s');
DROP FUNCTION wait_until_swept(), is_exact(), entries_agree();
