# For sh as well as bash.

# update_lists : what the package sources have now. apt's own patience, DPkg::Lock::Timeout, is not for the lock of
# the lists, which a young host's apt-daily holds for a while.
update_lists() {
    for try in $(seq 60); do
        said=$(LC_ALL=C apt-get -q -o Acquire::Retries=3 update 2>&1) && return 0
        case $said in *"Could not get lock"*) ;; *) break ;; esac
        [ "$try" != 1 ] || echo "another program has apt's lists; waiting for it"
        sleep 5
    done
    printf '%s\n' "$said"
    return 1
}
