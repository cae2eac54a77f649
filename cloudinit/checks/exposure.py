"""What can be reached from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloudinit.checks.model import check, running
from cloudinit.facts import Facts
from cloudinit.listeners import allowed, listeners, meant, reach
from cloudinit.profile import HostProfile
from cloudinit.services import APP_BRIDGE


@check("firewall", "Firewall is loaded, and lets in what the profile opens and no more")
def firewall(facts: Facts, profile: HostProfile) -> str:
    if not profile.firewall.enabled:
        return ""
    found = facts.json("firewall")
    if not found:
        return "the table of the firewall is not loaded"
    chains = [item["chain"] for item in found["nftables"] if "chain" in item]
    dropping = {chain.get("hook") for chain in chains if chain.get("policy") == "drop"}
    if not {"input", "forward"} <= dropping:
        return "it lets through what nothing allows"
    wanted = {(rule.protocol, rule.ports, str(rule.source or "")) for rule in allowed(profile)}
    loaded = opened(found)
    if more := sorted(loaded - wanted):
        return f"the rules in force open more: {_named(more)}"
    if less := sorted(wanted - loaded):
        return f"the rules in force do not open {_named(less)}"
    return running(facts, "nftables.service")


def opened(ruleset: Any) -> set[tuple[str, str, str]]:
    """(protocol, ports, source) of every rule that accepts a port in `nft -j list table`'s answer.

    Ports as `80` or `8000-8010`; the source is empty where the rule has none.
    """
    found = set()
    for item in ruleset["nftables"]:
        rule = item.get("rule", {})
        expressions = rule.get("expr", [])
        if rule.get("chain") != "input" or not any("accept" in part for part in expressions):
            continue
        matches = [part["match"] for part in expressions if "match" in part]
        protocol, ports, source = "any", "everything", ""
        harmless = False
        for match in matches:
            left, right = match["left"], match["right"]
            payload = left.get("payload", {})
            if payload.get("field") == "dport":
                protocol, ports = payload["protocol"], _ports(right)
            elif payload.get("field") == "saddr":
                source = _source(right)
            harmless = harmless or _harmless(left, right)
        # Answers to the host's own DHCP client.
        if not harmless and (protocol, ports) not in (("udp", "68"), ("udp", "546")):
            found.add((protocol, ports, source))
    return found


def _harmless(left: Any, right: Any) -> bool:
    """Whether a match narrows a rule to what is no door for outsiders.

    That is loopback, ping, connections that were let in before, and the host's own containers.
    """
    if left.get("ct") == {"key": "state"}:
        return set(right) <= {"established", "related"}
    return (left.get("meta"), right) in (
        ({"key": "iifname"}, "lo"),
        ({"key": "iifname"}, APP_BRIDGE),
        ({"key": "l4proto"}, {"set": ["icmp", "ipv6-icmp"]}),
    )


def _ports(value: Any) -> str:
    if isinstance(value, dict) and "range" in value:
        return "-".join(str(end) for end in value["range"])
    return str(value)


def _source(value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    text = str(value)
    return f"{text}/{128 if ':' in text else 32}"


def _named(rules: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join(
        f"{ports}/{protocol}{f' from {source}' if source else ''}" for protocol, ports, source in rules
    )


@check("exposure", "Nothing is open that nobody opened")
def exposure(facts: Facts, profile: HostProfile) -> str:
    found = [
        f"{item.name} ({item.program})"
        for item in listeners(facts)
        if reach(item, profile) != "nobody" and not meant(item, profile)
    ]
    return f"reachable from outside: {', '.join(dict.fromkeys(found))}" if found else ""


CHECKS = (firewall, exposure)
