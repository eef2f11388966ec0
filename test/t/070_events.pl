# What subscribers are told of the keys of watched tables: all that commits, in its
# order, and when they may have missed something.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;
require Subscriber;

my $redis = RedisServer->new(
	dir => PostgreSQL::Test::Utils::tempdir() . '/redis',
	config => [ 'user quiet on >pw ~* +@all -publish' ]);
my $mirror = Mirror->without_redis(
	'events',
	"cachegrid.outbox_limit = '4MB'",
	"cachegrid.redis_timeout = '500ms'",
	"cachegrid.write_through_timeout = '10ms'",
	'max_prepared_transactions = 10',
	'restart_after_crash = on',
	# Nothing but a flush of ours has a commit on disk soon.
	"wal_writer_delay = '10s'");
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(<<SQL);
CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'single', endpoints '${\ $redis->endpoint}');
CREATE TABLE item (id int PRIMARY KEY, name text, shop int);
INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 1);
SQL

my $subscriber = Subscriber->new($redis->host, $redis->port, 'cachegrid:postgres:public.item');

# A watch without a mirror
sql(q{SELECT cachegrid.watch('item', ARRAY['item:{id}'], publish => true, server => 'grid')});
my $first = $subscriber->next_event;
is($first->{operation}, 'all', 'a stream begins with an event of the whole table');
is($first->{key}, undef, '... which has no key');
is($first->{table}, 'public.item', '... and names the table');
like($first->{timeline}, qr/^\d+:1$/, '... and the timeline');
is("$first->{part}/$first->{parts}", '1/1', '... it is the only part of its batch');
my $since = $first->{batch};

sql(q{UPDATE item SET name = 'c' WHERE id = 1});
my $event = $subscriber->next_event;
is("$event->{operation} $event->{key}", 'update item:1', 'an update');
is($event->{since}, $since, '... holds all since the batch before it');
cmp_ok($event->{batch}, '>', $since, '... and has a higher number');
ok(!$event->{gap}, '... so nothing was missed');
sql(q{INSERT INTO item VALUES (3, 'c', 2)});
is($subscriber->told(1), 'insert item:3', 'an insert');
sql(q{DELETE FROM item WHERE id = 3});
is($subscriber->told(1), 'delete item:3', 'a delete');
sql(q{UPDATE item SET id = 4 WHERE id = 2});
is($subscriber->told(2), 'delete item:2 insert item:4', 'a key that changes is one less and one more');
sql(q{UPDATE item SET name = 'x'});
is($subscriber->told(2), 'update item:1 update item:4', 'a statement');
sql(q{BEGIN; INSERT INTO item VALUES (5); SAVEPOINT s; INSERT INTO item VALUES (6); ROLLBACK TO s; UPDATE item SET name = 'y' WHERE id = 5; COMMIT});
is($subscriber->told(1), 'insert item:5', 'what a transaction did together, without what it took back');
sql(q{BEGIN; UPDATE item SET name = 'z'; ROLLBACK});
sql(q{BEGIN; DELETE FROM item WHERE id = 5; INSERT INTO item VALUES (5); COMMIT});
is($subscriber->told(1), 'update item:5', 'a rolled back transaction is not told of; delete and insert are an update');
sql(q{BEGIN; UPDATE item SET name = 'p' WHERE id = 5; PREPARE TRANSACTION 'p'});
sql(q{UPDATE item SET name = 'q' WHERE id = 1});
is($subscriber->told(1), 'update item:1', 'a prepared transaction is not told of');
sql(q{COMMIT PREPARED 'p'});
is($subscriber->told(1), 'update item:5', '... until it is committed');
sql('TRUNCATE item');
is($subscriber->told(1), 'all', 'TRUNCATE is told of as a whole');
sql(q{INSERT INTO item SELECT i, 'n', 1 FROM generate_series(1, 8193) i});
is($subscriber->told(1), 'all', 'and so are very many keys');
sql(q{DELETE FROM item WHERE id > 8000});
is($subscriber->told(193), join(' ', map { "delete item:$_" } 8001 .. 8193), 'not so many are told of one by one');
sql('ALTER TABLE item ALTER shop TYPE bigint');
is($subscriber->told(1), 'all', 'and a rewritten table');
$mirror->becomes_true(q{state = 'live' AND waiting = 0 AND published > 200 AND last_error IS NULL FROM cachegrid.stat_events}, 'the view tells');

