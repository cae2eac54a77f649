# Containers that go on serving what is open after a switch: each has a file in FOLDER that is called by its id,
# `DEADLINE GRACE RESTART ADDRESS`. Its watcher (`watch`, a process of its own) ends the container once nothing is open
# any more, at the latest at the deadline. Docker does not start it again meanwhile: after a reboot nothing is open.

# goes_on FOLDER SECONDS GRACE ID ADDRESS NAME: let a container go on for so long at most; one that does already keeps
# its own limit. Fails where nothing is open, or nothing can be noted: the container is to be stopped now.
goes_on() {
    local mark=$1/$4 deadline=0 restart
    if [ -e "$mark.ending" ]; then return 0; fi
    [ -n "$(ss -Htn state established "( dst $5 )")" ] || return 1
    if [ -e "$mark" ]; then
        read -r deadline _ <"$mark" || true
    elif [ "$2" -gt 0 ]; then
        deadline=$(($(date +%s) + $2))
        restart=$(docker inspect --format '{{with .HostConfig.RestartPolicy}}{{or .Name "no"}}{{if .MaximumRetryCount}}:{{.MaximumRetryCount}}{{end}}{{end}}' "$4") || return 1
        note_open "$mark" "$deadline $3 $restart $5" || return 1
    fi
    [ "$(date +%s)" -lt "${deadline:-0}" ] || return 1
    watch_open "$1" "$4"
    echo "goes on: $6 $deadline"
}

# note_open MARK LINE: the file of a container, which has no policy of restarts from now on.
note_open() {
    mkdir -p "${1%/*}" && echo "$2" >"$1.new" && sync "$1.new" && mv -f "$1.new" "$1" || return 1
    docker update --restart no "${1##*/}" >/dev/null || true
}

# opens_again FOLDER ID LINE: it was going on, and a rollback to it came to nothing.
opens_again() {
    if [ -e "$1/$2" ] || [ "$(docker inspect --format '{{.State.Running}}' "$2" 2>/dev/null)" != true ]; then return 0; fi
    note_open "$1/$2" "$3" && watch_open "$1" "$2"
}

# watch_open FOLDER ID: a watcher that nobody has to stay connected for; a second one for a container ends at once.
# Where neither root nor sudo gives it a unit it is a process of this user's, which logind leaves alone by default.
watch_open() {
    local unit=freehold-open-${2:0:12}-${EPOCHREALTIME/[.,]/} sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if $sudo systemd-run --quiet --collect --unit="$unit" --uid="$(id -un)" \
        bash "$1/watch" "$2" >/dev/null 2>&1; then return; fi
    setsid bash "$1/watch" "$2" </dev/null >/dev/null 2>&1 8>&- 9>&- &
}

# lingers FOLDER ID...: one of them goes on.
lingers() {
    local folder=$1 id
    shift
    for id in "$@"; do
        if [ -e "$folder/$id" ] || [ -e "$folder/$id.ending" ]; then return 0; fi
    done
    return 1
}

# serve_again FOLDER NAME...: these are to serve: no limit of before ends them, and Docker restarts them as it did. One
# that is being ended is waited for; its watcher has a lock on the file.
serve_again() {
    local folder=$1 name id mark grace restart
    shift
    [ -d "$folder" ] || return 0
    for name in "$@"; do
        id=$(container_id "$name")
        for mark in "$folder/$id" "$folder/$id.ending"; do
            if [ -z "$id" ] || ! read -r _ grace restart _ 2>/dev/null <"$mark"; then continue; fi
            if [ "$mark" != "$folder/$id" ]; then flock -w $((grace + 30)) "$mark" true || true; fi
            docker update --restart "$restart" "$id" >/dev/null
            rm -f "$mark"
        done
    done
}

# forget_open FOLDER: of containers that are gone nothing is known any more.
forget_open() {
    local mark id
    for mark in "$1"/*; do
        id=${mark##*/} id=${id%%.*}
        if [ "$id" = watch ] || [ ! -e "$mark" ]; then continue; fi
        [ -n "$(docker ps --all --quiet --no-trunc --filter "id=$id")" ] || rm -f "$mark"
    done
}
