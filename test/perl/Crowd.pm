# A server with a loader that is counted, and that waits, fails or sleeps as it is told;
# and sessions, one or a hundred, that fetch what it computes.

package Crowd;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# The server, started, with cachegrid.lease_timeout long enough to be noticed.
#
# slow(n, seconds): counts its runs in "runs", waits behind the gate, sleeps, fails as
# often as "failures" says, gives n.
sub new
{
	my ($class, %settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');

	$node->init;
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_connections = 130
cachegrid.lease_timeout = '10min'
restart_after_crash = on
CONF
	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") foreach keys %settings;
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION cachegrid;
CREATE FUNCTION slow(n int, seconds float8 DEFAULT 0) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cachegrid.incr('runs');
	PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7);
	PERFORM pg_sleep(seconds);
	IF cachegrid.decr('failures') >= 0 THEN
		RAISE 'loader failed';
	END IF;
	RETURN n;
END $$;
SQL
	return bless { node => $node, gate => undef }, $class;
}

sub sql
{
	my ($self, $query) = @_;

	return $self->{node}->safe_psql('postgres', $query);
}

# How often the loader was run since it was asked last.
sub runs
{
	my $self = shift;

	return $self->sql(q{SELECT coalesce(cachegrid.get('runs'), '0')
		FROM (SELECT cachegrid.delete('nothing')) AS d}) - $self->{counted};
}

# From here on runs are counted, and the loader fails so often.
sub begin
{
	my ($self, $failures) = @_;

	$self->sql('SELECT cachegrid.set(\'failures\', ' . ($failures // 0) . '::bigint)');
	$self->{counted} = 0;
	$self->{counted} = $self->runs;
	return;
}

# Have the loader wait, until it is let go on.
sub shut
{
	my $self = shift;

	$self->{gate} = $self->{node}->background_psql('postgres') unless $self->{gate};
	$self->{gate}->query_safe('SELECT pg_advisory_lock(7)');
	return;
}

sub open
{
	my $self = shift;

	$self->{gate}->query_safe('SELECT pg_advisory_unlock(7)');
	return;
}

# A new session that runs the query; does not wait for its end.
sub start
{
	my ($self, $query) = @_;
	my $session = $self->{node}->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/started/, "\\echo started\n$query;\n");
	return $session;
}

# What the session has printed since it was started: a value, or an error.
sub finish
{
	my ($self, $session) = @_;
	my $out = $session->query('SELECT 0');
	my $error = $session->{stderr};

	$session->quit;
	$out =~ s/\n?0$//;
	return $out ne '' ? $out : $error;
}

# Waits until so many sessions compute, and so many wait for them.
sub poll
{
	my ($self, $computing, $waiting) = @_;
	my $count = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%cachegrid.fetch%(%' AND state = 'active'
		AND pid <> pg_backend_pid() AND wait_event_type};

	$self->{node}->poll_query_until('postgres', "$count IN ('Lock', 'Timeout')", $computing)
	  and $self->{node}->poll_query_until('postgres', "$count = 'Extension'", $waiting)
	  or die 'sessions do not wait as they should';
	return;
}

# Calls pg_cancel_backend or pg_terminate_backend for who computes.
sub strike
{
	my ($self, $function) = @_;

	return $self->sql(qq{SELECT $function(pid) FROM pg_stat_activity WHERE query LIKE '%cachegrid.fetch%(%'
		AND state = 'active' AND pid <> pg_backend_pid() AND wait_event_type IN ('Lock', 'Timeout')});
}

# Starts a hundred sessions that run the query once; does not wait for their end.  Each
# has looked into the cache before, and has rested since: a session's first call takes
# long, and a hundred of them keep the machine busy.
sub start_crowd
{
	my ($self, $query) = @_;
	my $node = $self->{node};
	my $folder = $node->basedir . '/crowd' . ++$self->{crowds};
	my %crowd = (out => '', err => '', folder => $folder);

	mkdir $folder;
	append_to_file("$folder/script", <<"SCRIPT");
\\set round :round + 1
\\if :round = 1
SELECT cachegrid.fetch('warm', 'SELECT 1');
\\elif :round = 2
\\sleep 1 s
\\else
$query;
\\endif
SCRIPT
	$crowd{run} = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '--client=100', '--transactions=3', '--define=round=0', '--log',
			"--log-prefix=$folder/log", '-f', "$folder/script", $node->connstr('postgres')
		],
		'>', \$crowd{out}, '2>', \$crowd{err});
	return \%crowd;
}

# Waits for their end: how many got an answer, after how many milliseconds the last, and the
# last but one.
sub finish_crowd
{
	my ($self, $crowd) = @_;
	my @latencies;

	$crowd->{run}->finish;
	foreach my $log (glob "$crowd->{folder}/log.*")
	{
		foreach my $line (split /\n/, slurp_file($log))
		{
			my (undef, $transaction, $latency) = split / /, $line;

			next unless $transaction == 3;
			push @latencies, $latency / 1000;
		}
	}
	@latencies = sort { $b <=> $a } @latencies;
	return (scalar(@latencies), $latencies[0] // 0, $latencies[1] // 0);
}

# Has a hundred sessions fetch the key at one moment, whose loader takes so many seconds: how
# many got an answer; after how many milliseconds the last of them, by the clock of its own
# call, as it is the machine's affair when its processors come round to a session; and how
# long the load took.  Before, each has called what it calls then, and rested; and after that it
# rests again, to leave the processors to the others.
sub race
{
	my ($self, $key, $seconds) = @_;
	my $node = $self->{node};
	my $script = $node->basedir . '/race' . ++$self->{crowds};
	my ($out, $err) = ('', '');

	$self->sql(<<'SQL') unless $self->{raced}++;
CREATE TABLE race (key text, ms float8);
CREATE FUNCTION race(key text, seconds float8, start float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	query text := 'SELECT slow(1, $1)';
	began timestamptz;
	value jsonb;
	ms float8;
BEGIN
	IF start < extract(epoch FROM clock_timestamp()) THEN
		RAISE 'too late for the race';
	END IF;
	PERFORM pg_sleep(start - extract(epoch FROM clock_timestamp()));
	began := clock_timestamp();
	value := cachegrid.fetch(key, query, ARRAY[seconds::text], ttl => '1 hour');
	ms := extract(epoch FROM clock_timestamp() - began) * 1000;
	PERFORM pg_sleep(1);
	IF value::int = 1 THEN
		INSERT INTO race VALUES (key, ms);
	END IF;
END $$;
SQL
	append_to_file($script, <<"SCRIPT");
\\set round :round + 1
\\if :round = 1
SELECT race('warm:' || pg_backend_pid(), 0, extract(epoch FROM clock_timestamp()) + 0.1);
\\else
SELECT race('$key', $seconds, :start);
\\endif
SCRIPT
	my $run = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '--client=100', '--transactions=2', '--define=round=0',
			'--define=start=' . (time + 6), '-f', $script, $node->connstr('postgres')
		],
		'>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', q{SELECT count(*) FROM race WHERE key LIKE 'warm:%'}, 100)
	  or die "sessions do not come to the race: $err";
	$self->begin;
	my $load_ms = $self->sql('SELECT sum(load_ms) FROM cachegrid.stat_cache');
	$run->finish;
	my @answers = split(/\|/, $self->sql(qq{SELECT count(*), max(ms),
		(SELECT sum(load_ms) - $load_ms FROM cachegrid.stat_cache) FROM race WHERE key = '$key'}));
	$self->sql('TRUNCATE race');
	return @answers;
}

1;
