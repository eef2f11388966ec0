# With cachegrid.wal_log_invalidations a standby redoes the stamps of its
# primary, and serves what it has computed as exactly as the primary does.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Standby;

my $primary = Standby::start_primary('primary');

$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE product (id int PRIMARY KEY, category int NOT NULL, n bigint NOT NULL);
INSERT INTO product SELECT i, i % 10, i FROM generate_series(1, 10000) i;
SELECT cachegrid.cache_table('product');
SELECT cachegrid.watch('product', ARRAY['product:{id}'], ARRAY['category:{category}']);
CREATE TABLE part (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO part SELECT i, i FROM generate_series(1, 10) i;
SELECT cachegrid.cache_table('part');
SQL

my $standby = Standby::add($primary, 'standby');

sub fetch { return Standby::fetch($standby, @_) }

# On the primary, and then on the standby.
sub change
{
	my ($sql) = @_;

	$primary->safe_psql('postgres', $sql);
	Standby::follow($primary, $standby);
	return;
}

# Both what a fetch computes, and that the next one finds it.
sub computes_and_keeps
{
	my ($key, $value, $name) = @_;

	is(fetch($key), "$value miss", $name);
	is(fetch($key), "$value hit", '... and keeps it');
	return;
}

computes_and_keeps('product:1', 1, 'a standby computes');
is(Standby::reason($standby), '', '... having no reason not to');
is($standby->safe_psql('postgres', 'SELECT in_recovery, logs, serves FROM cachegrid.stat_standby'),
	't|f|t', 'stat_standby says so');
is($primary->safe_psql('postgres', 'SELECT in_recovery, logs, serves FROM cachegrid.stat_standby'),
	'f|t|t', '... and of the primary that it logs');

# Rows that change.
change('UPDATE product SET n = 100 WHERE id = 1');
computes_and_keeps('product:1', 100, 'a change ends an entry of the standby');
is(fetch('product:2'), '2 miss', 'another');
change('UPDATE product SET n = 101 WHERE id = 1');
is(fetch('product:2'), '2 hit', 'a change ends no other entry');
change('DELETE FROM product WHERE id = 1');
is(fetch('product:1'), ' miss', 'a row goes');
change('INSERT INTO product VALUES (1, 1, 1)');
computes_and_keeps('product:1', 1, 'a row comes back');

# A snapshot from before, and one from after.
my $old = $standby->background_psql('postgres');
my $fetch_3 = q{SELECT cachegrid.fetch('product:3') ->> 'n'};

$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query_safe($fetch_3), '3', 'an old snapshot fills');
is(fetch('product:3'), '3 hit', '... for others');
change('UPDATE product SET n = 300 WHERE id = 3');
is(fetch('product:3'), '300 miss', 'a new snapshot sees the change');
is($old->query_safe($fetch_3), '3', 'the old one does not');
is(fetch('product:3'), '300 hit', '... nor does it put what it sees in the place of the new value');
change('UPDATE product SET n = 301 WHERE id = 3');
is($old->query_safe($fetch_3), '3', 'the old one computes');
is(fetch('product:3'), '301 miss', '... and keeps nothing');
# Five xids push each other out of the slot's list, or each other's out.
change("UPDATE product SET n = n + 1 WHERE id = 3") for 1 .. 8;
is(fetch('product:3'), '309 miss', 'a change after many');
is($old->query_safe($fetch_3), '3', '... is not for the old snapshot');
$old->query_safe('COMMIT');
$old->quit;

