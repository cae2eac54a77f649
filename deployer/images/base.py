"""Base images out of a tar file, so that a build pulls nothing."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from deployer.engine import Engine
from freehold.console import Console
from freehold.errors import BuildError, ProcessError
from freehold.process import Runner

LOAD_TIMEOUT = 900.0


def own_base(reference: str) -> Path | None:
    """The archive of the base image of that name that `freehold image base` made last; None for another."""
    # Every command would load all that makes images, for a few that ask.
    from builder.base import find_base

    return find_base(reference)


def tar_layers(path: Path, reference: str) -> tuple[str, ...]:
    """The diffIDs of an image in an archive of `docker save`. BuildError: it is none, or holds another."""
    try:
        with tarfile.open(path) as archive:
            manifest = json.load(_member(archive, "manifest.json"))
            for image in manifest:
                if reference in (image.get("RepoTags") or ()):
                    config = json.load(_member(archive, image["Config"]))
                    return tuple(config["rootfs"]["diff_ids"])
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as exc:
        raise BuildError(
            f"{path} is not an image archive: {exc}", hint="make it with `freehold image base`"
        ) from exc
    names = sorted(tag for image in manifest for tag in image.get("RepoTags") or ())
    raise BuildError(
        f"{path} holds no image {reference}", hint=f"it holds {', '.join(names) or 'none with a name'}"
    )


def _member(archive: tarfile.TarFile, name: str) -> tarfile.ExFileObject:
    stream = archive.extractfile(name)
    if not isinstance(stream, tarfile.ExFileObject):
        raise KeyError(name)
    return stream


def import_tar(path: Path, reference: str, *, engine: Engine, runner: Runner, console: Console) -> bool:
    """Load a base image; False where the engine has it already. BuildError: the archive is not good."""
    wanted = tar_layers(path, reference)
    if _engine_layers(engine, reference, runner) == wanted:
        return False
    console.detail(f"loading {reference} from {path}")
    try:
        runner.run((engine.program, "load", "--quiet", "--input", path), env=engine.env, timeout=LOAD_TIMEOUT)
    except ProcessError as exc:
        raise BuildError(f"the local Docker Engine does not take {path}", details=exc.details) from exc
    # Loading into containerd can fail and still end with exit code 0.
    if _engine_layers(engine, reference, runner) != wanted:
        raise BuildError(f"the local Docker Engine took {path} and has no {reference} after it")
    return True


def _engine_layers(engine: Engine, reference: str, runner: Runner) -> tuple[str, ...] | None:
    done = runner.run(
        (engine.program, "image", "inspect", "--format", "{{json .RootFS.Layers}}", reference),
        env=engine.env,
        check=False,
        timeout=60,
    )
    return tuple(json.loads(done.stdout) or ()) if done.returncode == 0 else None
