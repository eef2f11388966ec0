# shellcheck shell=bash
#
# lib.sh: what `make test`, `make matrix` and `make demo` have in common.
#
# Model.  A run owns one folder, $RUN, and everything it makes lies in it: a
# copy of the sources, a copy of the PostgreSQL installation into which
# cachegrid is built, data folders, sockets, logs.  So runs do not see each
# other, nor the servers of the machine.  initdb refuses root: whoever is root
# steps down to an ordinary user for all but apt and the making of folders.
# What runs is marked by CACHEGRID_RUN=$RUN in its environment; at the end,
# however it comes, whatever still bears the mark is stopped.
#
# Use, from bash, in this order:
#
#   . test/lib.sh
#   install_missing $BUILD_PACKAGES $SERVER_PACKAGES $REDIS_PACKAGES
#   begin_run demo            # makes $RUN, sets the trap that cleans up
#   private_install           # builds; sets PG_BIN and PG_CONFIG
#   start_server main "cachegrid.memory = '256MB'"     # sets PGHOST, PGPORT
#   start_redis_cluster 3     # sets REDIS_PORTS
#   as_user psql -c 'CREATE EXTENSION cachegrid'
#   watched "$RUN/log/load.log" pgbench -T 20      # long: stops on a signal
#
# Everything fails by `die`, which ends the script with status 1; the trap
# then stops what was started.  Needs bash and the essential packages.

umask 022

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) # the clone
RUN=                  # folder of this run; set by begin_run
RUN_USER=             # the user that servers run as; set by begin_run
RUN_KEPT=${KEEP:-}     # not empty: the folder stays; see keep_run
PG_BIN=               # programs of the private installation
PGPORT=5432           # within PGHOST, a folder that no other run uses
PGHOST=               # set by start_server
REDIS_PORTS=()        # set by start_redis_cluster
SERVERS=()            # data folders of the servers started
NODE_PATH=            # set by find_node_postgres

say()
{
    printf '%s\n' "$*"
}

die()
{
    printf 'cachegrid: %s\n' "$*" >&2
    exit 1
}

# Packages ------------------------------------------------------------------

# Major version of PostgreSQL: of PG_CONFIG where given, else the one that
# this release of Debian packages.
postgres_major()
{
    if [ -n "$PG_CONFIG" ]
    then
        "$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'
        return
    fi
    case "$(. /etc/os-release && echo "$VERSION_CODENAME")" in
        bookworm) echo 15 ;;
        trixie) echo 17 ;;
        *) apt-cache depends postgresql 2>/dev/null |
            sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' ;;
    esac
}

[ -z "$PG_CONFIG" ] || PG_CONFIG=$(command -v "$PG_CONFIG") || die "there is no such PG_CONFIG"
PG_MAJOR=$(postgres_major)
: "${PG_MAJOR:=18}"
# shellcheck disable=SC2034  # for those who read this file
BUILD_PACKAGES="gcc libc6-dev make postgresql-server-dev-$PG_MAJOR libhiredis-dev
    libxxhash-dev liblz4-dev"
SERVER_PACKAGES="postgresql-$PG_MAJOR"
# shellcheck disable=SC2034
REDIS_PACKAGES="redis-server"
# shellcheck disable=SC2034
TEST_PACKAGES="perl libipc-run-perl libpq-dev postgresql-$PG_MAJOR-pgtap
    libtap-parser-sourcehandler-pgtap-perl python3-psycopg2 nodejs"

# Prints those of the packages that are not installed.
missing_packages()
{
    local package

    for package in "$@"
    do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
            grep -q '^install ok installed$' || printf '%s ' "$package"
    done
}

# install_missing PACKAGE...
#
# Installs with apt what is missing; starts and restarts no service, makes no
# database cluster.  Who is not root is told what is missing, status 1.
install_missing()
{
    local missing

    command -v dpkg-query >/dev/null ||
        die "this is not a Debian system: cannot tell whether $* are installed"
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0

    if [ "$(id -u)" != 0 ]
    then
        say "cachegrid: missing packages: $missing" >&2
        say "Install them as root: apt-get install --no-install-recommends $missing" >&2
        exit 1
    fi
    say "installing $missing"
    # One at a time; whoever waited finds less missing, or nothing.
    flock /var/lib/dpkg bash -c '. "$0"; apt_install "$@"' \
        "$REPO/test/lib.sh" "$@" </dev/null || die "apt could not install $missing"
}

