
# A mirrored table's rows reach Redis, whatever a transaction does to them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('mirror');
my $node = $mirror->node;

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

# Rows that are there already
sql('CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, at timestamptz)');
sql("INSERT INTO item SELECT i, 'item ' || i, i / 4.0, '2024-05-31 12:00+00'"
	  . ' FROM generate_series(1, 5000) i');
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->is_equal('backfill');
is( $mirror->value('item:1'),
	'{"id":1,"name":"item 1","price":0.25000000000000000000,'
	  . '"at":"2024-05-31T12:00:00+00:00"}',
	'a value is the row as JSON, in UTC');
is($mirror->redis->dbsize, 5001, 'there is one key a row, and the mark of ownership');
is(sql('SELECT applied FROM cachegrid.stat_mirror'), 5000, 'each row was written once');

# Single changes
sql("INSERT INTO item VALUES (6000, 'new')");
sql("UPDATE item SET name = 'changed' WHERE id = 1");
sql('DELETE FROM item WHERE id = 2');
$mirror->is_equal('insert, update, delete');
like($mirror->value('item:6000'), qr/"new"/, 'an inserted row is there');
like($mirror->value('item:1'), qr/"changed"/, 'an updated row is there');
is($mirror->value('item:2'), '', 'a deleted row is gone');

# Keys that change, and change places
sql('UPDATE item SET id = 7000 WHERE id = 3');
$mirror->is_equal('key change');
is($mirror->value('item:3'), '', 'the old key is gone');
like($mirror->value('item:7000'), qr/"item 3"/, 'the new key is there');
sql('ALTER TABLE item DROP CONSTRAINT item_pkey, '
	  . 'ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED');
sql('UPDATE item SET id = CASE id WHEN 10 THEN 11 WHEN 11 THEN 12 ELSE 10 END'
	  . ' WHERE id IN (10, 11, 12)');
$mirror->is_equal('rotation of keys');
like($mirror->value('item:11'), qr/"item 10"/, 'rows have changed places');

# What was rolled back
sql("BEGIN; UPDATE item SET name = 'never' WHERE id = 20; ROLLBACK");
sql(<<'EOS');
BEGIN;
UPDATE item SET name = 'outer' WHERE id = 21;
SAVEPOINT s;
UPDATE item SET name = 'inner' WHERE id = 21;
UPDATE item SET name = 'inner' WHERE id = 22;
ROLLBACK TO s;
SAVEPOINT t;
UPDATE item SET name = 'released' WHERE id = 23;
RELEASE t;
COMMIT;
EOS
$mirror->is_equal('savepoints');
like($mirror->value('item:20'), qr/"item 20"/, 'a rolled back row is as it was');
like($mirror->value('item:21'), qr/"outer"/, 'what the savepoint did is undone');
like($mirror->value('item:23'), qr/"released"/, 'a released savepoint counts');

# More keys than the buffer holds, inside and outside of a savepoint
sql(<<'EOS');
BEGIN;
UPDATE item SET name = 'before' WHERE id = 30;
SAVEPOINT s;
INSERT INTO item SELECT i, 'bulk' FROM generate_series(100001, 200000) i;
ROLLBACK TO s;
INSERT INTO item SELECT i, 'bulk' FROM generate_series(200001, 300000) i;
COMMIT;
EOS
$mirror->is_equal('bulk');
like($mirror->value('item:30'), qr/"before"/, 'a key before a big savepoint is not lost');
is($mirror->value('item:100001'), '', 'a rolled back bulk is not there');
like($mirror->value('item:300000'), qr/"bulk"/, 'a bulk is there');
sql('DELETE FROM item WHERE id > 200000');
$mirror->is_equal('bulk delete');

# A transaction that is prepared, and outlives the server
sql("BEGIN; UPDATE item SET name = 'prepared' WHERE id = 40; PREPARE TRANSACTION 'p'");
sql("UPDATE item SET name = 'after' WHERE id = 41");
$mirror->is_equal('beside a prepared transaction');
like($mirror->value('item:40'), qr/"item 40"/, 'a prepared row is as it was');

