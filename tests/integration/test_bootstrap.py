"""`server bootstrap` and `server check`: a plain Debian becomes a prepared host, and drift is seen."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deployer.become import PASSWORD_VARIABLE
from freehold.process import Completed
from tests.conftest import Control, program
from tests.rig import Host, HostSpec, Rig

PASSWORD = "correct horse"
PROFILE = """\
users:
  - name: deploy
    keys: [KEY]
    groups: [audit]
groups: [audit]
timezone: Europe/Berlin
locale: de_DE.UTF-8
fail2ban: true
packages:
  - htop
  - no-such-package
ssh: {options: {AllowTcpForwarding: local}}
firewall: {open: [5432 from 198.18.0.0/15, 8000-8010]}
updates: {reboot: "04:30"}
files:
  - {path: /etc/app/banner, content: hello, mode: "0640", group: audit}
commands: ["echo ran >>/var/tmp/ran"]
machines:
  HOST: {hostname: app-1, fqdn: app-1.example.com}
"""
# Has the lists' lock for a while, and the archives' until the recipe's apt was refused it.
DAILY = """\
import fcntl, os, subprocess, time
lists, archives = (open(f"/var/{path}/lock", "w") for path in ("lib/apt/lists", "cache/apt/archives"))
for lock in (lists, archives):
    fcntl.lockf(lock, fcntl.LOCK_EX)
while not os.path.exists("/var/lib/freehold-bootstrap/lock"): time.sleep(0.1)
time.sleep(3)
lists.close()
asks = lambda: subprocess.call(["pgrep", "-f", "apt-get .*fix-broke[n]"]) == 0
while not asks(): time.sleep(0.01)
while asks(): time.sleep(0.01)
"""


@pytest.fixture(params=["bookworm", "trixie"])
def plain(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A fresh server: root may log in by key, nothing is prepared."""
    (host,) = rig.boot(HostSpec(f"fresh-{request.param}", request.param, plain=True))
    yield host
    rig.remove(host.name)


class Operator:
    """The operator's project for one host."""

    def __init__(self, control: Control, host: Host) -> None:
        self.control = control
        self.host = host
        (control.directory / "config").mkdir()
        self.log_in_as("root")

    def log_in_as(self, user: str) -> None:
        text = f"service: app\nimage: app\nservers: [{self.host.name}]\nssh: {{user: {user}}}\n"
        self.write("deploy.yml", text + "builder: {arch: amd64}\n")

    def write(self, name: str, text: str) -> None:
        (self.control.directory / "config" / name).write_text(text)

    def run(self, *words: str, **rest: Any) -> Completed:
        return self.control.run(program("freehold"), *words, timeout=400, **rest)

    def on_terminal(self, answer: str, *words: str) -> tuple[int, str]:
        """Run on a terminal and answer the first question; exit code and all that it showed."""
        argv = [str(self.control.rig.enter), str(program("freehold")), *words]
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.control.directory)
            os.execv(argv[0], argv)
        shown = b""
        # The end of the other side is an error of the terminal's.
        with os.fdopen(terminal, "r+b", buffering=0) as stream, contextlib.suppress(OSError):
            while data := stream.read(4096):
                shown += data
                if answer and shown.rstrip().endswith(f"{self.host.name}:".encode()):
                    stream.write(f"{answer}\n".encode())
                    answer = ""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    def bootstrap(self, **rest: Any) -> list[str]:
        """The steps that changed something."""
        found: dict[str, Any] = json.loads(self.run("server", "bootstrap", "--json", **rest).stdout)
        changed: list[str] = found[self.host.name]["changed"]
        return changed

    def drift(self, **rest: Any) -> dict[str, str]:
        """Check and what is wrong, as `server check` says it; its exit code agrees."""
        done = self.run("server", "check", "--json", check=False, **rest)
        assert done.stdout, done.stderr
        checks = json.loads(done.stdout)[self.host.name]["checks"]
        assert len(checks) >= 20
        wrong = {check["id"]: check["detail"] for check in checks if not check["ok"]}
        assert done.returncode == int(bool(wrong))
        return wrong


@pytest.fixture
def operator(control: Control, plain: Host) -> Operator:
    return Operator(control, plain)


