# resync(differences => true) writes what differs, and nothing else.

use strict;
use warnings;

use Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 60000;
my $mirror = Mirror->new('differences');
my $node = $mirror->node;
my $redis = $mirror->redis;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# How many keys were set or deleted while this ran, and all was done that it asked for.
sub applied
{
	my ($table, $work) = @_;
	my $state = qq{FROM cachegrid.stat_mirror WHERE "table" = '$table'::regclass};
	my ($applied, $sweeps) = split(/\|/, sql("SELECT applied, sweeps $state"));

	$work->();
	$node->poll_query_until('postgres',
		"SELECT state = 'live' AND waiting = 0 AND sweeps > $sweeps $state")
	  or diag(sql("SELECT row_to_json(m) FROM (SELECT * $state) m"));
	return sql("SELECT applied - $applied $state");
}

sub mend { return sql("SELECT cachegrid.resync('$_[0]', 'grid', differences => true)"); }

sql(qq{CREATE TABLE item (id int PRIMARY KEY, name text);
	INSERT INTO item SELECT i, 'name ' || i FROM generate_series(1, $rows) i;
	SELECT cachegrid.mirror('item', 'grid')});
$mirror->is_equal('at first');
is(applied('item', sub { mend('item') }), '0', 'of equal rows none is written');

# Two rows, two keys without: one that a row could have, and one that none can.
sub spoil
{
	$redis->command('SET', 'item:5', 'of somebody else');
	$redis->command('DEL', "item:$rows");
	$redis->command('SET', 'item:1000000', 'surplus');
	$redis->command('SET', 'item:words', 'surplus');
	return;
}

spoil();
is(applied('item', sub { mend('item') }), '3', 'what differs, is missing or is surplus is mended');
is($mirror->problems('item'), '', 'Redis has what the table has');
is($redis->command('EXISTS', 'item:words'), '0', 'a key that no row can have is gone, too');

# Values of another kind, in a mirror of hashes
sql(qq{CREATE TABLE hashed (id int PRIMARY KEY, name text, note text);
	INSERT INTO hashed SELECT i, 'name', CASE WHEN i % 2 = 0 THEN 'note' END FROM generate_series(1, 100) i;
	SELECT cachegrid.mirror('hashed', 'grid', format => 'hash')});
$mirror->is_equal('hashes at first', 'hashed');
$redis->command('HSET', 'hashed:1', 'note', 'is NULL in the table');
$redis->command('SET', 'hashed:2', 'no hash');
$redis->command('HDEL', 'hashed:4', 'note');
is(applied('hashed', sub { mend('hashed') }), '3', 'hashes are compared field by field');
is($mirror->problems('hashed'), '', '... and mended');

# Writers beside it
my $writers = "$PostgreSQL::Test::Utils::tmp_check/differences.sql";
PostgreSQL::Test::Utils::append_to_file($writers,
	"\\set id random(1, $rows)\nUPDATE item SET name = name || '.' WHERE id = :id;\n");
spoil();
$node->safe_psql('postgres', 'SELECT 1');
my $changed = applied(
	'item',
	sub {
		mend('item');
		$node->command_ok([ 'pgbench', '-n', '-f', $writers, '-t', '200', '-c', '2', 'postgres' ],
			'rows change beside a comparison');
	});
cmp_ok($changed, '<=', 410, '... and rows that do not are left alone');
$mirror->is_equal('after that');

# It goes on as what it was, where it was
my $progress = 'FROM cachegrid.stat_mirror_progress';
spoil();
$changed = applied(
	'item',
	sub {
		mend('item');
		ok( $node->poll_query_until('postgres',
				"SELECT count(*) = 1 $progress WHERE phase = 'comparing the table'"),
			'a comparison shows how far it is');
		kill('TERM', $mirror->worker);
	});
cmp_ok($changed, '<=', 3, 'another worker writes only what differs, too');
$mirror->is_equal('after another worker');

# Who has everything be written does not trust what Redis shows
my $both = q{SELECT cachegrid.resync('item', 'grid', differences => %s);
	SELECT cachegrid.resync('item', 'grid', differences => %s)};
cmp_ok(applied('item', sub { sql('BEGIN; ' . sprintf($both, 'false', 'true') . '; COMMIT') }),
	'>=', $rows, 'a whole sweep stays one');
cmp_ok(applied('item', sub { sql('BEGIN; ' . sprintf($both, 'true', 'false') . '; COMMIT') }),
	'>=', $rows, 'a comparison becomes one');

# Nor may it, of keys that were lost meanwhile
$redis->node(0)->pause;
mend('item');
$redis->node(0)->resume;
$redis->node($_)->command('FLUSHALL') foreach 0 .. 2;
$mirror->is_equal('after a flush');

# What Redis does not answer is not taken for equal
spoil();
$changed = applied(
	'item',
	sub {
		mend('item');
		$node->poll_query_until('postgres',
			"SELECT count(*) = 1 $progress WHERE phase = 'comparing the table'");
		$redis->node(1)->kill9;
		$redis->node(1)->start;
	});
$mirror->is_equal('after a node was away');

my ($status, undef, $error) =
  $node->psql('postgres', "SELECT cachegrid.resync('item', 'grid', differences => NULL)");
isnt($status, 0, 'NULL is refused');
like($error, qr/differences/, '... by its name');

$node->stop;
done_testing();
