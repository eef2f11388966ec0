
# A Redis that is away, another's or none at all: one clear error, and nothing is
# left behind.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require FakeRedis;
require Mirror;

my $folder = PostgreSQL::Test::Utils::tempdir() . '/redis';
my $mirror = Mirror->without_redis(
	'errors',
	'cachegrid.redis_connect_timeout = 2000',
	'cachegrid.redis_timeout = 2000');
my $node = $mirror->node;
$node->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY, name text)');

# What mirror() says, with SQLSTATE, to a server of these options.
sub refusal
{
	my ($options, %mapping) = @_;
	my $mapped = join(', ', map { "$_ '$mapping{$_}'" } sort keys %mapping);
	my $stderr = '';

	$node->safe_psql('postgres', 'DROP SERVER IF EXISTS s CASCADE');
	$node->safe_psql('postgres',
		"CREATE SERVER s FOREIGN DATA WRAPPER cachegrid_redis OPTIONS ($options)");
	$node->safe_psql('postgres',
		"CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS ($mapped)")
	  if %mapping;
	$node->psql(
		'postgres', "\\set VERBOSITY verbose\nSELECT cachegrid.mirror('item', 's')",
		stderr => \$stderr);
	like($stderr, qr/^(\N*ERROR:  \w{5}: \N+\nDETAIL:  \N+\nHINT:  \N+\nLOCATION: \N*)?$/,
		'it says why, and what to do');
	return $stderr;
}

sub cluster_at { return "endpoints '" . join(',', @_) . "'"; }
sub single_at { return "mode 'single', endpoints '$_[0]'"; }

# Nobody there
my ($port) = RedisServer::free_ports(1);
like(
	refusal(single_at("127.0.0.1:$port")),
	qr/ERROR:  08006: could not connect to Redis node "127\.0\.0\.1:$port": Connection refused/,
	'nobody listens');
like(
	refusal(cluster_at("127.0.0.1:$port", "[::1]:$port")),
	qr/ERROR:  08006: could not connect to any Redis node\nDETAIL:  .*1:$port".*\[::1\]:$port"/,
	'all seeds are named');
like(
	refusal(single_at('no.such.host.invalid')),
	qr/ERROR:  08006: could not connect to Redis node "no\.such\.host\.invalid:6379"/,
	'no such host');

# Somebody else
my %strangers = (
	'a silent server' => [ '', qr/ERROR:  08006: Redis node "[^"]*" did not answer within 2000 ms/ ],
	'one that closes' => [ undef, qr/ERROR:  08006: lost the connection to Redis node/ ],
	'a web server' => ["HTTP/1.1 400 Bad Request\r\n\r\n"],
	'noise' => [ join('', map { chr($_ * 7 % 256) } 0 .. 999) ],
	'a length out of range' => ["\$99999999999999999999\r\nabc"],
	'a list without end' => ["*2147483647\r\n"],
	'a negative length' => ["\$-7\r\n"],
	'a number out of range' => [":99999999999999999999\r\n"]);
