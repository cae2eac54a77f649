"""Machines of a lab that ask each other, from inside."""

from __future__ import annotations

from lab.lab import Lab


def fetch(lab: Lab, machine: str, url: str) -> str:
    """The status of an answer, and the address that it came from."""
    command = ["curl", "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code} %{remote_ip}", url]
    return lab.exec(machine, command, check=False).stdout


def reaches(lab: Lab, machine: str, address: str, limit: int = 60) -> bool:
    """Whether a proxy's answer comes within so many seconds."""
    command = ["curl", "-s", "-m", str(limit), "-o", "/dev/null", f"http://{address}/"]
    return lab.exec(machine, command, check=False).returncode == 0
