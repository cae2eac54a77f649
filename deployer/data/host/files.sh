# Files of versions and accessories, also those that containers have written.

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
