"""Hooks: which secrets one is given, what it is told, and how a failure reads."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deployer.cli.options import Target
from deployer.cli.session import open_session
from deployer.config import load_config
from deployer.hooks import Hooks, secrets_named, strangers
from freehold.command import Context
from freehold.console import Console
from freehold.errors import HookError
from freehold.process import Argument, Completed, LocalRunner

NAMES = ("TOKEN", "TOKEN_OLD", "KEY")


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("#!/bin/sh\necho hello\n", ()),
        ('#!/bin/sh\ncurl -H "Bearer $TOKEN"\n', ("TOKEN",)),
        ("#!/usr/bin/env ruby\nputs ENV.fetch('TOKEN_OLD')\n", ("TOKEN_OLD",)),
        ("#!/bin/sh\n# secrets: KEY\n./deeper\n", ("KEY",)),
        ("#!/bin/sh\n# secrets: *\n./deeper\n", NAMES),
        ("#!/bin/sh\necho MY_TOKENS\n", ()),
    ],
)
def test_a_hook_gets_the_secrets_that_it_names(text: str, given: tuple[str, ...]) -> None:
    assert secrets_named(text, NAMES) == given


class Place:
    """A project with a hooks folder and one secret whose command must not run unasked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = io.StringIO()
        (root / "config").mkdir()
        (root / ".freehold" / "hooks").mkdir(parents=True)
        self.more = ""
        (root / ".freehold" / "secrets").write_text(
            f"TOKEN=very-secret\nKEY=$(touch {root}/asked && echo key-value)\n"
        )

    def hook(self, name: str, text: str, mode: int = 0o755) -> Path:
        path = self.root / ".freehold" / "hooks" / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def hooks(self, *, skip: bool = False, verbose: bool = False) -> Hooks:
        (self.root / "config" / "deploy.yml").write_text(
            f"service: shop\nimage: own/shop\nservers: [web-1, web-2]\n{self.more}"
        )
        runner = LocalRunner()
        environ = {"FROM_OUTSIDE": "yes", "KAMAL_VERSION": "stale"}
        config = load_config(self.root, environ=environ, runner=runner)
        return Hooks(
            config,
            self.root,
            runner,
            Console(err=self.said, verbose=verbose, color=False),
            environ,
            command="deploy",
            subcommand=None,
            find_version=lambda: "0123456789abcdef",
            now=lambda: "2026-01-31T12:00:00Z",
            skip=skip,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_a_hook_sees(place: Place) -> None:
    place.hook("pre-deploy", '#!/bin/sh\nenv >seen; pwd >>seen; echo "it is $TOKEN"\n')
    place.more = "hooks_output: verbose\n"
    place.hooks().run("pre-deploy", locked=True, hosts=("web-2",))
    seen = (place.root / "seen").read_text().splitlines()
    for line in (
        "KAMAL_VERSION=0123456789abcdef",
        "KAMAL_SERVICE_VERSION=shop@0123456",
        "KAMAL_SERVICE=shop",
        "KAMAL_HOSTS=web-2",
        "KAMAL_COMMAND=deploy",
        "KAMAL_LOCK=true",
        "KAMAL_RECORDED_AT=2026-01-31T12:00:00Z",
        "FROM_OUTSIDE=yes",
        "TOKEN=very-secret",
        str(place.root),
    ):
        assert line in seen, line
    assert any(line.startswith("KAMAL_PERFORMER=") for line in seen)
    assert not any(
        line.startswith(("FREEHOLD_LAB=", "KEY=", "KAMAL_SUBCOMMAND=", "KAMAL_RUNTIME=")) for line in seen
    )
    assert not (place.root / "asked").exists(), "a secret that nobody asked for was evaluated"
    assert "pre-deploy: it is [redacted]" in place.said.getvalue()


def test_a_hook_can_tell_a_rehearsal(place: Place) -> None:
    place.hook("pre-build", "#!/bin/sh\necho $FREEHOLD_LAB >seen\n")
    hooks = place.hooks()
    hooks.lab = True
    hooks.run("pre-build")
    assert (place.root / "seen").read_text() == "true\n"


def test_what_it_prints_is_shown_on_demand_only(place: Place) -> None:
    place.hook("pre-build", "#!/bin/sh\necho a-line-of-output\n")
    place.hooks().run("pre-build")
    assert "Hook pre-build" in place.said.getvalue()
    assert "a-line-of-output" not in place.said.getvalue()
    place.hooks(verbose=True).run("pre-build")
    assert "pre-build: a-line-of-output" in place.said.getvalue()


def test_a_hook_that_fails(place: Place) -> None:
    place.hook("pre-deploy", '#!/bin/sh\necho "no ticket; $TOKEN" >&2\nexit 7\n')
    with pytest.raises(HookError) as caught:
        place.hooks().run("pre-deploy", so_far="no container was touched")
    assert caught.value.message == "the hook pre-deploy failed with exit code 7; no container was touched"
    assert caught.value.details == ("no ticket; [redacted]",)
    assert ".freehold/hooks/pre-deploy by hand" in caught.value.hint and caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("text", "mode", "message", "hint"),
    [
        ("#!/bin/sh\n", 0o644, "is not executable", "chmod +x .freehold/hooks/pre-deploy"),
        ("echo no first line\n", 0o755, "is no program", "#!/bin/sh"),
        ("#!/nowhere/interpreter\n", 0o755, "failed", "by hand"),
    ],
)
def test_a_file_that_cannot_run(place: Place, text: str, mode: int, message: str, hint: str) -> None:
    place.hook("pre-deploy", text, mode)
    with pytest.raises(HookError, match=message) as caught:
        place.hooks().run("pre-deploy")
    assert hint in caught.value.hint


