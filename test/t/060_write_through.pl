# Mode write-through: Redis has the new value when COMMIT returns, and never one that is
# older than the table; what becomes of a commit when it cannot be so.

use strict;
use warnings;

use IO::Socket::INET;
use Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $mirror = Mirror->new('through', 'cachegrid.redis_timeout = 500',
	'cachegrid.redis_connect_timeout = 500', 'cachegrid.write_through_timeout = 20000');
my $node = $mirror->node;
my $redis = $mirror->redis;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub stat_of
{
	my ($column, $table) = @_;

	return sql(qq{SELECT $column FROM cachegrid.stat_mirror WHERE "table" = '$table'::regclass});
}

sub pause_redis { $_->pause foreach $redis->nodes; return; }
sub resume_redis { $_->resume foreach $redis->nodes; return; }

# A session whose statement has come to wait in its commit.
sub waiting
{
	my ($statement) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_until(qr/begun/, "\\echo begun\n$statement;\n");
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
	  or die 'it does not wait';
	return ($session, $pid);
}

sql(<<'SQL');
CREATE TABLE item (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO item SELECT i, 0 FROM generate_series(1, 100) i;
CREATE TABLE easy (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO easy SELECT i, 0 FROM generate_series(1, 100) i;
CREATE TABLE loose (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO loose SELECT i, 0 FROM generate_series(1, 100) i;
SQL

# What cannot be.
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', mode => 'write-through', on_unavailable => 'ignore')}),
	qr/invalid value "ignore" of "on_unavailable"/, 'an unknown policy');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', on_unavailable => 'degrade')}),
	qr/mode "write-behind" does not wait for Redis/, 'a policy for a mode that does not wait');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', mode => 'invalidate', strict => false)}),
	qr/mode "invalidate" does not wait for Redis/, 'nor one that removes keys');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', mode => 'write-through', strict => NULL)}),
	qr/strict must not be null/, 'a null');

sql(q{SELECT cachegrid.mirror('item', 'grid', mode => 'write-through')});
sql(q{SELECT cachegrid.mirror('easy', 'grid', mode => 'write-through', on_unavailable => 'degrade')});
sql(q{SELECT cachegrid.mirror('loose', 'grid', mode => 'write-through', strict => false)});
$mirror->is_equal('at first', $_) foreach qw(item easy loose);

# There when COMMIT returns.
my $late = 0;
foreach my $n (1 .. 30)
{
	foreach my $table (qw(item easy loose))
	{
		sql("UPDATE $table SET n = $n WHERE id = 1");
		$late++ if $mirror->value("$table:1") ne qq({"id":1,"n":$n});
	}
}
is($late, 0, 'the new value is in Redis when the commit returns');
sql('DELETE FROM item WHERE id = 100');
is($mirror->value('item:100'), '', '... a deleted one is not');
sql('INSERT INTO item VALUES (100, 7)');
is($mirror->value('item:100'), '{"id":100,"n":7}', '... an inserted one is');
sql('UPDATE item SET id = 101 WHERE id = 100');
is($mirror->value('item:100') . $mirror->value('item:101'),
	'{"id":101,"n":7}', '... and one that has another key');
is($mirror->told('UPDATE item SET n = n + 1; BEGIN; UPDATE item SET n = n + 1; ROLLBACK'), '', 'no warning');
sql('BEGIN; SAVEPOINT s; UPDATE item SET n = 99 WHERE id = 2; ROLLBACK TO s; UPDATE item SET n = 3 WHERE id = 3; COMMIT');
is($mirror->value('item:3'), '{"id":3,"n":3}', 'beside a savepoint that is rolled back');
cmp_ok(stat_of('waits', 'item'), '>=', 30, 'commits that waited are counted');
is(stat_of('disappointments', 'item'), '0', '... and none was disappointed');

