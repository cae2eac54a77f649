"""Steps of the recipe on a running host: what is cut short, refused, or in the way of the host's own."""

from __future__ import annotations

import re

from cloudinit.checks import run_checks
from cloudinit.extrafiles import ExtraFile
from cloudinit.parts import docker
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.recipe import Recipe, make_recipe
from cloudinit.script import as_script
from cloudinit.services import Updates
from cloudinit.steps import File, Step
from tests.integration.steps import run_steps
from tests.rig import Host, Rig

Pair = tuple[Host, Host]

PROBE = """\
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'cat /etc/probe.conf >>/run/probe'
"""


def probe(text: str, script: str) -> Step:
    """A file that a unit reads when it is told to, then `script`."""
    file = File("/etc/probe.conf", text, notify=(("reload", "probe.service"),))
    return Step("probe", "Probe", files=(file,), script=script)


def test_what_a_step_that_fails_was_notified_of_is_done_by_the_next_run(hosts: Pair) -> None:
    host = hosts[0]
    host.write("/run/systemd/system/probe.service", PROBE)
    host.exec("systemctl daemon-reload && systemctl start probe && : >/run/probe")
    refused = run_steps(host, probe("one", "give_up refused"))
    assert "@@freehold probe failed" in refused.stdout
    assert host.read("/run/probe") == ""
    done = run_steps(host, probe("one", ""))
    assert "@@freehold probe changed" in done.stdout
    assert host.read("/run/probe") == "one\n"
    assert "@@freehold probe ok" in run_steps(host, probe("one", "")).stdout
    # A connection that breaks ends the script anywhere.
    run_steps(host, probe("two", "kill -9 $$ $BASHPID"))
    assert host.read("/run/probe") == "one\n"
    assert "@@freehold probe changed" in run_steps(host, probe("two", "")).stdout
    assert host.read("/run/probe") == "one\ntwo\n"
    # Who puts the former file back has nothing left to do.
    run_steps(host, probe("three", "echo two >/etc/probe.conf; taken_back; give_up refused"))
    assert "@@freehold probe ok" in run_steps(host, probe("two", "")).stdout
    assert host.read("/run/probe") == "one\ntwo\n"
    host.exec("systemctl stop probe && rm /etc/probe.conf /run/systemd/system/probe.service")


def test_the_application_network_takes_no_addresses_that_the_host_has_a_use_for(hosts: Pair) -> None:
    host, other = hosts
    subnet = next(step for step in docker.before_packages(HostProfile()) if step.name == "subnet")
    assert "@@freehold subnet ok" in run_steps(host, subnet).stdout
    host.exec("docker network rm freehold")
    try:
        assert "@@freehold subnet ok" in run_steps(host, subnet).stdout
        # The host's own network, a larger one that covers it, a route of a tunnel's own table.
        for make, undo, words in (
            ("addr add 172.30.7.1/24 dev eth0", "addr del 172.30.7.1/24 dev eth0", "172.30.7.0/24 dev eth0"),
            ("addr add 172.16.0.1/12 dev eth0", "addr del 172.16.0.1/12 dev eth0", "172.16.0.0/12 dev eth0"),
            (
                "route add 172.30.9.0/24 dev eth0 table 52",
                "route del 172.30.9.0/24 table 52",
                "172.30.9.0/24",
            ),
        ):
            host.exec(f"ip {make}")
            refused = run_steps(host, subnet)
            assert f"needs 172.30.0.0/16, where this host already has {words}" in refused.stdout
            # A golden image meets its networks at its first boot.
            assert host.exec("systemctl restart freehold-network", check=False).returncode == 1
            assert words in host.journal("--lines=20", "--unit=freehold-network")
            assert not host.exec("docker network ls -q --filter name=^freehold$").stdout
            host.exec(f"ip {undo}")
        # A bastion beyond a router; Docker would masquerade its address.
        other.exec("docker network rm freehold && ip addr add 172.30.5.5/32 dev eth0")
        host.exec("ip route add default dev eth0")
        call = f"sleep 600 | curl -s --interface 172.30.5.5 telnet://{host.address}:22"
        other.exec(("systemd-run", "--unit=bastion", "sh", "-c", call))
        host.exec("for i in $(seq 600); do ss -Htn | grep -q 172.30.5.5 && exit; sleep 0.1; done; exit 1")
        assert "already has a connection from 172.30.5.5:" in run_steps(host, subnet).stdout
    finally:
        other.exec("systemctl stop bastion; ip addr del 172.30.5.5/32 dev eth0", check=False)
        host.exec("ip route del default dev eth0", check=False)
        for each in hosts:
            each.exec("systemctl reset-failed freehold-network; systemctl restart freehold-network")


