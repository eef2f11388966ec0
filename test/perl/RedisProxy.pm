
=pod

=head1 NAME

RedisProxy - the network between a client and a Redis server, and what befalls it

=head1 SYNOPSIS

  use RedisProxy;
  my $proxy = RedisProxy->new($redis);     # a RedisServer
  print $proxy->endpoint;                  # for the client
  $proxy->tell('CUT', 'SET', 50);          # ends its connection behind the 50th SET

=head1 DESCRIPTION

Listens on a free loopback port, in a process of its own, which ends with the object,
and connects each client to the server: the two sides of a pair. What the client sends
is passed on command by command, what the server sends as it comes. C<tell> has
something happen to them, exactly then and there.

TCP brings no byte twice. What comes twice is a command that the client sends again
because it did not hear of the first; C<CUT> makes it do that.

=cut

package RedisProxy;

use strict;
use warnings;

use Carp;
use FakeRedis;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Time::HiRes ();

=pod

=head1 METHODS

=over

=item RedisProxy->new(server)

=item $proxy->port, $proxy->endpoint

=cut

sub new
{
	my ($class, $server) = @_;
	my $listener = _listen(0);
	my $control = _listen(0);
	my $self = bless { port => $listener->sockport, control => $control->sockport, owner => $$ }, $class;
	my $pid = fork();

	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		my %network = (
			listener => $listener,
			control => $control,
			port => $self->{port},
			server => [ $server->host, $server->port ],
			pairs => [],
			cut => {},
			when => {},
			delay => 0,
			silent => 0,
			accepted => 0);

		$SIG{PIPE} = 'IGNORE';
		eval { _serve(\%network); 1 } or warn $@;
		POSIX::_exit(0);
	}
	$self->{pid} = $pid;
	return $self;
}

sub port { return $_[0]->{port}; }
sub endpoint { return "127.0.0.1:$_[0]->{port}"; }

sub _listen
{
	my ($port) = @_;
	return IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		LocalPort => $port,
		ReuseAddr => 1,
		Proto => 'tcp',
		Listen => 16) || croak "could not listen: $!";
}

=pod

=item $proxy->tell('CUT', command, count)

From the next command of that name on no reply comes back on its connection, and
behind the so-manieth it ends: the server carries these out, and none that the client
sent behind them.

=item $proxy->tell('WHEN', command, word, ...)

When the next command of that name comes, and before it is passed on, these words are
told to the proxy.

=item $proxy->tell('HOLD')

What is sent over the connections that there are is kept; when the client has closed
one, the server does not hear of it.

=item $proxy->tell('RELEASE')

What was kept reaches the server now, where it still listens. Returns the number of
commands that it took, and of connections that it had ended.

=item $proxy->tell('DELAY', milliseconds)

Replies come so much later; 0: at once.

=item $proxy->tell('SILENCE', 1), $proxy->tell('SILENCE', 0)

Nothing comes through, either way; or again.

=item $proxy->tell('REFUSE', 1), $proxy->tell('REFUSE', 0)

All connections end, and nobody can connect; or again.

=item $proxy->tell('KEPT'), $proxy->tell('ACCEPTED')

How many commands are kept; how many connections were made in all.

=back

=cut

sub tell
{
	my ($self, @words) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{control})
	  or croak "could not reach the proxy: $!";

	print $socket "@words\n";
	my $answer = <$socket> // croak 'the proxy says nothing';
	chomp($answer);
	return $answer;
}

# A pair: client, server (undef when closed), up (bytes of the client that are not yet a
# whole command), kept (commands), hold, deaf, down (replies: [time, bytes]).
sub _accept
{
	my ($network) = @_;
	my $client = $network->{listener}->accept or return;
	my ($host, $port) = @{ $network->{server} };
	my $server = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Proto => 'tcp');

	return close($client) unless $server;
	$network->{accepted}++;
	push @{ $network->{pairs} },
	  { client => $client, server => $server, up => '', kept => [], down => [] };
	return;
}

sub _close
{
	my ($pair, $side) = @_;
	close($pair->{$side}) if $pair->{$side};
	$pair->{$side} = undef;
	return;
}

# The server is to carry out what it was sent: it hears of the end behind that, and is
# listened to until it has closed its side.
sub _end_client
{
	my ($pair) = @_;
	_close($pair, 'client');
	$pair->{deaf} = 1;
	shutdown($pair->{server}, 1) if $pair->{server};
	return;
}

# Passes a command on, or keeps it; false if the pair ends with it.
sub _pass
{
	my ($network, $pair, $name, $bytes) = @_;
	my $cut = $network->{cut}{$name};
	my $wish = delete $network->{when}{$name};

	_obey($network, @$wish) if $wish;
	if ($pair->{hold})
	{
		push @{ $pair->{kept} }, $bytes;
		return 1;
	}
	$pair->{deaf} = 1 if $cut;
	FakeRedis::write_all($pair->{server}, $bytes);
	return 1 unless $cut && --$network->{cut}{$name} == 0;
	_end_client($pair);
	return 0;
}

