# Events in a cluster, by sharded and by plain channels; those of NOTIFY; and the
# subscriber that docs/events.md shows, as it stands there.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run ();
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;
require Subscriber;

my $mirror = Mirror->new('events_cluster', "cachegrid.redis_timeout = '500ms'");
my $node = $mirror->node;
my $redis = $mirror->redis;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Where a node of the cluster, by its number, is.
sub address
{
	my ($number) = @_;
	return ('127.0.0.1', ($redis->endpoints =~ /:(\d+)/g)[$number]);
}

sub told_by_notify
{
	my ($statements) = @_;
	return join(' ', $node->safe_psql('postgres', "LISTEN cachegrid; $statements") =~
		  /payload "(?:.*?)"operation":"(\w+)","key":(?:"(.*?)"|null)}" received/g);
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql(q{INSERT INTO item SELECT i FROM generate_series(1, 100) i});

# By SPUBLISH the node of the channel's slot has it, by PUBLISH every node.
my $owner = $redis->owner_of($redis->slot_of('sharded'));
my $sharded = Subscriber->new(address($owner), 'sharded', 'SSUBSCRIBE');
my @plain = map { Subscriber->new(address($_), 'plain') } 0 .. 2;
sql(q{SELECT cachegrid.watch('item', ARRAY['item:{id}'], publish => true, server => 'grid', channel => 'sharded', sharded => true)});
is($sharded->told(1), 'all!', 'a sharded channel');
sql('UPDATE item SET id = id + 1000');
is($sharded->told(200) =~ tr/!//, 0, 'all parts of a batch, in their order');

# The slot moves, and with it the subscribers
my $slot = $redis->slot_of('sharded');
my $target = ($owner + 1) % 3;
$redis->migrate_slot($slot, $target);
$sharded = Subscriber->new(address($target), 'sharded', 'SSUBSCRIBE');
sql(q{UPDATE item SET name = 'moved' WHERE id = 1001});
like($sharded->told_until('item:1001'), qr/update!? item:1001$/, 'the slot has moved');
sql(q{SELECT cachegrid.watch('item', ARRAY['item:{id}'], publish => true, server => 'grid', channel => 'plain')});
is($_->told(1), 'all!', 'a plain channel') foreach @plain;
sql(q{UPDATE item SET name = 'x' WHERE id = 1001});
is($_->told(1), 'update item:1001', '... is heard by who is connected to any node') foreach @plain;

# The subscriber of the documentation
SKIP:
{
	skip 'there is no python3', 4 unless grep { -x "$_/python3" } split(/:/, $ENV{PATH});

	my ($program) = slurp_file('docs/events.md') =~ /```python\n(.*?)```/s;
	my $lines = () = $program =~ /^./mg;
	cmp_ok($lines, '<=', 22, 'the subscriber in docs/events.md is short');
	my $file = PostgreSQL::Test::Utils::tempdir() . '/subscriber.py';
	append_to_file($file, $program);
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[ 'python3', $file, address(1), 'plain' ], '<', \undef, '>', \$out, '2>', \$err,
		my $patience = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	my $prints = sub {
		my ($pattern, $change, $name) = @_;

		$patience->start;
		# It cannot say when it has subscribed.
		until ($out =~ $pattern || $patience->is_expired || !$run->pumpable)
		{
			sql($change) if $change;
			$run->pump_nb;
		}
		like($out, $pattern, $name) or diag($err);
		$out = '';
	};
	$prints->(qr/^everything of public\.item|^everything of item:1002/, q{UPDATE item SET name = 'y' WHERE id = 1002}, 'it begins with everything');
	$prints->(qr/^insert item:1\n/m, 'INSERT INTO item VALUES (1) ON CONFLICT DO NOTHING', 'it prints what happens');
	$prints->(qr/^everything of public\.item\n/m, 'TRUNCATE item', '... and TRUNCATE');

	$run->kill_kill;
}

# NOTIFY
sql(q{SELECT cachegrid.watch('item', ARRAY['item:{id}'], notify => true)});
$mirror->becomes_true('count(*) = 0 FROM cachegrid.stat_events', 'a watch without publish ends the stream');
is(told_by_notify('INSERT INTO item VALUES (3); UPDATE item SET id = 4 WHERE id = 3;'),
	'insert item:3 delete item:3 insert item:4', 'who listens is notified');
is(told_by_notify('BEGIN; INSERT INTO item VALUES (5); SAVEPOINT s; INSERT INTO item VALUES (6); ROLLBACK TO s; COMMIT;'),
	'insert item:5', '... not of what was taken back');
is(told_by_notify('BEGIN; DELETE FROM item; ROLLBACK;'), '', '... nor rolled back');
like(told_by_notify(q{TRUNCATE item;}), qr/^all ?$/, '... of TRUNCATE as a whole');
my $many = told_by_notify('INSERT INTO item SELECT generate_series(1, 9000);');
is(() = $many =~ /insert/g, 8192, '... of so many keys');
like($many, qr/insert item:8192 all ?$/, '... and the rest as a whole, once');
$many = told_by_notify('BEGIN; SAVEPOINT s; UPDATE item SET name = $$n$$; ROLLBACK TO s; UPDATE item SET name = $$m$$ WHERE id = 1; COMMIT;');
like($many, qr/^all ?$/, '... also if most of them were taken back');

done_testing();
