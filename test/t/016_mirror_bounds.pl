
# What a mirror leaves alone: keys of others, servers that are not its own any
# more, rights of whoever looks, a processor while it can only wait.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('bounds', "cachegrid.outbox_limit = '1MB'");
my $node = $mirror->node;
my $endpoints = $mirror->redis->endpoints;

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 3000) i");
sql("SELECT cachegrid.mirror('item', 'grid')");
$mirror->is_equal('at first');

# A copy of the database has the same mirror, of the same prefix
is($node->psql('template1', 'CREATE DATABASE copy TEMPLATE postgres'), 0, 'it is copied');
$node->safe_psql('copy', "DELETE FROM item WHERE id > 10; UPDATE item SET name = 'copy'");
$mirror->state_is('stopped', 'the mirror of the copy is stopped', 'copy');
my $tries = $node->safe_psql('copy', 'SELECT last_error_at FROM cachegrid.stat_mirror');
foreach my $number (1 .. 3)
{
	$node->poll_query_until('copy',
		"SELECT last_error_at > '$tries'::timestamptz + '$number s'::interval"
		  . ' FROM cachegrid.stat_mirror');
	is($mirror->problems('item'), '', "it is tried again, and writes nothing: $number");
}
$node->safe_psql('copy', "SELECT cachegrid.unmirror('item', 'grid')");
ok( $node->poll_query_until('copy', 'SELECT count(*) = 0 FROM cachegrid.mirrors'),
	'the mirror of the copy ends');
is($mirror->problems('item'), '', 'the keys of the original stay');
isnt($mirror->value('cachegrid:owner:item'), '', 'and so does the mark');
is($node->psql('template1', 'DROP DATABASE copy'), 0, 'the copy is dropped');

# A locked table is waited for, not watched
sql("SELECT cachegrid.resync('item', 'grid')");
my $worker = $mirror->worker;
my $locker = $node->background_psql('postgres', on_error_stop => 1);
$locker->query_safe('BEGIN');
$locker->query_safe('LOCK item IN ACCESS EXCLUSIVE MODE');
SKIP:
{
	skip 'no /proc here', 1 unless -r "/proc/$worker/stat";
	my $seconds = sub { (split ' ', slurp_file("/proc/$worker/stat"))[13] / 100 };
	my $before = $seconds->();

	sql('SELECT pg_sleep(3)');
	cmp_ok($seconds->() - $before, '<', 0.5, 'the worker waits for a locked table idly');
}

# ... and not for ever: other tables go on
sql('CREATE TABLE beside (id int PRIMARY KEY)');
sql("SELECT cachegrid.mirror('beside', 'grid')");
ok( $node->poll_query_until(
		'postgres',
		q{SELECT state = 'live' FROM cachegrid.stat_mirror WHERE "table" = 'beside'::regclass}
	),
	'another table is swept beside it');
sql('INSERT INTO beside VALUES (1)');
ok($mirror->settle('beside'), 'and goes on');
isnt($mirror->value('beside:1'), '', 'in Redis, too');
is( sql('SELECT state, last_error FROM cachegrid.stat_mirror'
		  . q{ WHERE "table" = 'item'::regclass}),
	'stopped|its table is locked',
	'why the locked one does not go on is told');
$locker->query_safe("UPDATE item SET name = 'changed under the lock' WHERE id = 1");
$locker->query_safe('COMMIT');
$locker->quit;
$mirror->is_equal('after the lock');

# ... nor for one whose index is made anew
$locker = $node->background_psql('postgres', on_error_stop => 1);
$locker->query_safe('BEGIN');
$locker->query_safe('REINDEX INDEX item_pkey');
sql("SELECT cachegrid.resync('item', 'grid')");
sql('INSERT INTO beside VALUES (2)');
ok($mirror->settle('beside'), 'another table goes on beside a REINDEX');
isnt($mirror->value('beside:2'), '', 'in Redis, too');
$locker->query_safe('COMMIT');
$locker->quit;
$mirror->is_equal('after the REINDEX');
sql('DROP TABLE beside');
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.mirrors'),
	'a dropped table leaves no mirror');

# Mirrors that take over the prefix of a dropped table take its place in stat_mirror
foreach my $round (1 .. 2)
{
	sql(<<'EOS');
DO $$
BEGIN
    FOR i IN 1 .. 280 LOOP
        EXECUTE format('DROP TABLE IF EXISTS many%s', i);
        EXECUTE format('CREATE TABLE many%s (id int PRIMARY KEY)', i);
        PERFORM cachegrid.mirror(format('many%s', i)::regclass, 'grid');
    END LOOP;
END $$;
EOS
	ok( $node->poll_query_until(
			'postgres',
			"SELECT count(*) FILTER (WHERE state = 'live') = 281 FROM cachegrid.stat_mirror"),
		"many mirrors are shown as live: $round");
}
sql(<<'EOS');
DO $$
BEGIN
    FOR i IN 1 .. 280 LOOP
        EXECUTE format('DROP TABLE many%s', i);
    END LOOP;
END $$;
EOS
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.mirrors'),
	'they end');

