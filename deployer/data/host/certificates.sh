# Certificates that the proxy gets by itself: whether it shows one, and what stands in the way.

# proxy_secure: where the proxy takes HTTPS, for a program of this host.
proxy_secure() {
    local word address=127.0.0.1 port=443
    for word in $(sed -n '1s/^# listens: //p' "$CADDYFILE" 2>/dev/null); do
        case $word in
            https=*) port=${word#*=} ;;
            bind=*) address=${word#*=} address=${address%%,*} ;;
            publish=no) address=172.30.0.1 ;;
        esac
    done
    case $address in *:*) address="[${address//[][]/}]" ;; esac
    echo "$address:$port"
}

# shows_certificate NAME: the certificate for a name, PEM; fails where the proxy has none.
shows_certificate() {
    timeout 5 openssl s_client -connect "$(proxy_secure)" -servername "$1" </dev/null 2>/dev/null |
        openssl x509 2>/dev/null
}

# refusal NAME: the last line of the proxy's log that says why it could not get a certificate for a name.
refusal() {
    grep -hF "\"identifier\":\"$1\"" "$PROXY_LOG" 2>/dev/null | grep '"level":"error"' | tail -n 1
}

# last_refusal NAME: the cause alone.
last_refusal() {
    refusal "$1" | sed -nE 's/.*"error":"(([^"\\]|\\.)*)".*/\1/p' | sed 's/\\n/ /g; s/\\\(.\)/\1/g'
}

# refused_lately NAME [SINCE]: the proxy has been refused in the last minute, and tries again in the next;
# what happened until SINCE, seconds of the epoch, does not count.
refused_lately() {
    local then
    then=$(refusal "$1" | sed -nE 's/.*"ts":([0-9]+).*/\1/p')
    [ -n "$then" ] && [ $(($(date +%s) - then)) -lt 60 ] && [ "$then" -gt "${2:-0}" ]
}

# shared_name NAME...: other hosts answer for one of the names too, and pass challenges on.
shared_name() {
    local name
    for name in "$@"; do
        if grep -qs Freehold-Challenge "$PROXY/sites/$name.caddy"; then return 0; fi
    done
    return 1
}

# ask_anew: the proxy begins again to get what it has not got; by itself it would after a minute or more.
ask_anew() (
    exec 8>"$LOCKS/proxy.lock"
    flock -w 10 8 && "$CADDY" reload --force --config "$CADDYFILE" --address "$ADMIN" >/dev/null 2>&1
)

# await_certificates SECONDS NAME...: give the proxy so long to get certificates for all names; then tell
# which are missing. That is no failure: it goes on trying, and HTTP is served.
#
# Hosts that share a name begin at about the same time. Where the authority asks one that does not know the
# name yet, the first attempt of another is lost; by now all of them know it.
await_certificates() {
    local limit=$((SECONDS + $1)) patience=$((SECONDS + $1 / 2)) again=1 since=0 missing waiting name why
    shift
    command -v openssl >/dev/null || return 0
    while :; do
        missing= waiting=
        for name in "$@"; do
            if shows_certificate "$name" >/dev/null; then continue; fi
            missing="$missing $name"
            refused_lately "$name" "$since" || waiting=1
        done
        if [ -z "$missing" ]; then break; fi
        if [ -z "$waiting" ] || [ $SECONDS -ge $patience ]; then
            if [ -n "$again" ] && shared_name $missing; then
                again=
                ask_anew || true
                sleep 1
                since=$(date +%s)
                continue
            fi
        fi
        if [ -z "$waiting" ] || [ $SECONDS -ge $limit ]; then break; fi
        sleep 0.3
    done
    for name in $missing; do
        why=$(last_refusal "$name") || true
        echo "no certificate: $name${why:+: $why}"
    done
}