# A stamp that was redone long before its transaction ends.
is(fetch('product:4'), '4 miss', 'a value is kept');
is(fetch('product:5'), '5 miss', 'and another');
change(q{BEGIN; UPDATE product SET n = 400 WHERE id = 4; PREPARE TRANSACTION 'four'});
is(fetch('product:4'), '4 miss', 'a prepared change is not seen');
is(fetch('product:4'), '4 miss', '... and nothing is kept beside it');
is(fetch('product:5'), '5 hit', '... but for others');
change(q{BEGIN; UPDATE product SET n = 500 WHERE id = 5; PREPARE TRANSACTION 'five'});
is(fetch('product:5'), '5 miss', 'a second one');
change(q{ROLLBACK PREPARED 'five'});
computes_and_keeps('product:5', 5, 'that is rolled back');
change(q{UPDATE part SET n = n + 1}) for 1 .. 3;
is(fetch('product:4'), '4 miss', 'the first is still there');
change(q{COMMIT PREPARED 'four'});
computes_and_keeps('product:4', 400, 'and is committed');

# Many prepared ones on one slot: what does not fit is remembered by the floor.
change(qq{BEGIN; SELECT cachegrid.invalidate('product:6'); INSERT INTO part VALUES ($_, 0); PREPARE TRANSACTION 'p$_'})
  for 101 .. 109;
is(fetch('product:6'), '6 miss', 'nine prepared transactions invalidate one key');
change(q{COMMIT PREPARED 'p109'});
is(fetch('product:6'), '6 miss', 'eight are left');
change(qq{COMMIT PREPARED 'p$_'}) for 102 .. 108;
is(fetch('product:6'), '6 miss', 'one is left');
is(fetch('product:6'), '6 miss', '... of those that did not fit');
change(q{UPDATE product SET n = 60 WHERE id = 6});
is(fetch('product:6'), '60 miss', 'whoever invalidates it now');
is(fetch('product:6'), '60 miss', '... does not make the last one forgotten');
change(q{COMMIT PREPARED 'p101'});
computes_and_keeps('product:6', 60, 'none is left');

# The floor goes when those have ended for whom it is there, whoever else runs.
my $long = $primary->background_psql('postgres');
$long->query_safe('BEGIN; INSERT INTO part VALUES (110, 0)');
change(qq{BEGIN; SELECT cachegrid.invalidate('product:6'); INSERT INTO part VALUES ($_, 0); PREPARE TRANSACTION 'p$_'})
  for 111 .. 119;
change(qq{COMMIT PREPARED 'p$_'}) for 111 .. 119;
is(fetch('product:6'), '60 miss', 'beside a long transaction');
is(fetch('product:6'), '60 miss', '... a slot that was full is not believed');
change(q{BEGIN; SELECT cachegrid.invalidate('product:16'); INSERT INTO part VALUES (120, 0); PREPARE TRANSACTION 'p120'});
change(q{UPDATE product SET n = 61 WHERE id = 6});
computes_and_keeps('product:6', 61, '... until it is stamped again, beside a later one that is prepared');
change(q{COMMIT PREPARED 'p120'});
$long->query_safe('ROLLBACK');
$long->quit;

# Savepoints, and more subtransactions than a snapshot lists.
fetch("product:$_") for 7 .. 8;
change(<<'SQL');
BEGIN; SAVEPOINT s; UPDATE product SET n = 700 WHERE id = 7; ROLLBACK TO s;
SAVEPOINT t; UPDATE product SET n = 800 WHERE id = 8; RELEASE t; COMMIT
SQL
is(fetch('product:7'), '7 hit', 'what is rolled back to a savepoint ends nothing');
is(fetch('product:8'), '800 miss', 'what is released does');
my $many = $primary->background_psql('postgres');
$many->query_safe('BEGIN');
$many->query_safe("SAVEPOINT s$_; UPDATE product SET n = n + 1 WHERE id = 9; UPDATE part SET n = n + 1 WHERE id = 1")
  for 1 .. 100;
change('UPDATE product SET n = n + 1 WHERE id = 10');
computes_and_keeps('product:10', 11, 'beside a snapshot that overflows');
computes_and_keeps('product:9', 9, 'of a change under way');
$many->query_safe('COMMIT');
Standby::follow($primary, $standby);
computes_and_keeps('product:9', 109, 'that ends');
$many->quit;

