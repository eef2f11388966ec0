# Leases: a value is computed by one session at a time, whatever becomes of it; how long
# the others wait, and what they do then, is an option of the cache.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Time::HiRes qw(time);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Crowd;

my $crowd = Crowd->new;
my $node = $crowd->{node};
my $number = 0;

sub fetching
{
	my ($key, $query) = @_;

	return "SELECT cachegrid.fetch('$key', '$query', ttl => '1 hour')";
}

# The wait of a cache is limited

$crowd->sql(q{SELECT cachegrid.create_cache('error', wait_timeout => '10 ms', on_timeout => 'error'),
	cachegrid.create_cache('compute', wait_timeout => '10 ms'),
	cachegrid.create_cache('patient', on_timeout => 'error', wait_timeout => '1 hour')});
foreach my $cache ('error', 'compute', 'patient')
{
	my $query = fetching("$cache:1", 'SELECT slow(5)');

	$crowd->begin;
	$crowd->shut;
	my $first = $crowd->start($query);
	$crowd->poll(1, 0);
	my $other = $crowd->start($query);
	if ($cache eq 'error')
	{
		like($crowd->finish($other), qr/ERROR:  key "error:1" is still being computed/, 'error: who waits gives up');
		$crowd->open;
		is($crowd->runs, 1, '... and does not run the loader');
	}
	elsif ($cache eq 'compute')
	{
		$crowd->poll(2, 0);
		$crowd->open;
		is($crowd->finish($other), 5, 'compute: who waits computes, too');
		is($crowd->runs, 2, '... by the loader');
	}
	else
	{
		$crowd->poll(1, 1);
		$crowd->open;
		is($crowd->finish($other), 5, 'patient: who waits gets the value');
		is($crowd->runs, 1, '... of the one run of the loader');
	}
	is($crowd->finish($first), 5, '... and who computes is not disturbed');
}

# The setting is for caches that say nothing, the cache's own goes before it.
$crowd->begin;
$crowd->shut;
my $first = $crowd->start(fetching('plain:1', 'SELECT slow(5)'));
$crowd->poll(1, 0);
my $other = $crowd->start('SET cachegrid.lease_timeout = 0; ' . fetching('plain:1', 'SELECT slow(5)'));
$crowd->poll(2, 0);
$crowd->open;
$crowd->finish($_) for $first, $other;
is($crowd->runs, 2, 'without an option the setting says how long');

# Not too often

$crowd->sql(q{SELECT cachegrid.create_cache('seldom', lease_interval => '1 hour', wait_timeout => '0', on_timeout => 'error'),
	cachegrid.create_cache('sometimes', lease_interval => '300 ms')});
$crowd->begin;
is($crowd->sql(fetching('seldom:1', 'SELECT slow(5)')), 5, 'a key is computed');
is($crowd->sql(fetching('seldom:1', 'SELECT slow(5)')), 5, '... and kept');
$crowd->sql(q{SELECT cachegrid.invalidate('seldom:1')});
my ($out, $err);
$node->psql('postgres', fetching('seldom:1', 'SELECT slow(5)'), stderr => \$err);
like($err, qr/is still being computed/, '... and not again within lease_interval');
is($crowd->sql(fetching('seldom:2', 'SELECT slow(6)')), 6, 'another key is');
is($crowd->runs, 2, 'each of them once');
$crowd->begin;
my $began = time;
foreach (1 .. 3)
{
	$crowd->sql(fetching('sometimes:1', 'SELECT slow(5)'));
	$crowd->sql(q{SELECT cachegrid.invalidate('sometimes:1')});
}
is($crowd->runs, 3, 'who waits for the end of lease_interval computes then');
cmp_ok(time - $began, '>', 0.6, '... and not before');
$crowd->begin(1);
($out, $err) = ('', '');
$node->psql('postgres', fetching('seldom:3', 'SELECT slow(5)'), stderr => \$err);
like($err, qr/loader failed/, 'a loader fails');
$node->psql('postgres', fetching('seldom:3', 'SELECT slow(5)'), stderr => \$err);
like($err, qr/is still being computed/, '... and is not run again for that');

# Loads within loads

$crowd->begin;
$crowd->shut;
my $inner = fetching('inner:1', 'SELECT slow(5)');
$first = $crowd->start($inner);
$crowd->poll(1, 0);
(my $quoted = $inner) =~ s/'/''/g;
$other = $crowd->start(fetching('outer:1', $quoted));
$crowd->poll(1, 1);
$crowd->open;
is($crowd->finish($_), 5, 'who computes another key waits for this one') for $first, $other;
is($crowd->runs, 1, '... and does not compute it himself');

# Each of two loaders wants the other's key, in two sessions.
$crowd->sql(q{SELECT cachegrid.create_cache('left', ttl => '1 hour', loader => 'SELECT (slow($1), cachegrid.fetch(''right:'' || $1::text))::text'),
	cachegrid.create_cache('right', ttl => '1 hour', loader => 'SELECT (slow($1), cachegrid.fetch(''left:'' || $1::text))::text')});
$crowd->begin;
$crowd->shut;
my @both = map { $crowd->start("SELECT cachegrid.fetch('$_:1')") } 'left', 'right';
$crowd->poll(2, 0);
$began = time;
$crowd->open;
my @errors = map { $crowd->finish($_) } @both;
like($errors[0], qr/key "left:1" is computed from itself.*: "left:1", "right:1", "left:1"\./s, 'a circle of keys is an error that names them');
like($errors[1], qr/key "right:1" is computed from itself.*: "right:1", "left:1", "right:1"\./s, '... in either session');
cmp_ok(time - $began, '<', 60, '... and not found by the wait that ends');

