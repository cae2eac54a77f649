"""How hosts are reached: the `ssh` and `sshkit` sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.config import shorthand
from freehold.settings import setting


@dataclass(frozen=True)
class Ssh:
    """How to reach the hosts."""

    user: str = setting("root", help="Who to log in as.")
    port: int = setting(22, parse=shorthand.port, schema=shorthand.PORT, help="Port of sshd.")
    keys: tuple[str, ...] = setting(
        (),
        parse=shorthand.texts,
        schema=shorthand.TEXTS,
        form="text or list of text",
        help="Private key files.",
        example="~/.ssh/deploy",
    )
    keys_only: bool = setting(False, help="Use only `keys` and `key_data`, not the agent's.")
    key_data: tuple[str, ...] = setting(
        (),
        parse=shorthand.texts,
        schema=shorthand.TEXTS,
        form="text or list of text",
        help="Names of secrets that hold private keys in PEM form.",
    )
    proxy: str | None = setting(None, help="Jump host, `user@host:port`.")
    proxy_command: str | None = setting(
        None, help="Command whose streams are the connection.", example="ssh -W %h:%p user@gate"
    )
    config: bool | str | tuple[str, ...] = setting(
        True, help="Read ~/.ssh/config (true), nothing (false) or these files."
    )
    forward_agent: bool = setting(
        False, help="Let the hosts use the local SSH agent; Kamal does so where nothing is said."
    )
    log_level: Literal["debug", "info", "warn", "error", "fatal"] = setting(
        "fatal", parse=shorthand.symbol, help="How much of the SSH protocol is logged."
    )

    def __post_init__(self) -> None:
        levels = ("debug", "info", "warn", "error", "fatal")
        if self.log_level not in levels:
            raise ValueError(f"'log_level' is one of {', '.join(levels)}")
        if self.proxy and self.proxy_command:
            raise ValueError("write either 'proxy' or 'proxy_command', not both")


@dataclass(frozen=True)
class Sshkit:
    """Bounds on connections, named as in Kamal."""

    max_concurrent_starts: int = setting(30, help="Connections opened at a time.", minimum=1)
    pool_idle_timeout: float = setting(
        900.0,
        parse=shorthand.seconds,
        schema=shorthand.SECONDS,
        help="Seconds an idle connection is kept open.",
    )
    dns_retries: int = setting(3, help="Retries of a name lookup that failed.", minimum=0, maximum=20)
