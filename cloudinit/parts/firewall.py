"""The firewall: one nftables table of Freehold's own, which containers' published ports cannot pass by.

Docker publishes a port by rewriting the destination before the forward hook, so a port closed on the
input hook is open all the same. The table therefore has a forward chain ahead of Docker's, and what a
chain drops no later chain can accept. Nothing here flushes other tables: Docker's rules live in them.
"""

from __future__ import annotations

from cloudinit.profile import HostProfile
from cloudinit.services import APP_BRIDGE, PortRule, Proxy
from cloudinit.steps import File, Step

RULES = "/etc/freehold/firewall.nft"
DROP_IN = "/etc/systemd/system/nftables.service.d/freehold.conf"

# Docker names its own bridges br- and twelve digits; nft matches a prefix.
_BRIDGES = ("docker0", APP_BRIDGE, "br-*")

# Debian's unit begins and ends with `flush ruleset`, which would take Docker's rules along.
_DROP_IN = f"""[Unit]
Description=Firewall of Freehold (nftables)

[Service]
ExecStart=
ExecStart=/usr/sbin/nft -f {RULES}
ExecReload=
ExecReload=/usr/sbin/nft -f {RULES}
ExecStop=
ExecStop=-/usr/sbin/nft delete table inet freehold
"""


def packages(profile: HostProfile) -> tuple[str, ...]:
    """nftables, where the firewall is wanted."""
    return ("nftables",) if profile.firewall.enabled else ()


def before_ssh(profile: HostProfile) -> tuple[Step, ...]:
    """Rules of the host's own that Freehold's would take the place of: found before any port moves."""
    if not profile.firewall.enabled:
        return ()
    # Debian's own file has chains and nothing in them. A network of its own shows what the host's would load.
    live = f"""
if [ ! -e {DROP_IN} ] && systemctl --quiet is-enabled nftables.service 2>/dev/null; then
    loaded=$(unshare --net sh -c 'nft -f /etc/nftables.conf && nft list ruleset' 2>&1) || loaded=
    tables=$(awk '/^table /{{ table = $2 " " $3 }} /^\t\t/ && !/type .* policy accept;/{{ print table }}' <<<"$loaded" |
        sort -u | paste -sd, | sed 's/,/, /g')
    if [ -n "$tables" ]; then
        give_up "/etc/nftables.conf of this host has rules of its own ($tables), which would not be loaded any more:" \
            "name their ports under firewall.open in config/host.yml and run 'systemctl disable nftables'," \
            "or keep them with firewall: {{enabled: false}}"
    fi
fi
"""  # noqa: E501 - one shell command a line
    return (Step("own-rules", "The host's own firewall", live=live),)


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """The rules and the unit that loads them before the network comes up."""
    if not profile.firewall.enabled:
        script = f"""
if [ -e {DROP_IN} ]; then disable nftables.service; fi
absent {DROP_IN}
absent {RULES}
"""
        return (Step("firewall", "Firewall (off)", script=script),)
    reload = (("reload", "nftables.service"),)
    # On every run: rules that the kernel does not take would be no firewall at the next boot.
    files = (File(RULES, rules(profile), notify=reload, check="nft -c -f"), File(DROP_IN, _DROP_IN))
    live = """
# ufw and firewalld would each answer for the same ports.
disable ufw.service firewalld.service
start nftables.service
# What the file says is asked of a kernel's empty network, as nft writes rules its own way.
list='nft -s list table inet freehold'
wanted=$(unshare --net sh -c "nft -f /etc/freehold/firewall.nft && $list") || wanted=
if [ -n "$wanted" ] && [ "$wanted" != "$($list 2>/dev/null)" ]; then
    nft -f /etc/freehold/firewall.nft
    changed "the rules in force"
fi
"""
    return (Step("firewall", "Firewall", files=files, script="enable nftables.service", live=live),)


def own_ports(profile: HostProfile) -> tuple[PortRule, ...]:
    """The ports of SSH and of the proxy."""
    port = profile.ssh.port
    sources = profile.ssh.allow or (None,)
    ssh = tuple(PortRule(port, port, source=source) for source in sources)
    proxy = profile.proxy
    if not proxy.enabled or not proxy.publish:
        return ssh
    http, https = proxy.http_port, proxy.https_port
    return (*ssh, PortRule(http, http), PortRule(https, https), PortRule(https, https, "udp"))


def rules(profile: HostProfile) -> str:
    """The ruleset; loading it replaces the table in one transaction."""
    entry = _accepts(own_ports(profile), "{protocol} dport {ports}")
    inside = f'iifname "{APP_BRIDGE}" {{protocol}} dport {{ports}}'
    entry += _accepts(_for_containers(profile.proxy), inside)
    opened = _accepts(profile.firewall.open, "{protocol} dport {ports}")
    published = _accepts(
        profile.firewall.open, "ct status dnat meta l4proto {protocol} ct original proto-dst {ports}"
    )
    bridges = "".join(f'\t\tiifname "{name}" accept\n' for name in _BRIDGES)
    return f"""# Freehold's own table; loading this file replaces it and touches no other.
table inet freehold
delete table inet freehold

table inet freehold {{
	chain input {{
		type filter hook input priority filter - 10; policy drop;

		ct state established,related accept
		ct state invalid drop
		iifname "lo" accept
		meta l4proto {{ icmp, ipv6-icmp }} accept
		udp sport 67 udp dport 68 accept comment "DHCP"
		ip6 saddr fe80::/10 udp dport 546 accept comment "DHCPv6"
{entry}{opened}	}}

	chain forward {{
		type filter hook forward priority filter - 10; policy drop;

		ct state established,related accept
		ct state invalid drop
{bridges}{published}	}}
}}
"""


def _for_containers(proxy: Proxy) -> tuple[PortRule, ...]:
    """What containers of the application network reach though nobody outside does."""
    found = [PortRule(proxy.metrics_port, proxy.metrics_port)] if proxy.metrics_port else []
    if not proxy.publish:
        found += [PortRule(port, port) for port in (proxy.http_port, proxy.https_port)]
    return tuple(found) if proxy.enabled else ()


def _accepts(ports: tuple[PortRule, ...], match: str) -> str:
    lines = []
    for rule in ports:
        family = "" if rule.source is None else "ip " if rule.source.version == 4 else "ip6 "
        source = f"{family}saddr {rule.source} " if rule.source is not None else ""
        lines.append(f"\t\t{source}{match.format(protocol=rule.protocol, ports=rule.ports)} accept\n")
    return "".join(lines)
