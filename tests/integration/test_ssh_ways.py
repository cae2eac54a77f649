"""Ways to a host over SSH: an accepted key, a jump host, a command, keys from secrets, the agent, users."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudinit.parts import users
from tests.conftest import Control, program
from tests.integration.app.project import Project, shown, squeezed
from tests.integration.test_deploy_refused import known_hosts
from tests.integration.test_traffic import with_assets
from tests.rig import Host, Rig


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    return Project(rig, hosts, control.directory)


def came_from(project: Project, host: str) -> str:
    """The address that a host's sshd sees."""
    return project.freehold("server", "exec", "-h", host, "echo $SSH_CONNECTION").stdout.split()[0]


def test_a_new_key_is_accepted_once_and_a_changed_one_never(project: Project) -> None:
    rig, (first, second) = project.rig, project.hosts
    real = project.rig.control_run(
        ("ssh-keygen", "-lf", "-"), stdin=second.host_key.public + "\n"
    ).stdout.split()[1]
    with known_hosts(rig, second.known_hosts, ""):
        refused = squeezed(project.freehold("details", expect=1))
        assert f"server trust {second.name}" in refused and real in refused, refused
        refused = squeezed(project.freehold("server", "trust", "web-2", expect=2))
        assert "nobody is here to compare" in refused and real in refused, refused
        refused = squeezed(project.freehold("server", "trust", "--fingerprint", "SHA256:x", expect=1))
        assert "none of the expected" in refused, refused
        assert "web-2" not in (rig.home / ".ssh" / "known_hosts").read_text()
        done = json.loads(project.freehold("server", "trust", "--fingerprint", real, "--json").stdout)
        assert [(entry["host"], entry["result"]) for entry in done] == [
            ("web-1", "known"),
            ("web-2", "accepted"),
        ]
        project.freehold("details")
    names = second.known_hosts.split(" ")[0]
    with known_hosts(rig, second.known_hosts, f"{names} {first.host_key.public}"):
        refused = squeezed(project.freehold("server", "trust", "web-2", "--fingerprint", real, expect=1))
        assert "not the known one" in refused and "ssh-keygen -R" in refused, refused


@contextlib.contextmanager
def ssh_config(rig: Rig, text: str) -> Iterator[None]:
    """Have it in front of what ~/.ssh/config says, as the first word there counts."""
    path = rig.home / ".ssh" / "config"
    before = path.read_text()
    path.write_text(text + before)
    try:
        yield
    finally:
        path.write_text(before)


def a_hundred_names(project: Project) -> None:
    """They are two hosts, which let nobody wait at the door beside those that are to come in."""
    names = [f"{'even' if number % 2 == 0 else 'odd'}-{number}" for number in range(100)]
    config = "".join(
        f"Host {kind}-*\n  HostName {host.address}\n"
        for kind, host in zip(("even", "odd"), project.hosts, strict=True)
    )
    project.config["servers"]["web"]["hosts"] = names
    project.config["sshkit"] = {"max_concurrent_starts": 4}
    project.save()
    # The last word counts, other than with most of sshd's settings.
    limit = "/etc/ssh/sshd_config.d/99-few.conf"
    # One that came beside a dozen others would be turned away, and said so in the journal. Three times as
    # many as there are, as sshd hears a little later than we do that somebody has come in.
    few = f"echo MaxStartups 12:100:12 >{limit}; systemctl restart ssh; date +%s.%N"
    since = [host.exec(few).stdout.strip() for host in project.hosts]
    try:
        with ssh_config(project.rig, config), project.rig.latency(40):
            done = project.freehold("server", "exec", "hostname", timeout=400)
            said = [line.split("|") for line in done.stdout.splitlines()]
            assert {name.strip(): text.strip() for name, text in said} == {
                name: "web-1" if name.startswith("even") else "web-2" for name in names
            }
        for host, time in zip(project.hosts, since, strict=True):
            journal = host.journal("--output=cat", "--unit=ssh", f"--since=@{time}")
            assert journal.count("Accepted publickey") == 50
            assert "MaxStartups" not in journal and "drop connection" not in journal
    finally:
        del project.config["sshkit"]
        for host in project.hosts:
            host.exec(f"rm {limit}; systemctl restart ssh")


