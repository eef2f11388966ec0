# After any sequence of operations the counters of the store are the sum of what
# there is, and what is found is what was put last.  The seeds are new in each run;
# SEED repeats one.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Probe;

my $seeds = $ENV{SEED} ? 1 : 8;
my $first = $ENV{SEED} || int(rand(1_000_000_000));

# Of one partition, and of several that take pages from each other
foreach my $memory ('8MB', '48MB')
{
	my $node = Probe::start("of_$memory", "cachegrid.memory = '$memory'");
	my $found = 0;
	my $had_no_room = 0;

	foreach my $seed ($first .. $first + $seeds - 1)
	{
		my ($status, $output, $error) =
		  $node->psql('postgres', "SELECT probe_property($seed, 4000)");
		my ($puts, $refused, $hits) = ($output // '') =~ /^(\d+) puts, (\d+) refused, (\d+) hits$/;

		is($error, '', "$memory, seed $seed: nothing is wrong") or next;
		cmp_ok($puts - $refused, '>', 1000, '... entries were put');
		$had_no_room += $refused;
		$found += $hits;
	}
	cmp_ok($had_no_room, '>', 0, "$memory: some found no room");
	cmp_ok($found, '>', 100 * $seeds, "$memory: many were found");
	is( $node->safe_psql('postgres', 'SELECT sum(used_bytes + free_bytes) FROM cachegrid.stat_memory'),
		$memory =~ s/MB//r * 1024 * 1024, "$memory: every byte is accounted for");
	$node->stop;
}

done_testing();
