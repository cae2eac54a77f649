"""`python -m benchmarks deploy|demo|images|installer|kamal|lab|seed`: run one and print what it measured."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks import demo, deploy, images, installer, kamal, lab, seed


def main() -> int:
    """Parse, run, print; exit code 1 where a limit was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    commands = parser.add_subparsers(dest="command", required=True)
    deploy.add_arguments(
        commands.add_parser("deploy", help="a one-line change to two hosts, against its floor")
    )
    demo.add_arguments(commands.add_parser("demo", help="`make demo` on an empty and on a warm cache"))
    images.add_arguments(commands.add_parser("images", help="images in full and after a change"))
    installer.add_arguments(commands.add_parser("installer", help="the installer's writing, against dd"))
    kamal.add_arguments(commands.add_parser("kamal", help="this deployer against a real Kamal"))
    seed.add_arguments(commands.add_parser("seed", help="a seed ISO, in this process"))
    lab.add_arguments(commands.add_parser("lab", help="labs of 1, 2 and 4 machines, beside other tools"))
    options = parser.parse_args()
    modules: dict[str, Any] = {
        "deploy": deploy,
        "demo": demo,
        "images": images,
        "installer": installer,
        "kamal": kamal,
        "lab": lab,
        "seed": seed,
    }
    result = modules[options.command].run(options)
    if options.json:
        print(json.dumps(result.as_data(), indent=2))
    else:
        print(result.as_text())
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
