
# Whoever is killed, and whenever: in the end Redis has what the table has.

use strict;
use warnings;

use IPC::Run qw(start finish kill_kill);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

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
			'pgbench', '-n', '-f', "$folder/load.sql", '-c', '4', '-T', '60',
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

# The killed server's sessions take a moment to notice; those that would not,
# because they stand still, are to be named.
sub kill_and_start_server
{
	my @others = @_;
	my $postmaster = $node->{_pid};

	$node->kill9;
	kill('KILL', @others);
	foreach my $try (1 .. 100)
	{
		return if !kill(0, $postmaster) && $node->start(fail_ok => 1);
		usleep(100_000);
	}
	BAIL_OUT('the server does not start again');
	return;
}

sub is_equal
{
	my ($name) = @_;

	ok($mirror->settle('item'), "$name: settles");
	is($mirror->problems('item'), '', "$name: Redis has what the table has");
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
is_equal('after the worker left');

# The worker is killed: the server begins anew, with empty shared memory
foreach my $round (1 .. 3)
{
	my $worker;

	$load = begin_load();
	applied_more_than(500);
	$worker = $mirror->worker;
	ok(kill('KILL', $worker), "the worker is killed, round $round");
	$node->poll_query_until('postgres',
		'SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS '
		  . "(SELECT FROM pg_stat_activity WHERE pid = $worker)");
	end_load($load);
	is_equal("after the worker was killed, round $round");
}

# The whole server is killed
foreach my $round (1 .. 2)
{
	$load = begin_load();
	applied_more_than(500);
	kill_and_start_server();
	end_load($load);
	is_equal("after the server was killed, round $round");
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
is_equal('after the server was killed before a sweep');

done_testing();
