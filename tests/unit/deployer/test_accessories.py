"""Accessories as scripts: what is run on a host, what is written there, and that no secret is in an argv."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployer.accessoryfiles import read_files
from deployer.commands import accessory as commands
from deployer.commands import accessoryexec, accessoryfiles, accessorylook, phases
from deployer.commands.accessorylook import Found
from deployer.commands.registry import Access
from deployer.config import DeployConfig
from freehold.errors import ConfigError
from freehold.process import LocalRunner
from freehold.secret import Secret
from tests.unit.deployer import samples

DB: dict[str, Any] = {
    "image": "postgres:17",
    "host": "db-1",
    "port": "127.0.0.1:5432:5432",
    "cmd": "postgres -c 'max connections=5'",
    "env": {"clear": {"MODE": "it's on"}, "secret": ["PASSWORD"]},
    "labels": {"keeper": "us"},
    "options": {"restart": "always", "memory": "1g", "log-opt": ["max-size=1m"]},
    "files": [
        "config/pg.conf:/etc/pg.conf:ro",
        {"local": "key.pem", "remote": "/etc/key.pem", "owner": "999:999"},
    ],
    "directories": ["data:/var/lib/pg", {"local": "/srv/backup", "remote": "/backup", "mode": "0750"}],
    "volumes": ["wal:/wal", "$PWD/in it:/in"],
}


def config(directory: Path, **more: Any) -> DeployConfig:
    return samples.config(
        directory,
        secrets={"PASSWORD": "top secret", "RUSER": "me", "RPASSWORD": "registry secret"},
        accessories={"db": DB, **more},
        logging={"driver": "local", "options": {"max-size": "5m", "compress": "true"}},
    )


def test_its_container_is_what_the_file_says(tmp_path: Path) -> None:
    made = config(tmp_path)
    db = made.accessory("db")
    argv = commands.run_argv(made, db, "db-1")

    def values(flag: str) -> list[str]:
        return [argv[index + 1] for index, word in enumerate(argv) if word == flag]

    assert values("--name") == ["shop-db"] and values("--restart") == ["always"]
    assert values("--network") == ["freehold"] and values("--publish") == ["127.0.0.1:5432:5432"]
    assert values("--log-driver") == ["local"]
    assert values("--log-opt") == ["compress=true", "max-size=1m"]
    assert values("--memory") == ["1g"] and "--ip" not in argv
    assert {"service=shop-db", "keeper=us", "freehold.service=shop"} <= set(values("--label"))
    assert values("--env") == ["KAMAL_HOST=db-1"]
    start = commands.start_step(made, db, "db-1").shell
    assert start.endswith("postgres:17 postgres -c 'max connections=5'")
    mounts = commands.mounts(db)
    told = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {mounts}"], env={"HOME": "/home/me"}, capture_output=True, text=True
    ).stdout.split("\n")
    assert told[1::2] == [
        "wal:/wal",
        "/home/me/in it:/in",
        "/home/me/shop-db/etc/pg.conf:/etc/pg.conf:ro",
        "/home/me/shop-db/etc/key.pem:/etc/key.pem",
        "/home/me/shop-db/data:/var/lib/pg",
        "/srv/backup:/backup",
    ]


def test_every_script_is_bash_and_holds_no_secret_in_a_command(tmp_path: Path) -> None:
    proxy = {"host": "admin.test", "app_port": 3000}
    made = config(
        tmp_path,
        admin={"image": "own/admin", "roles": ["web"], "proxy": proxy},
        odd={"image": "own/odd", "host": "web-1", "proxy": proxy | {"host": "odd.test"}, "network": "mine"},
    )
    login = Access("ghcr.io", Secret("me"), Secret("registry secret"))
    for item in made.accessories:
        contents = dict.fromkeys((mount.local for mount in item.files), accessoryfiles.Content(b"x"))
        steps = [
            accessorylook.look_step([item]),
            accessorylook.pull_step(item, login),
            accessoryfiles.directories_step(item),
            accessoryfiles.files_step(item, contents),
            commands.env_step(made, item),
            commands.start_step(made, item, "web-1"),
            *commands.ready_steps(made, item, "web-1"),
            commands.settle_step(item),
            commands.put_back_step(item),
            *commands.start_again_steps(made, item, "web-1"),
            commands.stop_step(item),
            commands.connect_step(item),
            *commands.remove_steps(made, item),
        ]
        text = phases.guarded(made, steps).render()
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")
        for step in steps:
            if not step.name.startswith("env-"):
                assert "top secret" not in step.shell
    pulled = accessorylook.pull_step(made.accessory("db"), login).shell
    # Only a word of the shell itself is given the password.
    assert [line.strip()[:18] for line in pulled.splitlines() if "registry secret" in line] == [
        "auth=$(printf %s '"
    ]
    odd = commands.start_step(made, made.accessory("odd"), "web-1").shell
    assert "--network mine" in odd and "docker network connect --ip $address freehold shop-odd" in odd
    names = [step.name for step in commands.ready_steps(made, made.accessory("admin"), "web-1")]
    assert names == ["ready-admin", "switch-admin", "routes-admin"]
    for text in (
        accessoryexec.exec_new(made.accessory("db"), "psql"),
        accessoryexec.exec_reuse(made.accessory("db"), "ls"),
    ):
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    assert "secret" not in accessoryexec.exec_new(made.accessory("db"), "psql")


def test_what_a_host_has(tmp_path: Path) -> None:
    made = config(tmp_path)
    lines = [
        "container\tdb\trunning\tUp 2 hours\tpostgres:16\t2 hours ago\tbridge,freehold",
        "image\tdb\tsha256:1",
        "image\tother\tsha256:2",
        "Warning: something else",
    ]
    found = accessorylook.parse_look(lines)
    assert found["db"] == Found("running", "Up 2 hours", "postgres:16", "2 hours ago", "sha256:1", True)
    assert found["other"] == Found(image="sha256:2")
    step = accessorylook.look_step(made.accessories)
    assert "name=^/?shop-db$" in step.shell


def test_files_arrive_with_mode_and_owner(tmp_path: Path) -> None:
    """The scripts run here, with the words that change owners replaced by ones that say so."""
    root = tmp_path / "project"
    (root / "config").mkdir(parents=True)
    (root / "config" / "pg.conf.erb").write_text("mode = <%= ENV['MODE'] %>\npass = <%= ENV['PASSWORD'] %>\n")
    (root / "bin").write_bytes(bytes(range(256)))
    (root / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    files = [
        "config/pg.conf.erb:/etc/pg.conf",
        {"local": "bin", "remote": "/usr/bin", "mode": "0640", "owner": "999:999"},
        "key.pem:/etc/key",
    ]
    made = samples.config(
        tmp_path, secrets={"PASSWORD": "top secret"}, accessories={"db": {**DB, "files": files}}
    )
    db = made.accessory("db")
    contents = read_files(
        made, db, root=root, environ={}, runner=LocalRunner(), warn=lambda text: pytest.fail(text)
    )
    assert contents["config/pg.conf.erb"].data == b"mode = it's on\npass = top secret\n"
    assert "top secret" not in repr(contents)
    home = tmp_path / "home"
    home.mkdir()
    words = (
        "as_owner() { image=$1 path=$2; shift 2; "
        '[ $1 = chmod ] && "$@" "$path" || echo "$@" >>"$HOME/owned"; }'
    )
    steps = [accessoryfiles.directories_step(db), accessoryfiles.files_step(db, contents)]
    script = "\n".join([words, *(step.shell for step in steps)]).replace("/srv/backup", str(home / "backup"))
    for _ in range(2):
        subprocess.run(["bash", "-euc", script], env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, check=True)
    place = home / "shop-db"
    modes = {
        str(path.relative_to(place)): oct(path.stat().st_mode & 0o777)
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }
    assert modes == {"etc/key": "0o600", "etc/pg.conf": "0o755", "usr/bin": "0o640"}
    assert (place / "usr" / "bin").read_bytes() == bytes(range(256))
    assert place.stat().st_mode & 0o777 == 0o700
    assert (home / "backup").stat().st_mode & 0o777 == 0o750
    assert (home / "owned").read_text().splitlines() == ["chown 999:999"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"db": {**DB, "service": "shop"}}, "would be called 'shop', as the application is"),
        ({"web": {**DB, "proxy": {"host": "db.test"}}}, "would be called 'shop-web', as the role 'web' is"),
        ({"all": DB}, "'all' means every accessory"),
    ],
)
def test_names_are_kept_apart(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        samples.config(tmp_path, secrets={}, accessories=changes)
    assert message in caught.value.message
    assert caught.value.where is not None and caught.value.where.line


def test_what_does_not_collide_is_let_be(tmp_path: Path) -> None:
    """A role's containers have a version in their names."""
    assert samples.config(tmp_path, accessories={"jobs": DB, "web": DB}).warnings == ()
    shared = samples.config(tmp_path, accessories={"db": DB, "again": {**DB, "service": "shop-db"}})
    assert "'db' and 'again' are one container, 'shop-db'" in shared.warnings[0]


