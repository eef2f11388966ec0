-- Time to live: given, inherited from the cache, changed; and entries that expire.

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

SELECT cachegrid.set('e:1', 'x', ttl => '1 hour');
SELECT cachegrid.ttl('e:1') BETWEEN '59 minutes' AND '1 hour' AS about_an_hour,
       cachegrid.expires_at('e:1') - now() BETWEEN '59 minutes' AND '61 minutes' AS in_an_hour;
SELECT cachegrid.set('e:2', 'x');
SELECT cachegrid.expires_at('e:2'), cachegrid.ttl('e:2') > '1000 years' AS never;
SELECT cachegrid.ttl('e:none') IS NULL AS no_such_key, cachegrid.expires_at('e:none') IS NULL AS no_such_key;

SELECT cachegrid.expire('e:2', '5 minutes'), cachegrid.ttl('e:2') <= '5 minutes' AS shorter;
SELECT cachegrid.expire('e:1', NULL), cachegrid.expires_at('e:1');
SELECT cachegrid.expire('e:none', '5 minutes');

SELECT cachegrid.set('e:3', 'x', ttl => '30 milliseconds');
SELECT wait_until($$cachegrid.get('e:3') IS NULL$$), cachegrid.exists('e:3'), cachegrid.ttl('e:3');
SELECT cachegrid.expire('e:3', '1 hour') AS revived;

-- served as long as it lives, and not a moment longer
CREATE FUNCTION life(key text, ttl interval, OUT late boolean, OUT early boolean) LANGUAGE plpgsql AS $$
DECLARE
    slack CONSTANT interval := '1 millisecond'; -- the two clocks
    before timestamptz := clock_timestamp();
    behind timestamptz;
    asked timestamptz;
BEGIN
    PERFORM cachegrid.add(key, 'x', ttl);
    behind := clock_timestamp();
    LOOP
        asked := clock_timestamp();
        late := asked > behind + ttl + slack;
        EXIT WHEN cachegrid.get(key) IS NULL;
        IF late THEN
            RETURN;
        END IF;
    END LOOP;
    late := false;
    early := clock_timestamp() < before + ttl - slack;
END
$$;
SELECT count(*), count(*) FILTER (WHERE late) AS late, count(*) FILTER (WHERE early) AS early
  FROM generate_series(1, 30) AS i, life('e:life' || i, i * interval '1 millisecond');
DROP FUNCTION life(text, interval);

-- in the transaction that set it, too
BEGIN;
SELECT cachegrid.set('e:4', 'x', ttl => '30 milliseconds');
SELECT wait_until($$cachegrid.get('e:4') IS NULL$$);
COMMIT;
SELECT cachegrid.get('e:4') IS NULL AS expired;

-- a counter keeps its expiry
SELECT cachegrid.incr('e:5', 1, '1 hour'), cachegrid.incr('e:5', 1, '5 hours');
SELECT cachegrid.ttl('e:5') <= '1 hour' AS kept;

-- a month counts as 30 days
SELECT cachegrid.set('e:6', 'x', ttl => '1 month');
SELECT cachegrid.ttl('e:6') BETWEEN '29 days' AND '30 days' AS a_month;

-- the cache's own
SELECT cachegrid.create_cache('brief', ttl => '10 minutes');
SELECT cachegrid.set('brief:1', 'x');
SELECT cachegrid.set('brief:2', 'x', ttl => '2 hours');
SELECT cachegrid.ttl('brief:1') <= '10 minutes' AS inherited, cachegrid.ttl('brief:2') > '1 hour' AS given;

-- the memory of what has expired comes back without anybody reading it
SELECT count(cachegrid.set('brief:' || i, 'x')) FROM generate_series(10, 1009) AS i;
SELECT entries FROM cachegrid.stat_cache WHERE cache = 'brief';
SELECT count(*) FROM generate_series(10, 1009) AS i WHERE cachegrid.expire('brief:' || i, '10 milliseconds');
SELECT wait_until($$(SELECT entries = 2 FROM cachegrid.stat_cache WHERE cache = 'brief')$$);
SELECT expirations FROM cachegrid.stat_cache WHERE cache = 'brief';
SELECT cachegrid.drop_cache('brief');

DROP FUNCTION wait_until(text);
