# Probe: a server with the library that looks into the store (test/store), built by
# make for the run.

package Probe;

use strict;
use warnings;

use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# Starts a server with these lines in its configuration, and the library loaded.
sub start
{
	my ($name, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $module = abs_path('test/store/probe');

	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cachegrid'\n$settings\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cachegrid');
	$node->safe_psql('postgres', slurp_file('test/store/setup.sql') =~ s/:'module'/'$module'/gr);
	return $node;
}

1;
