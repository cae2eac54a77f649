"""The story of a command, written to a file and sent to a collector that really listens."""

from __future__ import annotations

import datetime
import io
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest

from deployer.cli.main import cli
from deployer.config.logs import FileOutput, OtelOutput, Output
from deployer.output import Run, changes, recorded
from deployer.output.file import FileRecorder, file_name
from deployer.output.record import READING
from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import HostError
from freehold.secret import Secret

RUN = Run(("deploy",), {"service": "shop", "version": "v1", "performer": "me"}, "staging", "shop")


class Collector(ThreadingHTTPServer):
    """An OTLP receiver on loopback that keeps what it was sent."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.status = status
        self.requests: list[tuple[str, dict[str, Any]]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def records(self) -> list[dict[str, Any]]:
        return [
            entry
            for _, sent in self.requests
            for entry in sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        ]


class _Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    with Collector(getattr(request, "param", 200)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def story(console: Console, output: Output, root: Path, error: Exception | None = None) -> None:
    secrets = [Secret("very-secret")]
    with recorded(output, RUN, root=root, console=console, secrets=lambda: secrets):
        console.info(console.paint("building", "blue"))
        console.detail("$ docker build with very-secret")
        console.host("web-1", "two\nlines")
        if error is not None:
            raise error


def flat(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {entry["key"]: next(iter(entry["value"].values())) for entry in values}


def test_a_file_tells_the_whole_story(tmp_path: Path) -> None:
    said = io.StringIO()
    story(Console(quiet=True, err=said, color=True), Output(file=FileOutput("log/deploys")), tmp_path)
    (path,) = (tmp_path / "log" / "deploys").iterdir()
    assert path.name.endswith("_staging_deploy.log") and path.stat().st_mode & 0o777 == 0o600
    lines = [line.partition(" ")[2] for line in path.read_text().splitlines()]
    assert lines[:4] == ["building", "$ docker build with [redacted]", "[web-1] two", "[web-1] lines"]
    assert lines[4].startswith("Completed in ")
    assert "building" not in said.getvalue(), "-q hides, the file keeps"


def test_a_file_tells_of_a_failure(tmp_path: Path) -> None:
    error = HostError("it is very-secret", host="web-2", details=["the last line"])
    with pytest.raises(HostError):
        story(Console(quiet=True), Output(file=FileOutput("log")), tmp_path, error)
    (path,) = (tmp_path / "log").iterdir()
    text = path.read_text()
    assert "ERROR web-2: it is [redacted]" in text and "ERROR the last line" in text
    assert text.splitlines()[-1].startswith("# FAILED: HostError (")


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    said = io.StringIO()
    story(Console(err=said), Output(file=FileOutput("log")), tmp_path)
    assert "the output is not written" in said.getvalue()


def test_commands_of_the_same_second_have_files_of_their_own(tmp_path: Path) -> None:
    for word in ("one", "two", "three"):
        recorder = FileRecorder(tmp_path, RUN, pytest.fail)
        recorder.line("info", "", word)
        recorder.finish(1, None)
    texts = [path.read_text() for path in tmp_path.iterdir()]
    assert sorted(text.split()[1] for text in texts) == ["one", "three", "two"]


def test_file_names_are_those_of_kamal() -> None:
    now = datetime.datetime(2026, 1, 31, 12, 0, 5, tzinfo=datetime.UTC)
    assert file_name(now, RUN) == "2026-01-31T12-00-05_staging_deploy.log"
    assert file_name(now, Run(("app", "boot"))) == "2026-01-31T12-00-05_app_boot.log"


def test_a_collector_receives_records(tmp_path: Path, collector: Collector) -> None:
    said = io.StringIO()
    story(Console(err=said), Output(otel=OtelOutput(collector.endpoint)), tmp_path)
    assert {path for path, _ in collector.requests} == {"/v1/logs"}
    resource = flat(collector.requests[0][1]["resourceLogs"][0]["resource"]["attributes"])
    assert resource["service.name"] == "freehold" and resource["service.namespace"] == "shop"
    assert resource["kamal.deploy_version"] == "v1" and resource["kamal.performer"] == "me"
    records = collector.records
    bodies = [entry["body"]["stringValue"] for entry in records]
    assert bodies[:3] == ["kamal.start", "building", "$ docker build with [redacted]"]
    assert records[3]["attributes"] == [{"key": "server.address", "value": {"stringValue": "web-1"}}]
    last = flat(records[-1]["attributes"])
    assert records[-1]["eventName"] == "kamal.complete" and last["deployment.status"] == "succeeded"
    assert last["deployment.name"] == "deploy shop" and last["kamal.command"] == "deploy"
    assert last["deployment.id"] == resource["kamal.run_id"]
    assert f"the output was sent to {collector.endpoint}" in said.getvalue()


def test_a_collector_hears_of_a_failure(tmp_path: Path, collector: Collector) -> None:
    with pytest.raises(ValueError, match="no"):
        story(Console(quiet=True), Output(otel=OtelOutput(collector.endpoint)), tmp_path, ValueError("no"))
    last = collector.records[-1]
    assert last["eventName"] == "kamal.failed" and last["severityText"] == "ERROR"
    assert flat(last["attributes"])["exception.type"] == "ValueError"


@pytest.mark.parametrize("collector", [503], indirect=True)
def test_a_collector_that_refuses(tmp_path: Path, collector: Collector) -> None:
    said = io.StringIO()
    story(Console(err=said), Output(otel=OtelOutput(collector.endpoint)), tmp_path)
    assert "did not reach" in said.getvalue() and "HTTP 503" in said.getvalue()


def test_a_collector_that_is_not_there(tmp_path: Path, collector: Collector) -> None:
    said = io.StringIO()
    story(Console(err=said), Output(otel=OtelOutput("http://127.0.0.1:1")), tmp_path)
    assert "the output did not reach http://127.0.0.1:1: " in said.getvalue()


@pytest.mark.parametrize(
    ("words", "changing"),
    [
        (("deploy",), True),
        (("app", "boot"), True),
        (("app", "logs"), False),
        (("audit",), False),
        (("diff",), False),
        (("jobs", "list"), False),
        (("prune", "images"), True),
        (("server", "bootstrap"), True),
        ((), False),
    ],
)
def test_which_commands_are_recorded(words: tuple[str, ...], changing: bool) -> None:
    assert changes(words) is changing


def commands(group: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, by its words."""
    if not isinstance(group, click.Group):
        yield " ".join(path), group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command, *path, name)


