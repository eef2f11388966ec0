
=pod

=head1 NAME

Checker - traffic that compares every cached value with the table

=head1 SYNOPSIS

  use Checker;

  my $node = Checker::start_server();               # or one of your own
  my $checker = Checker->new($node, 'postgres');    # makes tables and caches
  my $wide = Checker->new($node, 'other', 40000);   # rows of up to so many bytes
  $checker->run(15);                                # seconds of pgbench
  is($checker->stale, '', 'no value differs');
  cmp_ok($checker->hit_ratio('product'), '>', 0.3, 'and many were hits');
  $checker->run_beside(15, $standby);               # with readers there, too

=head1 DESCRIPTION

Readers under READ COMMITTED and REPEATABLE READ fetch rows by key, hits and stale
values, lists by tag and sums over the table, and compute the same in the same statement, so under
the same snapshot: any difference is an error, which ends that reader. Writers
update, delete and insert, with savepoints, rollbacks, deadlocks, prepared
transactions and changes of many rows, and check what they read in between.

=cut

package Checker;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# Rows; the first are the hot ones.
my $rows = 300;

my $tables = <<'SQL';
CREATE TABLE product (id int PRIMARY KEY, category int NOT NULL, n bigint NOT NULL, filler text);
INSERT INTO product SELECT i, i % 10, i, repeat(i || ' ', i * WIDTH / 1200) FROM generate_series(1, 300) i;
SELECT cachegrid.cache_table('product');
SELECT cachegrid.watch('product', ARRAY['product:{id}', 'old:{id}'], ARRAY['category:{category}']);
-- Past their time to live almost at once, and given for a second before they are computed anew.
SELECT cachegrid.create_cache('old', ttl => '1 ms', stale_ttl => '1 hour', lease_interval => '1 s', wait_timeout => '0',
    loader => 'SELECT to_jsonb(p) FROM product p WHERE id = $1');