# An index of the outbox is made anew, and fails because of that one
isnt(
	$node->psql(
		'postgres',
		"SET statement_timeout = '1s'; REINDEX TABLE CONCURRENTLY cachegrid.outbox_0"),
	0,
	'REINDEX CONCURRENTLY leaves an invalid index behind');
is( sql('SELECT count(*) FROM pg_index WHERE NOT indisvalid'
		  . " AND indrelid = 'cachegrid.outbox_0'::regclass"),
	1,
	'there it is');
sql("UPDATE item SET name = 'beside it' WHERE id = 42");
$mirror->is_equal('beside an invalid index');
$node->restart;
sql("UPDATE item SET name = 'restarted' WHERE id = 41");
$mirror->is_equal('after a restart');
sql("COMMIT PREPARED 'p'");
$mirror->is_equal('commit prepared');
like($mirror->value('item:40'), qr/"prepared"/, 'a committed prepared row is there');

# Everything at once
sql('TRUNCATE item');
$mirror->is_equal('truncate');
is($mirror->redis->dbsize, 1, 'no key is left');
sql("BEGIN; INSERT INTO item VALUES (1, 'gone'); TRUNCATE item;"
	  . " INSERT INTO item VALUES (2, 'there'); COMMIT");
$mirror->is_equal('truncate among inserts');
is($mirror->value('item:1'), '', 'what TRUNCATE removed is not there');
like($mirror->value('item:2'), qr/"there"/, 'what came after it is');

# The table changes
sql('ALTER TABLE item ADD COLUMN color text');
$mirror->is_equal('new column');
like($mirror->value('item:2'), qr/"color":null/, 'old rows get a new column');
sql('ALTER TABLE item ALTER COLUMN id TYPE bigint');
sql("INSERT INTO item VALUES (5000000000, 'far')");
$mirror->is_equal('another type');
like($mirror->value('item:5000000000'), qr/"far"/, 'the new type is written');

# A type changes under the rows, and under the keys
sql(<<'EOS');
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE pair AS (one color, two int);
CREATE TABLE rows (a int);
CREATE FUNCTION tell(color) RETURNS json LANGUAGE sql AS 'SELECT to_json(1)';
CREATE TABLE shade (color color PRIMARY KEY, pairs pair[], row rows);
INSERT INTO shade VALUES ('red', ARRAY[('green', 2)::pair], ROW(1));
SELECT cachegrid.mirror('shade', 'grid');
EOS
ok($mirror->settle('shade'), 'a table of an enum settles');

sub shade_becomes
{
	my ($statement, $key, $value) = @_;

	sql($statement);
	ok($mirror->settle('shade'), "$statement: it settles");
	is($mirror->value("shade:$key"), $value, "$statement: keys and values are as the types are");
	is($mirror->problems('shade'), '', "$statement: Redis has what the table has");
	return;
}

shade_becomes(@$_) foreach (
	[
		"ALTER TYPE color RENAME VALUE 'red' TO 'rouge'", 'rouge',
		'{"color":"rouge","pairs":[{"one":"green","two":2}],"row":{"a":1}}'
	],
	[
		"ALTER TYPE color RENAME VALUE 'green' TO 'vert'", 'rouge',
		'{"color":"rouge","pairs":[{"one":"vert","two":2}],"row":{"a":1}}'
	],
	[
		'ALTER TYPE pair RENAME ATTRIBUTE two TO deux', 'rouge',
		'{"color":"rouge","pairs":[{"one":"vert","deux":2}],"row":{"a":1}}'
	],
	[
		'ALTER TYPE pair DROP ATTRIBUTE deux', 'rouge',
		'{"color":"rouge","pairs":[{"one":"vert"}],"row":{"a":1}}'
	],
	[
		'ALTER TABLE rows RENAME COLUMN a TO b', 'rouge',
		'{"color":"rouge","pairs":[{"one":"vert"}],"row":{"b":1}}'
	],
	[
		'ALTER TABLE rows ADD COLUMN c int', 'rouge',
		'{"color":"rouge","pairs":[{"one":"vert"}],"row":{"b":1,"c":null}}'
	],
	[
		'CREATE CAST (color AS json) WITH FUNCTION tell(color)', 'rouge',
		'{"color":1,"pairs":[{"one":1}],"row":{"b":1,"c":null}}'
	],
	[
		q{CREATE OR REPLACE FUNCTION tell(color) RETURNS json LANGUAGE sql AS 'SELECT to_json(2)'},
		'rouge', '{"color":2,"pairs":[{"one":2}],"row":{"b":1,"c":null}}'
	],
	[
		'DROP CAST (color AS json)', 'rouge',
		'{"color":"rouge","pairs":[{"one":"vert"}],"row":{"b":1,"c":null}}'
	],
	[
		'BEGIN; ALTER TABLE shade DISABLE TRIGGER ALL; UPDATE shade SET row = NULL;'
		  . ' ALTER TABLE shade ENABLE TRIGGER ALL; COMMIT',
		'rouge', '{"color":"rouge","pairs":[{"one":"vert"}],"row":null}'
	]);
