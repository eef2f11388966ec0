# docs/guide.md is so: each of its blocks prints what stands behind "-- =>"; and the
# programs of docs/examples do what it says of them.

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use RedisServer;
plan skip_all => 'redis-server is not installed' unless RedisServer::installed();
require Mirror;

my $mirror = Mirror->new('guide', 'max_connections = 50');
my $node = $mirror->node;
my ($port) = $mirror->redis->endpoints =~ /:(\d+)/;

# The statements of a block, with what each is said to print, if anything is.
sub statements
{
	my $block = shift;
	my @statements;
	my $text = '';

	foreach my $line (split /\n/, $block)
	{
		if ($line =~ /^-- => (.*)/)
		{
			$statements[-1]{expected} = $1;
			next;
		}
		my $expected = $line =~ s/\s+-- => (.*)// ? $1 : undef;

		$line =~ s/\s+-- .*//;
		$text .= "$line\n";
		next unless $line =~ /;$|^\\|\\gset$/;
		push @statements, { text => $text, expected => $expected };
		$text = '';
	}
	die "not the end of a statement: $text" if $text ne '';
	return @statements;
}

# Runs them in one session of psql; what each prints.
sub run_statements
{
	my @statements = @_;
	my $script = join("\\echo \@end\n", map { $_->{text} } @statements) . "\\echo \@end\n";
	my ($out, $err);

	$script =~ s/-p 7000/-p $port/g;
	IPC::Run::run(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ],
		'<', \$script, '>', \$out, '2>', \$err);
	is($err, '', 'it runs without an error');
	my @printed = split(/\@end\n/, $out, -1);
	pop @printed;
	return map { s/^\n+|\n+$//gr } @printed;
}

# Sections and their blocks
my @sections = slurp_file('docs/guide.md') =~ /^## (.*?)\n(.*?)(?=^## |\z)/msg;
my $compared = 0;
my %lines;
$node->safe_psql('postgres', 'DROP SERVER grid CASCADE');
my ($setup) = slurp_file('docs/guide.md') =~ /^```sql\n(CREATE SERVER.*?)^```/ms;
my $endpoints = $mirror->redis->endpoints;
is($setup =~ s/127\.0\.0\.1:7000,127\.0\.0\.1:7001/$endpoints/, 1, 'the guide declares a Redis Cluster');
run_statements(statements($setup));

while (my ($name, $text) = splice(@sections, 0, 2))
{
	my @blocks = $text =~ /^```sql\n(.*?)^```/msg;

	next if $name eq 'Which one';
	foreach my $block (@blocks)
	{
		my @statements = statements($block);
		my @printed = run_statements(@statements);

		$lines{$name} = () = $block =~ /^(?!-- =>)/mg;
		is(scalar(@printed), scalar(@statements), "$name: all of it is run");
		foreach my $place (0 .. $#statements)
		{
			my $statement = $statements[$place];

			next unless defined $statement->{expected};
			is($printed[$place], $statement->{expected}, "$name: " . $statement->{text} =~ s/\s+/ /gr);
			$compared++;
		}
	}
}
foreach my $pattern ('Cache-aside', 'Read-through', 'Write-through', 'Write-behind', 'Refresh-ahead')
{
	cmp_ok($lines{$pattern} // 99, '<=', 14, "$pattern takes some ten lines");
}
cmp_ok($compared, '>=', 14, 'most of what they print is said');

# The programs
local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => scalar(getpwuid($<)));
my %languages = (Python => [ '/usr/bin/python3', 'py' ], Node => [ 'node', 'js' ]);

sub program
{
	my ($language, $key) = @_;
	my ($command, $extension) = @{ $languages{$language} };

	return [ $command, "docs/examples/lookup.$extension", $key ];
}

# Who waits in lookup()
sub waiting
{
	return q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE '%lookup(%'};
}

delete $languages{Node} unless run_log([ 'node', '-e', 'require("pg")' ]);
ok(run_log([ '/usr/bin/python3', '-c', 'import psycopg2' ]), 'there is psycopg2');
foreach my $language ('Python', 'Node')
{
  SKIP:
	{
		skip "$language: there is no node-pg", 4 unless $languages{$language};
		my ($out, $err) = run_command(program($language, "page:$language"));
		is($out, "<h1>page:$language</h1>", "$language: a page is made");
		is($err, "making page:$language", '... by the program');
		($out, $err) = run_command(program($language, "page:$language"));
		is($out, "<h1>page:$language</h1>", '... and is there the next time');
		is($err, '', '... without being made');
	}
}

# Ten of them at once, behind one who computes and dies
my $holder = $node->background_psql('postgres');
$holder->query(q{SELECT cachegrid.lookup('page:crowd', lease => '10 minutes')});
my @runs = map { { command => program($_, 'page:crowd'), out => '', err => '' } }
  map { ($_) x 5 } sort keys %languages;
foreach my $run (@runs)
{
	$run->{handle} = IPC::Run::start($run->{command}, '<', \undef, '>', \$run->{out}, '2>', \$run->{err});
}
ok($node->poll_query_until('postgres', waiting(), scalar(@runs)), 'programs wait for one that computes');
$holder->quit;
$_->{handle}->finish foreach @runs;
is(join('', map { $_->{err} } @runs), "making page:crowd\n", '... and when it is gone one of them computes');
is(join(' ', map { $_->{out} } @runs), join(' ', ("<h1>page:crowd</h1>\n") x @runs), '... for all');

# One whose work fails lets the others go on, though its connection stays
foreach my $language (sort keys %languages)
{
	my ($command, $file, $key) = @{ program($language, "broken:$language") };
	my $broken = PostgreSQL::Test::Utils::tempdir() . "/broken.$languages{$language}[1]";
	my $text = slurp_file($file);

	is($text =~ s/^( *)(print\('making'.*|console\.error\('making'.*)$/$1 . ($language eq 'Python' ? "raise Exception('broken')" : "throw new Error('broken')")/em,
		1, "$language: its work fails");
	append_to_file($broken, $text);
	my (undef, $err) = run_command([ $command, $broken, $key ]);
	like($err, qr/broken/, '... and it says so');
	is($node->safe_psql('postgres', qq{SELECT must_load FROM cachegrid.lookup('$key', lease => '1 s')}), 't', '... and the next one may try');
}

# The shown function is short
foreach my $file ('lookup.py', 'lookup.js', 'lookup.go')
{
	my ($function) = slurp_file("docs/examples/$file") =~ /^((?:def|async function|func) page.*?)^(?:\}|def make)/ms;
	my $lines = () = $function =~ /^\s*\S/mg;

	cmp_ok($lines, '<=', 16, "$file is short");
	like(slurp_file('docs/guide.md'), qr{examples/\Q$file\E}, '... and the guide names it');
}

$node->stop;
done_testing();
