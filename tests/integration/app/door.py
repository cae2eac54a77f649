"""The operator at a server's way in: comes to it on a port, as a user, with keys."""

from __future__ import annotations

import json

from tests.integration.test_bootstrap import Operator
from tests.rig import Host


class Door(Operator):
    """The operator's project, with the port that it comes to."""

    def come_to(self, port: int, user: str = "root", keys: tuple[str, ...] = ()) -> None:
        text = f"service: app\nimage: app\nservers: [{self.host.name}]\nbuilder: {{arch: amd64}}\n"
        ssh = {"user": user, "port": port} | ({"keys": keys} if keys else {})
        self.write("deploy.yml", text + f"ssh: {json.dumps(ssh)}\n")
        # Host keys are known by port.
        known = self.control.rig.home / ".ssh/known_hosts"
        line = f"[{self.host.name}]:{port},[{self.host.address}]:{port} {self.host.host_key.public}\n"
        if line not in known.read_text():
            known.write_text(known.read_text() + line)

    def refused(self, profile: str) -> str:
        """What `server bootstrap` says when it stops, and it can log in as before."""
        self.write("host.yml", profile)
        done = self.run("server", "bootstrap", check=False)
        assert done.returncode in (1, 2), done.stderr
        assert self.run("server", "exec", "echo $((40 + 2))").stdout == "42\n"
        return done.stderr

    def prepare(self, profile: str) -> list[str]:
        self.write("host.yml", profile)
        # The last step notes which recipe it was.
        return [step for step in self.bootstrap() if step != "finish"]


def ports(host: Host) -> set[str]:
    """The ports that SSH answers on."""
    lines = host.exec("ss -Hltnp").stdout.splitlines()
    found = {line.split()[3].rpartition(":")[2] for line in lines if '"sshd"' in line or '"systemd"' in line}
    return found - {"80", "443"}
