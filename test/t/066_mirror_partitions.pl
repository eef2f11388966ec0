
# A partitioned table is mirrored as a whole, whatever becomes of its rows and of its
# partitions.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('partitions');
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The server's answer to statements that may fail, or warn.
sub told
{
	my ($statements) = @_;
	my ($out, $err);

	$node->psql('postgres', $statements, stdout => \$out, stderr => \$err);
	return $err;
}

sub key_count
{
	my ($table) = @_;
	my $count = 0;

	$count += () = $_->command('KEYS', "$table:*") =~ /^\Q$table\E:/mg foreach $mirror->redis->nodes;
	return $count;
}

# Redis has what the table has: as verify says, by the number of keys, and of these.
sub is_there
{
	my ($name, $table, %values) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$mirror->is_equal($name, $table);
	is(key_count($table), sql("SELECT count(*) FROM $table"), "$name: there is a key for each row");
	is($mirror->value($_), $values{$_}, "$name: $_") foreach sort keys %values;
	return;
}

sub row
{
	my ($region, $id, $note) = @_;

	return qq({"region":"$region","id":$id,"note":"$note"});
}

sub stat_of
{
	my ($column, $table) = @_;

	return sql(qq{SELECT $column FROM cachegrid.stat_mirror WHERE "table" = '$table'::regclass});
}

