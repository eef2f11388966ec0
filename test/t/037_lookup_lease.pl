# Leases of lookup(): one program computes outside of the server, the others wait, whatever
# becomes of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Time::HiRes qw(time);

use PostgreSQL::Test::Utils;
use Test::More;

use Crowd;

my $crowd = Crowd->new;
my $node = $crowd->{node};

# A session that looks a key up with a lease; pid tells it from others.
sub session
{
	my ($key, $lease, $setup) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$lease //= '10 minutes';
	$session->query($setup) if $setup;
	return {
		psql => $session,
		pid => scalar($session->query('SELECT pg_backend_pid()')),
		key => $key,
		looking => "FROM cachegrid.lookup('$key', lease => '$lease')"
	};
}

# Who does not have to wait: "must_load|value"; the token is kept.
sub look_up
{
	my $session = shift;
	my $out = $session->{psql}->query("SELECT must_load, value, token $session->{looking}");

	$out =~ s/\|([0-9a-f.]*)$//;
	$session->{token} = $1;
	return $out;
}

# Has the session look up, which has it wait.
sub start
{
	my $session = shift;

	$session->{psql}->query_until(qr/started/, "\\echo started\nSELECT must_load, value, token $session->{looking};\n");
	return $session;
}

# What a session was told that has waited, or its error.
sub told
{
	my $session = shift;
	my $out = $session->{psql}->query('SELECT 0');
	my $error = $session->{psql}->{stderr};

	$out =~ s/\n?0$//;
	$out =~ s/\|([0-9a-f.]*)$//;
	$session->{token} = $1;
	return $out ne '' ? $out : $error;
}

my $waiting = q{FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE '%lookup(%' AND state = 'active'};

sub poll
{
	my $count = shift;

	$node->poll_query_until('postgres', "SELECT count(*) $waiting", $count)
	  or die 'sessions do not wait as they should';
	return;
}

sub fill
{
	my ($session, $value) = @_;

	return $crowd->sql("SELECT cachegrid.fill('$session->{key}', '$value', '$session->{token}')");
}

sub give_up
{
	my $session = shift;

	return $crowd->sql("SELECT cachegrid.give_up('$session->{key}', '$session->{token}')");
}

sub leave { $_->{psql}->quit foreach @_; return; }

# Of two that wait: who was let go on, and who waits still.
sub part
{
	my @sessions = @_;

	poll(1);
	my $pid = $crowd->sql("SELECT pid $waiting");
	return sort { ($a->{pid} == $pid) <=> ($b->{pid} == $pid) } @sessions;
}

# It is filled, by another session
my $first = session('page:1');
is(look_up($first), 't|', 'who misses first is to compute');
my @others = map { start(session('page:1')) } 1 .. 3;
poll(3);
is($crowd->sql(q{SELECT must_load FROM cachegrid.lookup('page:1')}), 't', 'who wants no lease does not wait');
is($crowd->sql(q{SELECT must_load FROM cachegrid.lookup('page:2', lease => '1 s')}), 't', 'nor does who wants another key');
poll(3);
is(fill($first, 'made'), 't', 'any session may fill');
is(told($_), 'f|made', '... and who waits has the value') foreach @others;
is(give_up($first), 'f', '... and the lease is over');
leave($first, @others);

# It is given up, or its session ends
foreach my $end ('given up', 'its session ends', 'its session is terminated')
{
	$first = session("end:$end");
	look_up($first);
	@others = map { start(session("end:$end")) } 1 .. 2;
	poll(2);
	if ($end eq 'given up')
	{
		is(give_up($first), 't', 'a lease is given up');
		leave($first);
	}
	elsif ($end eq 'its session ends') { leave($first); }
	else { $crowd->sql("SELECT pg_terminate_backend($first->{pid})"); }
	my ($next, $last) = part(@others);
	is(told($next), 't|', "$end: one of those who wait is to compute");
	poll(1);
	fill($next, 'made');
	is(told($last), 'f|made', '... and the other has his value');
	eval { leave($first) } if $end eq 'its session is terminated';
	leave(@others);
}

# Its time passes
$first = session('late:1', '300 ms');
@others = (session('late:1'), session('late:1'));
my $began = time;
look_up($first);
start($_) foreach @others;
my ($next, $last) = part(@others);
cmp_ok(time - $began, '>=', 0.3, 'a lease lasts for its time');
is(told($next), 't|', '... and then the next one is to compute');
is(give_up($first), 'f', 'who is late has no lease any more');
poll(1);
is(fill($first, 'late'), 't', '... but his value is true');
is($crowd->sql("SELECT count(*) $waiting"), 1, '... and disturbs nobody who waits for another one');
leave($first);
is($crowd->sql("SELECT count(*) $waiting"), 1, '... nor does the end of his session');
is(fill($next, 'next'), 'f', 'the next one is no longer needed');
is(told($last), 'f|late', '... and who waits finds what is there');
leave(@others);

