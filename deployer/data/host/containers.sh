# Containers: their state and address, and waiting until one is ready or has nothing left to do.

# Where the proxy reaches a container, for `docker inspect`: one address, or nothing.
AT='{{$at := index .Config.Labels "freehold.address"}}{{if not $at}}{{if eq .HostConfig.NetworkMode "host"}}{{$at = "127.0.0.1"}}{{else}}{{range .NetworkSettings.Networks}}{{if not $at}}{{$at = .IPAddress}}{{end}}{{end}}{{end}}{{end}}{{$at}}'

# address_of NAME: where the proxy reaches a container.
address_of() {
    docker inspect --format "$AT" "$1"
}

# free_address [NAME]: the next address of the network's lower half that no container holds, running or
# not. Taken in turn, so that a freed address rests before it is used again. Holds a lock (fd 8)
# until the step ends, as another service may be doing the same. A container called NAME steps aside:
# both need to know the containers, and each question to Docker costs as much as all else here.
free_address() {
    local all id names networks held used= others= last=1 low try
    exec 8>"$LOCKS/addresses.lock"
    flock -w 30 8 || { echo "failed: another deploy of this host has held the addresses for 30 s"; return 1; }
    all=$(docker ps --all --no-trunc --format '{{.ID}}|{{.Names}}|{{.Networks}}|{{.Label "freehold.address"}}')
    while IFS='|' read -r id names networks held; do
        case ",$names," in *",${1:-/},"*) aside "$1" ;; esac
        if [ -n "$held" ]; then
            used="$used $held"
            continue
        fi
        # Somebody may have given it an address of the lower half by hand.
        case ",$networks," in *",$NETWORK,"*) others="$others $id" ;; esac
    done <<<"$all"
    if [ -n "$others" ]; then
        # One that has gone meanwhile holds none.
        used="$used $({ docker inspect --format \
            '{{range .NetworkSettings.Networks}}{{with .IPAMConfig}}{{.IPv4Address}} {{end}}{{end}}' $others || true; } |
            tr '\n' ' ')"
    fi
    used=" $used "
    # Empty, or no number, after a power cut: then it begins anew.
    if [ -e "$PROXY/last-address" ]; then read -r last <"$PROXY/last-address" || true; fi
    case $last in '' | *[!0-9]* | ??????*) last=1 ;; *) last=$((10#$last)) ;; esac
    for try in {1..32767}; do
        last=$((last % 32767 + 1)) low=$((last % 256))
        if [ $low = 0 ] || [ $low = 255 ] || [ $last = 1 ]; then continue; fi
        address=172.30.$((last / 256)).$low
        case $used in *" $address "*) continue ;; esac
        echo $last >"$PROXY/last-address.new"
        mv -f "$PROXY/last-address.new" "$PROXY/last-address"
        return
    done
    echo "failed: no free address in the network $NETWORK"
    return 1
}

# container_id NAME: the id of a container; nothing where there is none.
container_id() {
    docker inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

# unless_there NAME... -- COMMAND...: run it where none of the containers is there any more. Docker has to
# answer: its silence would tell nothing.
unless_there() {
    local filters=() left
    while [ "$1" != -- ]; do filters+=(--filter "name=$(exactly "$1")\$") && shift; done
    shift
    left=$(docker ps --all --format '{{.Names}}' "${filters[@]}")
    if [ -z "$left" ]; then "$@"; else echo "kept: $left is still there"; fi
}

# exactly NAME: how an expression of Docker's filters begins that is of this name. Versions have dots in them.
exactly() {
    echo "^/?${1//./[.]}"
}

# step_aside NAME: make room for a new container of this name; one that runs keeps running.
step_aside() {
    [ -z "$(container_id "$1")" ] || aside "$1"
}

# aside NAME: give a container a name that is in nobody's way.
aside() {
    docker rename "$1" "$1_replaced_$(date +%s%N)"
}

# named NAME: the id of the container of this name; nothing where there is none. Fails where Docker does not
# answer: its silence would tell nothing.
named() {
    docker ps --all --no-trunc --format '{{.ID}}' --filter "name=$(exactly "$1")\$"
}

# give_name NAME ID: the container of this id has the name, and whatever else has it steps aside. Without one that
# is there, nothing has it.
give_name() {
    local now found=
    now=$(named "$1")
    if [ "$now" = "$2" ]; then return; fi
    if [ -n "$2" ]; then found=$(docker ps --all --no-trunc --format '{{.ID}}' --filter "id=$2"); fi
    if [ -n "$now" ]; then aside "$1"; fi
    if [ -n "$found" ]; then docker rename "$2" "$1"; fi
}

# strangers NAME ID...: the ids of containers that have the name, or stepped aside from it, and are none of these.
strangers() {
    local name=$1 all id
    shift
    all=$(docker ps --all --no-trunc --format '{{.ID}}' --filter "name=$(exactly "$name")(_replaced_[0-9]+)?\$")
    for id in $all; do
        case " $* " in *" $id "*) ;; *) echo "$id" ;; esac
    done
}

# discard ID: remove a container. That somebody else does so too, or has done it, is no failure.
discard() {
    local tries=0
    until docker rm --force "$1" >/dev/null 2>&1 || [ -z "$(docker ps --all --quiet --filter "id=$1")" ]; do
        tries=$((tries + 1))
        [ $tries -lt 20 ] || { echo "failed: $1 cannot be removed"; return 1; }
        sleep 0.5
    done
    echo "$1"
}

# report NAME CAUSE: why a container is not ready, what state it is in, what it said last; then fail.
report() {
    echo "failed: $2"
    echo "container: $(docker inspect --format \
        '{{.State.Status}}, exit code {{.State.ExitCode}}, restarts {{.RestartCount}}' "$1" 2>&1)"
    docker logs --tail 50 "$1" 2>&1 | sed 's/^/log| /'
    exit 1
}

