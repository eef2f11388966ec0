
=pod

=head1 NAME

RedisCluster - a throwaway Redis Cluster for tests

=head1 SYNOPSIS

  use RedisCluster;
  plan skip_all => 'redis-server is not installed' unless RedisServer::installed();

  my $cluster = RedisCluster->new(dir => "$tmp/redis", nodes => 3);
  print $cluster->endpoints;               # 127.0.0.1:54321,127.0.0.1:...
  is($cluster->command('GET', 'product:1'), 'value');
  $cluster->migrate_slot($cluster->slot_of('product:1'), 2);
  $cluster->node(1)->kill9;
  $cluster->node(1)->start;
  $cluster->wait_until_ok;

=head1 DESCRIPTION

Nodes are L<RedisServer>s, numbered from 0: first the masters, then, if there
are any, the replicas, of which number C<nodes + i> replicates master
C<i % nodes>.

=cut

package RedisCluster;

use strict;
use warnings;

use Carp;
use RedisServer;

my $slot_count = 16384;

=pod

=head1 METHODS

=over

=item RedisCluster->new(dir => ..., nodes => 3, replicas => 0, ...)

Starts the servers and makes a cluster of them. C<replicas> is their number
altogether. C<node_timeout> is C<cluster-node-timeout> in milliseconds; it decides
how long a failover takes. C<password> and C<config> are those of every
L<RedisServer>.

=cut

sub new
{
	my ($class, %options) = @_;
	my $masters = $options{nodes} || 3;
	my $replicas = $options{replicas} || 0;
	my $self = bless { masters => $masters, nodes => [], started => 0, options => \%options }, $class;

	croak 'a Redis cluster needs a folder: dir' unless defined $options{dir};
	$self->_start_node foreach 1 .. $masters + $replicas;
	$self->_share_slots;
	$self->_meet;
	$self->_replicate;
	return $self;
}

sub _start_node
{
	my ($self) = @_;
	my $options = $self->{options};
	my $number = $self->{started}++;

	push @{ $self->{nodes} },
	  RedisServer->new(
		dir => "$options->{dir}/node$number",
		password => $options->{password},
		config => [
			'cluster-enabled yes',
			'cluster-node-timeout ' . ($options->{node_timeout} || 5000),
			# A master whose last slot is taken stays one.
			'cluster-allow-replica-migration no',
			@{ $options->{config} || [] }
		]);
	return;
}

sub _share_slots
{
	my ($self) = @_;
	my $masters = $self->{masters};

	foreach my $number (0 .. $masters - 1)
	{
		my $node = $self->node($number);
		my $first = int($slot_count * $number / $masters);
		my $last = int($slot_count * ($number + 1) / $masters) - 1;

		_demand('OK', $node->command('CLUSTER', 'ADDSLOTSRANGE', $first, $last));
		_demand('OK', $node->command('CLUSTER', 'SET-CONFIG-EPOCH', $number + 1));
	}
	return;
}

sub _meet
{
	my ($self) = @_;
	my @others = $self->nodes;

	# Everybody meets everybody: gossip would get around by itself, but later.
	while (my $node = shift @others)
	{
		foreach my $other (@others)
		{
			_demand('OK',
				$node->command('CLUSTER', 'MEET', $other->host, $other->port,
					$other->{bus_port}));
		}
	}
	$self->wait_until_ok;
	return;
}

