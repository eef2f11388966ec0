# Sessions that read entries while others replace them and make their memory
# into other entries': what is read is whole, and what always stood is found.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $folder = PostgreSQL::Test::Utils::tempdir();

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
cachegrid.memory = '32MB'
log_statement = none
log_min_messages = fatal
CONF
$node->start;

# A value is one letter over and over.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION cachegrid;
CREATE FUNCTION torn(key text, value text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE '% is torn: % bytes, % of them others than the first', key, length(value),
        length(replace(value, left(value, 1), ''));
END $$;
CREATE FUNCTION missing(key text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE '% is missing', key;
END $$;
CREATE FUNCTION judge(key text, value text) RETURNS bigint LANGUAGE sql AS $$
    SELECT CASE WHEN value IS NULL THEN missing(key)
                WHEN value <> repeat(left(value, 1), length(value)) THEN torn(key, value)
                ELSE 1 END
$$;
SELECT count(cachegrid.set('small:' || i, 'x')) FROM generate_series(1, 400000) i;
SELECT count(cachegrid.set('page:' || i, repeat('x', 7000 + i / 2 * 1100))) FROM generate_series(0, 2) i;
SELECT count(cachegrid.set('large:' || i, repeat('x', 100000))) FROM generate_series(0, 3) i;
SQL

# There are more small keys than the index has slots, so many stand in chains of
# buckets, which others make longer and shorter.  Eight of them are written.
my %scripts = (
	read_small => <<'SQL',
SELECT count(judge('small:' || i % 8 + 1, cachegrid.get('small:' || i % 8 + 1))) FROM generate_series(1, 3000) i;
SQL
	write_small => <<'SQL',
SELECT count(cachegrid.replace('small:' || i % 8 + 1, repeat(chr(65 + i % 26), 1 + i % 90))) FROM generate_series(1, 3000) i;
SQL
	read_any => <<'SQL',
SELECT count(judge('small:' || k, cachegrid.get('small:' || k)))
  FROM (SELECT 1 + (random() * 399999)::int AS k FROM generate_series(1, 3000)) random;
SQL
	chain => <<'SQL',
\set first random(1, 1000000)
SELECT count(cachegrid.add('chain:' || i, 'x')) FROM generate_series(:first + 1, :first + 3000) i;
SELECT cachegrid.delete(VARIADIC array_agg('chain:' || i)) FROM generate_series(:first + 1, :first + 3000) i;
SQL
	# The last one is written over in its cell, the others have new ones each time,
	# and the one gets what was the other's.
	read_page => <<'SQL',
SELECT count(judge('page:' || i % 3, cachegrid.get('page:' || i % 3))) FROM generate_series(1, 3000) i;
SQL
	write_page => <<'SQL',
SELECT count(cachegrid.replace('page:' || i % 3, repeat(chr(65 + i % 26), 7000 + i % 3 / 2 * 1100))) FROM generate_series(1, 3000) i;
SQL
	read_large => <<'SQL',
SELECT count(judge('large:' || i % 4, cachegrid.get('large:' || i % 4))) FROM generate_series(1, 50) i;
SQL
	write_large => <<'SQL',
SELECT count(cachegrid.replace('large:' || i % 4, repeat(chr(65 + i % 26), 50000 + i % 7 * 20000))) FROM generate_series(1, 50) i;
SQL
);
my @files;
foreach my $name (sort keys %scripts)
{
	append_to_file("$folder/$name.sql", $scripts{$name});
	push @files, "--file=$folder/$name.sql";
}

my $hits = q{SELECT sum(hits) FROM cachegrid.stat_cache};
my $before = $node->safe_psql('postgres', $hits);
my ($output, $error) = ('', '');
IPC::Run::run(
	[
		'pgbench', '--no-vacuum', '--time=10', '--client=8', '--jobs=2', @files,
		$node->connstr('postgres')
	],
	'<', \undef, '>', \$output, '2>', \$error);
is(join("\n", grep { /torn/ } split(/\n/, $error)), '', 'every value is whole');
is(join("\n", grep { /missing/ } split(/\n/, $error)), '', 'every value is there');
is(join("\n", grep { /ERROR|FATAL|PANIC/ && !/torn|missing/ } split(/\n/, $error)),
	'', 'nothing else goes wrong');
cmp_ok($node->safe_psql('postgres', $hits) - $before, '>', 50_000, 'enough hits were looked at');
is($node->safe_psql('postgres', 'SELECT sum(evictions) FROM cachegrid.stat_cache'),
	'0', 'nothing was evicted');
is($node->safe_psql('postgres', q{SELECT count(cachegrid.get('small:' || i)) FROM generate_series(1, 400000) i}),
	'400000', 'at rest everything is there');

$node->stop;
done_testing();
