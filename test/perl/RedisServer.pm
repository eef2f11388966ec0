
=pod

=head1 NAME

RedisServer - a throwaway redis-server for tests

=head1 SYNOPSIS

  use RedisServer;
  plan skip_all => 'redis-server is not installed' unless RedisServer::installed();

  my $redis = RedisServer->new(dir => "$tmp/redis", password => 'secret');
  print $redis->endpoint;                  # 127.0.0.1:54321
  is($redis->command('GET', 'product:1'), 'value');
  $redis->stop;
  $redis->start;                           # the same port, empty
  $redis->kill9;

=head1 DESCRIPTION

Starts redis-server on a free loopback port, with a folder of its own, nothing
saved. What it started ends with the object, at the latest with the program; no
other process is ever touched.

=cut

package RedisServer;

use strict;
use warnings;

use Carp;
use File::Path qw(make_path);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(usleep time);

my $timeout = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

# The servers of this program, to be ended even if it dies.
my %running;

# Whether the programs are there.
sub installed
{
	foreach my $program ('redis-server', 'redis-cli')
	{
		return 0 unless grep { -x "$_/$program" } split(/:/, $ENV{PATH});
	}
	return 1;
}

# Ports that nobody listens on, all different.
sub free_ports
{
	my ($count) = @_;
	my @sockets = map {
		IO::Socket::INET->new(
			LocalAddr => '127.0.0.1',
			LocalPort => 0,
			Proto => 'tcp',
			Listen => 1)
		  or croak "no free port: $!"
	} 1 .. $count;
	return map { $_->sockport } @sockets;
}

# Calls a function until it returns true.
sub wait_until
{
	my ($what, $function) = @_;
	my $deadline = time() + $timeout;

	until ($function->())
	{
		croak "timed out waiting until $what" if time() > $deadline;
		usleep(20_000);
	}
	return;
}

=pod

=head1 METHODS

=over

=item RedisServer->new(dir => ..., password => ..., config => [...])

Starts a server. C<dir> is made; C<config> are further lines of its
configuration, such as C<'user app on &gt;pw ~* +@all'>.

=cut

sub new
{
	my ($class, %options) = @_;
	my $self = bless {
		host => '127.0.0.1',
		dir => $options{dir},
		password => $options{password},
		config => $options{config} || [],
		owner => $$
	}, $class;

	croak 'a Redis server needs a folder: dir' unless defined $self->{dir};
	make_path($self->{dir});

	# Another program may take the port between its choice and its use.
	foreach my $attempt (1 .. 10)
	{
		($self->{port}, $self->{bus_port}) = free_ports(2);
		return $self if $self->_launch;
	}
	croak "could not start redis-server, see $self->{dir}/redis.log";
}

sub _write_config
{
	my ($self) = @_;
	my @lines = (
		"bind $self->{host}",
		"port $self->{port}",
		"dir $self->{dir}",
		"logfile $self->{dir}/redis.log",
		'daemonize no',
		'protected-mode yes',
		'save ""',
		'appendonly no',
		'repl-diskless-sync-delay 0',
		@{ $self->{config} });

	push @lines, "requirepass $self->{password}", "masterauth $self->{password}"
	  if defined $self->{password};
	push @lines, "cluster-port $self->{bus_port}"
	  if grep { /^cluster-enabled yes/ } @lines;

	open(my $file, '>', "$self->{dir}/redis.conf") or croak "$self->{dir}: $!";
	print $file map { "$_\n" } @lines;
	close($file);
	return;
}

# Starts the process; false if it ends at once, as it does if the port is taken.
sub _launch
{
	my ($self) = @_;

	$self->_write_config;
	my $pid = fork();
	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$self->{dir}/redis.log");
		open(STDERR, '>&', \*STDOUT);
		exec('redis-server', "$self->{dir}/redis.conf")
		  or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = $self->{owner};

	wait_until(
		'redis-server answers',
		sub {
			return 1 unless $self->is_running;
			return IO::Socket::INET->new(
				PeerAddr => $self->{host},
				PeerPort => $self->{port},
				Proto => 'tcp') && $self->command('PING') !~ /^LOADING/;
		});
	return $self->is_running;
}

=pod

=item $server->host, port, endpoint, pid, dir

=cut

sub host { return $_[0]->{host}; }
sub port { return $_[0]->{port}; }
sub pid { return $_[0]->{pid}; }
sub dir { return $_[0]->{dir}; }
sub endpoint { return "$_[0]->{host}:$_[0]->{port}"; }

=pod

=item $server->is_running

=cut

sub is_running
{
	my ($self) = @_;
	return 0 unless defined $self->{pid};

	local $?;
	return 1 if waitpid($self->{pid}, POSIX::WNOHANG) == 0;
	delete $running{ $self->{pid} };
	$self->{pid} = undef;
	return 0;
}

=pod

=item $server->start

Starts it again after stop or kill9, on the same port. Keys are gone.

=cut

sub start
{
	my ($self) = @_;
	croak 'already running' if $self->is_running;
	$self->_launch or croak "could not start redis-server, see $self->{dir}/redis.log";
	return;
}

=pod

=item $server->stop, $server->kill9

Ends it, by SIGTERM or by SIGKILL, and waits until it is gone.

=cut

sub stop { return $_[0]->_end('TERM'); }
sub kill9 { return $_[0]->_end('KILL'); }

sub _end
{
	my ($self, $signal) = @_;
	return unless $self->is_running;
	kill($signal, $self->{pid});
	kill('CONT', $self->{pid});
	wait_until('redis-server ended', sub { return !$self->is_running; });
	return;
}

=pod

=item $server->pause, $server->resume

Stops it without its connections noticing (SIGSTOP), and lets it go on.

=cut

sub pause { return kill('STOP', $_[0]->{pid}); }
sub resume { return kill('CONT', $_[0]->{pid}); }

=pod

=item $server->command(word, ...)

What redis-cli prints for a command: a value, the lines of a list, the text of an
error.

=item $server->command_as(user, password, word, ...)

The same as somebody else; without user: with the password only.

=cut

sub command
{
	my ($self, @words) = @_;
	return $self->command_as(undef, $self->{password}, @words);
}

sub command_as
{
	my ($self, $user, $password, @words) = @_;
	return $self->_run_cli($password, (defined $user ? ('--user', $user) : ()), @words);
}

# Passwords go by the environment, which other users cannot see.
sub _run_cli
{
	my ($self, $password, @words) = @_;

	local $ENV{REDISCLI_AUTH} = $password;
	delete $ENV{REDISCLI_AUTH} unless defined $password;
	local $?;
	open(
		my $output, '-|', 'redis-cli', '-h', $self->{host}, '-p', $self->{port},
		'--no-auth-warning', '--raw', @words) or croak "could not run redis-cli: $!";
	my $answer = join('', <$output>);
	close($output);
	$answer =~ s/\n+\z//;
	return $answer;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	$self->kill9 if $$ == $self->{owner} && defined $self->{pid};
	return;
}

END
{
	local $?;
	foreach my $pid (grep { $running{$_} == $$ } keys %running)
	{
		kill('KILL', $pid);
		waitpid($pid, 0);
	}
}

=pod

=back

=cut

1;
