# Pinned caches and quotas in a memory that is too small: what is pinned stays while
# anything else can go, a quota holds at every moment, and every byte is accounted for,
# whatever sessions do at once.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{CACHEGRID_STRESS_SECONDS} || 8;
my $node = PostgreSQL::Test::Cluster->new('limits');

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'cachegrid'
cachegrid.memory = '8MB'
max_connections = 40
CONF
$node->start;

# Who looks for room must not do so for ever.
sub sql
{
	return $node->safe_psql('postgres', shift, timeout => $PostgreSQL::Test::Utils::timeout_default);
}

sub is_exact
{
	my ($name) = @_;

	is(sql("SELECT sum(used_bytes + free_bytes) = pg_size_bytes('8MB') AND min(used_bytes) >= 0
			AND min(free_bytes) >= 0 AND min(waste_bytes) >= 0 FROM cachegrid.stat_memory"),
		't', "$name: every byte is accounted for");
	return;
}

sql(<<'SQL');
CREATE EXTENSION cachegrid;
SELECT cachegrid.create_cache('pin', transactional => false, pinned => true);
SELECT cachegrid.create_cache('common', transactional => false);

-- A value is known by its key, but for its length.
CREATE FUNCTION make(key text, length int) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT left(repeat(md5(key), length / 32 + 1), length) $$;

CREATE FUNCTION fill(cache text, count int, length int) RETURNS bigint LANGUAGE sql AS
    $$ SELECT count(cachegrid.set(k, make(k, length))) FROM (SELECT cache || ':' || i AS k FROM generate_series(1, count) AS i) AS keys $$;

-- How many of them are there; an error if one has another's value.
CREATE FUNCTION found(cache text, count int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    there bigint := 0;
    value text;
BEGIN
    FOR i IN 1 .. count LOOP
        value := cachegrid.get(cache || ':' || i);
        IF value <> make(cache || ':' || i, length(value)) THEN
            RAISE EXCEPTION 'wrong value of %:%', cache, i;
        END IF;
        there := there + (value IS NOT NULL)::int;
    END LOOP;
    RETURN there;
END $$;
SQL

# Pinned entries, small ones and some that go on in pieces, beside a flood of others of
# all sizes, read all the time or not.
sub flood
{
	foreach my $length (60, 100, 400, 3000, 30000, 400000)
	{
		sql("SELECT fill('common:$length', least(60000, 16000000 / ($length + 40)), $length)");
		sql("SELECT found('common:$length', 1000)");
	}
	return;
}

sql("SELECT fill('pin', 15000, 100), fill('pin:large', 15, 60000)");
flood();
is(sql("SELECT found('pin', 15000) || ' ' || found('pin:large', 15)"), '15000 15', 'what is pinned stays');
is(sql("SELECT evictions FROM cachegrid.stat_cache WHERE cache = 'pin'"), '0', '... none of it was evicted');
cmp_ok(sql("SELECT evictions FROM cachegrid.stat_cache WHERE cache = 'common'"), '>', 100000, '... others were');
is_exact('beside pinned entries');

# Replaced and grown, they are still pinned.
sql("SELECT fill('pin', 5000, 200)");
flood();
is(sql("SELECT found('pin', 15000) || ' ' || found('pin:large', 15)"), '15000 15', 'and when they are written again');

# More than there is room for: they go too, and everybody goes on.
foreach my $length (100, 900, 20000)
{
	my $count = int(12_000_000 / $length);

	sql("SELECT fill('pin:more$length', $count, $length)");
	my $found = sql("SELECT found('pin:more$length', $count)");
	cmp_ok($found * $length, '>', 4_000_000, "pinned entries of $length bytes alone fill the memory");
	cmp_ok($found, '<', $count, '... which they must share');
	is(sql("SELECT cachegrid.exists('pin:more$length:$count')"), 't', '... and the last one is there');
}
is(sql("SELECT found('common:60', 60000) + found('common:400000', 40)"), '0', 'nothing else is left beside them');
sql("SELECT fill('common', 100, 200)");
is(sql("SELECT cachegrid.exists('common:100')"), 't', 'yet another entry can be put');
is_exact('with nothing but pinned entries');

# No longer pinned, what is there has ended, and what comes is as that of others.
sql("SELECT cachegrid.alter_cache('pin', pinned => false)");
is(sql("SELECT found('pin:more20000', 600)"), '0', 'what was pinned has ended');
sql("SELECT fill('pin', 5000, 100)");
flood();
cmp_ok(sql("SELECT found('pin', 5000)"), '<', 2500, 'and is not pinned when it is put again');

# Pinned within a quota: its own entries make room, no others do.
sql("SELECT cachegrid.alter_cache('pin', pinned => true, max_memory => '1MB')");
sql("SELECT fill('pin', 20000, 100)");
flood();
my $memory = sql("SELECT memory FROM cachegrid.stat_cache WHERE cache = 'pin'");
cmp_ok($memory, '<=', 1048576, 'pinned entries keep within their quota');
cmp_ok($memory, '>', 1000000, '... and stay in it');
is(sql("SELECT found('pin', 20000) = entries FROM cachegrid.stat_cache WHERE cache = 'pin'"), 't', '... whole');

# All at once: sessions that write and read caches of all kinds, and one that alters
# them.  While a quota is as it was, nobody sees more than it allows.
sql(<<'SQL');
SELECT cachegrid.alter_cache('pin', max_memory => '2MB');
SELECT cachegrid.create_cache('bound', transactional => false, max_memory => '512kB', compress_above => 1000, ttl_jitter => 0.5);
SELECT cachegrid.create_cache('altered', max_memory => '64kB');

CREATE FUNCTION work(rounds int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    caches text[] := '{pin,common,bound,altered}';
    key text;
    value text;
    dice float8;
BEGIN
    FOR i IN 1 .. rounds LOOP
        key := caches[1 + (random() * 3)::int] || ':' || (random() * 3000)::int;
        dice := random();
        IF dice < 0.4 THEN
            PERFORM cachegrid.set(key, make(key, (power(random(), 6) * 30000)::int),
                                  ttl => CASE WHEN dice < 0.1 THEN '20 milliseconds'::interval END);
        ELSIF dice < 0.45 THEN
            PERFORM cachegrid.delete(key);
        ELSIF dice < 0.5 THEN
            PERFORM cachegrid.expire(key, '1 hour');
        ELSIF dice < 0.501 THEN
            PERFORM cachegrid.clear('bound');
        ELSE
            value := cachegrid.get(key);
            IF value <> make(key, length(value)) THEN
                RAISE EXCEPTION 'wrong value of %', key;
            END IF;
        END IF;
        IF i % 20 = 0 AND EXISTS (SELECT FROM cachegrid.stat_cache WHERE cache = 'bound' AND memory > 524288
                                                                      OR cache = 'pin' AND memory > 2097152) THEN
            RAISE EXCEPTION 'more than a quota';
        END IF;
    END LOOP;
END $$;
SQL
append_to_file($node->basedir . '/work.sql', "SELECT work(200);\n");
append_to_file($node->basedir . '/alter.sql', <<'SQL');
SELECT cachegrid.alter_cache('altered', max_memory => '1MB');
SELECT cachegrid.alter_cache('altered', max_memory => '64kB', pinned => true);
SELECT cachegrid.alter_cache('altered', reset => '{max_memory}');
SELECT cachegrid.alter_cache('altered', pinned => false);
SQL
my $client = "-n -h @{[$node->host]} -p @{[$node->port]} -T $seconds postgres";
command_ok([ 'sh', '-c', "pgbench -f @{[$node->basedir]}/alter.sql $client & pgbench -c 6 -j 2 -f @{[$node->basedir]}/work.sql $client && wait \$!" ],
	'sessions write, read and alter: every value is right, and no quota exceeded');
is_exact('after it');

# Where memory is scarcer than the quota, what is read is moved about.
sql("SELECT cachegrid.alter_cache('bound', max_memory => '6MB'), cachegrid.clear()");
sql("SELECT fill('common', 60000, 100)");
foreach my $round (1 .. 5)
{
	sql("SELECT fill('bound:$round', 1000, 100), found('bound:$round', 1000), fill('common:$round', 10000, 100)");
}
cmp_ok(sql("SELECT sum(found('bound:' || round, 1000)) FROM generate_series(1, 5) AS round"),
	'>', 2000, 'entries with a quota that were read stay while others pass by');
sql("SELECT cachegrid.alter_cache('bound', max_memory => '512kB')");
sql("SELECT fill('bound', 20000, 100)");
cmp_ok(sql("SELECT memory FROM cachegrid.stat_cache WHERE cache = 'bound'"), '<=', 524288, '... and are found to make room');

# What is dead comes back, to the last byte.
sql("SELECT cachegrid.alter_cache('altered', max_memory => '1MB'), cachegrid.clear()");
ok( $node->poll_query_until('postgres', q{SELECT bool_and(memory = 0) FROM cachegrid.stat_cache WHERE memory IS NOT NULL}),
	'of the quotas nothing is taken when nothing is left');
is_exact('in the end');

# The limits are known again after a restart, and are not if their change was undone.
sql("SELECT cachegrid.alter_cache('bound', max_memory => '64kB')");
sql("BEGIN; SELECT cachegrid.alter_cache('bound', max_memory => '4MB'); SELECT cachegrid.exists('bound:1'); ROLLBACK");
$node->restart;
sql("SELECT fill('bound', 3000, 900)");
$memory = sql("SELECT memory FROM cachegrid.stat_cache WHERE cache = 'bound'");
cmp_ok($memory, '>', 50000, 'a quota is there after a restart');
cmp_ok($memory, '<=', 65536, '... as it was committed');

# In many partitions: who needs room finds it in those of other keys.
$node->append_conf('postgresql.conf', "cachegrid.memory = '256MB'");
$node->restart;
sql("SELECT cachegrid.alter_cache('bound', reset => '{compress_above}')");
sql("SELECT fill('bound', 2000, 100)");
cmp_ok(sql("SELECT found('bound', 2000)"), '>', 300, 'a small quota is shared by all partitions');
sql("SELECT fill('bound:large', 1, 60000)");
is(sql("SELECT found('bound:large', 1)"), '1', 'a value that takes nearly all of it finds room');
cmp_ok(sql("SELECT found('bound', 2000)"), '<', 100, '... in the place of others');
cmp_ok(sql("SELECT memory FROM cachegrid.stat_cache WHERE cache = 'bound'"), '<=', 65536, '... and of no more');
sql("SELECT fill('bound', 2000, 100)");
cmp_ok(sql("SELECT found('bound', 2000)"), '>', 300, 'and gives it back');
is(sql("SELECT found('bound:large', 1)"), '0', '... whole');

$node->stop;
done_testing();
