
# The client against whatever a Redis node can do wrong: each failure passes, or is
# got around, and what was written meanwhile is in Redis then, and is right.

use strict;
use warnings;

use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FakeRedis;
use Mirror;
use RedisServer;

my $mirror = Mirror->without_redis(
	'failures',
	'cachegrid.redis_connect_timeout = 1000',
	'cachegrid.redis_timeout = 1000');
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A table of the server's name, mirrored there, with a row for each of some slots.
sub create_mirrored
{
	my ($name, $options, $more) = @_;

	$more //= '';
	sql("CREATE SERVER $name FOREIGN DATA WRAPPER cachegrid_redis OPTIONS ($options);"
		  . "CREATE TABLE $name (id int PRIMARY KEY, name text);"
		  . "INSERT INTO $name SELECT i, 'first' FROM generate_series(1, 20) i;"
		  . "SELECT cachegrid.mirror('$name', '$name'$more)");
	return;
}

sub is_equal
{
	my ($table, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$mirror->is_equal($name, $table, $table);
	return;
}

# How long an answer is waited for.
sub set_redis_timeout
{
	my ($milliseconds) = @_;

	sql("ALTER SYSTEM SET cachegrid.redis_timeout = $milliseconds");
	sql('SELECT pg_reload_conf()');
	return;
}

sub at { return join(',', map { $_->endpoint } @_); }

# Replies to a command that do not carry it out, so often; then it is carried out
my $single = FakeRedis->scripted;
my @replies = (
	[ 'TRYAGAIN', "-TRYAGAIN Multiple keys request during rehashing of slot\r\n", 3 ],
	[ 'CLUSTERDOWN', "-CLUSTERDOWN The cluster is down\r\n", 3 ],
	[ 'READONLY', "-READONLY You can't write against a read only replica.\r\n", 3 ],
	[ 'LOADING', "-LOADING Redis is loading the dataset in memory\r\n", 3 ],
	[ 'MASTERDOWN', "-MASTERDOWN Link with MASTER is down\r\n", 3 ],
	[ 'OOM', "-OOM command not allowed when used memory > 'maxmemory'.\r\n", 3 ],
	[ 'a LOADING that takes its time', "-LOADING Redis is loading the dataset in memory\r\n", 400 ],
	[ 'garbage', join('', map { chr($_ * 7 % 256) } 0 .. 999), 2 ],
	[ 'an empty line', "\r\n", 2 ],
	[ 'a bulk string longer than 512 MB', "\$536870913\r\n", 2 ],
	[ 'a bulk string of more than 2^63 bytes', "\$9223372036854775808\r\nabc", 2 ],
	[ 'a bulk string of 512 MB of which little comes', "\$536870912\r\nabc", 1, 'mute' ],
	[ 'an array of more than a million elements', "*1048577\r\n", 2 ],
	[ 'an array of more than 2^31 elements', "*2147483648\r\n", 2 ],
	[ 'an array of which little comes', "*1000000\r\n+OK\r\n", 1, 'mute' ],
	[ 'arrays within arrays', "*1\r\n" x 100, 2 ],
	[ 'half a reply, and the end', "+O", 2, 'close' ],
	[ 'half a reply, and silence', "+O", 1, 'mute' ],
	[ 'silence', '', 1, 'mute' ],
	[ 'a closed connection', '', 3, 'close' ],
	[ 'a reply of another kind', ":1\r\n", 2 ],
	[ 'nothing', "\$-1\r\n", 2 ],
	[ 'a list', "*1\r\n+OK\r\n", 2 ]);
create_mirrored('replies', "mode 'single', endpoints '" . $single->endpoint . "'");
is_equal('replies', 'a server without a fault');
foreach my $reply (@replies)
{
	my ($name, $bytes, $times, @then) = @$reply;

	my $retries = sql(q{SELECT retries FROM cachegrid.stat_mirror WHERE server = 'replies'});

	$single->tell('ANSWER', 'SET', $times, $bytes, @then);
	sql("UPDATE replies SET name = '$name'");
	is_equal('replies', $name);
	cmp_ok(sql(q{SELECT retries FROM cachegrid.stat_mirror WHERE server = 'replies'}),
		'>', $retries, "$name: it was sent again");
}
is(sql(q{SELECT count(*) FROM cachegrid.mirror_parked}), 0, 'no key was given up');
my $connects = q{SELECT connects FROM cachegrid.stat_redis WHERE server = 'replies'};
my $before_surplus = sql($connects);
$single->tell('ANSWER', 'SET', 1, "+OK\r\n", 'besides');
sql("UPDATE replies SET name = 'surplus'");
is_equal('replies', 'a reply too many');
ok($node->poll_query_until('postgres', "SELECT ($connects) > $before_surplus"),
	'... for which the connection is given up');

# Several commands that are carried out as one: EXEC says what it should not
my @units = (
	[ 'EXEC that says OK', "+OK\r\n" ],
	[ 'EXEC that says nothing', "\$-1\r\n" ],
	[ 'EXEC that says a number', ":2\r\n" ],
	[ 'EXEC with a result too few', "*1\r\n:1\r\n" ],
	[ 'EXEC with a result too many', "*3\r\n:1\r\n:1\r\n:1\r\n" ]);
create_mirrored('units', "mode 'single', endpoints '" . $single->endpoint . "'", ", format => 'hash'");
is_equal('units', 'a server that carries units out');
foreach my $unit (@units)
{
	my ($name, $bytes) = @$unit;

	# A column that becomes NULL has the hash made anew.
	sql("UPDATE units SET name = 'full'");
	is_equal('units', "before $name");
	$single->tell('ANSWER', 'EXEC', 2, $bytes);
	sql('UPDATE units SET name = NULL');
	is_equal('units', $name);
}
$single->tell('ANSWER', 'MULTI', 2, ":1\r\n");
sql("UPDATE units SET name = 'full'");
sql('UPDATE units SET name = NULL');
is_equal('units', 'MULTI that says a number');

# Two nodes that send everybody to each other
my ($here, $there) = map { FakeRedis->scripted } 1 .. 2;
$there->tell('MAP', FakeRedis::one_node_map($here->port));
create_mirrored('loops', "endpoints '" . at($here, $there) . "'");
is_equal('loops', 'two nodes that agree');
foreach my $pair ([ $here, $there ], [ $there, $here ])
{
	my ($from, $to) = @$pair;

	$from->tell('ANSWER', 'SET', 1_000_000, '-MOVED <slot> ' . $to->endpoint . "\r\n");
}
sql("UPDATE loops SET name = 'moved'");
ok( $node->poll_query_until('postgres',
		q{SELECT last_error LIKE '%redirects commands again and again%' FROM cachegrid.stat_mirror}
		  . q{ WHERE server = 'loops'}),
	'a loop of MOVED is called trouble');
cmp_ok($there->tell('COUNT', 'SET'), '>', 3, 'both were asked');
$here->tell('ANSWER', 'SET', 0, '');
is_equal('loops', 'a loop of MOVED that ends');

# An ASK leads to an ASK; then to nowhere, to nobody, and to the one that said it
my ($first, $second, $third) = map { FakeRedis->scripted } 1 .. 3;
create_mirrored('chains', "endpoints '" . at($first) . "'");
is_equal('chains', 'a node without a fault');
$first->tell('ANSWER', 'SET', 5, '-ASK 7 ' . $second->endpoint . "\r\n");
$second->tell('ANSWER', 'SET', 5, '-ASK 7 ' . $third->endpoint . "\r\n");
sql("UPDATE chains SET name = 'asked' WHERE id = 1");
is_equal('chains', 'a chain of ASK');
cmp_ok($second->tell('COUNT', 'ASKING'), '>', 0, 'the first one is followed, with ASKING');
is($third->tell('COUNT', 'SET'), 0, 'and not the second one');
foreach my $ask ('7', '7 nowhere', '7 127.0.0.1:0', '7 ?:7000', '7 127.0.0.1:99999', '7 ' . $first->endpoint)
{
	$first->tell('ANSWER', 'SET', 3, "-ASK $ask\r\n");
	sql("UPDATE chains SET name = 'ASK $ask'");
	is_equal('chains', "ASK $ask");
	$first->tell('ANSWER', 'SET', 3, "-MOVED $ask\r\n");
	sql("UPDATE chains SET name = 'MOVED $ask'");
	is_equal('chains', "MOVED $ask");
}

# The node that all slots belong to has another address
my ($teller, $before) = map { FakeRedis->scripted } 1 .. 2;
$teller->tell('MAP', FakeRedis::map_of([ 0, 16383, '127.0.0.1', $before->port ]));
create_mirrored('moves', "endpoints '" . at($teller) . "'");
is_equal('moves', 'a node that another one tells of');
my $after = FakeRedis->scripted;
$teller->tell('MAP', FakeRedis::map_of([ 0, 16383, '127.0.0.1', $after->port ]));
undef $before;
sql("UPDATE moves SET name = 'elsewhere'");
is_equal('moves', 'a node whose address changed');
cmp_ok($after->tell('COUNT', 'SET'), '>=', 20, 'it has all of them at its new one');

# All seeds are gone, and a node that was told of has trouble then
my ($seed, $lasting) = map { FakeRedis->scripted } 1 .. 2;
$seed->tell('MAP', FakeRedis::map_of([ 0, 16383, '127.0.0.1', $lasting->port ]));
create_mirrored('seeds', "endpoints '" . at($seed) . "'");
is_equal('seeds', 'a seed that tells of another node');
undef $seed;
sql("UPDATE seeds SET name = 'orphan'");
ok( $node->poll_query_until('postgres',
		q{SELECT waiting = 0 FROM cachegrid.stat_mirror WHERE server = 'seeds'}),
	'without any seed it goes on');
like($lasting->tell('GET', 'seeds:1'), qr/orphan/, '... with what was known');
$lasting->tell('ANSWER', 'SET', 400, "-CLUSTERDOWN The cluster is down\r\n");
sql("UPDATE seeds SET name = 'trouble'");
ok( $node->poll_query_until('postgres',
		q{SELECT state = 'interrupted' FROM cachegrid.stat_mirror WHERE server = 'seeds'}),
	'without any seed there is trouble');
$lasting->tell('ANSWER', 'SET', 0, '');
ok( $node->poll_query_until('postgres',
		q{SELECT state = 'live' AND waiting = 0 FROM cachegrid.stat_mirror WHERE server = 'seeds'}),
	'and it passes');
like($lasting->tell('GET', 'seeds:1'), qr/trouble/, 'without any seed it is got over');

# A node that does not know where the owner of slots is, ":0", while another one does
my ($ignorant, $informed) = map { FakeRedis->scripted } 1 .. 2;
$ignorant->tell('MAP',
	FakeRedis::map_of([ 0, 8191, '', 0 ], [ 8192, 16383, '127.0.0.1', $ignorant->port ]));
my $whole = FakeRedis::map_of(
	[ 0, 8191, '127.0.0.1', $informed->port ],
	[ 8192, 16383, '127.0.0.1', $ignorant->port ]);
$informed->tell('MAP', $whole);
create_mirrored('addresses', "endpoints '" . at($ignorant, $informed) . "'");
sql("UPDATE addresses SET name = 'second'");
is_equal('addresses', 'an owner whose address one node does not know');
cmp_ok($_->tell('COUNT', 'SET'), '>', 5, 'both have their share') foreach $ignorant, $informed;
$informed->tell('MAP',
	FakeRedis::map_of(
		[ 0, 4095, '?', 7000 ],
		[ 4096, 8191, '', 0 ],
		[ 8192, 16383, '127.0.0.1', $ignorant->port ]));
$ignorant->tell('ANSWER', 'SET', 1, '', 'close');
sql("UPDATE addresses SET name = 'third'");
ok( $node->poll_query_until('postgres',
		q{SELECT waiting = 0 FROM cachegrid.stat_mirror WHERE server = 'addresses'}),
	'the map is asked for anew');
sql("UPDATE addresses SET name = 'fourth'");
ok( $node->poll_query_until('postgres',
		q{SELECT state = 'interrupted' AND last_error LIKE '%no Redis node serves hash slot%'}
		  . q{ FROM cachegrid.stat_mirror WHERE server = 'addresses'}),
	'an owner whose address nobody knows is trouble');
$informed->tell('MAP', $whole);
is_equal('addresses', 'until somebody knows it');

# Nodes that name themselves by no address, and by one of IPv6
foreach my $host ('', '::1')
{
	my $name = $host eq '' ? 'nameless' : 'six';
	my $fake = eval { FakeRedis->scripted($host || '127.0.0.1') };

	SKIP:
	{
		skip 'there is no IPv6 here', 4 unless $fake;
		$fake->tell('MAP', FakeRedis::map_of([ 0, 16383, $host, $fake->port ]));
		create_mirrored($name, "endpoints '" . at($fake) . "'");
		is_equal($name, "host '$host'");
		$fake->tell('ANSWER', 'SET', 2, "-MOVED 7 $host:" . $fake->port . "\r\n");
		sql("UPDATE $name SET name = 'moved'");
		is_equal($name, "MOVED to host '$host'");
	}
}

# A round trip that is slow is among the slowest, and not in the middle
my $slow = FakeRedis->scripted;
create_mirrored('slow', "mode 'single', endpoints '" . $slow->endpoint . "'");
is_equal('slow', 'a server that is quick');
foreach my $round (1 .. 20)
{
	sql("UPDATE slow SET name = 'round $round' WHERE id = 1");
}
$slow->tell('ANSWER', 'SET', 1, '', 'late');
sql("UPDATE slow SET name = 'late' WHERE id = 1");
is_equal('slow', 'and once is not');
ok( $node->poll_query_until('postgres',
		'SELECT round_trip_p99_ms BETWEEN 400 AND 1000 AND round_trip_p50_ms < 100 AND redirects = 0'
		  . q{ FROM cachegrid.stat_redis WHERE server = 'slow'}),
	'the percentiles of round trips tell')
  or diag(sql(q{SELECT row_to_json(s) FROM cachegrid.stat_redis s WHERE server = 'slow'}));
cmp_ok(sql(q{SELECT redirects FROM cachegrid.stat_redis WHERE server = 'chains'}),
	'>', 20, 'and redirections are counted');

# An outage: Redis is tried at longer and longer intervals, and that is logged once
my $flaky = FakeRedis->scripted;
create_mirrored('backoff', "mode 'single', endpoints '" . $flaky->endpoint . "'");
is_equal('backoff', 'before an outage');
foreach my $outage ('an outage', 'another one')
{
	my $place = -s $node->logfile;
	my $before = $flaky->tell('COUNT', 'INFO');

	# It ends every connection at its first question, and the one that stands.
	$flaky->tell('ANSWER', 'INFO', 1_000_000, '', 'close');
	$flaky->tell('ANSWER', 'SET', 1, '', 'close');
	sql("UPDATE backoff SET name = '$outage'");
	RedisServer::wait_until("$outage lasts", sub { $flaky->tell('COUNT', 'INFO') >= $before + 6 });
	my @times = split(/ /, $flaky->tell('TIMES', 'INFO'));
	my @tries = @times[ $before .. $before + 5 ];
	my @gaps = map { $tries[$_] - $tries[ $_ - 1 ] } 1 .. 5;

	# They are twice as long as those before, of 0.1 s at first, or up to half less.
	cmp_ok($gaps[0], '<', 1.5, "$outage: it is tried again soon");
	cmp_ok($gaps[-1], '>', 0.8 * 0.95, "$outage: and later and later") or diag("@gaps");
	cmp_ok($gaps[-1] + $gaps[-2], '>', 2 * min(@gaps[ 0, 1 ]), "$outage: the intervals grow");
	is($mirror->logged('is interrupted', $place), 1, "$outage: one line when it begins");
	$flaky->tell('ANSWER', 'INFO', 0, '');
	is_equal('backoff', "after $outage");
	is($mirror->logged('goes on', $place), 1, "$outage: and one when it ends");
}

# A server that keeps us waiting, too: it is left alone for longer than that took
set_redis_timeout(400);
my $before_silence = $flaky->tell('COUNT', 'INFO');
$flaky->tell('ANSWER', 'INFO', 1_000_000, '', 'mute');
$flaky->tell('ANSWER', 'SET', 1, '', 'close');
sql("UPDATE backoff SET name = 'silence'");
RedisServer::wait_until('silence lasts',
	sub { $flaky->tell('COUNT', 'INFO') >= $before_silence + 3 });
my @silent = (split(/ /, $flaky->tell('TIMES', 'INFO')))[ $before_silence .. $before_silence + 2 ];
cmp_ok($silent[$_] - $silent[ $_ - 1 ], '>', 5 * 0.4 * 0.95, "a silent server is left alone, $_")
  foreach 1, 2;
set_redis_timeout(1000);
$flaky->tell('ANSWER', 'INFO', 0, '');
is_equal('backoff', 'after the silence');

unlike(slurp_file($node->logfile), qr/PANIC|signal 11/, 'nothing crashed');
$node->stop;
done_testing();
