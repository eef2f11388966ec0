
# read_from 'replica': verify() asks replicas, which are behind their masters, fail,
# are promoted; whatever writes or decides asks masters.

use strict;
use warnings;

use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use FakeRedis;
use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $rows = 2000;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $mirror = Mirror->new('replicas', 'cachegrid.redis_timeout = 1000', 'cachegrid.redis_connect_timeout = 1000');
my $node = $mirror->node;
my $redis = RedisCluster->new(
	dir => "$folder/replicated",
	nodes => 3,
	replicas => 3,
	node_timeout => 2000,
	password => 'secret');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A table of the server's name, mirrored there.
sub create_mirrored
{
	my ($name, $options, $count) = @_;

	sql("CREATE SERVER $name FOREIGN DATA WRAPPER cachegrid_redis OPTIONS ($options, read_from 'replica');"
		  . "CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (password 'secret');"
		  . "CREATE TABLE $name (id int PRIMARY KEY, name text);"
		  . "INSERT INTO $name SELECT i, 'first' FROM generate_series(1, $count) i;"
		  . "SELECT cachegrid.mirror('$name', '$name')");
	ok($mirror->settle($name), "$name is mirrored");
	return;
}

# What verify says of the table, or its error.
sub verify
{
	my ($table, $settings) = @_;
	my ($status, $output, $error) = $node->psql('postgres',
			($settings // '')
		  . "\\set VERBOSITY verbose\n"
		  . "SELECT key, problem FROM cachegrid.verify('$table', '$table') ORDER BY 1");

	return $status == 0 ? $output : $error;
}

# How often the nodes were given this command.
sub calls
{
	my ($command, @nodes) = @_;
	my $sum = 0;

	foreach my $one (@nodes)
	{
		$sum += $1 if $one->command('INFO', 'commandstats') =~ /cmdstat_$command:calls=(\d+)/;
	}
	return $sum;
}

sub address { return $_[0]->host . ':' . $_[0]->port; }

sub mend
{
	my ($table) = @_;
	my $state = "FROM cachegrid.stat_mirror WHERE server = '$table'";
	my ($applied, $sweeps) = split(/\|/, sql("SELECT applied, sweeps $state"));

	sql("SELECT cachegrid.resync('$table', '$table', differences => true)");
	ok( $node->poll_query_until('postgres',
			"SELECT state = 'live' AND waiting = 0 AND sweeps > $sweeps $state"),
		'a comparison by the worker ends');
	return sql("SELECT applied - $applied $state");
}

# Keys are read from replicas
my @masters = map { $redis->node($_) } 0 .. 2;
my @replicas = map { $redis->node($_) } 3 .. 5;
my @before;
foreach my $one ($redis->nodes)
{
	# A replica whose offset a node has not heard of yet is not in its map.
	RedisServer::wait_until('everybody knows the replicas',
		sub { my $map = $one->command('CLUSTER', 'SLOTS'); !grep { $map !~ /^${\ $_->port}$/m } @replicas });
}
create_mirrored('pairs', "endpoints '" . $redis->endpoints . "'", $rows);
@before = map { calls($_, @masters) } 'get', 'scan';
is(verify('pairs'), '', 'replicas have what the table has');
is(calls('get', @replicas), 2 * $rows, 'each key was asked of a replica, from the table and from the scan');
cmp_ok(calls('scan', @replicas), '>=', 3, '... which was of replicas, too');
is(calls('scan', @masters), $before[1], 'and not of masters');
cmp_ok(calls('get', @masters) - $before[0], '<', 20, 'nor were they asked for keys');

# They are shown
is( sql("SELECT count(*), sum(slots), bool_and(connected IS NULL AND connects = 1 AND commands > $rows / 2"
		  . ' AND round_trips > 3 AND round_trip_p50_ms > 0 AND errors = 0 AND last_error IS NULL)'
		  . q{ FROM cachegrid.stat_redis WHERE server = 'pairs' AND role = 'replica'}),
	'3|16384|t',
	'stat_redis shows the round trips to replicas');
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 3 AND bool_and(connected) AND bool_and(round_trips > 0)}
		  . q{ FROM cachegrid.stat_redis WHERE server = 'pairs' AND role = 'master'}),
	'... beside those of the worker to masters');