def engine(options: str = "") -> Step:
    profile = parse_profile(f"docker: {{options: {{{options}}}}}")
    return next(step for step in docker.before_packages(profile) if step.name == "engine")


def test_options_of_a_former_engine_are_not_dropped_in_silence(hosts: Pair) -> None:
    host = hosts[0]
    path, state = "/etc/docker/daemon.json", "/var/lib/freehold-bootstrap"
    prepared = host.read(path)
    foreign = (
        '{"dns": ["192.0.2.53"], "runtimes": {"own": {"path": "/bin/own"}}, "note": "\\"graph\\":",\n'
        ' "features": {"containerd-snapshotter": true}, "userns-remap": "default"}\n'
    )
    host.exec(
        f"cp {state}/written /root/written; sed -i '\\|^{path}$|d' {state}/written; rm -f {state}/engine"
    )
    try:
        host.write(path, foreign)
        refused = run_steps(host, engine('dns: ["192.0.2.53"]'))
        named = "sets runtimes, note, features.containerd-snapshotter, userns-remap, and config/host.yml"
        assert f"{path} of this host {named}" in refused.stdout
        assert host.read(path) == foreign
        host.write(path, '{"dns": ["192.0.2.53"]}\n')
        assert "@@freehold engine changed" in run_steps(host, engine('dns: ["192.0.2.53"]')).stdout
        # What the recipe itself gave goes with the profile's line; where the data is does not.
        assert "@@freehold engine changed" in run_steps(host, engine()).stdout
        assert host.read(path) == prepared
        assert "@@freehold engine ok" in run_steps(host, engine()).stdout
        host.write(path, prepared.replace("{", '{"exec-root": "/run/other",', 1))
        assert "sets exec-root, and" in run_steps(host, engine()).stdout
        # A host of an earlier release has no record; the file is the recipe's all the same.
        host.exec(f"cp /root/written {state}/written; rm {state}/engine")
        host.write(path, prepared.replace("{", '{"dns": ["192.0.2.53"],', 1))
        assert "@@freehold engine changed" in run_steps(host, engine()).stdout
    finally:
        host.write(path, prepared)
        host.exec(
            f"cp /root/written {state}/written; systemctl reset-failed docker; systemctl restart docker"
        )


def test_what_leaves_the_profile_leaves_the_host(hosts: Pair) -> None:
    host = hosts[0]
    hashed = "$6$" + "a" * 16 + "$" + "b" * 86
    with_it = (
        f"users: [{{name: guest, groups: [audio], password: '{hashed}'}}]\n"
        "files: [{path: /etc/motd, content: ours}, {path: /etc/own/new, content: ours}]\n"
        "sysctl: {net.ipv4.ip_default_ttl: 61}\n"
    )

    def run(text: str) -> str:
        steps = make_recipe(parse_profile(text)).steps
        return run_steps(host, *(s for s in steps if s.name in ("user-guest", "kernel", "files"))).stdout

    def now() -> list[str]:
        return host.exec(
            "id -nG guest; getent shadow guest | cut -d: -f2 | cut -c1-3; cat /etc/motd; "
            "ls /etc/own; sysctl -n net.ipv4.ip_default_ttl; grep -c ^guest /etc/sudoers.d/*guest",
            check=False,
        ).stdout.splitlines()

    host.write("/etc/motd", "theirs\n")
    assert "failed" not in run(with_it)
    assert now() == ["guest sudo audio docker freehold", "$6$", "ours", "new", "61", "1"]
    # As cloud-init writes it on a host that a seed made.
    cloud = "/etc/sudoers.d/90-cloud-init-users"
    host.write(cloud, "# User rules\nguest ALL=(ALL) NOPASSWD:ALL\nguests ALL=(ALL) NOPASSWD:ALL\n")
    without = "users: [{name: guest, sudo: false}]"
    assert "failed" not in run(without)
    assert now() == ["guest docker freehold", "!$6", "theirs", "64"]
    assert host.read(cloud) == "# User rules\nguests ALL=(ALL) NOPASSWD:ALL\n"
    assert " changed " not in run(without)
    # What somebody did on the host by hand is not the profile's to take.
    host.exec("usermod --append --groups audio guest && usermod --unlock guest")
    assert " changed " not in run(without)
    host.exec(f"userdel --remove guest; rm {cloud}", check=False)


