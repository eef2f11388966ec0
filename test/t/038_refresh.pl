# Values that are refreshed in the background: those that are used, those most used first,
# within a budget; and what becomes of it when something fails.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Crowd;

my $crowd = Crowd->new('cachegrid.refresh_workers' => 1);
my $node = $crowd->{node};
my @app = (extra_params => [ '-U', 'app' ]);
my $loaders = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cachegrid loader'};

$crowd->sql(<<'SQL');
CREATE ROLE app LOGIN IN ROLE cachegrid_writer;
CREATE ROLE other LOGIN IN ROLE cachegrid_writer;
CREATE ROLE nobody IN ROLE cachegrid_writer;
GRANT nobody TO app;
CREATE SCHEMA mine;
GRANT USAGE ON SCHEMA mine TO app;
CREATE TABLE work (id int PRIMARY KEY, value text, broken boolean DEFAULT false, seconds float8 DEFAULT 0);
INSERT INTO work SELECT i, 'first' FROM generate_series(1, 100) AS i;
GRANT SELECT ON work TO app, other, nobody;
-- Tells who has computed it, in which sort of process.
CREATE FUNCTION work(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	w work := (SELECT w FROM work AS w WHERE id = n);
BEGIN
	PERFORM cachegrid.incr('runs'), cachegrid.incr('run:' || n), pg_sleep(w.seconds);
	PERFORM cachegrid.set('order:all', coalesce(cachegrid.get('order:all'), '') || n || ' ');
	IF w.broken THEN
		RAISE EXCEPTION 'no luck with %', n;
	END IF;
	RETURN concat_ws(' ', w.value, (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()), session_user, current_setting('is_superuser'));
END $$;
CREATE FUNCTION mine.work(n int) RETURNS text LANGUAGE sql AS $$ SELECT 'mine ' || value FROM work WHERE id = n $$;
SELECT cachegrid.create_cache('order', transactional => false);
SELECT cachegrid.create_cache('work', ttl => '4 s', refresh_ahead => 0.25, loader => 'SELECT work($1)');
SQL

sub app
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query, @app);
}

# Waits until the query says so to the role.
sub poll
{
	my ($query, $expected, $what) = @_;
	my $last = '';

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$last = app($query);
		return pass($what) if $last eq $expected;
		usleep(100_000);
	}
	return is($last, $expected, $what);
}

sub fetch
{
	my ($number) = @_;

	return app("SELECT cachegrid.fetch('work:$number') ->> 0");
}

sub runs_of
{
	my ($number) = @_;

	return $crowd->sql("SELECT coalesce(cachegrid.get('run:$number'), '0')");
}

# In use, and cold

is(fetch(1), 'first client backend app off', 'a session computes a value');
is(fetch(2), 'first client backend app off', '... and another one');
$crowd->sql(q{UPDATE work SET value = 'second'});
is(fetch(1), 'first client backend app off', 'they are hits');
poll(q{SELECT cachegrid.fetch('work:1') ->> 0}, 'second cachegrid loader app off',
	'what is used is refreshed by a loader, which is the role that uses it');
is(runs_of(2), 1, 'what is not used is not');
is($crowd->sql(q{SELECT refreshes FROM cachegrid.stat_cache WHERE cache = 'work'}), 1, 'it is counted');
is($crowd->sql(q{SELECT usename FROM pg_stat_activity WHERE backend_type = 'cachegrid loader'}), 'app', 'the loader is seen');
poll(q{SELECT cachegrid.get('work:2') IS NULL}, 't', 'a cold key expires');
is(runs_of(2), 1, '... uncomputed');

