
=pod

=head1 NAME

Standby - a primary that logs its invalidations, and what its standbys serve

=head1 SYNOPSIS

  use Standby;

  my $primary = Standby::start_primary('name', 'a_setting = 1');
  my $standby = Standby::add($primary, 'other');    # waits until it serves
  Standby::follow($primary, $standby);              # waits until it has all
  is(Standby::fetch($standby, 'product:1'), '1 hit', 'there already');
  like(Standby::reason($standby), qr/started anew/, 'it serves no more');

=cut

package Standby;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

sub start_primary
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 1, has_archiving => 1);
	$node->append_conf('postgresql.conf', "$_\n")
	  foreach (
		"shared_preload_libraries = 'cachegrid'",
		'cachegrid.wal_log_invalidations = on',
		'max_connections = 30',
		'max_prepared_transactions = 20',
		'hot_standby_feedback = on',
		'wal_receiver_status_interval = 1s',
		'autovacuum = off',
		'restart_after_crash = on',
		'log_statement = none',
		'deadlock_timeout = 20ms',
		@settings);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cachegrid');
	return $node;
}

# A standby of the node, itself a standby or not, that streams.
sub add
{
	my ($upstream, $name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$upstream->backup($name);
	$standby->init_from_backup($upstream, $name, has_streaming => 1);
	$standby->start;
	wait_until_it_serves($standby);
	return $standby;
}

# Waits until the standby has redone all that the primary has logged so far.  It is sent
# what is on disk: a commit takes what is not, stamps without one, along at once.
sub follow
{
	my ($primary, $standby) = @_;
	my $lsn = $primary->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'follow', '')});

	$standby->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'")
	  or die $standby->name . ' does not follow';
	return;
}

sub wait_until_it_serves
{
	my ($node) = @_;

	$node->poll_query_until('postgres', 'SELECT serves FROM cachegrid.stat_standby')
	  or die $node->name . ' does not serve: ' . reason($node);
	return;
}

# Waits until it does not, and why.
sub wait_until_it_refuses
{
	my ($node, $reason) = @_;

	return $node->poll_query_until('postgres', "SELECT NOT serves AND reason ~ '$reason' FROM cachegrid.stat_standby");
}

sub reason
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT reason FROM cachegrid.stat_standby');
}

# The value, and how it was come by.
sub fetch
{
	my ($node, $key, $what) = @_;
	my $hits = 'SELECT sum(hits) FROM cachegrid.stat_cache';
	my ($before, $value, $after) = split(
		/\n/,
		$node->safe_psql('postgres', "$hits; SELECT cachegrid.fetch('$key') ->> '" . ($what || 'n') . "'; $hits"));

	return "$value " . ($after > $before ? 'hit' : 'miss');
}

1;
