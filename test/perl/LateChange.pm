
=pod

=head1 NAME

LateChange - another extension, which acts in its own callback before a commit

=head1 SYNOPSIS

  use LateChange;
  my $library = LateChange::build();    # goes before cachegrid in shared_preload_libraries
  ... SET LOCAL late_change.command = 'UPDATE ...' ...

=cut

package LateChange;

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

=pod

=head1 FUNCTIONS

=over

=item LateChange::build()

Builds it, as a test; returns the path of the library.

=back

=cut

sub build
{
	my $library = PostgreSQL::Test::Utils::tempdir() . '/late_change.so';
	my ($include) = run_command([ 'pg_config', '--includedir-server' ]);
	my @compiler = split(/ /, (run_command([ 'pg_config', '--cc' ]))[0]);

	command_ok([ @compiler, '-fPIC', '-shared', "-I$include", '-o', $library, 'test/late/late_change.c' ],
		'the other extension is built');
	return $library;
}

1;