# Nobody is told of what he cannot see.
my $worker = $mirror->worker;
sql('CREATE TABLE slow (id int PRIMARY KEY, name text)');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe(q{UPDATE item SET name = 'open' WHERE id = 7});
sql(q{UPDATE item SET name = 'o' WHERE id = 8});
is($subscriber->told(1), 'update item:8', 'an open transaction is not told of');
$session->query_safe('COMMIT');
is($subscriber->told(1), 'update item:7', '... and not passed over');

# In the order of commits, which is not that of the transactions' numbers, and in
# spite of what would be cut.
sql(q{SELECT cachegrid.mirror('slow', 'grid', mode => 'write-through', strict => false)});
$mirror->becomes_true(q{state = 'live' FROM cachegrid.stat_mirror}, 'a mirror through the same server');
kill('STOP', $worker);
$session->query_safe('BEGIN');
$session->query_safe('SELECT pg_current_xact_id()');
sql(q{DELETE FROM item WHERE id = 7});
$session->query_safe('INSERT INTO item VALUES (7)');
$session->query_safe('INSERT INTO slow SELECT i FROM generate_series(1, 2000) i');
$session->query('COMMIT');
sql(q{UPDATE item SET name = 'end' WHERE id = 99});
kill('CONT', $worker);
is($subscriber->told_until('item:99'), 'update item:7 update item:99', 'the transaction that began first and committed last has the last word');
$session->quit;

# A key that is mirrored through the same server is in Redis before it is told of.
sql(q{SELECT cachegrid.unmirror('slow', 'grid'); SELECT cachegrid.mirror('item', 'grid')});
$mirror->becomes_true(q{count(*) = 1 AND bool_and(state = 'live') FROM cachegrid.stat_mirror}, 'a mirror of the same table');
foreach my $round (1 .. 20)
{
	sql("UPDATE item SET name = 'round $round' WHERE id = 9");
	is($subscriber->told(1), 'update item:9', "round $round");
	like($redis->command('GET', 'item:9'), qr/"round $round"/, '... Redis has it');
}
sql(q{SELECT cachegrid.watch('item', ARRAY['item:{id}'], publish => true)});
is($subscriber->told(1), 'all', 'the server of the only mirror is taken; who watches again goes on');

# The connection of a subscriber is lost, and with it an event
$redis->command('CLIENT', 'KILL', 'TYPE', 'pubsub');
sql(q{UPDATE item SET name = 'lost' WHERE id = 9});
$mirror->becomes_true(q{waiting = 0 FROM cachegrid.stat_events}, 'an event is published that nobody reads');
$subscriber->connect;
sql(q{UPDATE item SET name = 'l' WHERE id = 9});
is($subscriber->told(1), 'update! item:9', 'who missed one sees it by the next');
sql(q{UPDATE item SET name = 'l' WHERE id = 9});
is($subscriber->told(1), 'update item:9', '... and once');
kill('STOP', $mirror->worker);
sql(q{UPDATE item SET name = 'm' WHERE id < 100});
$redis->command('CLIENT', 'KILL', 'TYPE', 'pubsub');
kill('CONT', $mirror->worker);
$mirror->becomes_true(q{waiting = 0 FROM cachegrid.stat_events}, 'a batch of many');
$subscriber->connect;
sql(q{UPDATE item SET name = 'm' WHERE id = 9});
is($subscriber->told(1), 'update! item:9', '... is missed, too');

# Whoever is killed: nothing is missed, and nobody is made to believe it.
# What is told again must not be taken for what is told now: each round has its keys.
my $id = 1000;
foreach my $victim ('the worker', 'the server')
{
	foreach my $round (1 .. 3)
	{
		my ($committed, $last) = ($id + 1, $id + 2);

		$id += 2;
		kill('STOP', $mirror->worker) if $round > 1;
		sql("UPDATE item SET name = '$victim' WHERE id = $committed");
		$worker = $mirror->worker;
		if ($victim eq 'the worker')
		{
			kill('KILL', $worker);
			# Not to meet the server before it has noticed
			$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $worker");
		}
		else
		{
			$node->stop('immediate');
			$node->start;
		}
		sql("UPDATE item SET name = 'after' WHERE id = $last");
		my $told = $subscriber->told_until("item:$last");
		like($told, qr/update item:$committed/, "killed $victim, round $round: told of what was committed before");
		unlike($told, qr/[!?]/, '... nothing was missed, and no number used again');
	}
}
$worker = $mirror->worker;
kill('TERM', $worker);
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $worker");
sql(q{UPDATE item SET name = 'term' WHERE id = 40});
unlike($subscriber->told_until('item:40'), qr/[!?]/, 'a worker that is ended');

