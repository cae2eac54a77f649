"""A visitor by HTTP/3: Debian 13's curl, on a host of its own, over UDP alone."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.rig import Host

# What is told of each request: protocol, status, curl's exit code, and connections that were made for it.
TOLD = "%{http_version} %{response_code} %{exitcode} %{num_connects} %header{x-version}\\n"


@dataclass(frozen=True)
class Visitor:
    """Somebody on the Debian 13 host `at`, who comes to the site `name` on the host `to`."""

    at: Host
    to: Host
    name: str
    port: int = 443
    trusts: str = ""

    def curl(self, *words: str, only: bool = True) -> list[str]:
        """The command; `only`: nothing but HTTP/3 will do."""
        argv = ["curl", "-sS", "--max-time", "120"]
        argv += ["--resolve", f"{self.name}:{self.port}:{self.to.address}"]
        argv += ["--cacert", self.trusts] if self.trusts else ["--insecure"]
        return [*argv, *(["--http3-only"] if only else []), *words]

    def url(self, path: str) -> str:
        return f"https://{self.name}:{self.port}{path}"

    def get(self, path: str, *words: str, only: bool = True) -> str:
        """What one request prints."""
        return self.at.exec(self.curl(*words, self.url(path), only=only), timeout=130).stdout

    @contextmanager
    def going_on(self, unit: str, script: str) -> Iterator[str]:
        """A shell script that runs while the block does; the file with what it has printed."""
        out = f"/root/{unit}.out"
        run = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "-p", f"StandardOutput=file:{out}"]
        self.at.write(out, "")
        self.at.exec([*run, "bash", "-c", script])
        try:
            yield out
        finally:
            self.at.exec(f"systemctl stop {unit}; rm -f {out}", check=False)

    def kept(self, path: str) -> str:
        """Ten requests a second, by one connection for as long as that lasts."""
        words = ["-o", "/dev/null", "-w", TOLD, "--rate", "10/s", f"{self.url(path)}?[1-100000]"]
        return f"exec stdbuf -oL {shlex.join(self.curl(*words))}"

    def fresh(self, path: str) -> str:
        """A connection for each request."""
        one = shlex.join(self.curl("-o", "/dev/null", "-w", TOLD, self.url(path)))
        return f"while :; do {one}; sleep 0.1; done"

    def stream(self, path: str) -> str:
        """One answer, each piece of it as soon as it comes."""
        return f"exec {shlex.join(self.curl('-N', self.url(path)))}"

    def told(self, out: str) -> Counter[str]:
        """How often which line of `TOLD` was printed; the last one may not be whole yet."""
        return Counter(self.at.read(out).split("\n")[:-1])
