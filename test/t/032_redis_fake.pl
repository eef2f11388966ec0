
# What Redis does rarely: it moves a slot and no map tells, and it ends a
# connection with commands on their way.

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
my $mirror = Mirror->without_redis('fake');
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub create_mirrored
{
	my ($table, $server, $options) = @_;

	sql("CREATE SERVER $server FOREIGN DATA WRAPPER cachegrid_redis OPTIONS ($options);"
		  . "CREATE TABLE $table (id int PRIMARY KEY, name text);"
		  . "INSERT INTO $table VALUES (1, 'first');"
		  . "SELECT cachegrid.mirror('$table', '$server')");
	return;
}

sub bulk { return '$' . length($_[0]) . "\r\n$_[0]\r\n"; }

# The answer to commands that are about no key; undef for all others.
sub answer_of_server
{
	my ($first, $second) = @_;

	return bulk("run_id:" . 'f' x 40 . "\r\n") if $first eq 'INFO';
	return "*2\r\n" . bulk('0') . "*0\r\n" if $first eq 'SCAN';
	return if $first ne 'CLIENT';
	return $second eq 'ID' ? ":1\r\n" : $second eq 'LIST' ? bulk("id=1 name=\n") : "+OK\r\n";
}

# A node says that a slot is elsewhere, and its map that it has all of them
my $elsewhere = RedisServer->new(dir => "$folder/elsewhere");
my $lonely = RedisServer->new(dir => "$folder/lonely", config => ['cluster-enabled yes']);
my $address = $elsewhere->host . ':' . $elsewhere->port;
my %slots = map { $_ => $lonely->command('CLUSTER', 'KEYSLOT', $_) } 'moved:1', 'cachegrid:owner:moved';
my $mover = FakeRedis->new(
	sub {
		my ($port, @words) = @_;

		return FakeRedis::one_node_map($port) if "@words" eq 'CLUSTER SLOTS';
		return answer_of_server(@words) // "-MOVED $slots{$words[1]} $address\r\n";
	});
create_mirrored('moved', 'mover', "endpoints '" . $mover->endpoint . "'");
$mirror->is_equal('a slot that moved, as no map tells', 'moved', 'mover');
like($elsewhere->command('GET', 'moved:1'), qr/"first"/, 'the key is where it was sent');
sql("UPDATE moved SET name = 'second'");
$mirror->is_equal('the same again', 'moved', 'mover');
like($elsewhere->command('GET', 'moved:1'), qr/"second"/, 'the new value, too');

# A connection ends before the command is carried out that was sent over it
my %values;
my $lost = 0;
my $quitter = FakeRedis->new(
	sub {
		my ($port, @words) = @_;
		my ($command, $key, $value) = @words;
		my $answer = answer_of_server(@words);

		return $answer if defined $answer;
		return if $command eq 'SET' && $value =~ /"last words"/ && !$lost++;
		$values{$key} = $value if $command eq 'SET';
		return "+OK\r\n" if $command eq 'SET';
		return ':' . (delete $values{$key} ? 1 : 0) . "\r\n" if $command eq 'DEL';
		return exists $values{$key} ? bulk($values{$key}) : "\$-1\r\n";
	});
create_mirrored('lost', 'quitter', "mode 'single', endpoints '" . $quitter->endpoint . "'");
$mirror->is_equal('a server without a fault', 'lost', 'quitter');
sql("UPDATE lost SET name = 'last words'");
$mirror->is_equal('a connection that ended', 'lost', 'quitter');

# Several commands that are carried out as one: what can go wrong in the middle
my %hashes;
my @queued;
my $units = 0;
my $in_unit = 0;
my $stumbler = FakeRedis->new(
	sub {
		my ($port, @words) = @_;
		my ($command, $key, @fields) = @words;
		my $answer = answer_of_server(@words);

		return $answer if defined $answer;
		if ($command eq 'MULTI')
		{
			@queued = ();
			$units++;
			$in_unit = 1;
			return "+OK\r\n";
		}
		return "+OK\r\n" if $command eq 'SET';
		return ':' . (delete $hashes{$key} ? 1 : 0) . "\r\n" if $command eq 'DEL' && !$in_unit;
		if ($command eq 'DEL' || $command eq 'HSET')
		{
			return if $units == 2 && $command eq 'DEL';
			return "-OOM command not allowed\r\n" if $units == 3 && $command eq 'HSET';
			push @queued, [@words];
			return "+QUEUED\r\n";
		}
		if ($command eq 'EXEC')
		{
			$in_unit = 0;
			return "-EXECABORT Transaction discarded\r\n" if $units == 3;
			return "*2\r\n:1\r\n-OOM script tried\r\n" if $units == 4;
			return if $units == 5;
			return "*2\r\n:1\r\n-WRONGTYPE of a sort\r\n" if grep { "@{$_}" =~ /cursed/ } @queued;
			%hashes = ();
			$hashes{ $_->[1] } = [ @{$_}[ 2 .. $#{$_} ] ] foreach grep { $_->[0] eq 'HSET' } @queued;
			return "*2\r\n:1\r\n:1\r\n";
		}
		my @all = @{ $hashes{$key} // [] };
		return $command eq 'HGETALL' ? '*' . @all . "\r\n" . join('', map { bulk($_) } @all) : "\$-1\r\n";
	});
my $stumbled = "mode 'single', endpoints '" . $stumbler->endpoint . "'";
sql("CREATE SERVER stumbler FOREIGN DATA WRAPPER cachegrid_redis OPTIONS ($stumbled);"
	  . "CREATE TABLE hashed (id int PRIMARY KEY, name text, empty text);"
	  . "INSERT INTO hashed VALUES (1, 'first');"
	  . "SELECT cachegrid.mirror('hashed', 'stumbler', format => 'hash')");
$mirror->is_equal('a hash that is made in one go', 'hashed', 'stumbler');
sql("UPDATE hashed SET name = 'second'");
$mirror->is_equal('one that is lost, refused, failed, and lost again before it is made', 'hashed', 'stumbler');
cmp_ok(sql(q{SELECT retries FROM cachegrid.stat_mirror WHERE server = 'stumbler'}), '>=', 4, '... each time it was sent again');
sql("UPDATE hashed SET name = 'cursed'");
ok($node->poll_query_until('postgres', q{SELECT parked = 1 AND last_error LIKE '%WRONGTYPE of a sort%' FROM cachegrid.stat_mirror WHERE server = 'stumbler'}), 'a command of them that is refused parks the key');
sql("UPDATE hashed SET name = 'third'");
$mirror->is_equal('... until its row changes', 'hashed', 'stumbler');
is(sql('SELECT count(*) FROM cachegrid.mirror_parked'), '0', '... and it is parked no longer');

$node->stop;
done_testing();
