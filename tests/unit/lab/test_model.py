"""What a lab is: names, sizes, the mirror of a deploy file, mistakes with line and key."""

from pathlib import Path

import pytest

from builder.spec import GiB, MiB
from freehold.errors import ConfigError, UsageError
from lab.labfile import LabFile, load_lab_file, parse_lab_file
from lab.mirror import default_name, from_file, mirror, unused
from lab.model import LabSpec, MachineSpec, Ports, check_name


def test_a_missing_file_is_all_defaults() -> None:
    assert parse_lab_file("") == LabFile()


def test_the_file_sizes_the_machines_it_names() -> None:
    file = parse_lab_file(
        "memory: 1G\nmachines:\n  web-1: {roles: [web], memory: 2G, disk: 20G, disks: [1G, 512M]}\n"
        "  db-1: {cpus: 2}\n"
    )
    web, db = from_file(file, "shop").machines
    assert (web.memory, web.disk, web.roles) == (2 * GiB, 20 * GiB, ("web",))
    assert (web.disks, db.disks) == ((GiB, 512 * MiB), ())
    assert (db.memory, db.cpus, db.disk) == (1 * GiB, 2, 8 * GiB)


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("memroy: 1G\n", 1, "", "unknown key 'memroy'"),
        ("machines:\n  web-1:\n    memory: 100M\n", 3, "machines.web-1.memory", "not enough"),
        ("memory: lots\n", 1, "memory", "'lots'"),
        ("suite: debian-9\n", 1, "suite", "unknown suite"),
        ("ports: {ssh: 80, http: 80}\n", 1, "ports", "three different ports"),
        ("boot: bios\n", 1, "boot", "kernel, uefi"),
        ("machines:\n  a: {disks: [lots]}\n", 2, "machines.a.disks", "'lots'"),
        (
            "machines:\n  a: {disks: [1G, 1G, 1G, 1G, 1G, 1G, 1G, 1G, 1G]}\n",
            2,
            "machines.a.disks",
            "too many",
        ),
    ],
)
def test_a_mistake_names_its_line_and_key(text: str, line: int, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lab_file(text)
    error = caught.value
    assert words in error.message
    assert error.where is not None
    assert error.where.file == "config/lab.yml"
    assert error.where.line == line
    assert key in error.where.key


@pytest.mark.parametrize(
    ("folder", "name"), [("my_app", "my-app"), ("Shop.v2", "shop-v2"), ("__", "lab"), ("x" * 40, "x" * 40)]
)
def test_any_directory_makes_a_labs_name(folder: str, name: str) -> None:
    assert default_name(Path("/srv") / folder) == check_name(name, "a lab")


def test_two_names_of_one_machine_are_refused() -> None:
    file = parse_lab_file("machines:\n  web-1: {memory: 1G}\n  web-1.example.com: {memory: 2G}\n")
    with pytest.raises(UsageError, match=r"web-1 and web-1.example.com, which are one machine"):
        mirror("shop", [("web-1.example.com", ["web"])], file=file)


def test_mirror_makes_one_machine_per_host_with_all_its_roles() -> None:
    spec = mirror("shop", [("10.0.0.5", ["web"]), ("10.0.0.6", ["web"]), ("10.0.0.5", ["job"])])
    assert [(item.name, item.host, item.roles) for item in spec.machines] == [
        ("web-1", "10.0.0.5", ("web", "job")),
        ("web-2", "10.0.0.6", ("web",)),
    ]


def test_mirror_keeps_the_first_label_where_it_is_unique() -> None:
    hosts = [("app.example.com", ["web"]), ("app.example.net", ["web"]), ("DB_1", ["db"])]
    assert [item.name for item in mirror("shop", hosts).machines] == ["app", "app-example-net", "db-1"]


def test_mirror_takes_sizes_by_machine_or_by_host() -> None:
    file = parse_lab_file("machines: {web-1: {cpus: 2}, 10.0.0.6: {memory: 2G}}")
    first, second = mirror("shop", [("10.0.0.5", ["web"]), ("10.0.0.6", ["web"])], file=file).machines
    assert (first.cpus, first.memory) == (2, 1280 * MiB)
    assert (second.cpus, second.memory) == (1, 2 * GiB)


def test_two_machines_cannot_share_a_name() -> None:
    with pytest.raises(UsageError, match="have the name web-1"):
        LabSpec("shop", (MachineSpec("web-1"), MachineSpec("web-1", host="b")))


@pytest.mark.parametrize("name", ["", "Web", "-a", "a_b", "x" * 41, "a/b", "../x"])
def test_names_that_cannot_be_host_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        LabSpec(name, (MachineSpec("web-1"),))


def test_ports_differ() -> None:
    with pytest.raises(ValueError, match="three different"):
        Ports(ssh=8080)


def test_a_machine_may_run_another_release_or_image_elsewhere() -> None:
    file = parse_lab_file(
        "suite: debian-13\n"
        "hypervisors: {here: qemu:///system, big: qemu+ssh://root@big/system}\n"
        "machines:\n"
        "  web-1: {suite: debian-12}\n"
        "  203.0.113.7: {image: images/old, hypervisor: big}\n"
    )
    spec = mirror("shop", [("web-1.example.com", ["web"]), ("203.0.113.7", ["db"])], file=file)
    web, db = spec.machines
    assert (spec.suite, web.suite, web.image, web.hypervisor) == ("trixie", "bookworm", None, "")
    assert (db.suite, db.image, db.hypervisor) == (None, Path("images/old"), "big")
    with pytest.raises(ConfigError, match="unknown suite 'plan9'"):
        parse_lab_file("machines: {web-1: {suite: plan9}}")


def test_images_are_below_the_project_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config" / "lab.yml"
    path.parent.mkdir()
    path.write_text("image: images/new\nmachines:\n  a: {image: images/old}\n  b: {image: /far}\n  c: {}\n")
    monkeypatch.chdir(tmp_path)
    for place in (path, Path("config/lab.yml")):
        spec = from_file(load_lab_file(place), "shop")
        assert spec.image == tmp_path / "images" / "new"
        assert [machine.image for machine in spec.machines] == [
            tmp_path / "images" / "old",
            Path("/far"),
            None,
        ]


@pytest.mark.parametrize(
    "hosts", [["10.0.0.1", "web-1"], ["web-1", "10.0.0.1"], ["web-1.example.com", "web-1"]]
)
def test_no_machine_is_called_as_another_host_is(hosts: list[str]) -> None:
    spec = mirror("shop", [(host, ["web"]) for host in hosts])
    assert next(machine.host for machine in spec.machines if machine.name == "web-1") == "web-1"
    assert [machine.host for machine in spec.machines] == hosts


def test_a_size_for_a_host_that_is_not_there_is_told() -> None:
    file = parse_lab_file(
        "machines:\n  wbe-1: {memory: 2G}\n  db-1: {}\n  web-2.example.com: {}\n  other: {}\n"
    )
    spec = mirror("shop", [("web-1", ["web"]), ("web-2.example.com", ["web"]), ("db-1", ["db"])], file=file)
    assert unused(file, spec) == (
        "`machines:` in config/lab.yml names wbe-1, which is no host here; did you mean web-1?",
        "`machines:` in config/lab.yml names other, which is no host here",
    )