def test_ways_to_a_host(project: Project, tmp_path: Path) -> None:
    rig, first = project.rig, project.hosts[0]
    project.config["ssh"] |= {"proxy": "deploy@web-1"}
    project.save()
    assert came_from(project, "web-2") == first.address
    project.config["ssh"] = {"user": "deploy", "proxy_command": "ssh -W %h:%p deploy@web-1"}
    project.save()
    assert came_from(project, "web-2") == first.address
    # As ~/.ssh/config says it, by the name that this has for the host.
    with ssh_config(rig, f"Host inner\n  HostName {project.hosts[1].address}\n  ProxyJump deploy@web-1\n"):
        project.config["servers"]["web"]["hosts"] = ["web-1", "inner"]
        project.config["ssh"] = {"user": "deploy"}
        project.save()
        assert came_from(project, "inner") == first.address
        assert came_from(project, "web-1") != first.address
    a_hundred_names(project)
    project.config["servers"]["web"]["hosts"] = ["web-1", "web-2"]

    # No key but the one in the secrets; then none that fits in front of the one that does.
    other = tmp_path / "other"
    rig.control_run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other))
    project.secrets |= {"OTHER": other.read_text(), "MINE": (rig.home / ".ssh" / "id_ed25519").read_text()}
    project.config["ssh"] = {
        "user": "deploy",
        "keys_only": True,
        "config": False,
        "key_data": ["OTHER"],
        "log_level": "info",
    }
    project.save()
    refused = squeezed(project.freehold("details", expect=1))
    assert "lets nobody in as 'deploy'" in refused, refused
    project.config["ssh"]["key_data"] = ["OTHER", "MINE"]
    project.config["sshkit"] = {"max_concurrent_starts": 1, "pool_idle_timeout": 60, "dns_retries": 1}
    project.save()
    done = project.freehold("server", "exec", "echo here")
    assert done.stdout.count("here") == 2 and "ssh: Authentication (publickey) successful!" in done.stderr
    # The checks come by the same way.
    assert json.loads(project.freehold("server", "check", "--json").stdout).keys() == {"web-1", "web-2"}
    project.secrets["MINE"] = "no key"
    project.save()
    assert "ssh.key_data" in squeezed(project.freehold("details", expect=2))