# Redis away: the changes wait; a Redis that was restarted has told nobody
$redis->kill9;
sql(q{UPDATE item SET name = 'away' WHERE id = 41});
$mirror->becomes_true(q{state = 'interrupted' AND waiting > 0 AND last_error IS NOT NULL FROM cachegrid.stat_events}, 'Redis is away');
$worker = $mirror->worker;
kill('STOP', $worker);
$redis->start;
$subscriber->connect;
kill('CONT', $worker);
like($subscriber->told(1), qr/^all/, '... and back: anything may have been missed');
sql(q{UPDATE item SET name = 'back' WHERE id = 42});
like($subscriber->told_until('item:42'), qr/update item:42$/, '... and it goes on');
$redis->pause;
sql(q{UPDATE item SET name = 'waits' WHERE id = 43});
$mirror->becomes_true(q{state = 'interrupted' FROM cachegrid.stat_events}, 'Redis is silent');
$redis->resume;
like($subscriber->told_until('item:43'), qr/update item:43$/, '... what was committed meanwhile is told');

# Too much waits
$redis->pause;
sql(q{UPDATE item SET name = 'bulk'}) for 1 .. 20;
$mirror->becomes_true(q{state = 'sweep pending' FROM cachegrid.stat_events}, 'over its limit the outbox forgets what waits');
$redis->resume;
is($subscriber->told(1), 'all', '... and everything may have changed');
$mirror->becomes_true(q{state = 'live' AND waiting = 0 FROM cachegrid.stat_events}, '... it goes on');
sql(q{UPDATE item SET name = 'bulk' WHERE id = 44});
like($subscriber->told_until('item:44'), qr/^(?:all )*update item:44$/, '... with what follows');

# Rows that have no key, and watches without keys
my $words = Subscriber->new($redis->host, $redis->port, 'words');
sql(<<'SQL');
CREATE TABLE word (id int PRIMARY KEY, word text);
SELECT cachegrid.watch('word', ARRAY['word:{word}'], publish => true, server => 'grid', channel => 'words');
SQL
is($words->told(1), 'all!', 'another stream');
sql(q{INSERT INTO word VALUES (1, NULL), (2, 'two')});
is($words->told(1), 'insert word:two', 'a row with NULL in its key has none');
sql(q{UPDATE word SET word = repeat('x', 600) WHERE id = 2});
is($words->told(1), 'all', 'what is too long for a key is told of as a whole');
sql(q{DELETE FROM word});
is($words->told(1), 'all', '... and so is its end');
sql(q{INSERT INTO word VALUES (3, E'quo"te\\\\\t')});
is($words->told(1), "insert word:quo\"te\\\t", 'a key is text of any kind');
sql(q{SELECT cachegrid.watch('word', publish => true, server => 'grid', channel => 'words')});
is($words->told(1), 'all', 'watched as a whole');
sql(q{UPDATE word SET id = 4});
is($words->told(1), 'all', '... each change is one of the whole table');
sql(q{SET synchronous_commit = off; UPDATE word SET id = 6});
is($words->told(1), 'all', 'an asynchronous commit');
$node->stop('immediate');
$node->start;
is(sql('SELECT id FROM word'), '6', '... is on disk when it is told of');
my $sharded = Subscriber->new($redis->host, $redis->port, 'cachegrid:postgres:public.word', 'SSUBSCRIBE');
is($mirror->told(q{SELECT cachegrid.watch('word', publish => true, server => 'grid', sharded => true)}), '', 'another channel, sharded');
is($sharded->told(1), 'all!', '... begins anew');
$mirror->becomes_true(q{count(*) = 1 AND bool_and(state = 'live') FROM cachegrid.stat_events WHERE "table" = 'word'::regclass}, 'the other one has ended');
sql(q{UPDATE word SET id = 5});
is($sharded->told(1), 'all', '... and this one tells');
is($redis->command('EXISTS', 'cachegrid:owner:events:words'), '0', 'the channel that was left is free');
is($redis->command('EXISTS', 'cachegrid:owner:events:cachegrid:postgres:public.word'), '1', '... the other is taken');