def test_hooks_are_passed_over_on_demand_and_where_there_are_none(place: Place) -> None:
    place.hook("pre-deploy", "#!/bin/sh\nexit 1\n")
    place.hooks(skip=True).run("pre-deploy")
    place.hooks().run("post-deploy")


def test_a_hook_takes_as_long_as_it_takes(place: Place) -> None:
    limits: dict[str, float | None] = {}

    class Clock(LocalRunner):
        def run(self, argv: Sequence[Argument], **how: Any) -> Completed:
            limits[Path(str(argv[0])).name] = how.get("timeout")
            return Completed((), 0, "", "", 0.0)

    place.hook("pre-deploy", "#!/bin/sh\n")
    hooks = place.hooks()
    hooks.runner = Clock()
    hooks.run("pre-deploy")
    assert limits["pre-deploy"] is None and limits["git"] == 20


def test_pre_connect_runs_once_for_a_command(place: Place) -> None:
    place.hook("pre-connect", "#!/bin/sh\necho once >>count\n")
    hooks = place.hooks()
    hooks.pre_connect()
    hooks.pre_connect()
    assert (place.root / "count").read_text() == "once\n"


def test_a_file_that_no_command_runs(place: Place) -> None:
    for name in ("pre-deply", "pre-deploy.sample", "README.md", "post-deploy", "notify"):
        place.hook(name, "#!/bin/sh\n")
    (sentence,) = strangers(place.root / ".freehold" / "hooks")
    assert "'pre-deply'" in sentence and "'pre-deploy'" in sentence


def test_a_command_goes_on_with_what_the_template_set(place: Place) -> None:
    """Hooks, builds and accessories' templates see what `Dotenv.load` in deploy.yml has loaded."""
    (place.root / ".env").write_text("FROM_DOTENV=yes\n")
    (place.root / "config" / "deploy.yml").write_text(
        '# <% require "dotenv"; Dotenv.load %>\nservice: shop\nimage: own/shop\nservers: [web-1]\n'
    )
    place.hook("pre-connect", '#!/bin/sh\necho "dotenv: $FROM_DOTENV"\n')
    context = Context(Console(out=place.said, err=place.said, color=False), place.root, {"PATH": "/usr/bin"})
    session = open_session(context, Target(version="v1"))
    context.console.verbose = True
    session.hooks.pre_connect()
    assert "dotenv: yes" in place.said.getvalue()
    assert context.environ["FROM_DOTENV"] == "yes"


def test_a_command_tells_of_variables_that_secrets_miss(place: Place) -> None:
    (place.root / ".freehold" / "secrets").write_text("TOKEN=$NOT_SET\nOTHER=$NOT_SET_EITHER\n")
    place.hooks()
    context = Context(Console(out=place.said, err=place.said, color=False), place.root, {"PATH": "/usr/bin"})
    session = open_session(context, Target(version="v1"))
    assert place.said.getvalue() == ""
    session.config.secret("TOKEN")
    assert "secrets:1 the variable NOT_SET is not set; its place in the secret TOKEN" in place.said.getvalue()
    assert "EITHER" not in place.said.getvalue()