@pytest.mark.parametrize(
    ("name", "message"), [("missing.conf", "there is no file"), ("folder", "is a directory")]
)
def test_a_file_that_cannot_be_sent(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    made = samples.config(tmp_path, accessories={"db": {**DB, "env": {}, "files": [f"{name}:/etc/x"]}})
    with pytest.raises(ConfigError) as caught:
        read_files(
            made,
            made.accessory("db"),
            root=tmp_path,
            environ={},
            runner=LocalRunner(),
            warn=lambda text: None,
        )
    assert message in caught.value.message
    assert caught.value.where is not None and caught.value.where.key == "accessories.db.files"


def test_a_host_without_roles_still_has_a_lock(tmp_path: Path) -> None:
    made = config(tmp_path).select(hosts=["db-1"])
    assert made.roles == () and made.lock_host == "db-1"
    assert shlex.split(commands.home_path("/srv/my data")) == ["/srv/my data"]


@pytest.mark.parametrize("login", [None, Access("ghcr.io", Secret("me"), Secret("pass 'word"))])
@pytest.mark.parametrize(("code", "said"), [(0, ["pulled"]), (1, ["denied", "refused"])])
def test_a_pull_says_how_it_went(tmp_path: Path, login: Access | None, code: int, said: list[str]) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho denied >&2\nexit {code}\n")
    (tmp_path / "docker").chmod(0o755)
    step = accessorylook.pull_step(config(tmp_path).accessory("db"), login)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step.shell],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.splitlines(), done.stderr) == (said, "")
