
# Servers that are not what they should be, that change, and what is shown
# of them; mode invalidate.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('servers');
my $node = $mirror->node;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $single = RedisServer->new(dir => "$folder/single", password => 'sesame');

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

# The statement fails with this message, and leaves no mirror behind.
sub fails_with
{
	my ($statement, $message, $name) = @_;
	my ($code, $output, $error) = $node->psql('postgres', $statement);

	isnt($code, 0, "$name: fails");
	like($error, $message, "$name: says why");
	unlike($error, qr/sesame|wrong-secret/, "$name: keeps the secret");
	is(sql('SELECT count(*) FROM cachegrid.mirrors'), '0', "$name: leaves nothing");
	return;
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 1000) i");
sql("CREATE SERVER one FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'single', endpoints '"
	  . $single->endpoint
	  . "')");
sql("CREATE SERVER no_cluster FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '"
	  . $single->endpoint
	  . "')");

# Without a password, with a wrong one, with the right one
fails_with("SELECT cachegrid.mirror('item', 'one')",
	qr/NOAUTH|Authentication|password/i, 'no password');
sql("CREATE USER MAPPING FOR PUBLIC SERVER one OPTIONS (password 'wrong-secret')");
fails_with("SELECT cachegrid.mirror('item', 'one')",
	qr/WRONGPASS|password|credentials/i, 'wrong password');
sql("CREATE USER MAPPING FOR PUBLIC SERVER no_cluster OPTIONS (password 'sesame')");
fails_with("SELECT cachegrid.mirror('item', 'no_cluster')", qr/cluster/i, 'no cluster');
sql("ALTER USER MAPPING FOR PUBLIC SERVER one OPTIONS (SET password 'sesame')");
sql("SELECT cachegrid.mirror('item', 'one')");
$mirror->is_equal('a single server', 'item', 'one');
is($single->command('GET', 'item:1'), '{"id":1,"name":"first"}', 'it has the rows');

# The password changes under the worker
$single->command('CONFIG', 'SET', 'requirepass', 'sesame2');
$single->{password} = 'sesame2';
$single->command('CLIENT', 'KILL', 'TYPE', 'normal');
sql("UPDATE item SET name = 'second' WHERE id = 1");
ok( $node->poll_query_until(
		'postgres', "SELECT state = 'interrupted' FROM cachegrid.stat_mirror"),
	'a password that does not fit any more interrupts');
sql("ALTER USER MAPPING FOR PUBLIC SERVER one OPTIONS (SET password 'sesame2')");
$mirror->is_equal('after the mapping has followed', 'item', 'one');

# The server is another one now
my $other = RedisServer->new(dir => "$folder/other", password => 'sesame2');
sql("ALTER SERVER one OPTIONS (SET endpoints '" . $other->endpoint . "')");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM cachegrid.verify('item', 'one')"),
	'another server is filled');
sql("UPDATE item SET name = 'third' WHERE id = 2");
$mirror->is_equal('after the server was altered', 'item', 'one');
is($other->command('GET', 'item:2'), '{"id":2,"name":"third"}', 'it is written to');
is($single->command('GET', 'item:2'), '{"id":2,"name":"first"}', 'the old one is not');

# It is restarted, and has nothing, while nobody writes: that is known before the next
# change is there.  Some of these a look now and then would have found in time, too
foreach my $round (1 .. 3)
{
	my $place = -s $node->logfile;

	$other->stop;
	$other->start;
	sql("UPDATE item SET name = 'round $round' WHERE id = 3");
	RedisServer::wait_until('the change is there',
		sub { $other->command('GET', 'item:3') =~ /round $round/ });
	is($mirror->logged('flushed its masters', $place), 1, "restart $round is noticed at once");
	$mirror->is_equal("restart $round", 'item', 'one');
}

# A column of the key is renamed, a restored copy may not write
sql('ALTER TABLE item RENAME id TO "number"');
sql("INSERT INTO item VALUES (5000, 'renamed')");
$mirror->is_equal('after a rename', 'item', 'one');
is($other->command('GET', 'item:5000'), '{"number":5000,"name":"renamed"}',
	'keys go on, values have the new name');
sql('CREATE DATABASE copy');
$node->run_log(
	[
		'bash', '-c',
		'pg_dump -h "$1" -p "$2" postgres | psql -q -h "$1" -p "$2" copy', 'copy',
		$node->host, $node->port
	]);
is($node->safe_psql('copy', 'SELECT relation, server, prefix FROM cachegrid.mirrors'),
	'item|one|item', 'dump and restore keep the mirror');
$node->safe_psql('copy', "UPDATE item SET name = 'copy'");
ok( $node->poll_query_until('copy',
		"SELECT state = 'stopped' AND last_error ~ 'belongs to another'"
		  . ' FROM cachegrid.stat_mirror'),
	'but the copy does not write');
$mirror->is_equal('beside a copy', 'item', 'one');

# Mode invalidate: a table without a key, several rows of which have one
sql("CREATE TABLE event (page text, at timestamptz DEFAULT now())");
sql("SELECT cachegrid.mirror('event', 'one', 'page:{page}', mode => 'invalidate')");
ok($mirror->settle('event'), 'mode invalidate settles');
$other->command('SET', "page:$_", 'rendered') foreach 'a', 'b', 'c';
sql("INSERT INTO event VALUES ('a'), ('a')");
ok($mirror->settle('event'), 'it settles again');
is($other->command('GET', 'page:a'), '', 'a changed key is removed');
is($other->command('GET', 'page:b'), 'rendered', 'another is not');
sql("UPDATE event SET page = 'b'");
ok($mirror->settle('event'), 'and again');
is($other->command('GET', 'page:b'), '', 'the new key of a row is removed, too');
sql('TRUNCATE event');
ok( $node->poll_query_until('postgres',
		"SELECT sweeps = 2 AND state = 'live' FROM cachegrid.stat_mirror"
		  . " WHERE \"table\" = 'event'::regclass"),
	'TRUNCATE sweeps');
is($other->command('GET', 'page:c'), '', 'and removes everything');
# The server goes before its mirrors
sql('DROP SERVER one CASCADE');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 2 FROM cachegrid.stat_mirror"
		  . " WHERE state = 'interrupted' AND last_error ~ 'does not exist'"),
	'a dropped server interrupts');
sql("SELECT cachegrid.unmirror('event', 'one')");
sql('DROP TABLE item');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.mirrors'),
	'its mirrors can be ended');

unlike(slurp_file($node->logfile), qr/PANIC|signal 11/, 'nothing crashed');

done_testing();