verify('pairs');
is(sql(q{SELECT sum(connects), bool_and(commands > 2000) FROM cachegrid.stat_redis WHERE role = 'replica'}),
	'6|t', 'the counts go on with the next one');

# What differs there is found, and by the worker on masters mended
$redis->command('SET', 'pairs:5', 'of somebody else');
$redis->command('DEL', 'pairs:6');
$redis->command('SET', 'pairs:1000000', 'surplus');
is(verify('pairs'), "pairs:1000000|surplus\npairs:5|differs\npairs:6|missing", 'differences are found');
is(mend('pairs'), '3', '... and mended');
is(verify('pairs'), '', '... on the replicas, too');

# A replica that is behind: its master's stream does not reach it any more
my ($master, $late) = ($redis->node(0), $redis->node(3));
sub cut_off
{
	$late->command('CONFIG', 'SET', 'masterauth', 'wrong');
	$master->command('CLIENT', 'KILL', 'TYPE', 'replica');
	RedisServer::wait_until('the replica is cut off',
		sub { $late->command('INFO', 'replication') =~ /master_link_status:down/ });
	return;
}

cut_off();
sql("UPDATE pairs SET name = 'second'");
ok($mirror->settle('pairs'), 'masters are written to');
my $error = verify('pairs');
like($error, qr/no replica of Redis node "\Q${\ address($master)}\E" can be read from/,
	'a replica that is behind is not believed: the error names its master');
like($error, qr/DETAIL:.*"\Q${\ address($late)}\E" is behind its master, and came no nearer within 1000 ms/,
	'... and the replica');
unlike($error, qr/differs/, 'no difference is reported that is none');
is( sql("SELECT errors > 0 AND last_error LIKE '%is behind its master%' FROM cachegrid.stat_redis"
		  . " WHERE role = 'replica' AND node = '${\ address($late)}'"),
	't', 'stat_redis shows why');
is(mend('pairs'), '0', 'the worker asks masters: nothing is to be mended');

# It is waited for as long as it takes, if it comes nearer
my ($output, $errors) = ('', '');
sub start_verify
{
	my ($table, $timeout) = @_;

	return start(
		[
			'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-c', "SET cachegrid.redis_timeout = '$timeout'",
			'-c', "SELECT key, problem FROM cachegrid.verify('$table', '$table')"
		],
		'>', \$output, '2>', \$errors);
}

my $session = start_verify('pairs', '100s');
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT key%' AND wait_event_type = 'Extension'}),
	'verify waits');
$late->command('CONFIG', 'SET', 'masterauth', 'secret');
$session->finish;
is("$output$errors", '', 'with the replica back there is no difference');

# A replica that is gone, and one that has been promoted
$late->kill9;
$error = verify('pairs');
like($error, qr/no replica of Redis node "\Q${\ address($master)}\E" can be read from/, 'a replica is gone');
like($error, qr/HINT:.*"read_from"/, '... and what can be done about it');
sql("ALTER SERVER pairs OPTIONS (SET read_from 'master')");
is(verify('pairs'), '', 'masters are read when they are to be');
sql("ALTER SERVER pairs OPTIONS (SET read_from 'replica')");
$late->start;
RedisServer::wait_until('the replica is back',
	sub { $late->command('INFO', 'replication') =~ /master_link_status:up/ });
$redis->wait_until_ok;
RedisServer::wait_until('the map has it', sub { verify('pairs') eq '' });
is($late->command('CLUSTER', 'FAILOVER'), 'OK', 'it is to take over');
RedisServer::wait_until('the replica is the master',
	sub { $late->command('ROLE') =~ /^master/ && $master->command('INFO', 'replication') =~ /master_link_status:up/ });
$redis->wait_until_ok;
sql("UPDATE pairs SET name = 'third'");
ok( $node->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM cachegrid.stat_redis WHERE node = '${\ address($late)}' AND role = 'master' AND connected"),
	'the worker has found it');
ok($mirror->settle('pairs'), 'all is written');
RedisServer::wait_until('the former master serves as a replica', sub { verify('pairs') eq '' });
is(sql("SELECT string_agg(role, ' ') FROM cachegrid.stat_redis WHERE node = '${\ address($master)}'"),
	'replica', 'the former master is shown as a replica');