foreach my $stranger (sort keys %strangers)
{
	my ($answer, $expected) = @{ $strangers{$stranger} };
	my $fake = FakeRedis->new(sub { return $answer });

	like(
		refusal(single_at($fake->endpoint)),
		$expected // qr/ERROR:  08P01: unexpected reply from Redis node "127/, $stranger);
}

# A map that is none, or leads nowhere
my %maps = (
	'no list' => ":1\r\n",
	'an empty range' => "*1\r\n*0\r\n",
	'a slot that is none' => "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n\$1\r\na\r\n:1\r\n",
	'a range backwards' => "*1\r\n*3\r\n:5\r\n:1\r\n*2\r\n\$1\r\na\r\n:1\r\n",
	'a port that is none' => "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n\$1\r\na\r\n:65536\r\n",
	'a name that is none' => "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n\$3\r\na b\r\n:1\r\n",
	'no owner' => "*1\r\n*3\r\n:0\r\n:5\r\n*0\r\n");
foreach my $map (sort keys %maps)
{
	my $fake = FakeRedis->new(sub { return $maps{$map} });

	like(
		refusal(cluster_at($fake->endpoint)),
		qr/ERROR:  08P01: unexpected reply.*\nDETAIL:  It is no map of a Redis Cluster/,
		"map with $map");
}
foreach my $owner ("\$1\r\n?\r\n:1\r\n", "\$0\r\n\r\n:0\r\n")
{
	my $fake = FakeRedis->new(sub { return "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$owner" });

	like(
		refusal(cluster_at($fake->endpoint)),
		qr/ERROR:  55000: Redis node "[^"]*" knows no hash slot that is served/,
		'map with an owner whose address is not known');
}
foreach my $redirection ('MOVED 1 127.0.0.1:%d', 'MOVED 1 :%d', 'MOVED', 'ASK 1 127.0.0.1:%d')
{
	my $fake = FakeRedis->new(
		sub {
			my ($port, @words) = @_;
			return FakeRedis::one_node_map($port) if "@words" eq 'CLUSTER SLOTS';
			return sprintf("-$redirection\r\n", $port);
		});

	like(refusal(cluster_at($fake->endpoint)), qr/ERROR:  08006: Redis node/,
		"redirected for ever: $redirection");
}

# Not for us
my $locked = RedisServer->new(
	dir => "$folder/locked",
	password => 'opensesame',
	config => [ 'user open on nopass ~* +@all', 'user app on >opensesame ~* +@all', 'user weak on >opensesame ~* +@all -get' ]);
my %wrong = (password => 'opentahini');
like(refusal(single_at($locked->endpoint)),
	qr/ERROR:  28P01: Redis node "[^"]*" demands a password/, 'no password');
like(
	refusal(single_at($locked->endpoint), %wrong),
	qr/ERROR:  28P01: Redis node "[^"]*" refused the user name or the password/,
	'wrong password');
like(
	refusal(single_at($locked->endpoint), %wrong, username => 'app'),
	qr/ERROR:  28P01: Redis node "[^"]*" refused the user name or the password/,
	'wrong password of a user');
like(
	refusal(single_at($locked->endpoint), username => 'weak', password => 'opensesame'),
	qr/ERROR:  42501: Redis node "[^"]*" does not permit a command\nDETAIL:.*'get'/,
	'a user without rights');
my $parrot = FakeRedis->new(
	sub {
		my ($port, @words) = @_;
		return "-ERR unknown command, with args beginning with: @words[1..$#words]\r\n";
	});
like(refusal(single_at($parrot->endpoint), %wrong),
	qr/ERROR:  28P01:.*\nDETAIL:  The node said: ERR\n/, 'a server that repeats the password');

# Not of this kind
like(
	refusal(cluster_at($locked->endpoint), username => 'app', password => 'opensesame'),
	qr/ERROR:  55000: Redis node "[^"]*" is not part of a cluster\nDETAIL:  .*\nHINT:.*'single'/,
	'a single server as a cluster');
my $lonely = RedisServer->new(dir => "$folder/lonely", config => ['cluster-enabled yes']);
like(
	refusal(single_at($lonely->endpoint)),
	qr/ERROR:  55000: Redis node "[^"]*" is part of a cluster\nDETAIL:  .*\nHINT:.*'cluster'/,
	'a node of a cluster as a single server');
like(
	refusal(cluster_at($lonely->endpoint)),
	qr/ERROR:  55000: Redis node "[^"]*" knows no hash slot that is served/,
	'a cluster without slots');

# After all that
is($node->safe_psql('postgres', 'SELECT count(*) FROM cachegrid.stat_mirror'),
	0, 'no mirror came of it');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'item'::regclass"),
	0, 'nor a trigger');
my $log = slurp_file($node->logfile);
$log =~ s/^.*(statement|STATEMENT): .*$//mg;
unlike($log, qr/open(sesame|tahini)/, 'no password is in the log');
is(refusal(single_at($locked->endpoint), username => 'open'), '', 'a user without password');
$node->safe_psql('postgres', "SELECT cachegrid.unmirror('item', 's')");
is( refusal(single_at($locked->endpoint), username => 'app', password => 'opensesame'),
	'', 'the right user of the right server is taken');

done_testing();
