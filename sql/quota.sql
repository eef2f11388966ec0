-- Quotas: a cache takes what it may and no more, and others lose nothing for it.

CREATE FUNCTION memory(wanted text) RETURNS bigint LANGUAGE sql AS $$ SELECT memory FROM cachegrid.stat_cache WHERE cache = wanted $$;
CREATE FUNCTION wait_until(condition text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    holds boolean;
BEGIN
    FOR i IN 1..3000 LOOP
        EXECUTE 'SELECT ' || condition INTO holds;
        IF holds THEN
            RETURN true;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN false;
END
$$;

SELECT cachegrid.clear() >= 0;
SELECT cachegrid.create_cache('free'), cachegrid.create_cache('small', transactional => false, max_memory => '1MB');
SELECT name, max_memory FROM cachegrid.cache WHERE name = 'small';
SELECT memory('free'), memory('small');

-- other caches lose nothing
SELECT count(cachegrid.set('free:' || i, repeat('f', 100))) FROM generate_series(1, 5000) AS i;
SELECT count(cachegrid.set('small:' || i, repeat('s', 100 + i % 50))) FROM generate_series(1, 30000) AS i;
SELECT memory('small') BETWEEN 1000000 AND 1048576 AS full;
SELECT entries BETWEEN 4000 AND 8000 AS its_part, evictions + entries = 30000 AS the_rest FROM cachegrid.stat_cache WHERE cache = 'small';
SELECT entries, evictions FROM cachegrid.stat_cache WHERE cache = 'free';
SELECT count(*) FROM generate_series(1, 5000) AS i WHERE cachegrid.get('free:' || i) = repeat('f', 100);
SELECT bool_and(coalesce(cachegrid.get('small:' || i) = repeat('s', 100 + i % 50), true)) AS right_or_gone FROM generate_series(1, 30000) AS i;

-- what is read stays, what is read once does not displace it
SELECT cachegrid.clear('small') > 0;
SELECT count(cachegrid.set('small:hot:' || i, 'hot')) FROM generate_series(1, 1000) AS i;
DO $$
BEGIN
    FOR round IN 1..20 LOOP
        PERFORM cachegrid.get('small:hot:' || i) FROM generate_series(1, 1000) AS i;
        PERFORM cachegrid.set('small:once:' || round || ':' || i, 'once') FROM generate_series(1, 5000) AS i;
    END LOOP;
END
$$;
SELECT count(*) > 900 AS hot_stays FROM generate_series(1, 1000) AS i WHERE cachegrid.exists('small:hot:' || i);
SELECT memory('small') <= 1048576 AS kept;

-- who is invalidated, and comes back, begins where he was
SELECT count(cachegrid.invalidate('small:hot:' || i)) FROM generate_series(1, 1000) AS i;
SELECT count(*) AS gone FROM generate_series(1, 1000) AS i WHERE NOT cachegrid.exists('small:hot:' || i);
SELECT count(cachegrid.set('small:hot:' || i, 'hot')) FROM generate_series(1, 1000) AS i;
SELECT count(cachegrid.set('small:once:again:' || i, 'once')) FROM generate_series(1, 20000) AS i;
SELECT count(*) > 700 AS hot_stays FROM generate_series(1, 1000) AS i WHERE cachegrid.exists('small:hot:' || i);

-- the accounts are exact whatever is done: replaced, grown, shrunk, compressed, expired, deleted, cleared
CREATE FUNCTION churn(rounds int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k text;
BEGIN
    FOR i IN 1..rounds LOOP
        k := 'small:churn:' || i * 7919 % 500;
        CASE i % 9
            WHEN 0 THEN PERFORM cachegrid.delete(k);
            WHEN 1 THEN PERFORM cachegrid.set(k, repeat('x', i % 300));
            WHEN 2 THEN PERFORM cachegrid.set(k, repeat('y', i * 31 % 20000));
            WHEN 3 THEN PERFORM cachegrid.set(k, i, ttl => '1 hour');
            WHEN 4 THEN PERFORM cachegrid.expire(k, '1 hour');
            WHEN 5 THEN PERFORM cachegrid.set(k, repeat('z', i * 97 % 100000), tags => '{churn}');
            WHEN 6 THEN PERFORM cachegrid.add(k, 'there');
            WHEN 7 THEN PERFORM cachegrid.expire(k, '1 microsecond');
            WHEN 8 THEN PERFORM cachegrid.get(k);
        END CASE;
        IF memory('small') > 1048576 THEN
            RAISE EXCEPTION 'more than allowed';
        END IF;
    END LOOP;
END
$$;
SELECT churn(3000);
SELECT memory('small') > 500000 AS much;
SELECT count(cachegrid.delete(key)) > 0 FROM cachegrid.entries('small:*');
SELECT wait_until($$(SELECT entries = 0 FROM cachegrid.stat_cache WHERE cache = 'small')$$);
SELECT wait_until($$memory('small') = 0$$) AS all_given_back;

-- one value may take all, but not more
SELECT cachegrid.add('small:large', repeat('l', 1000000)), memory('small') BETWEEN 1000000 AND 1048576 AS kept;
SELECT cachegrid.add('small:larger', repeat('l', 1048576)), cachegrid.exists('small:large') AS nothing_thrown_out;
SELECT cachegrid.set('small:large', repeat('m', 1000001));
SELECT cachegrid.get('small:large') = repeat('m', 1000001) AS replaced;
SELECT cachegrid.set('small:large', repeat('m', 2000000));
SELECT cachegrid.get('small:large') IS NULL AS gone, memory('small');

-- lowered: nothing is allowed more than it has; raised, and taken away
SELECT count(cachegrid.set('small:' || i, repeat('s', 100))) FROM generate_series(1, 10000) AS i;
SELECT cachegrid.alter_cache('small', max_memory => '256kB');
SELECT count(cachegrid.set('small:' || i, repeat('t', 100))) FROM generate_series(1, 10000) AS i;
SELECT wait_until($$memory('small') <= 262144$$);
SELECT cachegrid.get('small:10000') = repeat('t', 100) AS the_last_is_there;
SELECT cachegrid.alter_cache('small', max_memory => '2097152');
SELECT count(cachegrid.set('small:' || i, repeat('u', 100))) FROM generate_series(1, 20000) AS i;
SELECT memory('small') BETWEEN 2000000 AND 2097152 AS larger;
SELECT cachegrid.alter_cache('small', reset => '{max_memory}');
SELECT cachegrid.get('small:20000') IS NULL AS ended, memory('small');
SELECT entries FROM cachegrid.stat_cache WHERE cache = 'small';
SELECT count(cachegrid.set('small:' || i, repeat('v', 100))) FROM generate_series(1, 20000) AS i;
SELECT entries FROM cachegrid.stat_cache WHERE cache = 'small';

-- with the transaction that says so, for what it sets itself, too
BEGIN;
SELECT cachegrid.alter_cache('free', max_memory => '64kB');
SAVEPOINT s;
SELECT cachegrid.alter_cache('free', max_memory => '20MB');
ROLLBACK TO s;
SELECT count(cachegrid.set('free:' || i, repeat('g', 100))) FROM generate_series(1, 5000) AS i;
COMMIT;
SELECT memory('free') BETWEEN 60000 AND 65536 AS limited, entries BETWEEN 200 AND 500 AS few FROM cachegrid.stat_cache WHERE cache = 'free';
BEGIN;
SELECT cachegrid.alter_cache('free', max_memory => '20MB');
SELECT count(cachegrid.add('free:not yet:' || i, repeat('h', 100))) FROM generate_series(1, 5000) AS i;
SELECT memory('free') BETWEEN 60000 AND 65536 AS not_yet;
ROLLBACK;
SELECT count(cachegrid.set('free:' || i, repeat('h', 100))) FROM generate_series(1, 5000) AS i;
SELECT memory('free') BETWEEN 60000 AND 65536 AS as_before;
BEGIN;
SELECT cachegrid.drop_cache('free');
SELECT cachegrid.create_cache('free', max_memory => '128kB');
SELECT count(cachegrid.set('free:' || i, repeat('i', 100))) FROM generate_series(1, 5000) AS i;
COMMIT;
SELECT count(cachegrid.set('free:' || i, repeat('j', 100))) FROM generate_series(1, 5000) AS i;
SELECT memory('free') BETWEEN 120000 AND 131072 AS anew;

-- and with one that is prepared, when it is committed
BEGIN;
SELECT cachegrid.alter_cache('free', max_memory => '256kB');
PREPARE TRANSACTION 'quota';
SELECT count(cachegrid.set('free:' || i, repeat('k', 100))) FROM generate_series(1, 5000) AS i;
SELECT memory('free') BETWEEN 120000 AND 131072 AS not_yet;
COMMIT PREPARED 'quota';
SELECT count(cachegrid.set('free:' || i, repeat('l', 100))) FROM generate_series(1, 5000) AS i;
SELECT memory('free') BETWEEN 240000 AND 262144 AS now;

-- the default cache, too
SELECT cachegrid.create_cache('default', max_memory => '64kB');
SELECT count(cachegrid.set('whose:' || i, repeat('i', 100))) FROM generate_series(1, 5000) AS i;
SELECT memory('default') BETWEEN 60000 AND 65536 AS limited;
SELECT cachegrid.drop_cache('default');
SELECT memory('default');
SELECT count(cachegrid.set('whose:' || i, repeat('i', 100))) FROM generate_series(1, 5000) AS i;
SELECT count(*) FROM cachegrid.entries('whose:*');

-- the sweep may be at work between two rows of the view
SELECT wait_until($$(SELECT sum(used_bytes + free_bytes) = pg_size_bytes(current_setting('cachegrid.memory')) FROM cachegrid.stat_memory)$$) AS exact;
SELECT cachegrid.drop_cache('free'), cachegrid.drop_cache('small');
DROP FUNCTION memory(text), wait_until(text), churn(int);