def test_a_proxy_that_cannot_have_its_new_ports_keeps_the_old_ones(rig: Rig, hosts: Pair) -> None:
    host = hosts[0]
    recipe = make_recipe(parse_profile("users: [deploy]\nproxy: {http_port: 8080}"))
    steps = {step.name: step for step in recipe.steps}
    host.exec("systemd-run --collect --unit=port-taken /usr/local/bin/caddy respond --listen :8080 taken")
    host.exec("curl -s --retry 20 --retry-connrefused http://127.0.0.1:8080")
    try:
        refused = run_steps(host, steps["ports"], steps["proxy"])
        assert "port 8080 is taken by caddy (process " in refused.stdout
        assert "@@freehold proxy start" not in refused.stdout
        # Taken between that look and the restart.
        before = host.exec("cat /etc/freehold/proxy/Caddyfile /etc/systemd/system/freehold-proxy.*").stdout
        refused = run_steps(host, steps["proxy"])
        assert "systemctl restart freehold-proxy.socket failed" in refused.stdout
        assert "the former proxy was started again" in refused.stdout
        after = host.exec("cat /etc/freehold/proxy/Caddyfile /etc/systemd/system/freehold-proxy.*").stdout
        assert after == before
        assert rig.http(host).text == "no site here"
        assert host.exec("systemctl is-active freehold-proxy.socket").stdout == "active\n"
        host.exec("systemctl stop port-taken")
        default = {step.name: step for step in make_recipe(parse_profile("users: [deploy]")).steps}
        assert "@@freehold proxy ok" in run_steps(host, default["ports"], default["proxy"]).stdout
    finally:
        host.exec("systemctl stop port-taken", check=False)


def test_the_commands_of_an_image_run_on_the_first_boot_of_its_host(hosts: Pair) -> None:
    host, unit = hosts[0], "freehold-commands.service"

    def step(text: str) -> Step:
        return next(step for step in make_recipe(parse_profile(text)).steps if step.name == "commands")

    # What the build of an image does, in the place of its tree.
    own = step("commands: ['docker version && systemctl is-active multi-user.target >>/var/tmp/own']")
    built = host.exec(("bash", "-s"), stdin=as_script(Recipe((own,), ()), offline=True))
    assert "@@freehold commands changed" in built.stdout
    try:
        assert host.exec("ls /var/tmp/own", check=False).returncode != 0
        host.reboot()
        host.exec("systemctl is-system-running --wait", check=False, timeout=120)
        assert host.read("/var/tmp/own") == "active\n", host.journal("--lines=50")
        assert "@@freehold commands ok" in run_steps(host, own).stdout
        host.reboot()
        host.exec("systemctl is-system-running --wait", check=False, timeout=120)
        assert host.read("/var/tmp/own") == "active\n"
    finally:
        assert "@@freehold commands changed" in run_steps(host, step("")).stdout
        host.exec("rm -rf /var/tmp/own /var/lib/freehold-bootstrap/commands")
    assert host.exec(f"systemctl is-enabled {unit}", check=False).returncode != 0


