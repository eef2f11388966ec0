# A standby serves what it has computed only as long as it knows that its
# primary logs all it invalidates: not beyond the end of the setting, nor
# beyond a restart, a crash, a promotion; and again when it is told so.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Standby;

my $primary = Standby::start_primary('primary');

$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE product (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO product SELECT i, i FROM generate_series(1, 100) i;
SELECT cachegrid.cache_table('product');
SQL

my $standby = Standby::add($primary, 'standby');

sub fetch { return Standby::fetch($standby, "product:$_[0]") }

sub follow { return Standby::follow($primary, $standby) }

sub change
{
	$primary->safe_psql('postgres', $_[0]);
	follow();
	return;
}

sub computes_and_keeps
{
	my ($id, $value, $name) = @_;

	is(fetch($id), "$value miss", $name);
	is(fetch($id), "$value hit", '... and keeps it');
	return;
}

# Neither before nor after is it served.
sub keeps_nothing
{
	my ($id, $value, $name) = @_;

	is(fetch($id), "$value miss", $name);
	is(fetch($id), "$value miss", '... and keeps nothing');
	return;
}

sub set_logging
{
	my ($node, $on) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET cachegrid.wal_log_invalidations = $on");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT logs = '$on' FROM cachegrid.stat_standby") or die 'not switched';
	return;
}

# The setting ends, and begins.
fetch($_) for 1 .. 3;
is(fetch(1), '1 hit', 'a standby serves');
set_logging($primary, 'off');
ok(Standby::wait_until_it_refuses($standby, 'no longer logs'), 'it does not when the primary ceases to log');
$standby->log_check('the log says so', 0, log_like => [qr/cachegrid ceases to serve.*\n.*DETAIL:.*no longer logs/]);
change('UPDATE product SET n = n + 10 WHERE id IN (1, 2)');
keeps_nothing(1, 11, 'after a change that was not logged it computes');
is($standby->safe_psql('postgres', q{SELECT miss_recovery || '|' || (refused >= miss_recovery) FROM cachegrid.stat_cache WHERE cache = 'product'}),
	'2|true', 'stat_cache counts that');
change(q{BEGIN; UPDATE product SET n = n + 10 WHERE id = 3; PREPARE TRANSACTION 'unlogged'});
my $running = $primary->background_psql('postgres');
$running->query_safe('BEGIN; UPDATE product SET n = n + 10 WHERE id = 20');
set_logging($primary, 'on');
ok(Standby::wait_until_it_refuses($standby, 'older than what is known'),
	'when it logs again, who ran before must have ended');
keeps_nothing(20, 20, 'beside a change that may not be logged');
$running->query_safe('COMMIT');
$running->quit;
follow();
Standby::wait_until_it_serves($standby);
computes_and_keeps(20, 30, 'when that has ended it serves again');
computes_and_keeps(2, 12, 'what was kept before the gap is gone');
keeps_nothing(3, 3, 'what a prepared transaction has touched is logged afterwards');
change(q{COMMIT PREPARED 'unlogged'});
computes_and_keeps(3, 13, '... and served when that has ended');
change('UPDATE product SET n = n + 10 WHERE id = 3');
computes_and_keeps(3, 23, 'changes end entries again');

# A session that has lived through it, with a snapshot from before.
my $old = $standby->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query_safe(q{SELECT cachegrid.fetch('product:3') ->> 'n'}), '23', 'a snapshot is taken');
set_logging($primary, 'off');
change('UPDATE product SET n = n + 10 WHERE id IN (3, 4)');
set_logging($primary, 'on');
follow();
Standby::wait_until_it_serves($standby);
is($old->query_safe(q{SELECT cachegrid.fetch('product:4') ->> 'n'}), '4', 'a snapshot from before the gap computes');
computes_and_keeps(4, 14, '... and keeps nothing for those from after');
is($old->query_safe(q{SELECT cachegrid.fetch('product:4') ->> 'n'}), '4', '... nor reads what they keep');
$old->quit;

