# The cache over the life of a server: not preloaded, a restart, a backend
# that is killed, prepared transactions on both sides of these, and databases
# that must not see each other.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
max_prepared_transactions = 10
restart_after_crash = on
wal_level = replica
max_wal_senders = 1
CONF
$node->start;

sub sql
{
	return $node->safe_psql('postgres', shift);
}

# The value of the product, and whether it was a hit.
sub fetch_product
{
	my $hits = hits();
	my $value = sql(q{SELECT cachegrid.fetch('product:1',
		'SELECT to_jsonb(price) FROM product WHERE id = $1', '{1}')});

	return "$value " . (hits() > $hits ? 'hit' : 'miss');
}

sub hits
{
	return sql(q{SELECT sum(hits) FROM cachegrid.stat_cache});
}

# Kills the session's backend as a crash would, and waits until the server has
# recovered from it.
sub crash_backend
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $offset = -s $node->logfile;

	kill 'KILL', $pid;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	$node->poll_query_until('postgres', 'SELECT true');
	eval { $session->quit; };
	return;
}

# Not preloaded

$node->safe_psql('postgres', 'CREATE EXTENSION cachegrid');
my ($status, $out, $error) =
  $node->psql('postgres', q{\set VERBOSITY verbose
SELECT cachegrid.get('k')});
isnt($status, 0, 'without preloading there is no cache');
like($error, qr/55000: .*shared_preload_libraries/, '... and the error says why');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'");
$node->restart;

# A restart

sql(q{SELECT cachegrid.set('k', 'v')});
is(sql(q{SELECT cachegrid.get('k')}), 'v', 'a value is there');
$node->restart;
is(sql(q{SELECT cachegrid.get('k')}), '', 'after a restart it is a miss');
is(sql(q{SELECT count(*) FROM cachegrid.entries()}), '0', '... and nothing else is there');

sql(q{CREATE TABLE product (id int PRIMARY KEY, price int);
	INSERT INTO product VALUES (1, 10);
	SELECT cachegrid.watch('product', keys => ARRAY['product:{id}'])});
is(fetch_product(), '10 miss', 'a watched row is computed');
is(fetch_product(), '10 hit', '... and found');
my $token = sql(q{SELECT token FROM cachegrid.lookup('page')});
is(sql(qq{SELECT cachegrid.fill('page', 'old', '$token')}), 't', 'a value is filled by its token');
$token = sql(q{SELECT token FROM cachegrid.lookup('other page')});
$node->restart;
is(sql(qq{SELECT cachegrid.fill('other page', 'old', '$token')}), 'f', 'a token does not outlive the server');
is(sql(q{SELECT cachegrid.exists('other page')}), 'f', '... and its value is not kept');
is(fetch_product(), '10 miss', 'after a restart it is computed again');
is(fetch_product(), '10 hit', '... and found again');
sql(q{UPDATE product SET price = 11});
is(fetch_product(), '11 miss', 'the watch outlived the restart');

# A killed backend

is(fetch_product(), '11 hit', 'a value is there before the crash');
sql(q{SELECT cachegrid.set('k', 'v')});
crash_backend();
is(sql(q{SELECT cachegrid.get('k')}), '', 'after the crash of a backend the cache is empty');
is(fetch_product(), '11 miss', '... a watched row is computed again');
is(fetch_product(), '11 hit', '... and found');

# A transaction that dies with its backend leaves nothing

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe(q{BEGIN; SELECT cachegrid.set('k', 'unborn'); UPDATE product SET price = 12});
sql("SELECT pg_terminate_backend($pid, 10000)");
eval { $session->quit; };
is(sql(q{SELECT cachegrid.get('k')}), '', 'what a terminated backend had set is not there');
is(fetch_product(), '11 hit', '... and what it had changed was not invalidated');

# Prepared transactions

sql(q{BEGIN; UPDATE product SET price = 20; PREPARE TRANSACTION 'twenty'});
is(fetch_product(), '11 miss', 'while a change is prepared the old value is computed');
is(fetch_product(), '11 miss', '... every time');
sql(q{COMMIT PREPARED 'twenty'});
is(fetch_product(), '20 miss', 'once it is committed, by another session, the new one');
is(fetch_product(), '20 hit', '... and found');

