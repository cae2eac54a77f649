"""Where containers and deploys log to: the `logging` and `output` sections."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config import shorthand
from freehold.settings import setting

DEFAULT_OPTIONS: Mapping[str, str] = types.MappingProxyType({"max-size": "10m"})


@dataclass(frozen=True)
class Logging:
    """Docker's logging driver for containers."""

    driver: str | None = setting(None, help="Logging driver; the engine's own where absent.", example="local")
    options: Mapping[str, str] = setting(
        factory=dict,
        parse=shorthand.clear_env,
        schema=shorthand.SCALARS,
        help="Options of the driver; `max-size: 10m` where neither is set.",
    )

    def merged(self, other: Logging) -> Logging:
        """This with `other` on top, option by option."""
        return Logging(other.driver or self.driver, {**self.options, **other.options})

    def arguments(self) -> tuple[str, ...]:
        """The arguments of `docker run`."""
        chosen = self.options if self.driver or self.options else DEFAULT_OPTIONS
        driver = ("--log-driver", self.driver) if self.driver else ()
        return (*driver, *(word for key, value in chosen.items() for word in ("--log-opt", f"{key}={value}")))


@dataclass(frozen=True)
class FileOutput:
    """Logs of deploys as files on this machine."""

    path: str = setting(help="Directory; one file a deploy.", example="log/deploys")


@dataclass(frozen=True)
class OtelOutput:
    """Logs of deploys sent to an OpenTelemetry collector."""

    endpoint: str = setting(
        help="OTLP over HTTP.", example="http://collector:4318", pattern=r"https?://[^\s]+"
    )


@dataclass(frozen=True)
class Output:
    """Where the output of deploys goes besides the terminal."""

    file: FileOutput | None = setting(None, help="Files.")
    otel: OtelOutput | None = setting(None, help="OpenTelemetry.")
