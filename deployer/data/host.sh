# Words that the deployer's steps are written with. Needs: bash, docker, curl, flock, ss, awk.
# STATE, PROXY, LOCKS, NETWORK, CADDY, CADDYFILE and ADMIN are set by what includes this.

# state NAME: status, exit code, restarts and health of a container.
state() {
    docker inspect --format \
        '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{with .State.Health}}{{.Status}}{{end}}' "$1"
}

# address_of NAME: where the proxy reaches a container.
address_of() {
    docker inspect --format \
        '{{with index .Config.Labels "freehold.address"}}{{.}}{{else}}{{if eq .HostConfig.NetworkMode "host"}}127.0.0.1{{else}}{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{end}}{{end}}' \
        "$1" | cut -d' ' -f1
}

# free_address: the next address of the network's lower half that no container holds, running or
# not. Taken in turn, so that a freed address rests before it is used again. Holds a lock (fd 8)
# until the step ends, as another service may be doing the same.
free_address() {
    local used last low try
    exec 8>"$LOCKS/addresses.lock"
    flock -w 30 8
    used=" $(docker ps --all --quiet --filter network="$NETWORK" | xargs -r docker inspect --format \
        '{{range .NetworkSettings.Networks}}{{with .IPAMConfig}}{{.IPv4Address}}{{end}}{{end}}' | tr '\n' ' ') "
    last=$(cat "$PROXY/last-address" 2>/dev/null || echo 1)
    for try in {1..32767}; do
        last=$((last % 32767 + 1)) low=$((last % 256))
        if [ $low = 0 ] || [ $low = 255 ] || [ $last = 1 ]; then continue; fi
        address=172.30.$((last / 256)).$low
        case $used in *" $address "*) continue ;; esac
        echo $last >"$PROXY/last-address"
        return
    done
    echo "failed: no free address in the network $NETWORK"
    return 1
}

# container_id NAME: the id of a container; nothing where there is none.
container_id() {
    docker inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

# step_aside NAME: make room for a new container of this name; one that runs keeps running.
step_aside() {
    [ -z "$(container_id "$1")" ] || docker rename "$1" "$1_replaced_$(date +%s%N)"
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
    docker events --since 1h --until "$(date +%s)" --filter "container=$1" --filter event=die \
        --format '{{index .Actor.Attributes "exitCode"}}' | tail -n 1
}

# check_running NAME: fail early when the container has ended or keeps crashing. Sets status, restarts
# and health.
check_running() {
    local code
    read -r status code restarts health <<<"$(state "$1")"
    case $status in
        exited | dead) report "$1" "the container ended with exit code $code" ;;
    esac
    # While it runs again, its state says 0.
    [ "$restarts" -lt 3 ] ||
        report "$1" "the container crashed $restarts times, last exit code $(last_exit "$1")"
}

# wait_web NAME PORT PATH INTERVAL TIMEOUT DEADLINE ATTEMPTS: until a probe answers 2xx.
wait_web() {
    local name=$1 interval=$4 deadline=$6 attempts=$7 probes=0 tries=0 pause=0.05 answer url limit
    limit=$((SECONDS + deadline))
    url="http://$(address_of "$name"):$2$3"
    while :; do
        check_running "$name"
        answer=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time "$5" \
            --header 'User-Agent: freehold-health' "$url") || true
        case $answer in 2??) break ;; esac
        probes=$((probes + 1))
        # ATTEMPTS are so many intervals; the first probes come faster, and are a gift.
        [ "$pause" != "$interval" ] || tries=$((tries + 1))
        [ "$answer" != 000 ] || answer=nothing
        echo "waiting: $url answered $answer"
        # One that crashes and starts again is watched until it has ended: its exit code says more.
        if [ $SECONDS -ge $limit ] || { [ $tries -gt 0 ] && [ $tries = "$attempts" ] && [ "$restarts" = 0 ]; }; then
            # One that runs again just now is no less broken.
            [ "$restarts" = 0 ] || report "$name" "the container crashed, last exit code $(last_exit "$name")"
            report "$name" "$url answered $answer after $probes probes"
        fi
        sleep $pause
        pause=$(awk -v p=$pause -v most="$interval" 'BEGIN { p *= 1.5; print (p > most ? most : p) }')
    done
    echo "ready: $name"
}

