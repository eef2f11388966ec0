# A prepared transaction that outlives the server: it costs what it touches and
# nothing else, if it left word of that; if not, everything computed, until it
# has ended.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_prepared_transactions = 10
restart_after_crash = on
CONF
$node->start;

sub sql
{
	return $node->safe_psql('postgres', shift);
}

sql(<<'SQL');
CREATE EXTENSION cachegrid;
CREATE TABLE product (id int PRIMARY KEY, category int, price int);
INSERT INTO product SELECT n, n, 10 * n FROM generate_series(1, 3) n;
CREATE TABLE other (id int PRIMARY KEY, n int);
INSERT INTO other VALUES (1, 1);
CREATE TABLE unwatched (n int);
SELECT cachegrid.watch('product', ARRAY['product:{id}'], ARRAY['category:{category}']);
SELECT cachegrid.watch('other');
CREATE TABLE fetched (name text, query text);
INSERT INTO fetched VALUES
    ('category 1', $$cachegrid.fetch('list:1', 'SELECT to_jsonb(sum(price)) FROM product WHERE category = 1', tags => '{category:1}')$$),
    ('category 2', $$cachegrid.fetch('list:2', 'SELECT to_jsonb(sum(price)) FROM product WHERE category = 2', tags => '{category:2}')$$),
    ('other', $$cachegrid.fetch('other', 'SELECT to_jsonb(n) FROM other')$$),
    ('product 1', $$cachegrid.fetch('product:1', 'SELECT to_jsonb(price) FROM product WHERE id = 1')$$),
    ('product 2', $$cachegrid.fetch('product:2', 'SELECT to_jsonb(price) FROM product WHERE id = 2')$$),
    ('sum', $$cachegrid.fetch('sum', 'SELECT to_jsonb(sum(price)) FROM product')$$);
CREATE FUNCTION shown() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    was numeric;
    now numeric;
    value text;
    one record;
    answer text;
BEGIN
    FOR one IN SELECT * FROM fetched ORDER BY name LOOP
        SELECT sum(hits) INTO was FROM cachegrid.stat_cache;
        EXECUTE 'SELECT ' || one.query INTO value;
        SELECT sum(hits) INTO now FROM cachegrid.stat_cache;
        answer := concat_ws(', ', answer, one.name || ' ' || value || CASE WHEN now = was THEN '?' ELSE '' END);
    END LOOP;
    RETURN answer;
END $$;
SQL

# What each key gives; those that were no hit are marked.
sub values_now
{
	my ($run) = @_;
	return ($run || \&sql)->('SELECT shown()');
}

sub in_doubt
{
	return sql(q{SELECT gid || ' ' || coalesce(stamps::text, 'unknown') FROM cachegrid.stat_prepared ORDER BY gid});
}

# The file that says what it touches.
sub file_of
{
	my ($gid) = @_;
	return sprintf('pg_stat/cachegrid_prepared.%016x',
		sql("SELECT transaction FROM pg_prepared_xacts WHERE gid = '$gid'"));
}

sub prepare
{
	my ($gid, $command) = @_;
	return sql("BEGIN; $command; PREPARE TRANSACTION '$gid'");
}

sub files
{
	return map { substr($_, length($node->data_dir) + 1) } glob($node->data_dir . '/pg_stat/cachegrid_prepared.*');
}

my $old = 'category 1 10, category 2 20, other 1, product 1 10, product 2 20, sum 60';
my $beside = 'category 1 10?, category 2 20, other 1, product 1 10?, product 2 20, sum 60?';
my $none = 'category 1 10?, category 2 20?, other 1?, product 1 10?, product 2 20?, sum 60?';

is(values_now(), $none, 'all is computed');
is(values_now(), $old, '... and kept');
is(in_doubt(), '', 'nobody is in doubt');

