"""`python -m tests.rig`: rigs for a person, each kept up by a process of its own in the background."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn, get_args

from freehold.console import Console
from freehold.errors import FreeholdError
from freehold.files import write_atomic
from freehold.process import LocalRunner
from tests.rig import sweep
from tests.rig.host import HostSpec, Suite
from tests.rig.nspawn import enter, find_leader
from tests.rig.rig import Rig
from tests.rig.slot import Slot, default_root, slots

UP_DEADLINE = 900.0
DOWN_DEADLINE = 60.0


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except FreeholdError as exc:
        print(f"rig: error: {exc}" + (f"\nhint: {exc.hint}" if exc.hint else ""), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rig", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="boot hosts; they stay until `down`")
    up.add_argument("--hosts", default="web-1,web-2", help="NAME[:SUITE][:plain],… (default: %(default)s)")
    up.add_argument("--json", action="store_true", help="print the rig's state file")
    up.set_defaults(run=_up)

    keep = commands.add_parser("keep", help="as `up`, in the foreground until Ctrl-C")
    keep.add_argument("--hosts", default="web-1,web-2")
    keep.add_argument("--ready", type=Path, help="write the rig's number here when all hosts run")
    keep.set_defaults(run=_keep)

    commands.add_parser("list", help="show rigs").set_defaults(run=_list)
    commands.add_parser("gc", help="remove what killed runs left over").set_defaults(run=_gc)
    for name, action, text in (
        ("exec", _exec, "run a command as the operator"),
        ("host", _host, "run a command as root inside a host"),
        ("shell", _shell, "a shell as the operator, or inside a host"),
        ("down", _down, "remove a rig"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--rig", type=int, default=os.environ.get("FREEHOLD_RIG"), help="its number (FREEHOLD_RIG)"
        )
        if name in ("host", "shell"):
            command.add_argument("name", nargs="?" if name == "shell" else None)
        if name in ("exec", "host"):
            command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
        command.set_defaults(run=action)
    return parser


def _specs(text: str) -> tuple[HostSpec, ...]:
    specs = []
    for word in text.split(","):
        name, *rest = word.split(":")
        plain = "plain" in rest
        suite: Suite = "bookworm"
        for part in rest:
            match part:
                case "bookworm" | "trixie":
                    suite = part
                case "plain":
                    pass
                case _:
                    raise SystemExit(f"rig: {part!r} is none of {', '.join((*get_args(Suite), 'plain'))}")
        specs.append(HostSpec(name, suite, plain))
    return tuple(specs)


def _up(options: argparse.Namespace) -> int:
    _specs(options.hosts)
    root = default_root()
    root.mkdir(parents=True, exist_ok=True)
    ready, log = root / f"up-{os.getpid()}", root / f"up-{os.getpid()}.log"
    argv = (sys.executable, "-m", "tests.rig", "keep", "--hosts", options.hosts, "--ready", str(ready))
    with log.open("wb") as stream:
        keeper = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        end = time.monotonic() + UP_DEADLINE
        while not ready.exists():
            if keeper.poll() is not None or time.monotonic() > end:
                keeper.terminate()
                sys.stderr.write(log.read_text())
                return keeper.returncode or 1
            time.sleep(0.05)
        number = int(ready.read_text())
        state = _state(next(slot for slot in slots() if slot.number == number))
    finally:
        ready.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    print(json.dumps(state, indent=2) if options.json else _describe(state))
    return 0


def _keep(options: argparse.Namespace) -> int:
    def stop(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with Rig(runner=LocalRunner(), console=Console()) as rig:
        rig.boot(*_specs(options.hosts))
        if options.ready:
            write_atomic(options.ready, str(rig.number))
        while True:
            signal.pause()


def _list(_options: argparse.Namespace) -> None:
    for slot in slots():
        owner = slot.owner()
        if owner is None:
            print(f"rig {slot.number}: left over (`gc` removes it)")
        else:
            print(_describe(_state(slot)) + f"\n  owner      process {owner}")


def _gc(_options: argparse.Namespace) -> None:
    for line in sweep.gc(LocalRunner()):
        print(line)


def _describe(state: dict[str, Any]) -> str:
    lines = [f"rig {state['number']}: {state['subnet']}", f"  enter      {state['enter']} COMMAND…"]
    lines += [f"  {host['name']:10} {host['address']}  {host['suite']}" for host in state["hosts"]]
    return "\n".join(lines)


def _state(slot: Slot) -> dict[str, Any]:
    if not slot.state_path.exists():
        return {"number": slot.number, "subnet": slot.subnet, "enter": "-", "hosts": []}
    state: dict[str, Any] = json.loads(slot.state_path.read_text())
    return state


def _choose(options: argparse.Namespace) -> Slot:
    running = [slot for slot in slots() if slot.owner() is not None]
    if options.rig is not None:
        running = [slot for slot in running if slot.number == int(options.rig)]
    if len(running) != 1:
        which = f"rig {options.rig} does not run" if options.rig else f"{len(running)} rigs run"
        raise SystemExit(f"rig: {which}; `list` shows them, --rig N chooses, `up` makes one")
    return running[0]


def _command(argv: list[str]) -> list[str]:
    words = argv[1:] if argv[:1] == ["--"] else argv
    if not words:
        raise SystemExit("rig: no command given")
    return words


def _exec(options: argparse.Namespace) -> NoReturn:
    _become(_state(_choose(options))["enter"], *_command(options.argv))


def _host(options: argparse.Namespace) -> NoReturn:
    _become(*_enter_host(_choose(options), options.name, *_command(options.argv)))


def _shell(options: argparse.Namespace) -> NoReturn:
    slot = _choose(options)
    if options.name:
        _become(
            *_enter_host(slot, options.name, "env", f"TERM={os.environ.get('TERM', 'dumb')}", "bash", "-i")
        )
    _become(_state(slot)["enter"], os.environ.get("SHELL", "sh"))


def _enter_host(slot: Slot, name: str, *argv: str) -> tuple[str, ...]:
    for host in _state(slot)["hosts"]:
        leader = find_leader(host["pid"]) if host["name"] == name and host["pid"] else None
        if leader is not None:
            return enter(leader, *argv)
    raise SystemExit(f"rig: {name} does not run in rig {slot.number}")


def _down(options: argparse.Namespace) -> int:
    slot = _choose(options)
    owner = slot.owner()
    if owner is not None:
        os.kill(owner, signal.SIGTERM)
    end = time.monotonic() + DOWN_DEADLINE
    while slot.owner() is not None:
        if time.monotonic() > end:
            raise SystemExit(f"rig: process {owner} still keeps rig {slot.number} after {DOWN_DEADLINE:g} s")
        time.sleep(0.05)
    return 0


def _become(*argv: str) -> NoReturn:
    sys.stdout.flush()
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())