# A single server names its replicas; keys are spread over them
my @single = map { RedisServer->new(dir => "$folder/single$_", password => 'secret') } 0 .. 2;
$single[$_]->command('REPLICAOF', $single[0]->host, $single[0]->port) foreach 1, 2;
RedisServer::wait_until('both replicas are online',
	sub { (() = $single[0]->command('INFO', 'replication') =~ /state=online/g) == 2 });
create_mirrored('one', "mode 'single', endpoints '" . address($single[0]) . "'", $rows);
@before = map { calls('get', $_) } @single;
is(verify('one'), '', 'replicas of a single server have what the table has');
my @after = map { calls('get', $_) } @single;
is($after[1] + $after[2] - $before[1] - $before[2], 2 * $rows, 'they were asked for all keys');
cmp_ok($after[$_] - $before[$_], '>', $rows / 2, "replica $_ for its share") foreach 1, 2;
is(sql(q{SELECT string_agg(role || slots, ' ' ORDER BY role, node) FROM cachegrid.stat_redis WHERE server = 'one'}),
	'replica16384 replica16384 single16384', 'they are shown');
$single[1]->pause;
is(verify('one'), '', 'a silent one is done without');
$single[1]->resume;
$single[1]->command('REPLICAOF', 'NO', 'ONE');
RedisServer::wait_until('it is none any more',
	sub { (() = $single[0]->command('INFO', 'replication') =~ /state=online/g) == 1 });
is(verify('one'), '', 'and so is one that was promoted');
is(sql(q{SELECT count(*) FROM cachegrid.stat_redis WHERE server = 'one' AND role = 'replica'}),
	'1', 'it is not shown any more');
$single[2]->kill9;
RedisServer::wait_until('none is left',
	sub { $single[0]->command('INFO', 'replication') !~ /state=online/ });
like(verify('one'), qr/no replica of Redis node "\Q${\ address($single[0])}\E" can be read from.*It has none that is online/s,
	'without any it is an error');
$single[0]->command('ACL', 'SETUSER', 'default', '-info');
like(verify('one'), qr/does not permit a command.*NOPERM/s, 'who may not ask for them is told so');

# Replicas that misbehave: the other one takes over; of both it is an error
my ($head, $left, $right) = map { FakeRedis->scripted } 1 .. 3;
my $id = 'a' x 40;
sub position
{
	my ($role, $offset) = @_;

	return "# Replication\r\nrole:$role\r\nmaster_replid:$id\r\n"
	  . ($role eq 'master' ? "master_repl_offset:$offset" : "slave_repl_offset:$offset\r\nmaster_repl_offset:0")
	  . "\r\n";
}
my $map = FakeRedis::map_of([ 0, 16383, map { ('127.0.0.1', $_->port) } $head, $left, $right ]);
foreach my $fake ($head, $left, $right)
{
	$fake->tell('MAP', $map);
	$fake->tell('SAY', 'replication', position($fake == $head ? 'master' : 'slave', 1000));
}
create_mirrored('fakes', "endpoints '" . $head->endpoint . "'", 20);
foreach my $key (map { "fakes:$_" } 1 .. 20)
{
	my $value = $head->tell('GET', $key);
	$_->tell('KEEP', $key, $value) foreach $left, $right;
}
is(verify('fakes'), '', 'two replicas of a kind');
cmp_ok($_->tell('COUNT', 'GET'), '>', 4, 'both are asked') foreach $left, $right;
is($_->tell('COUNT', 'READONLY'), 1, '... as replicas') foreach $left, $right;

