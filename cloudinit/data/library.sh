# The words that the steps of a recipe are written with. Every word looks first and acts only on a
# difference, so that a second run changes nothing.
#
# Set by the caller: FREEHOLD_OFFLINE=1 inside a root tree (no systemd runs there), else 0;
# FREEHOLD_STATE, where the recipe remembers what it did; FREEHOLD_WORK, a scratch directory. By run_step:
# FREEHOLD_PENDING, the file of what the step has still to do; it outlives a step that fails.

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

# begin : a difference is about to be made. What a step began on a live host and did not end, because it gave up
# or the connection broke, counts as changed in the next run, and what it was notified of is done then.
begin() {
    offline && return 0
    mkdir -p -m 700 "$FREEHOLD_STATE/pending"
    : >>"$FREEHOLD_PENDING"
}

# taken_back : the step has put back what stood there before it; only what an earlier run left is pending.
taken_back() {
    offline && return 0
    rm -f -- "$FREEHOLD_PENDING"
    if [ -e "$FREEHOLD_WORK/pending" ]; then cp -- "$FREEHOLD_WORK/pending" "$FREEHOLD_PENDING"; fi
}

# notify ACTION UNIT : on a live host, do it once at the end of this step. Said before the difference is made.
notify() {
    offline && return 0
    begin
    grep -qxF "$1 $2" "$FREEHOLD_PENDING" || say "$1 $2" >>"$FREEHOLD_PENDING"
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

# approved FILE PATH : on a live host, ask the command in CHECK about what is to take the name PATH.
approved() {
    local said
    offline && return 0
    said=$($CHECK "$1" 2>&1) && return 0
    rm -f -- "$1"
    give_up "${CHECK%% *} refuses what $2 would hold: $said"
}

# file PATH MODE OWNER GROUP [ACTION UNIT]... : the content comes on standard input.
# What stood there before Freehold came is kept beside it, once.
file() {
    local path=$1 mode=$2 owner=$3 group=$4 new
    shift 4
    mkdir -p -- "${path%/*}/"
    new=$(mktemp -- "${path%/*}/.freehold.XXXXXX")
    cat >"$new"
    chown "$owner:$group" -- "$new"
    chmod "$mode" -- "$new"
    [ -z "${CHECK:-}" ] || approved "$new" "$path"
    if [ -f "$path" ] && [ ! -L "$path" ] && cmp -s -- "$new" "$path"; then
        rm -f -- "$new"
        owned "$path" "$mode" "$owner" "$group" && return 0
        chown "$owner:$group" -- "$path"
        chmod "$mode" -- "$path"
        changed "mode of $path"
        return 0
    fi
    keep "$path"
    begin
    while [ $# -ge 2 ]; do
        notify "$1" "$2"
        shift 2
    done
    mv -f -- "$new" "$path"
    changed "wrote $path"
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
    if [ $# -ge 3 ]; then notify "$2" "$3"; fi
    rm -f -- "$1"
    changed "removed $1"
}

# remember NAME : what the profile gives, one a line on standard input, so that it can be taken back.
remember() {
    local text
    text=$(cat)
    [ "$(recall "$1")" != "$text" ] || return 0
    mkdir -p -m 700 "$FREEHOLD_STATE"
    say "$text" >"$FREEHOLD_STATE/$1.new"
    mv -f -- "$FREEHOLD_STATE/$1.new" "$FREEHOLD_STATE/$1"
}

# recall NAME : what was remembered last; nothing the first time.
recall() { if [ -e "$FREEHOLD_STATE/$1" ]; then cat -- "$FREEHOLD_STATE/$1"; fi; }

# restore PATH : take back a file that the profile gave: what stood there before comes back.
restore() {
    if [ -e "$FREEHOLD_STATE/before$1" ]; then
        mkdir -p -- "${1%/*}/"
        cp -a -- "$FREEHOLD_STATE/before$1" "$1.freehold"
        mv -fT -- "$1.freehold" "$1"
        changed "put the former $1 back"
    else
        absent "$1"
    fi
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
        notify daemon-reload systemd
        systemctl --quiet enable -- "$unit"
        changed "enabled $unit"
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
        say "$unit" >>"$FREEHOLD_WORK/started"
        changed "started $unit"
    done
}

# installed PACKAGE : is it there and configured?
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' -- "$1" 2>/dev/null)" = installed ]; }

# broken_off : did a program end inside dpkg?
broken_off() { [ -n "$(ls -A /var/lib/dpkg/updates)$(dpkg --audit)" ]; }

# mend_packages : end what a run that was broken off has left half done, which apt refuses to go on from. What
# lacks another package stays so until apt brings that.
mend_packages() {
    local said
    for _ in $(seq 60); do
        said=$(dpkg --force-confdef --force-confold --configure -a 2>&1) && return 0
        # Half done it is, too, while another program is at it.
        case $said in *"locked by another process"*) sleep 5 ;; *) break ;; esac
    done
    say "$said"
}

# apt_install WORDS... : apt's own patience, DPkg::Lock::Timeout, is for dpkg's locks. It gives up at once where another
# program has the archives' lock, as unattended-upgrades has while it fetches, or comes between it and the dpkg it runs.
apt_install() {
    local try said=$FREEHOLD_WORK/apt
    for try in $(seq 60); do
        if apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
            -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@" 2>"$said"; then
            cat -- "$said" >&2
            return 0
        fi
        grep -qE 'Unable to lock directory|locked by another process' "$said" || break
        [ "$try" != 1 ] || say "another program has apt's archives or dpkg; waiting for it"
        sleep 5
    done
    cat -- "$said" >&2
    return 1
}

# install_packages PACKAGE... : those that are missing.
install_packages() {
    local package missing=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    offline && give_up "packages missing from the tree: ${missing[*]}"
    say "installing ${missing[*]}"
    if broken_off; then
        mend_packages
        update_lists
        # In a broken state apt takes no further wish.
        apt_install --fix-broken
    else
        update_lists
    fi
    apt_install "${missing[@]}"
    changed "installed ${missing[*]}"
}

# perform_notified : what the files of this step asked for, in order, units reloaded first.
perform_notified() {
    local action unit said
    [ -s "$FREEHOLD_PENDING" ] || return 0
    systemctl daemon-reload
    while read -r action unit; do
        case $action in
        daemon-reload) ;;
        tmpfiles) systemd-tmpfiles --create ;;
        sysctl) systemctl restart systemd-sysctl.service ;;
        *)
            # A unit that does not run now reads its file when it starts, as one did that this step started.
            if grep -qxF -- "$unit" "$FREEHOLD_WORK/started" 2>/dev/null; then continue; fi
            if systemctl --quiet is-active -- "$unit"; then
                systemctl "$action" -- "$unit" && continue
                said=$(journalctl -n 5 -o cat -u "$unit" 2>/dev/null) || true
                # A step may know how to go back to what ran before.
                if declare -F give_back >/dev/null; then give_back; fi
                give_up "systemctl $action $unit failed: $said"
            fi
            ;;
        esac
    done <"$FREEHOLD_PENDING"
}

# alone : hold the host's recipe from now on, or wait for the run that does. Programs that a step starts and that
# outlive it do not inherit the lock.
alone() {
    mkdir -p -m 700 "$FREEHOLD_STATE"
    exec 9>"$FREEHOLD_STATE/lock"
    if flock -n 9; then return 0; fi
    say "@@freehold another-run start"
    say "another run of the recipe is at work on this host; waiting for its end"
    flock 9
    say "@@freehold another-run ok 0.000"
}

# run_step NAME : run the function step_NAME in a shell of its own and report.
run_step() {
    local name=$1 status began=$EPOCHREALTIME
    FREEHOLD_PENDING=$FREEHOLD_STATE/pending/$name
    rm -f "$FREEHOLD_WORK/changed" "$FREEHOLD_WORK/pending" "$FREEHOLD_WORK/started"
    say "@@freehold $name start"
    (
        set -euo pipefail
        if live && [ -e "$FREEHOLD_PENDING" ]; then
            cp -- "$FREEHOLD_PENDING" "$FREEHOLD_WORK/pending"
            changed "what an earlier run began and did not end"
        fi
        "step_$name"
        if live; then
            perform_notified
            rm -f -- "$FREEHOLD_PENDING"
        fi
    ) </dev/null 9>&-
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
