"""What a host's own files of sshd's say beside the profile: do its users, and who is at work, get in?"""

from __future__ import annotations

from cloudinit.profile import HostProfile

# In $would stands what `sshd -T` says. Where somebody comes from (behind @) is left to sshd.
_WORDS = """
matched() {
    local setting=$1 pattern word name
    shift
    sed -n "s/^$setting //p" <<<"$would" | while read -r pattern; do
        # sshd knows * and ? alone.
        name=${pattern%@*}
        name=${name//[/\\\\[}
        for word in "$@"; do
            [[ $word != $name ]] || say "$pattern"
        done
    done
}
would_say() { grep -qxE "$1" <<<"$would"; }
shut_out() {
    local own
    read -ra own <<<"$(id -nG "$1")"
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
reads_keys() {
    local path home
    home=$(getent passwd "$1" | cut -d: -f6)
    for path in $(sed -n 's/^authorizedkeysfile //p' <<<"$would"); do
        path=${path//%h/$home} path=${path//%u/$1}
        case $path in .ssh/authorized_keys | "$home/.ssh/authorized_keys") return 0 ;; esac
    done
    return 1
}
refuse_by() {
    refuse "sshd would not let $1 in, by $2:" \\
        "$(grep -isE "^[[:space:]]*$2[[:space:]=]" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf)"
}
"""


def check(profile: HostProfile) -> str:
    """Shell that calls `refuse` where sshd would shut out a user of the profile, or whoever runs the recipe.

    Of whom a Match block is about, only the one is asked who is at work: others may come from elsewhere.
    """
    users = " ".join(user.name for user in profile.users)
    return f"""{_WORDS}
for name in {users}; do
    id -u "$name" >/dev/null 2>&1 || continue
    by=$(shut_out "$name")
    if [ -z "$by" ] && ! reads_keys "$name"; then by=AuthorizedKeysFile; fi
    [ -z "$by" ] || refuse_by "$name" "$by"
done
read -r name client address _ <<<"${{FREEHOLD_CAME:-}}" || true
if [ -n "$name" ]; then
    comer="user=$name,addr=$client,host=$client,laddr=$address,lport={profile.ssh.port}"
    would=$(sshd -T -C "$comer" 2>&1) || refuse "sshd refuses the settings: $would"
    by=$(shut_out "$name")
    [ "$name" != root ] || ! would_say 'permitrootlogin (no|forced-commands-only)' || by=PermitRootLogin
    ! would_say 'maxsessions [01]' || by=MaxSessions
    would_say 'forcecommand none' || by=ForceCommand
    would_say 'chrootdirectory none' || by=ChrootDirectory
    [ -z "$by" ] || refuse_by "$name from $client" "$by"
fi
"""
