"""What the image commands make of their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.barecli import host_seed
from builder.cliopts import profile_of, read_seed, spec_of
from freehold.command import Context
from freehold.console import Console
from freehold.errors import ConfigError, UsageError


def test_an_image_holds_secrets_of_the_profile_only_where_they_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    profile = tmp_path / "config/host.yml"
    profile.write_text(f"users: [{{name: deploy, password: '$6${'a' * 16}${'b' * 86}'}}]\n")
    context = Context(console=Console(quiet=True), root=tmp_path)
    options: dict[str, Any] = {
        "suite": "trixie",
        "arch": "amd64",
        "size": "4G",
        "kernel": "cloud",
        "profile": None,
        "packages": "",
        "allow_secrets": False,
    }
    with pytest.raises(UsageError, match="would hold secrets: the password hash of deploy"):
        spec_of(context, options)
    assert spec_of(context, options | {"allow_secrets": True}).profile is not None
    profile.write_text("users: [deploy]\n")
    assert spec_of(context, options).profile is not None


def test_a_seed_for_an_image_names_no_devices_that_it_could_not_make(tmp_path: Path) -> None:
    for name in ("user-data", "meta-data"):
        (tmp_path / name).write_text("")
    network = tmp_path / "network-config"
    network.write_text("version: 2\nethernets: {eth0: {dhcp4: true}}\n")
    assert set(read_seed(tmp_path)) == {"user-data", "meta-data", "network-config"}
    network.write_text("version: 2\nbridges: {br0: {interfaces: [eth0], dhcp4: true}}\n")
    with pytest.raises(ConfigError, match=r"network-config:2:1 bridges: cloud-init makes no bonds") as caught:
        read_seed(tmp_path)
    assert "/etc/systemd/network" in caught.value.hint


def test_an_installed_machine_has_the_name_that_the_profile_gives_it(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/host.yml").write_text("users: []\nmachines: {192.0.2.10: {hostname: app-1}}\n")
    context = Context(console=Console(quiet=True), root=tmp_path)
    for host, name in (("192.0.2.10", "app-1"), ("web-2", "web-2")):
        files = host_seed(context, host, profile_of(context, None), None)
        assert f"local-hostname: {name}\n" in files["meta-data"].decode()
        assert f"hostname: {name}\n" in files["user-data"].decode()
