
# The network between the worker and Redis cuts, holds back, delays, is silent, refuses:
# what Redis carries out, as MONITOR tells, is never older than what it had of a key, and
# is in the end what the table has.

use strict;
use warnings;

use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require RedisProxy;

my $rows = 100;
my $timeout = 1000; # ms: more than a busy machine takes, of no more than needs be
my $folder = PostgreSQL::Test::Utils::tempdir();
my $redis = RedisServer->new(dir => "$folder/redis");
my $proxy = RedisProxy->new($redis);
my $node = PostgreSQL::Test::Cluster->new('network');
$node->init;
$node->append_conf('postgresql.conf', "$_\n")
  foreach (
	"shared_preload_libraries = 'cachegrid'",
	"cachegrid.memory = '32MB'",
	"cachegrid.redis_connect_timeout = $timeout",
	"cachegrid.redis_timeout = $timeout");
$node->start;

my $version = 1;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub becomes_true
{
	my ($condition, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('postgres', "SELECT $condition"), $name)
	  or diag(sql('SELECT row_to_json(m) FROM cachegrid.stat_mirror m'));
	return;
}

# All rows get the next version, in one transaction.
sub write_next
{
	$version++;
	sql("UPDATE item SET version = $version");
	return;
}

# What Redis has carried out, in its order, of which MONITOR tells.
my $monitor_file = "$folder/monitor";
my $monitor;

sub start_monitor
{
	open(my $file, '>', $monitor_file) or die "$monitor_file: $!";
	close($file);
	$monitor = start([ 'redis-cli', '-h', $redis->host, '-p', $redis->port, 'MONITOR' ], '>', $monitor_file);
	RedisServer::wait_until('MONITOR tells', sub { slurp_file($monitor_file) =~ /OK/ });
	return;
}

# How often keys were set since MONITOR began, by version; and fails if any went back.
sub sets_of
{
	my ($name) = @_;
	my $mark = "mark $name " . rand();
	my (%newest, %sets);
	my $backwards = 0;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# What it was sent before is in the file when this is.
	$redis->command('ECHO', $mark);
	RedisServer::wait_until('MONITOR has told all', sub { slurp_file($monitor_file) =~ /\Q$mark\E/ });
	foreach my $line (split(/\n/, slurp_file($monitor_file)))
	{
		my ($key, $set) = $line =~ /"SET" "(item:\d+)" .*version\D+(\d+)/ or next;
		$backwards++ if $set < ($newest{$key} // 0);
		$newest{$key} = $set;
		$sets{$set}++;
	}
	is($backwards, 0, "$name: no key went backwards");
	return \%sets;
}

# What was counted of the mirror, and of the one Redis node.
sub counts
{
	my @counts = split(/\|/, sql('SELECT m.applied, m.retries, n.connects, n.errors, n.retries'
			  . ' FROM cachegrid.stat_mirror m, cachegrid.stat_redis n'));
	return map { $_ => shift @counts } qw(applied retries connects errors node_retries);
}

sub are_equal
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	becomes_true("state = 'live' AND waiting = 0 FROM cachegrid.stat_mirror", "$name: settles");
	is(sql("SELECT key, problem FROM cachegrid.verify('item', 'net')"), '', "$name: verify says equal");
	my %values = map { $redis->command('GET', "item:$_") =~ /version\D+(\d+)/ ? ($1 => 1) : (none => 1) } 1, $rows;
	is(join(' ', keys %values), $version, "$name: Redis has what was written last");
	return;
}

# So much was counted since.
sub grew
{
	my ($before, $growth, $name) = @_;
	my %of = (
		applied => 'm.applied', retries => 'm.retries', connects => 'n.connects',
		errors => 'n.errors', node_retries => 'n.retries');
	my $condition = join(' AND ', map { "$of{$_} = $before->{$_} + $growth->{$_}" } sort keys %$growth);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $found = $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM cachegrid.stat_mirror m, cachegrid.stat_redis n WHERE $condition");
	ok($found, "$name: the counts are right");
	return if $found;
	my %now = counts();
	diag(join(', ', map { "$_ $before->{$_} -> $now{$_}" } sort keys %now));
	return;
}

sub logged
{
	my ($words, $place) = @_;
	my $count = () = substr(slurp_file($node->logfile), $place) =~ /$words/g;
	return $count;
}

sub is_logged_once
{
	my ($place, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(logged('is interrupted', $place), 1, "$name: one line when it begins");
	is(logged('goes on', $place), 1, "$name: and one when it ends");
	return;
}

sql(qq{CREATE EXTENSION cachegrid;
	CREATE SERVER net FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'single', endpoints '${\ $proxy->endpoint}');
	CREATE TABLE item (id int PRIMARY KEY, version int) WITH (fillfactor = 20);
	INSERT INTO item SELECT i, 1 FROM generate_series(1, $rows) i;
	SELECT cachegrid.mirror('item', 'net')});
are_equal('at first');
becomes_true("connects > 0 FROM cachegrid.stat_redis", 'the node is shown');
start_monitor();

