
=pod

=head1 NAME

Subscriber - who reads events from a Redis channel, for tests

=head1 SYNOPSIS

  use Subscriber;
  my $subscriber = Subscriber->new($redis->host, $redis->port, $channel);
  my $event = $subscriber->next_event;     # a hash of the message, and "gap"
  is($subscriber->told(2), 'insert item:1 update item:2', 'in this order');

=head1 DESCRIPTION

Speaks RESP by itself, and judges each event by its token, as docs/events.md says:
C<gap> is true if an event may have been missed before it. C<reused> is true if its
number was another batch's.

=cut

package Subscriber;

use strict;
use warnings;

use Carp;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Time::HiRes qw(time);

my $timeout = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

=pod

=head1 METHODS

=over

=item Subscriber->new(host, port, channel, command)

Subscribes, by C<SUBSCRIBE> or by the command that is named, and waits until that
is done.

=cut

sub new
{
	my ($class, $host, $port, $channel, $command) = @_;
	my $self = bless {
		host => $host,
		port => $port,
		channel => $channel,
		command => $command || 'SUBSCRIBE',
		seen => {} }, $class;

	$self->connect;
	return $self;
}

=pod

=item $subscriber->connect

Again, after the connection was lost; what was seen before is remembered.

=cut

sub connect
{
	my ($self) = @_;

	$self->{bytes} = '';
	$self->{socket} = IO::Socket::INET->new(
		PeerAddr => $self->{host},
		PeerPort => $self->{port},
		Proto => 'tcp') or croak "could not connect to Redis: $!";
	$self->{socket}->print("$self->{command} $self->{channel}\r\n");
	my $reply = $self->_reply(time() + $timeout);
	croak 'could not subscribe' unless ref $reply && $reply->[0] =~ /subscribe$/;
	return;
}

# Reads until there is a line, or so many bytes; dies when Redis is gone.
sub _take
{
	my ($self, $size, $deadline) = @_;

	for (;;)
	{
		if (defined $size && length($self->{bytes}) >= $size + 2)
		{
			return substr(substr($self->{bytes}, 0, $size + 2, ''), 0, $size);
		}
		return $1 if !defined $size && $self->{bytes} =~ s/\A([^\r]*)\r\n//;
		my $left = $deadline - time();
		return
		  if $left <= 0 || !IO::Select->new($self->{socket})->can_read($left);
		croak 'Redis has closed the connection'
		  unless sysread($self->{socket}, $self->{bytes}, 65536, length($self->{bytes}));
	}
}

# A reply; undef if there is none in time.
sub _reply
{
	my ($self, $deadline) = @_;
	my $line = $self->_take(undef, $deadline);

	return unless defined $line;
	my ($kind, $rest) = (substr($line, 0, 1), substr($line, 1));
	return [ map { $self->_reply($deadline) } 1 .. $rest ] if $kind eq '*';
	return $self->_take($rest, $deadline) if $kind eq '$';
	croak "Redis says $rest" if $kind eq '-';
	return $rest;
}

# May something have been missed before this event?
sub _judge
{
	my ($self, $event) = @_;
	my $seen = $self->{seen}->{"$event->{table} $event->{timeline}"} //= { at => '' };
	my $before = $event->{part} - 1;
	my $gap =
	  $before == 0
	  ? !defined $seen->{whole} || $event->{since} > $seen->{whole}
	  : $seen->{at} ne "$event->{batch}/$before";

	$event->{reused} = $before == 0 && $event->{batch} <= ($seen->{highest} // 0);
	$seen->{highest} = $event->{batch} if $event->{batch} > ($seen->{highest} // 0);
	$seen->{at} = "$event->{batch}/$event->{part}";
	$seen->{whole} = $event->{batch} if $event->{part} == $event->{parts};
	return $gap;
}

=pod

=item $subscriber->next_event(seconds)

The next event; undef if there is none in that time, or in the test's timeout.

=cut

sub next_event
{
	my ($self, $seconds) = @_;
	my $message = $self->_reply(time() + ($seconds // $timeout));

	return unless defined $message;
	my $event = decode_json($message->[2]);
	$event->{gap} = $self->_judge($event);
	return $event;
}

sub _in_short
{
	my ($event) = @_;
	my $marks = ($event->{gap} ? '!' : '') . ($event->{reused} ? '?' : '');

	return join(' ', "$event->{operation}$marks", $event->{key} // ());
}

=pod

=item $subscriber->told(count)

The next events in short: the operation, the key if there is one, an exclamation
mark if something may have been missed before, and a question mark if the number
is not new.

=cut

sub told
{
	my ($self, $count) = @_;
	my @told;

	for (1 .. $count)
	{
		my $event = $self->next_event or return join(' ', @told, 'nothing');
		push @told, _in_short($event);
	}
	return join(' ', @told);
}

=pod

=item $subscriber->told_until(key)

The same up to the first event of this key.

=back

=cut

sub told_until
{
	my ($self, $key) = @_;
	my @told;

	while (my $event = $self->next_event)
	{
		push @told, _in_short($event);
		return join(' ', @told) if ($event->{key} // '') eq $key;
	}
	return join(' ', @told, 'nothing');
}

1;
