#!/bin/bash
# Starts Caddy with what is on the disk, or with the last configuration that it accepted; keeps that. See
# docs/decisions/018-last-good-configuration.md. How another Caddy takes over: 025-another-caddy-takes-over.md.
# The recipe puts the places in front of this.
set -euo pipefail
# Whoever calls may be where the proxy's user may not look, as Caddy does.
cd /

saved=$DATA/caddy/autosave.json # Caddy's own, after each configuration that it has taken; not written atomically
good=$DATA/good                 # a link to a directory: config.json, what it reads, and what it was made of
tries=$DATA/tries               # a line for each start that came to nothing, since the last that did not

# accepted FILE OPTION...: what Caddy says of it. Its log is another: the one that serves, once it has turned its own,
# writes over what others append.
accepted() { sed "s,$LOG,$RUN/log," "$1" | "$CADDY" validate --config - "${@:2}" 2>&1; }

# keep: what Caddy runs with now is good. All that it reads when it starts is copied, since certificates may go
# before they are missed. On the disk before it counts.
keep() {
    local new path copy
    exec 8>"$DATA/good.lock"
    flock 8
    # With the kept one there is nothing new to be kept.
    if [ ! -s "$saved" ] || head -c 200 "$saved" | grep -qF "\"@id\":\"$ID\""; then return 0; fi
    rm -f "$tries"
    if cmp -s "$saved" "$good/saved.json"; then
        rm -f "$REFUSED"
        return 0
    fi
    new=$(mktemp -d "$DATA/good.XXXXXX")
    mkdir "$new/files"
    cp "$saved" "$new/saved.json"
    sed "1s/^{/{\"@id\":\"$ID\",/" "$new/saved.json" >"$new/config.json"
    for path in $(grep -oE "\"($CERTS/|$ACME_ROOT)[A-Za-z0-9._-]*\"" "$new/saved.json" | tr -d '"' | sort -u); do
        copy=$new/files/${path##*/}
        cp "$path" "$copy"
        sed -i "s,\"$path\",\"$copy\",g" "$new/config.json"
    done
    # Half of it may have been read while Caddy wrote; whole, it is announced again.
    if ! accepted "$new/config.json" >"$new/log"; then
        rm -rf "$new"
        return 0
    fi
    find "$new" -exec sync {} +
    ln -sfn "$new" "$good-new"
    mv -fT "$good-new" "$good"
    sync "$DATA"
    # The former one, and what a power cut left half done.
    for path in "$DATA"/good.??????; do [ "$path" = "$new" ] || rm -rf "$path"; done
    rm -f "$REFUSED"
}

# choose: `config` is what is on the disk, or what was accepted last where that is refused.
choose() {
    local said
    config=$CADDYFILE
    # What validates may still not start, for want of a port of its own, say.
    if [ ! -e "$good/config.json" ] || { said=$(accepted "$CADDYFILE" --adapter caddyfile) &&
        said="it does not start; the journal says why" && ! [ "$(wc -l <"$tries")" -gt 3 ]; }; then
        return 0
    fi
    rm -f "$tries"
    # Caddy says why in the last line, in JSON. The number is the priority that the journal gives a line.
    tail -n 1 <<<"$said" >"$REFUSED"
    echo "<2>refused; the last accepted one serves: $(cat "$REFUSED")" >&2
    config=$good/config.json
}

# run: stay Caddy's parent, with the sockets that all inherit. On SIGUSR1 do what is in `over`: another Caddy is to
# take over. Where Caddy ends so does the service.
run() {
    local code config leaving=
    # On a full disk nothing is counted.
    echo >>"$tries" || true
    choose
    trap : USR1
    "$CADDY" run --config "$config" &
    caddy=$!
    trap 'leaving=1; kill "$caddy"' TERM
    until
        wait "$caddy" && code=0 || code=$?
        ! kill -0 "$caddy" 2>/dev/null
    do
        if [ -e "$RUN/over" ]; then . "$RUN/over"; fi
    done
    [ -n "$leaving" ] || exit "$code"
}

"$@"