CREATE FUNCTION differ(what text, cached jsonb, computed jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'stale % in snapshot %: cached %, computed %', what, pg_current_snapshot(), cached, computed;
END $$;
SQL

# One statement, so one snapshot, for both.
my $check_row = <<'SQL';
SELECT differ('product:' || :id, cached, computed) FROM (SELECT
    cachegrid.fetch('product:' || :id) AS cached,
    (SELECT to_jsonb(p) FROM product p WHERE id = :id) AS computed) both_ways
WHERE cached IS DISTINCT FROM computed;
SQL

$check_row .= $check_row =~ s/'product:'/'old:'/gr;

my $check_list = <<'SQL';
SELECT differ('list:' || :category, cached, computed) FROM (SELECT
    cachegrid.fetch('list:' || :category,
        'SELECT jsonb_agg(p ORDER BY id) FROM product p WHERE category = $1',
        ARRAY[:category::text], tags => ARRAY['category:' || :category]) AS cached,
    (SELECT jsonb_agg(p ORDER BY id) FROM product p WHERE category = :category) AS computed) both_ways
WHERE cached IS DISTINCT FROM computed;
SQL

my $check_sum = <<'SQL';
SELECT differ('sum', cached, computed) FROM (SELECT
    cachegrid.fetch('sum', 'SELECT count(*), sum(n) FROM product') AS cached,
    (SELECT jsonb_build_object('count', count(*), 'sum', sum(n)) FROM product) AS computed) both_ways
WHERE cached IS DISTINCT FROM computed;
SQL

my $draw = "\\set id random_zipfian(1, $rows, 1.2)\n";
my $draw_list = "\\set category random(0, 9)\n";

# Name, weight, script.
my @scripts = (
	[ read_row => 600, $draw . $check_row . $draw . $check_row . $draw . $check_row ],
	[ read_list => 40, $draw_list . $check_list ],
	[ read_sum => 20, $check_sum ],
	[
		read_old => 120, 'BEGIN ISOLATION LEVEL REPEATABLE READ;'
		  . "\n$draw$check_row$draw_list$check_list\\sleep 2 ms\n$check_sum$draw$check_row$check_list"
		  . "$draw$check_row$draw$check_row\\sleep 5 ms\n$draw$check_row$draw${check_row}COMMIT;\n"
	],
	[ update => 60, $draw . "UPDATE product SET n = n + 1 WHERE id = :id;\n$check_row" ],
	[
		savepoint => 20, $draw . <<"SQL"
\\set back random(0, 1)
\\set end random(0, 2)
BEGIN;
UPDATE product SET n = n + 1 WHERE id = :id;
$check_row
SAVEPOINT s;
$draw
UPDATE product SET n = n + 10 WHERE id = :id;
$check_row
SAVEPOINT t;
UPDATE product SET n = n + 100 WHERE id = :id;
\\if :back
ROLLBACK TO s;
\\else
RELEASE s;
\\endif
$check_row
$check_sum
\\if :end
COMMIT;
\\else
ROLLBACK;
\\endif
SQL
	],
	[
		reinsert => 20, $draw . <<"SQL"
BEGIN;
DELETE FROM product WHERE id = :id;
$check_row
\\if random(0, 3)
INSERT INTO product VALUES (:id, random() * 9, 0) ON CONFLICT (id) DO NOTHING;
\\endif
COMMIT;
\\sleep 1 ms
INSERT INTO product VALUES (:id, random() * 9, 0) ON CONFLICT (id) DO NOTHING;
$check_row
SQL
	],
	[
		deadlock => 20, "BEGIN;\n"
		  . join('',
			map { $draw . "UPDATE product SET n = n + 1, category = (category + 1) % 10 WHERE id = :id;\n" } 1 .. 4)
		  . "${check_row}COMMIT;\n"
	],
	[
		many => 5, $draw_list . <<"SQL"
UPDATE product SET n = n + 1 WHERE id IN (SELECT id FROM product WHERE category = :category ORDER BY id FOR UPDATE);
$check_list
SQL
	],
	[
		prepare => 10, $draw . <<"SQL"
\\set undo random(0, 3)
BEGIN;
UPDATE product SET n = n + 1 WHERE id = :id;
PREPARE TRANSACTION 'checker :client_id';
$check_row
\\sleep 3 ms
$check_row
\\if :undo
COMMIT PREPARED 'checker :client_id';
\\else
ROLLBACK PREPARED 'checker :client_id';
\\endif
$check_row
SQL
	],
	[ invalidate => 5, $draw . "SELECT cachegrid.invalidate('product:' || :id);\n$check_row" ],
);

# A server that suits the traffic, with these settings besides.
sub start_server
{
	my @settings = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');

	$node->init;
	$node->append_conf('postgresql.conf', "$_\n")
	  foreach (
		"shared_preload_libraries = 'cachegrid'",
		'max_prepared_transactions = 50',
		'deadlock_timeout = 20ms',
		'log_statement = none',
		@settings);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cachegrid');
	return $node;
}

sub new
{
	my ($class, $node, $database, $width) = @_;
	my $self = bless { node => $node, database => $database, scripts => [], error => '' }, $class;
	my $folder = PostgreSQL::Test::Utils::tempdir();

	$node->safe_psql($database, $tables =~ s/WIDTH/$width || 0/er);
	foreach my $script (@scripts)
	{
		my ($name, $weight, $text) = @$script;
		my $file = "$folder/$name.sql";

		# pgbench knows no functions of its own in \if.
		$text =~ s/^\\if random\((.*?)\)$/\\set chance random($1)\n\\if :chance/mg;
		append_to_file($file, $text);
		push @{ $self->{scripts} }, "--file=$file\@$weight";
	}
	return $self;
}

# The command that makes traffic for so many seconds.  On another node than the
# checker's own it is one of readers only: of a standby, which redoes the tables.
sub command
{
	my ($self, $seconds, $clients, $node) = @_;
	my @scripts = @{ $self->{scripts} };

	@scripts = grep { /read_/ } @scripts if $node;
	$node ||= $self->{node};
	return ('pgbench', '--no-vacuum', "--time=$seconds", '--client=' . ($clients || 12),
		'--jobs=2', @scripts, $node->connstr($self->{database}));
}

# Reads on a standby beside the traffic on its primary, and waits for the end of both.
sub run_beside
{
	my ($self, $seconds, $standby) = @_;
	my ($out, $error) = ('', '');
	my $readers = IPC::Run::start([ $self->command($seconds, 8, $standby) ],
		'<', \undef, '>', \$out, '2>', \$error);
	my $done = $self->run($seconds, 6);

	$done &= $readers->finish;
	$self->{error} .= $error;
	$self->{out} .= $out;
	return $done;
}

# Makes traffic and waits for its end.  What pgbench had to say is kept.
sub run
{
	my ($self, $seconds, $clients) = @_;
	my ($out, $error) = ('', '');

	IPC::Run::run([ $self->command($seconds, $clients) ], '<', \undef, '>', \$out, '2>', \$error);
	$self->{status} = $?;
	$self->{error} .= $error;
	$self->{out} = $out;
	return $self->{status} == 0;
}

# What the readers complained of, empty if nothing.
sub stale
{
	my ($self) = @_;

	return join("\n", grep { /stale/ } split(/\n/, $self->{error}));
}

# What else went wrong; deadlocks are meant to happen, and pgbench counts them.
sub errors
{
	my ($self) = @_;

	return join("\n", grep { /ERROR|FATAL|PANIC|aborted/ && !/stale|deadlock detected/ } split(/\n/, $self->{error}));
}

sub query
{
	my ($self, $query, $node) = @_;

	return ($node || $self->{node})->safe_psql($self->{database}, $query);
}

# Hits among all reads of a cache.
sub hit_ratio
{
	my ($self, $cache, $node) = @_;

	return $self->query("SELECT hit_ratio FROM cachegrid.stat_cache WHERE cache = '$cache'", $node) || 0;
}

1;
