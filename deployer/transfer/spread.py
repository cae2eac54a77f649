"""One upload for several hosts: the first gives what it received to the others, by a key for this once.

The host that was sent the payload keeps the file, and accepts a new key that can do one thing: read
that file, for two hours at most. The others get the key over their own connections from here, with the
first one's host key, fetch the file and compare its digest. From then on it is the beginning of an
upload that is complete, so whatever goes wrong on the way, the usual upload does the rest.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deployer.endpoint import Reached
from deployer.transfer.facts import SPOOL, HostImages, Part
from deployer.transfer.payload import Payload
from freehold.secret import Secret

LEAST = 4_000_000
"""Bytes from which on it is worth the round trips."""
LIFETIME = "2 hours"
AT_ONCE = 8
"""Hosts that fetch at the same time: sshd refuses more than a few connections that have not logged in."""
_KEYS = '"$HOME/.ssh/authorized_keys2"'
# Read by sshd beside authorized_keys, which stays the user's own.
_OPTIONS = (
    *("-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
    *("-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "HostKeyAlias=first"),
    *("-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4"),
)


@dataclass(frozen=True)
class Once:
    """A pair of keys that nobody used before: `public` is `ssh-ed25519 AAAA…`."""

    public: str
    private: Secret = field(repr=False)

    @property
    def mark(self) -> str:
        """What finds its line again."""
        return f"freehold-spread-{hashlib.sha256(self.public.encode()).hexdigest()[:16]}"


def make_once() -> Once:
    """A new pair."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return Once(public.decode(), Secret(private.decode()))


def groups(payloads: Mapping[str, Payload], facts: Mapping[str, HostImages]) -> list[tuple[str, ...]]:
    """Hosts that lack the very same, in the order given, the first of each leading.

    What is small is not worth it. A host without the room for two copies of the file is sent its own.
    """
    found: dict[str, list[str]] = {}
    for host, payload in payloads.items():
        free = facts[host].free
        room = free is None or free > 2 * (payload.total + payload.raw)
        if payload.total >= LEAST and room:
            found.setdefault(payload.name, []).append(host)
    return [tuple(hosts) for hosts in found.values() if len(hosts) > 1]


def digest(chunks: Iterable[bytes]) -> str:
    """SHA-256 of what travels."""
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(chunk)
    return total.hexdigest()


def offer(payload: str, once: Once) -> str:
    """Script for the first host: let whoever has the key read the file, and nothing else."""
    return f"""set -eu
umask 077
{SPOOL}
file=$spool/{payload}.seed
[ -f "$file" ]
mkdir -p "$HOME/.ssh"
until=$(date -d '+{LIFETIME}' +%Y%m%d%H%M%S)
exec 9>"$spool/.keys"
flock -w 20 9
printf 'restrict,expiry-time="%s",command="cat %s" %s {once.mark}\\n' "$until" "$file" \\
    {shlex.quote(once.public)} >>{_KEYS}
"""


def withdraw(payload: str, once: Once) -> str:
    """Script for the first host: neither key nor file is left."""
    return f"""umask 077
{SPOOL}
rm -f -- "$spool/{payload}.seed"
exec 9>"$spool/.keys"
flock -w 20 9
if [ -e {_KEYS} ]; then
    grep -v {once.mark} {_KEYS} >"$spool/.keys.new"
    if [ -s "$spool/.keys.new" ]; then cat "$spool/.keys.new" >{_KEYS}; else rm -f {_KEYS}; fi
fi
rm -f "$spool/.keys.new" "$spool/.keys"
"""


def fetch(payload: Payload, sha256: str, once: Once, first: Reached) -> str:
    """Script for another host: fetch the file and prove it; prints the name of the part."""
    words: Sequence[str] = (*_OPTIONS, "-p", str(first.port), "-l", first.user, "--", first.address)
    return f"""set -eu
umask 077
{SPOOL}
mkdir -p "$spool"
cd "$spool"
keys=$(mktemp -d)
new=.{payload.name}.$$.fetched
trap 'rm -rf "$keys" "$new"' EXIT
cat >"$keys/key" <<'FREEHOLD_END'
{once.private.reveal().strip()}
FREEHOLD_END
echo {shlex.quote(f"first {first.host_key}")} >"$keys/known"
ssh -i "$keys/key" -o UserKnownHostsFile="$keys/known" {shlex.join(words)} >"$new" </dev/null
[ "$(sha256sum <"$new" | cut -d' ' -f1)" = {sha256} ] || {{ echo "the digest is another" >&2; exit 1; }}
mv -- "$new" {payload.name}.$$.part
echo "part {payload.name}.$$.part"
"""


def fetched(output: str, payload: Payload) -> Part | None:
    """What `fetch` printed: the whole upload, as a beginning."""
    names = [line.removeprefix("part ") for line in output.splitlines() if line.startswith("part ")]
    return Part(names[-1], payload.total) if names else None
