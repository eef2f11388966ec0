# Preloading, as others see it, and what caches are kept warm with when the server has started.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Crowd;

my $crowd = Crowd->new;
my $node = $crowd->{node};

# Progress, while another session loads

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION cachegrid');
$crowd->sql(q{SELECT cachegrid.create_cache('slow', ttl => '1 hour', loader => 'SELECT slow($1)')});
$crowd->begin;
$crowd->shut;
my $progress = q{SELECT concat_ws(' ', cache, keys_total, keys_done, keys_loaded) FROM cachegrid.stat_preload};
my $loads = q{SELECT cachegrid.preload('slow', ARRAY['slow:1', 'slow:2', 'slow:3'])};
my $session = $crowd->start($loads);
ok($node->poll_query_until('postgres', $progress, 'slow 3 0 0'), 'a preload under way is seen');
is($crowd->sql('SELECT count(*) FROM cachegrid.stat_preload JOIN pg_stat_activity USING (pid)'), 1, '... with its process');
is($node->safe_psql('other', $progress), '', '... in its database');
$crowd->open;
is($crowd->finish($session), 3, 'it returns how many it has loaded');
is($crowd->sql($progress), '', '... and is not under way any more');
is($crowd->runs, 3, '... for so many runs of the loader');

# What another session computes is not waited for.
$crowd->sql(q{SELECT cachegrid.clear('slow')});
$crowd->begin;
$crowd->shut;
my $other = $crowd->start(q{SELECT cachegrid.fetch('slow:2')});
$node->poll_query_until('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 1);
is($crowd->sql(q{SELECT cachegrid.preload('slow', ARRAY['slow:2'])}), 0, 'what another session computes is not loaded, nor waited for');
$crowd->open;
is($crowd->finish($other), 2, '... and that session has it');
is($crowd->runs, 1, '... for one run of the loader');

# A preload that is ended
foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	$crowd->sql(q{SELECT cachegrid.clear('slow')});
	$crowd->begin;
	$crowd->shut;
	$session = $crowd->start($loads);
	$node->poll_query_until('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 1);
	$crowd->sql("SELECT $function(pid) FROM cachegrid.stat_preload");
	ok($node->poll_query_until('postgres', 'SELECT count(*) FROM cachegrid.stat_preload', 0), "$function ends it");
	$crowd->open;
	$function eq 'pg_cancel_backend' ? $crowd->finish($session) : $session->{run}->kill_kill;
	is($crowd->sql($loads), 3, '... and another goes on');
}

# Kept warm: for the role, by its rights, its search path

$crowd->sql(<<'SQL');
CREATE ROLE app LOGIN IN ROLE cachegrid_writer;
CREATE ROLE limited LOGIN;
CREATE ROLE risen LOGIN;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO app, risen;
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO app;
ALTER ROLE app SET search_path = shop, public;
CREATE TABLE shop.product (id int PRIMARY KEY, name text);
INSERT INTO shop.product SELECT i, session_user || ' ' || i FROM generate_series(1, 20) AS i;
GRANT SELECT ON shop.product TO app;
CREATE TABLE secret (id int);
CREATE SEQUENCE runs;
GRANT USAGE ON SEQUENCE runs TO app;
CREATE FUNCTION noted(value jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN value || to_jsonb(session_user::text || ' ' || current_user || ' ' || current_setting('is_superuser') || ' ' || current_setting('transaction_read_only'));
END $$;
SELECT cachegrid.create_cache('product', ttl => '1 hour', loader => 'SELECT noted(jsonb_build_array(name)) FROM product WHERE id = $1',
	keep_warm => $$SELECT 'product:' || id FROM product WHERE id <= 10$$, keep_warm_role => 'app');
SELECT cachegrid.create_cache('bad', loader => 'SELECT 1', keep_warm => 'SELECT ''bad:'' || id FROM secret', keep_warm_role => 'app');
SELECT cachegrid.create_cache('worse', loader => 'SELECT 1', keep_warm => 'nonsense', keep_warm_role => 'app');
SELECT cachegrid.create_cache('broken', ttl => '1 hour', loader => 'SELECT 1 / $1', keep_warm => 'SELECT ''broken:'' || i FROM generate_series(-1, 1) AS i', keep_warm_role => 'app');
SELECT cachegrid.create_cache('limited', ttl => '1 hour', loader => 'SELECT 1', keep_warm => 'SELECT ''limited:1''', keep_warm_role => 'limited');
SELECT cachegrid.create_cache('risen', ttl => '1 hour', loader => 'SELECT 1', keep_warm => 'SELECT ''risen:1''', keep_warm_role => 'risen');
ALTER ROLE risen SUPERUSER;
SQL
# Starts of processes are in the log then.
$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
my $here = q{SELECT count(*) FROM cachegrid.entries('product:*')};
my $got = q{SELECT cachegrid.get('product:7')};
my @app = (extra_params => [ '-U', 'app' ]);

is($crowd->sql($here), 0, 'nothing is loaded before the server starts');
foreach my $how ('a restart', 'a crash')
{
	my $offset = -s $node->logfile;

	if ($how eq 'a restart')
	{
		$node->restart;
	}
	else
	{
		my $victim = $node->background_psql('postgres');

		kill 'KILL', $victim->query_safe('SELECT pg_backend_pid()');
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
		$victim->{run}->kill_kill;
		$node->poll_query_until('postgres', 'SELECT true');
	}
	ok($node->poll_query_until('postgres', $here, 10), "after $how the keys that are to be warm are loaded");
	is($node->safe_psql('postgres', $got, @app), '["postgres 7", "app app off on"]', '... for the role, and by it alone');
	like($node->safe_psql('postgres', q{SELECT cachegrid.fetch('product:7'); SELECT loads FROM cachegrid.stat_cache WHERE cache = 'product'}, @app),
		qr/app off on.*\n10$/, '... whose sessions compute none of them');
	is($crowd->sql($got), '', '... and nobody else');
	ok($node->poll_query_until('postgres', q{SELECT count(*) FROM cachegrid.entries('broken:*')}, 2), 'a key that cannot be loaded costs no others');
	ok($node->wait_for_log(qr/permission denied for table secret/, $offset), 'who may not read is told in the log');
	ok($node->wait_for_log(qr/syntax error at or near "nonsense"/, $offset), '... and so is a query that is none');
	ok($node->wait_for_log(qr/permission denied for database "postgres"/, $offset), '... and a role that may not connect');
}
# The loader ends when it has nothing to do; those that nobody has loaded do not come back.
ok($node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cachegrid loader'}, 0), 'loaders end');
is($crowd->sql($here), 10, 'what is warm stays');
is($crowd->sql(q{SELECT count(*) FROM cachegrid.entries('risen:*')}), 0, 'nothing is loaded by a role that is a superuser by now');
my $starts = () = slurp_file($node->logfile) =~ /starting background worker process "cachegrid loader/g;
cmp_ok($starts, '<=', 12, '... and no loader is started for it again and again');

# What is needed by others
$crowd->sql('DROP EXTENSION cachegrid CASCADE');
$node->restart;
is($crowd->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cachegrid loader'}), 0, 'without the extension nothing is loaded');
$node->stop;
done_testing();
