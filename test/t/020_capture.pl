# What a watch survives: dump and restore, replication apply, a server that
# starts without the library.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'");
$node->start;

# The value of a sale's key that stands in the store; empty if none does.
sub stands
{
	my ($server, $database, $key) = @_;
	return $server->safe_psql($database, "SELECT cachegrid.get('$key')");
}

sub fetch_sale
{
	my ($server, $database, $id) = @_;
	return $server->safe_psql($database,
		"SELECT cachegrid.fetch('sale:$id', 'SELECT to_jsonb(amount) FROM sale WHERE id = \$1', '{$id}')");
}

my $tables = q{
	CREATE TABLE sale (gone int, amount int, id int, region text) PARTITION BY LIST (region);
	ALTER TABLE sale DROP COLUMN gone;
	CREATE TABLE sale_a PARTITION OF sale FOR VALUES IN ('a');
	CREATE TABLE sale_b (region text, id int, gone int, amount int);
	ALTER TABLE sale_b DROP COLUMN gone;
	ALTER TABLE sale ATTACH PARTITION sale_b FOR VALUES IN ('b');
};

$node->safe_psql('postgres', "CREATE EXTENSION cachegrid; $tables");
$node->safe_psql('postgres', q{
	INSERT INTO sale VALUES (10, 1, 'a'), (20, 2, 'b');
	SELECT cachegrid.watch('sale', ARRAY['sale:{id}'], ARRAY[E'quote''back\\\\slash:{region}']);
});

# Dump and restore.
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a watched table is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'and restored');
my $watched = 'SELECT * FROM cachegrid.watched';
is( $node->safe_psql('restored', $watched),
	$node->safe_psql('postgres', $watched),
	'the restored table is watched by the same templates');
like($node->safe_psql('restored', $watched), qr/\|t$/, 'and active');
is(fetch_sale($node, 'restored', 2), '20', 'a value is computed from it');
is(stands($node, 'restored', 'sale:2'), '20', 'and kept');
$node->safe_psql('restored', 'UPDATE sale SET amount = 21 WHERE id = 2');
is(stands($node, 'restored', 'sale:2'), '', 'a changed row invalidates it');

# Column numbers are those of the restored table, whatever is renamed later.
$node->safe_psql('restored', 'ALTER TABLE sale RENAME COLUMN id TO number; ALTER TABLE sale RENAME COLUMN amount TO id');
is($node->safe_psql('restored', 'SELECT keys[1] FROM cachegrid.watched'), 'sale:{number}', 'a renamed column is followed after a restore');

# Data alone, with the triggers disabled meanwhile.
my $data = $node->basedir . '/data.sql';
$node->command_ok([ 'pg_dump', '-a', '--disable-triggers', '-t', 'sale*', '-f', $data, $node->connstr('postgres') ], 'data is dumped');
is(fetch_sale($node, 'postgres', 1), '10', 'a value is computed');
$node->safe_psql('postgres', 'DELETE FROM sale');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $data, $node->connstr('postgres') ], 'and restored without triggers');
is($node->safe_psql('postgres', 'SELECT active FROM cachegrid.watched'), 't', 'the triggers are enabled ALWAYS again');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!cachegrid%' AND tgenabled <> 'A'}), '0', 'those of partitions, too');

# Logical replication applies rows and TRUNCATE as "replica".
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'");
$subscriber->start;
$subscriber->safe_psql('postgres', "CREATE EXTENSION cachegrid; $tables ALTER TABLE sale_a REPLICA IDENTITY FULL; ALTER TABLE sale_b REPLICA IDENTITY FULL");
$node->safe_psql('postgres', 'ALTER TABLE sale_a REPLICA IDENTITY FULL; ALTER TABLE sale_b REPLICA IDENTITY FULL; CREATE PUBLICATION sales FOR TABLE sale');
$subscriber->safe_psql('postgres', q{SELECT cachegrid.watch('sale', ARRAY['sale:{id}'])});
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION sales CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION sales");
$subscriber->wait_for_subscription_sync($node, 'sales');
is(fetch_sale($subscriber, 'postgres', 1), '10', 'a subscriber computes a value');
is(fetch_sale($subscriber, 'postgres', 2), '20', 'and another');
$node->safe_psql('postgres', 'UPDATE sale SET amount = 11 WHERE id = 1');
$node->wait_for_catchup('sales');
is(stands($subscriber, 'postgres', 'sale:1'), '', 'an applied row invalidates its key');
is(stands($subscriber, 'postgres', 'sale:2'), '20', 'and no other');
is(fetch_sale($subscriber, 'postgres', 1), '11', 'the new row is read');
$node->safe_psql('postgres', 'TRUNCATE sale_b');
$node->wait_for_catchup('sales');
is(stands($subscriber, 'postgres', 'sale:2'), '', 'an applied TRUNCATE invalidates the table');
$subscriber->stop;

# Without the library in memory the triggers do nothing.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', q{
	INSERT INTO sale VALUES (30, 3, 'a');
	UPDATE sale SET amount = 31 WHERE id = 3;
	TRUNCATE sale_b;
	CREATE TABLE sale_c PARTITION OF sale FOR VALUES IN ('c');
	ALTER TABLE sale ADD COLUMN more int;
	DROP TABLE sale_c;
});
is($node->safe_psql('postgres', 'SELECT sum(amount) FROM sale'), '42', 'watched tables can be changed on a server that did not load the library');
my ($code, $out, $error) = $node->psql('postgres', q{SELECT cachegrid.watch('sale')});
like($error, qr/ERROR:  cachegrid must be loaded via "shared_preload_libraries".*HINT:  Add cachegrid to "shared_preload_libraries"/s, 'but not be put under watch');
$node->stop;

done_testing();