# Partitions tell under the table that is watched
$words = Subscriber->new($redis->host, $redis->port, 'sales');
sql(<<'SQL');
CREATE TABLE sale (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sale_n PARTITION OF sale FOR VALUES IN ('n');
SELECT cachegrid.watch('sale', ARRAY['sale:{id}'], publish => true, server => 'grid', channel => 'sales');
SQL
is($words->told(1), 'all!', 'a partitioned table');
sql(q{INSERT INTO sale_n VALUES (1, 'n')});
my $sale = $words->next_event;
is("$sale->{table} $sale->{operation} $sale->{key}", 'public.sale insert sale:1', 'a partition');
sql('TRUNCATE sale_n');
is($words->told(1), 'all', '... truncated');
sql(q{CREATE TABLE twin (id int PRIMARY KEY); SELECT cachegrid.watch('twin', publish => true, server => 'grid', channel => 'sales')});
is($words->told(1), 'all!', 'a channel for two tables');
sql('DROP TABLE twin');
$mirror->becomes_true(q{count(*) = 1 FROM cachegrid.event_streams WHERE channel = 'sales'}, '... one of which is dropped');
is($redis->command('EXISTS', 'cachegrid:owner:events:sales'), '1', '... it stays taken');
sql('DROP TABLE sale');
$mirror->becomes_true(q{count(*) = 0 FROM cachegrid.event_streams WHERE channel = 'sales'}, 'a dropped table has none');

# Who may not
is($mirror->told(q{SELECT cachegrid.watch('slow', publish => true)}) =~ s/\n.*//sr,
	'psql:<stdin>:1: ERROR:  no server to publish changes of table "slow" through', 'without a mirror a server must be named');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', <<SQL);
CREATE EXTENSION cachegrid;
CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'single', endpoints '${\ $redis->endpoint}');
CREATE TABLE item (id int PRIMARY KEY);
SQL
my $err;
$node->psql('other', q{SELECT cachegrid.watch('item', publish => true, server => 'grid', channel => 'cachegrid:postgres:public.item')}, stderr => \$err);
like($err, qr/channel "cachegrid:postgres:public.item" belongs to another database or server/, 'a channel belongs to one database');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a stream is dumped');
$node->command_ok([ 'psql', '-X', '-q', '-o', '/dev/null', '-f', $dump, $node->connstr('copy') ], '... and restored');
ok($node->poll_query_until('copy', q{SELECT state = 'stopped' AND last_error LIKE '%belongs to another database or server' FROM cachegrid.stat_events WHERE "table" = 'item'::regclass}),
	'... and does not publish beside the first');
$node->safe_psql('postgres', 'DROP DATABASE copy');
sql(q{CREATE ROLE app IN ROLE cachegrid_writer});
like($mirror->told(q{SET ROLE app; SELECT cachegrid.watch('item', publish => true, server => 'grid')}), qr/must be owner of table item/, 'a table of others');
sql(q{ALTER TABLE slow OWNER TO app});
like($mirror->told(q{SET ROLE app; SELECT cachegrid.watch('slow', publish => true, server => 'grid')}), qr/permission denied for foreign server grid/, 'a server of others');
sql(q{GRANT USAGE ON FOREIGN SERVER grid TO app; CREATE USER MAPPING FOR app SERVER grid OPTIONS (username 'quiet', password 'pw')});
my $slow = Subscriber->new($redis->host, $redis->port, 'cachegrid:postgres:public.slow');
sql(q{SET ROLE app; SELECT cachegrid.watch('slow', ARRAY['slow:{id}'], publish => true, server => 'grid')});
$mirror->becomes_true(q{state = 'stopped' AND last_error LIKE 'NOPERM%' FROM cachegrid.stat_events WHERE "table" = 'slow'::regclass}, 'who may not publish is stopped, with the reason');
sql(q{UPDATE item SET name = 'meanwhile' WHERE id = 45});
like($subscriber->told_until('item:45'), qr/update item:45/, '... which is nothing to others');
$redis->command('ACL', 'SETUSER', 'quiet', '+publish', 'allchannels');
is($slow->told(1), 'all!', '... and goes on when it is mended');

sql(q{SELECT cachegrid.unwatch('item')});
$mirror->becomes_true(q{count(*) = 0 FROM cachegrid.stat_events WHERE "table" = 'item'::regclass}, 'unwatched');
sql(q{UPDATE item SET name = 'silent'});
is($redis->command('EXISTS', 'cachegrid:owner:events:cachegrid:postgres:public.item'), '0', '... and the channel is free');
$mirror->becomes_true(q{bool_and(waiting = 0) FROM cachegrid.stat_mirror}, 'the mirror goes on');
is($subscriber->next_event(0.1), undef, '... and nothing is told');

done_testing();
