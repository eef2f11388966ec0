
# Redis goes and comes back: SQL goes on, and nothing is lost.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('away', "cachegrid.outbox_limit = '4MB'", 'cachegrid.redis_timeout = 500');
my $node = $mirror->node;

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

# Is there one row in stat_redis, of the node with this number, for which this holds?
sub node_is
{
	my ($number, $condition, $name) = @_;
	my $redis = $mirror->redis->node($number);
	my $address = $redis->host . ':' . $redis->port;

	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM cachegrid.stat_redis WHERE node = '$address' AND $condition"),
		$name);
	return;
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 3000) i");
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->is_equal('at first');

# What the worker sees of its nodes
node_is($_, "connected AND connects = 1 AND slots > 5000 AND commands > 900 AND bytes_sent > 20000"
	  . ' AND round_trip_ms > 0 AND round_trip_p50_ms > 0 AND round_trip_p50_ms <= round_trip_p99_ms'
	  . ' AND redirects = 0 AND errors = 0 AND last_error IS NULL', "node $_ is there")
  foreach 0 .. 2;
is( sql('SELECT count(*), sum(slots), min(server), min(role), max(role), min(owner::text) = current_user'
		  . ' FROM cachegrid.stat_redis'),
	'3|16384|grid|master|master|t',
	'the masters own all slots');
my $commands = sql('SELECT sum(commands) FROM cachegrid.stat_redis');
sql("UPDATE item SET name = 'counted' WHERE id <= 500");
ok( $node->poll_query_until('postgres',
		"SELECT sum(commands) BETWEEN $commands + 500 AND $commands + 700 FROM cachegrid.stat_redis"),
	'the counts rise with the commands');

# All nodes are restarted: they come back empty, for they save nothing
my $place = -s $node->logfile;
$_->kill9 foreach $mirror->redis->nodes;
sql("UPDATE item SET name = 'away' WHERE id <= 1000");
sql('DELETE FROM item WHERE id = 2000');
$mirror->state_is('interrupted', 'the outage is noticed');
is(sql('SELECT waiting > 0 AND lag_seconds > 0 AND last_error IS NOT NULL'
		  . ' FROM cachegrid.stat_mirror'),
	't', 'the changes wait');
node_is($_, "NOT connected AND errors > 0 AND last_error LIKE '%Redis node%'",
	"node $_ is shown as gone")
  foreach 0 .. 2;
$_->start foreach $mirror->redis->nodes;
$mirror->redis->wait_until_ok;
$mirror->is_equal('after the restart');
is($mirror->logged('mirroring to server "grid" is interrupted', $place),
	1, 'the log has one line when it begins');
is($mirror->logged('mirroring to server "grid" goes on', $place), 1, 'and one when it ends');
node_is($_, "connected AND connects > 1 AND last_error IS NOT NULL", "node $_ is back")
  foreach 0 .. 2;

# One node does not answer
$place = -s $node->logfile;
$mirror->redis->node(1)->pause;
sql("UPDATE item SET name = 'paused' WHERE id <= 500");
$mirror->state_is('interrupted', 'a silent node is noticed');
node_is(1, "NOT connected AND last_error LIKE '%did not answer%'", 'it is shown as gone');
node_is($_, 'connected', "node $_ is still there") foreach 0, 2;
$mirror->redis->node(1)->resume;
$mirror->redis->wait_until_ok;
$mirror->is_equal('after the silence');
cmp_ok(sql('SELECT retries FROM cachegrid.stat_mirror'),
	'>', 0, 'what got no answer was sent again');
is($mirror->logged('is interrupted', $place), 1, 'one line when it begins, again');
is($mirror->logged('goes on', $place), 1, 'and one when it ends');

# Redis is full
$place = -s $node->logfile;
$_->command('CONFIG', 'SET', 'maxmemory', '1') foreach $mirror->redis->nodes;
sql("UPDATE item SET name = 'full' WHERE id <= 700");
$mirror->state_is('interrupted', 'a full Redis is noticed');
$_->command('CONFIG', 'SET', 'maxmemory', '0') foreach $mirror->redis->nodes;
$mirror->is_equal('after Redis was full');
is($mirror->logged('is interrupted', $place), 1, 'one line when it begins, once more');
is($mirror->logged('goes on', $place), 1, 'and one when it ends');

