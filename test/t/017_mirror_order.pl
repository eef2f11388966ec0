
# What the worker reads, sends and forgets, and in which order: each mistake there
# would lose a change or show one that never was.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

# Nothing but a flush of ours has a commit on disk soon.
my $mirror = Mirror->new(
	'order',
	"cachegrid.outbox_limit = '4MB'",
	"cachegrid.redis_timeout = '500ms'",
	'synchronous_commit = off',
	"wal_writer_delay = '10s'",
	'full_page_writes = off',
	'autovacuum = off');
my $node = $mirror->node;

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

# Changes that the worker reads all at once.
sub behind_workers_back
{
	my ($changes) = @_;
	my $worker = $mirror->worker;

	kill('STOP', $worker);
	$changes->();
	kill('CONT', $worker);
	return;
}

# The table of the outbox that the next change goes to.
sub current_outbox
{
	sql("UPDATE item SET name = name WHERE id = 16000");
	return sql('SELECT number FROM (SELECT 0 AS number, xid FROM cachegrid.outbox_0'
		  . ' UNION ALL SELECT 1, xid FROM cachegrid.outbox_1'
		  . ' UNION ALL SELECT 2, xid FROM cachegrid.outbox_2) outbox'
		  . ' ORDER BY xid DESC LIMIT 1');
}

# Fills that table until another one takes its place: at a quarter of the limit, of
# which it takes no more than it must.
sub turn_outbox
{
	my $before = current_outbox();

	sql("UPDATE item SET name = 'turns' WHERE id > 100")
	  until sql("SELECT pg_relation_size('cachegrid.outbox_$before') > 1024 * 1024") eq 't';
	RedisServer::wait_until('the outbox has turned to another table',
		sub { current_outbox() ne $before });
	return;
}

# Waits until the worker has looked after its house again; only for a channel that
# is interrupted, which tells of each try.
sub outlast_housekeeping
{
	my $now = sql('SELECT clock_timestamp()');

	$mirror->becomes_true(
		"last_error_at > '$now'::timestamptz + '3 seconds'::interval FROM cachegrid.stat_mirror",
		'the worker has kept house');
	return;
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 16000) i");
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->is_equal('at first');

# A commit wakes the worker: it does not come by every second only
my $began = time();
foreach my $round (1 .. 20)
{
	sql("UPDATE item SET name = 'round $round' WHERE id = 1");
	RedisServer::wait_until('a change is there',
		sub { $mirror->value('item:1') =~ /"round $round"/ });
}
cmp_ok(time() - $began, '<', 10, 'changes are there at once');

# What Redis shows outlives a crash
foreach my $round (1, 2)
{
	my $postmaster = $node->{_pid};

	sql("UPDATE item SET name = 'before crash $round' WHERE id = 2");
	$mirror->is_equal("before crash $round");
	sql("UPDATE item SET name = 'shown $round' WHERE id = 2");
	RedisServer::wait_until('Redis shows it',
		sub { $mirror->value('item:2') =~ /"shown $round"/ });
	$node->kill9;
	RedisServer::wait_until('the server is back',
		sub { !kill(0, $postmaster) && $node->start(fail_ok => 1) });
	is(sql('SELECT name FROM item WHERE id = 2'),
		"shown $round", "what Redis has shown is not lost in crash $round");
}

# A batch that is full at the end of a transaction: the next one is not passed over
behind_workers_back(
	sub {
		sql("INSERT INTO item SELECT i, 'many' FROM generate_series(100001, 200000) i");
		sql("UPDATE item SET name = 'behind a full batch' WHERE id <= 100");
	});
$mirror->is_equal('behind a full batch');
sql('DELETE FROM item WHERE id > 100000');
$mirror->is_equal('without the many');

