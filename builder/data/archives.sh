# Both layers: apt's archives from the kept ones, and the tree without what the build left behind.

# apt locks its archives, and another build may be using the kept ones: linked into a directory of our own.
archives() {
    export ARCHIVES=$work/archives WORK=$work
    mkdir -p "$ARCHIVES/partial" "$work/originals"
    find "$kept" -name '*.deb' -exec cp --link -t "$ARCHIVES" {} +
    # A moment ago: what is made within the clock's grain of the mark counts as made after it.
    touch --date='2 seconds ago' "$work/.started"
}

# Some may have been expanded for dpkg: of those, the originals.
keep() {
    for from in "$work/originals" "$ARCHIVES"; do
        find "$from" -maxdepth 1 -name '*.deb' -exec cp --link --no-clobber -t "$kept" {} +
    done
    rm -rf "$ARCHIVES" "$work/originals"
}

tidy() {
    cp "$1/var/lib/dpkg/status" "$work/status"
    # Nodes that only root can make, and that every kernel makes anew; keys that every host makes anew.
    find "$1/dev" -mindepth 1 -delete
    rm -f "$1"/etc/ssh/ssh_host_*
    # What the build wrote down about itself, and caches that the host makes again when it needs them.
    rm -rf "$1"/var/log/{apt,dpkg.log,alternatives.log,bootstrap.log,fontconfig.log} \
        "$1"/var/cache/{ldconfig/aux-cache,apt/*.bin,debconf/*-old} "$1"/var/lib/{dpkg,apt}/*-old \
        "$1"/var/lib/apt/{lists,extended_states.tmp}
    install -d -m 755 "$1/var/lib/apt/lists/partial" "$1/var/cache/apt/archives/partial"
    chown -R "$(stat -c %u:%g "$1")" "$1/var/lib/apt/lists" "$1/var/cache/apt/archives"
}