def test_a_plain_debian_becomes_a_prepared_host_and_stays_one(
    rig: Rig, operator: Operator, plain: Host
) -> None:
    key = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    profile = PROFILE.replace("KEY", repr(key)).replace("HOST", plain.name)
    environment = {}
    if plain.suite == "trixie":
        # A provider's image: root's door is shut, the user's sudo asks for a password.
        plain.exec(
            "useradd --create-home --shell /bin/sh --groups sudo admin && "
            f"echo 'admin:{PASSWORD}' | chpasswd && cp -r /root/.ssh /home/admin/ && "
            "chown -R admin: /home/admin/.ssh && rm -r /root/.ssh"
        )
        operator.log_in_as("admin")
        operator.write("host.yml", profile)
        refused = operator.run("server", "bootstrap", check=False)
        assert refused.returncode == 1
        assert "sudo asks for a password" in refused.stderr
        refused = operator.run("server", "bootstrap", check=False, env={PASSWORD_VARIABLE: "wrong"})
        assert refused.returncode == 1
        assert "sudo does not take the password" in refused.stderr
        assert "wrong" not in refused.stderr
        environment = {PASSWORD_VARIABLE: PASSWORD}
        status, shown = operator.on_terminal(PASSWORD, "server", "bootstrap")
        assert f"[sudo] password for admin on {plain.name}:" in shown
        assert PASSWORD not in shown
        assert (status, "no package 'no-such-package'" in shown) == (2, True)

    # A package that nobody has: said with its line, before anything is changed.
    operator.write("host.yml", profile)
    unknown = operator.run("server", "bootstrap", check=False, env=environment)
    assert unknown.returncode == 2
    assert "config/host.yml:11:5 packages[1]: Debian GNU/Linux" in unknown.stderr
    assert f"on {plain.name} has no package 'no-such-package'" in unknown.stderr
    assert plain.exec("ls -d /etc/docker /etc/freehold", check=False).stdout == ""

    operator.write("host.yml", profile.replace("  - no-such-package\n", ""))
    break_off(plain)
    changed = operator.bootstrap(env=environment)
    assert {"packages", "engine", "user-deploy", "ssh", "firewall", "name", "files", "commands"} <= set(
        changed
    )
    assert rig.http(plain).text == "no site here"
    # As a user whose sudo asks for a password, too; and not without it.
    assert operator.drift(env=environment) == {}
    if environment:
        refused = operator.run("server", "check", check=False)
        assert refused.returncode == 1
        assert "sudo asks for a password" in refused.stderr
    assert PASSWORD not in plain.journal()

    # The recipe goes on through the user that it made, and finds nothing to do.
    operator.log_in_as("deploy")
    assert operator.bootstrap() == []
    assert "nothing to change" in operator.run("server", "bootstrap").stderr
    assert operator.drift() == {}
    assert plain.read("/var/tmp/ran") == "ran\n"
    assert plain.exec("hostname; hostname --fqdn").stdout.split() == ["app-1", "app-1.example.com"]
    assert plain.exec("date +%Z").stdout.strip() in ("CET", "CEST")
    assert "LANG=de_DE.UTF-8" in plain.exec("cat /etc/default/locale /etc/locale.conf", check=False).stdout
    jail_shuts_out(plain, rig["web-1"])

    # What listens, and who gets through.
    plain.exec("systemd-run --unit=open python3 -m http.server 8005")
    plain.exec("systemd-run --unit=shut python3 -m http.server 9005")
    plain.exec(
        "for i in $(seq 300); do [ $(ss -Hltn | grep -c ':[89]005 ') = 2 ] && exit; sleep 0.2; done; exit 1"
    )
    shown = operator.run("server", "check").stdout
    rows = {tuple(line.split()[1:]) for line in shown.partition("PORT")[2].splitlines()[1:]}
    assert ("8005/tcp", "0.0.0.0", "python3", "everybody") in rows
    assert ("9005/tcp", "0.0.0.0", "python3", "nobody") in rows
    assert rig.http(plain, port=8005).status == 200
    with pytest.raises(OSError):
        rig.http(plain, port=9005, timeout=2)

    # Somebody works on the host by hand; `check` says what, `bootstrap` takes it back.
    plain.exec(
        "nft add rule inet freehold input tcp dport 9005 accept && chmod 666 /etc/app/banner && "
        "gpasswd --delete deploy audit && echo 'PasswordAuthentication yes' "
        ">/etc/ssh/sshd_config.d/10-freehold.conf && systemctl disable --now fail2ban && "
        # As where the generation of the locale was cut off.
        "rm /usr/lib/locale/locale-archive"
    )
    assert operator.drift() == {
        "firewall": "the rules in force open more: 9005/tcp",
        "files": "/etc/ssh/sshd_config.d/10-freehold.conf was changed; /etc/app/banner is 666 root audit, "
        "not 640 root audit",
        "users": "deploy is not in audit",
        "ssh": operator.drift()["ssh"],
        "fail2ban": "fail2ban.service is inactive",
    }
    assert "DRIFT" in operator.run("server", "check", check=False).stdout
    repaired = operator.bootstrap()
    assert {"user-deploy", "ssh", "firewall", "locale", "files", "fail2ban"} == set(repaired)
    assert operator.drift() == {}

    if plain.suite == "trixie":
        # An option that the engine does not know is found before the engine is restarted with it.
        whole = profile.replace("  - no-such-package\n", "")
        operator.write("host.yml", whole + "docker: {options: {no-such-option: 1}}\n")
        refused = operator.run("server", "bootstrap", check=False)
        assert refused.returncode == 1
        assert "Docker refuses the options" in refused.stderr
        assert "no-such-option" not in plain.read("/etc/docker/daemon.json")
        operator.write("host.yml", whole)

    assert operator.run("server", "exec", "id -un; echo $((40 + 2))").stdout == "deploy\n42\n"
    assert operator.run("server", "exec", "exit 7", check=False).returncode == 7

    plain.reboot()
    # It runs before it watches.
    plain.exec(
        "for i in $(seq 300); do fail2ban-client status | grep -q sshd && exit; sleep 0.2; done; exit 1"
    )
    assert operator.drift() == {}
    assert operator.bootstrap() == []
    own_suite(operator)


