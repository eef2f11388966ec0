
# Whoever is killed, and whenever: in the end Redis has what the table has.

use strict;
use warnings;

use IPC::Run qw(start finish kill_kill);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('kill', 'synchronous_commit = off', 'restart_after_crash = on');
my $node = $mirror->node;
my $folder = PostgreSQL::Test::Utils::tempdir();

append_to_file("$folder/load.sql", <<'EOS');
\set a random(1, 2000)
\set b random(1, 2000)
\set c random(1, 2000)
BEGIN;
INSERT INTO item VALUES (:a, 'inserted ' || :b)
    ON CONFLICT (id) DO UPDATE SET name = 'updated ' || :b;
SAVEPOINT s;
DELETE FROM item WHERE id = :b;
ROLLBACK TO s;
DELETE FROM item WHERE id = :c;
COMMIT;
EOS

# Four sessions that change rows until they are ended, or lose the server.
sub begin_load
{
	my $output = '';

	return start(
		[
			'pgbench', '-n', '-f', "$folder/load.sql", '-c', '4', '-T', '3600',
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'>', \$output, '2>', \$output);
}

sub end_load
{
	my ($load) = @_;

	kill_kill($load);
	return;
}

sub applied_more_than
{
	my ($count) = @_;

	return $node->poll_query_until('postgres',
		"SELECT applied > $count FROM cachegrid.stat_mirror");
}

# The server ends all sessions then, and begins anew.
sub kill_worker
{
	my ($name) = @_;
	my $worker = $mirror->worker;

	ok(kill('KILL', $worker), "the worker is killed, $name");
	$node->poll_query_until('postgres',
		"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)");
	return;
}

# The killed server's sessions take a moment to notice; those that would not,
# because they stand still, are to be named.
sub kill_and_start_server
{
	my @others = @_;
	my $postmaster = $node->{_pid};

	$node->kill9;
	kill('KILL', @others);
	RedisServer::wait_until('the server starts again',
		sub { return !kill(0, $postmaster) && $node->start(fail_ok => 1); });
	return;
}

# Until so many sessions wait for locks of this type.
sub poll_locks
{
	my ($type, $count) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM pg_locks WHERE locktype = '$type' AND NOT granted")
	  or BAIL_OUT("nobody waits for a lock: $type");
	return;
}

# A session that begins to run statements; they need not end.
sub begin_session
{
	my ($statements) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/begun/, "\\echo begun\n$statements;\n");
	return $session;
}

# Has the sweep of table wide wait in its second chunk for the cast of a row,
# until the session that is returned unlocks 1.
sub begin_gated_sweep
{
	my $gate = $node->background_psql('postgres', on_error_stop => 0);

	$gate->query_safe('SELECT pg_advisory_lock(1)');
	$node->safe_psql('postgres', "SELECT cachegrid.resync('wide', 'grid')");
	poll_locks('advisory', 1);
	return $gate;
}

# Holds the sweep of table wide in its midst, behind the second of its three
# chunks, as is on disk then. Who asks for the table while the worker waits in
# that chunk has it before the worker can go on.
sub hold_sweep
{
	my $gate = begin_gated_sweep();
	my $locker = begin_session('BEGIN; LOCK wide IN ACCESS EXCLUSIVE MODE');

	poll_locks('relation', 1);
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	ok( $node->poll_query_until('postgres',
			"SELECT encode(last, 'hex') LIKE '%80004e20' FROM cachegrid.mirror_progress"
			  . " JOIN cachegrid.mirrors ON id = mirror WHERE relation = 'wide'::regclass"),
		'the sweep is held behind row 20000');

	# The worker saves without waiting for the disk; this takes that along.
	$node->safe_psql('postgres', 'SET synchronous_commit = on; CREATE TABLE flushed ();'
		  . 'DROP TABLE flushed');
	return ($gate, $locker);
}

sub is_resumed
{
	my ($name) = @_;

	$mirror->is_equal($name, 'wide');
	is( $node->safe_psql('postgres',
			q{SELECT applied FROM cachegrid.stat_mirror WHERE "table" = 'wide'::regclass}),
		'10000', "$name: it went on from row 20000");
	return;
}

$node->safe_psql('postgres',
	"CREATE TABLE item (id int PRIMARY KEY, name text);"
	  . "INSERT INTO item SELECT i, 'first' FROM generate_series(1, 2000) i;"
	  . "SELECT cachegrid.mirror('item', 'grid')");