is($mirror->value('shade:red'), '', 'the old key is gone');

# A crash empties a table that was made unlogged
sql('ALTER TABLE shade SET UNLOGGED');
ok($mirror->settle('shade'), 'a table that is unlogged now settles');
ok( $node->poll_query_until(
		'postgres', 'SELECT bool_and(phase = 0) FROM cachegrid.mirror_progress'),
	'that its sweep is over is saved');
sql('CHECKPOINT');
$node->stop('immediate');
$node->start;
is(sql('SELECT count(*) FROM shade'), 0, 'it is empty after a crash');
ok( $node->poll_query_until(
		'postgres', qq{SELECT sweeps > 0 FROM cachegrid.stat_mirror WHERE "table" = 'shade'::regclass}),
	'it is swept');
$mirror->is_equal('after the crash', 'shade');
$mirror->is_equal('after the crash');
sql('DROP TABLE shade');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.stat_mirror'),
	'its mirror ends');

# verify can find something
$mirror->redis->command('DEL', 'item:2');
$mirror->redis->command('SET', 'item:5000000000', 'nonsense');
$mirror->redis->command('SET', 'item:77', 'alien');
$mirror->redis->command('SET', 'item:x', 'alien');
is( $mirror->problems('item'),
	"item:2|missing\nitem:5000000000|differs\nitem:77|surplus\nitem:x|surplus",
	'verify finds what is wrong');
sql("SELECT cachegrid.resync('item', 'grid')");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM cachegrid.verify('item', 'grid')"),
	'resync mends it');

# All keys are missing, more than are compared at once; the worker stands still
my $worker = $mirror->worker;
kill('STOP', $worker);
$_->command('FLUSHALL') foreach $mirror->redis->nodes;
is( sql("SELECT count(*), min(problem), max(problem) FROM cachegrid.verify('item', 'grid')"),
	sql("SELECT count(*) || '|missing|missing' FROM item"),
	'verify finds that all is missing');
kill('CONT', $worker);
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM cachegrid.verify('item', 'grid')"),
	'the worker mends it');

# Templates, columns, ttl
sql(<<'EOS');
CREATE TABLE visit (day date, who uuid, page text NOT NULL, hits int, secret text,
                    PRIMARY KEY (day, who, page));