# Somebody empties a node: whichever, it need not be the one with the mark
$place = -s $node->logfile;
my $marked = $mirror->redis->owner_of($mirror->redis->slot_of('cachegrid:owner:item'));
foreach my $flush (
	[ ($marked + 1) % 3, 'FLUSHALL' ],
	[ ($marked + 2) % 3, 'FLUSHDB', 'ASYNC' ],
	[ $marked, 'FLUSHALL' ])
{
	my ($number, @command) = @$flush;
	my $sweeps = sql('SELECT sweeps FROM cachegrid.stat_mirror');

	$mirror->redis->node($number)->command(@command);
	ok( $node->poll_query_until(
			'postgres', "SELECT sweeps > $sweeps FROM cachegrid.stat_mirror"),
		"@command of node $number is noticed");
	$mirror->is_equal("after @command of node $number");
}

is($mirror->logged('flushed its masters', $place), 3, 'each is noticed once');

# A slot moves while it is written to
my $slot = $mirror->redis->slot_of('item:7');
my $target = ($mirror->redis->owner_of($slot) + 1) % 3;
$mirror->redis->begin_migration($slot, $target);
sql("UPDATE item SET name = 'moving'");
$mirror->is_equal('while a slot moves');
$mirror->redis->move_keys($slot, $target);
$place = -s $node->logfile;
sql("UPDATE item SET name = 'moved'");
$mirror->redis->finish_migration($slot, $target);
sql("UPDATE item SET name = 'there' WHERE id = 7");
$mirror->is_equal('after a slot has moved');
is($mirror->logged('is interrupted', $place), 0, 'that is no outage');
ok( $node->poll_query_until('postgres', 'SELECT sum(redirects) > 0 FROM cachegrid.stat_redis'),
	'the redirections are counted');

# More changes than the outbox may hold
$place = -s $node->logfile;
$_->kill9 foreach $mirror->redis->nodes;
foreach my $round (1 .. 6)
{
	sql("INSERT INTO item SELECT i, 'many' FROM generate_series(10000 * $round, 10000 * $round + 9999) i"
		  . ' ON CONFLICT DO NOTHING');
	sql("UPDATE item SET name = 'round $round' WHERE id >= 10000");
}
$mirror->state_is('sweep pending', 'the outbox is over its limit');
ok( $node->poll_query_until('postgres',
		'SELECT sum(pg_relation_size(oid)) < 8 * 1024 * 1024 FROM pg_class'
		  . " WHERE relname ~ '^outbox_[0-2]\$'"),
	'it is emptied');
ok($mirror->logged('outbox has reached', $place) >= 1, 'the log tells');
$_->start foreach $mirror->redis->nodes;
$mirror->redis->wait_until_ok;
$mirror->is_equal('after the overflow');

# A key that Redis refuses is parked, the others are not
sql('DELETE FROM item WHERE id >= 10000');
ok($mirror->settle('item'), 'few are left');
$_->command('ACL', 'SETUSER', 'default', 'resetkeys', '~cachegrid*', '~item:1*')
  foreach $mirror->redis->nodes;
sql("UPDATE item SET name = 'refused' WHERE id IN (10, 20)");
ok($node->poll_query_until('postgres', 'SELECT parked = 1 FROM cachegrid.stat_mirror'),
	'a refused key is parked');
is(sql('SELECT key FROM cachegrid.mirror_parked'), 'item:20', 'it is the right one');
like(sql('SELECT error FROM cachegrid.mirror_parked'), qr/NOPERM|permission/i,
	'and says why');
like($mirror->value('item:10'), qr/refused/, 'the other one is written');
$_->command('ACL', 'SETUSER', 'default', 'allkeys') foreach $mirror->redis->nodes;
sql("UPDATE item SET name = 'allowed' WHERE id = 20");
ok($node->poll_query_until('postgres', 'SELECT parked = 0 FROM cachegrid.stat_mirror'),
	'it is parked no more when it is written');
$mirror->is_equal('after all');

done_testing();
