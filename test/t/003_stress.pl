# Many sessions write values that can be checked, of all sizes, into a memory that is
# too small for them, and read them back: what is read is whole, and the key's own.
# The short form of make test-long.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Probe;

my $seconds = $ENV{CACHEGRID_STRESS_SECONDS} || 8;
my $node = Probe::start('stress', "cachegrid.memory = '16MB'\nmax_connections = 40");

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

sql('SELECT create_caches()');
append_to_file($node->basedir . '/work.sql', "SELECT probe_stress(:client_id, 500)\n");
append_to_file($node->basedir . '/churn.sql', "CALL churn((random() * 1000000)::integer)\n");

# A pgbench that runs this script meanwhile; what it complains of is in {error}.
sub start_pgbench
{
	my ($script, @options) = @_;
	my %bench = (output => '', error => '');

	$bench{handle} = IPC::Run::start(
		[
			'pgbench', '-n', '-f', $node->basedir . "/$script.sql", '-T', $seconds, @options,
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'<', \undef, '>', \$bench{output}, '2>', \$bench{error});
	return \%bench;
}

sub stress
{
	my ($name, @settings) = @_;

	local $ENV{PGOPTIONS} = join(' ', map { "-c $_" } @settings);
	my @before = split(/ /, sql("SELECT array_to_string(probe_stress_counts(), ' ')"));
	my $evictions = sql('SELECT sum(evictions) FROM cachegrid.stat_cache');
	my @benches = (start_pgbench('work', '-c', '8', '-j', '2'), start_pgbench('churn', '-R', '10'));
	my @unsound;

	while (grep { $_->{handle}->pumpable } @benches)
	{
		push @unsound, sql('SELECT unsound(false)');
		$_->{handle}->pump_nb foreach grep { $_->{handle}->pumpable } @benches;
	}
	foreach my $bench (@benches)
	{
		ok($bench->{handle}->finish, "$name: pgbench comes to its end");
		is(join('', grep { /ERROR|FATAL|aborted/ } split(/^/, $bench->{error})),
			'', "$name: every value is whole, and the key's own");
	}
	my @after = split(/ /, sql("SELECT array_to_string(probe_stress_counts(), ' ')"));

	is(join('', @unsound), '', "$name: all the while the memory was sound");
	is(sql('SELECT unsound_at_rest()'), '', "$name: every byte is accounted for, every entry is whole");
	my $calls = $after[0] - $before[0];
	cmp_ok($calls, '>', 3_000 * $seconds, "$name: there were enough calls");
	cmp_ok(($after[2] - $before[2]) / ($after[1] - $before[1]), '>', 0.1, "$name: and hits");
	cmp_ok(sql('SELECT sum(evictions) FROM cachegrid.stat_cache'),
		'>', $evictions + $calls / 5000, "$name: entries were evicted");
	cmp_ok(sql("SELECT compress_ratio FROM cachegrid.stat_cache WHERE cache = 'squeezed'"),
		'<', 0.97, "$name: values were compressed");
	is(sql("SELECT string_agg(cache, ' ' ORDER BY cache) FROM cachegrid.stat_cache
		WHERE cache IN ('fixed', 'kept', 'narrow') AND entries > 10 AND hits > 100"),
		'fixed kept narrow', "$name: caches with limits were used");
	return;
}

stress('without locks');
stress('with locks', 'cachegrid.lock_reads=on');

$node->stop;
done_testing();
