
# A standby is promoted that lacks what its primary last did, and Redis shows.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('primary', 'wal_level = replica', 'max_wal_senders = 5');
my $primary = $mirror->node;

$primary->safe_psql('postgres', <<'EOS');
CREATE TABLE item (id int PRIMARY KEY, name text);
INSERT INTO item SELECT i, 'first' FROM generate_series(1, 3000) i;
SELECT cachegrid.mirror('item', 'grid');
EOS
$mirror->is_equal('at first');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', "UPDATE item SET name = 'replicated' WHERE id = 1");
$mirror->is_equal('what both have');
$primary->wait_for_catchup($standby);

# A future that is lost with the primary
$standby->stop;
$primary->safe_psql('postgres',
	"UPDATE item SET name = 'lost' WHERE id = 2; DELETE FROM item WHERE id = 3;"
	  . "INSERT INTO item VALUES (4000, 'lost')");
$mirror->is_equal('what the primary has alone');
like($mirror->value('item:2'), qr/"lost"/, 'Redis shows it');
$primary->stop('immediate');
$standby->start;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';

$mirror->{node} = $standby;
$mirror->is_equal('after the promotion');
like($mirror->value('item:1'), qr/"replicated"/, 'what was replicated is there');
like($mirror->value('item:2'), qr/"first"/, 'a lost change is undone');
like($mirror->value('item:3'), qr/"first"/, '... a deleted row is back');
is($mirror->value('item:4000'), '', '... an inserted one is gone');
$standby->safe_psql('postgres', "UPDATE item SET name = 'new' WHERE id = 4");
$mirror->is_equal('on the new primary');

$standby->stop;
done_testing();
