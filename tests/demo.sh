#!/usr/bin/env bash
# A cluster of three hosts on this machine, made and used with the stock docker command line.
# usage: make demo, or as root: tests/demo.sh   (KEEP=1 leaves the cluster up)
#
# Every command is shown before it runs. A step that takes time is waited for by its outcome, with a
# deadline. Whatever happens, the lab is removed at the end, unless KEEP is set.
set -euo pipefail
cd "$(dirname "$0")/.."

LAB=target/release/swarmnet-lab
DEADLINE=60
NODES=(master node01 node02)
passed=()
title=starting

step() { # what comes now
    [ "$title" = starting ] || passed+=("$title")
    title=$1
    printf '\n== %s\n' "$title"
}

on() { # host, command: shows and runs it there
    local host=$1
    shift
    printf '\n%s$ %s\n' "$host" "$*"
    "$LAB" exec "$host" -- "$@"
}

capture() { # like `on`, and keeps what it printed in $shown
    local host=$1
    shift
    printf '\n%s$ %s\n' "$host" "$*"
    shown=$("$LAB" exec "$host" -- "$@")
    printf '%s\n' "$shown"
}

quiet() { # host, command: runs it there without a word, for checks
    local host=$1
    shift
    "$LAB" exec "$host" -- "$@" 2>/dev/null
}

fail() {
    printf '\nFAILED at "%s": %s\n' "$title" "$*" >&2
    exit 1
}

wait_for() { # what, command: until it succeeds
    local what=$1 end=$((SECONDS + DEADLINE))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "$what: not so after $DEADLINE s"
        sleep 0.2
    done
}

expect() { # pattern: was in what `capture` showed
    grep -Eq -- "$1" <<<"$shown" || fail "expected to see: $1"
}

page() { quiet "$1" curl --silent --fail --max-time 5 "$2"; }
answers() { page "$1" "$2" | grep -q .; }
refused() { ! quiet "$1" curl --silent --max-time 2 --output /dev/null "$2"; }
ready_nodes() { quiet master docker node ls --format '{{.Status}}' | grep -cx Ready || true; }
three_ready() { [ "$(ready_nodes)" = 3 ]; }
old_task_is_shut_down() {
    quiet master docker service ps webserver --format '{{.CurrentState}}' | grep -q ^Shutdown
}
tasks() { "$LAB" engine "$1" -- ps --all --quiet --filter label=com.docker.swarm.task.id; }
no_tasks() { local n; for n in "${NODES[@]}"; do [ -z "$(tasks "$n")" ] || return 1; done; }

visit() { # from host, url: shows the page's title, as soon as there is one
    printf '\n%s$ curl %s\n' "$1" "$2"
    wait_for "an answer of $2 to $1" answers "$1" "$2"
    page "$1" "$2" | grep -E '<title>|answered' | sed 's/^ */    /'
}

finish() {
    local status=$?
    trap - EXIT INT TERM
    [ "$status" -eq 0 ] || printf '\nthe demo ended with status %s at: %s\n' "$status" "$title" >&2
    if [ "$status" -ne 0 ] && [ -d /var/lib/swarmnet-lab/default ]; then
        for node in "${NODES[@]}"; do
            printf '\n-- the end of %s'\''s daemon log\n' "$node" >&2
            "$LAB" logs "$node" daemon 2>&1 | tail -n 15 >&2 || true
        done
    fi
    if [ -n "${KEEP:-}" ]; then
        cat <<END

The cluster stays up.
  look around:  $LAB status
  use it:       $LAB exec master -- docker node ls
                $LAB exec client -- curl http://node01:30000
  remove it:    $LAB down
END
    else
        "$LAB" down || status=1
    fi
    exit "$status"
}

case $("$LAB" status) in
    *"is not up"*) ;;
    *) echo "a lab is up already; remove it first with: $LAB down" >&2 && exit 1 ;;
esac
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "three hosts and a client, each host with a Docker Engine and a swarmnet daemon"
printf '\n$ %s up\n' "$LAB"
"$LAB" up

step "a swarm"
capture master docker swarm init --advertise-addr 10.20.20.100
expect 'docker swarm join --token SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25} 10\.20\.20\.100:2377'
on master docker swarm join-token worker
on master docker swarm join-token manager
token=$(quiet master docker swarm join-token --quiet worker)
on node01 docker swarm join --token "$token" 10.20.20.100:2377
on node02 docker swarm join --token "$token" 10.20.20.100:2377
wait_for "three ready nodes" three_ready
capture master docker node ls
expect '\* +master +Ready +Active +Leader +[0-9]+\.'

step "a service"
on master docker service create --name webserver nginx
on master docker service ls
on master docker service ps webserver

step "a published port: a new task takes the place of the old one"
on master docker service update --publish-add 80 webserver
wait_for "the old task is shut down" old_task_is_shut_down
on master docker service ps webserver
capture master docker service inspect --pretty webserver
expect 'Endpoint Mode:[[:space:]]*vip'
expect 'PublishedPort *= *30000'
expect 'TargetPort *= *80'
expect 'PublishMode *= *ingress'

step "every node answers, though only one runs the task"
node=$(quiet master docker service ps webserver --filter desired-state=running --format '{{.Node}}')
printf '\nthe task runs on %s\n' "$node"
names=(master node01 node02 node01.docker-dca.example)
for from in client "${NODES[@]}"; do
    for name in "${names[@]}"; do visit "$from" "http://$name:30000"; done
done

step "three tasks, and each of them answers"
on master docker service scale webserver=3
on master docker service ps webserver --filter desired-state=running
# So that one sees which task answers. `docker exec` goes through to the host's own engine.
for host in "${NODES[@]}"; do
    for task in $(tasks "$host"); do
        [ "$("$LAB" engine "$host" -- inspect --format '{{.State.Running}}' "$task")" = true ] || continue
        on "$host" docker exec "$task" sh -c \
            "echo answered by \$(hostname) on $host > /usr/share/nginx/html/index.html"
    done
done
declare -A seen=()
printf '\nclient$ curl http://node01:30000   # until all three have answered\n'
all_three() {
    local line
    line=$(page client http://node01:30000) || return 1
    [ -n "${seen[$line]:-}" ] || echo "    $line"
    seen[$line]=1
    [ ${#seen[@]} -ge 3 ]
}
wait_for "answers of three tasks" all_three

if [ -z "${KEEP:-}" ]; then
    step "removed, and nothing left behind"
    on master docker service rm webserver
    wait_for "no task is left on any host" no_tasks
    for name in "${NODES[@]}"; do
        wait_for "port 30000 of $name is closed" refused client "http://$name:30000"
    done
    on master docker service ls
    printf '\nno task on any engine, port 30000 closed on every node\n'
fi
passed+=("$title")

printf '\n== summary (%d s)\n' "$SECONDS"
printf '  ok  %s\n' "${passed[@]}"
