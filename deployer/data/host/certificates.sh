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

# refused_lately NAME: the proxy has been refused in the last minute, and tries again in the next.
refused_lately() {
    local then
    then=$(refusal "$1" | sed -nE 's/.*"ts":([0-9]+).*/\1/p')
    [ -n "$then" ] && [ $(($(date +%s) - then)) -lt 60 ]
}

# await_certificates SECONDS NAME...: give the proxy so long to get certificates for all names; then tell
# which are missing. That is no failure: it goes on trying, and HTTP is served.
await_certificates() {
    local limit=$((SECONDS + $1)) missing waiting name why
    shift
    command -v openssl >/dev/null || return 0
    while :; do
        missing= waiting=
        for name in "$@"; do
            if shows_certificate "$name" >/dev/null; then continue; fi
            missing="$missing $name"
            refused_lately "$name" || waiting=1
        done
        if [ -z "$waiting" ] || [ $SECONDS -ge $limit ]; then break; fi
        sleep 0.3
    done
    for name in $missing; do
        why=$(last_refusal "$name") || true
        echo "no certificate: $name${why:+: $why}"
    done
}
