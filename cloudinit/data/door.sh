# Does sshd let in whom it should, as its files say that stand there now? Sent along by `server bootstrap` alone:
# a seed has to be small, and nobody is at work on the host that it makes. The step `ssh` asks, before sshd reads the
# files; `refuse` is its own. In $would stands what `sshd -T` says; where somebody comes from (behind @) is left to
# sshd. FREEHOLD_CAME: user, address, address of the host and port of the login that the run came by; may be empty.

# matched SETTING WORD... : the patterns of a list of sshd's that match a word.
matched() {
    local setting=$1 pattern word name
    shift
    sed -n "s/^$setting //p" <<<"$would" | while read -r pattern; do
        # sshd knows * and ? alone.
        name=${pattern%@*}
        name=${name//[/\\[}
        for word in "$@"; do
            [[ $word != $name ]] || say "$pattern"
        done
    done
}

would_say() { grep -qxE "$1" <<<"$would"; }

# shut_out NAME : the setting that keeps somebody out; nothing where none does.
shut_out() {
    local own
    # Names of a directory's groups may have blanks.
    mapfile -d '' own < <(id -nGz "$1")
    if ! would_say 'pubkeyauthentication yes'; then say PubkeyAuthentication
    elif ! would_say 'authenticationmethods (.* )?(any|publickey)( .*)?'; then say AuthenticationMethods
    elif [ -n "$(matched denyusers "$1" | grep -v @)" ]; then say DenyUsers
    elif would_say 'allowusers .*' && [ -z "$(matched allowusers "$1")" ]; then say AllowUsers
    elif [ -n "$(matched denygroups "${own[@]}")" ]; then say DenyGroups
    elif would_say 'allowgroups .*' && [ -z "$(matched allowgroups "${own[@]}")" ]; then say AllowGroups
    elif ! would_say 'revokedkeys none' && ! [ -r "$(sed -n 's/^revokedkeys //p' <<<"$would")" ]; then
        say RevokedKeys
    fi
}

# reads_keys NAME : would sshd read the file that the recipe writes a user's keys into?
reads_keys() {
    local path home
    home=$(getent passwd "$1" | cut -d: -f6)
    for path in $(sed -n 's/^authorizedkeysfile //p' <<<"$would"); do
        path=${path//%h/$home} path=${path//%u/$1}
        case $path in .ssh/authorized_keys | "$home/.ssh/authorized_keys") return 0 ;; esac
    done
    return 1
}

# refuse_by WHO SETTING
refuse_by() {
    refuse "sshd would not let $1 in, by $2:" \
        "$(grep -isE "^[[:space:]]*$2[[:space:]=]" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf)"
}

# see_door : what sshd says of who is at work, before any file changes.
see_door() {
    local name client address port
    read -r name client address port <<<"${FREEHOLD_CAME:-}" || true
    [ -n "$name" ] || return 0
    sshd -T -C "user=$name,addr=$client,host=$client,laddr=$address,lport=$port" >"$FREEHOLD_WORK/door" 2>/dev/null ||
        true
}

# as_before SETTING
as_before() { grep -qxF "$(grep "^$1 " <<<"$would")" "$FREEHOLD_WORK/door" 2>/dev/null; }

# keep_door PORT NAME... : users of the profile get in by their keys, and so does who is at work. Of whom a Match block
# is about, only that one is asked: others may come from elsewhere.
keep_door() {
    local port=$1 name by client address
    shift
    for name in "$@"; do
        id -u "$name" >/dev/null 2>&1 || continue
        by=$(shut_out "$name")
        [ -n "$by" ] || reads_keys "$name" || by=AuthorizedKeysFile
        [ -z "$by" ] || refuse_by "$name" "$by"
    done
    read -r name client address _ <<<"${FREEHOLD_CAME:-}" || true
    [ -n "$name" ] || return 0
    would=$(sshd -T -C "user=$name,addr=$client,host=$client,laddr=$address,lport=$port" 2>&1) ||
        refuse "sshd refuses the settings: $would"
    by=$(shut_out "$name")
    # What is as it was when this run came in lets it in.
    if [ "$name" = root ] && would_say 'permitrootlogin (no|forced-commands-only)'; then
        as_before permitrootlogin || by=PermitRootLogin
    fi
    ! would_say 'maxsessions [01]' || as_before maxsessions || by=MaxSessions
    would_say 'forcecommand none' || as_before forcecommand || by=ForceCommand
    would_say 'chrootdirectory none' || as_before chrootdirectory || by=ChrootDirectory
    [ -z "$by" ] || refuse_by "$name from $client" "$by"
}
