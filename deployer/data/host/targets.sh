# Whom the proxy sends requests to: targets, pause, maintenance, parts of the visitors.

# write_target NAME ADDRESS:PORT: replaced by rename; on disk before it counts. Requests that are
# paused go on waiting, and find the new target when they are let go.
write_target() {
    local path=$PROXY/targets/$1
    [ -d "$PROXY/targets" ] || mkdir -p "$PROXY/targets"
    if [ -e "$PROXY/targets/.$1.paused" ]; then path=$PROXY/targets/.$1.paused; fi
    printf '%s\n' "$2" >"$PROXY/targets/.$1.new"
    sync "$PROXY/targets/.$1.new"
    mv -f "$PROXY/targets/.$1.new" "$path"
    echo "traffic: $1 → $2"
}

# link_current NAME DIRECTORY: what the version that serves brings for the proxy. Replaced by rename.
link_current() {
    [ -d "$PROXY/current" ] || mkdir -p "$PROXY/current"
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

# allow_visitors NAME: the rules on standard input say who gets what is tried, whatever their part; empty: nobody.
# They are part of the route, so Caddy reads them with a reload, where they changed. They mean nothing while nothing
# is tried, and stay until others come.
allow_visitors() {
    local place=$PROXY/allowed/$1 old=
    exec 8>"$LOCKS/proxy.lock"
    flock -w 120 8 || { echo "failed: another deploy of this host has held the proxy's routes for 120 s"; return 1; }
    mkdir -p "$place"
    cat >"$place/rules.new"
    if [ -s "$place/rules.new" ] && ! grep -qsF "import $place/" "$PROXY"/routes/*/"$1.caddy"; then
        rm -f "$place/rules.new"
        echo "failed: the route of $1 was made by an earlier Freehold and knows no rules: deploy once, then try again"
        return 1
    fi
    [ -e "$place/rules.caddy" ] || : >"$place/rules.caddy"
    if [ ! -e "$PROXY/unloaded" ] && cmp -s "$place/rules.new" "$place/rules.caddy"; then
        rm -f "$place/rules.new"
        return
    fi
    old=$(cat "$place/rules.caddy")
    : >"$PROXY/unloaded"
    sync "$place/rules.new"
    mv -f "$place/rules.new" "$place/rules.caddy"
    if "$CADDY" reload --config "$CADDYFILE" --address "$ADMIN" >"$place/log" 2>&1; then
        rm -f "$PROXY/unloaded" "$place/log"
        return
    fi
    printf '%s\n' "$old" >"$place/rules.new"
    mv -f "$place/rules.new" "$place/rules.caddy"
    tail -n 5 "$place/log" | sed 's/^/caddy| /'
    echo "failed: the proxy refuses its configuration with these rules; the old ones stay"
    return 1
}

# unsplit NAME: nobody gets it any more.
unsplit() {
    if [ ! -e "$PROXY/canary/$1" ]; then return 0; fi
    rm -f "$PROXY/canary/$1"
    find "$PROXY/canary" -maxdepth 1 -type d -name ".$1.??????" -exec rm -rf {} +
}

# switch_to CONTAINER TARGET PORT [DIRECTORY]: the role's requests go to this container from now on, and DIRECTORY
# is what its version brings. Nothing changes where it does not run any more.
switch_to() {
    local status restarts health address
    must_run "$1"
    if [ -z "$address" ]; then
        echo "failed: $1 has no address"
        return 1
    fi
    [ -z "${4-}" ] || link_current "$2" "$4"
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
