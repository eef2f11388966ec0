# shellcheck shell=bash
#
# servers.sh: the servers of the chaos, and the chaos on them; to be sourced
# after lib.sh, and used after private_install.
#
# A PostgreSQL server, and a Redis Cluster of three masters and three replicas
# that keep nothing on disk.

# Timeouts are short, so that much happens.  The WAL of asynchronous commits
# stays in memory for long: who shows them before they are on disk is found out
# when the server is killed.  fsync protects from the machine's death only.
chaos_settings="
max_prepared_transactions = 30
max_connections = 40
fsync = off
deadlock_timeout = 20ms
restart_after_crash = on
wal_writer_delay = 10s
wal_writer_flush_after = 16MB
cachegrid.memory = '32MB'
cachegrid.redis_connect_timeout = 500ms
cachegrid.redis_timeout = 700ms
cachegrid.write_through_timeout = 4s
log_min_messages = log
log_min_error_statement = panic
"

build_chaos()
{
    watched "$RUN/log/build-chaos.log" make -C src test/chaos/chaos ||
        { cat "$RUN/log/build-chaos.log" >&2; die "the build of the chaos failed"; }
}

# Writes what it takes to start the node on this port again.
write_redis_conf()
{
    local port=$1 folder=$RUN/redis/$1 bus

    bus=$(as_user redis-cli -p "$port" config get cluster-port | tail -n 1)
    as_user tee "$folder/redis.conf" >/dev/null <<CONF
port $port
bind 127.0.0.1
dir $folder
save ""
appendonly no
daemonize yes
logfile $RUN/log/redis-$port.log
pidfile $folder/pid
cluster-enabled yes
cluster-config-file nodes.conf
cluster-port $bus
cluster-node-timeout 2000
CONF
}

# start_chaos_servers NUMBER: sets the words of CHAOS_NODES.
start_chaos_servers()
{
    local port

    start_server "chaos$1" "$chaos_settings"
    as_user psql -qXAt -v ON_ERROR_STOP=1 -f src/test/chaos/setup.sql </dev/null >/dev/null ||
        die "could not set the chaos up"
    REDIS_PORTS=()
    start_redis_cluster 3 1
    CHAOS_NODES=()
    for port in "${REDIS_PORTS[@]}"
    do
        write_redis_conf "$port"
        CHAOS_NODES+=("$port:$RUN/redis/$port")
    done
}

stop_chaos_servers()
{
    local port

    as_user pg_ctl -D "$RUN/chaos$1" -m immediate -t 30 stop >/dev/null 2>&1
    rm -rf "${RUN:?}/chaos$1"
    for port in "${REDIS_PORTS[@]}"
    do
        as_user redis-cli -p "$port" shutdown nosave >/dev/null 2>&1
    done
    SERVERS=()
    REDIS_PORTS=()
}

# chaos_command NUMBER SECONDS [UNTIL_WRONG]: sets the words of the command.
chaos_command()
{
    CHAOS_COMMAND=(env CHAOS_SECONDS="$2" CHAOS_SEED="$SEED" CHAOS_UNTIL_WRONG="$3"
        CHAOS_CALM="$CALM" "$RUN/src/test/chaos/chaos" "$RUN/log/chaos$1.txt"
        "$RUN/sock/chaos$1" "$RUN/chaos$1" "${CHAOS_NODES[@]}")
}
