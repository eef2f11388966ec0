# Readers of all sorts on a standby, beside full traffic on its primary: each
# value read is compared with the table in the same statement and snapshot.
# CHECKER_SECONDS says how long.

use strict;
use warnings;

use Test::More;

use Checker;
use Standby;

my $seconds = $ENV{CHECKER_SECONDS} || 15;
my $primary = Standby::start_primary('primary', 'log_min_messages = fatal', 'max_standby_streaming_delay = 60s');
my $checker = Checker->new($primary, 'postgres');
my $standby = Standby::add($primary, 'standby');

$checker->run_beside($seconds, $standby);
is($checker->stale, '', 'every value read is what the table says in the same snapshot');
is($checker->errors, '', 'nothing else goes wrong');
cmp_ok($checker->hit_ratio('product', $standby), '>=', 0.3, 'rows are mostly hits on the standby');
cmp_ok($checker->hit_ratio('product'), '>=', 0.3, '... and on the primary');
cmp_ok($checker->query('SELECT sum(hits) FROM cachegrid.stat_cache', $standby),
	'>=', 300 * $seconds, 'enough hits were compared on the standby');
is($checker->query('SELECT sum(miss_recovery) FROM cachegrid.stat_cache', $standby), '0', '... which knew enough all the time');
note($checker->query(q{SELECT string_agg(s::text, ' ') FROM cachegrid.stat_cache s}, $_)) foreach ($primary, $standby);
note($checker->{out});

# At rest, everything agrees and is kept again.
my $rows = q{SELECT count(*) FROM product WHERE cachegrid.fetch('product:' || id) IS DISTINCT FROM to_jsonb(product)};
my $hits = q{SELECT hits FROM cachegrid.stat_cache WHERE cache = 'product'};
Standby::follow($primary, $standby);
is($checker->query($rows, $standby), '0', 'at rest all rows agree');
my $before = $checker->query($hits, $standby);
is($checker->query($rows, $standby), '0', '... again');
is($checker->query($hits, $standby) - $before,
	$checker->query('SELECT count(*) FROM product', $standby), '... and all of them are hits');

# Traffic goes on after a promotion.
$primary->stop('immediate');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
$standby->safe_psql('postgres', "ROLLBACK PREPARED '$_'")
  foreach split(/\n/, $standby->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'));
$checker->{node} = $standby;
$checker->run(4);
is($checker->stale, '', 'after a promotion every value is right, too');
is($checker->errors, '', '... and nothing goes wrong');

$standby->stop;
done_testing();
