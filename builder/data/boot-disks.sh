#!/bin/sh
# Either disk of the mirror starts this host. What an upgrade of GRUB or the shim brings goes onto both of them,
# and so does everything, with --force, after a disk was replaced.
set -eu
export LC_ALL=C
stamp=/var/lib/freehold-boot-disks
esp_type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b
shim=/usr/lib/shim
grub=/usr/lib/grub/x86_64-efi-signed

now=$(dpkg-query -W -f '${Package} ${Version}\n' grub-pc-bin grub-efi-amd64-signed shim-signed)
case ${1:-} in
    --record) printf '%s\n' "$now" > "$stamp"; exit ;;
    --force) ;;
    '') [ "$now" != "$(cat "$stamp" 2> /dev/null)" ] || exit 0 ;;
    *) echo "usage: $0 [--force]" >&2; exit 2 ;;
esac

place=$(mktemp -d)
trap 'umount "$place" 2> /dev/null || true; rmdir "$place"' EXIT

# put SOURCE NAME: whole, or as it was: a power cut must not leave half a boot loader.
put() {
    cp "$1" "$place/$2.new"
    sync -f "$place"
    mv "$place/$2.new" "$place/$2"
}

volume=$(findmnt -fn --fstab -o SOURCE /boot/efi)
volume=${volume#UUID=}
array=$(basename "$(readlink -f "$(findmnt -fno SOURCE /)")")
for member in "/sys/block/$array/slaves/"*; do
    disk=$(basename "$(dirname "$(readlink -f "$member")")")
    esp=$(lsblk -nro PATH,PARTTYPE "/dev/$disk" | while read -r path type; do
        [ "$type" != "$esp_type" ] || echo "$path"
    done)
    if [ -z "$esp" ]; then
        echo "$disk has no EFI system partition: copy the other disk's table (sfdisk --dump)" >&2
        exit 1
    fi
    # A new disk has none yet; the number is what fstab asks for.
    [ "$(blkid -s TYPE -o value "$esp")" = vfat ] || mkfs.vfat -F 32 -s 1 -n ESP -i "$(echo "$volume" | tr -d -)" "$esp" > /dev/null
    grub-install --target=i386-pc "/dev/$disk"
    mount -t vfat -o umask=0077 "$esp" "$place"
    mkdir -p "$place/EFI/BOOT" "$place/EFI/debian"
    for folder in BOOT debian; do
        put "$grub/grubx64.efi.signed" "EFI/$folder/grubx64.efi"
        put "$shim/mmx64.efi.signed" "EFI/$folder/mmx64.efi"
    done
    put "$shim/shimx64.efi.signed" EFI/BOOT/BOOTX64.EFI
    put "$shim/shimx64.efi.signed" EFI/debian/shimx64.efi
    printf "search.fs_uuid %s root\nset prefix=(\$root)'/boot/grub'\nconfigfile \$prefix/grub.cfg\n" \
        "$(findmnt -fno UUID /)" > "$place/EFI/debian/grub.cfg"
    umount "$place"
done
printf '%s\n' "$now" > "$stamp"
