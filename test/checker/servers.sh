# shellcheck shell=bash
#
# servers.sh: the servers of the checker, and the checker on them; to be
# sourced after lib.sh, and used after private_install.
#
# A primary; a subscriber of logical replication, which is another database of
# it; a hot standby.

# wal_log_invalidations is for standbys that serve hits; fsync protects from the
# machine's death only, not from that of processes.
checker_settings="
max_prepared_transactions = 60
max_connections = 60
wal_level = logical
fsync = off
deadlock_timeout = 20ms
restart_after_crash = on
wal_retrieve_retry_interval = 300ms
cachegrid.memory = '64MB'
cachegrid.wal_log_invalidations = on
log_min_messages = fatal
log_min_error_statement = panic
max_wal_size = 2GB
"

build_checker()
{
    watched "$RUN/log/build-checker.log" make -C src test/checker/checker test/checker/inside.so ||
        { cat "$RUN/log/build-checker.log" >&2; die "the build of the checker failed"; }
}

# start_standby NAME PRIMARY: with the settings of its primary.
start_standby()
{
    local data=$RUN/$1

    as_user pg_basebackup -D "$data" -h "$RUN/sock/$2" -U postgres -c fast -X stream -R \
        >"$RUN/log/basebackup-$1.log" 2>&1 ||
        { cat "$RUN/log/basebackup-$1.log" >&2; die "there is no base backup"; }
    as_user mkdir "sock/$1"
    printf '%s\n' "unix_socket_directories = '$RUN/sock/$1'" 'max_standby_streaming_delay = 1s' \
        >>"$data/postgresql.conf"
    SERVERS+=("$data")
    as_user pg_ctl -D "$data" -l "$RUN/log/$1.log" -w -t 60 start >/dev/null 2>&1 </dev/null ||
        { tail -n 30 "$RUN/log/$1.log" >&2; die "the standby did not start"; }
}

checker_sql()
{
    as_user psql -qXAt -v ON_ERROR_STOP=1 "$@" </dev/null >/dev/null ||
        die "could not set the checker up"
}

# start_checker_servers NUMBER
start_checker_servers()
{
    start_server "primary$1" "$checker_settings"
    checker_sql -c 'CREATE ROLE alice' -c 'CREATE ROLE bob' -c 'CREATE DATABASE subscriber'
    checker_sql -f src/test/checker/setup.sql
    checker_sql -d subscriber -f src/test/checker/setup.sql -c 'TRUNCATE item, twin'
    checker_sql -c "CREATE PUBLICATION rows FOR TABLE item, twin" \
        -c "SELECT pg_create_logical_replication_slot('rows', 'pgoutput', false, true)"
    checker_sql -d subscriber -c "CREATE SUBSCRIPTION rows
        CONNECTION 'host=$PGHOST dbname=postgres user=postgres'
        PUBLICATION rows WITH (create_slot = false, slot_name = 'rows', two_phase = true)"
    # For the evidence; where the symbols of modules are hidden, there is none.
    as_user psql -qX -c "CREATE FUNCTION checker_slot(key text) RETURNS text LANGUAGE c STRICT
        AS '$RUN/src/test/checker/inside', 'checker_slot'" >/dev/null 2>&1
    start_standby "standby$1" "primary$1"
}

stop_checker_servers()
{
    local data

    for data in "$RUN/standby$1" "$RUN/primary$1"
    do
        as_user pg_ctl -D "$data" -m immediate -t 30 stop >/dev/null 2>&1
        rm -rf "$data"
    done
    SERVERS=()
}

# checker_command NUMBER SECONDS [UNTIL_STALE]: sets the words of the command.
checker_command()
{
    local serves

    serves=$(as_user psql -XAtc "SELECT count(*) FROM pg_settings
        WHERE name = 'cachegrid.wal_log_invalidations' AND setting = 'on'")
    CHECKER_COMMAND=(env CHECKER_SECONDS="$2" CHECKER_SEED="$SEED" CHECKER_UNTIL_STALE="$3"
        CHECKER_CALM="$CALM" CHECKER_STANDBY_SERVES="$serves"
        "$RUN/src/test/checker/checker" "$RUN/src/test/checker" "$RUN/stale$1.txt"
        "$RUN/sock/primary$1" "$RUN/primary$1" "$RUN/sock/standby$1" "$RUN/standby$1")
}
