
# A node joins the cluster and leaves it again, and all of them are restarted, while
# rows are written.

use strict;
use warnings;

use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('nodes');
my $node = $mirror->node;
my $redis = $mirror->redis;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $output = '';

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Writes until it is killed.
sub start_load
{
	return start(
		[
			'pgbench', '-n', '-f', "$folder/load.sql", '-c', '2', '-R', '400', '-T', '600',
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'>', \$output, '2>', \$output);
}

# So many of the rows' keys are written again, on this condition for their nodes.
sub is_written
{
	my ($condition, $name) = @_;

	ok( $node->poll_query_until('postgres',
			"SELECT count(*) > 0 FROM cachegrid.stat_redis WHERE $condition"),
		$name);
	return;
}

append_to_file("$folder/load.sql", <<'EOS');
\set id random(1, 2000)
UPDATE item SET name = 'load ' || :id || ' ' || random() WHERE id = :id;
EOS
sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 2000) i");
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->is_equal('at first');

# A node joins, and gets slots of all the others
my $place = -s $node->logfile;
my $load = start_load();
my $new = $redis->add_node;
my $address = $redis->node($new)->host . ':' . $redis->node($new)->port;
my %owners = map { $_ => $redis->owner_of($_) } map { $redis->slot_of("item:$_") } 1 .. 8;
$redis->migrate_slot($_, $new) foreach keys %owners;
is_written("node = '$address' AND connected AND slots = " . keys(%owners), 'the new node is connected to');
sql("UPDATE item SET name = 'joined' WHERE id <= 8");
is_written("node = '$address' AND commands > 20", '... and written to');
$load->kill_kill;
$mirror->is_equal('a node has joined');
cmp_ok($redis->node($new)->command('DBSIZE'), '>=', 8, 'it has keys');

# It leaves
$load = start_load();
$redis->migrate_slot($_, $owners{$_}) foreach keys %owners;
$redis->remove_node;
sql("UPDATE item SET name = 'left' WHERE id <= 8");
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 AND bool_and(connected) FROM cachegrid.stat_redis"),
	'the node that left is not shown any more');
$load->kill_kill;
$mirror->is_equal('a node has left');
is(sql('SELECT count(*) FROM cachegrid.mirror_parked'), 0, 'no key was given up');

# All nodes are restarted, one after the other and then together
foreach my $together (0, 1)
{
	my $name = $together ? 'all nodes at once' : 'one node after the other';
	my $before = sql('SELECT sweeps FROM cachegrid.stat_mirror');

	$place = -s $node->logfile;
	$load = start_load();
	if ($together)
	{
		$_->kill9 foreach $redis->nodes;
		$mirror->state_is('interrupted', "$name: an outage");
		$_->start foreach $redis->nodes;
		$redis->wait_until_ok;
	}
	else
	{
		foreach my $one ($redis->nodes)
		{
			$one->kill9;
			$one->start;
			$redis->wait_until_ok;
		}
	}
	ok( $node->poll_query_until('postgres',
			"SELECT sweeps > $before AND state = 'live' FROM cachegrid.stat_mirror"),
		"$name: what they have lost is swept");
	$load->kill_kill;
	$mirror->is_equal("$name, restarted");
	is($mirror->logged('is interrupted', $place), $mirror->logged('goes on', $place), "$name: each outage has its end in the log");
}
is(sql('SELECT count(*) FROM cachegrid.mirror_parked'), 0, 'no key was given up');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11/, 'nothing crashed');

done_testing();