# Away from Redis before anybody can see the commit.
sql(q{BEGIN; UPDATE item SET n = 40 WHERE id = 4; UPDATE item SET n = 50 WHERE id = 5; PREPARE TRANSACTION 'p'});
is($mirror->value('item:4') . $mirror->value('item:5'), '', 'the keys of a prepared transaction are removed');
sql('UPDATE item SET n = 60 WHERE id = 6');
is($mirror->value('item:4'), '', '... and stay away');
kill('TERM', $mirror->worker);
sql('UPDATE item SET n = 61 WHERE id = 6');
is($mirror->value('item:6'), '{"id":6,"n":61}', 'another worker goes on');
sql(q{SELECT cachegrid.resync('item', 'grid')});
ok($node->poll_query_until('postgres', q{SELECT sweeps >= 1 AND state = 'live' FROM cachegrid.stat_mirror WHERE "table" = 'item'::regclass}),
	'... and sweeps the table');
is($mirror->value('item:4'), '', '... which sets no key that is to be away');
$node->restart;
sql('UPDATE item SET n = 62 WHERE id = 6');
is($mirror->value('item:6') . $mirror->value('item:4'), '{"id":6,"n":62}', 'nor does a new server');
sql(q{COMMIT PREPARED 'p'});
$mirror->comes_to('item:4', '{"id":4,"n":40}', 'when it is committed the new value comes');
$mirror->is_equal('after that');

sql(q{BEGIN; UPDATE item SET n = 400 WHERE id = 4; PREPARE TRANSACTION 'p'});
is($mirror->value('item:4'), '', 'removed again');
$node->restart;
sql(q{ROLLBACK PREPARED 'p'});
$mirror->comes_to('item:4', '{"id":4,"n":40}', 'when it is rolled back the old value comes back');

# Commits that fail once their keys are removed: of two, one must.
sub skewed
{
	my $first = $node->background_psql('postgres', on_error_stop => 0);
	my $second = $node->background_psql('postgres', on_error_stop => 0);

	foreach ([ $first, 10, 11 ], [ $second, 11, 10 ])
	{
		my ($session, $read, $written) = @{$_};

		$session->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE');
		$session->query_safe("SELECT n FROM item WHERE id = $read");
		$session->query_safe("UPDATE item SET n = n + 1 WHERE id = $written");
	}
	# Both come to wait, and only then does either look whether it may commit.
	pause_redis();
	$_->query_until(qr/begun/, "\\echo begun\nCOMMIT;\n") foreach $first, $second;
	$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query = 'COMMIT;' AND wait_event_type = 'Extension'}) or die 'they do not wait';
	resume_redis();
	$_->query('SELECT 1') foreach $first, $second;
	my $failures = grep { $_->{stderr} =~ /could not serialize/ } $first, $second;
	$_->quit foreach $first, $second;
	return $failures;
}
is(skewed(), 1, 'of two transactions one fails after its key was removed');
$mirror->is_equal('transactions that fail in their commit');

# Nobody sees in Redis what is older than what he has seen in the table.
sub connections
{
	my %sockets;

	foreach my $server ($redis->nodes)
	{
		$sockets{ $server->port } = IO::Socket::INET->new(
			PeerAddr => '127.0.0.1',
			PeerPort => $server->port,
			Timeout => 5) or die "no connection: $!";
	}
	return \%sockets;
}

sub get_value
{
	my ($socket, $key) = @_;

	print $socket 'GET ' . $key . "\r\n";
	my $head = readline($socket);
	return '' if $head =~ /^\$-1/;
	$head =~ /^\$(\d+)/ or die "not a value: $head";
	return scalar(readline($socket));
}

# So many seconds; returns: reads, older, missing.
sub compare_reads
{
	my ($table, $seconds) = @_;
	my $session = $node->background_psql('postgres');
	my $sockets = connections();
	my %owner = map { $_ => $sockets->{ $redis->node($redis->owner_of($redis->slot_of("$table:$_")))->port } } 1 .. 10;
	my ($reads, $older, $missing) = (0, 0, 0);
	my $end = time() + $seconds;

	while (time() < $end)
	{
		my $id = 1 + $reads++ % 10;
		my $n = $session->query_safe("SELECT n FROM $table WHERE id = $id");
		my $value = get_value($owner{$id}, "$table:$id");

		$missing++ if $value eq '';
		$older++ if $value =~ /"n":(\d+)/ && $1 < $n;
	}
	$session->quit;
	return ($reads, $older, $missing);
}

