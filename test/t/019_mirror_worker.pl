
# The worker beside what it cannot help: a server without processes for it, and a
# clock that is set back.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

# The launcher takes the only process
my $mirror =
  Mirror->new('worker', 'max_worker_processes = 1', 'max_logical_replication_workers = 0');
my $node = $mirror->node;

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

my $why = 'SELECT last_error FROM cachegrid.stat_mirror';
sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 3000) i");
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->state_is('stopped', 'a mirror without a worker is shown as stopped');
like(sql($why), qr/max_worker_processes/, 'and why');
sql("UPDATE item SET name = 'second' WHERE id = 1");
is($mirror->logged('could not start a cachegrid worker for database', 0),
	1, 'the log tells, once');

# After a restart nobody has told the launcher of the database
$node->restart;
$mirror->state_is('stopped', 'the same after a restart');
like(sql($why), qr/max_worker_processes/, 'for the same reason');

$node->append_conf('postgresql.conf', "max_worker_processes = 16\n");
$node->restart;
$mirror->is_equal('with a process for it');
is(sql('SELECT last_error IS NULL FROM cachegrid.stat_mirror'), 't', 'the reason is gone');

# A library that sets the clock of a process that has it, as a file says
my $shim = PostgreSQL::Test::Utils::tempdir();
append_to_file("$shim/clock.c", <<'EOS');
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long step(void)
{
	char text[32] = "";
	int file = open(getenv("CLOCK_STEP"), O_RDONLY);

	if (file < 0 || read(file, text, sizeof(text) - 1) < 0)
		abort();
	close(file);
	return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_REALTIME)
		now->tv_sec += step();
	return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
	struct timespec precise;
	int result = clock_gettime(CLOCK_REALTIME, &precise);

	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}
EOS
sub set_clock
{
	my ($seconds) = @_;

	unlink("$shim/step.new");
	append_to_file("$shim/step.new", $seconds);
	rename("$shim/step.new", "$shim/step") or die "cannot set the clock: $!";
	return;
}

my $compiles = !system_log('cc', '-shared', '-fPIC', '-o', "$shim/clock.so", "$shim/clock.c");
ok($compiles, 'the clock can be set');
append_to_file("$shim/step", '0');
$node->stop;
{
	local $ENV{CLOCK_STEP} = "$shim/step";
	local $ENV{LD_PRELOAD} = "$shim/clock.so";
	$node->start;
}
$mirror->is_equal('with such a clock');
my $worker = $mirror->worker;
my $today = sql('SELECT current_date');
sql("SELECT cachegrid.set('for an hour', 'value', '1 hour'), cachegrid.set('for a second', 'value', '1 second')");
set_clock(-7 * 24 * 3600);
cmp_ok(sql('SELECT current_date'), 'lt', $today, 'the clock is a week behind');
is(sql("SELECT cachegrid.get('for an hour')"), 'value', '... what lives is not dead');
ok($node->poll_query_until('postgres', "SELECT cachegrid.get('for a second') IS NULL"), '... what has lived its time is');

sql("UPDATE item SET name = 'last week' WHERE id = 2");
$mirror->is_equal('changes go on');
sql("CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO beside VALUES (1)");
sql("SELECT cachegrid.mirror('beside', 'grid')");
$mirror->is_equal('a new mirror begins', 'beside');
sql('DROP TABLE beside');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.mirrors'),
	'and ends');
$mirror->redis->command('DEL', 'cachegrid:owner:item');
ok( $node->poll_query_until(
		'postgres', 'SELECT sweeps > 0 FROM cachegrid.stat_mirror'),
	'Redis is looked at');
sql("SELECT pg_terminate_backend($worker, 60000)");
isnt($mirror->worker, $worker, 'another worker comes');
sql("UPDATE item SET name = 'and again' WHERE id = 3");
$mirror->is_equal('and goes on');

set_clock(30 * 24 * 3600);
cmp_ok(sql('SELECT current_date'), 'gt', $today, 'the clock is a month ahead');
is(sql("SELECT cachegrid.get('for an hour'), cachegrid.ttl('for an hour') BETWEEN '50 min' AND '1 hour'"),
	'value|t', '... what lives has as long to live as before');
is(sql("SELECT cachegrid.get('for a second')"), '', '... what is dead is not revived');
sql("SELECT cachegrid.set('since', 'value', '1 hour')");
set_clock(0);
is(sql("SELECT cachegrid.get('since'), cachegrid.ttl('since') BETWEEN '50 min' AND '1 hour'"),
	'value|t', '... nor is what was set then, when it is right again');

done_testing();