# A hint that leads to another row, since the table is packed without the old
# versions, and one to a version that has been replaced
my $sweeps = sql('SELECT sweeps FROM cachegrid.stat_mirror');
sql('VACUUM FULL item');
behind_workers_back(
	sub {
		sql("UPDATE item SET name = 'moved' WHERE id BETWEEN 1001 AND 1500");
		sql("INSERT INTO item SELECT i, 'behind' FROM generate_series(20001, 22000) i");
		sql('VACUUM FULL item');
	});
$mirror->is_equal('rows that lie elsewhere');
is(sql('SELECT sweeps FROM cachegrid.stat_mirror'), $sweeps, 'no sweep has mended it');
behind_workers_back(
	sub {
		my $older = $node->background_psql('postgres', on_error_stop => 1);

		$older->query_safe("BEGIN; UPDATE item SET name = 'older' WHERE id = 1");
		sql("UPDATE item SET name = 'younger' WHERE id = 2");
		$older->query_safe("UPDATE item SET name = 'older' WHERE id = 2; COMMIT");
		$older->quit;
	});
$mirror->is_equal('an older transaction that commits later');
like($mirror->value('item:2'), qr/"older"/, 'the last one counts');

# A table of the outbox is not truncated before all of it was read ...
$_->pause foreach $mirror->redis->nodes;
turn_outbox();
$mirror->becomes_true("state = 'interrupted' FROM cachegrid.stat_mirror", 'Redis does not answer');
outlast_housekeeping();
$_->resume foreach $mirror->redis->nodes;
$mirror->is_equal('what waited in a table that is full');
is(sql('SELECT sweeps FROM cachegrid.stat_mirror'), $sweeps, 'no sweep has done that');

# ... with the rows of those who ran when all else was read
sql("BEGIN; UPDATE item SET name = 'prepared' WHERE id = 3; PREPARE TRANSACTION 'p'");
turn_outbox();
$mirror->is_equal('beside a prepared transaction');
sql("COMMIT PREPARED 'p'");
$mirror->is_equal('a prepared transaction in a table that is full');
like($mirror->value('item:3'), qr/"prepared"/, 'it is there');
is(sql('SELECT sweeps FROM cachegrid.stat_mirror'), $sweeps, 'without a sweep, too');

# A sweep whose first keys Redis does not take, and whose worker ends before it is done
my $position = sql('SELECT position FROM cachegrid.mirror_position');
$mirror->redis->command('DEL', 'item:5');
$mirror->redis->command('SET', 'item:99999', 'surplus');
$_->command('CONFIG', 'SET', 'maxmemory', '1') foreach $mirror->redis->nodes;
sql("SELECT cachegrid.resync('item', 'grid')");
$mirror->becomes_true("state = 'sweep pending' FROM cachegrid.stat_mirror", 'a full Redis stops the sweep');
$mirror->becomes_true("position <> '$position' FROM cachegrid.mirror_position",
	'the wish for it counts as read');
my $worker = $mirror->worker;
is(sql("SELECT pg_terminate_backend($worker, 60000)"), 't', 'the worker ends');
isnt($mirror->worker, $worker, 'another one comes');
$_->command('CONFIG', 'SET', 'maxmemory', '0') foreach $mirror->redis->nodes;
$mirror->is_equal('a sweep that was stopped twice');

# The same without an end of the worker
$mirror->redis->command('DEL', 'item:5');
$mirror->redis->command('SET', 'item:99999', 'surplus');
$_->command('CONFIG', 'SET', 'maxmemory', '1') foreach $mirror->redis->nodes;
sql("SELECT cachegrid.resync('item', 'grid')");
$mirror->becomes_true("state = 'sweep pending' FROM cachegrid.stat_mirror", 'a full Redis stops it again');
$_->command('CONFIG', 'SET', 'maxmemory', '0') foreach $mirror->redis->nodes;
$mirror->is_equal('a sweep that was stopped');

unlike(slurp_file($node->logfile), qr/PANIC|signal 11|TRAP/, 'nothing crashed');

done_testing();