# A hundred sessions, one key

sub crowd_query
{
	my $seconds = shift;

	$number++;
	return fetching("crowd:$number", "SELECT slow($number, $seconds)");
}

# A second, of which a fifth is more than a busy machine takes to wake a hundred sessions.
my ($answers, $longest);
foreach my $round (1 .. 3)
{
	$crowd->begin;
	($answers, $longest) = $crowd->finish_crowd($crowd->start_crowd(crowd_query(1)));
	last if $answers != 100 or $crowd->runs != 1 or $longest <= 1200;
	diag "round $round: the last answer after $longest ms";
}
is($answers, 100, 'a hundred sessions get a value that takes a second');
is($crowd->runs, 1, '... which is computed once');
cmp_ok($longest, '<=', 1200, '... and none waits for more than 1.2 times as long');

# A tenth of a second, of which a fifth is little more than a busy machine takes to wake a
# hundred sessions: one of some rounds will do for the time, but in none is it computed twice.
my ($load, @longest);
foreach my $round (1 .. 5)
{
	($answers, $longest, $load) = $crowd->race("race:$round", 0.1);
	push @longest, sprintf('%.0f of %.0f', $longest, $load);
	last if $crowd->runs != 1 or ($answers == 100 and $longest <= 1.2 * $load);
}
is($answers, 100, 'a hundred sessions get a value that takes a tenth of a second');
is($crowd->runs, 1, '... which is computed once');
cmp_ok($longest, '<=', 1.2 * $load, '... and none waits for more than 1.2 times as long');
note 'the last answers came after ' . join(', ', @longest) . ' ms';

$crowd->begin(1);
($answers, $longest) = $crowd->finish_crowd($crowd->start_crowd(crowd_query(0.5)));
is($answers, 99, 'when the loader fails one of a hundred has the error');
is($crowd->runs, 2, '... and one of the others computes');
cmp_ok($longest, '<=', 1200, '... without a pause in between');

# Past the time to live: one computes, the others have the old value at once, or wait for
# as long as the cache says.
$crowd->sql(q{SELECT cachegrid.create_cache('stale', ttl => '1 ms', stale_ttl => '1 hour', loader => 'SELECT slow($1, 3)'),
	cachegrid.create_cache('waits', ttl => '1 ms', stale_ttl => '1 hour', on_timeout => 'stale', wait_timeout => '1 s', loader => 'SELECT slow($1, 3)')});
$crowd->sql(q{SELECT cachegrid.fetch('stale:1'), cachegrid.fetch('waits:1')});
$crowd->begin;
my $refresher = $crowd->start(q{SELECT cachegrid.fetch('stale:1')});
$crowd->poll(1, 0);
($answers, undef, my $next) = $crowd->finish_crowd($crowd->start_crowd(q{SELECT cachegrid.fetch('stale:1')}));
$crowd->finish($refresher);
is($answers, 100, 'past the time to live a hundred sessions have a value');
cmp_ok($next, '<', 1000, 'past the time to live none of a hundred waits');
cmp_ok($crowd->sql(q{SELECT stale FROM cachegrid.stat_cache WHERE cache = 'stale'}),
	'>=', 98, '... as they are given the stale one');
cmp_ok($crowd->runs, '<=', 2, '... while one computes');
$crowd->begin;
$refresher = $crowd->start(q{SELECT cachegrid.fetch('waits:1')});
$crowd->poll(1, 0);
$began = time;
is($crowd->sql(q{SELECT cachegrid.fetch('waits:1')}), 1, 'who is to wait first has the stale value');
cmp_ok(time - $began, '>=', 1, '... when the wait has ended');
$crowd->finish($refresher);
is($crowd->runs, 1, '... and does not compute it');

# The loader is broken: those who wait learn it of the one who tried.
$crowd->sql(q{SELECT cachegrid.create_cache('broken', error_backoff => '1 hour')});
$crowd->begin(1000);
($answers, $longest) = $crowd->finish_crowd($crowd->start_crowd(fetching('broken:1', 'SELECT slow(1, 0.5)')));
is($answers, 0, 'when a broken loader is not to be tried again all have an error');
is($crowd->runs, 1, '... after one run');

foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	$crowd->begin;
	my $sessions = $crowd->start_crowd(crowd_query(2));
	$crowd->poll(1, 99);
	$crowd->strike($function);
	($answers, $longest) = $crowd->finish_crowd($sessions);
	is($answers, 99, "$function: when who computes is struck the others get the value");
	is($crowd->runs, 2, '... of one of them');
	cmp_ok($longest, '<=', 4800, '... without a pause in between');
}

my $offset = -s $node->logfile;
my $query = crowd_query(60);
my $sessions = $crowd->start_crowd($query);
$crowd->poll(1, 99);
kill 'KILL', $crowd->sql(q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
$crowd->finish_crowd($sessions);
$node->poll_query_until('postgres', 'SELECT true');
$crowd->begin;
($answers, $longest) = $crowd->finish_crowd($crowd->start_crowd(fetching("crowd:$number", 'SELECT slow(1, 0.5)')));
is($answers, 100, 'kill -9: after the restart all come back');
is($crowd->runs, 1, '... for one run of the loader');

done_testing();