def test_bytes_in_and_out_do_not_wait_for_one_another(project: Project) -> None:
    late = "until grep -q notice err; do sleep 0.1; done; echo later"
    command = "echo notice >&2; read -r line; echo $line >&2; exit 5"
    done = project.rig.control_run(
        ("bash", "-c", f"'{program('freehold')}' server exec --raw '{command}' < <({late}) 2>err"),
        cwd=project.directory,
        check=False,
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert (project.directory / "err").read_text().splitlines()[-2:] == ["notice", "later"]

    # More than the window of either direction holds, to a command that does not read before it has written.
    command = "head -c 16M /dev/zero; wc -c >&2"
    done = project.rig.control_run(
        (program("freehold"), "server", "exec", "--raw", command),
        cwd=project.directory,
        stdin=bytes(8 * 1024**2),
    )
    assert (len(done.stdout), done.stderr.splitlines()[-1]) == (16 * 1024**2, str(8 * 1024**2))


def test_a_terminal_shows_all_that_was_said_and_takes_all_that_is_piped(project: Project) -> None:
    # The exit code travels ahead of what the host has no window for yet.
    for _ in range(3):
        done = project.rig.control_run(
            (program("freehold"), "server", "exec", "-i", "seq 400000"), cwd=project.directory
        )
        assert done.stdout.endswith("399999\r\n400000\r\n")
    lines = b"x" * 70 + b"\n"
    done = project.rig.control_run(
        (program("freehold"), "server", "exec", "-i", "stty -echo; sleep 1; wc -l; exit 7"),
        cwd=project.directory,
        stdin=lines * 60_000,
        check=False,
    )
    assert (done.stdout.strip()[-5:], done.returncode) == ("60000", 7)


def test_a_command_whose_end_nobody_heard_of_has_not_succeeded(project: Project) -> None:
    # The parent is the process of sshd that this connection has.
    command = "[ $(hostname) != web-2 ] || kill -9 $PPID"
    for words in (("server", "exec"), ("server", "exec", "--raw", "-h", "web-2")):
        refused = squeezed(project.freehold(*words, command, expect=1))
        assert "web-2" in refused and "the connection was lost" in refused, refused


def test_the_agent_goes_along_where_the_file_says_so(project: Project, tmp_path: Path) -> None:
    rig = project.rig
    env = ("env", f"SSH_AUTH_SOCK={tmp_path / 'agent'}")
    with rig.control_start(("ssh-agent", "-D", "-a", tmp_path / "agent")):
        project.until((tmp_path / "agent").exists, "the agent")
        rig.control_run((*env, "ssh-add", "-q", rig.home / ".ssh" / "id_ed25519"))
        for forward, code in ((False, 2), (True, 0)):
            project.config["ssh"]["forward_agent"] = forward
            project.save()
            done = rig.control_run(
                (*env, program("freehold"), "server", "exec", "-h", "web-1", "ssh-add -l"),
                cwd=project.directory,
                check=False,
            )
            assert done.returncode == code, shown(done)
            assert ("SHA256:" in done.stdout) is forward


def test_another_member_of_the_group_goes_on_where_root_began(project: Project) -> None:
    """`ssh.root: false` after root has set up and deployed; the other one has not even sudo."""
    for host in project.hosts:
        host.exec(
            "useradd --create-home --shell /bin/bash --groups docker,freehold anna; "
            "for home in /home/anna /root; do cp -rT /home/deploy/.ssh $home/.ssh; done; "
            "chown -R root: /root/.ssh; chown -R anna: /home/anna/.ssh"
        )
    project.config["servers"]["web"]["asset_path"] = "/srv/public/assets"
    project.secrets["TOKEN"] = "two lines\nof a secret"
    project.config["ssh"] = {"user": "root"}
    project.save()
    first = project.hosts[0]
    secrets = "find /var/lib/freehold/apps -type f -name '*.env*' -perm /077"
    try:
        with_assets(project, "v1", "one.css")
        project.send("v1")
        # As a version of Freehold left it that kept everything to its own user.
        first.exec("chmod -R g-w /var/lib/freehold/apps/* /var/lib/freehold/proxy/* /run/lock/freehold/*")
        project.config["ssh"] = {"user": "anna"}
        project.save()
        with_assets(project, "v2", "two.css")
        said = squeezed(project.send("v2", expect=1))
        assert "the lock's file belongs to root alone" in said and "server bootstrap" in said, said
        repair = f'set -eu; changed() {{ echo "$*"; }}\n{users.REOPEN}'
        assert "are the group's" in first.exec(("bash", "-c", repair)).stdout
        assert first.exec(("bash", "-c", repair)).stdout == ""
        project.send("v2")
        assert project.settled("v2")
        # The old pages may ask for the new assets, and the other way about.
        for version in ("v1", "v2"):
            files = first.exec(f"ls /var/lib/freehold/apps/shop/assets/{version}/web").stdout.split()
            assert {"one.css", "two.css"} <= set(files), files
        # Root's version, first in the containers that are there, then in new ones.
        project.rollback("v1")
        env = "cd /var/lib/freehold/apps/shop/versions/v1; stat -c '%U %a' web.env*; cat web.env.multi"
        assert first.exec(env).stdout == ("anna 600\nanna 600\nexport TOKEN='two lines\nof a secret'\n"), (
            first.exec(env).stdout
        )
        project.rollback("v2")
        project.send("v1")
        assert project.settled("v1")
        found = first.exec(secrets).stdout
        assert found == "", found
        # And back again.
        project.config["ssh"] = {"user": "deploy"}
        project.save()
        with_assets(project, "v3", "three.css")
        project.send("v3")
        assert project.settled("v3")
        project.config["ssh"] = {"user": "anna"}
        project.save()
        project.freehold("app", "remove", "-y")
        assert first.exec("ls /var/lib/freehold/apps").stdout == ""
    finally:
        for host in project.hosts:
            host.exec("rm -r /root/.ssh; userdel --force --remove anna", check=False)
