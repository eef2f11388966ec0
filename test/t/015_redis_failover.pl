
# A replica takes over and does not have all that its master had acknowledged.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('failover');
my $node = $mirror->node;
my $redis = RedisCluster->new(
	dir => PostgreSQL::Test::Utils::tempdir() . '/replicated',
	nodes => 3,
	replicas => 3,
	node_timeout => 1000);

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

sql("CREATE SERVER pairs FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '"
	  . $redis->endpoints
	  . "')");
sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 3000) i");
sql("SELECT cachegrid.mirror('item', 'pairs')");
$mirror->is_equal('at first', 'item', 'pairs');

# The replica of node 0 hears nothing any more, then its master dies
my $sweeps = sql('SELECT sweeps FROM cachegrid.stat_mirror');
$redis->node(3)->pause;
sql("UPDATE item SET name = 'acknowledged'");
$mirror->is_equal('beside a deaf replica', 'item', 'pairs');
$redis->node(0)->kill9;
$redis->node(3)->resume;
sql("UPDATE item SET name = 'later' WHERE id % 10 = 0");
$redis->wait_until_ok;
ok( $node->poll_query_until(
		'postgres', "SELECT sweeps > $sweeps FROM cachegrid.stat_mirror"),
	'the mirror is swept after the failover');
$mirror->is_equal('after the failover', 'item', 'pairs');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11/, 'nothing crashed');

done_testing();
