
# Many sessions write values that can be checked, of all sizes, into a memory that is
# too small for them, and read them back: what is read is whole, and the key's own.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{CACHEGRID_STRESS_SECONDS} || 8;
my $node = PostgreSQL::Test::Cluster->new('stress');

$node->init;
$node->append_conf('postgresql.conf', <<'EOS');
shared_preload_libraries = 'cachegrid'
cachegrid.memory = '8MB'
max_connections = 40
EOS
$node->start;

sub sql
{
	my ($statements) = @_;

	return $node->safe_psql('postgres', $statements);
}

# A value says whose it is, and how it goes on: key, seed, length, then as many bytes.
sql(<<'EOS');
CREATE EXTENSION cachegrid;
SELECT cachegrid.create_cache('at_once', transactional => false);

CREATE FUNCTION make(key text, seed int, length int) RETURNS text LANGUAGE sql AS
    $$ SELECT format('%s|%s|%s|', key, seed, length) ||
              left(repeat(md5(key || seed || length), length / 32 + 1), length) $$;

CREATE FUNCTION check_value(key text, value text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    parts text[] := string_to_array(value, '|');
BEGIN
    IF value IS NULL THEN
        RETURN 0;
    END IF;
    IF parts[1] <> key OR value <> make(key, parts[2]::int, parts[3]::int) THEN
        RAISE 'torn value of key "%": % bytes, %', key, length(value), left(value, 60);
    END IF;
    RETURN 1;
END $$;

-- small ones, at times large ones, now and then a huge one
CREATE FUNCTION some_length(random float8) RETURNS int LANGUAGE sql AS
    $$ SELECT CASE WHEN random < 0.7 THEN (random * 400)::int
                   WHEN random < 0.97 THEN (power(random, 8) * 9000)::int
                   ELSE ((random - 0.97) * 5000000)::int END $$;

CREATE TABLE tally (checked bigint);

CREATE FUNCTION work(rounds int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    checked bigint := 0;
    key text;
    dice float8;
BEGIN
    FOR i IN 1 .. rounds LOOP
        key := CASE WHEN random() < 0.5 THEN 'at_once:' ELSE 'later:' END || (random() * 20000)::int;
        dice := random();
        IF i % 4 = 0 THEN
            -- a few large ones, written and read all the time
            key := 'at_once:hot' || (random() * 5)::int;
            IF dice < 0.4 THEN
                PERFORM cachegrid.set(key, make(key, i, 100000 + (random() * 200000)::int));
            ELSE
                checked := checked + check_value(key, cachegrid.get(key));
            END IF;
            CONTINUE;
        END IF;
        IF dice < 0.30 THEN
            PERFORM cachegrid.set(key, make(key, i, some_length(random())),
                                  ttl => CASE WHEN dice < 0.05 THEN '5 milliseconds'::interval END);
        ELSIF dice < 0.34 THEN
            PERFORM cachegrid.delete(key);
        ELSIF dice < 0.36 THEN
            PERFORM cachegrid.expire(key, '1 hour');
        ELSIF dice < 0.36005 THEN
            PERFORM cachegrid.clear('at_once');
        ELSIF dice < 0.40 THEN
            SELECT checked + coalesce(sum(check_value(k, v)), 0) INTO checked
              FROM (SELECT array_agg('at_once:' || (random() * 20000)::int) AS ks
                      FROM generate_series(1, 40)) AS asked,
                   unnest(ks, cachegrid.mget(ks)) AS found(k, v);
        ELSE
            checked := checked + check_value(key, cachegrid.get(key));
        END IF;
    END LOOP;
    INSERT INTO tally VALUES (checked);
END $$;
EOS
append_to_file($node->basedir . '/work.sql', "SELECT work(300);\n");

sub stress
{
	my ($name, @settings) = @_;

	local $ENV{PGOPTIONS} = join(' ', map { "-c $_" } @settings);
	sql('TRUNCATE tally');
	sql("SELECT count(cachegrid.set('later:' || i, make('later:' || i, 0, 350))) FROM generate_series(1, 20000) i");
	my $evictions = sql('SELECT sum(evictions) FROM cachegrid.stat_cache');
	command_ok(
		[
			'pgbench', '-n', '-f', $node->basedir . '/work.sql', '-c', '8', '-j', '2', '-T',
			$seconds, '-h', $node->host, '-p', $node->port, 'postgres'
		],
		"$name: every value is whole, and the key's own");
	cmp_ok(sql('SELECT sum(checked) FROM tally'), '>', 200 * $seconds, "$name: and there were some");
	is( sql("SELECT sum(used_bytes + free_bytes) = pg_size_bytes('8MB') AND min(used_bytes) >= 0"
			  . ' AND min(free_bytes) >= 0 AND min(waste_bytes) >= 0 FROM cachegrid.stat_memory'),
		't', "$name: every byte is accounted for");
	cmp_ok(sql('SELECT sum(evictions) FROM cachegrid.stat_cache'),
		'>', $evictions + 50 * $seconds, "$name: entries were evicted");
	return;
}

stress('without locks');
stress('with locks', 'cachegrid.lock_reads=on');

done_testing();
