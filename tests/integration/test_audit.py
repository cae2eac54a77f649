"""What `exec` leaves behind on a host: lines in the audit log, and no secret anywhere."""

from __future__ import annotations

import hashlib

from tests.conftest import Control, program
from tests.integration.app import images
from tests.integration.app.project import Project
from tests.integration.app.terminal import Terminal
from tests.integration.test_app_commands import PROGRAM, inspected
from tests.integration.test_registry import nothing_in_argv
from tests.rig import Host, Rig


def test_who_did_what_stands_in_the_audit_log(rig: Rig, hosts: tuple[Host, Host], control: Control) -> None:
    project = Project(rig, hosts, control.directory)
    hosts[0].exec("docker network create backend")
    side = {"image": images.APP, "host": "web-1", "cmd": images.worker('"working"'), "network": "backend"}
    project.config["accessories"] = {"side": side}
    project.config["env"]["clear"]["MANY"] = "one\ntwo"
    project.save()
    project.deploy("v1")
    project.freehold("accessory", "boot", "side")
    assert set(inspected(hosts[0], "shop-side")["NetworkSettings"]["Networks"]) == {"backend"}
    since = ("accessory", "logs", "side", "--since")
    project.until(lambda: "working" in project.freehold(*since, "1h").stdout, "a word of side")
    assert project.freehold(*since, "2099-01-01T00:00:00Z").stdout == ""
    secrets_of_commands(project)
    project.freehold("app", "stop", "-h", "web-1")
    project.freehold("app", "start", "-h", "web-1")
    project.freehold("server", "exec", "-h", "web-1", "echo $HOME && false", expect=1)
    project.freehold("proxy", "restart", "-h", "web-1")
    project.freehold("app", "remove_images")
    noted = [
        line.rpartition("] ")[2] for line in project.freehold("audit").stdout.splitlines() if "web-1" in line
    ]
    assert [line.partition(" ")[2] for line in noted][-5:] == [
        "stopped the application",
        "started web v1",
        "executed 'echo $HOME && false' on the host",
        "ran proxy restart",
        "removed the images",
    ]


def secrets_of_commands(project: Project) -> None:
    """What a command is given is in no argv of a host, and no value of it in the audit log."""
    given = {"ONE": "v4lue-of-one 'quoted' $HOME", "MANY": "v4lue-of-lines\nof two"}
    found = f"repr([os.environ[name] for name in {list(given)}]).encode()"
    say = ("--", "python3", "-c", f"import hashlib, os; print(hashlib.sha256({found}).hexdigest())")
    digest = hashlib.sha256(repr(list(given.values())).encode()).hexdigest()
    words = ("app", "exec", "-r", "web", "-e", "ONE", "-e", "MANY")
    project.environ = given
    with nothing_in_argv("v4lue-of-one", "v4lue-of-lines"):
        for way in ((), ("--reuse",)):
            said = project.freehold(*words, *way, *say).stdout.splitlines()
            assert [line.partition("| ")[2] for line in said] == [digest, digest]
        # With a terminal in a new container, too.
        screen = Terminal(
            (project.rig.enter, program("freehold"), *words, "-i", *say), project.directory, environ=given
        )
        screen.expect(digest)
        assert screen.close() == 0
    screen = Terminal(
        (
            project.rig.enter,
            program("freehold"),
            "accessory",
            "exec",
            "-i",
            "side",
            "--",
            "python3",
            "-c",
            PROGRAM,
        ),
        project.directory,
        size=(30, 91),
    )
    screen.expect("size 91")
    screen.type("\x03")
    screen.expect("interrupted")
    assert screen.close() == 7
    project.environ = {}
    token = project.secrets["TOKEN"]
    project.freehold("app", "exec", "-p", "-e", f"ONE={token}", "--", "echo", token, f"it's {token}")
    project.freehold("accessory", "exec", "side", "--reuse", f"echo {token}")
    project.freehold("server", "exec", "-h", "web-*", f"echo {token} | cat")
    other = project.hosts[1].exec("cat /var/lib/freehold/apps/shop/audit.log").stdout
    assert "executed 'echo [redacted] | cat' on the host\n" in other
    host = project.hosts[0]
    log = host.exec("cat /var/lib/freehold/apps/shop/audit.log").stdout
    assert token not in log and "v4lue" not in log
    for line in (
        "in web with ONE, MANY\n",
        """executed 'echo '[redacted]' 'it'"'"'s [redacted]'' in web with ONE\n""",
        "executed 'echo [redacted]' in side\n",
        "executed 'echo [redacted] | cat' on the host\n",
    ):
        assert line in log, log
    assert "exec-" not in host.exec("ls /run/lock/freehold").stdout
