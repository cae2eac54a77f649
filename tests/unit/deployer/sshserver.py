"""A real SSH server on the loopback that notes what it is shown."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path

import paramiko
from paramiko import common

from deployer.endpoint import Endpoint
from deployer.sshkeys import public_parts


class Door(paramiko.ServerInterface):
    """A host that lets in who has one of the keys."""

    def __init__(self) -> None:
        self.accepted: list[bytes] = []
        self.shown: list[bytes] = []
        self.users: list[str] = []
        self.connections = 0
        self.refusals = 0
        """How many connections are closed without a word before one is served."""
        self.entering = self.most_entering = 0
        """Connections that nobody has been let in by yet."""
        self.commands: list[bytes] = []
        self.count = threading.Lock()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.users.append(username)
        self.shown.append(key.asbytes())
        if key.asbytes() not in self.accepted:
            return common.AUTH_FAILED
        # The client hears of it afterwards, so that its next one cannot be counted beside this one.
        with self.count:
            self.entering -= 1
        return common.AUTH_SUCCESSFUL

    def knocked(self) -> bool:
        """Count a connection; whether it is served."""
        self.connections += 1
        if self.connections <= self.refusals:
            return False
        with self.count:
            self.entering += 1
            self.most_entering = max(self.most_entering, self.entering)
        return True

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Take a command, and lose the connection before it has ended."""
        self.commands.append(command)
        channel.get_transport().close()
        return True


class Server:
    """Serves a door at `port`, until it is closed."""

    def __init__(self, directory: Path) -> None:
        self.door = Door()
        self.key = paramiko.ECDSAKey.generate()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.known = directory / "known_hosts"
        name, text = self.key.get_name(), self.key.get_base64()
        self.known.write_text(f"[127.0.0.1]:{self.port} {name} {text}\n")
        self.made = paramiko.Transport
        self.transports: list[paramiko.Transport] = []
        self.closed = threading.Event()
        self.listener.settimeout(0.1)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while not self.closed.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self.listener.accept()
                if not self.door.knocked():
                    client.close()
                    continue
                transport = self.made(client)
                self.transports.append(transport)
                transport.add_server_key(self.key)
                transport.start_server(event=threading.Event(), server=self.door)

    def close(self) -> None:
        self.closed.set()
        self.thread.join()
        self.listener.close()
        for transport in self.transports:
            transport.close()

    def endpoint(self, **more: object) -> Endpoint:
        base: dict[str, object] = {
            "name": "web-1",
            "address": "127.0.0.1",
            "user": "deploy",
            "port": self.port,
            "config_files": (),
            "known_hosts": (self.known,),
            "only_known": True,
        }
        return Endpoint(**(base | more))  # type: ignore[arg-type]


def make(home: Path, name: str, kind: str = "ed25519", passphrase: str = "", form: str = "") -> Path:
    """A key file of OpenSSH's own making."""
    words = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(home / name)]
    subprocess.run([*words, *(["-m", form] if form else [])], check=True)
    return home / name


def public(file: Path) -> bytes:
    """The public half of a key file, as it is shown to a server."""
    (part,) = public_parts(file)
    return part
