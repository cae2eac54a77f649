# Two disks instead of one: functions of the installer, beside install.sh. See builder/mirror.py for what stands where.
#
# $MEDIUM/table-1, table-2: what sfdisk reads, with @ROOT@ for the size of the root in sectors.

# release DISK: no array may hold it. The initramfs starts those that it finds.
release() {
    local member array
    for member in /sys/block/md*/slaves/*; do
        [[ -e /sys/block/${1##*/}/${member##*/} || ${member##*/} == "${1##*/}" ]] || continue
        array=${member%/slaves/*}
        mdadm --quiet --stop "/dev/${array##*/}" || return 1
    done
    return 0
}

# half START DISK...: the bytes that the root can have on each of these disks. Whole MiB; the table's copy and more
# stand behind it.
half() {
    local start=$1 disk bytes least=0
    shift
    for disk in "$@"; do
        bytes=$(blockdev --getsize64 "$disk") || return 1
        (( least == 0 || bytes < least )) && least=$bytes
    done
    echo $(( (least / 1048576 - 1) * 1048576 - start ))
}

# assemble SIZE DISK DISK: an array at /dev/md0 out of the roots, which hold the same already. There is no table yet,
# so loop devices stand for the partitions. The kernel compares the rest of the disks later, on the host.
assemble() {
    local size=$1 disk
    shift
    LOOPS=()
    modprobe loop && modprobe raid1 || return 1
    # udev would take the halves that it sees appear for an array of its own to start.
    udevadm settle --timeout=30
    udevadm control --stop-exec-queue
    { echo 1000 > /proc/sys/dev/raid/speed_limit_max; } 2> /dev/null
    for disk in "$@"; do
        LOOPS+=("$(losetup --find --show --offset "$ROOT_START" --sizelimit "$size" "$disk")") || return 1
    done
    mdadm --quiet --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.0 --bitmap=internal \
        --homehost=any --name=root "${LOOPS[@]}"
}

# part: the array comes to its end in order.
part() {
    local loop
    mdadm --quiet --stop /dev/md0 || return 1
    for loop in "${LOOPS[@]}"; do
        losetup --detach "$loop" || return 1
    done
    sync
}

# table DISK FILE SIZE: boot code and partition table, the last things to be written; then what was read back.
table() {
    local text sectors code
    sectors=$(( $3 / 512 ))
    text=$(< "$2")
    code=$(zstd -dcq "$MEDIUM/table.zst" | { dd bs=440 count=1 iflag=fullblock status=none; cat > /dev/null; } | sha256sum)
    printf '%s\n' "${text//@ROOT@/$sectors}" |
        sfdisk --quiet --no-reread --no-tell-kernel --wipe never --wipe-partitions never "$1" || return 1
    zstd -dcq "$MEDIUM/table.zst" |
        { dd of="$1" bs=440 count=1 iflag=fullblock conv=notrunc,nocreat status=none && cat > /dev/null; } || return 1
    sync
    blockdev --flushbufs "$1"
    [[ $(dd if="$1" bs=440 count=1 iflag=fullblock status=none | sha256sum) == "$code" ]] || return 1
    sfdisk --quiet --verify "$1" > /dev/null && [[ $(sfdisk --dump "$1") == *"size= "*"$sectors,"* ]]
}