# All kinds: with other columns, with partitions of their own, for the rest
sql(<<'EOS');
CREATE TABLE sale (region text, gone int, id int, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
ALTER TABLE sale DROP COLUMN gone;
CREATE TABLE sale_a PARTITION OF sale FOR VALUES IN ('a');
CREATE TABLE sale_b (note text, less int, more int, id int NOT NULL, region text NOT NULL);
ALTER TABLE sale_b DROP COLUMN less, DROP COLUMN more;
ALTER TABLE sale ATTACH PARTITION sale_b FOR VALUES IN ('b');
CREATE TABLE sale_c PARTITION OF sale FOR VALUES IN ('c', 'd') PARTITION BY RANGE (id);
CREATE TABLE sale_c1 PARTITION OF sale_c FOR VALUES FROM (MINVALUE) TO (1000);
CREATE TABLE sale_c2 (id int NOT NULL, region text NOT NULL, note text);
ALTER TABLE sale_c ATTACH PARTITION sale_c2 FOR VALUES FROM (1000) TO (MAXVALUE);
CREATE TABLE sale_rest PARTITION OF sale DEFAULT;
INSERT INTO sale SELECT r, i, 'old' FROM generate_series(1, 7000) i, unnest('{a,b,c,d,e}'::text[]) r;
SELECT cachegrid.mirror('sale', 'grid');
EOS
is_there('backfill', 'sale',
	map { ("sale:7000:$_" => row($_, 7000, 'old'), "sale:1:$_" => row($_, 1, 'old')) } qw(a b c d e));
is(stat_of('applied', 'sale'), 35000, 'each row was written once');
is(sql('SELECT string_agg(relation::text, NULL) FROM cachegrid.mirrors'), 'sale', 'the mirror is the root\'s');

# Rows of the root, of a partition, of one in between
sql(q{INSERT INTO sale VALUES ('a', 9001, 'root'); INSERT INTO sale_b (region, id, note) VALUES ('b', 9002, 'leaf');}
	  . q{ INSERT INTO sale_c VALUES ('d', 9003, 'between'); INSERT INTO sale VALUES ('z', 9004, 'rest')});
sql(q{UPDATE sale SET note = 'new' WHERE id = 1; UPDATE sale_c2 SET note = 'two' WHERE id = 7000});
sql(q{DELETE FROM sale WHERE id = 2; DELETE FROM sale_b WHERE id = 3});
is_there('changes', 'sale',
	'sale:9001:a' => row('a', 9001, 'root'),
	'sale:9002:b' => row('b', 9002, 'leaf'),
	'sale:9003:d' => row('d', 9003, 'between'),
	'sale:9004:z' => row('z', 9004, 'rest'),
	'sale:1:b' => row('b', 1, 'new'),
	'sale:1:c' => row('c', 1, 'new'),
	'sale:7000:d' => row('d', 7000, 'two'),
	'sale:2:e' => '',
	'sale:3:b' => '',
	'sale:3:a' => row('a', 3, 'old'));
cmp_ok(stat_of('applied', 'sale'), '<', 35100, 'only what was touched is written');

# Rows that move, within a transaction, too, and back
sql(q{UPDATE sale SET region = 'b' WHERE id = 9001; UPDATE sale SET region = 'x' WHERE id = 9002;}
	  . q{ UPDATE sale SET id = 2 WHERE id = 9003; UPDATE sale SET region = 'f' WHERE id = 9004});
sql(q{BEGIN; DELETE FROM sale WHERE id = 11 AND region = 'a';}
	  . q{ UPDATE sale SET region = 'a' WHERE id = 11 AND region = 'b'; COMMIT});
sql(q{BEGIN; SAVEPOINT s; UPDATE sale SET region = 'y' WHERE id = 12 AND region = 'a'; ROLLBACK TO s; COMMIT});
sql(q{BEGIN; UPDATE sale SET region = 'y' WHERE id = 13 AND region = 'a'; PREPARE TRANSACTION 'moving'});
is_there('rows that move', 'sale',
	'sale:9001:a' => '',
	'sale:9001:b' => row('b', 9001, 'root'),
	'sale:9002:b' => '',
	'sale:9002:x' => row('x', 9002, 'leaf'),
	'sale:9003:d' => '',
	'sale:2:d' => row('d', 2, 'between'),
	'sale:9004:z' => '',
	'sale:9004:f' => row('f', 9004, 'rest'),
	'sale:11:b' => '',
	'sale:12:a' => row('a', 12, 'old'),
	'sale:13:a' => row('a', 13, 'old'));
sql(q{COMMIT PREPARED 'moving'});
is_there('a prepared move', 'sale', 'sale:13:a' => '', 'sale:13:y' => row('y', 13, 'old'));

# One partition is emptied, the others stay
sql('TRUNCATE sale_b');
is_there('TRUNCATE of a partition', 'sale', 'sale:1:b' => '', 'sale:1:a' => row('a', 1, 'new'));
sql(q{BEGIN; TRUNCATE sale_c; INSERT INTO sale VALUES ('c', 1, 'after'); COMMIT});
is_there('TRUNCATE of partitions', 'sale', 'sale:1:c' => row('c', 1, 'after'), 'sale:2:d' => '');

# More of them: new ones, and such as have rows already
sql(q{CREATE TABLE sale_g PARTITION OF sale FOR VALUES IN ('g'); INSERT INTO sale VALUES ('g', 1, 'first')});
sql(q{BEGIN; CREATE TABLE sale_h PARTITION OF sale FOR VALUES IN ('h');}
	  . q{ INSERT INTO sale_h VALUES ('h', 1, 'at once'); COMMIT});
is_there('new partitions', 'sale', 'sale:1:g' => row('g', 1, 'first'), 'sale:1:h' => row('h', 1, 'at once'));
sql(<<'EOS');
CREATE TABLE sale_i (id int NOT NULL, note text, region text NOT NULL);
INSERT INTO sale_i SELECT i, 'there before', 'i' FROM generate_series(1, 3000) i;
ALTER TABLE sale ATTACH PARTITION sale_i FOR VALUES IN ('i');
CREATE TABLE sale_k (LIKE sale INCLUDING ALL) PARTITION BY HASH (id);
CREATE TABLE sale_k0 PARTITION OF sale_k FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE sale_k1 PARTITION OF sale_k FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE sale_k2 PARTITION OF sale_k FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO sale_k SELECT 'k', i, 'hashed' FROM generate_series(1, 3000) i;
ALTER TABLE sale ATTACH PARTITION sale_k FOR VALUES IN ('k');
EOS
is_there('ATTACH', 'sale', map { ("sale:$_:i" => row('i', $_, 'there before'), "sale:$_:k" => row('k', $_, 'hashed')) } (1, 2, 3, 3000));
sql(q{UPDATE sale SET note = 'changed' WHERE id <= 100 AND region IN ('i', 'k'); DELETE FROM sale_k WHERE id = 101});
is_there('changes of what was attached', 'sale', map { ("sale:$_:k" => row('k', $_, 'changed')) } (1 .. 10));
sql(q{TRUNCATE sale_h, sale_k1});
is_there('TRUNCATE of what came later', 'sale', 'sale:1:h' => '', 'sale:1:g' => row('g', 1, 'first'));

# Fewer of them
sql(q{ALTER TABLE sale DETACH PARTITION sale_k});
sql(q{UPDATE sale_k SET note = 'on its own'});
is_there('DETACH', 'sale', 'sale:1:k' => '', 'sale:1:i' => row('i', 1, 'changed'));
sql(q{ALTER TABLE sale ATTACH PARTITION sale_k FOR VALUES IN ('k')});
is_there('ATTACH again', 'sale', 'sale:1:k' => row('k', 1, 'on its own'));
sql(q{BEGIN; ALTER TABLE sale DETACH PARTITION sale_k; ROLLBACK});
is_there('DETACH rolled back', 'sale', 'sale:1:k' => row('k', 1, 'on its own'));
sql(q{DROP TABLE sale_k2, sale_g});
is_there('DROP', 'sale', 'sale:1:g' => '');
sql(q{DROP TABLE sale_k});
is_there('DROP of partitions', 'sale', 'sale:1:k' => '', 'sale:1:i' => row('i', 1, 'changed'));

# A partition whose place another takes, with the same key in both
sql(<<'EOS');
CREATE TABLE sale_j (LIKE sale INCLUDING ALL);
INSERT INTO sale_j VALUES ('i', 1, 'instead');
BEGIN;
ALTER TABLE sale DETACH PARTITION sale_i;
ALTER TABLE sale ATTACH PARTITION sale_j FOR VALUES IN ('i');
COMMIT;
EOS
is_there('another one in its place', 'sale', 'sale:1:i' => row('i', 1, 'instead'), 'sale:2:i' => '');

# Rows that leave the partition for the rest
sql(<<'EOS');
BEGIN;
ALTER TABLE sale DETACH PARTITION sale_rest;
CREATE TABLE sale_e PARTITION OF sale FOR VALUES IN ('e');
WITH moved AS (DELETE FROM sale_rest WHERE region = 'e' RETURNING *) INSERT INTO sale SELECT * FROM moved;
ALTER TABLE sale ATTACH PARTITION sale_rest DEFAULT;
COMMIT;
UPDATE sale SET note = 'of its own' WHERE region = 'e' AND id = 1;
EOS
is_there('a partition made of others\' rows', 'sale', 'sale:1:e' => row('e', 1, 'of its own'), 'sale:7000:e' => row('e', 7000, 'old'), 'sale:9002:x' => row('x', 9002, 'leaf'));

sql(q{DROP TABLE sale_rest});
is_there('DROP of the rest', 'sale', 'sale:9002:x' => '', 'sale:1:e' => row('e', 1, 'of its own'));

# DETACH CONCURRENTLY is two transactions: for all who come after the first, the rows are gone
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM sale');
my $detacher = $node->background_psql('postgres', on_error_stop => 0);
$detacher->query_until(qr/begun/, "\\echo begun\nALTER TABLE sale DETACH PARTITION sale_j CONCURRENTLY;\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_inherits WHERE inhdetachpending}), 'a partition is being detached');
is_there('a partition half detached', 'sale', 'sale:1:i' => '');
sql(q{UPDATE sale_j SET note = 'half'});
is_there('a change of it', 'sale', 'sale:1:i' => '');
sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ 'CONCURRENTLY' AND pid <> pg_backend_pid()});
$reader->query_safe('COMMIT');
$reader->quit;
$detacher->quit;
sql(q{UPDATE sale SET note = 'beside it' WHERE id = 1 AND region = 'a'});
is_there('a partition left half detached', 'sale', 'sale:1:i' => '', 'sale:1:a' => row('a', 1, 'beside it'));
sql(q{ALTER TABLE sale DETACH PARTITION sale_j FINALIZE});
is_there('... and detached at last', 'sale', 'sale:1:i' => '');
sql(q{ALTER TABLE sale ATTACH PARTITION sale_j FOR VALUES IN ('i')});
is_there('... and attached again', 'sale', 'sale:1:i' => row('i', 1, 'half'));

