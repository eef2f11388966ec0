-- fetch(): what it refuses, each with a message that says what to do.
CREATE SCHEMA test_errors;
SET search_path = test_errors;
CREATE TABLE product (id int PRIMARY KEY, name text, day date);
INSERT INTO product VALUES (1, 'one', '2024-05-31');
SELECT cachegrid.watch('product', keys => '{"product:{id}"}');

-- Arguments.
SELECT cachegrid.fetch(NULL);
SELECT cachegrid.fetch('');
SELECT cachegrid.fetch(repeat('k', 513));
SELECT cachegrid.fetch(NULL, 'SELECT 1');
SELECT cachegrid.fetch('k', NULL);
SELECT cachegrid.fetch('k', 'SELECT 1', NULL);
SELECT cachegrid.fetch('k', 'SELECT 1', '{a}');
SELECT cachegrid.fetch('k', 'SELECT $1::int, $2::int', '{1}');
SELECT cachegrid.fetch('k', 'SELECT $2::int', '{1,2}');
SELECT cachegrid.fetch('k', 'SELECT jsonb_build_array($1)', '{1}');
SELECT cachegrid.fetch('k', 'SELECT $1::int', '{{1},{2}}');
SELECT cachegrid.fetch('k', 'SELECT $1::int', '{one}');
SELECT cachegrid.fetch('k', 'SELECT $1::int', '{"1; DROP TABLE product"}');
SELECT cachegrid.fetch('k', 'SELECT 1', tags => '{NULL}');
SELECT cachegrid.fetch('k', 'SELECT 1', tags => '{""}');
SELECT cachegrid.fetch('k', 'SELECT 1', ttl => '0');
SELECT cachegrid.fetch('k', 'SELECT 1', ttl => '-1 second');
SELECT cachegrid.fetch('k', 'SELECT 1', ttl => '178000000 years');

-- No loader; keys that do not fit their loader.
SELECT cachegrid.fetch('k');
SELECT cachegrid.create_cache('bare');
SELECT cachegrid.fetch('bare:1');
SELECT cachegrid.create_cache('place', loader => 'SELECT to_jsonb(p) FROM product p WHERE id = $1 AND name = $2');
SELECT cachegrid.fetch('place:1');
SELECT cachegrid.fetch('place:one:two');
SELECT cachegrid.fetch('place:');

-- Loaders that fetch themselves, directly or not.
SELECT cachegrid.create_cache('self', loader => 'SELECT cachegrid.fetch(''self:'' || $1)');
SELECT cachegrid.fetch('self:1');
SELECT cachegrid.create_cache('one', loader => 'SELECT cachegrid.fetch(''two:'' || $1)');
SELECT cachegrid.create_cache('two', loader => 'SELECT cachegrid.fetch(''one:'' || $1)');
SELECT cachegrid.fetch('one:1');

-- Queries that are none, or more than one, or write.
SELECT cachegrid.fetch('k', '');
SELECT cachegrid.fetch('k', '-- nothing');
SELECT cachegrid.fetch('k', 'SELECT 1; SELECT 2');
SELECT cachegrid.fetch('k', 'SELECT 1; DROP TABLE product');
SELECT cachegrid.fetch('k', 'SELEC 1');
SELECT cachegrid.fetch('k', 'SELECT id FROM product WHERE nme = $1', '{a}');
SELECT cachegrid.fetch('k', 'DELETE FROM product RETURNING id');
SELECT cachegrid.fetch('k', 'UPDATE product SET id = 2 RETURNING id');
SELECT cachegrid.fetch('k', 'WITH d AS (DELETE FROM product RETURNING id) SELECT count(*) FROM d');
SELECT cachegrid.fetch('k', 'SELECT id INTO other FROM product');
SELECT cachegrid.fetch('k', 'CREATE TABLE other (n int)');
SELECT cachegrid.fetch('k', 'EXPLAIN SELECT 1');
SELECT cachegrid.fetch('k', 'SHOW work_mem');
SELECT cachegrid.fetch('k', 'BEGIN');
SELECT cachegrid.fetch('k', 'SELECT id FROM product FOR UPDATE');
SELECT cachegrid.fetch('k', 'SELECT (SELECT id FROM product WHERE id = 1 FOR SHARE)');
SELECT cachegrid.fetch('k', 'SELECT n FROM generate_series(1, 2) AS n');
SELECT cachegrid.fetch('k', 'SELECT 1 / (id - 1) FROM product');
SELECT count(*) FROM product;

