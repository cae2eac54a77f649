# Hosts in front of others: from which addresses they come, as files of that name.

# admit DIRECTORY ADDRESS...: a version that was made behind others takes these for hosts in front, too.
admit() {
    local place=$1 address
    shift
    if [ ! -d "$place" ]; then return 0; fi
    for address in "$@"; do : >"$place/$address"; done
}

# admit_only DIRECTORY NOW ADDRESS...: it takes these for them and no others. Where they were not asked there is
# none, and it is those of NOW.
admit_only() {
    local place=$1 now=$2 path
    shift 2
    mkdir -p "$place"
    if [ $# = 0 ]; then
        for path in "$now"/*; do
            [ ! -e "$path" ] || : >"$place/${path##*/}"
        done
        return
    fi
    admit "$place" "$@"
    for path in "$place"/*; do
        case " $* " in *" ${path##*/} "*) ;; *) rm -f "$path" ;; esac
    done
}
