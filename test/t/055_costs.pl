# What exactness costs, and whom: keys that change while they are read, and no others.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_connections = 40
cachegrid.slots = 1048576
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION cachegrid;
CREATE TABLE product (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO product SELECT i, i FROM generate_series(1, 200) i;
SELECT cachegrid.cache_table('product');
CREATE TABLE other (id int);
SQL

my $everything = q{SELECT count(cachegrid.fetch('product:' || i)) FROM generate_series(1, 200) i};

# Keys that share a slot cost each other hits: one of these may, by chance.
sub about
{
	my ($is, $wanted, $name) = @_;

	cmp_ok($is, '>=', $wanted, $name);
	cmp_ok($is, '<=', $wanted + 1, '... and no others');
	return;
}

# Reads all of them, and tells which were no hits, and why.
sub misses
{
	my $before = counts();
	my @before = @{$before};

	is($node->safe_psql('postgres', $everything), '200', 'every key is there');
	my @after = @{ counts() };
	return join(' ', map { $after[$_] - $before[$_] } 0 .. $#after);
}

# misses, of which superseded, unsettled; values not kept
sub counts
{
	return [ split(/\|/, $node->safe_psql('postgres', q{SELECT misses, miss_superseded, miss_unsettled, refused FROM cachegrid.stat_cache WHERE cache = 'product'})) ];
}

# A transaction at its commit that waits for a standby which does not answer.
sub waiting_commit
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres');
	my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'};
	my $before = $node->safe_psql('postgres', $waiting);

	$session->query_until(qr/start/, "\\echo start\n$sql;\n");
	$node->poll_query_until('postgres', "SELECT ($waiting) = $before + 1") or die 'it does not wait';
	return $session;
}

misses();
is(misses(), '0 0 0 0', 'all are hits');

# Commits wait for a standby that is not there, or not any more.
sub wait_for_standby
{
	my ($name) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '$name'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('synchronous_standby_names') = '$name'") or die;
	return;
}

# Synchronous replication: from the stamp to the acknowledgement a key is served to nobody.
wait_for_standby('nobody');
my @waiting = map { waiting_commit("UPDATE product SET n = n + 1 WHERE id = $_") } 1 .. 7;
my @costs = split(/ /, misses());
about($costs[0], 7, 'commits that wait for a standby cost their keys');
about($costs[3], 7, 'which cannot be kept meanwhile');
wait_for_standby('');
$_->quit for @waiting;
misses();
is(misses(), '0 0 0 0', 'they are served again when it is acknowledged');

# A long transaction holds back the snapshots' horizon, while many commit to one key.
my $long = $node->background_psql('postgres');
$long->query_safe('BEGIN; INSERT INTO other VALUES (1)');
my $writers = '';
$writers .= "UPDATE product SET n = n + 1 WHERE id = 9;\n" for 1 .. 50;
$node->safe_psql('postgres', $writers);
about((split(/ /, misses()))[1], 1, 'fifty changes of a key beside a long transaction end that entry');
is(misses(), '0 0 0 0', '... which is kept again, while that goes on');

# More committers at once than a slot lists: who did not fit is not told from the long one.
wait_for_standby('nobody');
@waiting = map { waiting_commit("BEGIN; SELECT cachegrid.invalidate('product:20'); INSERT INTO other VALUES ($_); COMMIT") } 1 .. 7;
about((split(/ /, misses()))[0], 1, 'seven commits at once of one key cost that key');
wait_for_standby('');
$_->quit for @waiting;
about((split(/ /, misses()))[2], 1, '... also when they have ended, beside the long transaction');
$node->safe_psql('postgres', 'UPDATE product SET n = n + 1 WHERE id = 20');
misses();
is(misses(), '0 0 0 0', '... until the next change of it, which finds that they have');
$long->query_safe('UPDATE product SET n = n + 1 WHERE id BETWEEN 101 AND 110');
is(misses(), '0 0 0 0', 'what it changes costs nothing before it ends');
$long->query_safe('COMMIT');
about((split(/ /, misses()))[1], 10, '... and then what it changed');
$long->quit;
is(misses(), '0 0 0 0', '... once');

# A key that is written all the time, by many.
my $script = $node->basedir . '/hot.sql';
append_to_file($script, "UPDATE product SET n = n + 1 WHERE id = 1;\n");
my $hot = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '5', '-f', $script, $node->connstr('postgres') ], '>', \my $out, '2>', \my $err);
my ($rounds, $lost) = (0, 0);
while ($rounds < 40)
{
	@costs = split(/ /, misses());
	$lost += $costs[0];
	$rounds++;
}
$hot->finish;
my ($written) = $out =~ /transactions actually processed: (\d+)/;
cmp_ok($written, '>', 100, 'a key is written all the time');
cmp_ok($lost, '<=', 2 * $rounds, '... which costs that key, and no others but one, by chance');
note("$written changes, $lost misses in $rounds rounds of 200 reads");

$node->stop;
done_testing();