sub _replicate
{
	my ($self) = @_;
	my @nodes = $self->nodes;

	foreach my $number ($self->{masters} .. $#nodes)
	{
		my $master = $nodes[ ($number - $self->{masters}) % $self->{masters} ];
		my $id = $master->command('CLUSTER', 'MYID');

		_demand('OK', $nodes[$number]->command('CLUSTER', 'REPLICATE', $id));
		RedisServer::wait_until('the replica follows',
			sub { $nodes[$number]->command('INFO', 'replication') =~ /master_link_status:up/ }
		);
	}
	return;
}

sub _demand
{
	my ($expected, $answer) = @_;
	croak "redis-server said: $answer" unless $answer eq $expected;
	return;
}

=pod

=item $cluster->wait_until_ok

Until all nodes that run know each other and say that all slots are served.

=cut

sub wait_until_ok
{
	my ($self) = @_;
	my @nodes = grep { $_->is_running } $self->nodes;
	my $count = $self->nodes;

	foreach my $node (@nodes)
	{
		RedisServer::wait_until(
			'the Redis cluster is ok',
			sub {
				my $info = $node->command('CLUSTER', 'INFO');
				return $info =~ /cluster_state:ok/ && $info =~ /cluster_known_nodes:$count\b/;
			});
	}
	return;
}

=pod

=item $cluster->wait_until_agreed

Until all nodes that run say the same of who owns which slots since which epoch.
A node that takes a slot before it has heard of the last move may believe itself
the newest already, and take no newer epoch: then an old message of the former
owner, with a higher one, gives the slot back in its eyes alone, and two nodes
send everybody to each other for good.

=cut

sub wait_until_agreed
{
	my ($self) = @_;

	RedisServer::wait_until(
		'the Redis nodes agree',
		sub {
			my %views = map { _view($_) => 1 } grep { $_->is_running } $self->nodes;
			return keys %views == 1;
		});
	return;
}

=pod

=item $cluster->nodes, $cluster->node(number)

=item $cluster->endpoints

As the option of a server wants them.

=cut

sub nodes { return @{ $_[0]->{nodes} }; }
sub node { return $_[0]->{nodes}[ $_[1] ]; }
sub endpoints { return join(',', map { $_->endpoint } $_[0]->nodes); }

=pod

=item $cluster->command(word, ...)

Sends a command where its key belongs, following redirections.

=cut

sub command
{
	my ($self, @words) = @_;
	my ($node) = grep { $_->is_running } $self->nodes;

	croak 'no node runs' unless $node;
	return $node->command('-c', @words);
}

=pod

=item $cluster->slot_of(key), $cluster->owner_of(slot)

The slot of a key; the number of the node that owns a slot.

=cut

sub slot_of
{
	my ($self, $key) = @_;
	my ($node) = grep { $_->is_running } $self->nodes;
	return $node->command('CLUSTER', 'KEYSLOT', $key);
}

sub owner_of
{
	my ($self, $slot) = @_;
	my @nodes = $self->nodes;

	foreach my $number (0 .. $#nodes)
	{
		next unless $nodes[$number]->is_running;
		my ($own) =
		  grep { /\bmyself,master\b/ } split(/\n/, $nodes[$number]->command('CLUSTER', 'NODES'));
		next unless $own;
		my (undef, undef, undef, undef, undef, undef, undef, undef, @ranges) = split(/ /, $own);
		foreach my $range (grep { !/^\[/ } @ranges)
		{
			my ($first, $last) = split(/-/, $range);
			return $number if $slot >= $first && $slot <= ($last // $first);
		}
	}
	croak "nobody owns slot $slot";
}

=pod

=item $cluster->dbsize

The number of keys on all masters that run.

=cut

sub dbsize
{
	my ($self) = @_;
	my $sum = 0;

	foreach my $node (grep { $_->is_running } $self->nodes)
	{
		$sum += $node->command('DBSIZE') if $node->command('ROLE') =~ /^master/;
	}
	return $sum;
}

=pod

=item $cluster->migrate_slot(slot, number)

Moves a slot and its keys to another node.

=item $cluster->begin_migration(slot, number)

=item $cluster->move_keys(slot, number)

=item $cluster->finish_migration(slot, number)

The same in steps. Between the first and the last, keys that have been moved,
and keys that do not exist, are answered with ASK.

=cut

sub migrate_slot
{
	my ($self, $slot, $number) = @_;
	return if $self->owner_of($slot) == $number;
	$self->begin_migration($slot, $number);
	$self->move_keys($slot, $number);
	$self->finish_migration($slot, $number);
	return;
}

sub begin_migration
{
	my ($self, $slot, $number) = @_;
	my $from = $self->node($self->owner_of($slot));
	my $to = $self->node($number);

	_demand('OK',
		$to->command('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $from->command('CLUSTER', 'MYID'))
	);
	_demand('OK',
		$from->command('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $to->command('CLUSTER', 'MYID'))
	);
	return;
}

sub move_keys
{
	my ($self, $slot, $number) = @_;
	my $from = $self->node($self->owner_of($slot));
	my $to = $self->node($number);
	my @auth = defined $to->{password} ? ('AUTH', $to->{password}) : ();

	while (my @keys = split(/\n/, $from->command('CLUSTER', 'GETKEYSINSLOT', $slot, 100)))
	{
		_demand('OK',
			$from->command('MIGRATE', $to->host, $to->port, '', 0, 60000, @auth, 'KEYS', @keys));
	}
	return;
}

sub finish_migration
{
	my ($self, $slot, $number) = @_;
	my $to = $self->node($number);
	my $id = $to->command('CLUSTER', 'MYID');
	my $from = $self->node($self->owner_of($slot));

	# The new owner first, so that there is always one; then everybody else, or
	# who hears of it from others only may believe in an older owner for good.
	foreach my $node ($to, $from, grep { $_ != $to && $_ != $from && $_->is_running } $self->nodes)
	{
		_demand('OK', $node->command('CLUSTER', 'SETSLOT', $slot, 'NODE', $id));
	}
	$self->wait_until_agreed;
	return;
}

# Who owns what since which epoch, as a node sees it; marks of migrations left out.
sub _view
{
	my ($node) = @_;
	my @owners;

	foreach my $line (split(/\n/, $node->command('CLUSTER', 'NODES')))
	{
		my ($id, undef, $flags, undef, undef, undef, $epoch, undef, @slots) = split(/ /, $line);

		push @owners, join(' ', $id, $epoch, grep { !/^\[/ } @slots) if $flags =~ /\bmaster\b/;
	}
	return join("\n", sort @owners);
}

=pod

=item $cluster->add_node

Starts one more node, which everybody knows then and which has no slots; returns its
number.

=item $cluster->remove_node

Has everybody forget the last node, which must have no slots any more, and ends it.

=cut

sub add_node
{
	my ($self) = @_;

	$self->_start_node;
	my ($node, @others) = reverse $self->nodes;
	_demand('OK', $node->command('CLUSTER', 'MEET', $_->host, $_->port, $_->{bus_port}))
	  foreach @others;
	$self->wait_until_ok;
	return scalar @others;
}

sub remove_node
{
	my ($self) = @_;
	my $node = pop @{ $self->{nodes} };
	my $id = $node->command('CLUSTER', 'MYID');

	_demand('OK', $_->command('CLUSTER', 'FORGET', $id)) foreach $self->nodes;
	$node->kill9;
	$self->wait_until_ok;
	return;
}

=pod

=item $cluster->stop

Ends all nodes; so does the end of the object.

=cut

sub stop
{
	my ($self) = @_;
	$_->kill9 foreach $self->nodes;
	return;
}

=pod

=back

=cut

1;
