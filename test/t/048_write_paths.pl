# Ways to write and to read that need more than one server, or a program of
# their own: logical replication in all its forms, pg_restore into a database in
# use, the extended protocol with portals that stop halfway, snapshots that are
# handed on.  Each is followed by what it ended: test/ended.sql says how.

use strict;
use warnings;

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $helper = slurp_file('test/ended.sql');
my $values = <<'SQL';
INSERT INTO value SELECT 'product', 'product ' || i, 'product:' || i, 'SELECT to_jsonb(p) FROM product p WHERE id = ' || i, NULL FROM generate_series(1, 3) i;
INSERT INTO value SELECT 'product', 'list ' || i, 'list:' || i, 'SELECT jsonb_agg(p ORDER BY id) FROM product p WHERE category = ' || i, ARRAY['category:' || i] FROM generate_series(1, 2) i;
INSERT INTO value VALUES ('product', 'sum', 'sum', 'SELECT to_jsonb(sum(price)) FROM product', NULL);
INSERT INTO value VALUES ('sale', 'sale 1', 'sale:1', 'SELECT to_jsonb(s) FROM sale s WHERE id = 1', NULL), ('sale', 'sale 2', 'sale:2', 'SELECT to_jsonb(s) FROM sale s WHERE id = 2', NULL), ('sale', 'count', 'sales', 'SELECT to_jsonb(count(*)) FROM sale_a', NULL);
SQL
my $tables = <<'SQL';
CREATE TABLE product (id int PRIMARY KEY, category int, price int, filler text);
CREATE TABLE sale (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sale_a PARTITION OF sale FOR VALUES IN ('a');
CREATE TABLE sale_b PARTITION OF sale FOR VALUES IN ('b');
SQL
my $rows = <<'SQL';
INSERT INTO product (id, category, price) SELECT i, i, i FROM generate_series(1, 2) i;
INSERT INTO sale VALUES (1, 'a'), (2, 'b');
SQL
my $watch = q{SELECT cachegrid.watch('product', '{"product:{id}"}', '{"category:{category}"}'), cachegrid.watch('sale', '{"sale:{id}"}');};

sub start
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_prepared_transactions = 10
logical_decoding_work_mem = 64kB
wal_retrieve_retry_interval = 100ms
CONF
	$node->start;
	return $node;
}