my $script = $node->basedir . '/hot.sql';
append_to_file($script, "\\set id random(1, 10)\nUPDATE item SET n = n + 1 WHERE id = :id;\n");
my $writers = IPC::Run::start([ 'pgbench', '-n', '-c', '6', '-T', '8', '-f', $script, $node->connstr('postgres') ],
	'>', \my $out, '2>', \my $err);
my ($reads, $older, $missing) = compare_reads('item', 6);
$writers->finish;
unlike($err, qr/WARNING|ERROR/, 'writers are neither warned nor refused');
cmp_ok($reads, '>', 500, 'a reader compares');
is($older, 0, 'Redis never has what is older than the table');
cmp_ok($missing, '<', $reads / 2, '... and has it most of the time');
cmp_ok(stat_of('group_size', 'item'), '>', 1, 'writers share what they wait for');
note("$reads reads, $older older, $missing missing; groups of " . stat_of('group_size', 'item'));
$mirror->is_equal('after that');

# Redis does not answer.
pause_redis();
like($mirror->told('UPDATE item SET n = 1000 WHERE id = 20'), qr/could not remove the changed rows' keys from Redis/, 'a commit is refused');
is(sql('SELECT n FROM item WHERE id = 20'), sql('SELECT n FROM item WHERE id = 21'), '... and leaves no trace');
is($mirror->told('UPDATE easy SET n = 1000 WHERE id = 20'), '', 'of a mirror that degrades it is not');
like($mirror->told('UPDATE loose SET n = 1000 WHERE id = 20'), qr/not waiting for Redis any longer/, 'one that does not remove keys is warned');
is(sql('SELECT n FROM loose WHERE id = 20'), '1000', '... and has committed');
cmp_ok(stat_of('disappointments', 'loose'), '>=', 1, '... which is counted');
resume_redis();
$mirror->is_equal('when Redis is back', $_) foreach qw(item easy loose);
sql('UPDATE item SET n = 1000 WHERE id = 20');
is($mirror->value('item:20'), '{"id":20,"n":1000}', 'commits wait again');

# A wait can be cancelled, and ends by itself.
sql(q{ALTER SYSTEM SET cachegrid.redis_timeout = '60s'});
$node->reload;
sql('UPDATE loose SET n = 1 WHERE id = 30');
pause_redis();
my ($session, $pid) = waiting('UPDATE loose SET n = 2 WHERE id = 30');
sql("SELECT pg_cancel_backend($pid)");
my ($answer, undef) = $session->query("SELECT 'still ' || 'here'");
like($answer, qr/still here/, 'a session whose wait is cancelled goes on');
is(sql('SELECT n FROM loose WHERE id = 30'), '2', '... it had committed');
$session->quit;
like($mirror->told(q{SET cachegrid.write_through_timeout = '200ms'; UPDATE loose SET n = 3 WHERE id = 31}),
	qr/WARNING:  not waiting for Redis any longer.*write_through_timeout/s, 'a wait ends by itself');
like($mirror->told(q{SET cachegrid.write_through_timeout = '200ms'; UPDATE item SET n = 3 WHERE id = 31}),
	qr/ERROR:  could not remove.*within 200 ms/s, '... before the commit with an error');
($session, $pid) = waiting('UPDATE item SET n = 4 WHERE id = 32');
sql("SELECT pg_cancel_backend($pid)");
(undef, $answer) = $session->query('SELECT 1');
like($answer . $session->{stderr}, qr/canceling statement/, 'before the commit a cancel is like any other');
$session->quit;
isnt(sql('SELECT n FROM item WHERE id = 32'), '4', '... nothing is committed');
($session, $pid) = waiting('UPDATE loose SET n = 5 WHERE id = 33');
sql("SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'a waiting session can be terminated');
is(sql('SELECT n FROM loose WHERE id = 33'), '5', '... and has committed');
$session->{run}->finish;
resume_redis();
sql('ALTER SYSTEM RESET cachegrid.redis_timeout');
$node->reload;
$mirror->is_equal('after the waits', $_) foreach qw(item loose);

# Whole tables: what was there is away when the commit returns.
sql('BEGIN; TRUNCATE item; INSERT INTO item SELECT i, 5 FROM generate_series(1, 50) i; COMMIT');
unlike($mirror->value('item:60') . $mirror->value('item:1'), qr/"n":[^5]/, 'TRUNCATE leaves nothing of what was');
$mirror->is_equal('after TRUNCATE');
sql('ALTER TABLE item ADD m int NOT NULL DEFAULT 6');
unlike($mirror->value('item:1'), qr/"n":5}/, 'nor does ALTER TABLE');
$mirror->is_equal('after ALTER TABLE');
sql(q{BEGIN; ALTER TABLE item ALTER id TYPE bigint; UPDATE item SET n = 6; COMMIT});
$mirror->is_equal('after a change of the key column in a transaction that writes');
sql('INSERT INTO item SELECT i, 7 FROM generate_series(51, 120000) i');
$mirror->is_equal('after many rows');
is($mirror->told('UPDATE item SET n = 8'), '', 'more rows than are kept');
is($mirror->value('item:1') . $mirror->value('item:119999'), '{"id":1,"n":8,"m":6}{"id":119999,"n":8,"m":6}', '... are there when the commit returns');
$mirror->is_equal('after more rows than are kept');

# Locks.
my $began = time();
is($mirror->told('BEGIN; LOCK TABLE item; UPDATE item SET n = 9 WHERE id = 1; COMMIT'), '', 'who has locked the table does not wait for those who are to read it');
cmp_ok(time() - $began, '<', 5, '... and is not held up');
$mirror->comes_to('item:1', '{"id":1,"n":9,"m":6}', '... the value comes');
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe('BEGIN; UPDATE item SET n = 10 WHERE id = 1');
my $queued = $node->background_psql('postgres');
$queued->query_until(qr/begun/, "\\echo begun\nALTER TABLE item ALTER m SET DEFAULT 7;\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'item'::regclass AND NOT granted}) or die;
$began = time();
$writer->query('COMMIT');
cmp_ok(time() - $began, '<', 4, 'somebody who wants to lock the table does not hold a commit up');
$_->quit foreach $writer, $queued;
$mirror->is_equal('after locks');

# What else a transaction may do.
sql('CREATE TABLE behind (id int PRIMARY KEY, n int); INSERT INTO behind VALUES (1, 0)');
sql(q{SELECT cachegrid.mirror('behind', 'grid')});
$mirror->is_equal('beside it', 'behind');
$began = time();
is($mirror->told('BEGIN; TRUNCATE behind; UPDATE item SET n = 11 WHERE id = 1; COMMIT'), '', 'it may truncate a table that is not waited for');
cmp_ok(time() - $began, '<', 5, '... and does not wait for who waits for it');
$mirror->comes_to('item:1', '{"id":1,"n":11,"m":6}', '... the value comes');
sql('CREATE TABLE new (id int PRIMARY KEY, n int); INSERT INTO new VALUES (1, 0)');
is($mirror->told(q{BEGIN; SELECT cachegrid.mirror('new', 'grid', mode => 'write-through'); UPDATE new SET n = 1; UPDATE item SET n = 12 WHERE id = 1; COMMIT}), '', 'it may make the mirror');
$mirror->comes_to('new:1', '{"id":1,"n":1}', '... which comes to have the row');
$mirror->comes_to('item:1', '{"id":1,"n":12,"m":6}', '... beside another');
sql(q{CREATE TABLE newer (id int PRIMARY KEY, n int); INSERT INTO newer VALUES (1, 0); SELECT cachegrid.mirror('newer', 'grid', mode => 'write-through')});
sql('BEGIN; UPDATE item SET n = 13 WHERE id = 1; UPDATE newer SET n = 1; COMMIT');
is($mirror->value('item:1'), '{"id":1,"n":13,"m":6}', 'one of two mirrors is new');
$mirror->is_equal('that one', 'newer');

# More mirrors in a transaction than a place has room for.
foreach my $i (1 .. 10)
{
	sql("CREATE TABLE many_$i (id int PRIMARY KEY, n int); INSERT INTO many_$i VALUES (1, 0)");
	sql("SELECT cachegrid.mirror('many_$i', 'grid', mode => 'write-through')");
}
$mirror->settle("many_$_") foreach 1 .. 10;
sql('BEGIN; ' . join(' ', map { "UPDATE many_$_ SET n = 1;" } 1 .. 10) . ' COMMIT');
is(join('', map { $mirror->value("many_$_:1") } 1 .. 10), '{"id":1,"n":1}' x 10, 'ten mirrors in one transaction');

# Two servers, of which one is away, and the other has much to do.
my $second = RedisServer->new(dir => PostgreSQL::Test::Utils::tempdir() . '/second');
sql("CREATE SERVER second FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'single', endpoints '" . $second->endpoint . "')");
sql('CREATE TABLE twice (id int PRIMARY KEY, n bigint NOT NULL); INSERT INTO twice SELECT i, 0 FROM generate_series(1, 10) i');
sql(q{SELECT cachegrid.mirror('twice', 'grid', mode => 'write-through'), cachegrid.mirror('twice', 'second', mode => 'write-through', on_unavailable => 'degrade')});
sql('CREATE TABLE big (id int PRIMARY KEY, n bigint NOT NULL); INSERT INTO big SELECT i, 0 FROM generate_series(1, 150000) i');
sql(q{SELECT cachegrid.mirror('big', 'grid', mode => 'write-through', strict => false)});
my $both_live = q{SELECT bool_and(state = 'live' AND waiting = 0) FROM cachegrid.stat_mirror WHERE "table" = 'twice'::regclass};
ok($mirror->settle('big') && $node->poll_query_until('postgres', $both_live), 'a table in two servers');
sql('UPDATE twice SET n = 1 WHERE id = 1');
is($mirror->value('twice:1') . $second->command('GET', 'twice:1'), '{"id":1,"n":1}' x 2, '... is in both when the commit returns');
my $logged = -s $node->logfile;
$second->kill9;
append_to_file("$script.both", "\\set id random(1, 10)\nUPDATE twice SET n = n + 1 WHERE id = :id;\n");
$writers = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '6', '-f', "$script.both", $node->connstr('postgres') ], '>', \$out, '2>', \$err);
sql('UPDATE big SET n = n + 1') for 1 .. 3;
$writers->finish;
unlike($err, qr/WARNING|ERROR/, 'a server that is away holds nobody up whose mirror degrades');
is($mirror->logged('unexpected state|terminated by signal|exited with exit code', $logged), 0, '... and the worker goes on');
is(sql(q{SELECT count(*) FROM cachegrid.verify('twice', 'grid')}), '0', '... with the other one');
$second->start;
ok($node->poll_query_until('postgres', $both_live), 'it comes back');
is(sql(q{SELECT count(*) FROM cachegrid.verify('twice', 'second')}), '0', '... and has what the table has');
$mirror->is_equal('the large one', 'big');

# A crash: of what was removed for whom, nothing may be known any more.
sql('TRUNCATE item; INSERT INTO item SELECT i, 0 FROM generate_series(1, 100) i');
$mirror->is_equal('before the crash');
append_to_file("$script.2", "\\set id random(1, 100)\nUPDATE item SET n = n + 1 WHERE id = :id;\n");
foreach (1 .. 2)
{
	$writers = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '20', '-f', "$script.2", $node->connstr('postgres') ],
		'>', \$out, '2>', \$err);
	ok($node->poll_query_until('postgres', 'SELECT sum(n) > 50 FROM item'), 'writers write');
	$node->stop('immediate');
	$writers->finish;
	$node->start;
	$mirror->is_equal('after a crash');
	sql('UPDATE item SET n = 0');
}

$node->stop;
done_testing();
