"""The project's hooks around real deploys: order, variables, secrets, and what a failing one does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from tests.conftest import Control, program
from tests.integration.app.project import Project, shown, squeezed
from tests.rig import Host, Rig

ORDER = ("pre-connect", "pre-deploy", "pre-app-boot", "post-app-boot", "post-deploy")
RECORD = """#!/bin/sh
echo "$(basename "$0") command=$KAMAL_COMMAND/$KAMAL_SUBCOMMAND version=$KAMAL_VERSION hosts=$KAMAL_HOSTS \
lock=$KAMAL_LOCK roles=$KAMAL_ROLES runtime=${KAMAL_RUNTIME:+seconds}" >>hooks.log
"""


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    return Project(rig, hosts, control.directory)


def hook(project: Project, name: str, text: str = RECORD) -> None:
    path = project.directory / project.config.get("hooks_path", ".freehold/hooks") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def recorded(project: Project) -> list[str]:
    """What the hooks wrote since the last look."""
    path = project.directory / "hooks.log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what a command sends to a collector of OpenTelemetry."""

    got: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's own output."""


@pytest.fixture
def collector(rig: Rig) -> Iterator[str]:
    """The address of one in the operator's namespace."""
    server = rig.control_call(http.server.ThreadingHTTPServer, ("127.0.0.1", 0), Collector)
    Collector.got.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def told(version: str) -> list[dict[str, Any]]:
    """The records of the first command about a version, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, sent in Collector.got:
        assert path == "/v1/logs"
        for one in sent["resourceLogs"]:
            about = {entry["key"]: entry["value"]["stringValue"] for entry in one["resource"]["attributes"]}
            if about.get("kamal.deploy_version") == version:
                records = found.setdefault(about["kamal.run_id"], [])
                records += [record for scope in one["scopeLogs"] for record in scope["logRecords"]]
    return next(iter(found.values()))


def test_hooks_around_a_deploy(project: Project, collector: str) -> None:
    project.config |= {"hooks_path": "ops/hooks", "secrets_path": "ops/secrets"}
    project.config["hooks_output"] = {"pre-deploy": "verbose", "post-deploy": "quiet"}
    for name in ORDER:
        hook(project, name)
    hook(project, "pre-deploy", RECORD + 'echo "token=$TOKEN" >>hooks.log\necho "aloud, $TOKEN"\n')
    hook(project, "post-deploy", RECORD + "echo in silence\n")
    # The story is kept in files too.
    project.config["output"] = {"file": {"path": "log/deploys"}, "otel": {"endpoint": collector}}
    project.save()
    (project.directory / ".freehold" / "secrets").rename(project.directory / "ops" / "secrets")
    said = shown(project.deploy("v1"))
    assert "pre-deploy: aloud, [redacted]" in said and "in silence" not in said
    records = told("v1")
    assert (records[0]["eventName"], records[-1]["eventName"]) == ("kamal.start", "kamal.complete")
    assert any("aloud, [redacted]" in record["body"]["stringValue"] for record in records)
    hook(project, "post-deploy")
    both = "hosts=web-1,web-2"
    assert recorded(project) == [
        f"pre-connect command=deploy/ version=v1 {both} lock=false roles= runtime=",
        f"pre-deploy command=deploy/ version=v1 {both} lock=true roles= runtime=",
        "token=s3cret-of-the-test",
        f"pre-app-boot command=deploy/ version=v1 {both} lock=true roles= runtime=",
        f"post-app-boot command=deploy/ version=v1 {both} lock=true roles= runtime=",
        f"post-deploy command=deploy/ version=v1 {both} lock=false roles= runtime=seconds",
    ]
    # A command that only looks connects too.
    project.freehold("app", "version", "-r", "web")
    (line,) = recorded(project)
    assert line.startswith("pre-connect command=app/version") and "roles=web" in line
    project.freehold("app", "version", "-H")
    assert recorded(project) == []

    before = project.state()
    hook(project, "pre-deploy", '#!/bin/sh\necho "the tests are red: $TOKEN"\nexit 9\n')
    done = squeezed(project.deploy("v2", expect=1))
    assert "the hook pre-deploy failed with exit code 9; no container was touched" in done
    assert "the tests are red: [redacted]" in done and project.secrets["TOKEN"] not in done
    project.same_as(before)
    assert project.freehold("lock", "status").stdout.strip() == "free"
    recorded(project)

    # The lock is held before anything is built.
    look = f"'{program('freehold')}' lock status -H --json >>hooks.log 2>&1\nexit 8\n"
    hook(project, "pre-build", f"#!/bin/sh\necho lock=$KAMAL_LOCK >>hooks.log\n{look}")
    done = squeezed(project.freehold("deploy", "--version", "v2", expect=1))
    assert "the hook pre-build failed with exit code 8" in done, done
    assert "Building" not in done
    _, during, *held = recorded(project)
    (lock,) = json.loads("".join(held))
    assert (during, lock["kind"], lock["why"]) == ("lock=true", "running", "deploy v2")
    project.same_as(before)
    assert project.freehold("lock", "status", "-H").stdout.strip() == "free"
    (project.directory / project.config["hooks_path"] / "pre-build").unlink()

    # It switched, and the hook that follows says no: everybody goes back.
    hook(project, "pre-deploy")
    hook(project, "post-app-boot", RECORD + "exit 4\n")
    with project.traffic(websocket=False) as traffic:
        done = squeezed(project.deploy("v2", expect=1))
        traffic.seen(10)
    assert "the hook post-app-boot failed with exit code 4; every host goes back" in done
    assert project.settled("v1")
    assert [line.split()[0] for line in recorded(project)] == list(ORDER[:-1])

    hook(project, "post-app-boot")
    hook(project, "post-deploy", RECORD + "exit 5\n")
    done = squeezed(project.deploy("v2", expect=1))
    assert "the hook post-deploy failed with exit code 5; v2 is live all the same" in done
    assert project.settled("v2")
    recorded(project)
    project.rollback("-H")
    assert project.settled("v1") and recorded(project) == []
    hook(project, "post-deploy")
    done = squeezed(project.rollback("v22", expect=2))
    assert "no container of web at version v22" in done and "kept there: v1, v2" in done
    assert [line.split()[0] for line in recorded(project)] == ["pre-connect"]
    project.rollback("v2")
    names = [(line.split()[0], line.split()[2]) for line in recorded(project)]
    assert names[1:] == [(name, "version=v2") for name in ORDER[1:]]

    failed = told("v2")[-1]
    assert (failed["eventName"], failed["severityText"]) == ("kamal.failed", "ERROR")
    assert project.secrets["TOKEN"] not in json.dumps(Collector.got)
    logs = {path.name: path.read_text() for path in (project.directory / "log" / "deploys").iterdir()}
    assert len([name for name in logs if name.endswith("_deploy.log")]) == 5
    assert len([name for name in logs if name.endswith("_rollback.log")]) == 3 and len(logs) == 8
    first, second, *_ = (logs[name] for name in sorted(logs))
    assert "deployed v1" in first and "[web-2]" in first
    assert "the hook pre-deploy failed" in second
    assert second.splitlines()[-1].startswith("# FAILED: HookError")
    assert not any(project.secrets["TOKEN"] in text for text in logs.values())


def test_a_hook_runs_the_version_that_is_to_come(project: Project) -> None:
    """As for a migration: in its image, with its environment; and nothing of it stays where it ends there."""
    command = "sh -c 'echo $APP_VERSION $KAMAL_VERSION $GREETING'"
    run = f"""#!/bin/sh
