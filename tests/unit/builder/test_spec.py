"""What can be asked for, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.packages import base_packages, image_packages, layered, unknown
from builder.spec import ARCHES, SUITES, BaseSpec, GiB, ImageSpec, MiB, parse_size, parse_suite
from cloudinit.profile import load_profile
from freehold.errors import BuildError, ConfigError, UsageError


@pytest.mark.parametrize("text", ["bookworm", "12", "debian-12", "Debian12", " debian-bookworm "])
def test_suite_has_many_names(text: str) -> None:
    assert parse_suite(text) == "bookworm"


def test_unknown_suite_names_the_near_miss() -> None:
    with pytest.raises(UsageError) as caught:
        parse_suite("trixi")
    assert "trixi" in str(caught.value)
    assert "trixie" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * GiB), ("4GiB", 4 * GiB), ("4096m", 4 * GiB), ("10 gb", 10 * GiB), ("7", 7)]
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4.5G", "-1G", "G", "4 parsecs"])
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.parametrize("size", [1 * GiB, 4 * GiB + 1, 0])
def test_disk_that_cannot_hold_the_image(size: int) -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        ImageSpec(size=size)


@pytest.mark.parametrize("name", ["--option", "Foo", "a b", "x", "foo/bar", ""])
def test_package_name_is_never_an_option(name: str) -> None:
    with pytest.raises(UsageError, match="no package name"):
        ImageSpec(packages=(name,))


def test_common_names_of_machine_types_are_recognised() -> None:
    with pytest.raises(UsageError) as caught:
        ImageSpec(arch="x86_64")
    assert "amd64" in caught.value.hint


@pytest.mark.parametrize("name", ["Foo", "a:b:c", "", "-x", "a//b", "../x"])
def test_base_image_name(name: str) -> None:
    with pytest.raises(UsageError, match="no image name"):
        BaseSpec(name)


def test_base_image_reference_has_a_tag() -> None:
    assert BaseSpec("acme/python").reference == "acme/python:latest"
    assert BaseSpec("acme/python:3").reference == "acme/python:3"


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("arch", ARCHES)
def test_image_has_kernel_boot_chain_and_docker(suite: str, arch: str) -> None:
    packages = image_packages(ImageSpec(suite=suite, arch=arch), ("nftables",))
    assert {f"linux-image-cloud-{arch}", "shim-signed", "cloud-init", "docker.io", "nftables"} <= set(
        packages
    )
    assert list(packages) == sorted(set(packages))


def test_generic_kernel() -> None:
    packages = image_packages(ImageSpec(kernel="generic"), ())
    assert "linux-image-amd64" in packages
    assert "linux-image-cloud-amd64" not in packages


def test_a_package_more_is_a_layer_of_its_own() -> None:
    """The layer below has the same name then, which is what makes the build take seconds."""
    usual = ("nftables", "unattended-upgrades")
    plain, nothing = layered(ImageSpec(), usual, usual)
    assert nothing == ()
    shared, more = layered(ImageSpec(packages=("htop", "curl")), (*usual, "fail2ban"), usual)
    assert (shared, more) == (plain, ("fail2ban", "htop"))
    assert sorted((*shared, *more)) == list(
        image_packages(ImageSpec(packages=("htop", "curl")), (*usual, "fail2ban"))
    )


def test_a_package_less_is_nowhere_in_the_image() -> None:
    shared, more = layered(ImageSpec(), ("nftables",), ("nftables", "unattended-upgrades"))
    assert "unattended-upgrades" not in (*shared, *more)


def test_base_packages_are_sorted_and_once() -> None:
    assert base_packages(BaseSpec("x1", packages=("tzdata", "python3"))) == (
        "ca-certificates",
        "netbase",
        "python3",
        "tzdata",
    )


def test_sizes_are_binary() -> None:
    assert parse_size("1M") == MiB == 1024 * 1024


def test_a_package_that_the_suite_lacks_is_named_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "host.yml"
    path.write_text("packages:\n- htop\n- nosuch\n- older\n")
    spec = ImageSpec(profile=load_profile(path, name="config/host.yml"), packages=("mine",))
    said = ("E: Unable to locate package nosuch", "E: Package 'older' has no installation candidate")
    found = unknown(BuildError("installing failed", details=said), spec)
    assert isinstance(found, ConfigError)
    place = "config/host.yml:3:3 packages[1]: "
    assert str(found).startswith(f"{place}trixie (amd64) has no package 'nosuch', 'older'")
    # Named on the command line, it has no place; and another error stays what it is.
    found = unknown(BuildError("installing failed", details=["E: Unable to locate package mine"]), spec)
    assert isinstance(found, BuildError) and "no package 'mine'" in str(found) and "apt-cache" in found.hint
    full = BuildError("installing failed", details=["E: write: No space left on device"])
    assert unknown(full, spec) is full
