"""A project in a temporary directory, whose configuration is loaded with the real runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deployer.config import DeployConfig, load_config
from deployer.config.supported import Refusal
from freehold.errors import ConfigError
from freehold.process import LocalRunner

PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Project:
    """Files below `root`; `environ` is what templates and secrets see."""

    root: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def program(self, name: str, script: str) -> None:
        """An executable in front of PATH."""
        self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)
        self.environ["PATH"] = f"{self.root / 'bin'}:{PATH}"

    def load(
        self,
        text: str | None = None,
        *,
        destination: str | None = None,
        unsupported: Mapping[str, Refusal] | None = None,
        version: str | None = None,
    ) -> DeployConfig:
        if text is not None:
            self.write("config/deploy.yml", text)
        return load_config(
            self.root,
            destination=destination,
            environ=self.environ,
            runner=LocalRunner(),
            unsupported=unsupported or {},
            version=version,
        )

    def error(self, text: str | None = None, *, destination: str | None = None) -> ConfigError:
        """The ConfigError of loading."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, destination=destination)
        return caught.value


def place(error: ConfigError) -> tuple[str, int, str]:
    """File, line and key of an error."""
    assert error.where is not None
    return error.where.file, error.where.line, error.where.key
