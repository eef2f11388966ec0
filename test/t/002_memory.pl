# A cache of the smallest size: large values among small ones find room, what
# can never fit throws nothing out, and the index does not grow while entries
# come and go.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
cachegrid.memory = '8MB'
CONF
$node->start;

# Who looks for room must not do so for ever.
sub sql
{
	return $node->safe_psql('postgres', shift, timeout => $PostgreSQL::Test::Utils::timeout_default);
}

sub fill_with_small_values
{
	my $name = shift;

	return sql("SELECT count(cachegrid.add('$name:' || i, repeat('x', i % 61 + i % 7 / 6 * 700)))
		FROM generate_series(1, 60000) AS i");
}

sub is_exact
{
	return sql("SELECT sum(used_bytes + free_bytes) = pg_size_bytes('8MB') FROM cachegrid.stat_memory");
}

sql('CREATE EXTENSION cachegrid');

# Ten times as many as there is room for.
sql("SELECT count(cachegrid.add('churn:' || lpad(i::text, 6, '0'), repeat('v', 100)))
	FROM generate_series(1, 600000) AS i");
cmp_ok(sql("SELECT round(sum(bytes) / pg_size_bytes('8MB'), 3) FROM cachegrid.stat_cache"),
	'>=', 0.83, 'share of keys and values after churn');

foreach my $round (1 .. 3)
{
	foreach my $size (3_000_000, 4_000_000, 5_000_000, 7_000_000)
	{
		# Sizes shift: the classes of large cells have turned over before.
		sql("SELECT count(cachegrid.add('medium$round:' || i, repeat('m', 65536)))
			FROM generate_series(1, 200 + 7 * $round) AS i");
		fill_with_small_values("small$round:$size");
		sql("SELECT cachegrid.add('large$round:$size', repeat('y', $size))");
		is(sql("SELECT length(cachegrid.get('large$round:$size'))"),
			$size, "value of $size bytes is kept, round $round");
		is(is_exact(), 't', "accounting is exact beside $size bytes, round $round");
	}
}

fill_with_small_values('last');
my $entries = sql("SELECT sum(entries) FROM cachegrid.stat_cache");
cmp_ok($entries, '>', 1000, 'the cache is full of small values');
is(sql("SELECT cachegrid.add('huge', repeat('z', 16 * 1024 * 1024))"), 'f', 'a value that cannot fit is not kept');
is(sql("SELECT sum(entries) FROM cachegrid.stat_cache"), $entries, 'nothing was thrown out for it');
is(is_exact(), 't', 'accounting is exact after all');

# What the log says since then.
sub log_since
{
	return substr(slurp_file($node->logfile), shift);
}

# A size that is no size is told in the log, and the server has the usual one.
foreach my $bad (
	[ '4MB', qr/4 MB is outside the valid range for parameter "cachegrid.memory"/ ],
	[ more_than_ram(), qr/The machine has \d+ MB of memory|is outside the valid range/ ])
{
	my ($size, $message) = @$bad;
	my $offset = -s $node->logfile;

	$node->adjust_conf('postgresql.conf', 'cachegrid.memory', "'$size'");
	$node->restart;
	like(log_since($offset), $message, "a size of $size is refused");
	is(sql('SHOW cachegrid.memory'), '128MB', "and the usual one taken instead of $size");
}

sub more_than_ram
{
	my ($kilobytes) = slurp_file('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/;

	return int($kilobytes / 1024 + 1024) . 'MB';
}

# It cannot change while the server runs.
my $offset = -s $node->logfile;
$node->adjust_conf('postgresql.conf', 'cachegrid.memory', "'16MB'");
$node->reload;
$node->wait_for_log(qr/parameter "cachegrid.memory" cannot be changed without restarting the server/, $offset);
is(sql('SHOW cachegrid.memory'), '128MB', 'a reload does not change it');
is(sql("SELECT sum(used_bytes + free_bytes) = pg_size_bytes('128MB') FROM cachegrid.stat_memory"),
	't', 'nor what there is');

$node->stop;
done_testing();
