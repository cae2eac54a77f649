# The proxy's sites and routes: changed when the configuration does, and loaded as a whole.

# activate DIRECTORY FILE...: make the proxy's sites and routes those in DIRECTORY; FILE... are the
# names under which this service's routes stand. Caddy checks the whole before it takes it; when it
# refuses, the files are as they were and the step fails.
activate() {
    local want=$1 path name host keep= changed= found
    shift
    exec 8>"$LOCKS/proxy.lock"
    flock -w 60 8
    cd "$PROXY"
    [ -d sites ] && [ -d routes ] && [ -d targets ] || mkdir -p sites routes targets
    begin() {
        if [ -n "$changed" ]; then return; fi
        changed=1
        keep=$(mktemp -d)
        trap 'rm -rf "$keep"' EXIT
        mkdir "$keep/old"
        : >"$keep/new"
    }
    # Left behind by a run that was cut off between changing files and loading them.
    if [ -e unloaded ]; then begin; fi
    save() {
        begin
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
        host=${path##*/}
        for one in "routes/${host%.caddy}"/*.caddy; do
            case " $* " in *" ${one##*/} "*) ;; *) return 0 ;; esac
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
        for found in "$want"/sites/*.caddy "$want"/routes/*/*.caddy; do
            [ -e "$found" ] || continue
            path=${found#"$want/"}
            if cmp -s "$want/$path" "$path"; then continue; fi
            case $path in
                sites/*) if gives_way "$@"; then continue; fi ;;
            esac
            save "$path"
            mkdir -p "$(dirname "$path")"
            cp "$want/$path" "$path.new"
            mv -f "$path.new" "$path"
        done
    fi
    for path in sites/*.caddy; do
        [ -e "$path" ] || continue
        host=${path##*/}
        if ! compgen -G "routes/${host%.caddy}/*.caddy" >/dev/null; then
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
