# The lower layer: DIRECTORY KEPT-ARCHIVES COMMAND..., which is mmdebstrap without its target.

work=$1 kept=$2
shift 2
archives
# As options of mmdebstrap, these exclusions would send each essential package through a filter in Python.
cat > "$work/before" <<'END'
mkdir -p "$1/var/cache/apt/archives" "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/ssh"
mount --bind "$ARCHIVES" "$1/var/cache/apt/archives"
printf '%s\n' "$DPKG_OPTIONS" > "$1/etc/dpkg/dpkg.cfg.d/freehold"
# Every host makes keys of its own: none is made here only to be thrown away.
for kind in rsa ecdsa ed25519; do
    : > "$1/etc/ssh/ssh_host_${kind}_key"
done
END
# While the essential packages are unpacked and configured, the others are fetched: one waits for processors,
# the other for the network. What this misses, apt fetches when it installs, and says why where it cannot.
cat > "$work/fetch" <<'END'
exec 9> "$WORK/fetching"
flock 9
all="-qq --yes -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o Dir::State::status=/dev/null"
all="$all -o Dir::Cache::archives=$ARCHIVES -o Dir::Cache::pkgcache= install $INCLUDE"
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
{
    apt-get --simulate $all 2>&1 | sed -n 's/^Inst \([^ ]*\).*/\1/p' > "$WORK/names"
    apt-get --download-only $all > /dev/null 2>&1
} < /dev/null &
END
# The kernel comes before the others, with what its initramfs is made of. That takes one processor five seconds,
# which it has while the others are installed.
cat > "$work/kernel" <<'END'
flock "$WORK/fetching" true
early=$(grep -E "^($BOOTING|linux-image-.*)\$" "$WORK/names" || true)
case $early in *linux-image-*) ;; *) exit 0 ;; esac
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --yes -o Dir::Bin::dpkg=env -o DPkg::Options::=--unset=TMPDIR \
    -o DPkg::Options::=dpkg -o DPkg::Chroot-Directory="$1" --mark-auto install $early > /dev/null
sh -eu "$WORK/made-of" "$1" > "$WORK/before-others"
exec 9> "$WORK/making" < /dev/null > /dev/null 2>&1
flock 9
for kernel in "$1"/boot/vmlinuz-*; do
    version=${kernel##*/vmlinuz-}
    chroot "$1" mkinitramfs -o "/run/initrd-$version" "$version" || rm -f "$1/run/initrd-$version" &
done
END
# What an initramfs takes from the tree besides the kernel and the programs that its hooks name.
cat > "$work/made-of" <<'END'
cd "$1"
ls -lR usr/share/initramfs-tools etc/initramfs-tools usr/lib/modprobe.d etc/modprobe.d etc/ld.so.conf.d \
    etc/udev etc/modules etc/default/keyboard etc/console-setup lib/firmware 2> /dev/null || true
END
# Python's modules are compiled beside what else is installed.
cat > "$work/unpacked" <<'END'
rm -rf "$1"/usr/share/man "$1"/usr/share/doc "$1"/usr/share/info "$1"/usr/share/lintian "$1"/usr/share/locale
chroot "$1" dpkg-divert --quiet --local --rename --divert /usr/bin/py3compile.real --add /usr/bin/py3compile
install -m 755 "$WORK/compile" "$1/usr/bin/py3compile"
END
# One at a time, in the background; whoever has `all` to itself knows that none is left.
cat > "$work/compile" <<'END'
#!/bin/sh
exec < /dev/null > /dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8> /run/py3compile.all 9> /run/py3compile.one
flock --shared 8
{
    flock 9
    /usr/bin/py3compile.real "$@" || echo "$*" >> /run/py3compile.failed
} &
END
cat > "$work/after" <<'END'
umount "$1/var/cache/apt/archives"
# The disk has nothing to do while the processors have.
sync --file-system "$WORK" &
# One that was made ahead is taken as it is, unless something came since that it would be made of.
if [ -e "$WORK/making" ]; then
    flock "$WORK/making" true
    sh -eu "$WORK/made-of" "$1" | cmp -s - "$WORK/before-others" || rm -f "$1"/run/initrd-*
fi
mkdir "$1/run/made"
cat > "$1/run/made/mkinitramfs" <<'WRAPPER'
#!/bin/sh
for word; do version=$word; done
[ -e "/run/initrd-$version" ] || exec /usr/sbin/mkinitramfs "$@"
while [ "$1" != -o ]; do shift; done
mv "/run/initrd-$version" "$2"
WRAPPER
chmod 755 "$1/run/made/mkinitramfs"
for kernel in "$1"/boot/vmlinuz-*; do
    [ -e "$kernel" ] || continue
    PATH="/run/made:$PATH" chroot "$1" update-initramfs -c -k "${kernel##*/vmlinuz-}" &
done
[ ! -e "$1/run/py3compile.all" ] || flock "$1/run/py3compile.all" true
if [ -e "$1/run/py3compile.failed" ]; then
    echo "E: Python's modules could not be compiled: $(cat "$1/run/py3compile.failed")" >&2
    exit 1
fi
wait
rm -rf "$1"/run/py3compile.* "$1/usr/bin/py3compile" "$1"/run/made "$1"/run/initrd-*
chroot "$1" dpkg-divert --quiet --local --rename --remove /usr/bin/py3compile
for kernel in "$1"/boot/vmlinuz-*; do
    [ ! -e "$kernel" ] || [ -s "$1/boot/initrd.img-${kernel##*/vmlinuz-}" ]
done
END
# Above nothing: dpkg would wait for the disk at each file.
mkdir "$work/nothing"
root=$work/root
overlay "$work/nothing" "$work/tree" "$work/overlay" "$root"
INITRD=No "$@" --format=directory \
    --setup-hook='sh -eu "$WORK/before" "$1"' \
    --extract-hook='sh -eu "$WORK/fetch"; sh -eu "$WORK/unpacked" "$1"' \
    --essential-hook='cat "$1"/var/lib/apt/lists/*Release > "$WORK/releases"; sh -eu "$WORK/kernel" "$1"' \
    --customize-hook='sh -eu "$WORK/after" "$1"' \
    --skip=essential/unlink,download/empty,cleanup/apt/cache \
    "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
keep
rm "$work"/{before,fetch,fetching,unpacked,compile,kernel,made-of,names,after}
rm -f "$work"/{making,before-others}
tidy "$root"
umount "$root"
rm -rf "$root" "$work/overlay" "$work/nothing"
