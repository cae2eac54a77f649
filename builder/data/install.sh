# The installer: the only program of a machine that has no system yet. Runs under bash in the initramfs.
#
# $HERE/tools      programs, in front of the initramfs' own
# $MEDIUM          image.zst + image.map, table.zst + table.map, settings, rule, seed/
# A map has a line for each piece of the disk: offset, length (bytes), SHA-256. The stream holds the pieces in
# that order. The partition table is a stream of its own and comes last: until then the disk does not boot.

set -uo pipefail
export LC_ALL=C
. "${BASH_SOURCE%/*}/choose.sh"
. "${BASH_SOURCE%/*}/mirror.sh"

say() {
    local console
    for console in ${CONSOLES:-}; do
        printf '%s\r\n' "$*" > "/dev/$console"
    done
}

# size BYTES: for people.
size() {
    if (( $1 >= 1000000000 )); then
        printf '%d.%d GB' $(( $1 / 1000000000 )) $(( $1 / 100000000 % 10 ))
    else
        printf '%d MB' $(( $1 / 1000000 ))
    fi
}

# advance VERB LENGTH: say so at each tenth of TOTAL.
advance() {
    DONE=$(( DONE + $2 ))
    local tenth=$(( DONE * 10 / TOTAL ))
    if (( tenth > TENTH )); then
        TENTH=$tenth
        say "  $1 $(( tenth * 10 )) % of $(size "$TOTAL")"
    fi
}

# begin MAP: count what is to be done.
begin() {
    local offset length digest
    DONE=0 TENTH=0 TOTAL=0
    while read -r offset length digest; do
        TOTAL=$(( TOTAL + length ))
    done < "$1"
}

# put DISK MAP < stream: write the pieces to where they belong.
put() {
    local offset length digest
    while read -r offset length digest <&3; do
        dd of="$1" bs=1M count="$length" seek="$offset" iflag=fullblock,count_bytes oflag=seek_bytes \
            conv=notrunc,nocreat status=none || return 1
        advance written "$length"
    done 3< "$2"
    sync
}

# check DISK MAP: read the pieces back from the disk itself and compare.
check() {
    local offset length digest found
    blockdev --flushbufs "$1"
    { echo 3 > /proc/sys/vm/drop_caches; } 2> /dev/null
    while read -r offset length digest <&3; do
        found=$(dd if="$1" bs=1M count="$length" skip="$offset" iflag=fullblock,count_bytes,skip_bytes \
            status=none | sha256sum) || return 1
        if [[ ${found%% *} != "$digest" ]]; then
            echo "what was read back from byte $offset on is not what was written"
            return 1
        fi
        advance verified "$length"
    done 3< "$2"
}

# erase DISK: no old table, file system or RAID may be found on it later.
erase() {
    local part
    release "$1" || return 1
    for part in "/sys/block/${1##*/}/${1##*/}"*; do
        [[ -e $part/partition ]] && wipefs --quiet --all --force "/dev/${part##*/}"
    done
    wipefs --quiet --all --force "$1" && blockdev --rereadpt "$1"
}

# seed DISK OPTIONS: put the host's seed where cloud-init looks first. OPTIONS say how the root is mounted.
seed() {
    local folder file
    modprobe loop || return 1
    mkdir -p /host
    mount -t ext4 -o "$2" "$1" /host || return 1
    folder=/host/var/lib/cloud/seed/nocloud
    mkdir -p "$folder" || return 1
    for file in "$MEDIUM"/seed/*; do
        cat "$file" > "$folder/${file##*/}" && chmod 600 "$folder/${file##*/}" || return 1
    done
    sync
    for file in "$MEDIUM"/seed/*; do
        [[ $(sha256sum < "$file") == "$(sha256sum < "$folder/${file##*/}")" ]] || return 1
    done
    umount /host
}

# one DISK: what is left for a machine with one disk. There is no table yet, so the root is found by its place.
one() {
    local reason
    reason=$(seed "$1" "loop,offset=$ROOT_START,sizelimit=$ROOT_SIZE" 2>&1) ||
        stop "the seed could not be put on $1: $reason"
    begin "$MEDIUM/table.map"
    TENTH=10
    zstd -dcq "$MEDIUM/table.zst" | put "$1" "$MEDIUM/table.map" || stop "$1 could not be written"
    check "$1" "$MEDIUM/table.map" > /run/reason || stop "$1: $(< /run/reason)"
}

