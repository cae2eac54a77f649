# The proxy's sites and routes: changed when the configuration does, and loaded as a whole.

# activate DIRECTORY FILE...: make the proxy's sites and routes those in DIRECTORY; FILE... are the
# names under which the routes of this service's roles stand, and DIRECTORY may hold others. Caddy checks the whole before it takes it; when it
# refuses, the files are as they were and the step fails.
activate() {
    local want=$1 path name host keep= changed= found
    shift
    exec 8>"$LOCKS/proxy.lock"
    flock -w 60 8 || { echo "failed: another deploy of this host has held the proxy's routes for 60 s"; return 1; }
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
    # leads_here FILE...: one of these routes is of this site's name.
    leads_here() {
        local one
        host=${path##*/}
        for one in "$@"; do
            [ ! -e "$want/routes/${host%.caddy}/$one" ] || return 0
        done
        return 1
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
                sites/*) if ! leads_here "$@" || gives_way "$@"; then continue; fi ;;
                *) case " $* " in *" ${path##*/} "*) ;; *) continue ;; esac ;;
            esac
            save "$path"
            mkdir -p "$(dirname "$path")"
            cp "$want/$path" "$path.new"
            # After a power cut it is there as a whole, or not at all.
            sync "$path.new"
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
        # After a start with what was broken: perhaps it is mended by now. If not, it is no matter of this deploy.
        if [ -e "$REFUSED" ] && ! "$CADDY" reload --force --config "$CADDYFILE" --address "$ADMIN" >/dev/null 2>&1; then
            echo "warning: the proxy refuses the configuration on the disk: $(cat "$REFUSED" 2>/dev/null)"
        fi
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

# https_of SITE: how a site has its name served, in words; nothing where it leaves that to whoever has the name.
https_of() {
    [ -e "$1" ] || return 0
    awk '
        NR == 1 && $0 == "# of a path" { none = 1 }
        BEGIN { how = "an automatic certificate" }
        /^https:/ { https = 1 }
        /^http:/ { plain = 1 }
        /^\ttls [^{]/ { how = "a certificate of its own" }
        /^\t\ton_demand$/ { how = "certificates on demand" }
        /^\t+redir https:/ { redirects = 1 }
        END {
            if (none) exit
            if (!https) print "HTTP alone"
            else print "HTTPS with " how (plain && !redirects ? ", beside HTTP" : "")
        }' "$1"
}

# unclaimed WANT FILE...: fail where another service of this host answers already for a name and path that
# routes in WANT are of: Caddy would ask whichever file comes first. And where it has HTTPS for the name in another
# way: there is one site, and whichever is deployed last would say. FILE... are the names of this service's.
# What a version of this service ever brought is its own too; it may be a role's that is left out now.
unclaimed() {
    local want=$1 found other name host shown line path mine theirs
    shift
    for name in "$@"; do
        for found in "$want"/routes/*/"$name"; do
            host=${found%/*} host=${host##*/} shown=$host
            if [ ! -e "$found" ] || [ "$host" = _ask ] || [ "$host" = _balance ]; then continue; fi
            case $host in
                _default) shown="every name" ;;
                _wildcard*) shown="*${host#_wildcard}" ;;
            esac
            mine=$(https_of "$want/sites/$host.caddy")
            for other in "$PROXY/routes/$host"/*.caddy; do
                case " $* " in *" ${other##*/} "*) continue ;; esac
                if [ ! -e "$other" ] || compgen -G "${want%/*/*}/*/proxy/routes/*/${other##*/}" >/dev/null; then
                    continue
                fi
                line=$({ grep '^handle' "$other" || true; } | { grep -Fxf - "$found" || true; } | head -n 1)
                other=${other##*/} other=${other%.caddy}
                if [ -n "$line" ]; then
                    path=${line#handle} path=${path% \{} path=${path# } path=${path%/\*}
                    echo "failed: $other serves $shown$path on this host already"
                    return 1
                fi
                # As it is deployed: the site of the name may be by whoever came last. Two certificates of one's own
                # are one way: each service is deployed by itself with a renewed one. Accessories have no link.
                theirs=$PROXY/current/$other
                [ -e "$theirs" ] || theirs=$STATE/apps/$other/versions/accessory
                theirs=$(https_of "$theirs/proxy/sites/$host.caddy")
                if [ -n "$mine" ] && [ -n "$theirs" ] && [ "$mine" != "$theirs" ]; then
                    echo "failed: proxy.ssl: $other serves $shown on this host by $theirs, this one would by $mine"
                    return 1
                fi
            done
        done
    done
}
