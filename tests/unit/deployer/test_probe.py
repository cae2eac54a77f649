"""The probe of a new container, by the real shell words and curl, against a server on loopback."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator

import pytest

from deployer.commands import docker, layout
from deployer.config.proxy import Healthcheck, Proxy

pytestmark = pytest.mark.needs("curl")

NAME = "shop.test"
WAYS = {
    "/moved": "/up",
    "/canonical": f"http://{NAME}/up",
    "/insists": f"https://{NAME}/up",
    "/login": f"http://{NAME}/nowhere",
    "/round": "/round",
    "/file": "file:///etc/hostname",
}


class Application(http.server.BaseHTTPRequestHandler):
    """Answers 200 at /up, 404 elsewhere, and redirects as `WAYS` says."""

    def do_GET(self) -> None:
        secure = self.headers.get("X-Forwarded-Proto") == "https"
        to = WAYS.get(self.path)
        if to and not (secure and to.startswith("https:")):
            self.send_response(302)
            self.send_header("Location", to)
        else:
            self.send_response(200 if self.path in ("/up", "/insists") else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def probed(port: int, path: str, *, ssl: bool = False) -> str:
    """What waiting for a container prints whose address is 127.0.0.1."""
    check = Healthcheck(path=path, interval=0.01, timeout=5, max_attempts=1)
    wait = docker.wait_web("shop-web-v1", Proxy(host=NAME, app_port=port, ssl=ssl, healthcheck=check), 30)
    # Stands for `docker inspect` and `docker logs`.
    fake = "docker() { echo 'running|0|0||127.0.0.1'; }"
    lines = "\n".join([layout.library(), fake, wait])
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", lines], text=True, capture_output=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("path", ["/up", "/moved", "/canonical"])
def test_redirects_are_followed_within_the_container(port: int, path: str) -> None:
    # Nobody resolves the service's name here: it is the container that is asked.
    assert probed(port, path) == "ready: shop-web-v1\n"


def test_what_insists_on_https_is_asked_as_visitors_come(port: int) -> None:
    assert probed(port, "/insists", ssl=True) == "ready: shop-web-v1\n"
    assert f"/insists answered 302, led to https://{NAME}/up, after 1 probes" in probed(port, "/insists")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/none", "404 after"),
        ("/login", f"404, led to http://{NAME}/nowhere, after"),
        ("/round", "302, led to http://127.0.0.1:@port@/round, after"),
        ("/file", "302, led to file:///etc/hostname, after"),
    ],
)
def test_a_probe_that_is_led_astray_says_where(port: int, path: str, answer: str) -> None:
    told = f"failed: http://127.0.0.1:{port}{path} answered {answer.replace('@port@', str(port))} 1 probes"
    assert told in probed(port, path)


def test_versions_of_earlier_releases_are_probed_as_they_say(port: int) -> None:
    lines = f"docker() {{ echo 'running|0|0||127.0.0.1'; }}\nwait_web shop-web-v1 {port} /moved 0.01 5 30 0"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{layout.library()}\n{lines}"], text=True, capture_output=True
    )
    assert done.stdout == "ready: shop-web-v1\n", done.stderr
