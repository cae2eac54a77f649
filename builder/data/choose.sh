# Which disks the installer writes to: functions of text lines, beside install.sh.

# facts: a line for each disk that could be written, in the order of the buses:
# path|name|bytes|serial|model|empty (1 or 0)|by-id names, separated by commas|bytes of a sector
facts() {
    local entry name bytes serial short model empty path ids sector key value link part
    for entry in "${BLOCK:-/sys/block}"/*; do
        name=${entry##*/}
        case $name in
            loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | mtd*) continue ;;
        esac
        [[ $name == "${MEDIUM_DISK:-}" ]] && continue
        # The paths of an NVMe disk that may have several (nvme0c0n1) stand beside the disk itself (nvme0n1).
        [[ -e $entry/hidden && $(< "$entry/hidden") == 1 ]] && continue
        [[ -e ${DEVICES:-/dev}/$name ]] || continue
        [[ $(< "$entry/ro") == 0 ]] || continue
        bytes=$(( $(< "$entry/size") * 512 ))
        (( bytes > 0 )) || continue
        sector=$(< "$entry/queue/logical_block_size")
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
        printf '%s|%s|%s|%s|%s|%s|%s|%s\n' \
            "$path" "$name" "$bytes" "${short:-$serial}" "$model" "$empty" "$ids" "$sector"
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

# choose RULE LEAST COUNT < facts: the names of the COUNT disks (one, or two of one size) that the rule means, or
# (status 1) why there are none. RULE is a file of conditions, `key value`; all must hold. LEAST is what the image
# needs, in bytes.
choose() {
    local -a keys=() values=() found=() full=() sizes=()
    local key value path name bytes serial model empty ids sector index fits first=0 wipe=0 count=${3:-1} id
    while read -r key value; do
        case $key in
            first-empty) first=1 ;;
            # Who names a disk by its number knows what is on it.
            wipe | by-id | serial) wipe=1 ;;
        esac
        keys+=("$key") values+=("$value")
    done < "$1"
    while IFS='|' read -r path name bytes serial model empty ids sector; do
        fits=1
        for index in "${!keys[@]}"; do
            value=${values[index]}
            case ${keys[index]} in
                by-id)
                    for id in ${value//\// }; do
                        [[ ,$ids, == *",$id,"* ]] && break
                    done
                    [[ ,$ids, == *",$id,"* ]]
                    ;;
                serial) [[ -n $serial && /$value/ == *"/$serial/"* ]] ;;
                model) [[ $model == $value ]] ;;
                'size>=') (( bytes >= value )) ;;
                'size<=') (( bytes <= value )) ;;
                empty | first-empty) (( empty )) ;;
                only | wipe) : ;;
                *) false ;;
            esac || fits=0
        done
        (( fits )) || continue
        found+=("$name") sizes+=("$bytes")
        (( empty )) || full+=("$name")
        if (( bytes < $2 )); then
            echo "$name has $(size "$bytes"), and the image needs $(size "$2")"
            return 1
        fi
        # The image's table counts in sectors of 512 bytes: firmware and kernel look for it elsewhere on this disk.
        if (( sector != 512 )); then
            echo "$name has sectors of $sector bytes, which the image cannot start from"
            return 1
        fi
        (( first && ${#found[@]} == count )) && break
    done
    if (( ${#found[@]} == 0 )); then
        echo 'no disk matches the rule'
        return 1
    elif (( ${#found[@]} < count )); then
        echo "only $found matches the rule, and a mirror needs two disks"
        return 1
    elif (( ${#found[@]} > count )); then
        echo "${#found[@]} disks match the rule: ${found[*]}"
        return 1
    elif (( ${#full[@]} && ! wipe )); then
        echo "$full is not empty; name it by its by-id or serial, or allow it with --wipe"
        return 1
    elif (( count == 2 && (sizes[0] * 10 > sizes[1] * 11 || sizes[1] * 10 > sizes[0] * 11) )); then
        echo "$found has $(size "${sizes[0]}") and ${found[1]} $(size "${sizes[1]}"): the disks of a mirror are of one size"
        return 1
    fi
    echo "${found[*]}"
}
