# Databases of one server: nobody sees, ends or outlives the entries of
# another, though a copied database has the same OIDs, names and rows.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_prepared_transactions = 5
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE one');
$node->safe_psql('one', <<'SQL');
CREATE EXTENSION cachegrid;
CREATE TABLE product (id int PRIMARY KEY, name text);
INSERT INTO product VALUES (1, 'original');
SELECT cachegrid.cache_table('product');
SQL
$node->safe_psql('postgres', 'CREATE DATABASE two TEMPLATE one');
$node->safe_psql('two', q{UPDATE product SET name = 'copy'});

# The value, and how it was come by.
sub fetch
{
	my ($database) = @_;
	my $hits = q{SELECT coalesce(sum(hits), 0) FROM cachegrid.stat_cache};
	my $before = $node->safe_psql($database, $hits);
	my $value = $node->safe_psql($database, q{SELECT cachegrid.fetch('product:1') ->> 'name'});

	return "$value " . ($node->safe_psql($database, $hits) > $before ? 'hit' : 'miss');
}

is($node->safe_psql('one', q{SELECT 'product'::regclass::oid}),
	$node->safe_psql('two', q{SELECT 'product'::regclass::oid}),
	'the tables of both databases have the same OID');
is(fetch('one'), 'original miss', 'one database computes its value');
is(fetch('two'), 'copy miss', 'the other one its own');
is(fetch('one'), 'original hit', 'the first finds its value');
is(fetch('two'), 'copy hit', 'and the second');

$node->safe_psql('one', q{UPDATE product SET name = 'changed'});
is(fetch('two'), 'copy hit', 'a change in one database ends no entry of the other');
is(fetch('one'), 'changed miss', '... but its own');
$node->safe_psql('one', q{SELECT cachegrid.clear(), cachegrid.invalidate('product:1')});
is(fetch('two'), 'copy hit', 'nor do clear and invalidate');
$node->safe_psql('one', q{BEGIN; UPDATE product SET name = 'prepared'; PREPARE TRANSACTION 'p'});
is(fetch('two'), 'copy hit', 'nor does a prepared transaction');
is(fetch('one'), 'changed miss', '... which holds up its own');
$node->safe_psql('one', q{COMMIT PREPARED 'p'});
is(fetch('one'), 'prepared miss', '... until it is finished');
is(fetch('one'), 'prepared hit', '... and then no more');

is($node->safe_psql('two', q{SELECT string_agg(key, ' ') FROM cachegrid.entries()}),
	'product:1', 'entries() shows those of its database');
is($node->safe_psql('two', q{SELECT sum(misses) FROM cachegrid.stat_cache}),
	'1', 'and stat_cache counts in it');

# A database that is gone, and another of its name.
$node->safe_psql('two', q{SELECT count(cachegrid.set('memory:' || i, 'x')) FROM generate_series(1, 100) i});
$node->safe_psql('postgres', 'DROP DATABASE two');
ok($node->poll_query_until('one', 'SELECT sum(entries) = 1 FROM cachegrid.stat_memory'),
	'the memory of a dropped database comes back');
is(fetch('one'), 'prepared hit', 'a dropped database takes no others along');
$node->safe_psql('postgres', 'CREATE DATABASE two TEMPLATE one');
is(fetch('two'), 'prepared miss', 'a new database of that name starts empty');
is($node->safe_psql('two', q{SELECT sum(hits) FROM cachegrid.stat_cache}), '0', 'with its own counters');

$node->stop;
done_testing();
