"""`python -m benchmarks deploy|demo|kamal`: run one and print what it measured."""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import demo, deploy, kamal


def main() -> int:
    """Parse, run, print; exit code 1 where a limit was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    commands = parser.add_subparsers(dest="command", required=True)
    deploy.add_arguments(
        commands.add_parser("deploy", help="a one-line change to two hosts, against its floor")
    )
    demo.add_arguments(commands.add_parser("demo", help="`make demo` on an empty and on a warm cache"))
    kamal.add_arguments(commands.add_parser("kamal", help="this deployer against a real Kamal"))
    options = parser.parse_args()
    result: deploy.Result | demo.Result | kamal.Result
    if options.command == "kamal":
        result = kamal.run(options)
    else:
        result = deploy.run(options) if options.command == "deploy" else demo.run(options)
    if options.json:
        print(json.dumps(result.as_data(), indent=2))
    else:
        print(result.as_text())
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