# two DISK DISK: the same for a mirror: the array, the seed on it, both tables.
two() {
    local bytes reason
    bytes=$(half "$ROOT_START" "$@") || stop "the disks' sizes cannot be read"
    assemble "$bytes" "$@" > /run/reason 2>&1 || stop "no array could be made of $*: $(< /run/reason)"
    reason=$(seed /dev/md0 rw 2>&1) || stop "the seed could not be put on the array: $reason"
    part > /run/reason 2>&1 || stop "the array could not be stopped: $(< /run/reason)"
    table "$1" "$MEDIUM/table-1" "$bytes" > /run/reason 2>&1 || stop "$1 could not be written: $(< /run/reason)"
    table "$2" "$MEDIUM/table-2" "$bytes" > /run/reason 2>&1 || stop "$2 could not be written: $(< /run/reason)"
}

# find_medium ID: the file system that holds this installer; also which disk that is.
find_medium() {
    local entry name tries
    if [[ -e /freehold/medium/$1 ]]; then
        MEDIUM=/freehold/medium MEDIUM_DISK=''
        return 0
    fi
    mkdir -p /medium
    # A USB disk may take its time.
    for (( tries = 0; tries < 60; tries++ )); do
        udevadm settle --timeout=10
        for entry in /sys/class/block/*; do
            name=${entry##*/}
            case $name in
                loop* | ram*) continue ;;
            esac
            mount -t iso9660 -o ro "/dev/$name" /medium 2> /dev/null || continue
            if [[ -e /medium/freehold/$1 ]]; then
                MEDIUM=/medium/freehold
                MEDIUM_DISK=$name
                [[ -e $entry/partition ]] && MEDIUM_DISK=$(readlink -f "$entry/..") && MEDIUM_DISK=${MEDIUM_DISK##*/}
                return 0
            fi
            umount /medium
        done
        sleep 1
    done
    return 1
}

# stop REASON...: say what went wrong, show the disks, and stay: somebody has to see it.
stop() {
    local path name bytes serial model empty ids sector
    say ''
    say "NOT INSTALLED: $*"
    say ''
    say 'Disks of this machine:'
    while IFS='|' read -r path name bytes serial model empty ids sector; do
        say "  $name  $(size "$bytes")  serial=${serial:--}  model=${model:--}  $( ((empty)) && echo empty || echo 'not empty')"
        say "      by-id=${ids:--}"
    done < <(facts)
    say ''
    say "The rule was: ${RULE_TEXT:-}"
    say "$STATE"
    say 'Switch the machine off, or press Ctrl-Alt-Del to start again.'
    while :; do
        sleep 3600
    done
}

main() {
    local id=$1 names name disks reason
    local -a chosen=()
    read -r CONSOLES < /sys/class/tty/console/active
    STATE='Nothing was written to any disk.'
    say ''
    say 'Freehold installer'
    find_medium "$id" || stop 'the medium that this installer came from is not to be found'
    . "$MEDIUM/settings"
    say "installing $HOST_NAME: $IMAGE_NAME"
    say "disk: $RULE_TEXT"
    udevadm settle --timeout=60
    disks=$(settled)
    names=$(choose "$MEDIUM/rule" "$LEAST" "$DISKS" < <(printf '%s' "${disks:+$disks$'\n'}")) || stop "$names"
    say "chosen: $names"
    STATE="What was written to $names is incomplete and does not boot. No other disk was touched."
    SECONDS=0
    WRITTEN=0
    for name in $names; do
        reason=$(erase "/dev/$name" 2>&1) || stop "$name cannot be cleared: $reason"
    done
    for name in $names; do
        chosen+=("/dev/$name")
        (( DISKS == 1 )) || say "$name:"
        begin "$MEDIUM/image.map"
        WRITTEN=$(( WRITTEN + TOTAL ))
        zstd -dcq "$MEDIUM/image.zst" | put "/dev/$name" "$MEDIUM/image.map" || stop "$name could not be written"
        begin "$MEDIUM/image.map"
        check "/dev/$name" "$MEDIUM/image.map" > /run/reason || stop "$name: $(< /run/reason)"
    done
    if (( DISKS == 2 )); then
        two "${chosen[@]}"
    else
        one "${chosen[@]}"
    fi
    say ''
    say "INSTALLED: $HOST_NAME on ${names/ / and }, $(size "$WRITTEN") written and verified in $SECONDS s"
    umount /medium 2> /dev/null
    sync
    case $AFTER in
        poweroff)
            say 'Switching off.'
            sleep 2
            poweroff -f
            ;;
        stay) say 'Take the medium out and press Ctrl-Alt-Del.' ;;
        *)
            say 'Starting the host in 5 seconds.'
            sleep 5
            reboot -f
            ;;
    esac
    while :; do
        sleep 3600
    done
}

[[ ${1:-} == --main ]] && main "$2"
:
