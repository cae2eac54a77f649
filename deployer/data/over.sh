# What the proxy's first process (`cloudinit/data/proxy.sh`) reads when another Caddy is to take over: its shell, its
# variables. `caddy` is the one that serves, `ONLY_OTHER` says to do nothing where that has the program on the disk,
# `LOG` is the file that both write. How it went is in `said`.

# api SOCKET PATH WORDS...: ask a Caddy.
api() { curl -sf -m 20 --unix-socket "$1" "http://localhost/$2" "${@:3}"; }

# load SOCKET: give a Caddy the configuration on standard input.
load() { api "$1" load -H 'Content-Type: application/json' -d @-; }

# turned PID: whether a Caddy has turned its log. It does not append any more then: what another one writes into the
# same file, it writes over.
turned() {
    local file
    for file in "/proc/$1/fd"/*; do
        if [ "$file" -ef "$LOG" ]; then
            return $(((0$(sed -n 's/^flags:\t*//p' "/proc/$1/fdinfo/${file##*/}") & 02000) != 0))
        fi
    done
    return 1
}

# take_over: the one that serves lets go of the sockets first: connections wait there meanwhile, and no two read the
# packets of QUIC. A configuration without routes closes no request that is under way, and no WebSocket; it is none
# to be kept.
take_over() {
    local old=$caddy side=$RUN/former-$caddy.sock served=$RUN/admin.sock former count=0 aside=
    if [ -n "$ONLY_OTHER" ] && [ "$(readlink "/proc/$old/exe")" = "$CADDY" ]; then
        return 0
    fi
    choose
    if ! former=$(api "$served" config/) ||
        ! load "$served" <<<"{\"admin\":{\"listen\":\"unix/$side|0600\",\"config\":{\"persist\":false}}}"; then
        echo "the proxy that runs does not let go of its sockets" >"$RUN/said.new"
        return 1
    fi
    while api "$served" config/admin >/dev/null && [ $((count += 1)) -lt 500 ]; do sleep 0.02; done
    count=0
    # The former one goes on with its own file, under a name that Caddy counts among those to be kept.
    if turned "$old"; then
        aside=${LOG%.log}-$(date -u +%Y-%m-%dT%H-%M-%S.%3N)-over.log
        mv "$LOG" "$aside"
    fi
    "$CADDY" run --config "$config" &
    caddy=$!
    until api "$served" config/admin >/dev/null; do
        sleep 0.05
        if kill -0 "$caddy" 2>/dev/null && [ $((count += 1)) -lt 600 ]; then continue; fi
        kill -KILL "$caddy" 2>/dev/null
        caddy=$old
        [ -z "$aside" ] || mv -f "$aside" "$LOG"
        load "$side" <<<"$former"
        echo "the new process does not start, and the former serves on" >"$RUN/said.new"
        return 1
    done
    disown "$old"
    see_off "$old" "$side" &
}

# see_off PID SOCKET: end a Caddy when nothing is open there any more, or after a day.
see_off() {
    trap - TERM USR1
    SECONDS=0
    # Where many are open a look at all of them costs.
    while sleep $((SECONDS < 60 ? 1 : 10)) && [ $SECONDS -lt 86400 ]; do
        [ -n "$(ss -Htnp state established | grep -F "pid=$1,")" ] || break
    done
    kill -KILL "$1" || true
    rm -f "$2"
}

rm -f "$RUN/over"
echo ok >"$RUN/said.new"
# One that is being stopped needs no successor.
[ -n "$leaving" ] || take_over || true
mv -f "$RUN/said.new" "$RUN/said"
