# A row that cannot be written leaves nothing older in Redis: its key is removed
# when it is parked.

use strict;
use warnings;

use Mirror;
use PostgreSQL::Test::Cluster;
use Test::More;

my $mirror = Mirror->new('withdrawn');
my $node = $mirror->node;
my $redis = $mirror->redis;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub parked { return sql('SELECT key, error, tries FROM cachegrid.mirror_parked ORDER BY key'); }

sql(q{CREATE TABLE item (id int PRIMARY KEY, name text);
	CREATE FUNCTION shape(one item) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF one.name = 'poison' THEN
			RAISE EXCEPTION 'no shape';
		END IF;
		RETURN one.name;
	END $$;
	INSERT INTO item SELECT i, 'first' FROM generate_series(1, 50) i;
	SELECT cachegrid.mirror('item', 'grid', transform => 'shape')});
$mirror->is_equal('at first');

# Encoding fails
sql(q{UPDATE item SET name = CASE id WHEN 7 THEN 'poison' ELSE 'second' END});
ok($mirror->settle('item'), 'a row fails among others');
is(parked(), 'item:7|no shape|1', '... and is parked');
is($redis->command('EXISTS', 'item:7'), '0', '... without an older value in Redis');
is($mirror->value('item:8'), 'second', '... and the others are there');
sql(q{UPDATE item SET name = 'third' WHERE id = 7});
ok($mirror->settle('item'), 'it can be encoded again');
is($mirror->value('item:7'), 'third', '... and is there');
is(parked(), '', '... and parked no more');

# The same found by a sweep, of each kind
foreach my $differences ('false', 'true')
{
	sql(q{UPDATE item SET name = 'poison' WHERE id = 9});
	ok($mirror->settle('item'), 'another row fails');
	$redis->command('SET', 'item:9', 'older');
	sql("SELECT cachegrid.resync('item', 'grid', differences => $differences)");
	ok( $node->poll_query_until('postgres',
			q{SELECT state = 'live' AND waiting = 0 FROM cachegrid.stat_mirror}),
		"resync, differences => $differences");
	RedisServer::wait_until('the sweep comes to the key',
		sub { $redis->command('EXISTS', 'item:9') eq '0' });
	is($redis->command('EXISTS', 'item:9'), '0', '... leaves no older value either');
	is(parked(), 'item:9|no shape|1', '... and parks it');
	sql(q{UPDATE item SET name = 'mended' WHERE id = 9});
	$mirror->is_equal('mended');
}

# Redis refuses
sql(q{CREATE TABLE hashed (id int PRIMARY KEY, name text);
	INSERT INTO hashed VALUES (1, 'first'), (2, 'first');
	SELECT cachegrid.mirror('hashed', 'grid', format => 'hash')});
$mirror->is_equal('hashes at first', 'hashed');
$redis->command('SET', 'hashed:1', 'no hash');
sql(q{UPDATE hashed SET name = 'second'});
ok($mirror->settle('hashed'), 'Redis refuses a key');
like(parked(), qr/^hashed:1\|WRONGTYPE .*\|1$/, '... which is parked');
is($redis->command('EXISTS', 'hashed:1'), '0', '... and away');
is($redis->command('HGET', 'hashed:2', 'name'), 'second', '... and the other is there');
sql(q{UPDATE hashed SET name = 'third'});
$mirror->is_equal('written again', 'hashed');
is(parked(), '', '... and parked no more');

$node->stop;
done_testing();
