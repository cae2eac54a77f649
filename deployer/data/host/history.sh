# What served on a host: a line for each commit, `TIME VERSION ROLE,ROLE`.

# still_ours HISTORY COUNT SINCE...: after the first COUNT lines nothing came but one of the versions SINCE; an
# empty one stands for nothing. Fails where anything else did: whoever has the deploy's lock now may have been
# here, and what they did is theirs.
still_ours() {
    local since one
    since=$({ cat "$1" 2>/dev/null || true; } | awk -v count="$2" '
        NF > 1 && ++lines > count { since = since (lines > count + 1 ? "," : "") $2 }
        END { print lines + 0 < count ? "?" : since }')
    shift 2
    for one in "$@"; do [ "$one" != "$since" ] || return 0; done
    echo "failed: another deploy has been here since"
    return 1
}

# first_lines HISTORY COUNT: it ends with these from now on.
first_lines() {
    [ -e "$1" ] || return 0
    awk -v count="$2" 'NF > 1 && ++lines <= count' "$1" >"$1.new"
    mv -f "$1.new" "$1"
}

# forget_roles HISTORY OTHERS ROLE...: no line names these roles any more. One that names none means all: it
# names the OTHERS then, with commas between them. A line without any role left goes.
forget_roles() {
    local history=$1 others=$2
    shift 2
    [ -e "$history" ] || return 0
    awk -v others="$others" -v gone=" $* " '
        NF > 1 {
            count = split(NF > 2 ? $3 : others, roles, ",")
            kept = ""
            for (i = 1; i <= count; i++)
                if (!index(gone, " " roles[i] " ")) kept = kept (kept == "" ? "" : ",") roles[i]
            if (kept != "") print $1, $2, kept
        }' "$history" >"$history.new"
    mv -f "$history.new" "$history"
}