# Whole tables.
computes_and_keeps('part:2', 5, 'of another table');
change('TRUNCATE part');
is(fetch('part:2'), ' miss', 'TRUNCATE ends all its entries');
is(fetch('product:7'), '7 hit', '... and no others');
my $wrong = q{SELECT count(*) FROM product WHERE id <= 40 AND (cachegrid.fetch('product:' || id) ->> 'n')::bigint <> n};
is($standby->safe_psql('postgres', $wrong), '0', 'forty values are kept');
change('UPDATE product SET n = n + 0, category = category WHERE id > 40 AND id < 6000');
is(fetch('product:14'), '14 hit', 'a change of thousands of rows ends no others');
change('UPDATE product SET n = n + 1 WHERE id < 6000');
is($standby->safe_psql('postgres', $wrong), '0', '... and all of its own');
change('UPDATE product SET n = n - 1 WHERE id < 6000');
fetch("product:$_") for 11 .. 14;
change('UPDATE product SET n = n + 1000');
is(fetch("product:$_"), $_ + 1000 . ' miss', 'so do changes of more keys than a transaction lists') for 11 .. 14;
change('ALTER TABLE product ADD COLUMN size int DEFAULT 7');
is(Standby::fetch($standby, 'product:11', 'size'), '7 miss', 'ALTER TABLE');
is(Standby::fetch($standby, 'product:11', 'size'), '7 hit', '... and it is kept');
change('ALTER TABLE product RENAME COLUMN size TO height');
is(Standby::fetch($standby, 'product:11', 'height'), '7 miss', 'a column has another name');

# Tags.
my $list = q{SELECT cachegrid.fetch('list:3', 'SELECT sum(n) FROM product WHERE category = $1', ARRAY['3'], tags => ARRAY['category:3'])};
my $sum = $primary->safe_psql('postgres', 'SELECT sum(n) FROM product WHERE category = 3');
is($standby->safe_psql('postgres', $list), $sum, 'a list by tag') for 1 .. 2;
change('UPDATE product SET n = n + 1 WHERE id = 13');
is($standby->safe_psql('postgres', $list), $sum + 1, '... is computed when a row of it changes');

# What is invalidated by hand.
my @calls = (
	[ q{cachegrid.invalidate('product:20')}, 'invalidate without writing' ],
	[ q{cachegrid.delete('product:20')}, 'delete' ],
	[ q{cachegrid.clear('product')}, 'clear' ],
	[ q{cachegrid.alter_cache('product', ttl => '1 hour')}, 'alter_cache' ],
	[ q{cachegrid.alter_cache('product', transactional => false)}, 'alter_cache again' ],
	[ q{cachegrid.delete('product:20')}, 'delete at once' ]);
foreach my $call (@calls)
{
	my ($sql, $name) = @$call;

	fetch('product:20');
	is(fetch('product:20'), '1020 hit', "an entry, before $name");
	change("SELECT $sql");
	is(fetch('product:20'), '1020 miss', "... ends by $name on the primary");
}

# Who may read.
$primary->safe_psql('postgres', 'CREATE ROLE reader; GRANT SELECT ON product TO reader; GRANT cachegrid_reader, cachegrid_writer TO reader');
my $grants = $primary->safe_psql('postgres', q{SELECT string_agg(format('GRANT EXECUTE ON FUNCTION %s TO reader', oid::regprocedure), ';')
	FROM pg_proc WHERE proname = 'fetch' AND pronamespace = 'cachegrid'::regnamespace});
$primary->safe_psql('postgres', $grants);
Standby::follow($primary, $standby);
my $as_reader = q{SET ROLE reader; SELECT cachegrid.fetch('product:21') ->> 'n'};
is($standby->safe_psql('postgres', $as_reader), '1021', 'a role reads') for 1 .. 2;
$primary->safe_psql('postgres', 'REVOKE SELECT ON product FROM reader');
Standby::follow($primary, $standby);
my ($status, $out, $error) = $standby->psql('postgres', $as_reader);
like($error, qr/permission denied/, '... and no more when it may not');

