"""`python -m freehold`: the installed `freehold` command, found by its entry point.

The command line lives in a package above this one, so it is looked up and never imported here.
"""

import sys
from importlib.metadata import entry_points


def main() -> int:
    """Run the console script named `freehold` and return its exit code."""
    scripts = entry_points(group="console_scripts", name="freehold")
    for script in scripts:
        result = script.load()()
        return int(result or 0)
    sys.stderr.write("freehold: the package is not installed in this Python (run `make setup`)\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
