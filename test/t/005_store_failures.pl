# Whichever allocation of a put fails, the store stays sound: the old value is whole or
# gone, no memory is lost, no lock is held, and the next put works.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Probe;

my $node;

# How many trials there were, all of which left the store sound
sub trials
{
	my ($call) = @_;
	my ($status, $output, $error) = $node->psql('postgres', "SELECT $call");

	is($error, '', "$call: all is well");
	return $output || 0;
}

# Bytes of values: less than a cell, more, more than a page, and the most there can be
my @sizes = (0, 1, 100, 255, 256, 1000, 5000, 8192, 20_000, 100_000, 1_000_000, 16 * 1024 * 1024);

$node = Probe::start('large', "cachegrid.memory = '40MB'");

# Over nothing: one allocation at least, and each fails in four ways
foreach my $size (@sizes)
{
	cmp_ok(trials("probe_fail_put('f', 'f:new', -1, $size)"), '>=', $size > 8192 ? 12 : 4, '... with failures');
}

# Over a present entry, in a larger cell or a smaller one
foreach my $before (@sizes)
{
	foreach my $after ($before * 2 + 60, int($before / 3))
	{
		next if abs($after - $before) < 50 || $after > 16 * 1024 * 1024;
		cmp_ok(trials("probe_fail_put('f', 'f:old', $before, $after)"), '>=', 4, '... with failures');
	}
}

# An expiry that comes later: what has no room for one is made anew.
cmp_ok(trials("probe_fail_put('f', 'f:expires', $_, -1)"), '>=', 4, '... with failures') foreach 20, 100, 255;
is(trials("probe_fail_put('f', 'f:expires', 100000, -1)"), 0, '... what is in pieces has room for one');

# In a cache with a quota, a pinned one, and one with both: the quota is given back, the
# circles stay whole.  The first key is thrown out for the last one, or not.
foreach my $limits ([ 400_000, 'false' ], [ 0, 'true' ], [ 400_000, 'true' ])
{
	my ($max_memory, $pinned) = @$limits;

	$node->safe_psql('postgres', "SELECT probe_limit('limited', $max_memory, $pinned)");
	cmp_ok(trials("probe_fail_put('limited', 'limited:$_', -1, 100000)"), '>=', 4, '... with failures') foreach 1 .. 5;
	cmp_ok(trials("probe_fail_put('limited', 'limited:old', 100, 200000)"), '>=', 4, '... with failures');
	cmp_ok(trials("probe_fail_put('limited', 'limited:old', 20000, 100)"), '>=', 4, '... with failures');
	cmp_ok(trials("probe_fail_put('limited', 'limited:expires', 100, -1)"), '>=', 4, '... with failures');
}

# A new key in an index that is full needs a further bucket, beside its item.
cmp_ok(trials("probe_fail_bucket('f', 650000, 20000)"), '>=', 16, '... with failures');

# The store is full of others now: a present entry is not among those thrown out for the
# new one, so that it is the put that removes it.
foreach my $sizes ([ 100, 5000 ], [ 5000, 100 ], [ 100, 300_000 ])
{
	my ($before, $after) = @$sizes;

	cmp_ok(trials("probe_fail_put('f', 'f:old', $before, $after)"), '>=', 4, '... with failures, among many');
}

is($node->safe_psql('postgres', 'SELECT probe_walk(true)'), '', 'all is sound in the end');
$node->stop;

# In a small store what is thrown out for the bucket may give the key room after all.
$node = Probe::start('small', "cachegrid.memory = '8MB'");
foreach my $round (1 .. 8)
{
	cmp_ok(trials("probe_fail_bucket('f$round', 130000, 10)"), '>=', 8, '... with failures');
	$node->safe_psql('postgres', "SELECT cachegrid.clear()");
}
is($node->safe_psql('postgres', 'SELECT probe_walk(true)'), '', 'all is sound in the end');
$node->stop;
done_testing();