sql(q{BEGIN; UPDATE product SET price = 30; PREPARE TRANSACTION 'thirty'});
$node->restart;
is(fetch_product(), '20 miss', 'a restart over a prepared change: the old value');
is(fetch_product(), '20 miss', '... is not kept');
crash_backend();
is(fetch_product(), '20 miss', 'nor after a crash');
is(fetch_product(), '20 miss', '... is it kept');
$node->stop('immediate');
$node->start;
is(fetch_product(), '20 miss', 'nor after the server was shut down by force');
is(fetch_product(), '20 miss', '... is it kept');
sql(q{COMMIT PREPARED 'thirty'});
is(fetch_product(), '30 miss', 'committed then, the new value');
is(fetch_product(), '30 hit', '... is kept');

sql(q{BEGIN; UPDATE product SET price = 40; PREPARE TRANSACTION 'forty'});
$node->restart;
is(fetch_product(), '30 miss', 'again a restart over a prepared change');
sql(q{ROLLBACK PREPARED 'forty'});
is(fetch_product(), '30 miss', 'rolled back, the old value');
is(fetch_product(), '30 hit', '... is kept');

# A commit that waits, for a standby that there is not, while a cache is dropped

sql(q{SELECT cachegrid.create_cache('short'); SELECT cachegrid.set('k', 'old'); SELECT cachegrid.set('l', 'old')});
sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
sql(q{SELECT pg_reload_conf()});
ok($node->poll_query_until('postgres', q{SHOW synchronous_standby_names}, 'nobody'), 'commits wait');
$session = $node->background_psql('postgres');
$session->query_until(qr/waiting/, q{BEGIN; UPDATE product SET price = 31; SELECT cachegrid.set('k', 'new');
\\echo waiting
COMMIT;
});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}),
	'one has stamped and does');
is(sql(q{SELECT cachegrid.get('k')}), 'old', 'the old value is there');
sql(q{SET synchronous_commit = local; SELECT cachegrid.drop_cache('short')});
sql(q{ALTER SYSTEM RESET synchronous_standby_names});
sql(q{SELECT pg_reload_conf()});
$session->quit;
isnt(sql(q{SELECT cachegrid.get('k')}), 'old', 'after the commit it is not');
is(sql(q{SELECT cachegrid.get('l')}), 'old', 'other keys are as they were');
is(fetch_product(), '31 miss', 'and what was changed is computed');

# Databases

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION cachegrid');
sql(q{SELECT cachegrid.set('shared', 'here')});
is($node->safe_psql('other', q{SELECT cachegrid.get('shared')}),
	'', 'a database does not see the keys of another');
$node->safe_psql('other', q{SELECT cachegrid.set('shared', 'there')});
is(sql(q{SELECT cachegrid.get('shared')}), 'here', '... nor overwrites them');
$node->safe_psql('other', q{SELECT cachegrid.clear()});
is(sql(q{SELECT cachegrid.get('shared')}), 'here', '... nor clears them');
$node->safe_psql('postgres', 'DROP DATABASE other');
is(sql(q{SELECT cachegrid.get('shared')}), 'here', 'a dropped database takes nothing along');
foreach my $round (1, 2)
{
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	is( $node->safe_psql(
			'other', q{CREATE EXTENSION cachegrid;
		SELECT count(cachegrid.create_cache('c' || i)) FROM generate_series(1, 200) AS i}),
		'200', "a database may have 200 caches, round $round");
	$node->safe_psql('postgres', 'DROP DATABASE other');
}

# Drop and create again

sql(q{DROP EXTENSION cachegrid CASCADE});
sql(q{UPDATE product SET price = 50});
is(sql(q{SELECT price FROM product}), '50', 'without the extension tables are just tables');
sql(q{CREATE EXTENSION cachegrid;
	SELECT cachegrid.watch('product', keys => ARRAY['product:{id}'])});
is(fetch_product(), '50 miss', 'with it again, nothing old is served');
is(fetch_product(), '50 hit', '... and hits are back');

$node->stop;
done_testing();