sub _read_client
{
	my ($network, $pair) = @_;
	my $size = sysread($pair->{client}, $pair->{up}, 65536, length($pair->{up}));

	while ($size)
	{
		my $before = $pair->{up};
		my ($name) = FakeRedis::take_command(\$pair->{up}) or return;
		my $bytes = substr($before, 0, length($before) - length($pair->{up}));
		_pass($network, $pair, $name, $bytes) or return;
	}
	$pair->{hold} ? _close($pair, 'client') : _end_client($pair);
	return;
}

sub _read_server
{
	my ($network, $pair) = @_;
	my $size = sysread($pair->{server}, my $bytes, 65536);

	if (!$size)
	{
		_close($pair, 'server');
		_close($pair, 'client');
	}
	elsif (!$pair->{deaf})
	{
		push @{ $pair->{down} }, [ Time::HiRes::time() + $network->{delay}, $bytes ];
	}
	return;
}

# Replies whose time has come.
sub _answer
{
	my ($network, $pair) = @_;
	my $down = $pair->{down};

	while (@$down && $down->[0][0] <= Time::HiRes::time())
	{
		my $reply = shift @$down;
		FakeRedis::write_all($pair->{client}, $reply->[1]) if $pair->{client};
	}
	return;
}

sub _release
{
	my ($network) = @_;
	my ($taken, $ended) = (0, 0);

	foreach my $pair (grep { $_->{hold} } @{ $network->{pairs} })
	{
		# What the server has to say must be read, or it would be thought to be there.
		_read_server($network, $pair) while $pair->{server} && IO::Select->new($pair->{server})->can_read(0);
		$pair->{hold} = 0;
		if (!$pair->{server})
		{
			$ended++;
			next;
		}
		$taken += FakeRedis::write_all($pair->{server}, $_) foreach @{ $pair->{kept} };
		_end_client($pair) unless $pair->{client};
	}
	return "$taken $ended";
}

sub _refuse
{
	my ($network, $refuse) = @_;

	if ($refuse)
	{
		close($network->{listener});
		$network->{listener} = undef;
		_close($_, 'client'), _close($_, 'server') foreach @{ $network->{pairs} };
	}
	else
	{
		$network->{listener} = _listen($network->{port});
	}
	return 'ok';
}

sub _obey
{
	my ($network, $word, @arguments) = @_;

	if ($word eq 'CUT') { $network->{cut}{ $arguments[0] } = $arguments[1]; }
	elsif ($word eq 'WHEN') { $network->{when}{ shift @arguments } = \@arguments; }
	elsif ($word eq 'HOLD') { $_->{hold} = 1 foreach @{ $network->{pairs} }; }
	elsif ($word eq 'RELEASE') { return _release($network); }
	elsif ($word eq 'DELAY') { $network->{delay} = $arguments[0] / 1000; }
	elsif ($word eq 'SILENCE') { $network->{silent} = $arguments[0]; }
	elsif ($word eq 'REFUSE') { return _refuse($network, $arguments[0]); }
	elsif ($word eq 'ACCEPTED') { return $network->{accepted}; }
	elsif ($word eq 'KEPT')
	{
		my $kept = 0;
		$kept += @{ $_->{kept} } foreach @{ $network->{pairs} };
		return $kept;
	}
	else { return "what is $word?"; }
	return 'ok';
}

# The sockets that are listened to, each with what is to be done.
sub _sources
{
	my ($network) = @_;
	my %sources = ($network->{control} => [ $network->{control}, undef ]);

	$sources{ $network->{listener} } = [ $network->{listener}, sub { _accept($network); } ]
	  if $network->{listener};
	return \%sources if $network->{silent};
	foreach my $pair (@{ $network->{pairs} })
	{
		$sources{ $pair->{client} } = [ $pair->{client}, sub { _read_client($network, $pair) if $pair->{client}; } ]
		  if $pair->{client};

		# A connection that is held is looked at when it is released.
		$sources{ $pair->{server} } = [ $pair->{server}, sub { _read_server($network, $pair) if $pair->{server}; } ]
		  if $pair->{server} && !$pair->{hold};
	}
	return \%sources;
}

# Ends with the test program, of which it is a child.
sub _serve
{
	my ($network) = @_;
	my $parent = getppid();

	while (getppid() == $parent)
	{
		my $sources = _sources($network);
		my $select = IO::Select->new(map { $_->[0] } values %$sources);
		my $waits = grep { @{ $_->{down} } } @{ $network->{pairs} };

		foreach my $socket ($select->can_read($waits ? 0.01 : 0.5))
		{
			my $work = $sources->{$socket}[1];
			if ($work)
			{
				$work->();
				next;
			}
			my $friend = $network->{control}->accept;
			my $line = <$friend> // '';
			print $friend _obey($network, split(' ', $line)) . "\n";
			close($friend);
			last;
		}
		_answer($network, $_) foreach $network->{silent} ? () : @{ $network->{pairs} };
		@{ $network->{pairs} } = grep { $_->{client} || $_->{server} } @{ $network->{pairs} };
	}
	return;
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
