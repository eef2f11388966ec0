# Mode write-through, between the removal of the keys and the commit: another extension
# writes there, or makes it last, so that what is removed can be lost sight of.

use strict;
use warnings;

use LateChange;
use Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = LateChange::build();
my $mirror = Mirror->new(
	'late',
	"shared_preload_libraries = '$library, cachegrid'",
	'cachegrid.write_through_timeout = 20000',
	# What a crash loses of a transaction that has not committed.
	"wal_writer_delay = '10s'");
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A session whose commit, when its keys are removed, does something else, and sleeps.
sub held
{
	my ($statement, $command) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_until(qr/begun/,
		"\\echo begun\nBEGIN; $statement; SET LOCAL late_change.command = '" . ($command // '') . "SELECT pg_sleep(1000)'; COMMIT;\n");
	$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid")
	  or die 'it is not held';
	return ($session, $pid);
}

sub end_held
{
	my ($session, $pid) = @_;

	sql("SELECT pg_terminate_backend($pid, 10000)");
	$session->{run}->finish;
	return;
}

sql(<<'SQL');
CREATE TABLE item (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO item SELECT i, 0 FROM generate_series(1, 20) i;
SQL
sql(q{SELECT cachegrid.mirror('item', 'grid', mode => 'write-through')});
$mirror->is_equal('at first');

# It changes another row, and one that is changed already.
sql(q{BEGIN; UPDATE item SET n = 1 WHERE id = 1; SET LOCAL late_change.command = 'UPDATE item SET n = n + 1 WHERE id IN (1, 2)'; COMMIT});
is($mirror->value('item:1') . $mirror->value('item:2'),
	'{"id":1,"n":2}{"id":2,"n":1}', 'what is changed late is in Redis when the commit returns');
my ($session, $pid) = held('UPDATE item SET n = 3 WHERE id = 3', 'UPDATE item SET n = 3 WHERE id = 13;');
is($mirror->value('item:3') . $mirror->value('item:13'), '', 'away before the commit, also what is changed late');
sql('UPDATE item SET n = 4 WHERE id = 4');
is($mirror->value('item:3'), '', '... whoever else commits');
end_held($session, $pid);
$mirror->comes_to('item:3', '{"id":3,"n":0}', 'back after an abort');
$mirror->comes_to('item:13', '{"id":13,"n":0}', '... as well');

# The worker is another one when it ends.
($session, $pid) = held('UPDATE item SET n = 5 WHERE id = 5');
kill('TERM', $mirror->worker);
sql('UPDATE item SET n = 6 WHERE id = 6');
is($mirror->value('item:6') . $mirror->value('item:5'), '{"id":6,"n":6}', 'another worker keeps it away');
end_held($session, $pid);
$mirror->comes_to('item:5', '{"id":5,"n":0}', '... and brings it back');

# It ends while there is no worker.
($session, $pid) = held('UPDATE item SET n = 7 WHERE id = 7');
kill('TERM', $mirror->worker);
end_held($session, $pid);
$mirror->comes_to('item:7', '{"id":7,"n":0}', 'back though nobody was there when it ended');

# The server shuts down, or crashes, in between.
($session, $pid) = held('UPDATE item SET n = 8 WHERE id = 8');
$node->restart;
$session->{run}->finish;
$mirror->is_equal('after a restart');
$mirror->comes_to('item:8', '{"id":8,"n":0}', 'back after a restart');
($session, $pid) = held('UPDATE item SET n = 9 WHERE id = 9');
is($mirror->value('item:9'), '', 'away again');
$node->stop('immediate');
$session->{run}->finish;
$node->start;
$mirror->is_equal('after a crash');
$mirror->comes_to('item:9', '{"id":9,"n":0}', 'back after a crash');

# A whole table.
($session, $pid) = held('TRUNCATE item');
is(join('', map { $mirror->value("item:$_") } 1 .. 20), '', 'a table that is truncated is away before the commit');
kill('TERM', $mirror->worker);
end_held($session, $pid);
$mirror->is_equal('back after an abort');
$mirror->comes_to('item:9', '{"id":9,"n":0}', '... row by row');

$node->stop;
done_testing();