# Under the lock, in a shell of its own: installs the missing packages quietly;
# shows what apt says only when it fails.
apt_install()
{
    local missing

    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    apt_log=$(mktemp)
    trap 'calm_services_end; rm -f "$apt_log"' EXIT
    trap 'exit 130' INT TERM HUP
    export DEBIAN_FRONTEND=noninteractive
    calm_services
    # shellcheck disable=SC2086
    install_calmly $missing >"$apt_log" 2>&1 ||
        { apt-get -q update && install_calmly $missing; } >>"$apt_log" 2>&1 ||
        { tail -n 30 "$apt_log" >&2; return 1; }
}

install_calmly()
{
    local install="apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends"

    # The setting that makes no cluster must stand before the server comes.
    case " $* " in
        *" $SERVER_PACKAGES "*) $install postgresql-common && calm_clusters || return ;;
    esac
    $install "$@"
}

POLICY=/usr/sbin/policy-rc.d
CLUSTERS=/etc/postgresql-common/createcluster.conf

# Until calm_services_end, packages start and restart no service.  A policy
# that the machine already has is left alone.
calm_services()
{
    [ ! -e "$POLICY" ] || return 0
    printf '#!/bin/sh\n# cachegrid installs packages: removed in a moment\nexit 101\n' >"$POLICY"
    chmod +x "$POLICY"
    policy_is_ours=yes
}

# Until calm_services_end, a new server package makes no cluster "main".
calm_clusters()
{
    [ -z "$clusters_saved" ] && [ -f "$CLUSTERS" ] || return 0
    clusters_saved=$(mktemp)
    cp -p "$CLUSTERS" "$clusters_saved"
    printf 'create_main_cluster = false\n' >>"$CLUSTERS"
}

calm_services_end()
{
    [ -z "$policy_is_ours" ] || rm -f "$POLICY"
    [ -z "$clusters_saved" ] || { cat "$clusters_saved" >"$CLUSTERS"; rm -f "$clusters_saved"; }
    policy_is_ours=
    clusters_saved=
}

# find_node_postgres
#
# Has node-pg, for the example in JavaScript: installs it, or unpacks it into
# $RUN/node where the machine's nodejs is not Debian's, with which it does not go.
# Sets NODE_PATH, which as_user hands on.  Where this release has no such package
# it says so, and the example is not run.
find_node_postgres()
{
    NODE_PATH=/usr/share/nodejs:/usr/lib/nodejs
    [ -n "$(missing_packages node-pg)" ] || return 0
    if [ "$(id -u)" = 0 ] && ! apt-cache show node-pg >/dev/null 2>&1
    then
        apt-get -q update >/dev/null 2>&1
    fi
    if ! apt-cache show node-pg >/dev/null 2>&1
    then
        say "this release has no package node-pg: the example in JavaScript is not run"
    elif apt-get -qq -s --no-install-recommends install node-pg >/dev/null 2>&1
    then
        install_missing node-pg
    else
        unpack node-pg node-split2
        NODE_PATH=$RUN/node/usr/share/nodejs:$NODE_PATH
    fi
}

# unpack PACKAGE...: their files, without installing them, to $RUN/node
unpack()
{
    local file

    as_user mkdir -p node
    (
        cd "$RUN/node" && apt-get -q download "$@" >"$RUN/log/unpack.log" 2>&1 || exit
        for file in *.deb
        do
            dpkg-deb -x "$file" . || exit
        done
    ) || { cat "$RUN/log/unpack.log" >&2; die "apt could not download $*"; }
}

# The run -------------------------------------------------------------------

