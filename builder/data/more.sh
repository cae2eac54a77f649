# Packages on top of a finished layer: apt sees what is installed, and only the difference is written.
# DIRECTORY KEPT-ARCHIVES LOWER COMMAND...

work=$1 kept=$2 lower=$3
shift 3
archives
root=$work/root
overlay "$lower" "$work/tree" "$work/overlay" "$root"
case ",$MORE," in
    *,mdadm,*) mkdir -p "$root/etc/mdadm" && printf '%s' "$MDADM_CONF" > "$root/etc/mdadm/mdadm.conf" ;;
esac
# The host's resolver, as mmdebstrap leaves it in place of a link to nowhere.
rm -f "$root/etc/resolv.conf"
"$@" --format=directory \
    --setup-hook='mount --bind "$ARCHIVES" "$1/var/cache/apt/archives"' \
    --customize-hook='cat "$1"/var/lib/apt/lists/*Release > "$WORK/releases"' \
    --customize-hook='umount "$1/var/cache/apt/archives"' \
    --skip=check/empty,essential/unlink,download/empty,cleanup/apt/cache \
    "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
keep
tidy "$root"
umount "$root"
rm -rf "$root" "$work/overlay"
