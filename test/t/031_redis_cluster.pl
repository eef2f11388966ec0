
# Slots move while rows are written: every key ends where Redis looks for it, with
# the value that its row has.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('moves');
my $node = $mirror->node;
my $redis = $mirror->redis;
my $folder = PostgreSQL::Test::Utils::tempdir();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Keys whose slot is easily mistaken
my @names = (
	'plain', '{tag}a', 'a{tag}b', '{tag}{other}', '{}empty', 'a{}{tag}', '{', '}', '}{', '{open',
	'{{double}}', '123456789', 'with space', "caf\x{c3}\x{a9}", '*', '[x]', 'x' x 400);
sql('CREATE TABLE tag (name text COLLATE "C" PRIMARY KEY, n int)');
sql('INSERT INTO tag VALUES ' . join(', ', map { "('$names[$_]', $_)" } 0 .. $#names));
sql("SELECT cachegrid.mirror('tag', 'grid')");
$mirror->is_equal('odd keys', 'tag');
foreach my $number (0 .. $#names)
{
	like($mirror->value("tag:$names[$number]"),
		qr/"n":$number\}/, 'the slot of ' . substr($names[$number], 0, 20));
}

# Slots that stay between two nodes
sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 3000) i");
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->is_equal('before the slots move');
my %target;
foreach my $id (1 .. 40)
{
	my $slot = $redis->slot_of("item:$id");

	$target{$slot} //= ($redis->owner_of($slot) + 1) % 3;
}
$redis->begin_migration($_, $target{$_}) foreach keys %target;
my ($some, @others) = sort keys %target;
$redis->move_keys($some, $target{$some});
sql("UPDATE item SET name = 'asked' WHERE id <= 2000");
sql('DELETE FROM item WHERE id BETWEEN 30 AND 40');
sql("INSERT INTO item SELECT i, 'new' FROM generate_series(3001, 6000) i");
$mirror->is_equal('slots between two nodes');
$redis->move_keys($_, $target{$_}) foreach @others;
sql("UPDATE item SET name = 'asked again' WHERE id <= 100");
$mirror->is_equal('slots whose keys are all gone');
$redis->finish_migration($_, $target{$_}) foreach keys %target;
sql("UPDATE item SET name = 'moved' WHERE id <= 100");
$mirror->is_equal('slots that have moved');

# Slots that move under load
append_to_file("$folder/load.sql", <<'EOS');
\set id random(1, 6000)
UPDATE item SET name = 'load ' || :id || ' ' || random() WHERE id = :id;
EOS
my $output = '';
my $load = start(
	[
		'pgbench', '-n', '-f', "$folder/load.sql", '-c', '2', '-T', '600',
		'-h', $node->host, '-p', $node->port, 'postgres'
	],
	'>', \$output, '2>', \$output);
foreach my $id (1 .. 30)
{
	my $slot = $redis->slot_of('item:' . $id * 100);

	$redis->migrate_slot($slot, ($redis->owner_of($slot) + 1) % 3);
}
$load->kill_kill;
$mirror->is_equal('under load');
is(sql('SELECT count(*) FROM cachegrid.mirror_parked'), 0, 'no key was given up');

# A new worker ends the connections that an earlier one left, before it writes
my $first = $redis->node(0);
my ($name) = $first->command('CLIENT', 'LIST') =~ / name=(cachegrid:\S+)/;
my $leftover = IO::Socket::INET->new(
	PeerAddr => $first->host,
	PeerPort => $first->port,
	Proto => 'tcp');
print $leftover "CLIENT SETNAME $name\r\n";
is(scalar(<$leftover>), "+OK\r\n", 'a connection is left over');

my $worker = $mirror->worker;
kill('TERM', $worker);
$node->poll_query_until('postgres',
	"SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $worker)");
sql("UPDATE item SET name = 'another worker' WHERE id <= 100");
$mirror->is_equal('another worker');
ok( IO::Select->new($leftover)->can_read(5) && sysread($leftover, my $rest, 1) == 0,
	'the one left over is ended');
foreach my $number (0 .. 2)
{
	my $writers = () = $redis->node($number)->command('CLIENT', 'LIST') =~ / name=\Q$name\E /g;

	is($writers, 1, "node $number has one writer");
}

done_testing();
