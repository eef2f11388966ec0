
# Encrypted connections: who is trusted, who is not, and what nobody gets to see.

use strict;
use warnings;

use FakeRedis;
use Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RedisServer;
use Test::More;

plan skip_all => 'redis-server is not installed' unless RedisServer::installed();

my $folder = PostgreSQL::Test::Utils::tempdir();
my $mirror = Mirror->without_redis(
	'tls',
	'cachegrid.redis_connect_timeout = 2000',
	'cachegrid.redis_timeout = 2000');
my $node = $mirror->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What a statement says that fails, with SQLSTATE.
sub refusal
{
	my ($statement) = @_;
	my $stderr = '';

	$node->psql('postgres', "\\set VERBOSITY verbose\n$statement", stderr => \$stderr);
	return $stderr;
}

sql('CREATE TABLE item (id int PRIMARY KEY, name text)');
sql("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 200) i");

# A library without TLS says so, and a declaration never gets as far as a connection
my $possible = refusal(
	q{CREATE SERVER probe FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', tls 'on')});
if ($possible ne '')
{
	like(
		$possible,
		qr/ERROR:  0A000: TLS connections to Redis are not supported by this build\nDETAIL:  .*hiredis.*\nHINT:  Build it/,
		'without TLS there is a clear error');
	sql(q{CREATE SERVER probe FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', tls 'off')});
	like(refusal(q{ALTER SERVER probe OPTIONS (SET tls 'on')}),
		qr/ERROR:  0A000: TLS/, '... also later');
	$node->stop;
	done_testing();
	exit;
}
sql('DROP SERVER probe');

# An authority and what it has signed; another one that nobody trusts
sub make_authority
{
	my ($name) = @_;

	system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', "/CN=$name",
		'-keyout', "$folder/$name.key", '-out', "$folder/$name.crt");
	return;
}

sub make_certificate
{
	my ($authority, $name, $extension, @password) = @_;

	append_to_file("$folder/$name.ext", "$extension\n");
	system_or_bail('openssl', 'genrsa', '-out', "$folder/$name.key", '2048') unless @password;
	system_or_bail('openssl', 'genrsa', '-aes256', '-passout', "pass:$password[0]", '-out', "$folder/$name.key", '2048')
	  if @password;
	system_or_bail('openssl', 'req', '-new', '-key', "$folder/$name.key", '-subj', "/CN=$name",
		(@password ? ('-passin', "pass:$password[0]") : ()), '-out', "$folder/$name.csr");
	system_or_bail('openssl', 'x509', '-req', '-in', "$folder/$name.csr", '-CA', "$folder/$authority.crt",
		'-CAkey', "$folder/$authority.key", '-CAcreateserial', '-days', '2',
		'-extfile', "$folder/$name.ext", '-out', "$folder/$name.crt");
	return;
}

make_authority($_) foreach 'trusted', 'stranger';
make_certificate('trusted', 'redis', 'subjectAltName=DNS:redis.test,IP:127.0.0.1');
make_certificate('trusted', 'elsewhere', 'subjectAltName=DNS:elsewhere.test');
make_certificate('trusted', 'client', 'extendedKeyUsage=clientAuth', 'opensesame');
make_certificate('stranger', 'impostor', 'extendedKeyUsage=clientAuth');
chmod(0600, glob("$folder/*.key"));

# A server that speaks TLS at one port; the tests themselves use another one.
sub start_redis
{
	my ($name, $certificate, @config) = @_;
	my ($port) = RedisServer::free_ports(1);
	my $redis = RedisServer->new(
		dir => "$folder/$name",
		config => [
			"tls-port $port",
			"tls-cert-file $folder/$certificate.crt",
			"tls-key-file $folder/$certificate.key",
			"tls-ca-cert-file $folder/trusted.crt",
			@config
		]);
	return ($redis, "127.0.0.1:$port");
}

my $number = 0;

# Declares a server and mirrors the table there; what that says if it fails.
sub mirror_to
{
	my ($options, $mapping) = @_;

	$number++;
	sql("CREATE SERVER s$number FOREIGN DATA WRAPPER cachegrid_redis OPTIONS ($options)");
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER s$number OPTIONS ($mapping)") if $mapping;
	return refusal("SELECT cachegrid.mirror('item', 's$number')");
}

sub is_mirrored
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("UPDATE item SET name = '$name' WHERE id <= 100");
	ok( $node->poll_query_until('postgres',
			"SELECT state = 'live' AND waiting = 0 FROM cachegrid.stat_mirror WHERE server = 's$number'"),
		"$name: settles");
	is(sql("SELECT key, problem FROM cachegrid.verify('item', 's$number')"),
		'', "$name: Redis has what the table has");
	sql("SELECT cachegrid.unmirror('item', 's$number')");
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cachegrid.mirrors');
	return;
}

# Who the server is
my $trusted = "tls 'on', tls_ca '$folder/trusted.crt'";
my ($open, $open_at) = start_redis('open', 'redis', 'tls-auth-clients no');
my $single = "mode 'single', endpoints '$open_at'";
is(mirror_to("$single, $trusted"), '', 'a certificate of the authority, for the address');
is_mirrored('by address');
is(mirror_to("$single, $trusted, tls_server_name 'redis.test'"), '', 'and for a name');
sql(q{INSERT INTO item SELECT 1000 + i, repeat(md5(i::text), 40000) FROM generate_series(1, 5) i});
is_mirrored('long values');
sql('DELETE FROM item WHERE id > 1000');
like(
	mirror_to("$single, $trusted, tls_server_name 'other.test'"),
	qr/ERROR:  28000: could not verify the certificate of Redis node "127.*\nDETAIL:  OpenSSL says: .*hostname mismatch.*\nHINT:  Check/i,
	'another name is expected');
like(
	mirror_to("$single, tls 'on', tls_ca '$folder/stranger.crt'"),
	qr/ERROR:  28000: could not verify the certificate.*\nDETAIL:  OpenSSL says: /,
	'another authority is trusted');
like(mirror_to("$single, tls 'on'"), qr/ERROR:  28000: could not verify/, 'the authorities of the system do not know it');
my ($elsewhere, $elsewhere_at) = start_redis('elsewhere', 'elsewhere', 'tls-auth-clients no');
like(mirror_to("mode 'single', endpoints '$elsewhere_at', $trusted"),
	qr/ERROR:  28000: .*\nDETAIL:  .*address mismatch/i, 'a certificate of another host');

# Who we are
my ($closed, $closed_at) = start_redis('closed', 'redis', 'tls-auth-clients yes');
$single = "mode 'single', endpoints '$closed_at'";
my $certificate = "tls_certificate '$folder/client.crt', tls_key '$folder/client.key'";
like(mirror_to("$single, $trusted"), qr/ERROR:  08006: (lost the connection to|could not encrypt)/, 'no certificate where one is demanded');
is(mirror_to("$single, $trusted", "$certificate, tls_key_password 'opensesame'"), '', 'the right one');
is_mirrored('by certificate');
like(
	mirror_to("$single, $trusted", "$certificate, tls_key_password 'opentahini'"),
	qr/ERROR:  F0000: could not use the file of option "tls_key"\nDETAIL:  OpenSSL says: .*\nHINT:  /,
	'a wrong password of its key');
like(mirror_to("$single, $trusted", $certificate),
	qr/ERROR:  F0000: could not use the file of option "tls_key"/, 'no password');
like(
	mirror_to("$single, $trusted", "tls_certificate '$folder/impostor.crt', tls_key '$folder/impostor.key'"),
	qr/ERROR:  08006: (lost the connection to|could not encrypt)/,
	'one that the server does not trust');
like(
	mirror_to("$single, $trusted", "tls_certificate '$folder/impostor.crt', tls_key '$folder/redis.key'"),
	qr/ERROR:  F0000: could not use the file of option "tls_key"\nDETAIL:  OpenSSL says: .*mismatch/i,
	'a key of another certificate');
like(
	mirror_to("$single, tls 'on', tls_ca '$folder/secretplace.crt'"),
	qr/ERROR:  F0000: could not use the file of option "tls_ca"\nDETAIL:  OpenSSL says: No such file/i,
	'a file that is not there');

# A worker whose server changes its mind: an outage like others
is(mirror_to("$single, $trusted", "$certificate, tls_key_password 'opensesame'"), '', 'a mirror');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER s$number OPTIONS (SET tls_key_password 'opentahini')");
sql("UPDATE item SET name = 'locked out'");
ok( $node->poll_query_until('postgres',
		"SELECT state = 'interrupted' AND last_error = 'could not use the file of option \"tls_key\"'"
		  . " FROM cachegrid.stat_mirror WHERE server = 's$number'"),
	'a key that does not open any more is an outage');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER s$number OPTIONS (SET tls_key_password 'opensesame')");
is_mirrored('open again');

# Not TLS at the other end, not TLS at ours, and nothing at all
like(
	mirror_to("mode 'single', endpoints '" . $open->endpoint . "', $trusted"),
	qr/ERROR:  08006: could not encrypt the connection to Redis node/,
	'a server that does not speak TLS');
like(mirror_to("mode 'single', endpoints '$open_at'"), qr/ERROR:  08/, 'a server that speaks nothing else');
my $silent = FakeRedis->new(sub { return '' });
like(mirror_to("mode 'single', endpoints '" . $silent->endpoint . "', $trusted"),
	qr/ERROR:  08006: could not encrypt .*timeout expired/, 'one that is silent');

# A cluster
my ($cluster, $cluster_at) = start_redis('cluster', 'redis', 'tls-auth-clients no', 'tls-cluster yes', 'cluster-enabled yes');
$cluster->command('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
RedisServer::wait_until('the cluster is ok', sub { $cluster->command('CLUSTER', 'INFO') =~ /cluster_state:ok/ });
is(mirror_to("endpoints '$cluster_at', $trusted"), '', 'a cluster');
is(sql(qq{SELECT count(*) FROM cachegrid.stat_mirror WHERE server = 's$number'}), '1', '... is mirrored to');
is_mirrored('cluster');

# What is declared
like(refusal(q{CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', tls_ca 'x')}),
	qr/ERROR:  22023: option "tls_ca" needs option "tls"/, 'an authority without TLS');
like(refusal(qq{CREATE USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (tls_certificate 'x')}),
	qr/ERROR:  22023: option "tls_certificate" needs option "tls_key"/, 'a certificate without key');
like(refusal(qq{CREATE USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (tls_key 'x')}),
	qr/ERROR:  22023: option "tls_key" needs option "tls_certificate"/, 'a key without certificate');
sql('CREATE ROLE lowly; GRANT USAGE ON FOREIGN DATA WRAPPER cachegrid_redis TO lowly;'
	  . 'GRANT CREATE ON DATABASE postgres TO lowly');
like(
	refusal(q{SET ROLE lowly; CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', tls 'on', tls_ca '/etc/passwd')}),
	qr/ERROR:  42501: permission denied for option "tls_ca"/,
	'who may not read files of the server may not name them');

# What nobody gets to see
my $log = slurp_file($node->logfile);
$log =~ s/^.*(statement|STATEMENT): .*$//mg;
unlike($log, qr/open(sesame|tahini)/, 'no password is in the log');
unlike($log, qr/\.(key|crt)\b/, 'nor the path of a file');
unlike($log, qr/PANIC|signal 11/, 'nothing crashed');
$node->stop;
done_testing();
