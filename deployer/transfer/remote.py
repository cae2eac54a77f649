"""The script that receives an image on a host: keeps what arrives, loads it, proves what it loaded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deployer.transfer.facts import SPOOL

Ending = Literal["done", "broken", "load", "verify"]
_EXITS: dict[int, Ending] = {0: "done", 70: "broken", 71: "load", 72: "verify"}

# Everything that arrives is kept in a file of its own until it is loaded. After a break the next
# script begins with a copy of the longest beginning, so that no two scripts ever write one file,
# even while the old one still waits for a connection that is gone.
_RECEIVE = """\
set -u -o pipefail
umask 077
{spool}
mkdir -p "$spool" && cd "$spool" || exit 71
find . -maxdepth 1 '(' -name '*.part' -o -name '*.seed' -o -name '*.fetched' ')' -mmin +1440 -delete
begin() {{
    if [ {offset} -gt 0 ]; then head -c {offset} -- {part} || return 1; fi
    cat
}}
new={payload}.$$.part
output=$(
    begin | tee -- "$new" | {decoder} | docker load --quiet 2>&1
    # tee ends well only where its input ended: a load that gives up cuts it off.
    code=$? kept=${{PIPESTATUS[1]}}
    [ $code -eq 0 ] && exit 0
    [ "$kept" -eq 0 ] && [ "$(stat -c %s -- "$new")" -lt {total} ] && exit 70
    exit 71
)
code=$?
if [ $code -eq 70 ]; then
    printf '%s\\n' "$output" "{total} bytes were sent, $(stat -c %s -- "$new") arrived"
    exit 70
fi
{keep}rm -f -- {payload}.*.part
if [ $code -ne 0 ]; then
    printf '%s\\n' "$output"
    exit 71
fi
"""

# containerd keeps an image whose layers are not all there, and says nothing until it is used.
_VERIFY = """\
found=$(docker image inspect --format '{{{{.Id}}}} {{{{json .RootFS.Layers}}}}' {reference} 2>&1)
case $found in
{patterns}) ;;
*)
    printf '%s\\n' "$output" "the host has after loading: $found"
    exit 72
    ;;
esac
"""
_USABLE = """\
if ! output=$(docker create --pull never --network none --name freehold-check-$$ {reference} true 2>&1); then
    printf '%s\\n' "$output"
    exit 72
fi
docker rm freehold-check-$$ >/dev/null
"""


@dataclass(frozen=True)
class Delivery:
    """One upload: `total` bytes of `payload`, of which the host keeps the first `offset` in `part`."""

    reference: str
    identities: Sequence[str]
    layers: Sequence[str]
    payload: str
    total: int
    decoder: str
    check_usable: bool
    part: str = ""
    offset: int = 0
    keep: bool = False
    """What arrived stays as `<payload>.seed`, for other hosts."""


def receive_command(delivery: Delivery) -> str:
    """The command for the host; the payload from `offset` on goes to its standard input."""
    reference = shlex.quote(delivery.reference)
    listed = "[" + ",".join(f'"{layer}"' for layer in delivery.layers) + "]"
    patterns = "|".join(shlex.quote(f"{identity} {listed}") for identity in sorted(delivery.identities))
    script = _RECEIVE.format(
        spool=SPOOL,
        payload=shlex.quote(delivery.payload),
        part=shlex.quote(delivery.part or "-"),
        offset=delivery.offset,
        total=delivery.total,
        decoder=delivery.decoder,
        keep=f'[ $code -ne 0 ] || mv -- "$new" {shlex.quote(delivery.payload)}.seed\n'
        if delivery.keep
        else "",
    ) + _VERIFY.format(reference=reference, patterns=patterns)
    if delivery.check_usable:
        script += _USABLE.format(reference=reference)
    return f"bash -c {shlex.quote(script)}"


def ending(returncode: int) -> Ending:
    """What an exit code of the script means; any other is a load that failed."""
    return _EXITS.get(returncode, "load")