my @faults = (
	[ 'GET', "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", 'cannot serve' ],
	[ 'GET', "-LOADING Redis is loading the dataset in memory\r\n", 'cannot serve' ],
	[ 'GET', "-CLUSTERDOWN The cluster is down\r\n", 'Redis Cluster is down' ],
	[ 'GET', "+OK\r\n", 'unexpected reply' ],
	[ 'GET', '', 'lost the connection', 'close' ],
	[ 'GET', '', 'did not answer within', 'mute' ],
	[ 'READONLY', "-NOPERM this user has no permissions to run the 'readonly' command\r\n", 'does not permit a command' ],
	[ 'READONLY', ":1\r\n", 'unexpected reply' ],
	[ 'INFO', "-LOADING Redis is loading the dataset in memory\r\n", 'cannot serve' ],
	[ 'INFO', FakeRedis::bulk(position('master', 1000)), 'is no replica any more' ],
	[ 'INFO', FakeRedis::bulk(position('slave', 999)), 'is behind its master' ],
	[ 'INFO', FakeRedis::bulk(position('slave', 2000) =~ s/$id/'b' x 40/er), 'is behind its master' ],
	[ 'INFO', FakeRedis::bulk("role:slave\r\n"), 'unexpected reply' ]);
foreach my $fault (@faults)
{
	my ($command, $bytes, $reason, @then) = @$fault;
	my $name = "$reason, $command";

	$left->tell('ANSWER', $command, 1_000_000, $bytes, @then);
	is(verify('fakes'), '', "$name: the other one takes over");
	like(
		sql("SELECT last_error FROM cachegrid.stat_redis WHERE node = '127.0.0.1:${\ $left->port}' AND role = 'replica'"),
		$command eq 'GET' && $bytes =~ /^-/ ? qr/^\Q${\ substr($bytes, 1, 6)}\E/ : qr/$reason|NOPERM|LOADING/,
		"$name: stat_redis has it");
	$right->tell('ANSWER', $command, 1_000_000, $bytes, @then);
	my $both = verify('fakes');
	like($both, qr/no replica of Redis node "127.0.0.1:${\ $head->port}" can be read from/, "$name: both do it");
	like($both, qr/DETAIL:.*:${\ $left->port}\b.*$reason.*; .*:${\ $right->port}\b.*$reason|DETAIL:.*$reason.*; .*$reason/, '... and why is said')
	  or diag($both);
	$_->tell('ANSWER', $command, 0, '') foreach $left, $right;
	is(verify('fakes'), '', "$name: it is over");
}

# One that comes nearer is waited for, for longer than one that does not
$_->tell('SAY', 'replication', position('slave', 0)) foreach $left, $right;
my $asked = $left->tell('COUNT', 'INFO');
($output, $errors) = ('', '');
$session = start_verify('fakes', '1s');
RedisServer::wait_until('verify waits', sub { $left->tell('COUNT', 'INFO') > $asked });
foreach my $offset (map { $_ * 100 } 1 .. 10)
{
	usleep(300_000);
	$_->tell('SAY', 'replication', position('slave', $offset)) foreach $left, $right;
}
$session->finish;
is("$output$errors", '', 'a replica that comes nearer is waited for');

# What they send elsewhere is asked again, but not for ever
$left->tell('ANSWER', 'GET', 3, "-MOVED <slot> 127.0.0.1:${\ $head->port}\r\n");
is(verify('fakes'), '', 'MOVED by a replica that does not serve the slot yet');
$left->tell('ANSWER', 'GET', 1_000_000, "-MOVED <slot> 127.0.0.1:${\ $head->port}\r\n");
like(verify('fakes'), qr/redirects commands again and again/, 'MOVED for good is trouble');
$left->tell('ANSWER', 'GET', 0, '');
$head->tell('SAY', 'replication', 'role:master');
like(verify('fakes'), qr/unexpected reply from Redis node "127.0.0.1:${\ $head->port}"/, 'a master that does not say how far it is');
$head->tell('SAY', 'replication', position('master', 1000));
$head->tell('MAP', FakeRedis::map_of([ 0, 16383, '127.0.0.1', $head->port, '?', 7000, '127.0.0.1', $right->port ]));
is(verify('fakes'), '', 'a replica whose place is not known is none');
is(sql(q{SELECT count(*) FROM cachegrid.stat_redis WHERE server = 'fakes' AND role = 'replica'}), '1', '... and not shown');

sql(q{SELECT cachegrid.unmirror('one', 'one')});
ok( $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM cachegrid.stat_redis WHERE server = 'one'}),
	'replicas are not shown any more when the mirror is gone');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11|TRAP/, 'nothing crashed');
$node->stop;
done_testing();
