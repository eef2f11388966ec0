# One session computes a value while the others that miss it wait: once for all
# of them, through cancels, errors, and the death of who computes.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_connections = 120
cachegrid.lease_timeout = '10min'
restart_after_crash = on
CONF
$node->start;

sub sql
{
	return $node->safe_psql('postgres', shift);
}

# The loader waits for an advisory lock; it fails as often as it is told to.
sql(<<'SQL');
CREATE EXTENSION cachegrid;
CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7);
	IF cachegrid.decr('failures') >= 0 THEN
		RAISE 'loader failed';
	END IF;
	RETURN n;
END $$;
SQL

my $key = 0;
my $loads;
my $control = $node->background_psql('postgres');

sub loads
{
	return sql('SELECT sum(loads) FROM cachegrid.stat_cache');
}

sub fetching
{
	my $number = shift;

	return "SELECT cachegrid.fetch('slow:$number', 'SELECT slow($number)', ttl => '1 hour')";
}

# A new session, set up as told, that fetches; does not wait for the value.
sub start_fetch
{
	my ($number, $setup) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query($setup) if $setup;
	$session->query_until(qr/started/, "\\echo started\n" . fetching($number) . ";\n");
	return $session;
}

# What the session has printed since it started to fetch.
sub finish
{
	my $session = shift;
	my $out = $session->query('SELECT 0');

	$session->quit;
	$out =~ s/\n?0$//;
	return $out;
}

sub sessions_waiting_for
{
	my $type = shift;

	return "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = '$type'"
	  . " AND query LIKE '%fetch(%' AND state = 'active'";
}

# Waits until so many sessions compute, and so many wait for them.
sub poll
{
	my ($computing, $waiting) = @_;

	$node->poll_query_until('postgres', sessions_waiting_for('Lock'), $computing)
	  and $node->poll_query_until('postgres', sessions_waiting_for('Extension'), $waiting)
	  or die 'sessions do not wait as they should';
	return;
}

# A new key, whose loader will wait.
sub hold
{
	$control->query_safe('SELECT pg_advisory_lock(7)');
	$loads = loads();
	return ++$key;
}

sub release
{
	$control->query_safe('SELECT pg_advisory_unlock(7)');
	return;
}

# One run

my $number = hold();
my $first = start_fetch($number);
poll(1, 0);
my @others = map { start_fetch($number) } 1 .. 3;
poll(1, 3);
is(sql("SELECT cachegrid.fetch('other', 'SELECT 5', ttl => '1 hour')"),
	5, 'another key is not waited for');
release();
is(finish($first), $number, 'who computes gets the value');
is(finish($_), $number, '... and so does who waited') for @others;
is(loads() - $loads, 2, 'the loader ran once, and that of the other key');
is(sql(fetching($number)), $number, 'the value is kept');
is(loads() - $loads, 2, '... and served');

# Waiters that do not wait to the end

$number = hold();
$first = start_fetch($number);
poll(1, 0);
my $timed = start_fetch($number, "SET statement_timeout = '300ms'");
my $cancelled = start_fetch($number);
my $other = start_fetch($number);
is(finish($timed), '', 'a waiter obeys statement_timeout');
poll(1, 2);
sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Extension'
	AND query LIKE '%fetch(%' ORDER BY backend_start LIMIT 1});
poll(1, 1);
release();
is(finish($first), $number, 'who computes is not disturbed');
is(join('', sort(finish($cancelled), finish($other))),
	$number, 'one waiter was cancelled, the other has the value');
is(loads() - $loads, 1, 'the loader ran once');

$number = hold();
$first = start_fetch($number);
poll(1, 0);
$other = start_fetch($number, "SET cachegrid.lease_timeout = '10ms'");
poll(2, 0);
release();
is(finish($_), $number, 'after lease_timeout a waiter computes, too') for $first, $other;
is(loads() - $loads, 2, 'the loader ran twice');

$number = hold();
$first = start_fetch($number);
poll(1, 0);
$other = start_fetch($number, 'BEGIN; CREATE TABLE mine (n int)');
poll(2, 0);
release();
is(finish($_), $number, 'who has written does not wait') for $first, $other;

# The holder fails, or dies

$number = hold();
sql(q{SELECT cachegrid.set('failures', 1::bigint)});
$first = start_fetch($number);
poll(1, 0);
@others = map { start_fetch($number) } 1 .. 3;
poll(1, 3);
release();
is(finish($first), '', 'who computes gets the error of the loader');
is(finish($_), $number, '... and the others the value') for @others;
is(loads() - $loads, 1, 'one of them ran the loader');

$number = hold();
$first = start_fetch($number);
poll(1, 0);
$other = start_fetch($number);
poll(1, 1);
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
	AND query LIKE '%fetch(%'});
poll(1, 0);
release();
is(finish($other), $number, 'who waited goes on when who computed is terminated');
is(loads() - $loads, 1, 'its run is the only one to end');
eval { $first->quit };

# A hundred sessions

$loads = loads();
my $script = $node->basedir . '/fetch.sql';
append_to_file($script,
	"SELECT cachegrid.fetch('many', 'SELECT pg_sleep(0.5)::text', ttl => '1 hour');\n");
$node->command_ok(
	[
		'pgbench', '--no-vacuum', '--client=100', '--transactions=1',
		"--file=$script", 'postgres'
	],
	'100 sessions fetch one key');
is(loads() - $loads, 1, 'the loader ran once for 100 sessions');

# A crash while somebody computes

$number = hold();
$first = start_fetch($number);
poll(1, 0);
my $offset = -s $node->logfile;
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%fetch(%'");
kill 'KILL', $pid;
$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
$node->poll_query_until('postgres', 'SELECT true');
is(sql(fetching($number)), $number, 'after a crash nobody holds the lease');
eval { $_->quit } for $first, $control;

done_testing();
