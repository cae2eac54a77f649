"""How long `app pause` waits for requests that are under way: what the file says, or what is typed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import Control
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

PAUSED = "/var/lib/freehold/proxy/targets/.shop-web.paused"
LEFT = "connections are left after the time limit"


@contextmanager
def reading(host: Host) -> Iterator[None]:
    """A visitor who reads an answer without end."""
    url = "http://127.0.0.1/stream?chunks=1000000"
    host.exec(f"systemd-run --quiet --unit=reader curl -sN -o /tmp/read -H 'Host: shop.test' '{url}'")
    host.exec("until [ -s /tmp/read ]; do sleep 0.1; done", timeout=60)
    try:
        yield
    finally:
        host.exec("systemctl stop reader; rm -f /tmp/read")


def test_a_pause_waits_as_long_as_is_typed(rig: Rig, hosts: tuple[Host, Host], control: Control) -> None:
    host = hosts[0]
    project = Project(rig, (host,), control.directory)
    project.config["servers"]["web"]["hosts"] = [host.name]
    project.save()
    project.deploy("v1")

    # Longer than anybody waits for the command.
    project.config["drain_timeout"] = 600
    project.save()
    with reading(host):
        said = squeezed(project.freehold("app", "pause", "--drain-timeout", "0", "-v"))
        assert LEFT in said, said
        assert host.exec("systemctl is-active reader").stdout == "active\n"
        project.freehold("app", "resume")
        assert project.serving() == ("v1",)

    # Not at all, and then until the visitor has gone.
    project.config["drain_timeout"] = 0
    project.save()
    with reading(host):
        assert LEFT in squeezed(project.freehold("app", "pause", "-v"))
        project.freehold("app", "resume")
        with project.start("app", "pause", "--drain-timeout", "170", "-v") as pause:
            project.until(lambda: "requests of shop-web end" in project.printed, "the step that waits")
            assert host.exec(f"cat {PAUSED}").stdout
            host.exec("systemctl stop reader")
            assert pause.wait(160) == 0
        assert LEFT not in project.printed
    project.freehold("app", "resume")
    assert project.serving() == ("v1",)
