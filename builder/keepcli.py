"""`freehold image sign`, `verify`, `prune` and `size`: looking after what was built."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from builder.cliopts import spec_of, spec_options
from freehold.command import Context, common_options, pass_context
from freehold.console import size as human
from freehold.errors import BuildError

DAY = 86_400


def _directory(given: Path | None) -> Path:
    from builder.image import list_images

    if given is not None:
        return given if given.is_dir() else given.parent
    found = list_images()
    if not found:
        raise BuildError("there is no image yet", hint="`freehold image build` makes one")
    return found[0].directory


@click.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    default=Path("~/.ssh/id_ed25519"),
    show_default=True,
    help="An SSH key; a public key where the agent has the private one.",
)
@common_options
@pass_context
def sign(context: Context, image: Path | None, key: Path) -> None:
    """Sign IMAGE's SHA256SUMS with an SSH key (default: the newest image in the cache)."""
    from builder.signing import sign as write

    signature = write(_directory(image), key.expanduser(), context.runner)
    if context.console.json:
        context.console.data({"signature": str(signature)})
    else:
        context.console.print(str(signature))


@click.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option("--signers", type=click.Path(path_type=Path), help="Who may sign: an allowed_signers file.")
@common_options
@pass_context
def verify(context: Context, image: Path | None, signers: Path | None) -> None:
    """Check IMAGE against its SHA256SUMS, and with --signers who signed them."""
    from builder.signing import verify as check

    directory = _directory(image)
    found = check(directory, signers, context.runner)
    if context.console.json:
        context.console.data(
            {"directory": str(directory), "files": list(found.files), "signer": found.signer}
        )
        return
    by = f", signed by {found.signer}" if found.signer else ""
    context.console.print(f"{directory}: {len(found.files)} files are what they should be{by}")


@click.command()
@click.option("--days", default=30, show_default=True, type=click.IntRange(min=1), help="Unused for so long.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@common_options
@pass_context
def prune(context: Context, days: int, dry_run: bool) -> None:
    """Remove layers that were not used for some time, and the packages that only they were made of.

    What a lab stands on, and what a running build or a mounted tree uses, stays. Only your own labs are
    known: where users share a cache (FREEHOLD_CACHE), choose --days longer than a lab of theirs lives.
    """
    from builder.image import store_of
    from builder.prune import layers, mentions, outdated, stale_archives
    from builder.prune import prune as remove
    from builder.sandbox import Sandbox
    from freehold.paths import state_dir

    store = store_of(Sandbox.here(context.runner), None)
    in_use = mentions((state_dir(), Path("/proc/mounts")))
    chosen = outdated(layers(store), time.time() - days * DAY, in_use)
    gone = chosen if dry_run else remove(store, chosen)
    archives = [] if dry_run else stale_archives(store)
    freed = sum(layer.size for layer in gone) + sum(path.stat().st_size for path in archives)
    for path in archives:
        path.unlink()
    if context.console.json:
        context.console.data(
            {"layers": [layer.name for layer in gone], "archives": len(archives), "bytes": freed}
        )
        return
    for layer in gone:
        context.console.print(f"{layer.name}  {human(layer.size)}")
    verb = "would be freed" if dry_run else "freed"
    context.console.info(f"{len(gone)} layers, {len(archives)} packages: {human(freed)} {verb}")


@click.command()
@spec_options()
@click.option(
    "-n", "count", default=20, show_default=True, type=click.IntRange(min=1), help="So many packages."
)
@common_options
@pass_context
def size(context: Context, /, count: int, mirror: str, refresh: bool, **options: Any) -> None:
    """Show what takes space in an image: its packages, the largest first.

    An image that is not in the cache is built first.
    """
    from builder.image import build_image, configure, store_of
    from builder.installed import installed
    from builder.sandbox import Sandbox

    spec = spec_of(context, options)
    found = build_image(spec, runner=context.runner, console=context.console, mirror=mirror, refresh=refresh)
    sandbox = Sandbox.here(context.runner)
    layer = configure(spec, sandbox, store_of(sandbox, None), context.console, mirror)
    packages = sorted(
        installed(layer.packages.status.read_text(errors="replace")), key=lambda package: -package.size
    )
    total = sum(package.size for package in packages)
    if context.console.json:
        context.console.data(
            {
                "qcow2": found.size,
                "installed": total,
                "packages": {package.name: package.size for package in packages},
            }
        )
        return
    rows = [(package.name, package.version, human(package.size)) for package in packages[:count]]
    context.console.table(("package", "version", "installed"), rows)
    context.console.print(
        f"{len(packages)} packages, {human(total)} installed; the compressed image has {human(found.size)}"
    )