# Repair
my ($lost) = split /\n/, sql(q{SELECT id FROM sale WHERE region = 'a' ORDER BY id LIMIT 1});
$mirror->redis->command('DEL', "sale:$lost:a");
$mirror->redis->command('SET', 'sale:7000:e', 'nonsense');
$mirror->redis->command('SET', 'sale:7001:e', 'alien');
$mirror->redis->command('SET', 'sale:7001:b', 'alien');
is($mirror->problems('sale'), "sale:$lost:a|missing\nsale:7000:e|differs\nsale:7001:b|surplus\nsale:7001:e|surplus",
	'verify finds what is wrong, in whatever partition');
my $applied = stat_of('applied', 'sale');
sql(q{SELECT cachegrid.resync('sale', 'grid', differences => true)});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM cachegrid.verify('sale', 'grid')}), 'a resync of differences mends it');
is_there('differences mended', 'sale');
cmp_ok(stat_of('applied', 'sale') - $applied, '<', 100, '... and writes nothing else');
$_->command('FLUSHALL') foreach $mirror->redis->nodes;
sql(q{SELECT cachegrid.resync('sale', 'grid')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM cachegrid.verify('sale', 'grid')}), 'a resync writes all');
is_there('resync', 'sale');
sql(q{INSERT INTO sale SELECT 'a', i, 'more' FROM generate_series(10001, 150000) i; ANALYZE sale});
is_there('many rows', 'sale');
sql(q{SELECT cachegrid.resync('sale', 'grid')});
ok( $node->poll_query_until(
		'postgres', q{SELECT rows_done > 0 AND rows_total = (SELECT sum(reltuples) FROM pg_class}
		  . q{ WHERE oid IN (SELECT relid FROM pg_partition_tree('sale') WHERE isleaf)) FROM cachegrid.stat_mirror_progress}),
	'a walk is under way, and how far it is');
