# Without preloading there is no memory for a cache: every function says so in
# the same way, the server goes on, and tables that were watched and cached
# are just tables.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION cachegrid;
CREATE TABLE product (id int PRIMARY KEY, name text);
INSERT INTO product VALUES (1, 'one'), (2, 'two');
SELECT cachegrid.cache_table('product');
CREATE TABLE plain (id int PRIMARY KEY);
CREATE FUNCTION loads(key text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE SERVER product FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '127.0.0.1:1');

-- Calls the function with one argument of each type that it needs; tells the
-- error, or that there was none.
CREATE FUNCTION tried(function regprocedure) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    p pg_proc := (SELECT pg_proc FROM pg_proc WHERE oid = function);
    arguments text;
    hint text;
BEGIN
    SELECT string_agg(CASE WHEN p.provariadic <> 0 AND place = p.pronargs THEN 'VARIADIC ' ELSE '' END || CASE format_type(type, NULL)
            WHEN 'text' THEN CASE WHEN p.proname IN ('create_cache', 'drop_cache', 'check_policy') THEN '''fresh'''
                WHEN p.proname = 'alter_cache' THEN '''product''' ELSE '''product:1''' END
            WHEN 'text[]' THEN 'ARRAY[''product:1'']'
            WHEN 'interval' THEN '''1 hour''::interval'
            WHEN 'bigint' THEN '1::bigint'
            WHEN 'boolean' THEN 'true'
            WHEN 'regclass' THEN '''plain''::regclass'
            WHEN 'regprocedure' THEN '''public.loads(text)''::regprocedure'
            WHEN 'anyelement' THEN CASE WHEN p.proname = 'fetch_row' THEN 'NULL::public.product' ELSE '1' END
            WHEN 'name' THEN '''product''::name'
            WHEN 'cachegrid.cache' THEN '(SELECT c FROM cachegrid.cache AS c LIMIT 1)'
            WHEN 'name[]' THEN 'ARRAY[''id'']::name[]'
            ELSE '1' END, ', ' ORDER BY place)
        INTO arguments
        FROM unnest(p.proargtypes) WITH ORDINALITY AS t (type, place)
        WHERE place <= p.pronargs - p.pronargdefaults;
    EXECUTE format('SELECT cachegrid.%I(%s)', p.proname, arguments);
    RETURN 'works';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || CASE WHEN hint ~ 'shared_preload_libraries' THEN ' and how to mend it' ELSE ': ' || SQLERRM END;
END $$;
SQL

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;

# What reads and writes tables alone needs no memory: it works, or finds that
# there is no such mirror.
my %catalog_only = map { $_ => 1 }
  qw(create_cache alter_cache drop_cache check_policy check_choice check_time check_number loader_of_function watched mirror_status mirror_progress stat_redis resync unmirror verify);

my @functions = split(/\n/, $node->safe_psql('postgres', q{
	SELECT p.oid::regprocedure || '|' || proname FROM pg_proc p
	WHERE pronamespace = 'cachegrid'::regnamespace AND prokind = 'f'
		AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'fdw_handler'::regtype)
		AND NOT proname ~ 'validator$|^redis_'
	ORDER BY 1}));

cmp_ok(scalar(@functions), '>', 40, 'there are functions to try');
foreach my $function (@functions)
{
	my ($signature, $name) = split(/\|/, $function);
	my $answer = $node->safe_psql('postgres', "SELECT tried('$signature')");

	if ($catalog_only{$name})
	{
		like($answer, qr/^works$|is not mirrored|invalid cache name/, "$signature needs no memory");
	}
	else
	{
		is($answer, '55000 and how to mend it', "$signature says that the library is not preloaded");
	}
}

# Tables are tables.
$node->safe_psql('postgres', <<'SQL');
INSERT INTO product VALUES (3, 'three');
UPDATE product SET name = upper(name) WHERE id = 1;
DELETE FROM product WHERE id = 2;
INSERT INTO product VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET name = product.name || '!';
BEGIN;
SAVEPOINT s;
UPDATE product SET name = 'gone';
ROLLBACK TO s;
COMMIT;
ALTER TABLE product ADD COLUMN price int DEFAULT 7;
CREATE TABLE more (n int);
DROP TABLE more;
SQL
is($node->safe_psql('postgres', 'SELECT * FROM product ORDER BY id'),
	"1|ONE!|7\n3|three|7", 'a watched table can be changed');
is($node->safe_psql('postgres', 'BEGIN; TRUNCATE product; ROLLBACK; SELECT count(*) FROM product'),
	'2', '... and truncated');

# And nothing from before is believed once it is preloaded again.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'");
$node->restart;
is($node->safe_psql('postgres', q{SELECT cachegrid.fetch('product:1')}),
	'{"id": 1, "name": "ONE!", "price": 7}', 'preloaded again, the present rows are read');
is($node->safe_psql('postgres', q{SELECT cachegrid.fetch('product:1') IS NOT NULL, hits FROM cachegrid.stat_cache WHERE cache = 'product'}),
	't|0', '... once more, asked for before its hit is counted');
is($node->safe_psql('postgres', q{SELECT hits, misses FROM cachegrid.stat_cache WHERE cache = 'product'}),
	'1|1', '... and kept');

# The extension can be created and dropped without it.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION cachegrid; DROP EXTENSION cachegrid');
$node->safe_psql('postgres', 'DROP EXTENSION cachegrid CASCADE; UPDATE product SET price = 8');
is($node->safe_psql('postgres', 'SELECT sum(price) FROM product'), '16', 'without the extension, too');

$node->stop;
done_testing();
