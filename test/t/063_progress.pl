
# How far a sweep is can be seen while it is under way.

use strict;
use warnings;

use Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $mirror = Mirror->new('progress');
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Waits until the view shows this of the sweep, and returns what it shows.
sub shown
{
	my ($condition) = @_;
	my $from = 'FROM cachegrid.stat_mirror_progress';

	$node->poll_query_until('postgres', "SELECT count(*) = 1 $from WHERE $condition")
	  or diag(sql("SELECT row_to_json(p) FROM (SELECT * $from) p"));
	return sql("SELECT row_to_json(p) FROM (SELECT * $from) p");
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item SELECT i, i FROM generate_series(1, 400000) i; ANALYZE item');
is(sql('SELECT count(*) FROM cachegrid.stat_mirror_progress'), '0', 'nothing is under way');

# A node that stands still holds the sweep where it is.
sql(q{SELECT cachegrid.mirror('item', 'grid')});
my $seen = shown(q{phase = 'walking the table' AND rows_done BETWEEN 1 AND 399999});
$mirror->redis->node(0)->pause;
my $walking = sql(q{SELECT "table", server, phase, rows_total, rows_done > 0 AND rows_done < 400000, started_at BETWEEN now() - interval '1 hour' AND clock_timestamp() FROM cachegrid.stat_mirror_progress});
$mirror->redis->node(0)->resume;
like($walking, qr/^item\|grid\|walking the table\|400000\|t\|t$/, 'a first copy is shown') or diag($seen);
$mirror->is_equal('it ends');
is(sql('SELECT count(*) FROM cachegrid.stat_mirror_progress'), '0', '... and is shown no more');

sql(q{SELECT cachegrid.resync('item', 'grid')});
$seen = shown(q{phase = 'scanning Redis' AND keys_scanned BETWEEN 1 AND 399999});
like($seen, qr/"rows_done":0,"rows_total":null/, 'a resync looks for surplus keys first');
$seen = shown(q{phase = 'walking the table' AND rows_done BETWEEN 1 AND 399999});
like($seen, qr/"keys_scanned":400000|^$/, '... and has looked at all of them when it comes to the rows');
kill('TERM', $mirror->worker);
$mirror->is_equal('another worker ends it');
is(sql('SELECT count(*) FROM cachegrid.stat_mirror_progress'), '0', '... and it is shown no more');

sql('CREATE ROLE reader; GRANT cachegrid_reader TO reader');
is(sql('SET ROLE reader; SELECT count(*) FROM cachegrid.stat_mirror_progress'), '0', 'who may read the cache may see it');

$node->stop;
done_testing();