kill('TERM', $mirror->worker);
is_there('another worker', 'sale');
sql(q{DELETE FROM sale WHERE id > 10000});

# The table changes
sql(q{ALTER TABLE sale ADD COLUMN price numeric DEFAULT 1.5});
is_there('a new column', 'sale', 'sale:1:a' => '{"region":"a","id":1,"note":"beside it","price":1.5}');
sql(q{ALTER TABLE sale RENAME COLUMN id TO number});
sql(q{UPDATE sale SET note = 'renamed' WHERE number = 1 AND region = 'a'});
is_there('a key column of another name', 'sale', 'sale:1:a' => '{"region":"a","number":1,"note":"renamed","price":1.5}');
sql(q{ALTER TABLE sale RENAME TO trade});
sql(q{UPDATE trade SET note = 'traded' WHERE number = 1 AND region = 'a'});
$mirror->is_equal('a table of another name', 'trade');
is($mirror->value('sale:1:a'), '{"region":"a","number":1,"note":"traded","price":1.5}', 'its keys are as they were');
sql(q{TRUNCATE trade});
$mirror->is_equal('TRUNCATE', 'trade');
is(key_count('sale'), 0, 'no key is left');
sql(q{SELECT cachegrid.unmirror('trade', 'grid')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'), 'unmirror ends it');
is(sql(q{SELECT count(*) FROM pg_trigger WHERE tgname ~ '^!cachegrid'}), '0', 'no partition keeps a trigger');

# A key's type changes, values that are stored out of line do not
sql(<<'EOS');
CREATE TABLE paper (id int, kind int, n int, body text, PRIMARY KEY (kind, id)) PARTITION BY HASH (kind);
CREATE TABLE paper_0 PARTITION OF paper FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE paper_1 (body text, n int, kind int NOT NULL, id int NOT NULL);
ALTER TABLE paper ATTACH PARTITION paper_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE paper ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO paper SELECT i, i, 0, repeat('x', 5000) FROM generate_series(1, 50) i;
SELECT cachegrid.mirror('paper', 'grid');
EOS
is_there('long values', 'paper');
sql(q{UPDATE paper SET n = 1});
is_there('long values that did not change', 'paper',
	map { ("paper:$_:$_" => qq({"id":$_,"kind":$_,"n":1,"body":") . 'x' x 5000 . '"}') } (1 .. 10));
sql(q{ALTER TABLE paper ALTER COLUMN id TYPE bigint});
sql(q{INSERT INTO paper VALUES (5000000000, 1, 2, 'far')});
is_there('a key column of another type', 'paper', 'paper:1:5000000000' => '{"id":5000000000,"kind":1,"n":2,"body":"far"}');
sql(q{ALTER TABLE paper DROP CONSTRAINT paper_pkey; UPDATE paper SET n = 3 WHERE kind = 1});
ok($node->poll_query_until('postgres', q{SELECT state = 'stopped' AND last_error ~ 'no unique index' FROM cachegrid.stat_mirror}), 'then the mirror is stopped');
sql(q{ALTER TABLE paper ADD PRIMARY KEY (id, kind)});
is_there('another primary key', 'paper', 'paper:1:1' => '{"id":1,"kind":1,"n":3,"body":"' . 'x' x 5000 . '"}');

# A partition that somebody has locked holds the mirror up, but neither the worker nor others for long
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE paper_0');
sql('CREATE TABLE item (id int PRIMARY KEY); SELECT cachegrid.mirror(\'item\', \'grid\')');
sql(q{INSERT INTO item VALUES (1)});
$mirror->is_equal('beside a locked partition', 'item');
is(stat_of(q{state || ': ' || last_error}, 'paper'), 'stopped: its table is locked', 'the mirror is stopped');
$locker->query_safe('COMMIT');
$locker->quit;
is_there('the lock is released', 'paper');
sql(q{DROP TABLE item});

# A crash empties a partition that was made unlogged
sql(q{ALTER TABLE paper_1 SET UNLOGGED});
is_there('a partition that is unlogged now', 'paper');
ok($node->poll_query_until('postgres', 'SELECT bool_and(phase = 0) FROM cachegrid.mirror_progress'), 'that its sweep is over is saved');
sql('CHECKPOINT');
$node->stop('immediate');
$node->start;
is(sql('SELECT count(*) FROM paper_1'), 0, 'it is empty after a crash');
ok($node->poll_query_until('postgres', 'SELECT sweeps > 0 FROM cachegrid.stat_mirror'), 'the mirror is swept');
is_there('after the crash', 'paper');
sql('DROP TABLE paper');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'), 'the dropped root takes its mirror along');
is($mirror->redis->dbsize, 0, 'nothing is left in Redis');

# Other formats, and a function that wants rows of the root
sql(<<'EOS');
CREATE TABLE part (id int PRIMARY KEY, name text, size int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 (size int, id int NOT NULL, name text);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
CREATE FUNCTION told(part) RETURNS text LANGUAGE sql RETURN $1.name || ' of ' || $1.size;
EOS
sql(q{CREATE SERVER other FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '} . $mirror->redis->endpoints . q{')});
sql(q{INSERT INTO part VALUES (1, 'one', 10), (11, 'eleven', NULL)});
sql(q{SELECT cachegrid.mirror('part', 'grid', key => 'h:{id}', format => 'hash')});
$mirror->is_equal('a hash', 'part');
is($mirror->redis->command('HGET', 'h:1', 'name') . $mirror->redis->command('HGET', 'h:11', 'name'), 'oneeleven', 'its fields are there');
is($mirror->redis->command('HEXISTS', 'h:11', 'size'), '0', '... but for a NULL');
sql(q{UPDATE part SET size = 12 WHERE id = 11});
$mirror->is_equal('a hash that changes', 'part');
is($mirror->redis->command('HGET', 'h:11', 'size'), '12', '... which comes later');
sql(q{SELECT cachegrid.unmirror('part', 'grid')});
sql(q{SELECT cachegrid.mirror('part', 'other', key => 't:{id}', transform => 'told')});
$mirror->is_equal('a transform', 'part', 'other');
is($mirror->value('t:1') . ', ' . $mirror->value('t:11'), 'one of 10, eleven of 12', 'it gets the root\'s rows');
sql(q{SELECT cachegrid.unmirror('part', 'other')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'), 'both end');
sql(q{SELECT cachegrid.mirror('part', 'grid', key => 'i:{name}', mode => 'invalidate')});
ok($mirror->settle('part'), 'mode invalidate');
$mirror->redis->command('SET', 'i:one', 'of the application');
$mirror->redis->command('SET', 'i:eleven', 'of the application');
sql(q{UPDATE part SET size = 0 WHERE id = 11});
ok($mirror->settle('part'), '... settles');
is($mirror->value('i:one') . $mirror->value('i:eleven'), 'of the application', 'a changed row\'s key is gone');
sql(q{ALTER TABLE part DETACH PARTITION part_2});
ok($mirror->settle('part'), 'a DETACH ...');
is($mirror->value('i:one'), '', '... ends all keys');
sql(q{SELECT cachegrid.unmirror('part', 'grid')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'), 'it ends');

# None as yet
sql(q{CREATE TABLE bare (id int PRIMARY KEY) PARTITION BY RANGE (id); SELECT cachegrid.mirror('bare', 'grid')});
is_there('a table without partitions', 'bare');
sql(q{CREATE TABLE bare_1 PARTITION OF bare DEFAULT; INSERT INTO bare VALUES (1)});
is_there('its first one', 'bare', 'bare:1' => '{"id":1}');

# The table goes, and the worker before it has seen that
my $worker = $mirror->worker;
kill('STOP', $worker);
sql(q{DROP TABLE bare});
kill('TERM', $worker);
kill('CONT', $worker);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'), 'a table that went unseen takes its mirror along');
is($mirror->value('bare:1'), '', '... and its keys');

# Partitions by themselves, and what has a mirror already
sql(q{SELECT cachegrid.mirror('part_2', 'grid')});
$mirror->is_equal('what was a partition has a mirror of its own', 'part_2');
my $attach = q{ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20)};
like(told($attach), qr/cannot capture changes of partition "part_2" by itself/, 'it does not become one again');
sql(q{SELECT cachegrid.mirror('part', 'grid')});
isnt(told($attach), '', '... of a mirrored table neither');
$mirror->is_equal('and it is mirrored still', 'part_2');
sql(q{SELECT cachegrid.unmirror('part_2', 'grid')} . ";$attach");
$mirror->is_equal('without its mirror it does', 'part');
is($mirror->value('part:11'), '{"id":11,"name":"eleven","size":0}', 'under the root\'s keys');
like(told(q{SELECT cachegrid.mirror('part_2', 'grid')}), qr/cannot mirror partition "part_2" by itself/, 'it is not mirrored by itself then');

# Write-through: what the commit makes old is gone before it, or there is no commit
sql(q{ALTER SYSTEM SET cachegrid.redis_timeout = 500; ALTER SYSTEM SET cachegrid.redis_connect_timeout = 500;}
	  . q{ ALTER SYSTEM SET cachegrid.write_through_timeout = 20000; SELECT pg_reload_conf()});
sql(<<'EOS');
CREATE TABLE stock (id int, place text, n int, PRIMARY KEY (id, place)) PARTITION BY LIST (place);
CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a');
CREATE TABLE stock_b (n int, place text NOT NULL, id int NOT NULL);
ALTER TABLE stock ATTACH PARTITION stock_b FOR VALUES IN ('b');
CREATE TABLE stock_c PARTITION OF stock FOR VALUES IN ('c');
CREATE TABLE stock_d PARTITION OF stock FOR VALUES IN ('d');
CREATE TABLE stock_e (LIKE stock INCLUDING ALL);
INSERT INTO stock SELECT i, p, 0 FROM generate_series(1, 500) i, unnest('{a,b,c,d}'::text[]) p;
INSERT INTO stock_e SELECT i, 'e', 0 FROM generate_series(1, 500) i;
SELECT cachegrid.mirror('stock', 'grid', mode => 'write-through');
EOS
is_there('write-through', 'stock');

sub unit
{
	my ($id, $place, $n) = @_;

	return qq({"id":$id,"place":"$place","n":$n});
}

my $late = 0;
foreach my $n (1 .. 10)
{
	sql("UPDATE stock SET n = $n WHERE id = 1");
	$late += $mirror->value("stock:1:$_") ne unit(1, $_, $n) foreach qw(a b c d);
}
is($late, 0, 'the new values are in Redis when the commit returns');
sql(q{UPDATE stock SET place = 'a', id = 1000 WHERE id = 2 AND place = 'b'});
is($mirror->value('stock:2:b') . $mirror->value('stock:1000:a'), unit(1000, 'a', 0), '... of a row that has moved');
is(told(q{BEGIN; INSERT INTO stock VALUES (600, 'a', 0); CREATE TABLE stock_f PARTITION OF stock FOR VALUES IN ('f');}
		  . q{ INSERT INTO stock VALUES (600, 'f', 0); COMMIT}),
	'', 'who has made a partition, which nobody can read before, does not wait in vain');
is_there('its rows', 'stock', 'stock:600:f' => unit(600, 'f', 0));

my @removals = (
	'TRUNCATE stock_a',
	'BEGIN; TRUNCATE stock_a; SELECT cachegrid.resync(\'stock\', \'grid\'); COMMIT',
	'ALTER TABLE stock DETACH PARTITION stock_b',
	'ALTER TABLE stock DETACH PARTITION stock_b CONCURRENTLY',
	'DROP TABLE stock_c',
	'BEGIN; ALTER TABLE stock DETACH PARTITION stock_d; ALTER TABLE stock ATTACH PARTITION stock_e FOR VALUES IN (\'e\'); COMMIT');

foreach my $statement (@removals)
{
	$_->pause foreach $mirror->redis->nodes;
	like(told($statement), qr/could not remove the changed rows' keys from Redis/, "$statement: fails while Redis is silent");
	$_->resume foreach $mirror->redis->nodes;
	is_there("$statement: has failed", 'stock', map { ("stock:1:$_" => unit(1, $_, 10)) } qw(a b c d));
}
is(sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'stock'::regclass}), '5', 'no partition has gone');

# Rows come: what Redis has of the others may stay
$_->pause foreach $mirror->redis->nodes;
is(told(q{ALTER TABLE stock ATTACH PARTITION stock_e FOR VALUES IN ('e')}), '', 'ATTACH waits for nobody');
$_->resume foreach $mirror->redis->nodes;
is_there('ATTACH', 'stock', 'stock:500:e' => unit(500, 'e', 0), 'stock:1:a' => unit(1, 'a', 10));
sql(q{ALTER TABLE stock DETACH PARTITION stock_e});
is($mirror->value('stock:500:e'), '', 'DETACH PARTITION stock_e: nothing is left of it at once');
is_there('and is not', 'stock');

foreach my $case ([ $removals[0], 'a' ], [ $removals[3], 'b' ], [ $removals[4], 'c' ], [ $removals[5], 'd' ])
{
	my ($statement, $place) = @$case;

	sql($statement);
	is($mirror->value("stock:1:$place"), '', "$statement: nothing is left of it at once");
	is_there($statement, 'stock', "stock:1:$place" => '');
}
is($mirror->value('stock:500:e'), unit(500, 'e', 0), 'what was attached is there');

$node->stop;
done_testing();