# wait_worker NAME DELAY DEADLINE: until Docker's health check is content, or for want of one until
# the container has run for DELAY seconds without starting again.
wait_worker() {
    local name=$1 delay=$2 end limit seen=0
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

# write_target NAME ADDRESS:PORT: replaced by rename; on disk before it counts. Requests that are
# paused go on waiting, and find the new target when they are let go.
write_target() {
    local path=$PROXY/targets/$1
    mkdir -p "$PROXY/targets"
    if [ -e "$PROXY/targets/.$1.paused" ]; then path=$PROXY/targets/.$1.paused; fi
    printf '%s\n' "$2" >"$PROXY/targets/.$1.new"
    sync "$PROXY/targets/.$1.new"
    mv -f "$PROXY/targets/.$1.new" "$path"
    echo "traffic: $1 → $2"
}

# link_current NAME DIRECTORY: what the version that serves brings for the proxy. Replaced by rename.
link_current() {
    mkdir -p "$PROXY/current"
    ln -sfn "$2" "$PROXY/current/.$1.new"
    mv -fT "$PROXY/current/.$1.new" "$PROXY/current/$1"
}

# maintain NAME: the page on standard input answers instead of a role from now on.
maintain() {
    mkdir -p "$PROXY/maintenance"
    cat >"$PROXY/maintenance/.$1.new"
    sync "$PROXY/maintenance/.$1.new"
    mv -f "$PROXY/maintenance/.$1.new" "$PROXY/maintenance/$1.html"
}

# pause NAME: requests wait, as nothing ever answers at the address that they are sent to.
pause() {
    local path=$PROXY/targets/$1
    if [ ! -e "$path" ] || [ -e "$PROXY/targets/.$1.paused" ]; then return 0; fi
    cp "$path" "$PROXY/targets/.$1.new"
    mv -f "$PROXY/targets/.$1.new" "$PROXY/targets/.$1.paused"
    echo 127.0.0.1:1 >"$PROXY/targets/.$1.new"
    mv -f "$PROXY/targets/.$1.new" "$path"
}

# resume NAME: they go to the target again.
resume() {
    [ ! -e "$PROXY/targets/.$1.paused" ] || mv -f "$PROXY/targets/.$1.paused" "$PROXY/targets/$1"
}

# split_to CONTAINER TARGET PORT VERSION COUNT: so many of 256 parts of the visitors get this container.
split_to() {
    local address name=$2 place part
    address=$(address_of "$1")
    if [ -z "$address" ] || [ "$(docker inspect --format '{{.State.Running}}' "$1")" != true ]; then
        echo "failed: $1 does not run"
        return 1
    fi
    mkdir -p "$PROXY/canary"
    place=$(mktemp -d "$PROXY/canary/.$name.XXXXXX")
    chmod 2775 "$place"
    echo "$4" >"$place/version"
    echo "$5" >"$place/count"
    echo "$address:$3" >"$place/target"
    for ((part = 0; part < $5; part++)); do : >"$place/$(printf %02x $part)"; done
    # A visitor whose cookie says so, whatever the share.
    : >"$place/canary"
    ln -sfn "$place" "$PROXY/canary/.$name.new"
    mv -fT "$PROXY/canary/.$name.new" "$PROXY/canary/$name"
    find "$PROXY/canary" -maxdepth 1 -type d -name ".$name.??????" ! -path "$place" -exec rm -rf {} +
    echo "canary: $5 of 256 to $address:$3"
}

# unsplit NAME: nobody gets it any more.
unsplit() {
    if [ ! -e "$PROXY/canary/$1" ]; then return 0; fi
    rm -f "$PROXY/canary/$1"
    find "$PROXY/canary" -maxdepth 1 -type d -name ".$1.??????" -exec rm -rf {} +
}

# same_files OPTIONS... FROM TO: the same files in another place, as links where the file system lets.
same_files() {
    cp -rlT "$@" 2>/dev/null || cp -rT "$@"
}

# bridge_assets IMAGE PATH DIRECTORY ROLE VERSION: the assets of an image, joined with those of the
# versions that are kept; and theirs with the new. A directory that exists may be mounted: files in it
# are replaced one by one.
bridge_assets() {
    local image=$1 path=${2%/} all=$3 role=$4 version=$5 own joined holder said other
    own=$all/$version/$role.own joined=$all/$version/$role
    umask 022
    mkdir -p "$joined"
    rm -rf "$own.new"
    mkdir "$own.new"
    # The command is never run; an image without one of its own asks for it.
    holder=$(docker create --pull never "$image" true)
    if ! said=$(docker cp --follow-link "$holder:$path/." "$own.new" 2>&1); then
        docker rm "$holder" >/dev/null
        echo "failed: the assets at $path could not be copied out of $image: $said"
        return 1
    fi
    docker rm "$holder" >/dev/null
    chmod -R u+rwX,go+rX "$own.new"
    rm -rf "$own"
    mv "$own.new" "$own"
    same_files --remove-destination "$own" "$joined"
    for other in $(ls -1t "$all"); do
        if [ "$other" = "$version" ] || [ ! -d "$all/$other/$role.own" ]; then continue; fi
        # Some versions of cp end with 1 where a file is there already.
        same_files --no-clobber "$all/$other/$role.own" "$joined" || true
        same_files --no-clobber "$own" "$all/$other/$role" || true
    done
    echo "assets: $(find "$own" -type f | wc -l) files"
}

# switch_to CONTAINER TARGET PORT: the role's requests go to this container from now on.
switch_to() {
    local address
    address=$(address_of "$1")
    if [ -z "$address" ]; then
        echo "failed: $1 has no address"
        return 1
    fi
    write_target "$2" "$address:$3"
}

# serves TARGET NAME: whether the proxy sends its requests to this container now.
serves() {
    local address
    address=$(address_of "$2" 2>/dev/null) || return 1
    [ -n "$address" ] && [ "$(cut -d: -f1 "$PROXY/targets/$1" 2>/dev/null)" = "$address" ]
}

# spare TARGET NAME: fail before a container is taken away that the proxy still uses, for whatever
# reason. Containers in the host's own network share one address, which tells nothing.
spare() {
    if serves "$1" "$2" && [ "$(address_of "$2")" != 127.0.0.1 ]; then
        echo "failed: $2 still has the traffic, so it stays"
        exit 1
    fi
}

# activate DIRECTORY FILE...: make the proxy's sites and routes those in DIRECTORY; FILE... are the
# names under which this service's routes stand. Caddy checks the whole before it takes it; when it
# refuses, the files are as they were and the step fails.
activate() {
    local want=$1 path name host keep changed=
    shift
    exec 8>"$LOCKS/proxy.lock"
    flock -w 60 8
    cd "$PROXY"
    mkdir -p sites routes targets
    keep=$(mktemp -d)
    mkdir "$keep/old"
    : >"$keep/new"
    trap 'rm -rf "$keep"' EXIT
    # Left behind by a run that was cut off between changing files and loading them.
    if [ -e unloaded ]; then changed=1; fi
    save() {
        changed=1
        : >unloaded
        if [ -e "$1" ]; then
            mkdir -p "$keep/old/$(dirname "$1")"
            cp -p "$1" "$keep/old/$1"
        else
            echo "$1" >>"$keep/new"
        fi
    }
    # gives_way FILE...: this service has but a path of a name, and another one, not of FILE..., all of it.
    gives_way() {
        local one
        if [ "$(head -n 1 "$want/$path")" != "# of a path" ] || [ ! -e "$path" ]; then return 1; fi
        [ "$(head -n 1 "$path")" != "# of a path" ] || return 1
        for one in "routes/$(basename "$path" .caddy)"/*.caddy; do
            case " $* " in *" $(basename "$one") "*) ;; *) return 0 ;; esac
        done
        return 1
    }
    for name in "$@"; do
        for path in routes/*/"$name"; do
            if [ -e "$path" ] && [ ! -e "$want/$path" ]; then
                save "$path"
                rm -f "$path"
            fi
        done
    done
    if [ -d "$want" ]; then
        while read -r path; do
            if cmp -s "$want/$path" "$path"; then continue; fi
            case $path in
                sites/*) if gives_way "$@"; then continue; fi ;;
            esac
            save "$path"
            mkdir -p "$(dirname "$path")"
            cp "$want/$path" "$path.new"
            mv -f "$path.new" "$path"
        done < <(cd "$want" && find . -name '*.caddy' | sed 's,^\./,,')
    fi
    for path in sites/*.caddy; do
        [ -e "$path" ] || continue
        host=$(basename "$path" .caddy)
        if [ -z "$(find "routes/$host" -name '*.caddy' 2>/dev/null)" ]; then
            save "$path"
            rm -f "$path"
        fi
    done
    if [ -z "$changed" ]; then
        echo "routes unchanged"
        return
    fi
    # Caddy loads the whole beside the old one and goes on with the old one when it fails.
    if "$CADDY" reload --config "$CADDYFILE" --address "$ADMIN" >"$keep/log" 2>&1; then
        rm -f unloaded
        echo "routes changed"
        return
    fi
    while read -r path; do
        mkdir -p "$(dirname "$path")"
        cp "$keep/old/$path" "$path.new"
        mv -f "$path.new" "$path"
    done < <(cd "$keep/old" && find . -type f | sed 's,^\./,,')
    xargs -r rm -f <"$keep/new"
    grep -v '"level":"\(info\|warn\)"' "$keep/log" | tail -n 20 | sed 's/^/caddy| /'
    echo "failed: the proxy refuses the new routes; the old ones stay"
    return 1
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
    old=$(docker ps --all --format '{{.Names}}' --filter "name=^/?$1_replaced_" | sort | tail -n 1)
    [ -z "$old" ] || docker rename "$old" "$1"
}

# keep_files DIRECTORY COPY: before the same version is deployed once more. What an earlier run kept
# and nobody put back is the older and stays.
keep_files() {
    if [ ! -d "$1" ] || [ -d "$2" ]; then return; fi
    mkdir -p "$(dirname "$2")"
    rm -rf "$2.new"
    cp -a "$1" "$2.new"
    mv "$2.new" "$2"
}

# put_files_back DIRECTORY COPY: as `keep_files` found it.
put_files_back() {
    if [ ! -d "$2" ]; then return; fi
    rm -rf "$1"
    mv "$2" "$1"
}

# as_owner IMAGE PATH COMMAND...: change something at PATH that may belong to somebody else: as this
# user, with sudo, or for want of both in a container of IMAGE, where PATH is /freehold.
as_owner() {
    local image=$1 path=$2
    shift 2
    if "$@" "$path" 2>/dev/null || sudo -n -- "$@" "$path" 2>/dev/null; then return; fi
    if docker run --rm --pull never --user 0:0 --network none --volume "$path:/freehold" \
        --entrypoint "$1" "$image" "${@:2}" /freehold; then return; fi
    echo "failed: $(id -un) may not $1 $path"
    return 1
}

# remove_tree PATH IMAGE: remove a directory with all that containers have written into it.
remove_tree() {
    [ -e "$1" ] || return 0
    if rm -rf "$1" 2>/dev/null || sudo -n rm -rf "$1" 2>/dev/null; then return; fi
    docker run --rm --pull never --user 0:0 --network none --volume "$1:/freehold" \
        --entrypoint sh "$2" -c 'rm -rf /freehold/* /freehold/.[!.]*'
    rm -rf "$1"
}
