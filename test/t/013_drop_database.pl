
# A worker does not stand in the way of who needs its database.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('drop');
my $node = $mirror->node;

sub create_mirrored
{
	my ($database, $prefix) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database,
			'CREATE EXTENSION cachegrid;'
		  . 'CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis '
		  . "OPTIONS (endpoints '"
		  . $mirror->redis->endpoints . "');"
		  . 'CREATE TABLE item (id int PRIMARY KEY);'
		  . 'INSERT INTO item SELECT generate_series(1, 1000);'
		  . "SELECT cachegrid.mirror('item', 'grid', '$prefix:{id}')");
	ok( $node->poll_query_until(
			$database, "SELECT state = 'live' AND waiting = 0 FROM cachegrid.stat_mirror"),
		"$database is mirrored");
	return;
}

sub has_worker
{
	my ($database) = @_;

	return $node->poll_query_until('postgres',
		'SELECT count(*) = 1 FROM pg_stat_activity'
		  . " WHERE backend_type = 'cachegrid worker' AND datname = '$database'");
}

create_mirrored('one', 'one');
create_mirrored('two', 'two');
ok(has_worker('one') && has_worker('two'), 'each has a worker');

# Each database has its own keys
my ($code, $output, $error) = $node->psql('two',
	"CREATE TABLE other (id int PRIMARY KEY);"
	  . "SELECT cachegrid.mirror('other', 'grid', 'one:{id}')");
isnt($code, 0, 'a prefix has one owner');
like($error, qr/belongs to another database/, 'and the error says so');

is($node->psql('postgres', 'DROP DATABASE one'), 0, 'a database with a worker is dropped');
is($node->psql('postgres', 'ALTER DATABASE two RENAME TO three'),
	0, 'a database with a worker is renamed');
is($node->psql('postgres', 'CREATE DATABASE four TEMPLATE three'),
	0, 'a database with a worker is copied');
ok(has_worker('three'), 'its worker comes back');
$node->safe_psql('three', 'INSERT INTO item VALUES (5000)');
ok( $node->poll_query_until(
		'three', "SELECT state = 'live' AND waiting = 0 FROM cachegrid.stat_mirror"),
	'and goes on');
is($mirror->value('two:5000'), '{"id":5000}', 'where it was');
is($node->psql('postgres', 'DROP DATABASE four'), 0, 'the copy is dropped');
is($node->psql('three', 'DROP EXTENSION cachegrid CASCADE'),
	0, 'the extension is dropped under its worker');
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cachegrid worker'"),
	'which leaves then');
is($node->psql('postgres', 'DROP DATABASE three'), 0, 'the database is dropped after it');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11|TRAP/, 'nothing crashed');

done_testing();
