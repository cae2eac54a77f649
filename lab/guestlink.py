"""A bad link made inside of a machine: where libvirt's own network leads, nothing between can do it.

The machine's kernel delays and loses what it sends, and by an intermediate card what it receives.
Facts: tc-netem(8), tc-mirred(8).
"""

from __future__ import annotations

from lab.seeds import LAN

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


def whole() -> str:
    """The script that makes the link good again; nothing happens where it is."""
    return (
        f"tc qdisc del dev {LAN} root 2>/dev/null; tc qdisc del dev {LAN} ingress 2>/dev/null; "
        f"ip link del {BACK} 2>/dev/null; true"
    )


def slow(delay: float, jitter: float, loss: float, rate: float) -> str:
    """The script that makes the link bad in both directions; all zero makes it good again."""
    if not any((delay, jitter, loss, rate)):
        return whole()
    how = netem(delay, jitter, loss, rate)
    return f"""{whole()}
set -e
modprobe -a sch_netem ifb sch_ingress act_mirred cls_matchall
ip link add {BACK} type ifb
ip link set {BACK} up
tc qdisc add dev {LAN} ingress
tc filter add dev {LAN} ingress matchall action mirred egress redirect dev {BACK}
tc qdisc add dev {BACK} root {how}
tc qdisc add dev {LAN} root {how}"""
