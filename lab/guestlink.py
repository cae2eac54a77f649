"""A bad link made inside of a machine: where libvirt's own network leads, nothing between can do it.

The machine's kernel delays and loses what it sends, and by an intermediate card what it receives.
Facts: tc-netem(8), tc-mirred(8).
"""

from __future__ import annotations

from collections.abc import Sequence

BACK = "lan-in"


def netem(delay: float, jitter: float, loss: float, rate: float) -> str:
    """The arguments of `tc ... netem`: seconds, share lost (0 to 1), bits per second."""
    words = ["netem", "limit", "20000"]
    if delay or jitter:
        words += ["delay", f"{delay * 1e6:.0f}us", *((f"{jitter * 1e6:.0f}us",) if jitter else ())]
    if loss:
        words += ["loss", f"{loss * 100:g}%"]
    if rate:
        words += ["rate", f"{rate:.0f}bit"]
    return " ".join(words)


def whole(devices: Sequence[str]) -> str:
    """The script that makes the links of these cards good again; nothing happens where they are."""
    lines = []
    for number, card in enumerate(devices):
        lines += [
            f"tc qdisc del dev {card} root 2>/dev/null",
            f"tc qdisc del dev {card} ingress 2>/dev/null",
            f"ip link del {_back(number)} 2>/dev/null",
        ]
    return "; ".join([*lines, "true"])


def _back(number: int) -> str:
    return f"{BACK}{number or ''}"


def slow(devices: Sequence[str], delay: float, jitter: float, loss: float, rate: float) -> str:
    """The script that makes the links bad in both directions; all zero makes them good again."""
    if not any((delay, jitter, loss, rate)):
        return whole(devices)
    how = netem(delay, jitter, loss, rate)
    lines = [whole(devices), "set -e", "modprobe -a sch_netem ifb sch_ingress act_mirred cls_matchall"]
    for number, card in enumerate(devices):
        back = _back(number)
        lines += [
            f"ip link add {back} type ifb",
            f"ip link set {back} up",
            f"tc qdisc add dev {card} ingress",
            f"tc filter add dev {card} ingress matchall action mirred egress redirect dev {back}",
            f"tc qdisc add dev {back} root {how}",
            f"tc qdisc add dev {card} root {how}",
        ]
    return "\n".join(lines)
