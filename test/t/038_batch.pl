# Many values at once: sessions whose keys overlap compute each value once, in whatever order
# they ask for them, and whatever becomes of one of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Crowd;

my $crowd = Crowd->new;
my $node = $crowd->{node};

$crowd->sql(q{SELECT cachegrid.create_cache('each', ttl => '1 hour', loader => 'SELECT slow($1)'),
	cachegrid.create_cache('patient', ttl => '1 hour', loader => 'SELECT slow($1)', wait_timeout => '1 hour')});

# Who computes several keys is struck: who waits for some of them computes those.

my $round = 0;
foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	my ($a, $b, $c) = map { "patient:" . (10 * $round + $_) } 1 .. 3;

	$round++;
	$crowd->begin;
	$crowd->shut;
	my $first = $crowd->start("SELECT cachegrid.fetch_many('{$a,$b}')");
	$crowd->poll(1, 0);
	my $other = $crowd->start("SELECT cachegrid.fetch_many('{$b}')");
	$crowd->poll(1, 1);
	$crowd->strike($function);
	$crowd->poll(1, 0);
	my $third = $crowd->start("SELECT cachegrid.fetch_many('{$b,$a}')");
	$crowd->poll(2, 0);
	$crowd->open;
	my ($number_a, $number_b) = map { s/.*://r } $a, $b;
	is($crowd->finish($other), "{$number_b}", "$function: who waited computes the value");
	is($crowd->finish($third), "{$number_b,$number_a}", '... and the leases of the other keys are free at once');
	is($crowd->runs, 3, '... each once after the first one that was struck');
	eval { $crowd->finish($first) };
}

# An error of one: the others go on.

$crowd->begin(1);
$crowd->shut;
my $first = $crowd->start(q{SELECT cachegrid.fetch_many('{patient:101,patient:102}')});
$crowd->poll(1, 0);
my $other = $crowd->start(q{SELECT cachegrid.fetch_many('{patient:102,patient:101}')});
$crowd->poll(1, 1);
$crowd->open;
like($crowd->finish($first), qr/loader failed/, 'an error is that of who computes');
is($crowd->finish($other), '{102,101}', '... and the other one computes all that is missing');
is($crowd->runs, 3, '... by one query');

# A loader that takes the keys: the second session asks it for what the first does not, and
# waits for the rest; so does a third, that wants all, and one that wants one.

$crowd->sql(q{
	CREATE FUNCTION asked(keys text[]) RETURNS TABLE (key text, value int) LANGUAGE sql AS $$
		SELECT cachegrid.add('asked:' || array_to_string(keys, ' '), 'x');
		SELECT k, slow(cardinality(keys)) FROM unnest(keys) AS k $$;
	SELECT cachegrid.create_cache('asked', ttl => '1 hour', loader_function => 'asked(text[])', wait_timeout => '1 hour')});
$crowd->begin;
$crowd->shut;
my @waiting;
foreach my $keys ('{asked:a,asked:b}', '{asked:c,asked:b}')
{
	push @waiting, $crowd->start("SELECT cachegrid.fetch_many('$keys')");
	$crowd->poll(scalar(@waiting), 0);
}
foreach my $query (q{cachegrid.fetch_many('{asked:c,asked:b,asked:a}')}, q{cachegrid.fetch('asked:b')})
{
	push @waiting, $crowd->start("SELECT $query");
	$crowd->poll(2, @waiting - 2);
}
$crowd->open;
is(join(' ', map { $crowd->finish($_) } @waiting), '{2,2} {1,2} {1,2,2} 2', 'who waits is given what others have computed');
is($crowd->sql(q{SELECT string_agg(key, ', ' ORDER BY key) FROM cachegrid.entries('asked:* *') WHERE type = 'text'::regtype}),
	'asked:asked:a asked:b', '... and the loader was asked for the keys that nobody else computes');
is($crowd->sql(q{SELECT count(*) FROM cachegrid.entries('asked:asked:*') WHERE type = 'text'::regtype}), 2, '... once each');

# Many sessions, each with half of the keys, in an order of its own.

$crowd->begin;
$crowd->shut;
my @sessions = map {
	$crowd->start(q{SELECT bool_and(v = to_jsonb(n)) FROM
		(SELECT array_agg(n ORDER BY r) AS numbers, array_agg('each:' || n ORDER BY r) AS keys FROM
			(SELECT n, random() AS r FROM generate_series(1, 60) AS n) AS a WHERE r < 0.5) AS k,
		LATERAL unnest(numbers, cachegrid.fetch_many(keys)) AS u (n, v)})
} 1 .. 20;
$crowd->open;
is(join(' ', map { $crowd->finish($_) } @sessions), join(' ', ('t') x 20), 'twenty sessions get what they asked for');
is($crowd->runs, $crowd->sql(q{SELECT count(*) FROM cachegrid.entries('each:*')}), '... and each value was computed once');

done_testing();
