# Another extension changes rows in its own callback, when all of ours has been
# done: its changes invalidate as well, as long as the transaction is invisible;
# and an error of it leaves nothing behind.

use strict;
use warnings;

use LateChange;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $library = LateChange::build();

$node->init;
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = '$library, cachegrid'
max_prepared_transactions = 10
CONF
$node->start;

sub sql
{
	return $node->safe_psql('postgres', shift);
}

sub ended
{
	return sql('SELECT ended()');
}

# Runs the commands in a transaction at whose end the other extension runs its own.
sub late
{
	my ($command, $commands, $end) = @_;
	my $error;

	$end //= 'COMMIT';
	$node->psql('postgres', "BEGIN; $commands; SET LOCAL late_change.command = \$\$$command\$\$; $end", stderr => \$error);
	return $error;
}

sql('CREATE EXTENSION cachegrid');
sql(slurp_file('test/ended.sql') . <<'SQL');
CREATE TABLE product (id int PRIMARY KEY, category int, price int);
INSERT INTO product SELECT i, i, i FROM generate_series(1, 3) i;
CREATE TABLE unwatched (n int);
INSERT INTO value SELECT 'product', 'product ' || i, 'product:' || i, 'SELECT to_jsonb(p) FROM product p WHERE id = ' || i, NULL FROM generate_series(1, 3) i;
INSERT INTO value SELECT 'product', 'list ' || i, 'list:' || i, 'SELECT jsonb_agg(p ORDER BY id) FROM product p WHERE category = ' || i, ARRAY['category:' || i] FROM generate_series(1, 2) i;
INSERT INTO value VALUES ('product', 'sum', 'sum', 'SELECT to_jsonb(sum(price)) FROM product', NULL);
SELECT cachegrid.watch('product', '{"product:{id}"}', '{"category:{category}"}');
SQL
is(ended(), 'all', 'all is computed');
is(ended(), 'none', '... and kept');

my $change = 'UPDATE product SET price = price + 1 WHERE id = 1';

is(late($change, 'INSERT INTO unwatched VALUES (1)'), '', 'a row is changed late');
is(ended(), 'list 1, product 1, sum', '... which ends its values');
late($change, 'SELECT 1');
is(ended(), 'list 1, product 1, sum', 'in a transaction that had written nothing');
late($change, 'UPDATE product SET price = price + 1 WHERE id = 2');
is(ended(), 'list 1, list 2, product 1, product 2, sum', 'in one that had changed another');
late($change, $change);
is(ended(), 'list 1, product 1, sum', 'in one that had changed the same');
late('TRUNCATE product; INSERT INTO product SELECT i, i, i FROM generate_series(1, 3) i', 'SELECT 1');
is(ended(), 'all', 'a TRUNCATE');
late('INSERT INTO product SELECT i, 3, 0 FROM generate_series(100, 200) i', 'SELECT 1');
is(ended(), 'sum', 'many rows, of a category that nobody asked for');

like(late("$change; SELECT 1 / 0", 'UPDATE product SET price = price + 1 WHERE id = 2'), qr/division by zero/, 'an error late');
my $ended = ended();
unlike($ended, qr/STALE|not kept/, "... costs entries at the most: $ended");
is(ended(), 'none', '... for once');
is(sql('SELECT count(*) FROM cachegrid.stat_prepared'), '0', '... and nobody is in doubt');

# What was set before its row was changed
sql(q{SELECT cachegrid.set('product:1', 'old')});
is(sql(q{SELECT cachegrid.get('product:1')}), 'old', 'a value that somebody put');
late($change, q{SELECT cachegrid.set('product:1', 'older'), cachegrid.set('product:2', 'new')});
is(sql(q{SELECT cachegrid.mget('{product:1,product:2}')}), '{NULL,new}', 'a set whose row is changed late is not installed');
sql(q{SELECT cachegrid.delete('product:1', 'product:2')});
ended();

# Prepared: nothing proves what is touched late
late($change, 'INSERT INTO unwatched VALUES (2)', q{PREPARE TRANSACTION 'p'});
is(ended(), 'list 1, product 1, sum, not kept: list 1, not kept: product 1, not kept: sum', 'a change that is prepared, late');
is(sql('SELECT gid FROM cachegrid.stat_prepared'), 'p', '... is shown');
$node->restart;
ended();
like(ended(), qr/^all, not kept/, 'over a restart nothing is kept');
is(sql('SELECT stamps IS NULL FROM cachegrid.stat_prepared'), 't', '... and it is shown why');
sql(q{COMMIT PREPARED 'p'});
ended();
is(ended(), 'none', 'once it is committed all is');

$node->stop;
done_testing();
