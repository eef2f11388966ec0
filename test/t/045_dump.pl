# A database with caches, loaders and watches, dumped and restored: everything
# works there as it did here, though columns that were dropped have made the
# column numbers others.

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
CREATE ROLE app LOGIN;
CREATE TABLE product (gone int, id int PRIMARY KEY, gone_too text, category int, "odd } name" text, name text);
ALTER TABLE product DROP COLUMN gone;
ALTER TABLE product DROP COLUMN gone_too;
INSERT INTO product VALUES (1, 7, 'x', 'one'), (2, 7, 'y', 'two');
SELECT cachegrid.cache_table('product', ttl => '1 day');
SELECT cachegrid.watch('product', ARRAY['product:{id}'], ARRAY['category:{category}']);
SELECT cachegrid.create_cache('names', '1 hour', 'SELECT jsonb_agg(name ORDER BY id) FROM product WHERE category = $1');
SELECT cachegrid.create_cache('counter', transactional => false);
SELECT cachegrid.create_cache('optional', wait_timeout => '0', on_timeout => 'error', lease_interval => '10 s', null_ttl => '1 min', on_error => 'null',
	load_timeout => '1 s', error_backoff => '2 s',
	stale_ttl => '3 s', soft_load_timeout => '4 s', early_beta => 1.5, serve_invalidated => '5 s', refresh_ahead => 0.8,
	loader => 'SELECT 1', keep_warm => 'SELECT 1', keep_warm_role => 'app');
CREATE FUNCTION load_many(keys text[]) RETURNS TABLE (key text, value text, lives interval) LANGUAGE sql AS $$
	SELECT k, 'of ' || k || ' by ' || current_user, interval '1 hour' FROM unnest(keys) AS k
$$;
CREATE ROLE "the lender";
GRANT USAGE ON SCHEMA public TO "the lender";
SELECT cachegrid.create_cache('lent', ttl => '1 day', loader_function => 'load_many(text[])', loader_tags => '{a,"b c"}', ttl_column => 'lives', run_as => '"the lender"');
SELECT cachegrid.fetch('product:1'), cachegrid.fetch('names:7');
SQL

my $dump = $node->basedir . '/dump';

# The value of a query, and whether the cache knew it.
sub fetch
{
	my ($database, $query) = @_;
	my $hits = q{SELECT sum(hits) FROM cachegrid.stat_cache};
	my $before = $node->safe_psql($database, $hits);
	my $value = $node->safe_psql($database, "SELECT $query");

	return "$value " . ($node->safe_psql($database, $hits) > $before ? 'hit' : 'miss');
}

foreach my $format ('plain', 'custom')
{
	my $copy = "copy_$format";
	my @restore =
	  $format eq 'plain'
	  ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.$format", $node->connstr($copy))
	  : ('pg_restore', '--exit-on-error', '-d', $node->connstr($copy), "$dump.$format");

	$node->command_ok([ 'pg_dump', "--format=$format", '-f', "$dump.$format", $node->connstr('postgres') ],
		"$format: dumped");
	$node->safe_psql('postgres', "CREATE DATABASE $copy");
	$node->command_ok(\@restore, '... and restored');

	foreach my $query (
		'SELECT * FROM cachegrid.cache ORDER BY name',
		'SELECT * FROM cachegrid.watched ORDER BY 1::text')
	{
		is($node->safe_psql($copy, $query), $node->safe_psql('postgres', $query), "the same in: $query");
	}
	isnt($node->safe_psql($copy, q{SELECT attnum FROM pg_attribute WHERE attrelid = 'product'::regclass AND attname = 'category'}),
		$node->safe_psql('postgres', q{SELECT attnum FROM pg_attribute WHERE attrelid = 'product'::regclass AND attname = 'category'}),
		'the columns have other numbers');

	my $row = q{cachegrid.fetch('product:1') ->> 'name'};
	my $names = q{cachegrid.fetch('names:7')};

	is(fetch($copy, $row), 'one miss', 'the copy computes a row');
	is(fetch($copy, $row), 'one hit', '... and keeps it');
	is(fetch($copy, $names), '["one", "two"] miss', 'a loader computes a list');
	is(fetch($copy, $names), '["one", "two"] hit', '... and keeps it');
	is(fetch($copy, q{(cachegrid.fetch_row(NULL::product, '2')).name}), 'two miss', 'a row is found by its table');
	is(fetch($copy, q{cachegrid.fetch('lent:1')}), '"of lent:1 by the lender" miss', 'a function loads by lent rights');
	is($node->safe_psql($copy, q{SELECT tags, cachegrid.fetch('lent:1') FROM cachegrid.entries('lent:*')}),
		'{a,"b c"}|"of lent:1 by the lender"', '... and its values carry tags');
	is($node->safe_psql($copy, q{SELECT cachegrid.ttl('product:1') > '23 hours'}), 't', 'for the time of its cache');
	$node->safe_psql($copy, q{UPDATE product SET name = 'other' WHERE id = 2});
	is(fetch($copy, $row), 'one hit', 'a change of another row leaves the row');
	is(fetch($copy, $names), '["one", "other"] miss', '... and ends the list');
	$node->safe_psql($copy, q{UPDATE product SET name = 'ONE', category = 8 WHERE id = 1});
	is(fetch($copy, $row), 'ONE miss', 'a change of the row ends it');
	is(fetch($copy, $names), '["other"] miss', '... and the list that it leaves');
	$node->safe_psql($copy, q{BEGIN; SELECT cachegrid.set('counter:1', '5'); ROLLBACK});
	is($node->safe_psql($copy, q{SELECT cachegrid.get('counter:1')}), '5', 'a cache keeps its options');
}

$node->stop;
done_testing();
