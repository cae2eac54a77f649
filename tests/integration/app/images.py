"""The application's images, made on the hosts themselves: no registry, no mirror, no transfer.

The base is the host's own Python and shell with the libraries they load; a version adds its name and
the way it behaves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tests.rig import Host
from tests.tarball import tarball

Mode = Literal["ok", "unhealthy", "missing", "redirect", "crash", "silent"]
REPOSITORY = "freehold/shop"
BASE = "shop-base:1"
APP = "shop-app:1"

_BASE = rf"""
set -euo pipefail
docker image inspect {BASE} >/dev/null 2>&1 && exit
cd /
programs=$(cd /; echo usr/bin/{{python3.11,dash,env,cat,sleep,echo,id,mkdir,rm}})
libraries=$(for program in $programs usr/lib/python3.11/lib-dynload/*.so; do ldd /$program; done |
    grep -o '/[^ ]*\.so[^ ]*' | sort -u)
tar --create --dereference --hard-dereference --exclude test --exclude config-3.11-* \
    --exclude lib2to3 --exclude idlelib --exclude pydoc_data --exclude unittest \
    --transform 's,^/*lib\(64\)\?/,usr/lib\1/,' --absolute-names \
    $programs usr/lib/python3.11 $libraries >/tmp/base.tar
mkdir -p /tmp/base/tmp /tmp/base/srv /tmp/base/usr/bin /tmp/base/usr/lib /tmp/base/usr/lib64
ln -sfn usr/bin /tmp/base/bin
ln -sfn usr/lib /tmp/base/lib
ln -sfn usr/lib64 /tmp/base/lib64
ln -sf dash /tmp/base/usr/bin/sh
ln -sf python3.11 /tmp/base/usr/bin/python3
tar --append --file /tmp/base.tar -C /tmp/base .
docker import --change 'ENV PATH=/usr/bin' --change 'ENV LANG=C.UTF-8' /tmp/base.tar {BASE} >/dev/null
rm -r /tmp/base.tar /tmp/base
"""

_APP = f"""FROM {BASE}
WORKDIR /srv
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY . .
CMD ["python3", "server.py"]
"""


def worker(says: str) -> str:
    """A command that prints what an expression comes to, then works until it is told to end."""
    end = "signal.signal(signal.SIGTERM, lambda *_: exit())"
    return f"python3 -c 'import os, signal; {end}; print({says}, flush=True); signal.pause()'"


def build(host: Host, version: str, mode: Mode = "ok", repository: str = REPOSITORY) -> None:
    """Make the image of a version on a host; cheap where it is there already."""
    reference = f"{repository}:{version}"
    text = f"FROM {APP}\nENV APP_VERSION={version} APP_MODE={mode}\n"
    quick = "DOCKER_BUILDKIT=0 docker build --quiet --tag"
    make = f"docker image inspect {APP} >/dev/null 2>&1 || exit 9; {quick} {reference} -"
    if host.exec(make, stdin=text, timeout=120, check=False).returncode == 0:
        return
    host.exec(_BASE, timeout=120)
    host.exec(f"{quick} {APP} -", stdin=_context(), timeout=120)
    host.exec(make, stdin=text, timeout=120)


def _context() -> bytes:
    """A build context with the example's package and this folder's server."""
    here = Path(__file__).parent
    example = here.parents[2] / "examples" / "hello" / "app"
    files = {f"app/{path.name}": path.read_bytes() for path in sorted(example.glob("*.py"))}
    files |= {"server.py": (here / "server.py").read_bytes(), "Dockerfile": _APP.encode()}
    return tarball(files)
