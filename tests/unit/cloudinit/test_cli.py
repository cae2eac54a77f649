from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cloudinit.cli import seed
from freehold.command import Context, run
from freehold.console import Console

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/host.yml").write_text(f"users:\n  - name: deploy\n    keys: [{ED}]\n")
    return tmp_path


def call(root: Path, *argv: str) -> int:
    return run(seed, argv, Context(console=Console(), root=root))


def test_a_seed_is_written_for_a_provider(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "web-1", "--for", "hetzner", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    directory = root / "seeds/web-1"
    assert shown["files"] == ["meta-data", "seed.iso", "user-data", "vendor-data"]
    assert shown["user_data_bytes"] == (directory / "user-data").stat().st_size < 16 * 1024
    assert yaml.safe_load((directory / "user-data").read_text())["users"][0]["ssh_authorized_keys"] == [ED]
    assert (directory / "seed.iso").stat().st_mode & 0o777 == 0o600


def test_a_host_key_needs_consent_and_leaves_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "web-1", "--host-key") == 2
    assert "--allow-secrets" in capsys.readouterr().err
    assert not (root / "seeds").exists()
    assert call(root, "web-1", "--host-key", "--allow-secrets", "--golden") == 0
    known = (root / "seeds/web-1/known_hosts").read_text()
    data = yaml.safe_load((root / "seeds/web-1/user-data").read_text())
    assert known.split()[1:3] == data["ssh_keys"]["ed25519_public"].split()[:2]
    assert "runcmd" not in data


def test_a_mistake_in_the_profile_stops_before_anything_is_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "config/host.yml").write_text("users:\n  - name: Root\n")
    assert call(root, "web-1") == 2
    assert "config/host.yml:2:" in capsys.readouterr().err
    assert not (root / "seeds").exists()


def test_a_name_that_is_no_host_name_is_refused(root: Path) -> None:
    assert call(root, "web_1") == 2
    assert not (root / "seeds").exists()
