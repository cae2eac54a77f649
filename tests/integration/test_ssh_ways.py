"""Ways to a host over SSH: a key that is accepted, a jump host, a command, keys from secrets, the agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Control, program
from tests.integration.app.project import Project, shown, squeezed
from tests.integration.test_deploy_refused import known_hosts
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


def test_ways_to_a_host(project: Project, tmp_path: Path) -> None:
    rig, first = project.rig, project.hosts[0]
    project.config["ssh"] |= {"proxy": "deploy@web-1"}
    project.save()
    assert came_from(project, "web-2") == first.address
    project.config["ssh"] = {"user": "deploy", "proxy_command": "ssh -W %h:%p deploy@web-1"}
    project.save()
    assert came_from(project, "web-2") == first.address

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
    project.secrets["MINE"] = "no key"
    project.save()
    assert "ssh.key_data" in squeezed(project.freehold("details", expect=2))


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
