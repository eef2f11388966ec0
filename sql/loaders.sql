-- Loaders that are functions: what they are called with, what they may give, by whose rights they run, how long what they give lives.

SELECT cachegrid.delete('runs') IS NOT NULL AS deleted;
CREATE SCHEMA shop;
CREATE TABLE shop.offer (key text PRIMARY KEY, name text, price numeric(8, 2), lives interval);
INSERT INTO shop.offer VALUES ('offer:1', 'one', 1.50, '1 hour'), ('offer:2', 'two', 2, NULL), ('offer:0', 'gone', 0, '0'), ('offer:-1', 'past', 0, '-1 hour'),
    ('offer:9', 'long', 9, '1 year');
CREATE FUNCTION runs() RETURNS int LANGUAGE sql AS $$
    SELECT coalesce(cachegrid.get('runs')::int, 0) FROM (SELECT cachegrid.incr('runs', 0)) AS r
$$;
-- What fetch gives, and how often the loader has run for it.
CREATE FUNCTION got(key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before int := runs();
    value text := cachegrid.fetch(key);
BEGIN
    RETURN format('%s, %s', coalesce(value, 'NULL'), runs() - before);
END
$$;
CREATE FUNCTION error_of(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;
\set VERBOSITY terse

-- A function of the key: its shapes.
CREATE FUNCTION shop.scalar(key text) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    RETURN (SELECT price FROM shop.offer AS o WHERE o.key = $1);
END
$$;
CREATE FUNCTION shop.composite(key text) RETURNS shop.offer LANGUAGE plpgsql AS $$
DECLARE
    found shop.offer;
BEGIN
    PERFORM cachegrid.incr('runs');
    SELECT * INTO found FROM shop.offer AS o WHERE o.key = $1;
    RETURN CASE WHEN found.key IS NOT NULL THEN found END;
END
$$;
CREATE FUNCTION shop.columns(key text, OUT name text, OUT price numeric) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    SELECT o.name, o.price INTO name, price FROM shop.offer AS o WHERE o.key = $1;
END
$$;
CREATE FUNCTION shop.rows(key text) RETURNS TABLE (name text, price numeric) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    RETURN QUERY SELECT o.name, o.price FROM shop.offer AS o WHERE o.key LIKE $1;
END
$$;
CREATE FUNCTION shop.list(VARIADIC keys text[]) RETURNS TABLE (key text, price numeric) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    RETURN QUERY SELECT o.key, o.price FROM shop.offer AS o WHERE o.key = ANY (keys);
END
$$;
SELECT cachegrid.create_cache('offer', ttl => '1 hour', loader_function => 'shop.scalar(text)');
SELECT loader, loader_takes FROM cachegrid.cache WHERE name = 'offer';
SELECT got('offer:1'), got('offer:1'), got('offer:none'), got('offer:none');
CREATE TABLE shapes (function regprocedure);
INSERT INTO shapes VALUES ('shop.composite(text)'), ('shop.columns(text)'), ('shop.rows(text)'), ('shop.list(text[])');
SELECT format('SELECT cachegrid.alter_cache(''offer'', loader_function => %L)', function),
       'SELECT loader, loader_takes, got(''offer:1'') AS first, got(''offer:1'') AS again, got(''offer:none'') AS none, got(''offer:none'') AS still '
       'FROM cachegrid.cache WHERE name = ''offer'''
  FROM shapes \gexec
SELECT cachegrid.alter_cache('offer', loader_function => 'shop.rows(text)');
SELECT got('offer:%');
-- Another loader takes parts of the key, unless it is said otherwise.
SELECT cachegrid.alter_cache('offer', loader => 'SELECT $1::text');
SELECT loader_takes, got('offer:a:b') FROM cachegrid.cache WHERE name = 'offer';
SELECT cachegrid.alter_cache('offer', loader => 'SELECT $1::text', loader_takes => 'key');
SELECT loader_takes, got('offer:a:b') FROM cachegrid.cache WHERE name = 'offer';
SELECT cachegrid.alter_cache('offer', loader => 'SELECT k AS key, length(k) AS length, 1 AS one FROM unnest($1::text[]) AS k', loader_takes => 'keys');
SELECT loader_takes, got('offer:a:b') FROM cachegrid.cache WHERE name = 'offer';
SELECT cachegrid.alter_cache('offer', ttl => '2 hours');
SELECT loader_takes FROM cachegrid.cache WHERE name = 'offer';
SELECT cachegrid.alter_cache('offer', reset => '{loader_takes}');
SELECT loader_takes FROM cachegrid.cache WHERE name = 'offer';
SELECT cachegrid.alter_cache('offer', reset => '{loader}');
SELECT loader, loader_takes FROM cachegrid.cache WHERE name = 'offer';
SELECT got('offer:1');

-- What cannot be one.
CREATE FUNCTION shop.of_int(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION shop.of_two(key text, n int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION shop.of_nothing(key text) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION shop.of_record(key text) RETURNS record LANGUAGE sql AS 'SELECT 1, 2';
CREATE PROCEDURE shop.procedure(key text) LANGUAGE sql AS 'SELECT 1';
SELECT f.f, e.* FROM unnest('{shop.of_int(int),"shop.of_two(text, int)",shop.of_nothing(text),shop.of_record(text),shop.procedure(text),max(text)}'::text[]) AS f (f),
       error_of(format('SELECT cachegrid.create_cache(%L, loader_function => %L)', 'no', f.f)) AS e;
SELECT * FROM error_of($$SELECT cachegrid.create_cache('no', loader => 'SELECT 1', loader_function => 'shop.scalar(text)')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('no', loader_takes => 'keys', loader_function => 'shop.scalar(text)')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('no', loader_function => 'shop.nowhere(text)')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('no', loader_takes => 'all')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('no', loader_tags => ARRAY[NULL])$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('no', loader_tags => ARRAY[repeat('x', 513)])$$);
SELECT code FROM error_of($$SELECT cachegrid.create_cache('no', loader_tags => ARRAY[ARRAY['a']])$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, loader_takes) VALUES ('no', 'all')$$);
SELECT code FROM error_of($$INSERT INTO cachegrid.cache (name, loader_tags) VALUES ('no', ARRAY[NULL])$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT $1::text || $2', loader_takes => 'key');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT $1::text || $2::text', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT $1 + 1', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT 1 AS value', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT 1 AS key, 1 AS value', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT unnest($1::text[]) AS key', loader_takes => 'keys');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);

-- What a function reads, nobody sees: a ttl, or tags, or it does as IMMUTABLE.
CREATE FUNCTION shop.stable(key text) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT price FROM shop.offer AS o WHERE o.key = $1';
SELECT cachegrid.create_cache('seen', loader_function => 'shop.scalar(text)');
SELECT * FROM error_of($$SELECT cachegrid.fetch('seen:1')$$);
SELECT cachegrid.alter_cache('seen', loader_function => 'shop.stable(text)');
SELECT * FROM error_of($$SELECT cachegrid.fetch('seen:1')$$);
SELECT cachegrid.alter_cache('seen', loader_tags => '{offers}');
SELECT cachegrid.fetch('seen:1') IS NULL AS null;
SELECT tags FROM cachegrid.entries('seen:*');
INSERT INTO shop.offer VALUES ('seen:1', 'seen', 1, NULL);
SELECT cachegrid.fetch('seen:1');
SELECT cachegrid.invalidate_tags('offers');
SELECT cachegrid.fetch('seen:1');
SELECT cachegrid.watch('shop.offer', tags => '{offers}');
UPDATE shop.offer SET price = 2 WHERE key = 'seen:1';
SELECT cachegrid.fetch('seen:1');
SELECT cachegrid.alter_cache('seen', reset => '{loader_tags}');
SELECT code FROM error_of($$SELECT cachegrid.fetch('seen:1')$$);
-- A query's tables are seen, whatever it takes: with the keys they count whole, or by a tag that all values carry.
SELECT cachegrid.alter_cache('seen', loader => 'SELECT key, price FROM shop.offer WHERE key = ANY ($1::text[])', loader_takes => 'keys');
SELECT cachegrid.fetch('seen:1');
UPDATE shop.offer SET price = 3 WHERE key = 'seen:1';
SELECT cachegrid.fetch('seen:1');
UPDATE shop.offer SET price = 1.50 WHERE key = 'offer:1';
SELECT cachegrid.exists('seen:1') AS kept;
-- by the key, where one is named
SELECT cachegrid.watch('shop.offer', keys => '{"seen:{name}"}');
SELECT cachegrid.alter_cache('seen', loader => 'SELECT price FROM shop.offer WHERE name = substr($1, 6)', loader_takes => 'key');
SELECT cachegrid.fetch('seen:one');
UPDATE shop.offer SET price = 3 WHERE name = 'two';
SELECT cachegrid.exists('seen:one') AS kept;
UPDATE shop.offer SET price = 1 WHERE name = 'one';
SELECT cachegrid.exists('seen:one') AS kept;
-- which is none for those that take many: pinned to one, they are no less of the others
SELECT cachegrid.alter_cache('seen', loader => 'SELECT k AS key, (SELECT price FROM shop.offer WHERE name = ''one'') AS price FROM unnest($1::text[]) AS k', loader_takes => 'keys');
SELECT cachegrid.fetch_many('{seen:one,seen:two}');
UPDATE shop.offer SET price = 2 WHERE name = 'one';
SELECT cachegrid.exists('seen:one'), cachegrid.exists('seen:two');
SELECT cachegrid.unwatch('shop.offer');

-- How long it lives, the loader says, within what the cache says.
CREATE FUNCTION shop.lives(key text, OUT value text, OUT lives interval) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    SELECT o.name, o.lives INTO value, lives FROM shop.offer AS o WHERE o.key = $1;
END
$$;
CREATE FUNCTION shop.lives_many(keys text[]) RETURNS TABLE (key text, lives interval, value text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.incr('runs');
    RETURN QUERY SELECT o.key, o.lives, o.name FROM shop.offer AS o WHERE o.key = ANY (keys);
END
$$;
SELECT cachegrid.drop_cache('offer');
SELECT cachegrid.create_cache('offer', ttl => '1 day', loader_function => 'shop.lives(text)', ttl_column => 'lives');
CREATE VIEW lives AS
    SELECT n, got('offer:' || n) AS first, cachegrid.exists('offer:' || n) AS kept, got('offer:' || n) AS again,
           date_trunc('hour', cachegrid.ttl('offer:' || n) + interval '1 minute') AS ttl
      FROM unnest('{1,2,0,-1,9,none}'::text[]) WITH ORDINALITY AS u (n, place) ORDER BY place;
SELECT * FROM lives;
SELECT cachegrid.alter_cache('offer', loader_function => 'shop.lives_many(text[])');
SELECT * FROM lives;
SELECT cachegrid.alter_cache('offer', loader => 'SELECT name, lives FROM shop.offer WHERE key = $1', loader_takes => 'key');
SELECT * FROM lives;
-- which is not kept, is not kept in what was computed from it
SELECT cachegrid.fetch('around', 'SELECT cachegrid.fetch(''offer:0'')', ttl => '1 hour'), cachegrid.exists('around') AS kept;
SELECT cachegrid.fetch('around', 'SELECT cachegrid.fetch(''offer:1'')', ttl => '1 day'), cachegrid.ttl('around') <= '1 hour' AS no_longer;
-- with null_ttl and ttl_jitter
SELECT cachegrid.alter_cache('offer', loader => 'SELECT NULL, interval ''1 hour'' AS lives', null_ttl => '1 minute');
SELECT cachegrid.fetch('offer:1') IS NULL AS null, cachegrid.ttl('offer:1') <= '1 minute' AS as_null_ttl;
SELECT cachegrid.alter_cache('offer', loader => 'SELECT 1 AS one, interval ''1 hour'' AS lives', ttl_jitter => 0.5);
SELECT bool_and(cachegrid.fetch('offer:' || n) = '1' AND cachegrid.ttl('offer:' || n) BETWEEN '29 minutes' AND '1 hour') AS between,
       count(DISTINCT cachegrid.ttl('offer:' || n)) > 1 AS different FROM generate_series(1, 20) AS n;
-- a query of one's own has a ttl of its own
SELECT cachegrid.fetch('offer:x', 'SELECT 1 AS one, interval ''1 hour'' AS lives');
-- A ttl of the result is no ttl for what may be cached for a time only.
SELECT cachegrid.alter_cache('offer', loader_function => 'shop.lives(text)', reset => '{ttl}');
SELECT message FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
-- but those that may be cached for ever it bounds
SELECT cachegrid.alter_cache('offer', loader => 'SELECT 1, CASE $1 WHEN ''a'' THEN interval ''1 hour'' END AS lives', reset => '{ttl_jitter}');
SELECT cachegrid.fetch('offer:a'), cachegrid.ttl('offer:a') <= '1 hour' AS an_hour, cachegrid.fetch('offer:b'), cachegrid.expires_at('offer:b');
SELECT cachegrid.alter_cache('offer', loader => 'SELECT 1 AS lives, 2 AS value');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT 2 AS value');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', loader => 'SELECT interval ''1 hour'' AS lives');
SELECT * FROM error_of($$SELECT cachegrid.fetch('offer:1')$$);
SELECT cachegrid.alter_cache('offer', reset => '{ttl_column}');
SELECT cachegrid.fetch('offer:1');

-- By whose rights: the caller's, or those of a role that has lent them.
CREATE ROLE loaders_owner;
CREATE ROLE loaders_admin IN ROLE cachegrid_admin;
CREATE ROLE loaders_one IN ROLE cachegrid_reader;
CREATE ROLE loaders_other IN ROLE cachegrid_reader;
CREATE TABLE shop.secret (id int PRIMARY KEY, owner name, said text);
INSERT INTO shop.secret VALUES (1, 'loaders_owner', 'a'), (2, 'loaders_one', 'b');
ALTER TABLE shop.secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.secret USING (owner = current_user);
GRANT USAGE ON SCHEMA shop TO loaders_owner;
GRANT SELECT ON shop.secret TO loaders_owner;
SELECT cachegrid.watch('shop.secret');
SELECT cachegrid.create_cache('secret', loader => 'SELECT said || '' to '' || current_user FROM shop.secret WHERE id = $1',
                              run_as => 'loaders_owner');
SELECT run_as FROM cachegrid.cache WHERE name = 'secret';
SET ROLE loaders_one;
SELECT cachegrid.fetch('secret:1'), cachegrid.fetch('secret:2');
RESET ROLE;
SET ROLE loaders_other;
SELECT hits, misses FROM cachegrid.stat_cache WHERE cache = 'secret';
SELECT cachegrid.fetch('secret:1'), current_user;
SELECT hits, misses FROM cachegrid.stat_cache WHERE cache = 'secret';
-- others than fetch do not lend
SELECT cachegrid.get('secret:1'), cachegrid.exists('secret:1');
SELECT said FROM shop.secret;
RESET ROLE;
-- a change of what the owner may see ends it
REVOKE SELECT ON shop.secret FROM loaders_owner;
SELECT * FROM error_of($$SELECT cachegrid.fetch('secret:1')$$);
SELECT current_user = session_user AS given_back;
GRANT SELECT ON shop.secret TO loaders_owner;
-- nobody has his objects found by it
CREATE SCHEMA mine;
GRANT ALL ON SCHEMA mine TO loaders_one;
SELECT cachegrid.alter_cache('secret', loader => 'SELECT lower(said) FROM secret WHERE id = $1');
SET ROLE loaders_one;
CREATE VIEW mine.secret AS SELECT 1 AS id, 'X'::text AS said;
SET search_path = mine, shop;
SELECT * FROM public.error_of($$SELECT cachegrid.fetch('secret:1')$$);
CREATE TEMP TABLE pg_class (said text);
SELECT * FROM public.error_of($$SELECT cachegrid.fetch('secret:1')$$);
DROP TABLE pg_temp.pg_class;
RESET search_path;
RESET ROLE;
-- nor becomes another one within
CREATE FUNCTION shop.become(key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL ROLE loaders_other;
    RETURN current_user;
END
$$;
SELECT cachegrid.alter_cache('secret', ttl => '1 hour', loader_function => 'shop.become(text)');
SELECT * FROM error_of($$SELECT cachegrid.fetch('secret:1')$$);
-- an error that is caught gives the rights back
SELECT cachegrid.alter_cache('secret', on_error => 'null');
SELECT cachegrid.fetch('secret:1') IS NULL AS null, current_user = session_user AS given_back;
-- a loader within is by the rights of who runs it
SELECT cachegrid.create_cache('inner', ttl => '1 hour', loader => 'SELECT current_user::text || $1');
SELECT cachegrid.alter_cache('secret', loader => 'SELECT cachegrid.fetch(''inner:'' || $1)', on_error => 'raise');
GRANT cachegrid_reader TO loaders_owner;
SELECT cachegrid.fetch('secret:1');
-- Who may not become the role may not lend its rights, nor change what runs by them; but end that.
SET ROLE loaders_admin;
SELECT * FROM error_of($$SELECT cachegrid.create_cache('lent', loader => 'SELECT 1', run_as => 'loaders_owner')$$);
SELECT code FROM error_of($$SELECT cachegrid.alter_cache('secret', loader => 'SELECT 1')$$);
SELECT code FROM error_of($$UPDATE cachegrid.cache SET run_as = 'loaders_owner' WHERE name = 'inner'$$);
SELECT cachegrid.create_cache('lent', loader => 'SELECT current_user::text', run_as => 'loaders_admin');
SELECT cachegrid.alter_cache('secret', reset => '{run_as}');
RESET ROLE;
SELECT run_as IS NULL AS caller FROM cachegrid.cache WHERE name = 'secret';
SELECT cachegrid.fetch('lent:1');
SET ROLE loaders_one;
SELECT cachegrid.fetch('lent:1');
RESET ROLE;
-- A role that is gone lends nothing.
SELECT cachegrid.create_cache('left', loader => 'SELECT 1', run_as => 'loaders_other');
DROP ROLE loaders_other;
SELECT regexp_replace(message, '\d+', 'N') AS message, detail, hint FROM error_of($$SELECT cachegrid.fetch('left:1')$$);
SELECT * FROM error_of($$SELECT cachegrid.create_cache('lent2', run_as => 'nobody_such')$$);

SELECT name, cachegrid.drop_cache(name) FROM cachegrid.cache WHERE name IN ('offer', 'seen', 'secret', 'inner', 'lent', 'left') ORDER BY name;
DROP OWNED BY loaders_owner, loaders_admin, loaders_one;
DROP ROLE loaders_owner, loaders_admin, loaders_one;
SELECT cachegrid.delete('runs', 'around');
DROP SCHEMA shop, mine CASCADE;
DROP TABLE shapes;
DROP FUNCTION runs, got, error_of CASCADE;