def break_off(host: Host) -> None:
    """As a run that ended inside dpkg leaves a host, with less than it had begun; apt-daily is at it."""
    host.exec(
        "dpkg --unpack /srv/packages/docker.io_*.deb && "
        "dpkg --status docker.io >/var/lib/dpkg/updates/0001 && echo >>/var/lib/dpkg/updates/0001",
        timeout=300,
    )
    assert "dpkg was interrupted" in host.exec("apt-get -y install htop 2>&1", check=False).stdout
    host.exec(("systemd-run", "--unit=daily", "python3", "-c", DAILY))


def jail_shuts_out(host: Host, stranger: Host) -> None:
    """Who keeps failing to log in cannot open a connection any more, until the jail lets go."""
    assert "sshd" in host.exec("fail2ban-client status").stdout
    call = (
        "timeout 40 ssh -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=no "
        "-o UserKnownHostsFile=/dev/null "
        f"intruder@{host.address} true 2>&1"
    )
    assert "Permission denied" in stranger.exec(call, check=False).stdout
    end = time.monotonic() + 300
    while stranger.address not in host.exec("fail2ban-client status sshd").stdout:
        assert time.monotonic() < end, host.exec("fail2ban-client status sshd").stdout
        stranger.exec(call, check=False)
    # Whoever is shut out gets a word at once, or none for as long as ssh waits.
    shut = stranger.exec(call, check=False).stdout
    assert "refused" in shut or "timed out" in shut, shut
    host.exec(f"fail2ban-client unban {stranger.address}")
    assert "Permission denied" in stranger.exec(call, check=False).stdout


def own_suite(operator: Operator) -> None:
    """The same checks in the user's own pytest."""
    directory = operator.control.directory
    (directory / "conftest.py").write_text('pytest_plugins = ["cloudinit.testing"]\n')
    (directory / "pytest.ini").write_text("[pytest]\n")
    text = "def test_host(freehold_check):\n    assert freehold_check.ok, freehold_check.detail\n"
    (directory / "test_own.py").write_text(text)
    host = f"--hosts=ssh://deploy@{operator.host.name}"
    words = (program("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--sudo", host, directory)
    assert " passed" in operator.control.run(*words).stdout
    operator.host.exec("systemctl stop fail2ban")
    failed = operator.control.run(*words, check=False)
    assert failed.returncode == 1
    assert "fail2ban.service is inactive" in failed.stdout
    assert "1 failed" in failed.stdout
