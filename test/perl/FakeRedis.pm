
=pod

=head1 NAME

FakeRedis - a port that answers as the test wants, not as Redis does

=head1 SYNOPSIS

  use FakeRedis;

  my $silent = FakeRedis->new(sub { return '' });
  my $liar = FakeRedis->new(
      sub {
          my ($port, @words) = @_;
          return FakeRedis::one_node_map($port) if "@words" eq 'CLUSTER SLOTS';
          return "-MOVED 1 127.0.0.1:$port\r\n";
      });
  print $liar->endpoint;

=head1 DESCRIPTION

Listens on a free loopback port in a process of its own, which ends with the
object. Its function is called with the port and the words of each command that
comes in, and returns the bytes to be sent; undef closes the connection.

=cut

package FakeRedis;

use strict;
use warnings;

use Carp;
use IO::Select;
use IO::Socket::INET;
use POSIX ();

sub new
{
	my ($class, $answer) = @_;
	my $listener = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		LocalPort => 0,
		Proto => 'tcp',
		Listen => 16)
	  or croak "could not listen: $!";
	my $self = bless { port => $listener->sockport, owner => $$ }, $class;
	my $pid = fork();

	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		$SIG{PIPE} = 'IGNORE';
		eval { _serve($listener, $self->{port}, $answer) };
		POSIX::_exit(0);
	}
	$self->{pid} = $pid;
	return $self;
}

sub port { return $_[0]->{port}; }
sub endpoint { return "127.0.0.1:$_[0]->{port}"; }

# What CLUSTER SLOTS says if this port owns all slots.
sub one_node_map
{
	my ($port) = @_;
	return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n\$9\r\n127.0.0.1\r\n:$port\r\n";
}

# Ends with the test program, of which it is a child.
sub _serve
{
	my ($listener, $port, $answer) = @_;
	my $parent = getppid();
	my $sockets = IO::Select->new($listener);
	my %unread;

	while (getppid() == $parent)
	{
		foreach my $socket ($sockets->can_read(1))
		{
			if ($socket == $listener)
			{
				$sockets->add($listener->accept);
				next;
			}
			my $open = sysread($socket, $unread{$socket}, 65536, length($unread{$socket} // ''));
			while ($open and my @words = _take_command(\$unread{$socket}))
			{
				my $bytes = $answer->($port, @words);
				$open = defined $bytes && _write_all($socket, $bytes);
			}
			next if $open;
			delete $unread{$socket};
			$sockets->remove($socket);
			close($socket);
		}
	}
	return;
}

sub _write_all
{
	my ($socket, $bytes) = @_;

	while (length($bytes))
	{
		my $written = syswrite($socket, $bytes) or return 0;
		substr($bytes, 0, $written) = '';
	}
	return 1;
}

# Takes a whole command off the front of a buffer; nothing if there is none yet.
sub _take_command
{
	my ($buffer) = @_;
	my $position = 0;
	my @words;

	return unless defined $$buffer && $$buffer =~ /\A\*(\d+)\r\n/;
	my $count = $1;
	$position = $+[0];
	foreach my $word (1 .. $count)
	{
		pos($$buffer) = $position;
		return unless $$buffer =~ /\G\$(\d+)\r\n/g;
		my $size = $1;
		$position = $+[0];
		return if length($$buffer) < $position + $size + 2;
		push @words, substr($$buffer, $position, $size);
		$position += $size + 2;
	}
	substr($$buffer, 0, $position) = '';
	return @words;
}

sub DESTROY
{
	my ($self) = @_;
	return unless $$ == $self->{owner};
	local ($?, $!, $@);
	kill('KILL', $self->{pid});
	waitpid($self->{pid}, 0);
	return;
}

1;