# It is used for long: no session ever computes it again.
my $until = time + 6;
my %seen;
$seen{fetch(1) =~ s/^\w+ //r}++ while time < $until;
is_deeply([ keys %seen ], ['cachegrid loader app off'], 'what is used all the time is computed by loaders alone');
is($crowd->sql(q{SELECT stale FROM cachegrid.stat_cache WHERE cache = 'work'}), 0, '... and never expires');

# The role's own view of things
is(app(q{SET search_path = mine, public; SELECT cachegrid.fetch('work:3')}), '"mine second"', 'another search path finds another function');
$crowd->sql(q{UPDATE work SET value = 'other' WHERE id = 3});
my $refreshes = q{SELECT refreshes FROM cachegrid.stat_cache WHERE cache = 'work'};
my $before = $crowd->sql($refreshes);
poll(q{SET search_path = mine, public; SELECT cachegrid.fetch('work:3') ->> 0}, 'mine other', '... for the session that has it');
is($crowd->sql($refreshes), $before + 1, '... and so does the loader');

# Superusers, and roles that may not log in, compute by themselves.
foreach my $who ('postgres', 'nobody')
{
	$before = $crowd->sql($refreshes);
	my $query = $who eq 'postgres' ? '' : 'SET ROLE nobody; ';
	my @as = $who eq 'postgres' ? () : @app;

	$node->safe_psql('postgres', "${query}SELECT cachegrid.fetch('work:4')", @as);
	$until = time + 3;
	$node->safe_psql('postgres', "${query}SELECT cachegrid.fetch('work:4')", @as) while time < $until;
	is($crowd->sql($refreshes), $before, "$who: nobody computes for it");
}

# Stale while the background computes

$crowd->sql(q{SELECT cachegrid.alter_cache('work', ttl => '1 ms', stale_ttl => '1 hour', refresh_ahead => 1)});
fetch(5);
$crowd->sql(q{UPDATE work SET value = 'third', seconds = 0.5});
my $began = time;
is(fetch(5), 'second client backend app off', 'past its time a value is given by who finds it first, too');
cmp_ok(time - $began, '<', 0.4, '... at once');
poll(q{SELECT cachegrid.fetch('work:5') ->> 0}, 'third cachegrid loader app off', '... and refreshed by a loader');
$crowd->sql(q{UPDATE work SET seconds = 0});

# Most used first: while the loader is busy with one, requests come for others.
$crowd->sql(q{SELECT cachegrid.alter_cache('work', ttl => '1 ms', stale_ttl => '1 hour', refresh_ahead => 1)});
app("SELECT cachegrid.fetch('work:' || i) FROM generate_series(10, 14) AS i");
$crowd->sql(q{UPDATE work SET seconds = 3 WHERE id = 10; SELECT cachegrid.delete('order:all')});
fetch(10);
$node->poll_query_until('postgres', q{SELECT cachegrid.get('run:10')}, 2) or die 'the loader does not begin';
my %uses = (11 => 1, 12 => 30, 13 => 3, 14 => 10);
app(join('', map { "SELECT cachegrid.fetch('work:$_') FROM generate_series(1, $uses{$_});" } sort keys %uses));
ok($node->poll_query_until('postgres', q{SELECT cachegrid.get('order:all') ~ '11 '}), 'all are refreshed');
like($crowd->sql(q{SELECT cachegrid.get('order:all')}), qr/\b10 12 14 13 11 /, '... those that are used most first');

# A broken loader
$crowd->sql(q{UPDATE work SET broken = true, seconds = 0});
$before = $crowd->sql(q{SELECT load_errors FROM cachegrid.stat_cache WHERE cache = 'work'});
$until = time + 0.9;
app(q{SELECT cachegrid.fetch('work:11') FROM generate_series(1, 100)}) while time < $until;
my $errors = $crowd->sql(q{SELECT load_errors FROM cachegrid.stat_cache WHERE cache = 'work'}) - $before;
cmp_ok($errors, '>=', 1, 'a broken loader is tried');
cmp_ok($errors, '<=', 2, '... and not for each use');
like($crowd->sql(q{SELECT last_error FROM cachegrid.stat_cache WHERE cache = 'work'}), qr/no luck with 11/, '... and its error is told');
$crowd->sql(q{UPDATE work SET broken = false});

# A budget: half a second of loads in ten, by and by
$crowd->sql(q{UPDATE work SET seconds = 0.2; SELECT cachegrid.alter_cache('work', ttl => '1 ms', stale_ttl => '1 hour', refresh_ahead => 1)});
app("SELECT cachegrid.fetch('work:' || i) FROM generate_series(20, 39) AS i");
$node->append_conf('postgresql.conf', "cachegrid.refresh_time = '100ms'");
$node->reload;
$node->poll_query_until('postgres', "SHOW cachegrid.refresh_time", '100ms');
$before = $crowd->sql($refreshes);
$began = time;
$until = time + 5;
app("SELECT cachegrid.fetch('work:' || i) FROM generate_series(20, 39) AS i WHERE i % 20 = 0") while time < $until;
my $done = $crowd->sql($refreshes) - $before;
cmp_ok($done, '>=', 1, 'with a budget something is refreshed');
cmp_ok($done * 0.2, '<=', 0.1 * (time - $began + 2) + 0.4, '... and no more than it allows');
$node->append_conf('postgresql.conf', "cachegrid.refresh_time = '10s'\ncachegrid.refresh_workers = 3");
$node->reload;
$crowd->sql(q{UPDATE work SET seconds = 2});
app("SELECT cachegrid.fetch('work:' || i) FROM generate_series(20, 39) AS i");
ok($node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cachegrid loader' AND wait_event = 'PgSleep'}, 3), 'several load at the same time');
cmp_ok($crowd->sql($loaders), '<=', 3, '... and no more than may');
$node->append_conf('postgresql.conf', "cachegrid.refresh_workers = 1");
$node->reload;
$crowd->sql(q{UPDATE work SET seconds = 0});
ok($node->poll_query_until('postgres', "SELECT ($loaders) <= 1"), '... of which all but one end when fewer may');

# One place, two roles: each has its turn.
app(q{SELECT cachegrid.fetch('work:50')});
$node->safe_psql('postgres', q{SELECT cachegrid.fetch('work:51')}, extra_params => [ '-U', 'other' ]);
my $turns = 0;
$until = time + 60;
my %served;
while (time < $until and keys %served < 2)
{
	app(q{SELECT cachegrid.fetch('work:50')});
	$node->safe_psql('postgres', q{SELECT cachegrid.fetch('work:51')}, extra_params => [ '-U', 'other' ]);
	$served{$_} = 1 foreach split /\n/, $crowd->sql(q{SELECT usename FROM pg_stat_activity WHERE backend_type = 'cachegrid loader'});
}
is_deeply([ sort keys %served ], [ 'app', 'other' ], 'two roles share one place');

# A loader that is ended: another takes over
foreach my $how ('terminated', 'killed')
{
	my $offset = -s $node->logfile;
	my $value = $how;

	$crowd->sql(q{UPDATE work SET value = 'new'});
	fetch(60);
	$crowd->sql(qq{UPDATE work SET value = '$how'});
	$crowd->sql(q{UPDATE work SET seconds = 60 WHERE id = 61});
	app(q{SELECT cachegrid.fetch('work:61', 'SELECT ''x''', ttl => '1 hour')});
	fetch(60);
	$node->poll_query_until('postgres', "SELECT ($loaders) >= 1");
	my $pid = $crowd->sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cachegrid loader' LIMIT 1});
	if ($how eq 'terminated')
	{
		$crowd->sql("SELECT pg_terminate_backend($pid)");
	}
	else
	{
		kill 'KILL', $pid;
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
		$node->poll_query_until('postgres', 'SELECT true');
		fetch(60);
		$crowd->sql(qq{UPDATE work SET value = '$how again'});
		$value = 'killed again';
	}
	poll(q{SELECT cachegrid.fetch('work:60') ->> 0}, "$value cachegrid loader app off", "when a loader is $how another refreshes");
}

# Nobody's way
$node->safe_psql('postgres', 'CREATE DATABASE doomed');
$node->safe_psql('doomed', <<'SQL');
CREATE EXTENSION cachegrid;
SELECT cachegrid.create_cache('work', ttl => '1 ms', stale_ttl => '1 hour', refresh_ahead => 1, loader => 'SELECT 1');
SQL
$node->safe_psql('doomed', q{SELECT cachegrid.fetch('work:1')}, @app) foreach 1 .. 3;
ok($node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cachegrid loader' AND datname = 'doomed'}, 1), 'a database has a loader');
is($node->psql('postgres', 'DROP DATABASE doomed'), 0, '... and is dropped');
fetch(1);
fetch(1);
$node->poll_query_until('postgres', "SELECT ($loaders) >= 1");
is($node->psql('postgres', 'DROP EXTENSION cachegrid CASCADE'), 0, 'so is the extension');
ok($node->poll_query_until('postgres', $loaders, 0), '... and its loaders end');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC/, 'nothing broke');
$node->stop;
done_testing();
