
=pod

=head1 NAME

Mirror - a server with a mirrored table, for tests

=head1 SYNOPSIS

  use Mirror;
  my $mirror = Mirror->new('name');
  my $node = $mirror->node;       # a running PostgreSQL::Test::Cluster
  my $redis = $mirror->redis;     # a running RedisCluster of three
  $mirror->settle('item');        # until nothing waits and no sweep is pending
  is($mirror->problems('item'), '', 'Redis has what the table has');
  $mirror->is_equal('at first');  # both, as tests

=cut

package Mirror;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RedisCluster;
use Test::More;

=pod

=head1 METHODS

=over

=item Mirror->new(name, setting, ...)

Starts a PostgreSQL server with these settings, a Redis cluster, and declares it
as server C<grid>.

=cut

sub new
{
	my ($class, $name, @settings) = @_;
	my $self = $class->without_redis($name, 'max_prepared_transactions = 10', @settings);

	$self->{redis} =
	  RedisCluster->new(dir => PostgreSQL::Test::Utils::tempdir() . '/redis', nodes => 3);
	$self->sql("CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis "
		  . "OPTIONS (endpoints '"
		  . $self->redis->endpoints
		  . "')");
	return $self;
}

=pod

=item Mirror->without_redis(name, setting, ...)

Starts only the PostgreSQL server: the test declares what Redis servers it has.

=cut

sub without_redis
{
	my ($class, $name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "$_\n")
	  foreach (
		"shared_preload_libraries = 'cachegrid'",
		"cachegrid.memory = '32MB'",
		'max_worker_processes = 16',
		@settings);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cachegrid');
	return bless { node => $node }, $class;
}

=pod

=item $mirror->sql(statements)

What they put out; dies if one fails.

=item $mirror->told(statements)

What errors and warnings they cause.

=cut

sub sql
{
	my ($self, $statements) = @_;

	return $self->node->safe_psql('postgres', $statements);
}

sub told
{
	my ($self, $statements) = @_;
	my ($out, $err);

	$self->node->psql('postgres', $statements, stdout => \$out, stderr => \$err);
	return $err;
}

=pod

=item $mirror->node, $mirror->redis

=cut

sub node { return $_[0]->{node}; }
sub redis { return $_[0]->{redis}; }

=pod

=item $mirror->becomes_true(condition, name)

Tests that this is true, sooner or later: an expression, or one with FROM and WHERE.

=cut

sub becomes_true
{
	my ($self, $condition, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($self->node->poll_query_until('postgres', "SELECT $condition"), $name);
	return;
}

=pod

=item $mirror->value(key)

What Redis has under the key.

=cut

sub value
{
	my ($self, $key) = @_;

	return $self->redis->command('GET', $key);
}

=pod

=item $mirror->comes_to(key, value, name)

Tests that Redis has this value under the key, sooner or later.

=cut

sub comes_to
{
	my ($self, $key, $value, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	RedisServer::wait_until("$key to come", sub { $self->value($key) eq $value });
	is($self->value($key), $value, $name);
	return;
}

=pod

=item $mirror->settle(table)

Waits until the mirror is live and nothing waits for it; if that never comes, says
what stat_mirror shows.

=cut

sub settle
{
	my ($self, $table) = @_;
	my $mirror = qq{FROM cachegrid.stat_mirror WHERE "table" = '$table'::regclass};
	my $node = $self->node;

	return 1
	  if $node->poll_query_until('postgres',
		"SELECT state = 'live' AND waiting = 0 $mirror");
	diag($node->safe_psql('postgres', "SELECT row_to_json(m) FROM (SELECT * $mirror) m"));
	return 0;
}

=pod

=item $mirror->problems(table, server)

What C<cachegrid.verify> finds, a line each; dies if it does not end. The server is
C<grid> if it is not named.

=cut

sub problems
{
	my ($self, $table, $server) = @_;

	$server //= 'grid';
	return $self->node->safe_psql('postgres',
			"SET statement_timeout = '${PostgreSQL::Test::Utils::timeout_default}s';"
		  . "SELECT key, problem FROM cachegrid.verify('$table', '$server') ORDER BY 1");
}

=pod

=item $mirror->is_equal(name, table, server)

Tests that the mirror settles, and that Redis has then what the table has. The
table is C<item> if it is not named.

=cut

sub is_equal
{
	my ($self, $name, $table, $server) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$table //= 'item';
	ok($self->settle($table), "$name: settles");
	is($self->problems($table, $server), '', "$name: Redis has what the table has");
	return;
}

=pod

=item $mirror->state_is(state, name, database)

Tests that the only mirror of the database comes to this state. The database is
C<postgres> if it is not named.

=cut

sub state_is
{
	my ($self, $state, $name, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok( $self->node->poll_query_until(
			$database // 'postgres', "SELECT state = '$state' FROM cachegrid.stat_mirror"),
		$name);
	return;
}

=pod

=item $mirror->logged(words, place)

How often the server's log has these words, a pattern, behind this place.

=cut

sub logged
{
	my ($self, $words, $place) = @_;
	my $log = substr(slurp_file($self->node->logfile), $place);
	my $count = () = $log =~ /$words/g;

	return $count;
}

=pod

=item $mirror->worker

The worker's process id, once there is one.

=back

=cut

sub worker
{
	my ($self) = @_;
	my $query =
	  "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cachegrid worker' "
	  . "AND datname = 'postgres'";

	$self->node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($query) w");
	return $self->node->safe_psql('postgres', $query);
}

1;
