#!/usr/bin/env bash
# A Ray cluster on this machine, for trying things: a head without CPUs and N workers, each a Ray node of its own.
#
#     eval "$(cluster/local.sh up 2)"     # start it; prints the environment in which commands find it
#     eval "$(cluster/local.sh status)"   # the same for another terminal; what runs is said on stderr
#     cluster/local.sh down               # end it
#
# Every node has an address of its own in 127.0.0.0/8, the dashboard and the Ray client are on this machine's loopback,
# and all of it demands the token in the folder of the cluster. That folder, /tmp/ulmfit-ray-UID or ULMFIT_RAY_LOCAL (a
# short path: Ray puts sockets below it), also has the logs and the processes that `down` ends, and these alone.
# ULMFIT_RAY_LOCAL_PORT (26379) and the 30 behind it are the ports, ULMFIT_RAY_LOCAL_STORE (500000000) the bytes of each
# node's object store. Linux only, as Ray clusters of several nodes are.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${ULMFIT_RAY_LOCAL:-/tmp/ulmfit-ray-$(id -u)}
port=${ULMFIT_RAY_LOCAL_PORT:-26379}
store=${ULMFIT_RAY_LOCAL_STORE:-500000000}
head=127.0.0.2
limit_seconds=120

say() { echo "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# When a process began, in ticks since the machine's start; nothing if there is none, or only what is left of one. A pid
# may be given again to a process that is not ours: the two together are not.
began() {
    local line
    line=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # The name, in brackets, may have blanks in it.
    read -r -a words <<<"${line##*) }"
    [[ ${words[0]} == Z ]] || echo "${words[19]}"
}

# "pid start name" of each node that still runs, the workers first.
running() {
    local pid start name
    [[ -f $folder/nodes ]] || return 0
    while read -r pid start name; do
        if [[ $(began "$pid") == "$start" ]]; then echo "$pid $start $name"; fi
    done < <(tac "$folder/nodes")
}

environment() {
    echo "export RAY_ADDRESS=$head:$port RAY_API_SERVER_ADDRESS=http://127.0.0.1:$((port + 1))"
    echo "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH='$folder/token'"
    # It would be heeded before the file.
    echo "unset RAY_AUTH_TOKEN"
}

# start NAME ADDRESS CPUS OPTION...: begin a node, and write down its process.
start() {
    local name=$1 address=$2 cpus=$3
    shift 3
    # In a session of its own: Ctrl-C in this terminal is not meant for it. It ends its own processes when it ends. Nodes
    # that begin at once in one folder would take the same names for their sockets.
    setsid "$ray" start --block --node-ip-address="$address" --num-cpus="$cpus" --object-store-memory="$store" \
        --disable-usage-stats --temp-dir="$folder/$name" "$@" </dev/null >"$folder/$name.log" 2>&1 9>&- &
    echo "$! $(began $!) $name" >>"$folder/nodes"
}

# wait_for NAME: return when a node has joined.
wait_for() {
    local deadline=$((SECONDS + limit_seconds))
    until grep -q "block forever" "$folder/$1.log"; do
        if ! grep -q " $1\$" <<<"$(running)" || ((SECONDS > deadline)); then
            tail -n 20 "$folder/$1.log" >&2
            end
            fail "the node $1 did not start: see above, and $folder/$1.log"
        fi
        sleep 0.2
    done
}

# End all nodes that run: kindly, and after 30 seconds not.
end() {
    local deadline=$((SECONDS + 30)) pid rest
    while read -r pid rest; do kill -TERM "$pid" 2>/dev/null || true; done < <(running)
    while [[ -n $(running) ]]; do
        if ((SECONDS > deadline)); then
            while read -r pid rest; do kill -KILL "$pid" 2>/dev/null || true; done < <(running)
        fi
        sleep 0.1
    done
    rm -f "$folder/nodes" "$folder/token"
}

up() {
    local number=$1 cpus
    [[ $number =~ ^[1-9][0-9]?$ ]] || fail "up $number: the number of workers is 1 to 20"
    ((number <= 20)) || fail "up $number: the number of workers is 1 to 20"
    [[ -z $(running) ]] || fail "it is up already ($(running | wc -l) nodes): cluster/local.sh status, or down"
    ray=$(command -v ray || echo "$root/.venv/bin/ray")
    [[ -x $ray ]] || fail "there is no command ray: activate the environment in which ulmfit-ray is installed"
    rm -rf "$folder"/head* "$folder"/worker-*
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$folder/token")
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token
    # How long a node that is ended lets its work be taken elsewhere first.
    export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
    unset RAY_AUTH_TOKEN RAY_ADDRESS RAY_API_SERVER_ADDRESS
    cpus=$(($(nproc) / number))
    say "starting a head and $number workers of $((cpus > 0 ? cpus : 1)) CPUs each: half a minute"
    start head "$head" 0 --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) \
        --ray-client-server-port=$((port + 2)) --dashboard-agent-listen-port=$((port + 3))
    wait_for head
    for ((worker = 1; worker <= number; worker++)); do
        start "worker-$worker" "127.0.0.$((worker + 2))" $((cpus > 0 ? cpus : 1)) --address="$head:$port" \
            --dashboard-agent-listen-port=$((port + 3 + worker))
    done
    for ((worker = 1; worker <= number; worker++)); do wait_for "worker-$worker"; done
    say "it is up; the dashboard is http://127.0.0.1:$((port + 1)), its token is in $folder/token"
    environment
}

[[ -d /proc/self ]] || fail "cluster/local.sh needs Linux"
[[ ! -L $folder ]] || fail "$folder is a link: name another folder in ULMFIT_RAY_LOCAL"
((${#folder} <= 32)) || fail "$folder is too long for the sockets below it: name a shorter one in ULMFIT_RAY_LOCAL"
mkdir -p -m 700 "$folder"
[[ -O $folder ]] || fail "$folder is somebody else's: name another folder in ULMFIT_RAY_LOCAL"
exec 9>"$folder/lock"
flock -w 150 9 || fail "another cluster/local.sh is at work in $folder"
case "${1:-} $#" in
    "up 2") up "$2" ;;
    "down 1")
        nodes=$(running | wc -l)
        end
        say "ended $nodes nodes"
        ;;
    "status 1")
        [[ -n $(running) ]] || fail "it is not up"
        running | while read -r pid _ name; do say "$name runs as process $pid"; done
        say "the dashboard is http://127.0.0.1:$((port + 1)), its token is in $folder/token"
        environment
        ;;
    *)
        say "usage: cluster/local.sh up N | status | down"
        exit 2
        ;;
esac