# begin_run NAME
#
# Makes $RUN below build/ of the clone, or below /tmp where the ordinary user
# cannot go there or its name is too long for a socket.  It is removed at the
# end, unless KEEP is set or keep_run was called.
begin_run()
{
    [ -z "$RUN" ] || die "begin_run was called before"
    RUN_USER=$(id -un)
    if [ "$RUN_USER" = root ]
    then
        RUN_USER=postgres
        id postgres >/dev/null 2>&1 || RUN_USER=nobody
    fi
    trap end_run EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    set -m              # a group for each child, to be stopped as one

    mkdir -p "$REPO/build" 2>/dev/null &&
        RUN=$(mktemp -d "$REPO/build/$1.XXXXXX" 2>/dev/null) && own_run
    if [ -z "$RUN" ] || [ ${#RUN} -gt 60 ] || ! as_user test -w "$RUN" 2>/dev/null
    then
        [ -z "$RUN" ] || rm -rf "$RUN"
        RUN=$(mktemp -d "/tmp/cachegrid-$1.XXXXXX") && own_run ||
            die "could not make a folder below /tmp"
    fi
    as_user mkdir home tmp log sock
    [ -z "$RUN_KEPT" ] || say "kept for a look: $RUN"
}

own_run()
{
    [ "$(id -u)" != 0 ] || chown "$RUN_USER" "$RUN"
}

# as_user COMMAND...
#
# Runs the command in $RUN as the ordinary user, in an environment that holds
# only what the run set, and COPT, further options of the compiler: PATH begins
# with the private installation.
as_user()
{
    local step=()

    [ "$(id -u)" != 0 ] || step=(runuser -u "$RUN_USER" --)
    (
        cd "$RUN" && exec "${step[@]}" env -i CACHEGRID_RUN="$RUN" \
            PATH="${PG_BIN:+$PG_BIN:}/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
            HOME="$RUN/home" TMPDIR="$RUN/tmp" LANG=C.UTF-8 TERM="${TERM:-dumb}" \
            PG_CONFIG="$PG_CONFIG" PGHOST="$PGHOST" PGPORT="$PGPORT" \
            PGUSER=postgres PGDATABASE=postgres \
            ${NODE_PATH:+NODE_PATH="$NODE_PATH"} ${COPT:+COPT="$COPT"} ${SEED:+SEED="$SEED"} "$@"
    )
}

# watched LOG COMMAND...
#
# as_user, output into LOG, so that a signal ends it at once: bash runs traps
# during `wait`, not during a command.
watched()
{
    local log=$1

    shift
    as_user "$@" >"$log" 2>&1 </dev/null &
    wait $!
}

# Prints the processes that bear the mark of this run.  A server process may
# have written its title over its environment: those are known by the folder
# in which they run.
run_processes()
{
    local directory process

    grep -lzxF "CACHEGRID_RUN=$RUN" /proc/[0-9]*/environ 2>/dev/null |
        sed 's|/proc/\([0-9]*\)/.*|\1|'
    for directory in /proc/[0-9]*
    do
        case "$(readlink "$directory/cwd" 2>/dev/null)" in
            "$RUN"/*) ;;
            *) continue ;;
        esac
        read -r process <"$directory/comm" 2>/dev/null &&
            case "$process" in postgres | redis-server) echo "${directory#/proc/}" ;; esac
    done
}

# Stops what is left: asks, waits five seconds, insists.
stop_processes()
{
    local signal i left

    for signal in TERM INT KILL
    do
        left=$(run_processes | sort -u)
        [ -n "$left" ] || return 0
        # shellcheck disable=SC2086
        kill -$signal $left 2>/dev/null
        for i in $(seq 25)
        do
            left=$(run_processes)
            [ -n "$left" ] || return 0
            sleep 0.2
        done
    done
}

end_run()
{
    local status=$? data port

    trap '' INT TERM HUP
    set +m
    for data in "${SERVERS[@]}"
    do
        as_user pg_ctl -D "$data" -m fast -t 30 stop >/dev/null 2>&1
    done
    for port in "${REDIS_PORTS[@]}"
    do
        as_user redis-cli -p "$port" shutdown nosave >/dev/null 2>&1
    done
    [ -n "$RUN" ] || exit $status
    stop_processes
    if [ -z "$RUN_KEPT" ]
    then
        rm -rf --one-file-system "$RUN"
        rmdir "$REPO/build" 2>/dev/null
    fi
    exit $status
}

# Has the folder stay, and says so: for logs of what failed.
keep_run()
{
    [ -n "$RUN_KEPT" ] || say "kept for a look: $RUN"
    RUN_KEPT=yes
}

# PostgreSQL ----------------------------------------------------------------

# private_sources
#
# Copies the sources, without what was built from them, to $RUN/src.
private_sources()
{
    mkdir "$RUN/src" &&
        tar -C "$REPO" --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.so' \
            --exclude='*.bc' --exclude='./tmp_check*' --exclude=./results \
            --exclude=./demo/replay --exclude=./bench/bench --exclude=./test/checker/checker \
            --exclude=./test/chaos/chaos -cf - . |
        tar -C "$RUN/src" --no-same-owner -xf - ||
        die "could not copy the sources to $RUN"
    [ "$(id -u)" != 0 ] || chown -R "$RUN_USER" "$RUN/src"
}

# private_postgres
#
# Copies the PostgreSQL installation to $RUN/root.  Its programs find their
# other folders relative to their own, so the copy is whole.
private_postgres()
{
    local config=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config} what folder

    [ -x "$config" ] || die "there is no $config"
    for what in bindir pkglibdir sharedir
    do
        folder=$("$config" --$what)
        mkdir -p "$RUN/root$folder" &&
            tar -C "$folder" --exclude=./bitcode --exclude=./man -cf - . |
            tar -C "$RUN/root$folder" --no-same-owner -xf - ||
            die "could not copy $folder to $RUN"
    done
    for what in includedir includedir-server
    do
        folder=$("$config" --$what)
        [ -e "$RUN/root$folder" ] && continue
        mkdir -p "$RUN/root$(dirname "$folder")" && ln -s "$folder" "$RUN/root$folder"
    done
    [ "$(id -u)" != 0 ] || chown -R "$RUN_USER" "$RUN/root"
    PG_BIN=$RUN/root$("$config" --bindir)
    PG_CONFIG=$PG_BIN/pg_config
}

# try_private_install
#
# Builds cachegrid in $RUN/src and installs it into the copy of PostgreSQL.
# If the build fails it says why, status 1.
try_private_install()
{
    private_sources
    private_postgres
    watched "$RUN/log/build.log" make -C src -s -j"$(nproc)" all install && return
    cat "$RUN/log/build.log" >&2
    return 1
}

private_install()
{
    try_private_install || die "the build failed"
}

# try_start_server NAME [SETTINGS]
#
# Starts a server of the private installation with cachegrid preloaded, on a
# Unix socket only, superuser "postgres".  SETTINGS are lines for
# postgresql.conf; SERVER_PROGRAM, if set, runs in the place of postgres.  Sets
# PGHOST, which as_user hands on, as it does PGPORT.  If the server does not
# start it says why, status 1.
try_start_server()
{
    local data=$RUN/$1

    as_user initdb -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N \
        >"$RUN/log/initdb-$1.log" 2>&1 ||
        { cat "$RUN/log/initdb-$1.log" >&2; die "initdb failed"; }
    as_user mkdir "sock/$1"
    cat >>"$data/postgresql.conf" <<CONF
shared_preload_libraries = 'cachegrid'
listen_addresses = ''
unix_socket_directories = '$RUN/sock/$1'
port = $PGPORT
$2
CONF
    SERVERS+=("$data")
    as_user pg_ctl ${SERVER_PROGRAM:+-p "$SERVER_PROGRAM"} -D "$data" -l "$RUN/log/$1.log" \
        -w -t 60 start >/dev/null 2>&1 </dev/null ||
        { tail -n 30 "$RUN/log/$1.log" >&2; return 1; }
    PGHOST=$RUN/sock/$1
}

start_server()
{
    try_start_server "$@" || die "server \"$1\" did not start"
}

# Redis ---------------------------------------------------------------------

# Prints a port of the loopback interface that nobody listens on, below those
# that the system hands out by itself.
free_port()
{
    local port i

    for i in $(seq 100)
    do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
        then
            echo "$port"
            return
        fi
    done
    die "found no free port"
}

# start_redis [OPTION...]
#
# Starts a Redis server on a free port of the loopback interface, which keeps
# nothing on disk; adds the port to REDIS_PORTS.
start_redis()
{
    local port i try

    for try in 1 2 3 4 5
    do
        port=$(free_port) || exit
        as_user mkdir -p "redis/$port"
        as_user redis-server --port "$port" --bind 127.0.0.1 --dir "$RUN/redis/$port" \
            --save '' --appendonly no --daemonize yes --logfile "$RUN/log/redis-$port.log" \
            --pidfile "$RUN/redis/$port/pid" "$@" >/dev/null 2>&1 </dev/null
        for i in $(seq 50)
        do
            if [ "$(as_user redis-cli -p "$port" config get dir 2>/dev/null | tail -n 1)" = \
                "$RUN/redis/$port" ]
            then
                REDIS_PORTS+=("$port")
                return
            fi
            sleep 0.1
        done
    done
    tail -n 10 "$RUN/log/redis-$port.log" >&2
    die "Redis did not start"
}

# start_redis_cluster MASTERS [REPLICAS]
#
# Starts a Redis Cluster of so many masters, each with so many replicas, or
# none; their ports are in REDIS_PORTS.  Returns when every node finds the
# cluster whole.
start_redis_cluster()
{
    local node port i

    for node in $(seq $(($1 * (1 + ${2:-0}))))
    do
        start_redis --cluster-enabled yes --cluster-config-file nodes.conf \
            --cluster-port "$(free_port)" --cluster-node-timeout 2000
    done
    as_user redis-cli --cluster create "${REDIS_PORTS[@]/#/127.0.0.1:}" --cluster-replicas "${2:-0}" \
        --cluster-yes >"$RUN/log/redis-cluster.log" 2>&1 </dev/null ||
        { cat "$RUN/log/redis-cluster.log" >&2; die "could not make the Redis Cluster"; }
    for port in "${REDIS_PORTS[@]}"
    do
        for i in $(seq 100)
        do
            as_user redis-cli -p "$port" cluster info | grep -q 'cluster_state:ok' && continue 2
            sleep 0.1
        done
        die "the Redis Cluster did not come together"
    done
}