exec >>hooks.log
'{program("freehold")}' app exec -H -p --version $KAMAL_VERSION "{command.replace("$", chr(92) + "$")}"
"""
    hook(project, "pre-deploy", run)
    project.deploy("v1")
    assert recorded(project) == ["v1 v1 hello"]
    before = project.state()

    project.config["env"]["clear"]["GREETING"] = "bye"
    project.save()
    for version in ("v2", "v1"):
        hook(project, "pre-deploy", run + "exit 3\n")
        project.deploy(version, expect=1)
        assert recorded(project) == [f"{version} {version} bye"]
        project.same_as(before)
        hook(project, "pre-deploy", run)
        hook(project, "pre-app-boot", "#!/bin/sh\nexit 4\n")
        project.deploy(version, expect=1)
        project.same_as(before)
        (project.directory / ".freehold" / "hooks" / "pre-app-boot").unlink()
        recorded(project)
    project.deploy("v2")
    assert project.settled("v2") and recorded(project) == ["v2 v2 bye"]


def test_hooks_of_kamal_lie_where_kamal_has_them(project: Project) -> None:
    folder = project.directory / ".kamal" / "hooks"
    folder.mkdir(parents=True)
    for name in ("docker-setup", "pre-proxy-reboot", "post-proxy-reboot"):
        (folder / name).write_text(RECORD)
        (folder / name).chmod(0o755)
    (folder / "pre-conect").write_text(RECORD)
    done = project.freehold("server", "bootstrap", "-h", "web-1", timeout=300)
    assert "did you mean 'pre-connect'" in squeezed(done)
    (line,) = recorded(project)
    assert line.startswith("docker-setup command=server/bootstrap") and "hosts=web-1 " in line
    project.freehold("proxy", "reboot", "-y", "-h", "web-1", timeout=300)
    before, after = recorded(project)
    assert before.startswith("pre-proxy-reboot command=proxy/reboot") and "hosts=web-1 lock=true" in before
    assert after.startswith("post-proxy-reboot command=proxy/reboot") and "hosts=web-1 lock=true" in after