# Tokens.
sub query { return $standby->safe_psql('postgres', @_) }
my $token = query(q{SELECT token FROM cachegrid.lookup('product:22')});
is(query(qq{SELECT cachegrid.fill('product:22', '22'::text, '$token')}), 't', 'a token may be used');
is(query(q{SELECT cachegrid.get('product:22')}), '22', '... and the value is kept');
$token = query(q{SELECT token FROM cachegrid.lookup('product:23')});
change('UPDATE product SET n = n + 1 WHERE id IN (22, 23)');
is(query(qq{SELECT cachegrid.fill('product:23', '23'::text, '$token')}), 'f', 'a token from before a change may not');
is(query(q{SELECT cachegrid.get('product:22')}), '', 'what was filled ends like everything');

# What somebody puts there is the standby's own.
query(q{SELECT cachegrid.set('session:1', 'here')});
is(query(q{SELECT cachegrid.get('session:1')}), 'here', 'what is put there is there');
change(q{SELECT cachegrid.set('session:1', 'there')});
is(query(q{SELECT cachegrid.get('session:1')}), 'here', '... whatever is put elsewhere');

# What expires is swept, though there is nobody else to do it.
query(q{SELECT cachegrid.set('brief:' || i, 'x', ttl => '1 ms') FROM generate_series(1, 100) i});
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 0 FROM cachegrid.entries('brief:*')}), 'what expires is gone');
ok($standby->poll_query_until('postgres', q{SELECT expirations >= 100 FROM cachegrid.stat_cache WHERE cache = 'default'}),
	'... and its memory is given back');

# Another database, dropped, and made again with its number.
$primary->safe_psql('postgres', 'CREATE DATABASE other');
my $oid = $primary->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'other'});
my $setup = q{CREATE EXTENSION cachegrid; CREATE TABLE t (id int PRIMARY KEY, n int); SELECT cachegrid.cache_table('t')};
$primary->safe_psql('other', "$setup; INSERT INTO t VALUES (1, 1)");
Standby::follow($primary, $standby);
my $fetch_t = q{SELECT cachegrid.fetch('t:1') ->> 'n'};
is($standby->safe_psql('other', $fetch_t), '1', 'another database') for 1 .. 2;
is($standby->safe_psql('other', q{SELECT hits FROM cachegrid.stat_cache WHERE cache = 't'}), '1', '... has its hits');
my $entries = 'SELECT sum(entries) FROM cachegrid.stat_memory';
my $before = $standby->safe_psql('postgres', $entries);
$standby->safe_psql('other', q{SELECT cachegrid.set('note:' || i, 'old') FROM generate_series(1, 1000) i});
cmp_ok($standby->safe_psql('postgres', $entries), '>', $before + 900, '... and what was put');
change('DROP DATABASE other');
ok($standby->poll_query_until('postgres', "SELECT ($entries) < $before + 500"), '... of which the memory is given back when it is dropped');
$primary->safe_psql('postgres', "CREATE DATABASE other OID $oid");
$primary->safe_psql('other', "$setup; INSERT INTO t VALUES (1, 2)");
Standby::follow($primary, $standby);
is($standby->safe_psql('other', q{SELECT cachegrid.get('note:1')}), '', 'its successor of the same number has none of its entries');
is($standby->safe_psql('other', $fetch_t), '2', '... computed ones neither');

# Watches come and go.
change(q{SELECT cachegrid.unwatch('part')});
($status, $out, $error) = $standby->psql('postgres', q{SELECT cachegrid.fetch('part:1')});
like($error, qr/not watched|no.*watch/i, 'a table that is not watched is refused as on the primary');

$standby->stop;
$primary->stop;
done_testing();