INSERT INTO visit VALUES ('2024-05-31', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a:b', 1, 'x');
SELECT cachegrid.mirror('visit', 'grid', key => 'v:{{{page}}}:{day}:{who}',
                        columns => '{hits,page}', ttl => '1 hour');
EOS
ok($mirror->settle('visit'), 'another mirror settles');
my $key = 'v:{a:b}:2024-05-31:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
is($mirror->value($key), '{"hits":1,"page":"a:b"}', 'columns are those that were named');
cmp_ok($mirror->redis->command('TTL', $key), '>', 3500, 'the key expires');
sql("INSERT INTO visit SELECT '2024-06-01', gen_random_uuid(), 'p' || i"
	  . ' FROM generate_series(1, 5000) i');
sql("DELETE FROM visit WHERE page LIKE 'p1%'");
ok($mirror->settle('visit'), 'it settles again');
is($mirror->problems('visit'), '', 'it has what its table has');

# A primary key that holds at commit only is one, too
sql('CREATE TABLE place (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text)');
sql("INSERT INTO place VALUES (1, 'first'), (2, 'second'); SELECT cachegrid.mirror('place', 'grid')");
ok($mirror->settle('place'), 'a table with a deferrable primary key settles');
sql("BEGIN; UPDATE place SET id = 2 WHERE name = 'first';"
	  . " UPDATE place SET id = 1 WHERE name = 'second'; COMMIT");
ok($mirror->settle('place'), 'rows change places');
is($mirror->value('place:1'), '{"id":1,"name":"second"}', 'so they do in Redis');
is($mirror->problems('place'), '', 'both');
sql('DROP TABLE place');

# More rows than the sweep looks at in one go have no key, as they are too long
sql("CREATE TABLE page (url text PRIMARY KEY)");
sql("INSERT INTO page SELECT repeat('a', 520) || i FROM generate_series(1, 10500) i");
sql("INSERT INTO page VALUES ('z')");
sql("SELECT cachegrid.mirror('page', 'grid')");
ok($mirror->settle('page'), 'rows without a key do not stop a sweep');
isnt($mirror->value('page:z'), '', 'it comes to what is behind them');
is($mirror->problems('page'), '', 'so does verify');
sql('DROP TABLE page');

# Casts to json are the owner's code, and run as the owner
sql(<<'EOS');
CREATE ROLE keeper;
GRANT cachegrid_writer TO keeper;
CREATE TYPE grade AS ENUM ('good');
CREATE FUNCTION who(grade) RETURNS json LANGUAGE sql AS 'SELECT to_json(current_user)';
CREATE CAST (grade AS json) WITH FUNCTION who(grade);
CREATE TABLE kept (id int PRIMARY KEY, grade grade);
INSERT INTO kept VALUES (1, 'good');
ALTER TABLE kept OWNER TO keeper;
SELECT cachegrid.mirror('kept', 'grid');
EOS
ok($mirror->settle('kept'), 'a table of another owner settles');
is($mirror->value('kept:1'), '{"id":1,"grade":"keeper"}', 'the worker casts as the owner');
is($mirror->problems('kept'), '', 'so does verify');
sql("SELECT cachegrid.unmirror('kept', 'grid')");

# A prefix is no pattern
sql(<<'EOS');
CREATE TABLE star (id int PRIMARY KEY);
CREATE TABLE stare (id int PRIMARY KEY);
INSERT INTO star SELECT generate_series(1, 100);
INSERT INTO stare TABLE star;
SELECT cachegrid.mirror('star', 'grid', key => '[st]*\?{{:{id}');
SELECT cachegrid.mirror('stare', 'grid', key => 'stare{{:{id}');
EOS
foreach my $table ('star', 'stare')
{
	ok($mirror->settle($table), "$table settles");
	is($mirror->problems($table), '', "$table is there");
}
is($mirror->value('[st]*\?{:7'), '{"id":7}', 'under such a key, too');
sql("SELECT cachegrid.unmirror('star', 'grid')");
ok( $node->poll_query_until(
		'postgres', q{SELECT count(*) = 0 FROM cachegrid.mirrors WHERE prefix ~ '^\['}),
	'a mirror whose prefix looks like a pattern ends');
is($mirror->value('[st]*\?{:7'), '', 'its keys are gone');
is($mirror->problems('stare'), '', 'those of the other are not');
sql("SELECT cachegrid.unmirror('stare', 'grid')");

# The end of a mirror
sql("SELECT cachegrid.unmirror('visit', 'grid')");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM cachegrid.stat_mirror"),
	'unmirror ends');
is($mirror->value($key), '', 'its keys are gone');
sql('DROP TABLE item');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.stat_mirror'),
	'a dropped table takes its mirror along');
is($mirror->redis->dbsize, 0, 'nothing is left in Redis');
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cachegrid worker'"
	),
	'nor is a worker');

done_testing();
