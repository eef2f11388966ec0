
# What the documents tell is so: the lines of SQL in the README, the example in
# each comment, and the reference that is made of the comments.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('docs');
my $node = $mirror->node;
my $endpoints = $mirror->redis->endpoints;

$node->safe_psql('postgres', 'CREATE DATABASE reader');
$node->safe_psql('reader', 'CREATE EXTENSION cachegrid');

# The README: first hit, first invalidation, first mirrored row
my @blocks = slurp_file('README.md') =~ /^```sql\n(.*?)^```/msg;
is(scalar(@blocks), 3, 'the README has three blocks of SQL');
is($blocks[2] =~ s/127\.0\.0\.1:7000,127\.0\.0\.1:7001/$endpoints/, 1, 'one names a Redis Cluster');

my $row = '{"id": 42, "name": "lamp", "price": 19.90}';
my $many = '{"' . ($row =~ s/"/\\"/gr) . '",NULL}';
is($node->safe_psql('reader', $blocks[0]), "\n$row\n$row\n1|1\n$many\n19.90", 'the second read is a hit');
is($node->safe_psql('reader', $blocks[1]), "17.50\n17.50", 'a change is seen at once, and after the commit');
like($node->safe_psql('reader', $blocks[2]),
	qr/^\nproduct\|grid\|write-behind\|[^\n]*$/, 'the mirror is shown, and nothing differs');
is($mirror->value('product:42'), '{"id":42,"name":"lamp","price":18}', 'the row is in Redis');

# The comments: what stands behind "Example:" can be run
$node->safe_psql('reader', q{ALTER TABLE product ADD category_id int;
	SELECT cachegrid.create_cache('session')});
my %before = (
	create_cache => q{SELECT cachegrid.drop_cache('product');
		CREATE FUNCTION load_offers(keys text[]) RETURNS TABLE (key text, value text) LANGUAGE sql AS 'SELECT k, k FROM unnest(keys) AS k';},
	cache_table => q{SELECT cachegrid.drop_cache('product');},
	mirror => q{CREATE TABLE other (LIKE product INCLUDING ALL);});
my @commented = split(/\n/, $node->safe_psql('reader', q{
	SELECT p.oid || ' pg_proc ' || proname FROM pg_proc p
	WHERE pronamespace = 'cachegrid'::regnamespace AND obj_description(oid, 'pg_proc') ~ 'Example: '
	UNION ALL
	SELECT c.oid || ' pg_class ' || relname FROM pg_class c
	WHERE relnamespace = 'cachegrid'::regnamespace AND obj_description(oid, 'pg_class') ~ 'Example: '
	ORDER BY 1}));

cmp_ok(scalar(@commented), '>', 40, 'there are examples');
foreach my $object (@commented)
{
	my ($oid, $catalog, $name) = split(/ /, $object);
	my $comment = $node->safe_psql('reader', "SELECT obj_description($oid, '$catalog')");
	my ($example) = $comment =~ /Example: (.*)/s;
	my $error;

	# Its table is mirrored already.
	$example =~ s/product/other/g if $name eq 'mirror';
	$node->psql('reader', 'BEGIN;' . ($before{$name} // '') . "$example;ROLLBACK", stderr => \$error);
	is($error, '', "the example of $name");
}

# The reference: as docs/reference.sql makes it
my ($made, $error) = run_command(
	[ 'psql', '-XAtq', '-d', $node->connstr('reader'), '-f', 'docs/reference.sql' ]);
is($error, '', 'the reference can be made');
is_deeply([ split(/\n/, $made) ], [ split(/\n/, slurp_file('docs/reference.md')) ], 'docs/reference.md is up to date');

$node->stop;
done_testing();
