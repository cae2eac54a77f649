"""How a trial gets into a machine whose seed is somebody else's: by a key that this seed lets in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.trial import free_port, ssh_config
from builder.watch import ssh_banner
from cloudinit.hostkeys import HostKey
from freehold.errors import BuildError, FreeholdError, ProcessError, UsageError
from freehold.files import write_atomic
from freehold.process import Runner
from freehold.secret import Secret
from freehold.yamlfile import parse

# Where Vagrant keeps the private half of what its boxes let in.
VAGRANT_KEY = Path(".vagrant.d/insecure_private_key")


@dataclass(frozen=True)
class WayIn:
    """`user` and `key` log in; `key` is None where nobody can. `host_key` is what the seed says, or empty.

    `keyed` are all users whom the seed gives a key.
    """

    user: str
    key: Path | None
    host_key: str
    keyed: tuple[str, ...] = ()

    def access(self, directory: Path) -> int:
        """Write ssh_config and known_hosts into `directory`; the port on 127.0.0.1 that they name."""
        port = free_port()
        lines = HostKey(Secret(""), self.host_key).known_hosts("127.0.0.1", port) if self.host_key else ""
        write_atomic(directory / "known_hosts", f"{lines}\n" if lines else "")
        # The port leads to the machine that this very process starts, so its first answer is its own.
        text = ssh_config(directory, port, user=self.user, key=self.key, pinned=bool(lines))
        write_atomic(directory / "ssh_config", text)
        return port

    def greeted(self, port: int, runner: Runner) -> bool:
        """Whether the machine answers, as far as that shows without a login; BuildError for another's key."""
        if not ssh_banner(port):
            return False
        if not self.host_key:
            return True
        kind, data = self.host_key.split()[:2]
        try:
            shown = runner.run(("ssh-keyscan", "-p", str(port), "-t", kind, "127.0.0.1"), timeout=60).stdout
        except ProcessError:
            return False
        if shown and data not in shown:
            raise BuildError(
                "the machine shows a host key that is not the seed's", details=shown.splitlines()
            )
        return bool(shown)


def way_in(seed: Mapping[str, bytes], key: Path | None, what: str, runner: Runner) -> WayIn:
    """The way that `seed` leaves. UsageError where `key` is not let in, or the trial could not reach it."""
    config = _config(seed, what)
    _check_network(seed, what)
    host_keys = config.get("ssh_keys")
    host_key = host_keys.get("ed25519_public", "") if isinstance(host_keys, dict) else ""
    if key is None:
        return WayIn("", None, host_key)
    if not key.is_file():
        raise UsageError(f"--key: there is no file {key}")
    try:
        public = runner.run(("ssh-keygen", "-y", "-P", "", "-f", key), timeout=60).stdout.split()
    except ProcessError as exc:
        raise UsageError(
            f"--key: {key} is no private key that can be used without a passphrase", details=exc.details
        ) from exc
    keys = _keys(config)
    user = next((name for name, held in keys.items() if public[1] in held.split()), "")
    if not user:
        raise UsageError(
            f"the seed of {what} lets nobody in with {key}",
            hint="--key is the private half of a key among the seed's users",
        )
    return WayIn(user, key.absolute(), host_key, tuple(keys))


def _config(seed: Mapping[str, bytes], what: str) -> dict[str, Any]:
    text = seed.get("user-data", b"").decode(errors="replace")
    try:
        found = (
            parse(text, "user-data", duplicates="last").plain() if text.startswith("#cloud-config") else None
        )
    except FreeholdError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"the seed of {what} cannot be tested: its user-data is no cloud-config")
    return found


def _keys(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys that the users of a user-data have, by the user's name; of those who have one."""
    users = [user for user in config.get("users") or () if isinstance(user, dict)]
    held = {
        str(user.get("name", "")): " ".join(map(str, user.get("ssh_authorized_keys") or ())) for user in users
    }
    return {name: keys for name, keys in held.items() if keys}


def _check_network(seed: Mapping[str, bytes], what: str) -> None:
    """UsageError where the host would not take the address that a machine on trial is given by DHCP."""
    if "network-config" not in seed:
        return
    found = parse(
        seed["network-config"].decode(errors="replace"), "network-config", duplicates="last"
    ).plain()
    found = found.get("network", found) if isinstance(found, dict) else {}
    cards = [card for card in (found.get("ethernets") or {}).values() if isinstance(card, dict)]
    if not any(card.get("dhcp4") and "macaddress" not in (card.get("match") or {}) for card in cards):
        raise UsageError(
            f"the seed of {what} cannot be tested: its network-config asks no DHCP server on any card it "
            "would find",
            hint="a machine on trial has one card, of QEMU's own network; test with another seed",
        )