ok($mirror->settle('item'), 'the mirror is live');

# The worker is asked to leave, again and again, in the middle of its work
my $load = begin_load();
my $applied = 2000;
foreach my $round (1 .. 5)
{
	my $worker = $mirror->worker;

	$applied = $node->safe_psql('postgres', 'SELECT applied FROM cachegrid.stat_mirror');
	applied_more_than($applied + 500);
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($worker, 60000)"),
		't', "the worker leaves when it is asked to, round $round");
	isnt($mirror->worker, $worker, "another one comes, round $round");
}
applied_more_than($applied + 1000);
end_load($load);
$mirror->is_equal('after the worker left');

# The worker is killed: the server begins anew, with empty shared memory
foreach my $round (1 .. 3)
{
	$load = begin_load();
	applied_more_than(500);
	kill_worker("round $round");
	end_load($load);
	$mirror->is_equal("after the worker was killed, round $round");
}

# The whole server is killed
foreach my $round (1 .. 2)
{
	$load = begin_load();
	applied_more_than(500);
	kill_and_start_server();
	end_load($load);
	$mirror->is_equal("after the server was killed, round $round");
}

# The server is killed while a sweep is to be done: the worker stands still, so
# that it is not done before.
$node->safe_psql('postgres',
	"INSERT INTO item SELECT i, 'many' FROM generate_series(10000, 300000) i");
ok($mirror->settle('item'), 'many rows are there');
my $still = $mirror->worker;
kill('STOP', $still);
$node->safe_psql('postgres',
	"SET synchronous_commit = on; SELECT cachegrid.resync('item', 'grid')");
$mirror->redis->command('DEL', 'item:299999');
kill_and_start_server($still);
$mirror->is_equal('after the server was killed before a sweep');

# In the midst of a sweep. What was applied is counted from the restart on.
$node->safe_psql('postgres', <<'EOS');
CREATE TYPE mark AS ENUM ('free', 'gated');
CREATE FUNCTION mark_json(m mark) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF m = 'gated' THEN
		PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1);
	END IF;
	RETURN to_json(m::text);
END
$$;
CREATE CAST (mark AS json) WITH FUNCTION mark_json(mark);
CREATE TABLE wide (id int PRIMARY KEY, m mark);
INSERT INTO wide SELECT i, CASE i WHEN 15000 THEN 'gated' ELSE 'free' END::mark
    FROM generate_series(1, 30000) i;
SELECT cachegrid.mirror('wide', 'grid');
EOS
$mirror->is_equal('a wide table', 'wide');

my @sessions = hold_sweep();
kill_and_start_server();
eval { $_->quit } foreach @sessions;
is_resumed('after the server was killed in a sweep');

@sessions = hold_sweep();
kill_worker('in a sweep');
eval { $_->quit } foreach @sessions;
is_resumed('after the worker was killed in a sweep');

# The table is dropped while a chunk of its sweep is to be sent again, because a
# node has lost it, and cannot be, because another table is locked.
$node->safe_psql('postgres',
	"CREATE TABLE beside (id int PRIMARY KEY); SELECT cachegrid.mirror('beside', 'grid')");
$mirror->is_equal('a table beside it', 'beside');
my $worker = $mirror->worker;
my $gate = begin_gated_sweep();
$mirror->redis->node(0)->kill9;
$mirror->redis->node(0)->start;
$mirror->redis->wait_until_ok;
my $dropper = begin_session('DROP TABLE wide');
my $locker = begin_session('BEGIN; LOCK beside IN ACCESS EXCLUSIVE MODE');
poll_locks('relation', 2);
my $place = -s $node->logfile;
$gate->query_safe('SELECT pg_advisory_unlock(1)');
$node->wait_for_log(qr/is interrupted|was terminated by signal/, $place);
is($mirror->worker, $worker, 'the worker survives that');
$locker->query_safe('COMMIT');
$_->quit foreach $gate, $dropper, $locker;
ok( $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM cachegrid.mirrors WHERE prefix = 'wide'"),
	'the mirror of the dropped table ends');
is($mirror->value("wide:$_"), '', "row $_ of it is gone from Redis") foreach 1, 15000, 30000;
$mirror->is_equal('afterwards', 'beside');

done_testing();