def test_what_takes_the_lock_is_recorded() -> None:
    known = dict(commands(cli))
    assert known.keys() >= READING
    locking = {name for name, command in known.items() if "lock_wait" in {p.name for p in command.params}}
    assert "deploy" in locking and not locking & READING


@pytest.mark.parametrize(
    ("words", "ending"), [(["app", "stale_containers"], "# FAILED: ExitCode ("), (["diff"], "")]
)
def test_an_exit_code_tells_of_a_failure(tmp_path: Path, words: list[str], ending: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "deploy.yml").write_text(
        "service: shop\nimage: own/shop\nservers: [127.0.0.2]\n"
        "ssh: {port: 1, config: false}\noutput: {file: {path: log}}\n"
    )
    console = Console(out=io.StringIO(), err=io.StringIO())
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    assert run(cli, words, Context(console=console, root=tmp_path, environ=environ)) == 1
    texts = [path.read_text() for path in (tmp_path / "log").glob("*")]
    assert len(texts) == bool(ending)
    for text in texts:
        assert text.splitlines()[-1].startswith(ending) and "ERROR exit code 1" in text


def full() -> io.TextIOWrapper:
    """A file on a disk without space."""
    return io.TextIOWrapper(io.FileIO("/dev/full", "w"), encoding="utf-8", line_buffering=True)


def test_a_disk_that_fills_up_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdopen", lambda *_, **__: full())
    said = io.StringIO()
    story(Console(err=said, color=False), Output(file=FileOutput("log")), tmp_path)
    assert said.getvalue().count("warning: the output is recorded no further: No space left on device") == 1
    assert "building" in said.getvalue() and "the output is in" not in said.getvalue()


def test_a_terminal_whose_disk_is_full_is_no_reason_to_stop(tmp_path: Path) -> None:
    console = Console(err=full(), out=full(), color=False)
    story(console, Output(file=FileOutput("log")), tmp_path)
    (path,) = (tmp_path / "log").iterdir()
    assert "building" in path.read_text() and "# Completed in" in path.read_text()
    # A result that nobody gets is a failure.
    with pytest.raises(OSError, match="No space left"):
        console.print("a result")
