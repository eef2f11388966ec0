# Readers and writers of all sorts at once: each value read is compared with
# the table in the same statement and snapshot. CHECKER_SECONDS says how long.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Checker;

my $seconds = $ENV{CHECKER_SECONDS} || 15;
my $node = Checker::start_server('log_min_messages = fatal');
my $checker = Checker->new($node, 'postgres');

$checker->run($seconds);
is($checker->stale, '', 'every value read is what the table says in the same snapshot');
is($checker->errors, '', 'nothing else goes wrong');
cmp_ok($checker->hit_ratio('product'), '>=', 0.3, 'rows are mostly hits');
cmp_ok($checker->hit_ratio('default'), '>=', 0.02, 'some lists and sums are hits');
cmp_ok($checker->query('SELECT sum(hits) FROM cachegrid.stat_cache'),
	'>=', 500 * $seconds, 'enough hits were compared');
cmp_ok($checker->query(q{SELECT stale FROM cachegrid.stat_cache WHERE cache = 'old'}),
	'>=', 100 * $seconds, 'enough stale values were compared');
note($checker->query(q{SELECT string_agg(s::text, ' ') FROM cachegrid.stat_cache s}));
note($checker->{out});

# At rest, everything agrees and is kept again.
my $rows = q{SELECT count(*) FROM product WHERE cachegrid.fetch('product:' || id) IS DISTINCT FROM to_jsonb(product)};
my $hits = q{SELECT hits FROM cachegrid.stat_cache WHERE cache = 'product'};
is($checker->query($rows), '0', 'at rest all rows agree');
my $before = $checker->query($hits);
is($checker->query($rows), '0', '... again');
is($checker->query($hits) - $before,
	$checker->query('SELECT count(*) FROM product'), '... and all of them are hits');

$node->stop;
done_testing();