# In vain: nobody waits for the next in turn
$first = session('vain:1');
look_up($first);
@others = map { start(session('vain:1')) } 1 .. 3;
poll(3);
$crowd->sql(q{SELECT cachegrid.invalidate('vain:1')});
is(fill($first, 'outdated'), 'f', 'what was invalidated is not kept');
is(told($_), 't|', '... and all compute') foreach @others;
leave($first, @others);

# One session, one role
$first = session('own:1');
look_up($first);
my $token = $first->{token};
is(look_up($first), 't|', 'a session does not wait for itself');
$first->{token} = $token unless $token ne $first->{token};
isnt($first->{token}, $token, '... as it has a new lease');
my $other = start(session('own:1'));
poll(1);
is($crowd->sql("SELECT cachegrid.give_up('own:1', '$token')"), 'f', '... and the old one is none');
$crowd->sql('CREATE ROLE program LOGIN IN ROLE cachegrid_writer');
my $program = session('own:1', '10 minutes', 'SET ROLE program');
is(look_up($program), 't|', 'a role does not wait for another');
is(give_up($program), 'f', '... nor end its lease');
poll(1);
is(give_up($first), 't', 'the new lease is given up');
is(told($other), 't|', '... and the other one goes on');
leave($first, $other, $program);

$first = session('many:0');
is(scalar($first->{psql}->query(q{SELECT count(DISTINCT length(token)) FROM generate_series(1, 17) AS i,
	cachegrid.lookup('many:' || i, lease => '10 minutes')})), 2, 'a session has no more than 16 leases');
is($crowd->sql(q{SELECT must_load FROM cachegrid.lookup('many:17', lease => '1 s')}), 't', '... and the 17th key is not waited for');
my $load = q{SELECT cachegrid.fetch('nested', 'SELECT slow(5)', ttl => '1 hour')};
$crowd->begin;
$crowd->shut;
$first->{psql}->query_until(qr/started/, "\\echo started\n$load;\n");
$crowd->poll(1, 0);
my $loading = $crowd->start($load);
$crowd->poll(1, 1);
$crowd->open;
is($crowd->finish($loading), 5, '... and its loads are waited for all the same');
is($crowd->runs, 1, '... as they have leases of their own');
$first->{psql}->query('SELECT 0');
$other = start(session('many:16'));
poll(1);
leave($first);
is(told($other), 't|', 'all of them end with the session');
leave($other);

# What cannot be kept is not waited for
$first = session('own write:1', '10 minutes', 'BEGIN; CREATE TABLE mine (n int)');
is(look_up($first), 't|', 'who has written is to compute');
is($first->{token}, '', '... and keeps nothing');
$other = session('own write:1');
is(look_up($other), 't|', '... and nobody waits for that');
leave($first, $other);

# As the cache says
$crowd->sql(q{SELECT cachegrid.create_cache('error', wait_timeout => '0', on_timeout => 'error'),
	cachegrid.create_cache('compute', wait_timeout => '10 ms'), cachegrid.create_cache('seldom', lease_interval => '1 hour', wait_timeout => '0', on_timeout => 'error')});
($first, $other) = map { session('error:1') } 1 .. 2;
look_up($first);
like(told(start($other)), qr/ERROR:  key "error:1" is still being computed/, 'on_timeout error');
leave($first, $other);
($first, $other) = map { session('compute:1') } 1 .. 2;
look_up($first);
is(told(start($other)), 't|', 'on_timeout compute');
is(fill($other, 'mine'), 't', '... and it is kept');
is(fill($first, 'mine, too'), 'f', '... once');
leave($first, $other);
($first, $other) = map { session('seldom:1') } 1 .. 2;
look_up($first);
is(give_up($first), 't', 'lease_interval: a lease is given up');
like(told(start($other)), qr/ERROR:  key "seldom:1" is still being computed/, '... and not given again for a while');
leave($first, $other);

# A crash
$first = session('crash:1');
look_up($first);
my $offset = -s $node->logfile;
kill 'KILL', $first->{pid};
$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
$node->poll_query_until('postgres', 'SELECT true');
$other = session('crash:1');
is(look_up($other), 't|', 'after a crash nobody has a lease');
is(fill($first, 'made before'), 'f', '... and no token is good');
is(fill($other, 'made'), 't', '... but new ones');
leave($other);

done_testing();
