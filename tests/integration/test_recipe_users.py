"""Users and names that the recipe gives a running host."""

from __future__ import annotations

import pytest

from cloudinit.checks import run_checks
from cloudinit.names import HARMLESS
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.recipe import make_recipe
from cloudinit.steps import Step
from tests.integration.steps import run_steps
from tests.rig import Host, Rig

Pair = tuple[Host, Host]


def test_what_stands_at_the_root_and_who_is_named_like_a_group(hosts: Pair) -> None:
    host = hosts[0]
    text = "groups: [web]\nusers: [web]\nfiles: [{path: /rescue.sh, content: x, mode: '0755', owner: web}]\n"
    steps = make_recipe(parse_profile(text)).steps
    wanted = tuple(step for step in steps if step.name in ("state", "user-web", "files"))
    try:
        assert "failed" not in run_steps(host, *wanted).stdout
        assert host.exec("id -gn web; stat -c '%a %U' /rescue.sh").stdout == "web\n755 web\n"
        assert " changed " not in run_steps(host, *wanted).stdout
    finally:
        default = (step for step in make_recipe(HostProfile()).steps if step.name == "files")
        assert "changed: removed /rescue.sh" in run_steps(host, *default).stdout
        host.exec("userdel --remove web; groupdel web; rm -f /etc/sudoers.d/freehold-web", check=False)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_a_user_may_be_called_like_a_group_of_debians(rig: Rig, hosts: Pair, name: str) -> None:
    host = hosts[0]
    key = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    step = user_step(f"users: [{{name: {name}, keys: '{key}'}}]")
    try:
        assert f"@@freehold user-{name} changed" in run_steps(host, step).stdout
        said = rig.control_run(("ssh", f"{name}@{host.name}", "id -gn; umask; sudo -n id -u")).stdout
        assert said.split() == ["freehold", "0022", "0"]
        assert f"@@freehold user-{name} ok" in run_steps(host, step).stdout
    finally:
        remove_user(host, name)
    # Debian's group outlives the user.
    host.exec(f"getent group {name}")


def remove_user(host: Host, name: str) -> None:
    """As an administrator would, once what logind keeps of a login has ended."""
    host.exec(
        f"loginctl terminate-user {name}; while pgrep -u {name} >/dev/null; do sleep 0.1; done; "
        f"userdel --remove {name}; rm -f /etc/sudoers.d/freehold-{name}"
    )


def user_step(text: str) -> Step:
    """The step of the only user of a profile."""
    (step,) = (step for step in make_recipe(parse_profile(text)).steps if step.name.startswith("user-"))
    return step


def test_a_user_that_is_on_the_server_already_stays_as_it_is(hosts: Pair) -> None:
    host = hosts[0]
    host.exec(
        "useradd --create-home --gid users --shell /bin/bash operator && echo mine >/home/operator/mine"
    )
    before = host.exec("id -u operator").stdout
    step = user_step("users: [operator]")
    try:
        assert "@@freehold user-operator changed" in run_steps(host, step).stdout
        assert host.exec("id -u operator").stdout == before
        assert host.exec("id -nG operator").stdout.split() == ["users", "sudo", "docker", "freehold"]
        assert host.read("/home/operator/mine") == "mine\n"
        assert "@@freehold user-operator ok" in run_steps(host, step).stdout
    finally:
        remove_user(host, "operator")


def test_a_host_that_keeps_its_name_has_a_full_one(hosts: Pair) -> None:
    host = hosts[0]
    before = host.read("/etc/hosts")
    own = "/etc/cloud/cloud.cfg.d/99-freehold-name.cfg"
    profile = parse_profile("machines: {web-1: {fqdn: web-1.example.com}}").for_host("web-1")
    (step,) = (step for step in make_recipe(profile).steps if step.name == "full-name")

    def said() -> str:
        (found,) = (result for result in run_checks(host.testinfra(), profile) if result.id == "name")
        return found.detail

    try:
        host.exec("echo 192.0.2.9 mine >>/etc/hosts")
        assert "its full name is" in said()
        assert "@@freehold full-name changed" in run_steps(host, step).stdout
        assert host.exec("hostname; hostname --fqdn").stdout.split() == ["web-1", "web-1.example.com"]
        assert "192.0.2.9 mine\n" in host.read("/etc/hosts")
        assert said() == ""
        assert host.read(own) == "manage_etc_hosts: false\n"
        assert "@@freehold full-name ok" in run_steps(host, step).stdout
    finally:
        host.write("/etc/hosts", before)
        host.exec(f"rm -f {own}")