prepare('one', 'UPDATE product SET price = 11 WHERE id = 1');
prepare('nothing', 'INSERT INTO unwatched VALUES (1)');
prepare('read', 'SELECT count(*) FROM product');
is(values_now(), $beside, 'beside a prepared change its values are not kept, all others are');
is(in_doubt(), 'one 3', 'it is shown by its gid');
is(sql(q{SELECT s.xid = p.transaction AND s.owner = current_user AND s.database = current_database()
	FROM cachegrid.stat_prepared s JOIN pg_prepared_xacts p USING (gid)}), 't', '... and its xid');
is(scalar(files()), 1, 'one file says what it touches');

# Restarts of all sorts

sub crash_backend
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $offset = -s $node->logfile;

	kill 'KILL', $session->query_safe('SELECT pg_backend_pid()');
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	$node->poll_query_until('postgres', 'SELECT true');
	eval { $session->quit };
	return;
}

my %restart = (
	'a restart' => sub { $node->restart },
	'the crash of a backend' => \&crash_backend,
	'a shutdown by force' => sub { $node->stop('immediate'); $node->start },
);
foreach my $name (sort keys %restart)
{
	$restart{$name}->();
	is(values_now(), $none, "after $name all is computed");
	is(values_now(), $beside, '... and kept, but for what the prepared change touches');
	is(in_doubt(), 'one 3', '... which is shown');
}
sql(q{COMMIT PREPARED 'one'});
is(in_doubt(), '', 'once it is committed nobody is in doubt');
is(values_now(), 'category 1 11?, category 2 20, other 1, product 1 11?, product 2 20, sum 61?', 'its values are computed');
is(values_now(), 'category 1 11, category 2 20, other 1, product 1 11, product 2 20, sum 61', '... and kept');
sql(q{UPDATE product SET price = 10 WHERE id = 1});
values_now();
sql(q{ROLLBACK PREPARED 'nothing'; ROLLBACK PREPARED 'read'});

prepare('undone', 'UPDATE product SET price = 11 WHERE id = 1');
is(scalar(files()), 1, 'who prepares removes the files of those that have ended');
$node->restart;
values_now();
is(values_now(), $beside, 'again a restart beside a prepared change');
sql(q{ROLLBACK PREPARED 'undone'});
is(values_now(), $beside, 'rolled back, the old values are computed');
is(values_now(), $old, '... and kept');
$node->restart;
values_now();
is(scalar(files()), 0, 'so does the first use after a start');

# One that sets, clears, and changes definitions, and one with more keys than are remembered by name

prepare('clears', q{UPDATE other SET n = 2; SELECT cachegrid.clear('default')});
$node->restart;
values_now();
is(values_now(), $none, 'a prepared clear() over a restart');
is(in_doubt(), 'clears 3', '... costs what it clears');
sql(q{ROLLBACK PREPARED 'clears'});

prepare('alters', q{ALTER TABLE other ALTER n TYPE text USING 'text ' || n});
$node->restart;
my ($status, $out, $error) = $node->psql('postgres', q{SET lock_timeout = '100ms'; SELECT cachegrid.fetch('other', 'SELECT to_jsonb(n) FROM other')});
like($error, qr/lock timeout/, 'a prepared ALTER TABLE holds its table over a restart');
is(sql(q{SELECT cachegrid.get('other') IS NULL}), 't', '... whose value is not served');
sql(q{COMMIT PREPARED 'alters'});
like(values_now(), qr/other "text 1"\?/, 'once it is committed it is computed anew');
like(values_now(), qr/other "text 1",/, '... and kept');
sql(q{DROP TABLE other; CREATE TABLE other (n int); INSERT INTO other VALUES (1); SELECT cachegrid.watch('other')});
values_now();
is(values_now(), $old, 'all as before');

prepare('many', 'INSERT INTO product SELECT n, n, 0 FROM generate_series(10, 10000) n');
$node->restart;
values_now();
is(values_now(), 'category 1 10?, category 2 20?, other 1, product 1 10?, product 2 20?, sum 60?',
	'a bulk change costs its prefixes');
sql(q{ROLLBACK PREPARED 'many'});

# What says nothing, or what is not true: everything computed is refused

