-- TTL jitter: what is put at once does not expire at once, and each entry tells its own expiry.

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
-- How the times to live of the keys lie, in parts of an hour.
CREATE FUNCTION spread(pattern text, OUT keys bigint, OUT at_least_half boolean, OUT at_most_one boolean, OUT both_ends boolean)
LANGUAGE sql AS $$
    SELECT count(*), min(t) > 0.49, max(t) <= 1, min(t) < 0.6 AND max(t) > 0.9
      FROM (SELECT extract(epoch FROM cachegrid.ttl(key)) / 3600 AS t FROM cachegrid.entries(pattern)) AS u
$$;

SELECT cachegrid.create_cache('spread', ttl => '1 hour', ttl_jitter => 0.5);
SELECT ttl_jitter FROM cachegrid.cache WHERE name = 'spread';

-- of the cache's time to live, and of one that is given, whoever gives it
SELECT count(cachegrid.set('spread:set:' || i, 'x')) FROM generate_series(1, 500) AS i;
SELECT count(cachegrid.set('spread:given:' || i, 'x', ttl => '1 hour')) FROM generate_series(1, 500) AS i;
SELECT bool_and(cachegrid.add('spread:add:' || i, 'x')) FROM generate_series(1, 500) AS i;
SELECT sum(cachegrid.incr('spread:incr:' || i)) FROM generate_series(1, 500) AS i;
SELECT count(cachegrid.fetch('spread:fetch:' || i, 'SELECT 1')) FROM generate_series(1, 500) AS i;
SELECT count(cachegrid.set('spread:expire:' || i, 'x', ttl => '5 hours')) FROM generate_series(1, 500) AS i;
SELECT bool_and(cachegrid.expire('spread:expire:' || i, '1 hour')) FROM generate_series(1, 500) AS i;
SELECT kind, s.* FROM unnest('{set,given,add,incr,fetch,expire}'::text[]) AS kind, spread('spread:' || kind || ':*') AS s;

-- before the commit, too, and what is told is what comes
BEGIN;
SELECT cachegrid.set('spread:own', 'x');
CREATE TEMP TABLE own AS SELECT cachegrid.expires_at('spread:own') AS told;
SELECT told - now() BETWEEN '29 minutes' AND '61 minutes' AS told FROM own;
COMMIT;
SELECT abs(extract(epoch FROM cachegrid.expires_at('spread:own') - told)) < 1 AS kept FROM own;
SELECT abs(extract(epoch FROM e.expires_at - told)) < 1 AS the_same FROM own, cachegrid.entries('spread:own') AS e;

-- nothing goes before the time that it told, and all is gone after the last one
SELECT cachegrid.alter_cache('spread', ttl => '2 seconds', ttl_jitter => 1);
SELECT count(cachegrid.set('spread:' || i, 'x')) FROM generate_series(1, 500) AS i;
CREATE TEMP TABLE told AS
SELECT i, cachegrid.expires_at('spread:' || i) AS expires_at FROM generate_series(1, 500) AS i;
SELECT wait_until($$(SELECT count(*) < 300 FROM generate_series(1, 500) AS i WHERE cachegrid.exists('spread:' || i))$$) AS half_gone;
CREATE TEMP TABLE later AS SELECT i, cachegrid.exists('spread:' || i) AS found FROM generate_series(1, 500) AS i;
SELECT bool_and(expires_at <= clock_timestamp()) AS none_too_early FROM told JOIN later USING (i) WHERE NOT found;
SELECT wait_until($$(SELECT max(expires_at) < clock_timestamp() - interval '10 milliseconds' FROM told)$$);
SELECT count(*) FROM generate_series(1, 500) AS i WHERE cachegrid.exists('spread:' || i);

-- the shortest life is not none at all
SELECT cachegrid.set('spread:short', 'x', ttl => '1 microsecond');

-- without an expiry there is nothing to shorten, nor without jitter
SELECT cachegrid.alter_cache('spread', reset => '{ttl}');
SELECT cachegrid.set('spread:ever', 'x');
SELECT cachegrid.expires_at('spread:ever');
SELECT cachegrid.alter_cache('spread', ttl => '1 hour', reset => '{ttl_jitter}');
SELECT ttl_jitter FROM cachegrid.cache WHERE name = 'spread';
SELECT count(cachegrid.set('spread:' || i, 'x')) FROM generate_series(1, 500) AS i;
SELECT count(*) FROM generate_series(1, 500) AS i WHERE cachegrid.ttl('spread:' || i) > '59 minutes';
SELECT cachegrid.drop_cache('spread');

DROP FUNCTION wait_until(text), spread(text);