# last_exit NAME: the exit code of a container's last end, also when it has been started again.
last_exit() {
    docker events --since 1h --until "$(date +%s.%N)" --filter "container=$1" --filter event=die \
        --format '{{index .Actor.Attributes "exitCode"}}' | tail -n 1
}

# check_running NAME: fail early when the container has ended or keeps crashing. Sets status, restarts,
# health and address.
check_running() {
    local code
    IFS='|' read -r status code restarts health address <<<"$(docker inspect --format \
        '{{.State.Status}}|{{.State.ExitCode}}|{{.RestartCount}}|{{with .State.Health}}{{.Status}}{{end}}|'"$AT" "$1")"
    case $status in
        '') report "$1" "the container is gone" ;;
        exited | dead) report "$1" "the container ended with exit code $code" ;;
    esac
    # While it runs again, its state says 0.
    [ "$restarts" -lt 3 ] ||
        report "$1" "the container crashed $restarts times, last exit code $(last_exit "$1")"
}

# must_run NAME: fail where a container that was ready does not run any more. Sets what check_running does.
must_run() {
    check_running "$1"
    [ "$status" = running ] || report "$1" "the container is $status, although it was ready before"
}

# wait_web NAME PORT PATH INTERVAL TIMEOUT DEADLINE ATTEMPTS [SCHEME [HOST...]]: until a probe answers 2xx.
# Redirects are followed. SCHEME is what visitors come by. Under HOST it is this container that is asked:
# by the name service or the proxy it would be the version that serves.
wait_web() {
    local name=$1 attempts=$7 probes=0 tries=0 pause=25 most nap answer url limit address host led where flags=()
    limit=$((SECONDS + $6))
    LC_ALL=C printf -v most %.0f "$4e3"
    check_running "$name"
    [ -n "$address" ] || report "$name" "the container has no address"
    url="http://$address:$2$3"
    [ "${8:-http}" = http ] || flags=(--header "X-Forwarded-Proto: $8")
    for host in "${@:9}"; do flags+=(--connect-to "$host::$address:$2"); done
    while :; do
        read -r answer led where <<<"$(curl --silent --output /dev/null --max-time "$5" \
            --write-out '%{http_code} %{num_redirects} %{url_effective}' --location --max-redirs 10 \
            --proto-redir =http,https --header 'User-Agent: freehold-health' "${flags[@]}" "$url")"
        case $answer in 2??) break ;; esac
        probes=$((probes + 1))
        # ATTEMPTS are so many intervals; the first probes come faster, and are a gift.
        [ "$pause" -lt "$most" ] || tries=$((tries + 1))
        [ "$answer" != 000 ] || answer=nothing
        [ "$led" = 0 ] || answer="$answer, led to $where,"
        echo "waiting: $url answered $answer"
        # A question to Docker takes from the container what it needs to start: not with each quick probe.
        if [ "$pause" -ge 300 ] || [ $tries -gt 0 ] || [ $SECONDS -ge $limit ]; then check_running "$name"; fi
        # One that crashes and starts again is watched until it has ended: its exit code says more.
        if [ $SECONDS -ge $limit ] || { [ $tries -gt 0 ] && [ $tries = "$attempts" ] && [ "$restarts" = 0 ]; }; then
            # One that runs again just now is no less broken.
            [ "$restarts" = 0 ] || report "$name" "the container crashed, last exit code $(last_exit "$name")"
            report "$name" "$url answered $answer after $probes probes"
        fi
        printf -v nap %d.%03d $((pause / 1000)) $((pause % 1000))
        sleep "$nap"
        pause=$((pause * 3 / 2 < most ? pause * 3 / 2 : most))
    done
    echo "ready: $name"
}

# wait_worker NAME DELAY DEADLINE: until Docker's health check is content, or for want of one until
# the container has run for DELAY seconds without starting again.
wait_worker() {
    local name=$1 delay=$2 end limit seen=0 address
    # SECONDS counts whole seconds: one more, so that none is missing.
    end=$((SECONDS + delay + 1)) limit=$((SECONDS + $3 + delay))
    while :; do
        check_running "$name"
        if [ "$restarts" != "$seen" ]; then
            seen=$restarts end=$((SECONDS + delay + 1))
        fi
        case $health in
            healthy) break ;;
            starting | unhealthy)
                [ $SECONDS -lt $limit ] || report "$name" "its health check says $health after $3 s" ;;
            *)
                if [ "$status" = running ] && [ $SECONDS -ge $end ]; then break; fi
                [ $SECONDS -lt $limit ] || report "$name" "the container is $status after $3 s" ;;
        esac
        echo "waiting: $status $health"
        sleep 0.3
    done
    echo "ready: $name"
}

# drain SECONDS ADDRESS...: wait until no connection to these addresses is left, at most so long.
drain() {
    local limit=$((SECONDS + $1)) address filter=
    shift
    for address in "$@"; do filter="$filter${filter:+ or }dst $address"; done
    [ -n "$filter" ] || return 0
    while [ -n "$(ss -Htn state established "( $filter )")" ]; do
        if [ $SECONDS -ge $limit ]; then
            echo "drain: connections are left after the time limit; they will be closed"
            return 0
        fi
        sleep 0.2
    done
    echo "drain: idle"
}

# put_back NAME: a container that stepped aside gets its name again.
put_back() {
    local old
    old=$(docker ps --all --format '{{.Names}}' --filter "name=$(exactly "$1")_replaced_" | sort | tail -n 1)
    [ -z "$old" ] || docker rename "$old" "$1"
}