# Archives as Debian's are, each with a newer version of one package that is installed.
ARCHIVES = """\
set -eu
cd /var/tmp/archives
suite=$1
package() { # NAME VERSION DIRECTORY
    mkdir -p "$1/DEBIAN" "$3"
    printf '%s\\n' "Package: $1" "Version: $2" "Architecture: all" "Maintainer: x <x@example.com>" \\
        "Description: x" >"$1/DEBIAN/control"
    dpkg-deb --build "$1" "$3/$1.deb" >/dev/null
}
archive() { # NAME CODENAME LABEL
    package "fh-$1" 1 installed
    package "fh-$1" 2 "$1"
    (
        cd "$1"
        { dpkg-deb --field "fh-$1.deb"; printf 'Filename: ./fh-%s.deb\\nSize: %s\\nSHA256: %s\\n' "$1" \\
            "$(stat -c %s "fh-$1.deb")" "$(sha256sum <"fh-$1.deb" | cut -c -64)"; } >Packages
        printf '%s\\n' "Origin: Debian" "Label: $3" "Suite: x" "Codename: $2" "SHA256:" \\
            " $(sha256sum <Packages | cut -c -64) $(stat -c %s Packages) Packages" >Release
    )
    echo "deb [trusted=yes] file:$PWD/$1 ./" >>sources
}
archive security "$suite-security" Debian-Security
archive point "$suite" Debian
archive between "$suite-updates" Debian
archive proposed "$suite-proposed-updates" Debian
dpkg --install installed/*.deb >/dev/null
mkdir lists
cat >apt.conf <<END
Dir::Etc::SourceList "$PWD/sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$PWD/lists";
END
APT_CONFIG=$PWD/apt.conf apt-get -q update
"""


def test_updates_come_from_where_the_profile_says(hosts: Pair, trixie: Host) -> None:
    def update(text: str) -> str:
        steps = make_recipe(parse_profile(text)).steps
        return run_steps(host, *(step for step in steps if step.name == "updates")).stdout

    def offered() -> set[str]:
        dry = "APT_CONFIG=/var/tmp/archives/apt.conf unattended-upgrade --dry-run --verbose 2>&1"
        shown = host.exec(dry, timeout=120).stdout
        return set(re.findall(r"fh-(\w+)", shown.partition("Packages that will be upgraded:")[2]))

    def patterns() -> list[str]:
        shown = host.exec("apt-config dump Unattended-Upgrade::Origins-Pattern").stdout
        return re.findall(r"Origins-Pattern:: \"(\S+)\";", shown)

    for host in (hosts[0], trixie):
        own = "/etc/apt/apt.conf.d/60own"
        try:
            host.exec("mkdir /var/tmp/archives")
            host.exec(("bash", "-s", host.suite), stdin=ARCHIVES)
            assert len(patterns()) == 1
            assert offered() == {"security"}
            assert "@@freehold updates ok" in update("")
            assert "@@freehold updates changed" in update("updates: {everything: true}")
            assert "@@freehold updates ok" in update("updates: {everything: true}")
            assert offered() == {"security", "point", "between"}
            everything = HostProfile(updates=Updates(everything=True))
            assert drift(host, everything) == ""
            assert "label=Debian too" in drift(host, HostProfile())
            assert "@@freehold updates changed" in update("")
            assert offered() == {"security"}
            assert drift(host, HostProfile()) == ""
            # What a file of the profile's adds is the profile's.
            text = 'Unattended-Upgrade::Origins-Pattern:: "origin=Own";\n'
            host.write(own, text)
            assert drift(host, HostProfile()) == "updates come from origin=Own too"
            assert drift(host, HostProfile(files=(ExtraFile(own, text),))) == ""
        finally:
            host.exec(
                f"rm -rf {own} /var/tmp/archives; dpkg --purge fh-security fh-point fh-between fh-proposed"
            )
            update("")


def drift(host: Host, profile: HostProfile) -> str:
    """What `server check` says about updates."""
    (found,) = (result for result in run_checks(host.testinfra(), profile) if result.id == "updates")
    return found.detail
