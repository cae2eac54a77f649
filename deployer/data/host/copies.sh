# What a version had before it is deployed once more: COPY is its directory as it was, with `.containers` in it,
# `NAME ID` of what had the names under which others are started. For as long as the copy is there, that is what
# served. It gets another name in one step, so a run may be cut off anywhere.

# keep_files DIRECTORY COPY IMAGE HISTORY: before the same version is deployed once more. What an earlier run kept
# and nobody put back is the older and stays. A version that served and is gone had nothing, and is kept as that.
keep_files() {
    if [ -d "$2" ]; then return; fi
    if [ ! -d "$1" ]; then
        awk -v version="${2##*/}" '$2 == version { found = 1 } END { exit !found }' "$4" 2>/dev/null || return 0
        mkdir -p "$1"
    fi
    own "$1" "$3"
    mkdir -p "${2%/*}"
    rm -rf "${2%/*}/.new"
    cp -a "$1" "${2%/*}/.new"
    rm -f "${2%/*}/.new/.containers"
    mv "${2%/*}/.new" "$2"
}

# keep_names COPY NAME...: whose these names are, before others are started under them. Those that an earlier run
# took, which was cut off, are given back first.
keep_names() {
    local copy=$1 name kept new=
    shift
    if [ ! -d "$copy" ]; then return; fi
    for name in "$@"; do
        kept=$(awk -v name="$name" '$1 == name { print "=" $2 }' "$copy/.containers" 2>/dev/null || true)
        if [ -n "$kept" ]; then
            give_name "$name" "${kept#=}"
        else
            kept=$(named "$name")
            echo "$name $kept" >>"$copy/.containers"
            new=1
        fi
    done
    # After a power cut the names in Docker would tell nothing by themselves.
    if [ -n "$new" ]; then durable "${copy%/*}"; fi
}

# role_back DIRECTORY COPY NAME FILE...: a role of the version is not deployed this time. If a run took its name that
# was cut off, name and files are what served, as its copy will not be there much longer.
role_back() {
    local directory=$1 copy=$2 name=$3 kept file
    shift 3
    kept=$(awk -v name="$name" '$1 == name { print "=" $2 }' "$copy/.containers" 2>/dev/null || true)
    if [ -z "$kept" ]; then return; fi
    give_name "$name" "${kept#=}"
    mkdir -p "$directory"
    for file in "$@"; do
        rm -f "$directory/$file"
        if [ -e "$copy/$file" ]; then cp -a "$copy/$file" "$directory/$file"; fi
    done
}

# files_in_use COPY: the version whose files COPY was before is committed. From now on only its own way back wants
# the copy.
files_in_use() {
    if [ ! -d "$1" ]; then return; fi
    rm -rf "${1%/*}/.${1##*/}"
    mv "$1" "${1%/*}/.${1##*/}"
}

# files_out_of_use COPY: that way back begins; the version counts as never committed.
files_out_of_use() {
    local committed=${1%/*}/.${1##*/}
    if [ -d "$committed" ] && [ ! -d "$1" ]; then mv "$committed" "$1"; fi
}

# no_copies COPIES VERSIONS VERSION...: a deploy begins; what earlier ones left that were cut off is settled. A
# version that was prepared again and never committed has its files and names back, unless it is one of VERSION...,
# whose oldest copy stays. For those that were committed there is no way back any more.
no_copies() {
    local copies=$1 versions=$2 copy
    shift 2
    if [ ! -d "$copies" ]; then return; fi
    rm -rf "$copies"/.[!.]*
    for copy in "$copies"/*; do
        case " $* " in *" ${copy##*/} "*) continue ;; esac
        put_files_back "$versions/${copy##*/}" "$copy"
    done
}

# put_only_files_back DIRECTORY COPY: as `keep_files` found it, where nothing has been started since. What an earlier
# run started is still to be settled, or is on trial: its copy stays.
put_only_files_back() {
    if [ ! -d "$2" ]; then return; fi
    if [ ! -e "$2/.containers" ]; then put_files_back "$@"; return; fi
    rm -rf "$1"
    cp -a "$2" "$1"
    rm -f "$1/.containers"
    rmdir "$1" 2>/dev/null || true
}

# put_files_back DIRECTORY COPY: as `keep_files` and `keep_names` found it. A trial of the version ends: what was
# tried has no name any more.
put_files_back() {
    local version=${2##*/} name id role
    if [ ! -d "$2" ]; then return; fi
    if [ -e "$2/.containers" ]; then
        while read -r name id; do
            role=${name%"-$version"}
            if [ "$(cat "$PROXY/canary/$role/version" 2>/dev/null)" = "$version" ]; then unsplit "$role"; fi
            give_name "$name" "$id"
        done <"$2/.containers"
    fi
    # The copy goes last: for as long as it is there, all of this is done again.
    rm -rf "$1"
    mv "$2" "$1"
    rm -f "$1/.containers"
    rmdir "$1" 2>/dev/null || true
}
