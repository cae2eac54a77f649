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
# What stays in the background lets go of what mmdebstrap gave to its hooks, and would wait for where it fails.
cat > "$work/alone" <<'END'
exec < /dev/null > /dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
END
# While the essential packages are unpacked and configured, the others are fetched: one waits for processors,
# the other for the network. What this misses, apt fetches when it installs, and says why where it cannot.
# And then a processor that has nothing to do decompresses them: dpkg would do it, one after the other. Nobody waits
# for that, so everything else goes before it.
cat > "$work/fetch" <<'END'
. "$WORK/alone"
exec 9> "$WORK/fetching"
flock 9
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
{
    # From here on apt has its lists, and has fetched the essential packages.
    until [ -e "$1/usr/share/doc" ]; do sleep 0.1; done
    # As if nothing were installed, and only as far as to what dpkg would be given, in its order.
    apt-get -qq --yes -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o Dir::State::status=/dev/null \
        -o Dir::State::extended_states="$WORK/states" -o Dir::Cache::archives="$ARCHIVES" -o Dir::Cache::pkgcache= \
        -o Dir::Log=/dev/null -o Debug::pkgDPkgPM=1 -o DPkg::Pre-Install-Pkgs::="sed 's,.*/,,' > '$WORK/names'" \
        install $INCLUDE
    echo "DPkg::Pre-Install-Pkgs { \"cat >> /run/looked-at\"; };" >> "$APT_CONFIG"
    # The essential ones apt does not look at again.
    mkdir -p "$1/run"
    : > "$1/run/looked-at"
    {
        until [ -e "$WORK/essential" ]; do sleep 0.1; done
        sed 's/.*/^&_/' "$WORK/essential" | grep -f - "$WORK/names" >> "$1/run/looked-at"
    } &
    exec 8> "$WORK/expanding" 9>&-
    flock 8
    [ "$(nproc)" = 1 ] || exec nice -n 10 "$PYTHON" -IS "$EXPAND" \
        "$1" "$ARCHIVES" "$WORK/originals" "$WORK/names" "$1/run/looked-at"
} &
END
# The kernel comes before the others, with what its initramfs is made of. That takes one processor five seconds,
# which it has while the others are installed.
cat > "$work/kernel" <<'END'
flock "$WORK/fetching" true
early=$(sed 's/_.*//' "$WORK/names" | grep -E "^($BOOTING|linux-image-.*)\$" || true)
case $early in *linux-image-*) ;; *) exit 0 ;; esac
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --yes -o Dir::Bin::dpkg=env -o DPkg::Options::=--unset=TMPDIR \
    -o DPkg::Options::=dpkg -o DPkg::Chroot-Directory="$1" --mark-auto install $early > /dev/null
sh -eu "$WORK/made-of" "$1" > "$WORK/before-others"
. "$WORK/alone"
exec 9> "$WORK/making"
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
# A name that is wrong in the layer above ends this one too: nobody waits for it first.
[ -z "$ABOVE" ] || APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --simulate -o Debug::NoLocking=1 \
    -o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= install $ABOVE > /dev/null
# Every package has a folder there.
ls "$1/usr/share/doc" > "$WORK/essential.new"
mv "$WORK/essential.new" "$WORK/essential"
mkdir "$1/run/gone"
for name in man doc info lintian locale; do
    [ ! -e "$1/usr/share/$name" ] || mv "$1/usr/share/$name" "$1/run/gone"
done
(. "$WORK/alone" && exec rm -rf "$1/run/gone") &
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
    if [ "$#" = 2 ] && [ "$1" = -p ] && grep -qxF -e "$2" /run/py3compile.ahead; then exit; fi
    /usr/bin/py3compile.real "$@" || echo "$*" >> /run/py3compile.failed
} &
END
# As soon as all packages are unpacked: those of Python are among the last to be configured, and ask for it then,
# each for an interpreter of its own.
cat > "$work/modules" <<'END'
. "$WORK/alone"
list=$1/run/looked-at
# What apt looks at after this are the last packages: a file that is newer than the mark names them.
touch "$WORK/mark"
{
    until [ "$list" -nt "$WORK/mark" ]; do
        [ -e "$list" ] || exit 0
        sleep 0.1
    done
    for name in $(cat "$list"); do
        name=${name##*/} arch=${name##*_}
        package=$1/var/lib/dpkg/info/${name%%_*}
        until [ -e "$package.list" ] || [ -e "$package:${arch%.deb}.list" ]; do
            [ -e "$list" ] || exit 0
            sleep 0.1
        done
    done
    # The disk has nothing to do while the processors have.
    sync --file-system "$WORK" &
    exec chroot "$1" sh -eu < "$WORK/ahead"
} &
END
cat > "$work/ahead" <<'END'
exec 8> /run/py3compile.all 9> /run/py3compile.one
flock --shared 8
flock 9
packages=$(sed -n 's/^[ \t]*py3compile -p \([^ ]*\) *$/\1/p' /var/lib/dpkg/info/*.postinst)
dpkg -L $packages | grep '^/usr/lib/python3/dist-packages/.*\.py$' | xargs -r py3compile.real
printf '%s\n' $packages > /run/py3compile.ahead
END
cat > "$work/after" <<'END'
umount "$1/var/cache/apt/archives"
rm -f "$1/run/looked-at"
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
making=
for kernel in "$1"/boot/vmlinuz-*; do
    [ -e "$kernel" ] || continue
    PATH="/run/made:$PATH" chroot "$1" update-initramfs -c -k "${kernel##*/vmlinuz-}" &
    making="$making $!"
done
[ ! -e "$1/run/py3compile.all" ] || flock "$1/run/py3compile.all" true
if [ -e "$1/run/py3compile.failed" ]; then
    echo "E: Python's modules could not be compiled: $(cat "$1/run/py3compile.failed")" >&2
    exit 1
fi
[ -z "$making" ] || wait $making
rm -rf "$1"/run/py3compile.* "$1/usr/bin/py3compile" "$1"/run/made "$1"/run/gone "$1"/run/initrd-*
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
    --setup-hook='sh -eu "$WORK/before" "$1" && sh -eu "$WORK/fetch" "$1"' \
    --extract-hook='sh -eu "$WORK/unpacked" "$1"' \
    --essential-hook='cat "$1"/var/lib/apt/lists/*Release > "$WORK/releases"; sh -eu "$WORK/kernel" "$1" &&
        sh -eu "$WORK/modules" "$1"' \
    --customize-hook='sh -eu "$WORK/after" "$1"' \
    --skip=essential/unlink,download/empty,cleanup/apt/cache,cleanup/apt/lists \
    "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
# What has been expanded is not kept.
[ ! -e "$work/expanding" ] || flock "$work/expanding" true
keep
rm "$work"/{before,alone,fetch,fetching,unpacked,compile,modules,ahead,kernel,made-of,after}
rm -f "$work"/{names,states,essential,mark,making,before-others,expanding}
tidy "$root"
umount "$root"
rm -rf "$root" "$work/overlay" "$work/nothing"