# A walk that goes on after a restart knows what it parked before.  It pauses at a
# late row, so that what it did before is saved, and stops at a later one.
sql(<<'EOS');
CREATE TYPE mood AS ENUM ('good', 'bad', 'worse', 'slow', 'asleep');
CREATE FUNCTION tell(mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    IF $1 = 'bad' THEN RAISE 'cannot be told'; END IF;
    IF $1 = 'worse' THEN RAISE 'cannot be told' USING ERRCODE = 'query_canceled'; END IF;
    IF $1 = 'slow' THEN PERFORM pg_sleep(0.5); END IF;
    IF $1 = 'asleep' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
    RETURN to_json($1::text);
END $$;
CREATE CAST (mood AS json) WITH FUNCTION tell(mood);
CREATE TABLE diary (id int PRIMARY KEY, mood mood);
INSERT INTO diary SELECT i, CASE i WHEN 5 THEN 'bad' WHEN 6 THEN 'worse'
                                   WHEN 15000 THEN 'slow' WHEN 35000 THEN 'asleep'
                                   ELSE 'good' END::mood
    FROM generate_series(1, 40000) i;
EOS
my $diary = q{FROM cachegrid.stat_mirror WHERE "table" = 'diary'::regclass};
my $waker = $node->background_psql('postgres', on_error_stop => 1);
$waker->query_safe('SELECT pg_advisory_lock(1)');
sql("SELECT cachegrid.mirror('diary', 'grid')");
my $is_asleep = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
ok($node->poll_query_until('postgres', $is_asleep), 'a walk is under way');
is(sql('SELECT count(*) FROM cachegrid.mirror_progress WHERE last IS NOT NULL'),
	1, 'where it was is saved');
is(sql("SELECT parked $diary"), 2, 'so is what it parked');
sql("SELECT pg_terminate_backend($worker, 60000)");
isnt($mirror->worker, $worker, 'another worker comes');
ok($node->poll_query_until('postgres', $is_asleep), 'the walk goes on');
is(sql("SELECT parked $diary"), 2, 'keys parked before are parked still');
$waker->query_safe('SELECT pg_advisory_unlock(1)');
$waker->quit;
ok($mirror->settle('diary'), 'it ends');
is(sql("SELECT parked, sweeps $diary"), '2|1', 'and they are still, whatever the error was');
cmp_ok(sql("SELECT applied $diary"), '<', 80000, 'the walk did not begin anew');

# verify tells such rows from a cancel of its own
my $verify = "SELECT * FROM cachegrid.verify('diary', 'grid') ORDER BY key";
my ($code, $output, $error) = $node->psql('postgres', $verify);
like($error, qr/cannot be told/, 'a row that cancels the query has verify end');
like($error, qr/CONTEXT:.*row with key "diary:6"/s, 'which row it was is told');
sql("UPDATE diary SET mood = 'bad' WHERE id IN (6, 15000)");
is(sql($verify),
	join("\n", map { "diary:$_|cannot be encoded: cannot be told" } 15000, 5, 6),
	'verify shows rows that cannot be encoded, and goes on');
sql("CREATE TABLE nap (id int PRIMARY KEY, mood mood); INSERT INTO nap VALUES (1, 'slow');"
	  . "SELECT cachegrid.mirror('nap', 'grid')");
ok($mirror->settle('nap'), 'a row that takes its time settles');
($code, $output, $error) = $node->psql('postgres',
	"SET statement_timeout = '200ms'; SELECT * FROM cachegrid.verify('nap', 'grid')");
like($error, qr/due to statement timeout/, 'verify can be cancelled in a row');
sql('DROP TABLE nap');
sql('DROP TABLE diary; DROP TYPE mood CASCADE');
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.mirrors'),
	'it ends, too');
$worker = $mirror->worker;

# What is for one server's mirrors is no news for those of another
sql("CREATE SERVER again FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '$endpoints')"
);
sql('CREATE TABLE elsewhere (id int PRIMARY KEY)');
sql("SELECT cachegrid.mirror('elsewhere', 'again')");
ok($mirror->settle('elsewhere'), 'a mirror to another server settles');
my $scans = sub {
	return sql('SELECT pg_sleep(2)') . sql('SELECT seq_scan + coalesce(idx_scan, 0)'
		  . " FROM pg_stat_all_tables WHERE relid = 'cachegrid.mirrors'::regclass");
};
my $before = $scans->();
sql("UPDATE item SET name = 'single $_' WHERE id = $_") foreach (1 .. 60);
cmp_ok($scans->() - $before, '<', 40, 'the catalog is not read anew for each change');
sql('DROP TABLE elsewhere');
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.mirrors'),
	'it ends');
sql('DROP SERVER again');

# Only the owner of a database has its worker leave
sql('CREATE ROLE stranger LOGIN');
($code, $output, $error) =
  $node->psql('template1', 'ALTER DATABASE postgres RENAME TO other',
	extra_params => [ '-U', 'stranger' ]);
like($error, qr/must be owner/, 'a stranger may not rename the database');
is($mirror->worker, $worker, 'its worker does not care');