my $node = start('main');
my $sql = sub { return $node->safe_psql('postgres', shift) };
my $ended = sub { return $node->safe_psql('postgres', "SELECT ended('" . (shift // 'product') . "')") };

$sql->("CREATE EXTENSION cachegrid; $tables $rows $helper $values");
$sql->($watch);
is($ended->(), 'all', 'all is computed');
is($ended->(), 'none', '... and kept');
$ended->('sale');

# The extended protocol.  A message, and what comes back until the server is ready.

my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die "no connection: $!";

sub take
{
	my ($count) = @_;
	my $bytes = '';

	while (length($bytes) < $count)
	{
		sysread($socket, $bytes, $count - length($bytes), length($bytes)) or die 'connection lost';
	}
	return $bytes;
}

# The types of the messages that come; errors are told.
sub answers
{
	my $types = '';

	while (1)
	{
		my ($type, $length) = unpack('aN', take(5));
		my $body = take($length - 4);

		diag($body) if $type eq 'E';
		$types .= $type;
		return $types if $type eq 'Z';
	}
}

sub message { my ($type, $body) = @_; return $type . pack('N', 4 + length($body)) . $body }
sub parse { my ($name, $query) = @_; return message('P', "$name\0$query\0" . pack('n', 0)) }
sub bind_to
{
	my ($name, @values) = @_;
	return message('B', "\0$name\0" . pack('nn', 0, scalar(@values)) . join('', map { pack('N', length($_)) . $_ } @values) . pack('n', 0));
}
sub execute { my ($rows) = @_; return message('E', "\0" . pack('N', $rows)) }
sub sync { return message('S', '') }
sub send_all { $socket->syswrite(join('', @_)); return answers() }

my $user = $sql->('SELECT current_user');
my $startup = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";
$socket->syswrite(pack('N', 4 + length($startup)) . $startup);
answers();

$sql->(q{CREATE FUNCTION write_one(n int) RETURNS int LANGUAGE sql AS 'UPDATE product SET price = price + 1 WHERE id = n RETURNING id'});
$ended->();
is(send_all(parse('', 'UPDATE product SET price = price + 1 RETURNING id'), bind_to(''), execute(1), sync()), '12DsZ',
	'a portal of an UPDATE stops after a row');
is($ended->(), 'list 1, list 2, product 1, product 2, sum', '... having changed all of them');
is(send_all(parse('', 'SELECT write_one(n) FROM generate_series(1, 2) n'), bind_to(''), execute(1), sync()), '12DsZ',
	'a portal of a query with a function that writes stops after a row');
is($ended->(), 'list 1, product 1, sum', '... having changed one');
is(send_all(parse('named', 'UPDATE product SET price = price + 1 WHERE id = $1'), bind_to('named', 1), execute(0), sync()), '12CZ', 'a named statement');
is($ended->(), 'list 1, product 1, sum', '... ends the values of its row');
is(send_all(bind_to('named', 2), execute(0), sync()), '2CZ', 'bound again without being parsed');
is($ended->(), 'list 2, product 2, sum', '... those of the other row');
is(send_all(parse('', 'BEGIN'), bind_to(''), execute(0), bind_to('named', 1), execute(0), parse('', 'ROLLBACK'), bind_to(''), execute(0), sync()),
	'12C2C12CZ', 'in a transaction that is rolled back');
is($ended->(), 'none', '... nothing');

# A reader's portal that stops halfway: nothing but whole values are kept
$sql->('UPDATE product SET price = price + 1');
is( send_all(parse('', q{SELECT cachegrid.fetch('product:' || n, 'SELECT to_jsonb(p) FROM product p WHERE id = ' || n) FROM generate_series(1, 2) n}),
		bind_to(''), execute(1), sync()), '12DsZ', 'a portal of a reader stops after a row');
is($ended->(), 'list 1, list 2, product 2, sum', '... and its value is kept, whole');
$sql->('UPDATE product SET price = price + 1');
my ($status, $out, $error) = $node->psql('postgres', q{SELECT cachegrid.fetch('product:1', 'SELECT 1 / (price - price) FROM product WHERE id = 1')});
like($error, qr/division by zero/, 'a query fails halfway');
is($ended->(), 'list 1, list 2, product 1, product 2, sum', '... and leaves nothing');
$socket->close;

# pgbench sends the same in each protocol
my $script = $node->basedir . '/write.sql';
append_to_file($script, "UPDATE product SET price = price + 1 WHERE id = 1;\n");
foreach my $protocol ('simple', 'extended', 'prepared')
{
	$node->command_ok([ 'pgbench', '-n', '-M', $protocol, '-t', '3', '-f', $script, $node->connstr('postgres') ], "pgbench, $protocol");
	is($ended->(), 'list 1, product 1, sum', '... ends what it changes');
}

# A snapshot that is handed on is as old there as where it comes from

my $giver = $node->background_psql('postgres');
$giver->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $giver->query_safe('SELECT pg_export_snapshot()');
my $price = $giver->query_safe('SELECT price FROM product WHERE id = 1');
$sql->('UPDATE product SET price = price + 1 WHERE id = 1');
is($ended->(), 'list 1, product 1, sum', 'newer values are kept');
my $row = q{cachegrid.fetch('product:1', 'SELECT to_jsonb(p) FROM product p WHERE id = 1') ->> 'price'};
my $taker = $node->background_psql('postgres');
$taker->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'");
is($taker->query_safe("SELECT $row"), $price, 'an imported snapshot reads what the exporter does');
is($giver->query_safe("SELECT $row"), $price, '... and so does the exporter');
is($sql->("SELECT $row"), $price + 1, 'others read the new value');
is($taker->query_safe(q{SELECT hits FROM cachegrid.stat_cache WHERE cache = 'default'}) + 0,
	$giver->query_safe(q{SELECT hits FROM cachegrid.stat_cache WHERE cache = 'default'}), '... without a hit for the old ones');
$taker->query_safe('COMMIT');
$taker->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'");
$sql->('UPDATE product SET price = price + 1 WHERE id = 1');
is($taker->query_safe("SELECT $row"), $price, 'a value filled by it');
is($ended->(), 'list 1, product 1, sum', '... is kept for nobody');
$_->quit foreach $giver, $taker;

# While one computes and others wait for him, the row is changed, and the cache is
# filled with other things: nobody gets what he must not, and nothing old is kept.

$sql->(q{
	CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7);
		RETURN $1;
	END $$;
	UPDATE product SET price = 1});
$ended->();
my $slow = q{cachegrid.fetch('product:1', 'SELECT slow(price) FROM product WHERE id = 1')};
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(7)');
my @sessions = map { $node->background_psql('postgres') } 1 .. 3;
$_->query_until(qr/started/, "\\echo started\nSELECT $slow;\n") foreach @sessions;
$node->poll_query_until('postgres', q{SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') = 1 AND count(*) FILTER (WHERE wait_event_type = 'Extension') = 2
	FROM pg_stat_activity WHERE query LIKE 'SELECT cachegrid.fetch(%'}) or die 'sessions do not wait';
$sql->('UPDATE product SET price = 2 WHERE id = 1');
$sql->(q{SELECT count(cachegrid.add('flood:' || i, repeat('x', 10000))) FROM generate_series(1, 20000) i});
cmp_ok($sql->('SELECT sum(evictions) FROM cachegrid.stat_cache'), '>', 1000, 'entries are evicted meanwhile');
$gate->query_safe('SELECT pg_advisory_unlock(7)');
is(join(' ', map { my $out = $_->query('SELECT 0'); $out =~ s/\n?0$//r } @sessions), '1 1 1', 'who began before the change gets the old value');
is($sql->("SELECT $slow"), '2', '... which is kept for nobody');
is($sql->("SELECT $slow"), '2', 'the new one is read');
$_->quit foreach @sessions, $gate;
$sql->('SELECT cachegrid.clear()');
$ended->();

# pg_restore into a database in use, by COPY and by INSERT, with and without triggers

my $dump = $node->basedir . '/rows';
my %restore = (
	'plain' => [],
	'plain, --inserts' => ['--inserts'],
	'plain, --disable-triggers' => ['--disable-triggers'],
	'custom, --disable-triggers' => [],
	'directory, -j 2' => [],
);
foreach my $name (sort keys %restore)
{
	my ($form, $how) = split(/, /, $name);
	my $file = "$dump.$name";
	my @command = $form eq 'plain' ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file)
	  : ('pg_restore', '-a', '--exit-on-error', '-d', $node->connstr('postgres'), split(/ /, $how), $file);

	$node->command_ok([ 'pg_dump', '-a', '-t', 'product', "--format=$form", @{ $restore{$name} }, '-f', $file, $node->connstr('postgres') ], "rows are dumped: $name");
	$sql->('DELETE FROM product');
	$ended->();
	$node->command_ok(\@command, '... and restored beside values of an empty table');
	is($ended->(), $how && $how =~ /disable/ ? 'all' : 'list 1, list 2, product 1, product 2, sum', '... which ends them');
	is($ended->(), 'none', '... and the new ones are kept');
}
$node->command_ok([ 'pg_dump', '--format=custom', '-f', "$dump.all", $node->connstr('postgres') ], 'all is dumped');
$sql->('UPDATE product SET price = 77');
$ended->();
$node->command_ok([ 'pg_restore', '--clean', '--if-exists', '--exit-on-error', '-t', 'product', '-d', $node->connstr('postgres'), "$dump.all" ],
	'... and a table is dropped and made anew by pg_restore --clean');
is($sql->(q{SELECT cachegrid.get('product:1') IS NULL AND cachegrid.get('sum') IS NULL}), 't', '... which ends its values');
like($sql->(q{SELECT count(*) FROM product WHERE price = 77}), qr/^0$/, '... and brings the old rows');
$sql->(q{ALTER TABLE product ADD PRIMARY KEY (id)}) if $sql->(q{SELECT count(*) FROM pg_constraint WHERE conrelid = 'product'::regclass AND contype = 'p'}) eq '0';
$sql->(q{SELECT cachegrid.watch('product', '{"product:{id}"}', '{"category:{category}"}')});
is($ended->(), 'all', 'watched again it is computed');
is($ended->(), 'none', '... and kept');

# Logical replication: rows as they come, in streams, prepared, and at first

my $subscriber = start('subscriber');
$subscriber->safe_psql('postgres', "CREATE EXTENSION cachegrid; $tables $helper $values");
$subscriber->safe_psql('postgres', $watch);
my $there = sub { return $subscriber->safe_psql('postgres', "SELECT ended('" . (shift // 'product') . "')") };
my $applied = sub { $sql->(shift); $node->wait_for_catchup('products'); return };
my $streaming = $node->pg_version >= 16 ? 'parallel' : 'on';

$there->();
$there->('sale');
$sql->('CREATE PUBLICATION products FOR TABLE product, sale');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION products CONNECTION '" . $node->connstr
	  . " dbname=postgres' PUBLICATION products WITH (two_phase = true, streaming = $streaming)");
$subscriber->wait_for_subscription_sync($node, 'products');
is($there->(), 'list 1, list 2, product 1, product 2, sum', 'the first copy ends what was computed from the empty table');
is($there->('sale'), 'all', '... and so in a partitioned one');
$applied->('INSERT INTO product (id, category, price) VALUES (3, 1, 3)');
is($there->(), 'list 1, product 3, sum', 'an applied INSERT ends what it changes');
$applied->('UPDATE product SET category = 2 WHERE id = 3');
is($there->(), 'list 1, list 2, product 3, sum', 'an UPDATE');
$applied->('UPDATE product SET id = 4 WHERE id = 3');
is($there->(), 'list 2, product 3, sum', 'one of the key');
$applied->('DELETE FROM product WHERE id = 4');
is($there->(), 'list 2, sum', 'a DELETE');
$applied->(q{UPDATE sale SET region = 'b' WHERE id = 1});
is($there->('sale'), 'count, sale 1', 'a row that moves to another partition');
$applied->('BEGIN; UPDATE product SET price = 5 WHERE id = 1; SAVEPOINT s; UPDATE product SET price = 5 WHERE id = 2; ROLLBACK TO s; COMMIT');
is($there->(), 'list 1, product 1, sum', 'a transaction with a savepoint that was rolled back');
$applied->(q{BEGIN; UPDATE product SET price = 6 WHERE id = 1; INSERT INTO product SELECT i, 9, 0, repeat('x', 100) FROM generate_series(100, 5000) i; COMMIT});
is($there->(), 'list 1, product 1, sum', "one that is streamed ($streaming)");
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM product'), $sql->('SELECT count(*) FROM product'), '... and has arrived');
$applied->(q{BEGIN; UPDATE product SET price = 7 WHERE id = 1; PREPARE TRANSACTION 'p'});
my $doubt = $subscriber->safe_psql('postgres', 'SELECT stamps FROM cachegrid.stat_prepared');
is($doubt, '3', 'a transaction that is prepared there, too');
is($there->(), 'list 1, product 1, sum, not kept: list 1, not kept: product 1, not kept: sum', '... keeps its values from being kept');
$applied->(q{COMMIT PREPARED 'p'});
is($there->(), 'list 1, product 1, sum', 'once it is committed they are computed');
is($there->(), 'none', '... and kept');
$applied->(q{BEGIN; UPDATE product SET price = 8 WHERE id = 1; PREPARE TRANSACTION 'p'});
$applied->(q{ROLLBACK PREPARED 'p'});
is($there->(), 'list 1, product 1, sum', 'rolled back');
is($there->(), 'none', '... they are kept, too');
$applied->(q{BEGIN; UPDATE product SET price = 9 WHERE id = 2; PREPARE TRANSACTION 'p'});
$subscriber->restart;
$there->();
is($there->(), 'list 2, product 2, sum, not kept: list 2, not kept: product 2, not kept: sum', 'prepared, over a restart of the subscriber');
$applied->(q{COMMIT PREPARED 'p'});
is($there->(), 'list 2, product 2, sum', '... and committed');
is($there->(), 'none', '... and kept');
$applied->('TRUNCATE product');
is($there->(), 'all', 'a TRUNCATE');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION products');
$subscriber->stop;
$node->stop;

done_testing();
