"""Where the story of a command goes besides the terminal: files, and OpenTelemetry."""

from deployer.output.record import Run, changes, recorded

__all__ = ["Run", "changes", "recorded"]