# A cast to json runs as the owner of the table, whoever verifies
sql('CREATE ROLE owner LOGIN; GRANT cachegrid_writer TO owner;'
	  . 'GRANT USAGE ON FOREIGN SERVER grid TO owner; GRANT CREATE ON SCHEMA public TO owner');
$node->safe_psql('postgres', <<'EOS', extra_params => [ '-U', 'owner' ]);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION mood_json(m mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('timezone', 'Asia/Tokyo', false);
	RETURN to_json(current_user::text);
END
$$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE TABLE felt (id int PRIMARY KEY, m mood, at timestamptz);
INSERT INTO felt VALUES (1, 'good', '2024-05-31 12:00+00');
SELECT cachegrid.mirror('felt', 'grid');
EOS
ok($mirror->settle('felt'), 'a table with such a cast is mirrored');
like($mirror->value('felt:1'), qr/"m":"owner"/, 'the worker ran it as the owner');
is($mirror->problems('felt'), '', 'so does verify');
sql("CREATE TABLE clock (id int PRIMARY KEY, at timestamptz);"
	  . "INSERT INTO clock VALUES (1, '2024-05-31 12:00+00');"
	  . "SELECT cachegrid.mirror('clock', 'grid')");
ok($mirror->settle('clock'), 'another table is mirrored');
like($mirror->value('clock:1'), qr/12:00:00\+00:00/, 'what the cast sets is forgotten');
sql("SELECT cachegrid.unmirror('clock', 'grid')");

# An error that is shown is cut between two characters
sql(<<'EOS');
CREATE TYPE word AS ENUM ('said');
CREATE FUNCTION word_json(w word) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	RAISE '%', repeat(chr(228), 200);
END
$$;
CREATE CAST (word AS json) WITH FUNCTION word_json(word);
CREATE TABLE saying (id int PRIMARY KEY, w word);
INSERT INTO saying VALUES (1, 'said');
SELECT cachegrid.mirror('saying', 'grid');
EOS
ok($mirror->settle('saying'), 'a table whose cast fails is mirrored');
is( sql('SELECT repeat(chr(228), 200) LIKE convert_from(convert_to(last_error, e), e) || \'%\''
		  . q{ FROM cachegrid.stat_mirror, getdatabaseencoding() e WHERE "table" = 'saying'::regclass}),
	't', 'the error is shown in whole characters');
sql("SELECT cachegrid.unmirror('saying', 'grid')");

# A dropped table leaves its prefix to the next one at once
sql('DROP TABLE felt');
sql('CREATE TABLE felt (id int PRIMARY KEY)');
is($node->psql('postgres', "SELECT cachegrid.mirror('felt', 'grid')"),
	0, 'the prefix of a dropped table is free');
ok($mirror->settle('felt'), 'the new mirror is live');
is($mirror->problems('felt'), '', 'nothing is left of the old one');
sql("SELECT cachegrid.unmirror('felt', 'grid'); DROP TABLE felt");
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM cachegrid.stat_mirror'),
	'it ends');

# Changes of the server are noticed while all is well
my $place = -s $node->logfile;
sql("ALTER SERVER grid OPTIONS (SET endpoints '127.0.0.1:1')");
$mirror->state_is('interrupted', 'a server with other endpoints is noticed');
sql("ALTER SERVER grid OPTIONS (SET endpoints '$endpoints')");
$mirror->state_is('live', 'and its end');
sql('DROP SERVER grid CASCADE; CREATE FOREIGN DATA WRAPPER other;'
	  . 'CREATE SERVER grid FOREIGN DATA WRAPPER other');
$mirror->state_is('interrupted', 'a server of another wrapper is noticed');
is(sql('SELECT last_error FROM cachegrid.stat_mirror'),
	'the server is not a Redis server any more', 'and told');
is($mirror->worker, $worker, 'the worker lives');
sql('DROP SERVER grid; DROP FOREIGN DATA WRAPPER other');

# The outbox runs over again and again while a prepared transaction holds it
$place = -s $node->logfile;
sql("BEGIN; UPDATE item SET name = 'held' WHERE id = 1; PREPARE TRANSACTION 'holds'");
foreach my $round (1 .. 6)
{
	sql("UPDATE item SET name = 'round $round ' || repeat('x', 100) WHERE id > 1");
	sql("INSERT INTO item SELECT i, 'many' FROM generate_series(5000 * $round, 5000 * $round + 4999) i"
		  . ' ON CONFLICT DO NOTHING');
}
$mirror->state_is('sweep pending', 'the outbox is over its limit');
sql('SELECT pg_sleep(3)');
is($mirror->logged('outbox has reached', $place), 1, 'that is told once');
sql("CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '$endpoints')");
sql("COMMIT PREPARED 'holds'");
$mirror->is_equal('the server is back');

# Without its server a mirror can still be ended
sql('DROP SERVER grid CASCADE');
$mirror->state_is('interrupted', 'a server that is gone is noticed');
is(sql('SELECT count(*) FROM cachegrid.stat_redis'), 0, 'its nodes are not shown');
sql("SELECT cachegrid.unmirror('item', 'grid')");
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.mirrors'),
	'its mirror ends all the same');

done_testing();