# The primary without the library, for a while.
fetch(5);
$primary->stop;
$primary->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$primary->start;
ok(Standby::wait_until_it_refuses($standby, 'started anew'), 'not after a restart of the primary');
change('UPDATE product SET n = n + 10 WHERE id = 5');
keeps_nothing(5, 15, 'what changes without the library');
$primary->stop;
$primary->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'cachegrid'");
$primary->start;
Standby::wait_until_it_serves($standby);
computes_and_keeps(5, 15, 'the library is back');

# The primary crashes: its log cannot be recovered without the library.
change('UPDATE product SET n = n + 10 WHERE id = 5');
computes_and_keeps(5, 25, 'before a crash');
$primary->stop('immediate');
$primary->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
is($primary->start(fail_ok => 1), 0, 'a crashed primary does not start without the library');
$primary->log_check('it says which resource manager is missing', 0,
	log_like => [qr/FATAL:  resource manager with ID 207 not registered/]);
$primary->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'cachegrid'");
$primary->start;
follow();
Standby::wait_until_it_serves($standby);
is(fetch(5), '25 miss', 'after the crash the standby has ended what it had');
change('UPDATE product SET n = n + 10 WHERE id = 5');
computes_and_keeps(5, 35, '... and goes on');

# So does a backend of the primary.
my $offset = -s $primary->logfile;
my ($pid) = $primary->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cachegrid launcher'});
kill 'KILL', $pid;
$primary->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
$primary->poll_query_until('postgres', 'SELECT logs FROM cachegrid.stat_standby') or die 'the primary did not come back';
follow();
Standby::wait_until_it_serves($standby);
change('UPDATE product SET n = n + 10 WHERE id = 5');
computes_and_keeps(5, 45, 'after the crash of a process of the primary');

# The standby crashes, one process or the whole.  It begins to read behind the
# last checkpoint.  What prepared transactions stamped before is logged again there,
# unless one stamped late, and so left no word of it.
change(q{BEGIN; UPDATE product SET n = n + 10 WHERE id = 6; SAVEPOINT a; UPDATE product SET n = n + 10 WHERE id = 21;
	RELEASE a; PREPARE TRANSACTION 'before'});
change(q{BEGIN; CREATE TABLE untouched (); PREPARE TRANSACTION 'touches nothing'});
$primary->safe_psql('postgres', 'CHECKPOINT');
follow();
$standby->safe_psql('postgres', 'CHECKPOINT');
$offset = -s $standby->logfile;
$pid = $standby->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cachegrid launcher'});
kill 'KILL', $pid;
$standby->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
$standby->poll_query_until('postgres', 'SELECT true') or die 'the standby did not come back';
is($standby->safe_psql('postgres', 'SELECT count(*) FROM cachegrid.entries()'), '0', 'after a crash the standby is empty');
Standby::wait_until_it_serves($standby);
computes_and_keeps(7, 7, 'beside prepared transactions it serves');
keeps_nothing(6, 6, '... but what they stamped before');
keeps_nothing(21, 21, '... their subtransactions, too');
change(q{COMMIT PREPARED 'before'});
computes_and_keeps(6, 16, 'which ends');
computes_and_keeps(21, 31, '... as a whole');
change(q{ROLLBACK PREPARED 'touches nothing'});

my @children = split(/\n/, $standby->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));
$standby->kill9;
$primary->safe_psql('postgres', 'UPDATE product SET n = n + 10 WHERE id = 6');
# Its children notice in their own time.
select(undef, undef, undef, 0.01) while kill(0, @children);
$standby->start;
follow();
Standby::wait_until_it_serves($standby);
computes_and_keeps(6, 26, 'a standby that was killed comes back');
$standby->restart;
follow();
Standby::wait_until_it_serves($standby);
computes_and_keeps(6, 26, 'one that was restarted, too, beside an idle primary');

