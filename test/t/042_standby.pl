# A hot standby sees the changes of its primary, but none of their marks: so
# nothing derived is kept or served there. After promotion all works.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Checker;

my $primary = PostgreSQL::Test::Cluster->new('primary');

$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
max_connections = 30
max_prepared_transactions = 20
log_statement = none
deadlock_timeout = 20ms
CONF
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION cachegrid');

my $checker = Checker->new($primary, 'postgres');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

# The row, and how it was come by.
sub fetch
{
	my ($node, $id) = @_;
	my $hits = q{SELECT sum(hits) FROM cachegrid.stat_cache};
	my $before = $node->safe_psql('postgres', $hits);
	my $value = $node->safe_psql('postgres', "SELECT cachegrid.fetch('product:$id') ->> 'n'");

	return "$value " . ($node->safe_psql('postgres', $hits) > $before ? 'hit' : 'miss');
}

sub update
{
	my ($node, $change) = @_;

	$node->safe_psql('postgres', $change);
	$primary->wait_for_catchup($standby) if $node == $primary;
	return;
}

is(fetch($standby, 1), '1 miss', 'a standby computes');
is(fetch($standby, 1), '1 miss', '... and keeps nothing');
update($primary, 'UPDATE product SET n = 100 WHERE id = 1');
is(fetch($standby, 1), '100 miss', 'it reads what it has got');
is(fetch($primary, 1), '100 miss', 'its primary computes, too');
is(fetch($primary, 1), '100 hit', '... and keeps');

my ($status, $out, $error) =
  $standby->psql('postgres', q{SELECT must_load, token IS NULL FROM cachegrid.lookup('product:1')});
is($out, 't|t', 'lookup gives no token there');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM cachegrid.entries()}), '0', 'nothing stands in its cache');

# Rows change under the eyes of a snapshot.
my $old = $standby->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query_safe(q{SELECT cachegrid.fetch('product:2') ->> 'n'}), '2', 'a snapshot is taken');
update($primary, 'UPDATE product SET n = 200 WHERE id = 2');
is(fetch($standby, 2), '200 miss', 'others see the change');
is($old->query_safe(q{SELECT cachegrid.fetch('product:2') ->> 'n'}), '2', 'the snapshot does not');
$old->query_safe('COMMIT');

# Values that somebody put are no rows: they may be kept, and are this server's own.
$standby->safe_psql('postgres', q{SELECT cachegrid.set('session:1', 'here')});
is($standby->safe_psql('postgres', q{SELECT cachegrid.get('session:1')}), 'here', 'what is put there stays there');
is($primary->safe_psql('postgres', q{SELECT cachegrid.get('session:1')}), '', '... alone');

# Invalidations work there, too, and say nothing about what is still to be replayed.
$standby->safe_psql('postgres', q{SELECT cachegrid.invalidate('session:1')});
is($standby->safe_psql('postgres', q{SELECT cachegrid.get('session:1')}), '', 'what was put there can be invalidated');

# A transaction that was prepared on the primary is finished after promotion.
update($primary, q{BEGIN; UPDATE product SET n = 300 WHERE id = 3; PREPARE TRANSACTION 'p'});
is(fetch($standby, 3), '3 miss', 'a prepared change is not seen');
my $session = $standby->background_psql('postgres');
is($session->query_safe(q{SELECT cachegrid.fetch('product:1') ->> 'n'}), '100', 'a session is there before promotion');

$primary->stop;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';

is(fetch($standby, 3), '3 miss', 'promoted, beside a prepared change, it computes');
is(fetch($standby, 3), '3 miss', '... and keeps nothing yet');
update($standby, q{COMMIT PREPARED 'p'});
is(fetch($standby, 3), '300 miss', 'when that is committed it reads the change');
is(fetch($standby, 3), '300 hit', '... and keeps it');
is($session->query_safe(q{SELECT cachegrid.fetch('product:3') ->> 'n'}), '300', 'so does a session from before');
update($standby, 'UPDATE product SET n = 301 WHERE id = 3');
is(fetch($standby, 3), '301 miss', 'its own changes invalidate');
is($session->query_safe(q{SELECT cachegrid.fetch('product:3') ->> 'n'}), '301', '... for everybody');
$_->quit foreach ($old, $session);

$checker->{node} = $standby;
$checker->run(4);
is($checker->stale, '', 'under traffic every value is right');
is($checker->errors, '', '... and nothing goes wrong');
cmp_ok($checker->hit_ratio('product'), '>=', 0.3, '... with hits');

$standby->stop;
done_testing();
