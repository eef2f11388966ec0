
# What the scripts promise: who is not root is told exactly which packages are
# missing, and runs beside each other do not meet, nor leave anything behind.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
plan skip_all => 'root would install the packages' if $> == 0;

delete @ENV{qw(MAKEFLAGS MAKELEVEL)};

# Packages: a dpkg-query that knows all but two
my $folder = PostgreSQL::Test::Utils::tempdir();
mkdir("$folder/bin");
append_to_file("$folder/bin/dpkg-query", <<'EOS');
#!/bin/sh
for package; do :; done
case $package in libxxhash-dev | redis-server) exit 1 ;; esac
echo install ok installed
EOS
chmod(0755, "$folder/bin/dpkg-query");
foreach my $goal (qw(test demo bench mutants))
{
	local $ENV{PATH} = "$folder/bin:$ENV{PATH}";
	my ($said, $error);
	my $packages = 'libxxhash-dev redis-server ';

	ok(!IPC::Run::run([ 'make', '-s', $goal ], '<', \undef, '>', \$said, '2>', \$error),
		"make $goal does nothing without its packages");
	is($error =~ s/^make: .*\n//mgr,
		"cachegrid: missing packages: $packages\n"
		  . "Install them as root: apt-get install --no-install-recommends $packages\n",
		'... and names those that are missing');
}

# Runs: each says where its server and its Redis are, then waits for a line.
my $script = <<'EOS';
. test/lib.sh
begin_run beside
PG_BIN=$(dirname "$PG_CONFIG")
start_server one "cachegrid.memory = '8MB'"
start_redis
echo "$RUN $PGHOST ${REDIS_PORTS[0]}"
read -r line
EOS

sub start_run
{
	my %run = (input => '', output => '', error => '');

	local $ENV{PG_CONFIG} = $ENV{PG_CONFIG} // 'pg_config';
	$run{handle} = IPC::Run::start([ 'bash', '-c', $script ],
		'<', \$run{input}, '>', \$run{output}, '2>', \$run{error},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%run;
}

# Waits until it is up.
sub await_run
{
	my ($run) = @_;

	$run->{handle}->pump until $run->{output} =~ /\n/ || !$run->{handle}->pumpable;
	@$run{qw(folder host port)} = split(/\s+/, $run->{output});
	ok($run->{port}, 'a run is up') or diag($run->{error});
}

# How many processes are of the run, by their mark or by where they are
sub processes_of
{
	my ($run) = @_;
	my $count = 0;

	foreach my $process (glob('/proc/[0-9]*'))
	{
		my $environment = '';

		if (open(my $file, '<', "$process/environ"))
		{
			local $/;
			$environment = <$file> // '';
		}
		$count++
		  if "\0$environment" =~ /\0CACHEGRID_RUN=\Q$run->{folder}\E\0/
		  || (readlink("$process/cwd") // '') =~ /^\Q$run->{folder}\E\//;
	}
	return $count;
}

sub lives
{
	my ($run) = @_;
	my $dsn = "host=$run->{host} port=5432 user=postgres dbname=postgres";
	my ($sql, $redis);

	IPC::Run::run([ 'psql', '-XAtq', '-d', $dsn, '-c', 'SHOW cachegrid.memory' ], '>', \$sql, '2>', \my $error);
	IPC::Run::run([ 'redis-cli', '-p', $run->{port}, 'ping' ], '>', \$redis, '2>', \$error);
	return ($sql // '') eq "8MB\n" && ($redis // '') eq "PONG\n";
}

my ($left, $right) = (start_run(), start_run());
await_run($_) foreach $left, $right;
isnt($left->{folder}, $right->{folder}, 'each has a folder');
isnt($left->{port}, $right->{port}, '... and a Redis');
ok(lives($_), 'its servers answer') foreach $left, $right;
cmp_ok(processes_of($_), '>', 5, 'they are its processes') foreach $left, $right;

$left->{handle}->signal('TERM');
eval { $left->{handle}->finish };
is($left->{handle}->full_result >> 8, 143, 'one ends by a signal');
is(processes_of($left), 0, 'it leaves no process');
ok(!-e $left->{folder}, '... and no folder');
ok(lives($right), 'the other one goes on');

$right->{input} .= "\n";
ok($right->{handle}->finish, '... and comes to its own end') or diag($right->{error});
is(processes_of($right), 0, 'it leaves no process');
ok(!-e $right->{folder}, '... and no folder');

done_testing();
