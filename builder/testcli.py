"""`freehold image test`: what the options mean, or a finished artifact, booted and looked into."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from builder.cliopts import profile_or_none, read_seed, spec_of, spec_options, words
from builder.qemu import CLIENT, MEDIA, MODES
from builder.spec import ImageSpec
from freehold.command import Context, common_options, pass_context
from freehold.errors import UsageError

if TYPE_CHECKING:
    from builder.artifact import Kind
    from builder.artifacttrial import Bench
    from builder.report import TrialResult

# What a finished artifact has decided already.
BUILDING = ("suite", "size", "kernel", "packages", "mirror", "refresh", "allow_secrets")
# What only an artifact's own seed, or its directory, is asked about.
NEW = ("folder", "key", "host")


def _listed(known: tuple[str, ...]) -> Any:
    """A callback for an option that may be repeated and may hold several values with commas."""

    def callback(
        _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
    ) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(word for value in values for word in words(value)))
        for word in found:
            if word not in known:
                raise click.BadParameter(f"{word!r} is none of {', '.join(known)}")
        return found

    return callback


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@spec_options()
@click.option(
    "--boot",
    "--mode",
    "modes",
    multiple=True,
    metavar="WAYS",
    callback=_listed(MODES),
    help=f"How to boot, of {', '.join(MODES)}; several with commas.  [default: bios, secure]",
)
@click.option(
    "--as",
    "--medium",
    "media",
    multiple=True,
    metavar="MEDIA",
    callback=_listed(MEDIA),
    help=f"Install first, from a medium seen as one of {', '.join(MEDIA)}; several with commas.",
)
@click.option("--seed", "folder", type=click.Path(path_type=Path), help="ARTIFACT's seed, a directory.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A private key that the seed of ARTIFACT lets in.",
)
@click.option("--host", default="", help="Which host of a netboot directory.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    default=Path("image-test"),
    show_default=True,
    help="Where serial logs and screenshots go.",
)
@common_options
@pass_context
def test(
    context: Context,
    /,
    artifact: Path | None,
    modes: tuple[str, ...],
    media: tuple[Any, ...],
    evidence: Path,
    **options: Any,
) -> None:
    """Boot an image in QEMU and run the host checks over SSH.

    ARTIFACT is an image's directory, a qcow2 or raw disk, an installer's ISO, a netboot directory or a
    Vagrant box. Without it the image that the options mean is built, where it is not in the cache. With --as
    an empty machine is installed first, and the host that it becomes is checked.
    """
    from builder.report import report

    if artifact is None:
        results = _of_options(context, modes, media, evidence, options)
    else:
        results = _of_artifact(context, artifact, modes, media, evidence, options)
    report(tuple(results), context.console)


def _of_options(
    context: Context, modes: tuple[str, ...], media: tuple[Any, ...], evidence: Path, options: dict[str, Any]
) -> Iterator[TrialResult]:
    from builder.image import build_image
    from builder.installer import build_live
    from builder.report import check_medium, install_trials, on_trial, trials

    given = [name for name in NEW if options[name]]
    if given:
        raise UsageError(f"--{'seed' if given[0] == 'folder' else given[0]} is for an ARTIFACT")
    spec = on_trial(spec_of(context, options))
    told: dict[str, Any] = {"runner": context.runner, "console": context.console}
    made: dict[str, Any] = {"mirror": options["mirror"], "refresh": options["refresh"], **told}
    for medium in media:
        check_medium(spec, modes, medium)
    if not media:
        yield from trials(build_image(spec, **made), spec, modes, evidence=evidence, **told)
        return
    live = build_live(spec, **made)
    for medium in media:
        place = evidence / medium if len(media) > 1 else evidence
        yield from install_trials(live, spec, modes, medium, evidence=place, **told)


def _of_artifact(
    context: Context,
    artifact: Path,
    modes: tuple[str, ...],
    media: tuple[Any, ...],
    evidence: Path,
    options: dict[str, Any],
) -> Iterator[TrialResult]:
    from builder.artifact import recognise
    from builder.artifacttrial import Bench

    _refuse_building(click.get_current_context())
    kind = recognise(artifact)
    _check_ways(kind, modes, media, options)
    profile = profile_or_none(context, options["profile"])
    if profile is not None and profile.admitting(CLIENT) != profile:
        raise UsageError(
            f"{artifact} cannot be tested: `ssh.allow` of the profile shuts out {CLIENT}, where a trial is",
            hint="without ARTIFACT an image is made that lets it in too",
        )
    spec = ImageSpec(arch=options["arch"], profile=profile)
    with tempfile.TemporaryDirectory(prefix="freehold-test-") as work:
        bench = Bench(spec, Path(work), evidence, context.runner, context.console)
        if kind in ("installer", "netboot"):
            yield from _media(kind, artifact, modes, media, bench, options)
        else:
            yield from _disks(kind, artifact, modes, bench, options)


def _refuse_building(click_context: click.Context) -> None:
    for name in BUILDING:
        if click_context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--{name.replace('_', '-')} says what is built, and ARTIFACT is made already",
                hint="leave out the one or the other",
            )


def _check_ways(kind: Kind, modes: tuple[str, ...], media: tuple[str, ...], options: dict[str, Any]) -> None:
    installs = kind in ("installer", "netboot")
    wrong = [
        item
        for item in media
        if item not in {"installer": MEDIA[:3], "netboot": ("net",)}.get(kind, ("disk",))
    ]
    if wrong:
        what = {"installer": "an installer's ISO", "netboot": "a netboot directory"}.get(kind, "a disk")
        raise UsageError(f"{what} cannot be seen as {wrong[0]}")
    if "direct" in modes and kind != "image":
        raise UsageError(
            "only an image's directory has the kernel that is started directly", hint="leave direct out"
        )
    if installs and options["folder"]:
        raise UsageError("an installer carries its host's seed already", hint="leave --seed out")
    if options["host"] and kind != "netboot":
        raise UsageError("--host says which host of a netboot directory; this is none")


def _disks(
    kind: Kind, artifact: Path, modes: tuple[str, ...], bench: Bench, options: dict[str, Any]
) -> Iterator[TrialResult]:
    from builder.artifact import open_box, open_disk
    from builder.artifacttrial import try_disk
    from builder.image import load_image
    from builder.report import chosen_modes, trials
    from builder.wayin import VAGRANT_KEY, way_in

    runner, folder, key = bench.runner, options["folder"], options["key"]
    seed = read_seed(folder) if folder is not None else None
    if kind == "image" and seed is None:
        if key is not None:
            raise UsageError(
                "an image has no seed that a key could be of", hint="leave --key out, or add --seed"
            )
        image = load_image(artifact)
        yield from trials(
            image, bench.spec, modes, runner=runner, console=bench.console, evidence=bench.evidence
        )
        return
    if kind == "box":
        disk = open_box(artifact, bench.work, runner)
        known = Path.home() / VAGRANT_KEY
        key = key or (known if known.is_file() else None)
    else:
        path = artifact / "disk.qcow2" if kind == "image" else artifact
        disk = open_disk(path, "raw" if kind == "raw" else "qcow2", bench.work, runner)
    if disk.seed and seed is not None:
        raise UsageError(f"{artifact} has a seed inside already, which goes first", hint="leave --seed out")
    own = seed or disk.seed
    way = way_in(own, key, artifact.name, runner) if own else None
    if way is None and key is not None:
        raise UsageError(
            f"{artifact} has no seed that a key could be of", hint="leave --key out, or add --seed"
        )
    yield from try_disk(disk, chosen_modes(bench.spec.arch, modes), bench, seed=seed, way=way)


def _media(
    kind: Kind,
    artifact: Path,
    modes: tuple[str, ...],
    media: tuple[Any, ...],
    bench: Bench,
    options: dict[str, Any],
) -> Iterator[TrialResult]:
    from builder.artifact import open_installer, open_netboot
    from builder.artifacttrial import try_medium
    from builder.report import check_medium, chosen_modes, reads_cds
    from builder.wayin import way_in

    if kind == "netboot":
        carried, served = open_netboot(artifact, options["host"])
    else:
        carried, served = open_installer(artifact, bench.work, bench.runner), {}
    spec = ImageSpec(carried.suite, kernel="generic" if carried.generic else "cloud")
    if kind == "netboot":
        media, modes = ("net",), modes or ("bios", "uefi")
    media = media or (("disk", "cd") if reads_cds(spec) else ("disk",))
    for medium in media:
        check_medium(spec, modes, medium)
    way = way_in(carried.seed, options["key"], artifact.name, bench.runner)
    iso = artifact.absolute() if kind == "installer" else None
    chosen = chosen_modes(bench.spec.arch, modes)
    yield from try_medium(carried, chosen, media, bench, way, iso=iso, served=served)
