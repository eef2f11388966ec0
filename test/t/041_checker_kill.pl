# Backends are killed with -9 under full traffic, in the middle of transactions
# and loads: the server starts over with an empty cache, which is never wrong.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

use Checker;

my $rounds = 3;
my $node = Checker::start_server('restart_after_crash = on');
my $checker = Checker->new($node, 'postgres');

# The backend that answers the query, once one does.
sub find
{
	my ($what, $query) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (time() < $deadline)
	{
		my $pid = $node->safe_psql('postgres', $query);

		return $pid if $pid ne '';
		select(undef, undef, undef, 0.01);
	}
	die "no $what";
}

# Kills it as a crash would, and waits until the server is back.
sub crash
{
	my ($pid) = @_;
	my $offset = -s $node->logfile;

	kill 'KILL', $pid;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
	return;
}

sub sum_of_stat
{
	my ($column) = @_;

	return $node->safe_psql('postgres', "SELECT coalesce(sum($column), 0) FROM cachegrid.stat_cache");
}

foreach my $round (1 .. $rounds)
{
	my ($out, $error) = ('', '');
	my $traffic = IPC::Run::start([ $checker->command(3600) ], '<', \undef, '>', \$out, '2>', \$error);

	$node->poll_query_until('postgres', 'SELECT coalesce(sum(hits), 0) > 3000 FROM cachegrid.stat_cache')
	  or die 'no traffic';
	crash(find('writer', q{SELECT pid FROM pg_stat_activity
		WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() LIMIT 1}));
	eval { $traffic->finish };

	unlike($error, qr/stale/, "round $round: no value differed before the crash of a writer");
	is(sum_of_stat('entries'), '0', '... after which the cache is empty');
	is(sum_of_stat('hits'), '0', '... and begins to count anew');

	# What was prepared stays unfinished over the crash, while others go on.
	my $prepared = $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts');
	my @left = split(/\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'));
	my $wrong = q{SELECT count(*) FROM product WHERE cachegrid.fetch('product:' || id) IS DISTINCT FROM to_jsonb(product)};

	is($node->safe_psql('postgres', $wrong), '0', "... all rows are right beside $prepared prepared transactions");
	$node->safe_psql('postgres', "COMMIT PREPARED '$_'") foreach @left;
	is($node->safe_psql('postgres', $wrong), '0', '... and when these are committed');
}

# Who computes for others dies.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION slow(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1);
    RETURN value;
END $$;
SQL
my $gate = $node->background_psql('postgres', on_error_stop => 0);
$gate->query_safe('SELECT pg_advisory_lock(1)');
my $fetch = q{SELECT cachegrid.fetch('slow', 'SELECT slow(to_jsonb(n)) FROM product WHERE id = 300')};
my $computed = $node->safe_psql('postgres', 'SELECT n FROM product WHERE id = 300');
my @sessions = map {
	IPC::Run::start([ 'psql', '-X', '-At', '-c', $fetch, $node->connstr('postgres') ],
		'<', \undef, '>', \my $out, '2>', \my $error)
} 1 .. 3;
$node->poll_query_until('postgres',
	q{SELECT count(*) = 3 FROM pg_stat_activity WHERE query LIKE '%slow(to\_jsonb%' AND state = 'active' AND pid <> pg_backend_pid()})
  or die 'sessions do not fetch';
crash(find('holder', q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' LIMIT 1}));
eval { $_->finish } foreach @sessions;
eval { $gate->quit };
is($node->safe_psql('postgres', $fetch), $computed, 'after the crash of who computes nobody waits for him');
is($node->safe_psql('postgres', $fetch), $computed, '... and the value is kept');
is($node->safe_psql('postgres', q{SELECT hits || '|' || loads FROM cachegrid.stat_cache WHERE cache = 'default'}),
	'1|1', '... having been computed once');

# And it works again.
ok($checker->run(4), 'traffic runs after all that');
is($checker->stale, '', 'and every value is right');
cmp_ok($checker->hit_ratio('product'), '>=', 0.3, 'with hits');

$node->stop;
done_testing();
