# What Redis has of a row: JSON, a hash, chosen columns, what a function makes of it; for how
# long.

use strict;
use warnings;

use Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $mirror = Mirror->new('formats');
my $node = $mirror->node;
my $redis = $mirror->redis;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A hash as "field=value field=value", sorted.
sub fields
{
	my ($key) = @_;
	my @words = split(/\n/, $redis->command('HGETALL', $key));
	my @pairs;

	push @pairs, join('=', splice(@words, 0, 2)) while @words;
	return join(' ', sort @pairs);
}

sub settled { return $mirror->settle($_[0]); }

# A hash: a field for each column.
sql(<<'SQL');
SET TimeZone = 'Europe/Berlin';
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, made timestamptz, is_new boolean, data jsonb,
    tags text[], feel mood, secret text);
INSERT INTO item VALUES (1, 'a "lamp"', 19.90, '2026-01-02 03:04:05+00', true, '{"a": 1}', '{x,y}', 'good', 's'),
    (2, NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL);
SQL
sql(q{SELECT cachegrid.mirror('item', 'grid', format => 'hash', columns => '{id,name,price,made,is_new,data,tags,feel}')});
$mirror->is_equal('a table of hashes');
is(fields('item:1'),
	'data={"a": 1} feel=good id=1 is_new=true made=2026-01-02T03:04:05+00:00 name=a "lamp" price=19.90 tags=["x","y"]',
	'a field for each column that is chosen');
is($redis->command('HGET', 'item:1', 'price'), '19.90', 'any client can ask for one');
is(fields('item:2'), 'id=2 price=NaN', 'NULL is no field');
sql(q{UPDATE item SET price = 5, name = 'desk' WHERE id = 2});
settled('item');
is(fields('item:2'), 'id=2 name=desk price=5', 'a column that was NULL comes');
sql(q{UPDATE item SET name = NULL WHERE id = 2});
settled('item');
is(fields('item:2'), 'id=2 price=5', '... and goes');
sql(q{UPDATE item SET secret = 't', name = 'x', made = '2026-01-02 03:04:05+00', is_new = false, data = '[]', tags = '{}', feel = 'bad' WHERE id = 2});
settled('item');
is(fields('item:2'), 'data=[] feel=bad id=2 is_new=false made=2026-01-02T03:04:05+00:00 name=x price=5 tags=[]', 'all columns');
unlike($redis->command('HGETALL', 'item:1') . $redis->command('HGETALL', 'item:2'), qr/secret/, 'what is not chosen never leaves');
sql('DELETE FROM item WHERE id = 2');
settled('item');
is(fields('item:2'), '', 'a deleted row has none');
sql('ALTER TABLE item RENAME name TO title');
like($node->safe_psql('postgres', q{SELECT coalesce(max(last_error), '') FROM cachegrid.stat_mirror}), qr/^(?:|column "name".*)$/, 'renamed');
$node->poll_query_until('postgres', q{SELECT state = 'stopped' FROM cachegrid.stat_mirror});
is($mirror->value('none') . sql(q{SELECT last_error FROM cachegrid.stat_mirror}), 'column "name" of table "item" does not exist', 'a chosen column that is renamed stops the mirror');
sql('ALTER TABLE item RENAME title TO name');
$mirror->is_equal('its name again');

