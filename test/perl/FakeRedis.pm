
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
comes in, and returns the bytes to be sent; undef closes the connection, and so
does a list of bytes and C<close>, behind them; after bytes and C<mute> nothing is
answered on it any more. C<scripted> makes one that answers as Redis does, until it is
told otherwise.

=cut

package FakeRedis;

use strict;
use warnings;

use Carp;
use IO::Select;
use IO::Socket::IP;
use POSIX ();
use Time::HiRes ();

=pod

=head1 METHODS

=over

=item FakeRedis->new(function, host)

Listens at the host, 127.0.0.1 if it is not named.

=cut

sub new
{
	my ($class, $answer, $host) = @_;

	$host //= '127.0.0.1';
	my $listener = IO::Socket::IP->new(
		LocalHost => $host,
		LocalPort => 0,
		Proto => 'tcp',
		Listen => 16)
	  or croak "could not listen: $!";
	my $self = bless { host => $host, port => $listener->sockport, owner => $$ }, $class;
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

sub endpoint
{
	my ($self) = @_;
	return $self->{host} =~ /:/ ? "[$self->{host}]:$self->{port}" : "$self->{host}:$self->{port}";
}

# What CLUSTER SLOTS says if this port owns all slots.
sub one_node_map
{
	my ($port) = @_;
	return map_of([ 0, 16383, '127.0.0.1', $port ]);
}

# What CLUSTER SLOTS says of ranges: first slot, last slot, host, port; then, of each
# replica, host, port.
sub map_of
{
	my (@ranges) = @_;

	return '*' . @ranges . "\r\n" . join('', map {
		my ($first, $last, @nodes) = @$_;
		my $text = '*' . (2 + @nodes / 2) . "\r\n:$first\r\n:$last\r\n";
		while (my ($host, $port) = splice(@nodes, 0, 2))
		{
			$text .= "*2\r\n" . bulk($host) . ":$port\r\n";
		}
		$text;
	} @ranges);
}

# The hash slot of a key without a tag: CRC16, as XMODEM has it.
sub slot_of
{
	my ($key) = @_;
	my $crc = 0;

	foreach my $byte (unpack('C*', $key))
	{
		$crc ^= $byte << 8;
		$crc = (($crc << 1) ^ ($crc & 0x8000 ? 0x1021 : 0)) & 0xffff foreach 1 .. 8;
	}
	return $crc % 16384;
}

# A string as Redis sends it.
sub bulk { return '$' . length($_[0]) . "\r\n$_[0]\r\n"; }

=pod

=item FakeRedis->scripted(host)

A node that keeps strings and hashes and claims to own all slots. C<tell> tells it
otherwise:

=item $node->tell('ANSWER', command, times, bytes, then)

So often it answers that command with these bytes, in which <slot> is that of its
key, and does not carry it out. C<then>
is C<close> or C<mute>, see above; or C<besides>: it does carry it out and answers as
it should, behind these bytes; or C<late>: the same, but half a second later.

=item $node->tell('MAP', bytes)

What it answers to CLUSTER SLOTS.

=item $node->tell('SAY', section, text)

What it answers to INFO of that section.

=item $node->tell('KEEP', key, value)

Has it keep a string that nobody has sent it.

=item $node->tell('COUNT', command), $node->tell('TIMES', command)

How often it was given that command, and when, in seconds, with spaces between.

=back

=cut

sub scripted
{
	my ($class, $host) = @_;
	my %state = (values => {}, script => {}, says => {}, times => {}, queue => undef, host => $host // '127.0.0.1');

	return $class->new(sub { return _play(\%state, @_); }, $host);
}

sub tell
{
	my ($self, @words) = @_;
	my $socket = IO::Socket::IP->new(PeerHost => $self->{host}, PeerPort => $self->{port})
	  or croak "could not reach the fake: $!";

	print $socket '*' . @words . "\r\n" . join('', map { bulk($_) } @words);
	my $head = <$socket> // croak 'the fake says nothing';
	$head =~ /^\$(\d+)\r\n\z/ or croak "the fake says $head";
	read($socket, my $answer, $1) == $1 or croak 'the fake says less than it said';
	return $answer;
}

# Answers a command of a scripted node.
sub _play
{
	my ($state, $port, $command, @words) = @_;

	if ($command eq 'ANSWER')
	{
		my ($which, $times, $bytes, $then) = @words;
		$state->{script}{$which} = [ $times, $bytes, $then // '' ];
		return bulk('');
	}
	if ($command eq 'MAP')
	{
		$state->{map} = $words[0];
		return bulk('');
	}
	if ($command eq 'SAY' || $command eq 'KEEP')
	{
		my $what = $command eq 'SAY' ? 'says' : 'values';
		$state->{$what}{ $words[0] } = $words[1];
		return bulk('');
	}
	return bulk(scalar @{ $state->{times}{ $words[0] } // [] }) if $command eq 'COUNT';
	return bulk("@{ $state->{times}{ $words[0] } // [] }") if $command eq 'TIMES';

	push @{ $state->{times}{$command} }, Time::HiRes::time();
	my $scripted = $state->{script}{$command};
	return _answer_as_redis($state, $port, $command, @words)
	  unless $scripted && $scripted->[0]-- > 0;

	my (undef, $bytes, $then) = @$scripted;
	$bytes =~ s/<slot>/slot_of($words[0])/e;
	Time::HiRes::sleep(0.5) if $then eq 'late';
	return $bytes . _answer_as_redis($state, $port, $command, @words)
	  if $then eq 'besides' || $then eq 'late';
	return $then ? [ $bytes, $then ] : $bytes;
}

sub _answer_as_redis
{
	my ($state, $port, $command, @words) = @_;
	my ($key, @rest) = @words ? @words : '';
	my $values = $state->{values};

	return $state->{map} // map_of([ 0, 16383, $state->{host}, $port ]) if $command eq 'CLUSTER';
	return bulk($state->{says}{$key} // sprintf("run_id:%040d\r\n", $port))
	  if $command eq 'INFO';
	return "*2\r\n" . bulk('0') . "*0\r\n" if $command eq 'SCAN';
	return ":1\r\n" if "$command $key" eq 'CLIENT ID';
	return bulk("id=1 name=\n") if "$command $key" eq 'CLIENT LIST';
	if ($command eq 'MULTI')
	{
		$state->{queue} = [];
		return "+OK\r\n";
	}
	if ($command eq 'EXEC')
	{
		my @queue = @{ $state->{queue} // return "-ERR EXEC without MULTI\r\n" };
		$state->{queue} = undef;
		return '*' . @queue . "\r\n" . join('', map { _answer_as_redis($state, $port, @$_) } @queue);
	}
	if ($state->{queue})
	{
		push @{ $state->{queue} }, [ $command, @words ];
		return "+QUEUED\r\n";
	}
	if ($command eq 'DEL')
	{
		return ':' . (defined delete $values->{$key} ? 1 : 0) . "\r\n";
	}
	if ($command eq 'HSET')
	{
		$values->{$key} = { %{ $values->{$key} // {} }, @rest };
		return ':' . @rest / 2 . "\r\n";
	}
	if ($command eq 'SET')
	{
		$values->{$key} = $rest[0];
		return "+OK\r\n";
	}
	if ($command eq 'HGETALL')
	{
		my @all = %{ $values->{$key} // {} };
		return '*' . @all . "\r\n" . join('', map { bulk($_) } @all);
	}
	return defined $values->{$key} ? bulk($values->{$key}) : "\$-1\r\n" if $command eq 'GET';
	return "+OK\r\n";
}

# Ends with the test program, of which it is a child.
sub _serve
{
	my ($listener, $port, $answer) = @_;
	my $parent = getppid();
	my $sockets = IO::Select->new($listener);
	my %unread;
	my %mute;

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
			while ($open and my @words = take_command(\$unread{$socket}))
			{
				next if $mute{$socket};
				my $bytes = $answer->($port, @words);
				my $then = '';
				($bytes, $then) = @$bytes if ref $bytes;
				$mute{$socket} = 1 if $then eq 'mute';
				$open = defined $bytes && write_all($socket, $bytes) && $then ne 'close';
			}
			next if $open;
			delete $unread{$socket};
			delete $mute{$socket};
			$sockets->remove($socket);
			close($socket);
		}
	}
	return;
}

# Writes all of it; false if the other side is gone.
sub write_all
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
sub take_command
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