# A connection is cut in a batch: Redis has carried out so many, and nobody was told
my $place = -s $node->logfile;
foreach my $carried_out (1, 50, $rows - 1, $rows)
{
	my $name = "cut behind $carried_out of $rows commands";
	my %before = counts();

	$proxy->tell('CUT', 'SET', $carried_out);
	write_next();
	are_equal($name);
	is(sets_of($name)->{$version}, $carried_out + $rows, "$name: those were done twice, no other was");
	grew(\%before, { applied => $rows, retries => $rows, node_retries => $rows, connects => 1, errors => 1 }, $name);
}
is(logged('is interrupted', $place), 0, 'a cut is no outage');

# Bytes of an old connection come when newer values are there
foreach my $dies (0, 1)
{
	my $name = $dies ? 'late bytes of a worker that has ended' : 'late bytes of a connection that was given up';
	my %before = counts();

	$proxy->tell('WHEN', 'SET', 'HOLD');
	write_next();
	my $held = $version;
	RedisServer::wait_until('the network holds the batch', sub { $proxy->tell('KEPT') == $rows });
	if ($dies)
	{
		my $worker = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cachegrid worker'});
		is(sql("SELECT pg_terminate_backend($worker, 60000)"), 't', "$name: it ends");
	}
	are_equal("$name, before they come");
	write_next();
	are_equal("$name, newer values");
	is($proxy->tell('RELEASE'), '0 1', "$name: Redis has closed that connection");
	is(sets_of($name)->{$held}, $rows, "$name: nothing was done twice");
	are_equal($name);
	grew(\%before, { applied => 2 * $rows, retries => $rows, connects => 1 }, $name) unless $dies;
}

# Replies that are late, but not too late; and then so late that nobody listens
my %before = counts();
$place = -s $node->logfile;
$proxy->tell('DELAY', 200);
write_next();
are_equal('replies are late');
grew(\%before, { applied => $rows, retries => 0, connects => 0, errors => 0 }, 'replies are late');
is(logged('is interrupted', $place), 0, 'that is no outage');

%before = counts();
$proxy->tell('WHEN', 'SET', 'DELAY', 3 * $timeout);
write_next();
becomes_true("state = 'interrupted' AND last_error LIKE '%did not answer within $timeout ms%' FROM cachegrid.stat_mirror",
	'replies are too late');
is(sets_of('too late')->{$version}, $rows, 'Redis has carried it out');
write_next();
$proxy->tell('DELAY', 0);
are_equal('after replies that were too late');
is(sets_of('after that')->{$version}, $rows, 'newer values were written once');
my %now = counts();
is($now{applied} - $before{applied}, $rows, 'what was written meanwhile is applied together');
cmp_ok($now{retries} - $before{retries}, '>=', $rows, '... and counted as sent again');
is_logged_once($place, 'late replies');

# Silence
%before = counts();
$place = -s $node->logfile;
$proxy->tell('SILENCE', 1);
write_next();
becomes_true("state = 'interrupted' AND last_error LIKE '%did not answer within $timeout ms%' AND waiting > 0 FROM cachegrid.stat_mirror",
	'silence is noticed');
becomes_true("NOT connected AND last_error LIKE '%did not answer within $timeout ms%' FROM cachegrid.stat_redis", '... and shown');
write_next();
$proxy->tell('SILENCE', 0);
are_equal('after silence');
sets_of('after silence');
is_logged_once($place, 'silence');

# Nobody can connect
%before = counts();
$place = -s $node->logfile;
$proxy->tell('REFUSE', 1);
write_next() foreach 1 .. 3;
becomes_true("state = 'interrupted' AND last_error LIKE '%onnection refused%' AND waiting > 0 FROM cachegrid.stat_mirror",
	'refused connections are noticed');
write_next();
$proxy->tell('REFUSE', 0);
are_equal('after refused connections');
my $sets = sets_of('after refused connections');
is($sets->{$version}, $rows, 'what was written last is sent once');
is($sets->{ $version - 1 }, undef, 'and nothing that it has replaced');
%now = counts();
is($now{applied} - $before{applied}, $rows, 'four changes of a row are applied as one');
is($now{connects} - $before{connects}, 1, 'over one new connection');
is_logged_once($place, 'refused connections');

# A transaction that waits: the connection ends when its keys are removed
sql('CREATE TABLE through (id int PRIMARY KEY, version int);'
	  . "INSERT INTO through SELECT i, 1 FROM generate_series(1, $rows) i;"
	  . "SELECT cachegrid.mirror('through', 'net', mode => 'write-through')");
becomes_true(q{bool_and(state = 'live' AND waiting = 0) FROM cachegrid.stat_mirror}, 'write-through is mirrored');
foreach my $command ('DEL', 'SET')
{
	$version++;
	$proxy->tell('CUT', $command, 50);
	sql("UPDATE through SET version = $version");
	my @values = map { $redis->command('GET', "through:$_") } 1, $rows;
	is(scalar(grep { /version\D+$version\b/ } @values), 2, "cut behind 50 $command: the new values are there when the commit returns");
	is(sql(q{SELECT key, problem FROM cachegrid.verify('through', 'net')}), '', '... all of them');
}

$monitor->kill_kill;
is(sql('SELECT count(*) FROM cachegrid.mirror_parked'), 0, 'no key was given up');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11|TRAP/, 'nothing crashed');
$node->stop;
done_testing();
