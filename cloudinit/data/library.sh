# The words that the steps of a recipe are written with. Every word looks first and acts only on a
# difference, so that a second run changes nothing.
#
# Set by the caller: FREEHOLD_OFFLINE=1 inside a root tree (no systemd runs there), else 0;
# FREEHOLD_STATE, where the recipe remembers what it did; FREEHOLD_WORK, a scratch directory.

export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022

offline() { [ "$FREEHOLD_OFFLINE" = 1 ]; }
live() { ! offline; }

say() { printf '%s\n' "$*"; }

# give_up MESSAGE... : end the step, with a sentence for a person.
give_up() { say "error: $*"; exit 1; }

# changed WHAT... : note that this step made a difference.
changed() { : >"$FREEHOLD_WORK/changed"; say "changed: $*"; }

# notify ACTION UNIT : on a live host, do it once at the end of this step.
notify() {
    offline && return 0
    grep -qxF "$1 $2" "$FREEHOLD_WORK/notified" 2>/dev/null || say "$1 $2" >>"$FREEHOLD_WORK/notified"
}

owned() { [ "$(stat -c '%a %U %G' -- "$1")" = "$2 $3 $4" ]; }

# directory PATH MODE OWNER GROUP
directory() {
    if [ ! -d "$1" ]; then
        mkdir -p -- "$1"
        changed "made $1"
    fi
    if ! owned "$1" "$2" "$3" "$4"; then
        chown "$3:$4" -- "$1"
        chmod "$2" -- "$1"
        changed "mode of $1"
    fi
}

# file PATH MODE OWNER GROUP [ACTION UNIT]... : the content comes on standard input.
# What stood there before Freehold came is kept beside it, once.
file() {
    local path=$1 mode=$2 owner=$3 group=$4 new
    shift 4
    mkdir -p -- "${path%/*}"
    new=$(mktemp -- "${path%/*}/.freehold.XXXXXX")
    cat >"$new"
    chown "$owner:$group" -- "$new"
    chmod "$mode" -- "$new"
    if [ -f "$path" ] && [ ! -L "$path" ] && cmp -s -- "$new" "$path"; then
        rm -f -- "$new"
        owned "$path" "$mode" "$owner" "$group" && return 0
        chown "$owner:$group" -- "$path"
        chmod "$mode" -- "$path"
        changed "mode of $path"
        return 0
    fi
    keep "$path"
    mv -f -- "$new" "$path"
    changed "wrote $path"
    while [ $# -ge 2 ]; do
        notify "$1" "$2"
        shift 2
    done
}

# keep PATH : the first time, keep what stood at a path that Freehold is about to write.
keep() {
    local record=$FREEHOLD_STATE/written
    mkdir -p -m 700 "${record%/*}"
    grep -qxF -- "$1" "$record" 2>/dev/null && return 0
    if [ -e "$1" ] && live; then
        mkdir -p "$FREEHOLD_STATE/before${1%/*}"
        cp -a -- "$1" "$FREEHOLD_STATE/before$1"
        say "kept the former $1 in $FREEHOLD_STATE/before"
    fi
    say "$1" >>"$record"
}

# absent PATH [ACTION UNIT] : remove a file that Freehold wrote under another profile.
absent() {
    [ -e "$1" ] || return 0
    rm -f -- "$1"
    changed "removed $1"
    [ $# -ge 3 ] && notify "$2" "$3"
    return 0
}

# symlink PATH TARGET
symlink() {
    [ "$(readlink -- "$1" 2>/dev/null)" = "$2" ] && return 0
    ln -sfn -- "$2" "$1"
    changed "linked $1"
}

# enable UNIT... : at every boot from now on.
enable() {
    local unit
    for unit in "$@"; do
        [ "$(systemctl is-enabled -- "$unit" 2>/dev/null)" = enabled ] && continue
        systemctl --quiet enable -- "$unit"
        changed "enabled $unit"
        notify daemon-reload systemd
    done
}

# disable UNIT... : not at boot; a unit that does not exist is fine.
disable() {
    local unit
    for unit in "$@"; do
        case $(systemctl is-enabled -- "$unit" 2>/dev/null) in
        enabled | enabled-runtime)
            systemctl --quiet disable -- "$unit"
            changed "disabled $unit"
            ;;
        esac
        if live && systemctl --quiet is-active -- "$unit"; then
            systemctl stop -- "$unit"
            changed "stopped $unit"
        fi
    done
}

# start UNIT... : now, on a live host, where it does not run.
start() {
    local unit
    offline && return 0
    for unit in "$@"; do
        systemctl --quiet is-active -- "$unit" && continue
        systemctl daemon-reload
        systemctl start -- "$unit" || give_up "$unit did not start: $(journalctl -n 5 -o cat -u "$unit" 2>/dev/null)"
        changed "started $unit"
    done
}

# installed PACKAGE : is it there and configured?
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' -- "$1" 2>/dev/null)" = installed ]; }

# install_packages PACKAGE... : those that are missing.
install_packages() {
    local package missing=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    offline && give_up "packages missing from the tree: ${missing[*]}"
    say "installing ${missing[*]}"
    apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update
    apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "${missing[@]}"
    changed "installed ${missing[*]}"
}

# perform_notified : what the files of this step asked for, in order, units reloaded first.
perform_notified() {
    local action unit
    [ -s "$FREEHOLD_WORK/notified" ] || return 0
    systemctl daemon-reload
    while read -r action unit; do
        case $action in
        daemon-reload) ;;
        tmpfiles) systemd-tmpfiles --create ;;
        sysctl) systemctl restart systemd-sysctl.service ;;
        *)
            # A unit that does not run now reads its file when it starts.
            if systemctl --quiet is-active -- "$unit"; then
                systemctl "$action" -- "$unit" || give_up "systemctl $action $unit failed: $(journalctl -n 5 -o cat -u "$unit" 2>/dev/null)"
            fi
            ;;
        esac
    done <"$FREEHOLD_WORK/notified"
}

# run_step NAME : run the function step_NAME in a shell of its own and report.
run_step() {
    local name=$1 status began=$EPOCHREALTIME
    rm -f "$FREEHOLD_WORK/changed" "$FREEHOLD_WORK/notified"
    say "@@freehold $name start"
    (
        set -euo pipefail
        "step_$name"
        perform_notified
    ) </dev/null
    status=$?
    if [ $status -ne 0 ]; then
        say "@@freehold $name failed $(elapsed "$began")"
        exit $status
    fi
    if [ -e "$FREEHOLD_WORK/changed" ]; then
        say "@@freehold $name changed $(elapsed "$began")"
    else
        say "@@freehold $name ok $(elapsed "$began")"
    fi
}

elapsed() {
    local now=$EPOCHREALTIME
    local micros=$((${now/./} - ${1/./}))
    printf '%d.%03d' $((micros / 1000000)) $((micros % 1000000 / 1000))
}