-- Relations whose changes go unnoticed.
CREATE TABLE unwatched (n int);
CREATE VIEW hidden AS SELECT n FROM unwatched;
CREATE MATERIALIZED VIEW stored AS SELECT n FROM unwatched;
CREATE SEQUENCE seq;
CREATE TEMP TABLE mine (n int);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far (n int) SERVER nowhere;
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM unwatched');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM product WHERE EXISTS (SELECT FROM unwatched)');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM hidden');
SELECT cachegrid.fetch('k', 'SELECT last_value FROM seq');
SELECT cachegrid.fetch('k', 'SELECT nextval(''seq'')');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM mine');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM mine', ttl => '1 hour');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM far');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM pg_class');
SELECT cachegrid.fetch('k', 'SELECT count(*) FROM information_schema.tables');
ALTER TABLE product DISABLE TRIGGER ALL;
SELECT cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1');
SELECT cachegrid.watch('product', keys => '{"product:{id}"}');
SELECT cachegrid.fetch('product:1', 'SELECT name FROM product WHERE id = 1');

-- What follows from more than rows.
CREATE FUNCTION reads(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM unwatched WHERE n = $1';
CREATE FUNCTION procedural(int) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM unwatched); END';
CREATE FUNCTION careless(int) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION add_row(int, int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE rows_of (int) (SFUNC = add_row, STYPE = int, INITCOND = '0');
CREATE FUNCTION chance(int, int) RETURNS int LANGUAGE sql STRICT AS 'SELECT $1 + $2 + (random() * 0)::int';
CREATE FUNCTION subtract(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1 - $2';
CREATE AGGREGATE moving_of (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0',
    MSFUNC = chance, MINVFUNC = subtract, MSTYPE = int, MINITCOND = '0');
CREATE OPERATOR ### (FUNCTION = reads, RIGHTARG = int);
CREATE TABLE bad (n int, query text);
INSERT INTO bad (query) VALUES
    ('SELECT now()'), ('SELECT current_date'), ('SELECT localtimestamp'), ('SELECT clock_timestamp()'), ('SELECT random()'),
    ('SELECT age(day) FROM product'), ('SELECT name FROM product WHERE day < current_date'),
    ('SELECT date ''today'''), ('SELECT ''now''::timestamptz'), ('SELECT $$Tomorrow$$::date'), ('SELECT ''{today}''::date[]'), ('SELECT ''it''''s'' || date ''today'''), ('SELECT ''it''''s today'' || date ''2024-05-31'''),
    (E'SELECT timestamp E''\\x6eow'''), (E'SELECT date U&''\\0074oday'''), (E'SELECT date ''to''\n''day'''),
    ('SELECT timetz ''10:00 MSK'''), ('SELECT ''{10:00 MSK}''::timetz[]'), ('SELECT timetz ''10:00+03'''), ('SELECT timestamptz ''2024-05-31 10:00 MSK'''),
    ('SELECT name::date FROM product'), ('SELECT (''to'' || ''day'')::date'),
    ('SELECT to_date(name, ''YYYY'') FROM product'),
    ('SELECT txid_current()'), ('SELECT pg_backend_pid()'), ('SELECT session_user'), ('SELECT current_setting(''work_mem'')'),
    ('SELECT set_config(''work_mem'', ''1MB'', true)'), ('SELECT pg_sleep(0)'), ('SELECT version()'), ('SELECT current_user IS NOT NULL'),
    ('SELECT 1259::oid::regclass'), ('SELECT to_jsonb(tableoid::regclass) FROM product'), ('SELECT ''pg_class''::regclass::text'),
    ('SELECT 1::money'), ('SELECT xmlelement(name a)'),
    ('SELECT count(*) FROM product TABLESAMPLE system (50)'),
    ('SELECT ctid::text FROM product'), ('SELECT count(*) FROM product WHERE xmax = ''0'''), ('SELECT tableoid > ''0'' FROM product'),
    ('SELECT reads(1)'), ('SELECT procedural(1)'), ('SELECT careless(1)'), ('SELECT pure(1)'), ('SELECT rows_of(id) FROM product'),
    ('SELECT moving_of(id) OVER (ROWS 1 PRECEDING) FROM product'),
    ('SELECT ### 1'), ('SELECT n FROM reads(1) AS n'), ('SELECT count(*) FROM product ORDER BY reads(1)'),
    ('SELECT count(*) FILTER (WHERE random() > 2) FROM product'), ('SELECT row_number() OVER (ORDER BY random()) FROM product'),
    ('SELECT max(n) FROM generate_series(1, (random() + 1)::int) AS n'),
    ('SELECT max(n) FROM (VALUES (random())) AS v (n)'),
    ('SELECT cachegrid.get(''k'')'), ('SELECT cachegrid.incr(''k'')'),
    ('SELECT to_tsvector(name) FROM product'), ('SELECT has_table_privilege(''product'', ''SELECT'')'),
    ('SELECT query_to_xml(''SELECT 1'', true, true, '''')::text'), ('SELECT dblink(''SELECT 1'')');
UPDATE bad SET n = (SELECT count(*) FROM bad b WHERE b.ctid <= bad.ctid);
CREATE FUNCTION refused(query text, args text[] DEFAULT '{}', ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cachegrid.fetch('k', query, args, ttl, tags);
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END
$$;
SELECT query, refused(query) FROM bad ORDER BY n;
SELECT cachegrid.fetch('k', 'SELECT now() IS NULL');
SELECT cachegrid.fetch('k', 'SELECT procedural(1)');
SELECT cachegrid.fetch('k', 'SELECT current_setting(''work_mem'')', ttl => '1 hour');
-- Words for today among the arguments, and zones whose offset is today's.
SELECT refused('SELECT $1::date', '{today}'), refused('SELECT $1::timestamptz', '{"  NOW "}'), refused('SELECT $1::date[]', '{"{yesterday}"}'),
       refused('SELECT $1::text', '{today}'), refused('SELECT $1::date', '{2024-05-31}'), refused('SELECT $1::date', '{today}', '1 hour');
SELECT refused('SELECT $1::timetz', '{10:00 MSK}'), refused('SELECT $1::timetz', '{10:00}'), refused('SELECT $1::timetz', '{10:00 MSK}', '1 hour');
-- With tags a stable function will do, with a ttl any.
SELECT refused('SELECT procedural(1)', tags => '{t}'), refused('SELECT careless(1)', tags => '{t}'), refused('SELECT careless(1)', ttl => '1 hour');
-- What the session alone has, even for a ttl.
CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE TYPE pg_temp.my_row AS (a int);
CREATE DOMAIN pg_temp.my_number AS int;
CREATE TEMP VIEW my_view AS SELECT 1 AS n;
SELECT query, refused(query, args, '1 hour') FROM (VALUES ('SELECT pg_temp.mine()', '{}'::text[]), ('SELECT 1::my_number', '{}'), ('SELECT $1::my_number', '{1}'),
    ('SELECT ROW(1)::my_row', '{}'), ('SELECT ''{(1)}''::my_row[]', '{}'), ('SELECT NULL::my_row', '{}'), ('SELECT name::my_row FROM product', '{}'),
    ('SELECT n FROM my_view', '{}')) AS v (query, args);
-- An operator or a collation there, though their functions stand elsewhere.
CREATE FUNCTION three(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR pg_temp.### (LEFTARG = int, RIGHTARG = int, FUNCTION = three);
CREATE COLLATION pg_temp.mine FROM "C";
SELECT query, refused(query, '{}', '1 hour') FROM (VALUES ('SELECT 1 OPERATOR(pg_temp.###) 2'), ('SELECT 1 OPERATOR(pg_temp.###) ANY (ARRAY[2])'),
    ('SELECT count(*) FROM product WHERE id IS NOT NULL AND NOT id OPERATOR(pg_temp.###) 2'), ('SELECT max(name COLLATE pg_temp.mine) FROM product'), ('SELECT max(name COLLATE "C") FROM product')) AS v (query);
-- Domains that allow by what the tables have.
CREATE FUNCTION is_product(int) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN EXISTS (SELECT FROM product WHERE id = $1); END';
CREATE DOMAIN product_id AS int CHECK (is_product(VALUE));
CREATE DOMAIN positive_id AS int CHECK (VALUE > 0);
CREATE TYPE product_ref AS (id product_id);
SELECT query, refused(query, args) FROM (VALUES ('SELECT 1::product_id', '{}'::text[]), ('SELECT $1::product_id', '{1}'), ('SELECT ''{1}''::product_id[]', '{}'),
    ('SELECT id::product_id FROM product', '{}'), ('SELECT ''(1)''::product_ref', '{}'), ('SELECT name::product_id FROM product', '{}'),
    ('SELECT id::positive_id FROM product', '{}')) AS v (query, args);
SELECT refused('SELECT 1::product_id', ttl => '1 hour');
-- The cache's own ttl counts.
SELECT cachegrid.create_cache('short', ttl => '1 minute');
SELECT cachegrid.fetch('short:1', 'SELECT count(*) FROM unwatched');

-- Arguments that a call leaves out.
CREATE FUNCTION since(day date, now timestamptz DEFAULT now(), step int DEFAULT 1) RETURNS interval IMMUTABLE LANGUAGE sql AS 'SELECT now - day';
SELECT refused('SELECT since(day) FROM product'), refused('SELECT since(day, step => 2) FROM product'), refused('SELECT since(day, $$2024-06-01$$) FROM product');

-- What was kept for a ttl is no answer to who gives none.
SELECT cachegrid.fetch('forever', 'SELECT count(*) FROM unwatched', ttl => '1 hour');
SELECT cachegrid.fetch('forever', 'SELECT count(*) FROM unwatched');

-- cache_table().
CREATE TABLE keyless (n int);
SELECT cachegrid.cache_table('keyless');
SELECT cachegrid.cache_table(NULL);
SELECT cachegrid.cache_table('hidden');
SELECT cachegrid.cache_table('far');
SELECT cachegrid.cache_table('mine');
CREATE TABLE numbers (n numeric PRIMARY KEY);
SELECT cachegrid.cache_table('numbers');
\set SHOW_CONTEXT never
SELECT cachegrid.cache_table('product', 'pro:duct');
SELECT cachegrid.cache_table('product', 'bare');
SELECT cachegrid.cache_table('product', ttl => '-1');
\set SHOW_CONTEXT errors
SELECT name FROM cachegrid.cache ORDER BY name;

SET client_min_messages = warning;
DROP SCHEMA test_errors CASCADE;
DROP FOREIGN DATA WRAPPER nothing CASCADE;
SELECT cachegrid.drop_cache('bare');
SELECT cachegrid.drop_cache('place');
SELECT cachegrid.drop_cache('short');
SELECT cachegrid.drop_cache('self');
SELECT cachegrid.drop_cache('one');
SELECT cachegrid.drop_cache('two');