# What stands there already, and what others put there.
$redis->command('HSET', 'item:1', 'extra', '1');
is(sql(q{SELECT key, problem FROM cachegrid.verify('item', 'grid')}), 'item:1|differs', 'a field too many is found');
$redis->command('SET', 'item:1', 'text');
is(sql(q{SELECT key, problem FROM cachegrid.verify('item', 'grid')}), 'item:1|differs', '... and a value that is no hash');
sql(q{SELECT cachegrid.resync('item', 'grid')});
$mirror->is_equal('a resync mends it');
sql(q{SELECT cachegrid.unmirror('item', 'grid')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'), 'unmirrored');
is($redis->command('EXISTS', 'item:1'), '0', '... it is gone');
sql(q{SELECT cachegrid.mirror('item', 'grid')});
$mirror->is_equal('the same table as JSON');
$redis->command('DEL', 'item:1');
$redis->command('HSET', 'item:1', 'extra', '1');
is(sql(q{SELECT key, problem FROM cachegrid.verify('item', 'grid')}), 'item:1|differs', 'a hash where JSON should be');
sql('UPDATE item SET price = 6');
$mirror->is_equal('... which is overwritten');
sql(q{SELECT cachegrid.unmirror('item', 'grid')});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror');

# Many columns, large values, many rows; while slots move.
sql('CREATE TABLE wide (id int PRIMARY KEY, ' . join(', ', map { "c$_ int DEFAULT $_" } 1 .. 300) . ', t text)');
sql(q{INSERT INTO wide (id, t) SELECT i, repeat('x', i % 3000) FROM generate_series(1, 2000) i});
sql(q{SELECT cachegrid.mirror('wide', 'grid', format => 'hash')});
$mirror->is_equal('many columns', 'wide');
my $slot = $redis->slot_of('wide:7');
my $target = ($redis->owner_of($slot) + 1) % 3;
$redis->begin_migration($slot, $target);
sql('UPDATE wide SET c1 = NULL WHERE id = 7');
sql('UPDATE wide SET c1 = c1 + 1 WHERE id <> 7');
settled('wide');
$redis->move_keys($slot, $target);
sql('UPDATE wide SET c2 = NULL WHERE id = 7');
settled('wide');
is($redis->command('HGET', 'wide:7', 'c3'), '3', 'a hash follows its slot');
$redis->finish_migration($slot, $target);
sql('UPDATE wide SET c3 = NULL');
$mirror->is_equal('when the slot has moved', 'wide');
is($redis->command('HEXISTS', 'wide:7', 'c3') . $redis->command('HLEN', 'wide:8'), '0301', 'what was NULL is nowhere');
sql(q{SELECT cachegrid.unmirror('wide', 'grid')});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror');

# A hash that expires, and write-through.
sql(q{SELECT cachegrid.mirror('item', 'grid', format => 'hash', mode => 'write-through', ttl => '1000 seconds', ttl_jitter => 0.5)});
settled('item');
sql('INSERT INTO item (id, name) SELECT i, i FROM generate_series(11, 60) i');
my @ttls = map { $redis->command('PTTL', "item:$_") } 11 .. 60;
my ($least, $most) = (sort { $a <=> $b } @ttls)[ 0, -1 ];
ok($least >= 480_000 && $most <= 1_000_000, "times to live between half and whole: $least, $most");
cmp_ok($most - $least, '>', 100_000, '... and not all the same');
is($redis->command('HGET', 'item:12', 'name'), '12', 'a hash is there when COMMIT returns');
sql(q{UPDATE item SET name = 'new' WHERE id = 12});
is($redis->command('HGET', 'item:12', 'name'), 'new', '... and its new value');
cmp_ok($redis->command('PTTL', 'item:12'), '>', 400_000, '... which expires as well');
sql(q{SELECT cachegrid.unmirror('item', 'grid')});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror');

# A function of one's own.
sql(<<'SQL');
CREATE SCHEMA shapes;
CREATE FUNCTION shapes.short(r item) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT CASE WHEN r.price IS NOT NULL THEN r.id || '/' || r.price || '/' || current_user END$$;
CREATE FUNCTION shapes.object(item) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN
    IF $1.id = 13 THEN RAISE 'unlucky'; END IF;
    RETURN jsonb_build_object('n', $1.name); END$$;
CREATE FUNCTION shapes.several(item) RETURNS SETOF text LANGUAGE sql AS $$SELECT 'a'$$;
CREATE FUNCTION shapes.nothing(item) RETURNS void LANGUAGE sql AS $$SELECT$$;
DELETE FROM item WHERE id > 20;
SQL
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', transform => 'shapes.none')}), qr/function shapes\.none\(item\) does not exist/, 'no such function');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', transform => 'shapes.several')}), qr/cannot be a mirror's transform/, 'one that returns a set');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', transform => 'shapes.nothing')}), qr/cannot be a mirror's transform/, 'one that returns nothing');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', transform => 'shapes.short', format => 'hash')}), qr/a transform makes the whole value/, 'beside a format');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', transform => 'shapes.short', columns => '{id}')}), qr/a transform makes the whole value/, 'beside columns');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', transform => '"unclosed')}), qr/invalid name syntax/, 'what is no name');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', ttl => '1s', ttl_jitter => 2)}), qr/invalid value 2 of "ttl_jitter"/, 'a jitter of more than all');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', ttl => '1s', ttl_jitter => 'NaN')}), qr/invalid value nan of "ttl_jitter"/i, '... of no number');
like($mirror->told(q{SELECT cachegrid.mirror('item', 'grid', ttl_jitter => 0.5)}), qr/"ttl_jitter" without "ttl"/, '... of nothing');
sql(q{SET search_path = shapes, public; SELECT cachegrid.mirror('item', 'grid', transform => 'short')});
$mirror->is_equal('with a function of one\'s own');
is($mirror->value('item:1'), '1/6/postgres', 'Redis has what it makes of a row, as the owner of the table');
is($mirror->value('item:11'), '', '... and nothing where it makes NULL');
sql('UPDATE item SET price = 7 WHERE id = 11; UPDATE item SET price = NULL WHERE id = 1');
$mirror->is_equal('when that changes');
is($mirror->value('item:1') . $mirror->value('item:11'), '11/7/postgres', '... it comes and goes');
$redis->command('SET', 'item:1', 'stray');
is(sql(q{SELECT key, problem FROM cachegrid.verify('item', 'grid')}), 'item:1|surplus', 'a key of which it makes NULL is surplus');
sql(q{SELECT cachegrid.resync('item', 'grid')});
$mirror->is_equal('... and is removed by a resync');
sql(q{SELECT cachegrid.unmirror('item', 'grid')});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror');
sql(q{SELECT cachegrid.mirror('item', 'grid', transform => 'shapes.object')});
settled('item');
is($mirror->value('item:12'), '{"n": "new"}', 'a function that returns jsonb');
is(sql('SELECT key, error FROM cachegrid.mirror_parked'), 'item:13|unlucky', 'a row that it fails for is parked');
is(sql(q{SELECT key, problem FROM cachegrid.verify('item', 'grid')}), 'item:13|cannot be encoded: unlucky', '... and told');
sql('CREATE ROLE other; GRANT USAGE ON SCHEMA shapes TO other; ALTER TABLE item OWNER TO other; REVOKE EXECUTE ON FUNCTION shapes.object(item) FROM PUBLIC');
sql('UPDATE item SET price = 8');
ok($node->poll_query_until('postgres', q{SELECT last_error = 'permission denied for function shapes.object' FROM cachegrid.stat_mirror}), 'a function that the owner may not run');
sql('GRANT EXECUTE ON FUNCTION shapes.object(item) TO other');
settled('item');
is($mirror->value('item:12'), '{"n": "new"}', '... and may');

$node->stop;
done_testing();
