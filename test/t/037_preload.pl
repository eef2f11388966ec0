# Preloading, as others see it.

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

$node->stop;
done_testing();
