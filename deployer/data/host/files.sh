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
    # Another member of the group joins its own with these.
    chgrp -R --reference="$all" "$own.new"
    chmod -R ug+rwX,o+rX "$own.new"
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

# own DIRECTORY IMAGE: files in it that another user has made, and closed to this one, become this one's.
# Docker reads them, by a container that never runs: the image may lack every program.
own() {
    local closed file holder bad=
    closed=$(find "$1" -type f ! -readable -printf '%P\n' 2>/dev/null) || return 0
    [ -n "$closed" ] || return 0
    holder=$(docker create --pull never --volume "$1:/freehold:ro" "$2" true) || return 1
    while read -r file; do
        if (umask 077; docker cp "$holder:/freehold/$file" - | tar -xOf - >"$1/$file.new"); then
            mv -f "$1/$file.new" "$1/$file"
        else
            rm -f "$1/$file.new"
            bad=1
        fi
    done <<<"$closed"
    docker rm "$holder" >/dev/null
    [ -z "$bad" ] || { echo "failed: files in $1 belong to another user"; return 1; }
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

# durable PATH...: files and names below these are on the disk. Not the whole file system, as syncfs would have it:
# just then it may hold all the layers of an image. What somebody else keeps to themselves is left out.
durable() {
    find "$@" '(' -type f -o -type d ')' -exec sync {} + 2>/dev/null || true
}

# soon_durable PATH: all of its file system is on its way there (assets, layers of images). Nobody waits for that,
# nor for the lock of the script (9) that it would hold.
soon_durable() {
    sync -f "$1" </dev/null >/dev/null 2>&1 9>&- &
}
