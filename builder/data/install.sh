# The installer: the only program of a machine that has no system yet. Runs under bash in the initramfs.
#
# $HERE/tools      programs, in front of the initramfs' own
# $MEDIUM          image.zst + image.map, table.zst + table.map, settings, rule, seed/
# A map has a line for each piece of the disk: offset, length (bytes), SHA-256. The stream holds the pieces in
# that order. The partition table is a stream of its own and comes last: until then the disk does not boot.

set -uo pipefail
export LC_ALL=C

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

# facts: a line for each disk that could be written, in the order of the buses:
# path|name|bytes|serial|model|empty (1 or 0)|by-id names, separated by commas
facts() {
    local entry name bytes serial short model empty path ids key value link part
    for entry in /sys/block/*; do
        name=${entry##*/}
        case $name in
            loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | mtd*) continue ;;
        esac
        [[ $name == "${MEDIUM_DISK:-}" ]] && continue
        [[ $(< "$entry/ro") == 0 ]] || continue
        bytes=$(( $(< "$entry/size") * 512 ))
        (( bytes > 0 )) || continue
        serial='' short='' model='' path='' ids=''
        while IFS='=' read -r key value; do
            case $key in
                ID_SERIAL) serial=$value ;;
                ID_SERIAL_SHORT) short=$value ;;
                ID_MODEL) model=$value ;;
                ID_PATH) path=$value ;;
                DEVLINKS)
                    for link in $value; do
                        [[ $link == /dev/disk/by-id/* ]] && ids+=${ids:+,}${link#/dev/disk/by-id/}
                    done
                    ;;
            esac
        done < <(udevadm info --query=property --name="/dev/$name")
        empty=1
        [[ -n $(wipefs --no-act --noheadings "/dev/$name" 2>&1) ]] && empty=0
        for part in "$entry/$name"*; do
            [[ -e $part/partition ]] && empty=0
        done
        printf '%s|%s|%s|%s|%s|%s|%s\n' "$path" "$name" "$bytes" "${short:-$serial}" "$model" "$empty" "$ids"
    done | sort
}

# settled: the facts, once they stay the same for a while. Controllers look for their disks at their own pace, and
# a choice made before the last one is there could be the wrong one.
settled() {
    local tries before='' now=''
    for (( tries = 0; tries < 20; tries++ )); do
        now=$(facts)
        [[ -n $now && $now == "$before" ]] && break
        before=$now
        sleep "${PAUSE:-3}"
    done
    printf '%s' "$now"
}

# choose RULE LEAST < facts: the name of the one disk that the rule means, or (status 1) why there is none.
# RULE is a file of conditions, `key value`; all must hold. LEAST is what the image needs, in bytes.
choose() {
    local -a keys=() values=() found=() full=()
    local key value path name bytes serial model empty ids index fits first=0 wipe=0
    while read -r key value; do
        case $key in
            first-empty) first=1 ;;
            # Who names a disk by its number knows what is on it.
            wipe | by-id | serial) wipe=1 ;;
        esac
        keys+=("$key") values+=("$value")
    done < "$1"
    while IFS='|' read -r path name bytes serial model empty ids; do
        fits=1
        for index in "${!keys[@]}"; do
            value=${values[index]}
            case ${keys[index]} in
                by-id) [[ ,$ids, == *",$value,"* ]] ;;
                serial) [[ $serial == "$value" ]] ;;
                model) [[ $model == $value ]] ;;
                'size>=') (( bytes >= value )) ;;
                'size<=') (( bytes <= value )) ;;
                empty | first-empty) (( empty )) ;;
                only | wipe) : ;;
                *) false ;;
            esac || fits=0
        done
        (( fits )) || continue
        found+=("$name")
        (( empty )) || full+=("$name")
        if (( bytes < $2 )); then
            echo "$name has $(size "$bytes"), and the image needs $(size "$2")"
            return 1
        fi
        (( first )) && break
    done
    if (( ${#found[@]} == 0 )); then
        echo 'no disk matches the rule'
        return 1
    elif (( ${#found[@]} > 1 )); then
        echo "${#found[@]} disks match the rule: ${found[*]}"
        return 1
    elif (( ${#full[@]} && ! wipe )); then
        echo "$found is not empty; name it by its by-id or serial, or allow it with --wipe"
        return 1
    fi
    echo "$found"
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
    for part in "/sys/block/${1##*/}/${1##*/}"*; do
        [[ -e $part/partition ]] && wipefs --quiet --all --force "/dev/${part##*/}"
    done
    wipefs --quiet --all --force "$1" && blockdev --rereadpt "$1"
}

# seed DISK: put the host's seed where cloud-init looks first. There is no table yet, so the root is found by
# its place.
seed() {
    local folder file
    modprobe loop || return 1
    mkdir -p /host
    mount -t ext4 -o "loop,offset=$ROOT_START,sizelimit=$ROOT_SIZE" "$1" /host || return 1
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
    local path name bytes serial model empty ids
    say ''
    say "NOT INSTALLED: $*"
    say ''
    say 'Disks of this machine:'
    while IFS='|' read -r path name bytes serial model empty ids; do
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
    local id=$1 name disk disks reason
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
    name=$(choose "$MEDIUM/rule" "$IMAGE_SIZE" < <(printf '%s' "${disks:+$disks$'\n'}")) || stop "$name"
    disk=/dev/$name
    say "chosen: $name"
    STATE="The disk $name is incomplete and does not boot. No other disk was touched."
    SECONDS=0
    reason=$(erase "$disk" 2>&1) || stop "$name cannot be cleared: $reason"
    begin "$MEDIUM/image.map"
    zstd -dcq "$MEDIUM/image.zst" | put "$disk" "$MEDIUM/image.map" || stop "$name could not be written"
    begin "$MEDIUM/image.map"
    WRITTEN=$TOTAL
    reason=''
    check "$disk" "$MEDIUM/image.map" > /run/reason || stop "$name: $(< /run/reason)"
    reason=$(seed "$disk" 2>&1) || stop "the seed could not be put on $name: $reason"
    begin "$MEDIUM/table.map"
    TENTH=10
    zstd -dcq "$MEDIUM/table.zst" | put "$disk" "$MEDIUM/table.map" || stop "$name could not be written"
    check "$disk" "$MEDIUM/table.map" > /run/reason || stop "$name: $(< /run/reason)"
    say ''
    say "INSTALLED: $HOST_NAME on $name, $(size "$WRITTEN") written and verified in $SECONDS s"
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