# A point in the past.
$primary->backup('past');
$primary->safe_psql('postgres', 'UPDATE product SET n = 7000 WHERE id = 7');
$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('here')});
$primary->safe_psql('postgres', 'UPDATE product SET n = 7001 WHERE id = 7');
my $segment = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die 'not archived';
my $past = PostgreSQL::Test::Cluster->new('past');
$past->init_from_backup($primary, 'past', has_restoring => 1, standby => 0);
$past->append_conf('postgresql.conf', <<'CONF');
recovery_target_name = 'here'
recovery_target_action = 'pause'
archive_mode = off
shared_preload_libraries = ''
CONF
is($past->start(fail_ok => 1), 0, 'the past cannot be restored without the library');
$past->log_check('it says which resource manager is missing', 0,
	log_like => [qr/FATAL:  resource manager with ID 207 not registered/]);
$past->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'cachegrid'");
$past->start;
$past->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}) or die 'not there';
Standby::wait_until_it_serves($past);
is(Standby::fetch($past, 'product:7'), '7000 miss', 'at a named point in the past it computes');
is(Standby::fetch($past, 'product:7'), '7000 hit', '... and serves');
$past->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$past->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
is(Standby::fetch($past, 'product:7'), '7000 hit', 'and goes on from there');
$past->safe_psql('postgres', 'UPDATE product SET n = 7002 WHERE id = 7');
is(Standby::fetch($past, 'product:7'), '7002 miss', '... with changes of its own');
$past->stop;

# A standby of a standby, and promotion.
my $leaf = Standby::add($standby, 'leaf');

sub leaf { return Standby::fetch($leaf, "product:$_[0]") }

is(leaf(8), '8 miss', 'a standby of a standby computes');
is(leaf(8), '8 hit', '... and serves');
$primary->safe_psql('postgres', 'UPDATE product SET n = 80 WHERE id = 8');
Standby::follow($primary, $leaf);
is(leaf(8), '80 miss', '... and obeys');
is(leaf(8), '80 hit', '... and serves');

fetch($_) for 8 .. 9;
$old = $standby->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query_safe(q{SELECT cachegrid.fetch('product:9') ->> 'n'}), '9', 'a snapshot is taken before the promotion');
$primary->stop('immediate');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
is(fetch(8), '80 hit', 'promoted, it serves what it had');
$standby->safe_psql('postgres', 'UPDATE product SET n = 90 WHERE id = 9');
is(fetch(9), '90 miss', 'its own changes invalidate');
is($old->query_safe(q{SELECT cachegrid.fetch('product:9') ->> 'n'}), '9', '... not for a snapshot from before');
is(fetch(9), '90 hit', '... which keeps nothing');
$old->quit;
$standby->poll_query_until('postgres', 'SELECT logs FROM cachegrid.stat_standby') or die 'does not log';
Standby::follow($standby, $leaf);
Standby::wait_until_it_serves($leaf);
$leaf->log_check('the leaf has doubted at the promotion', 0, log_like => [qr/cachegrid ceases to serve.*\n.*DETAIL:.*or is another one/]);
is(leaf(9), '90 miss', 'the leaf follows');
is(leaf(9), '90 hit', '... and serves');
$standby->safe_psql('postgres', 'UPDATE product SET n = 91 WHERE id = 9');
Standby::follow($standby, $leaf);
is(leaf(9), '91 miss', '... and obeys');

# Promoted while it does not know.
is(leaf(10), '10 miss', 'another value');
set_logging($standby, 'off');
$standby->safe_psql('postgres', 'UPDATE product SET n = 100 WHERE id = 10');
Standby::follow($standby, $leaf);
$standby->stop;
$leaf->promote;
$leaf->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
is(leaf(10), '100 miss', 'promoted after a gap, it has nothing from before');
is(leaf(10), '100 hit', '... and serves');

# How the library is taken away: then even a crash needs it no more.
set_logging($leaf, 'off');
$leaf->safe_psql('postgres', 'CHECKPOINT');
$leaf->safe_psql('postgres', 'UPDATE product SET n = 101 WHERE id = 10');
$leaf->stop('immediate');
$leaf->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
is($leaf->start(fail_ok => 1), 1, 'switched off, and after a checkpoint, a crash is recovered without the library');
is($leaf->safe_psql('postgres', 'SELECT n FROM product WHERE id = 10'), '101', '... with all that was committed');

$leaf->stop;
done_testing();
