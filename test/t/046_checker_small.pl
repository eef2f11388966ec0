# The checker with less memory than the rows need, of all sizes: entries are
# evicted and their memory used again while others read them.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Checker;

my $seconds = $ENV{CHECKER_SECONDS} || 8;
my $node = Checker::start_server(q{cachegrid.memory = '8MB'}, 'log_min_messages = fatal');
my $checker = Checker->new($node, 'postgres', 200_000);

cmp_ok($checker->query('SELECT sum(octet_length(to_jsonb(p)::text)) FROM product p'),
	'>', 12_000_000, 'the rows do not fit');
$checker->run($seconds);
is($checker->stale, '', 'every value read is what the table says in the same snapshot');
is($checker->errors, '', 'nothing else goes wrong');
cmp_ok($checker->hit_ratio('product'), '>=', 0.2, 'there are hits');
cmp_ok($checker->query('SELECT sum(evictions) FROM cachegrid.stat_cache'), '>', 100, '... and evictions');
is($checker->query(q{SELECT sum(used_bytes + free_bytes) - pg_size_bytes(current_setting('cachegrid.memory')) FROM cachegrid.stat_memory}),
	'0', 'all memory is accounted for');
note($checker->query(q{SELECT string_agg(s::text, ' ') FROM cachegrid.stat_cache s}));

$node->stop;
done_testing();
