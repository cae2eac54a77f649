"""OpenTelemetry: log records as OTLP over HTTP with JSON; the attributes are named as Kamal 2.12 names them.

The format is that of opentelemetry-proto's `ExportLogsServiceRequest`.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deployer.output.record import Run
from freehold import __version__

BATCH = 100
FLUSH_SECONDS = 5.0
SEND_TIMEOUT = 5.0
SEVERITIES = {"debug": (5, "DEBUG"), "info": (9, "INFO"), "warn": (13, "WARN"), "error": (17, "ERROR")}
RESOURCE = {
    "service": "service.namespace",
    "version": "kamal.deploy_version",
    "performer": "kamal.performer",
    "destination": "deployment.environment.name",
}
DEPLOYS = ("deploy", "redeploy", "rollback", "setup")


def attributes(values: Mapping[str, object]) -> list[dict[str, Any]]:
    """A mapping as OTLP writes it: numbers and text by their kind."""
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, int):
        # 64-bit numbers are text in JSON.
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}


def record(
    now: int, body: str, *, level: str = "info", event: str = "", values: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """One log record; `now` is in nanoseconds since 1970."""
    number, name = SEVERITIES[level]
    found: dict[str, Any] = {
        "timeUnixNano": str(now),
        "observedTimeUnixNano": str(now),
        "severityNumber": number,
        "severityText": name,
        "body": {"stringValue": body},
    }
    if event:
        found["eventName"] = event
    if values:
        found["attributes"] = attributes(values)
    return found


def payload(run: Run, run_id: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A request with records of one command."""
    tags = {RESOURCE.get(key, f"kamal.{key}"): value for key, value in run.tags.items()}
    resource = {"service.name": "freehold", "service.version": __version__, "kamal.run_id": run_id, **tags}
    scope = {"name": "freehold", "version": __version__}
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": attributes(resource)},
                "scopeLogs": [{"scope": scope, "logRecords": list(records)}],
            }
        ]
    }


class OtelRecorder:
    """Sends records from a thread of its own; a collector that is away costs a command seconds at most."""

    def __init__(self, endpoint: str, run: Run, warn: Callable[[str], None]) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/logs"
        self._endpoint = endpoint
        self._run = run
        self._warn = warn
        self._id = str(uuid.uuid4())
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._more = threading.Event()
        self._over = False
        self._trouble = ""
        self._add(record(time.time_ns(), "kamal.start", event="kamal.start", values=self._about()))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def line(self, level: str, host: str, text: str) -> None:
        """One line of the console."""
        self._add(record(time.time_ns(), text, level=level, values={"server.address": host} if host else {}))

    def finish(self, seconds: float, error: BaseException | None) -> str:
        """Send the rest, with how the command ended."""
        name, values = "kamal.complete", self._about("succeeded")
        values["kamal.runtime"] = round(seconds, 1)
        if error is not None:
            name, values = "kamal.failed", {**values, **self._about("failed")}
            values["exception.type"] = type(error).__name__
        level = "info" if error is None else "error"
        self._add(record(time.time_ns(), name, level=level, event=name, values=values))
        self._over = True
        self._more.set()
        self._thread.join(2 * SEND_TIMEOUT)
        if self._trouble:
            self._warn(f"the output did not reach {self._endpoint}: {self._trouble}")
            return ""
        return f"the output was sent to {self._endpoint}"

    def _about(self, status: str = "") -> dict[str, object]:
        values: dict[str, object] = {"kamal.command": self._run.command}
        if self._run.words and self._run.words[0] in DEPLOYS:
            values["deployment.id"] = self._id
            values["deployment.name"] = f"{self._run.command} {self._run.service}"
            if status:
                values["deployment.status"] = status
        return values

    def _add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._waiting.append(entry)
            full = len(self._waiting) >= BATCH
        if full:
            self._more.set()

    def _work(self) -> None:
        while True:
            self._more.wait(FLUSH_SECONDS)
            self._more.clear()
            over = self._over
            with self._lock:
                batch, self._waiting = self._waiting, []
            for start in range(0, len(batch), BATCH):
                # After a failure nothing more is tried: a collector that hangs must not hold up the command.
                if not self._trouble:
                    self._send(batch[start : start + BATCH])
            if over:
                return

    def _send(self, batch: Sequence[dict[str, Any]]) -> None:
        body = json.dumps(payload(self._run, self._id, batch)).encode()
        request = urllib.request.Request(
            self._url, data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=SEND_TIMEOUT):
                pass
        except urllib.error.HTTPError as exc:
            self._trouble = f"HTTP {exc.code} {exc.reason}"
        except (OSError, ValueError) as exc:
            self._trouble = str(getattr(exc, "reason", "") or exc)