my %damage = (
	'that is gone' => sub { unlink $_[0] or die },
	'that is short' => sub { truncate($_[0], 60) or die },
	'with a wrong byte' => sub {
		open(my $file, '+<', $_[0]) or die;
		seek($file, -3, 2);
		print $file 'x';
		close $file;
	},
	'of another transaction' => sub { rename($_[1], $_[0]) or die },
);
foreach my $name (sort keys %damage)
{
	prepare('lost', 'UPDATE product SET price = 11 WHERE id = 1');
	prepare('kept', 'UPDATE product SET price = 21 WHERE id = 2');
	my ($file, $second) = (file_of('lost'), file_of('kept'));
	$node->stop;
	$damage{$name}->($node->data_dir . "/$file", $node->data_dir . "/$second");
	$node->start;
	values_now();
	is(values_now(), $none, "beside a file $name nothing is kept");
	like(in_doubt(), qr/lost unknown/, '... and it is shown who is to blame');
	sql(q{COMMIT PREPARED 'lost'});
	values_now();
	my $after = values_now();
	if ($name eq 'of another transaction')
	{
		like(in_doubt(), qr/^kept unknown$/, 'there are two of them');
		like($after, qr/product 1 11\?/, '... and with one of them left nothing is kept either');
	}
	else
	{
		is(in_doubt(), 'kept 3', 'once it has ended only the other one is in doubt');
		is($after, 'category 1 11, category 2 20?, other 1, product 1 11, product 2 20?, sum 61?',
			'... and costs only what it touches');
	}
	sql(q{ROLLBACK PREPARED 'kept'; UPDATE product SET price = 10 WHERE id = 1});
	values_now();
	is(values_now(), $old, '... and without it all is kept again');
}

# What cannot be written is said, and refused after a restart only

my $folder = $node->data_dir . '/pg_stat';
chmod(0500, $folder) or die;
SKIP:
{
	skip 'folders cannot be write-protected from this user', 3 if open(my $try, '>', "$folder/try");
	my ($status, $out, $error) = $node->psql('postgres',
		q{BEGIN; UPDATE product SET price = 11 WHERE id = 1; PREPARE TRANSACTION 'unwritten'});
	like($error, qr/WARNING:  could not write what the prepared transaction touches: Permission denied/,
		'a file that cannot be written is reported');
	is(values_now(), $beside, '... and does no harm yet');
	chmod(0700, $folder);
	$node->restart;
	values_now();
	is(values_now(), $none, '... but after a restart');
	sql(q{ROLLBACK PREPARED 'unwritten'});
}
chmod(0700, $folder);

# Prepared on a server that had not loaded the library, which reports nothing

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
prepare('unseen', 'UPDATE product SET price = 11 WHERE id = 1');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'");
$node->restart;
values_now();
is(values_now(), $none, 'beside what was prepared without the library nothing is kept');
is(in_doubt(), 'unseen unknown', '... and it is shown');
sql(q{COMMIT PREPARED 'unseen'; UPDATE product SET price = 10 WHERE id = 1});
values_now();
is(values_now(), $old, '... until it has ended');

# A snapshot from before the first use sees it run, though it has ended since

prepare('before', 'UPDATE product SET price = 11 WHERE id = 1');
$node->restart;
my $before = $node->background_psql('postgres');
$before->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $before->query_safe('SELECT pg_export_snapshot()');
sql(q{COMMIT PREPARED 'before'});
values_now();
like(values_now(), qr/product 1 11,/, 'committed before the first use, the new value is kept');
like(values_now(sub { $before->query_safe(shift) }), qr/category 1 10\?.*product 1 10\?.*sum 60\?/,
	'a snapshot from before sees the old one');
my $import = $node->background_psql('postgres');
$import->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'");
like(values_now(sub { $import->query_safe(shift) }), qr/category 1 10\?.*product 1 10\?.*sum 60\?/,
	'... and so does one who imports it');
$_->quit foreach $before, $import;

$node->stop;
done_testing();
