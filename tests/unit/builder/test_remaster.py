"""Vendor media: answer files, menus, and what a new medium keeps of the old one's boot equipment."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builder.answers import check_preseed, read_autoinstall
from builder.remaster import check_iso, digests, equipment, files_of, kept, remaster
from builder.vendor import VENDORS, menus, unattended, unattended_menu, vendor_of
from freehold.errors import BuildError, ConfigError, UsageError
from freehold.process import LocalRunner

RUNNER = LocalRunner()
UBUNTU, DEBIAN = VENDORS
HASH = "$6$salt$" + "x" * 86

PRESEED = """\
# comment
d-i debian-installer/locale string en_US
d-i partman-auto/expert_recipe string one \\
    two
d-i passwd/root-password-crypted password !
d-i passwd/root-password seen true
tasksel tasksel/first multiselect
d-i passwd/user-password-crypted password $6$rounds=656000$salt$x
d-i passwd/user-password-crypted password $y$j9T$salt$x
d-i passwd/user-password-crypted password $2b$12$saltsaltsaltsaltsaltsa
d-i grub-installer/password-crypted password grub.pbkdf2.sha512.10000.AB12.CD34
d-i netcfg/wireless_wep string
d-i mirror/http/proxy string http://proxy.example.com:3128/
"""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("d-i clock\n", 1, "no answer"),
        ("# x\nd-i a/b strng x\n", 2, "did you mean 'string'"),
        ("d-i a/b boolean yes\n", 1, "true or false"),
        ("d-i passwd/root-password password secret\n", 1, "plain password"),
        ("\nd-i passwd/user-password-again password secret\n", 2, "passwd/user-password-crypted"),
        ("d-i grub-installer/password password secret\n", 1, "grub-mkpasswd-pbkdf2"),
        ("d-i network-console/password-again password secret\n", 1, "authorized_keys_url"),
        ("d-i passwd/root-password-crypted password $1$a$b\n", 1, "strong kind"),
        ("d-i partman-crypto/passphrase password secret\n", 1, "plain password"),
        ("d-i passwd/user-password-crypted password $6$rounds=1000$salt$x\n", 1, "strong kind"),
        ("d-i passwd/user-password-crypted password $2b$04$saltsaltsaltsaltsaltsa\n", 1, "strong kind"),
        ("d-i passwd/user-password-crypted password $y$j75$salt$x\n", 1, "strong kind"),
        ("d-i passwd/user-password-crypted password $7$BU..../....salt$x\n", 1, "strong kind"),
        ("d-i grub-installer/password-crypted password $1$a$b\n", 1, "grub-mkpasswd-pbkdf2"),
        ("d-i netcfg/wireless_wep string s3cr3t\n", 1, "wireless network's secret"),
        ("d-i netcfg/wireless_wpa string s3cr3tword\n", 1, "over a cable"),
        ("d-i mirror/http/proxy string http://me:pw@proxy.example.com:3128/\n", 1, "password in a URL"),
        ("d-i a/b string x \\\n", 1, "goes on after its end"),
        ("# nothing\n", 0, "answers nothing"),
    ],
)
def test_a_wrong_preseed_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_preseed(text, "preseed.cfg")
    assert message in f"{caught.value} {caught.value.hint}"
    assert caught.value.where is not None and caught.value.where.line == line


def test_a_right_preseed_passes() -> None:
    check_preseed(PRESEED, "preseed.cfg")


GOOD = f"""\
autoinstall:
  version: 1
  identity: {{hostname: web-1, username: deploy, password: "{HASH}"}}
"""


WHOLE = f"""\
#cloud-config
autoinstall:
  version: 1
  locale: en_US.UTF-8
  refresh-installer: {{update: true}}
  keyboard: {{layout: de, variant: nodeadkeys, toggle: null}}
  source: {{id: ubuntu-server-minimal, search_drivers: false}}
  network: {{version: 2, ethernets: {{eth0: {{dhcp4: true}}}}}}
  proxy: http://proxy.example.com:3128
  apt: {{geoip: true, fallback: offline-install}}
  storage: {{layout: {{name: lvm}}}}
  ssh: {{install-server: true, authorized-keys: [ssh-ed25519 AAAA me], allow-pw: no}}
  drivers: {{install: false}}
  oem: {{install: auto}}
  snaps: [{{name: htop, classic: true}}]
  packages: [htop]
  kernel: {{flavor: hwe}}
  kernel-crash-dumps: {{enabled: null}}
  timezone: Europe/Berlin
  updates: all
  shutdown: poweroff
  early-commands: [echo one, [echo, two]]
  late-commands:
    - curtin in-target -- systemctl enable ssh
  reporting: {{central: {{type: rsyslog, destination: "192.0.2.1"}}}}
  user-data:
    users:
      - {{name: root, lock_passwd: true}}
      - {{name: deploy, hashed_passwd: "{HASH}"}}
"""


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("storage: 5", "storage", "expected a map"),
        ("packages: htop", "packages", "expected a list"),
        ("ssh: {install-server: maybe}", "ssh.install-server", "expected true or false"),
        ("ssh: {install-sever: true}", "ssh.install-sever", "did you mean 'install-server'"),
        ("late-commands: 3", "late-commands", "expected a list"),
        ("late-commands: [{run: x}]", "late-commands[0]", "found a map"),
        ("shutdown: halt", "shutdown", "reboot, poweroff"),
        ("kernel: {}", "kernel", "one of package and flavor"),
        ("snaps: [{classic: true}]", "snaps[0]", "'name' is missing"),
        ("proxy: http://me:pw@proxy.example.com", "proxy", "password in a URL"),
        ("user-data: {users: [{plain_text_passwd: pw}]}", "plain_text_passwd", "plain password"),
        ("user-data: {chpasswd: {list: 'root:pw'}}", "chpasswd", "plain password"),
        ("user-data: {users: [{passwd: $6$rounds=1000$a$b}]}", "passwd", "strong kind"),
    ],
)
def test_what_ubuntus_installer_would_not_take_is_named_with_line_and_key(
    text: str, key: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "user-data"
    path.write_text(f"{GOOD}  {text}\n")
    with pytest.raises(ConfigError) as caught:
        read_autoinstall(path)
    assert message in f"{caught.value} {caught.value.hint}"
    where = caught.value.where
    assert where is not None
    assert (where.line, where.key.endswith(key)) == (4, True), where


def test_every_key_of_an_autoinstall_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_text(WHOLE)
    assert read_autoinstall(path) == WHOLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\n", "no key `autoinstall`"),
        (GOOD.replace("version: 1", "version: 2"), "version is missing, or not 1"),
        (GOOD.replace("identity", "identty"), "did you mean 'identity'"),
        (GOOD.replace(HASH, "secret"), "no hash of a strong kind"),
        (GOOD + "  interactive-sections: [network]\n", "wait for a person"),
        ("autoinstall:\n  version: 1\n", "who may log in"),
        (GOOD.replace("hostname: web-1, ", ""), "'hostname' is missing"),
        (GOOD.replace("username: deploy", "username: Root User"), "does not have the right form"),
        (GOOD.replace("$6$salt", "$6$rounds=1000$salt"), "no hash of a strong kind"),
    ],
)
def test_a_wrong_autoinstall_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_autoinstall(path)
    assert message in f"{caught.value} {caught.value.hint}"


def test_autoinstall_is_cloud_config(tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_text(GOOD)
    assert read_autoinstall(path) == f"#cloud-config\n{GOOD}"


def test_the_vendor_is_known_by_its_folders() -> None:
    assert vendor_of(["/", "/casper", "/install"]) is UBUNTU
    assert vendor_of(["/install.amd"]) is DEBIAN
    assert vendor_of(["/boot"]) is None
    assert menus(["/boot/grub/grub.cfg", "/isolinux/txt.cfg", "/boot/x.img", "/a/b.cfg"]) == [
        "/boot/grub/grub.cfg",
        "/isolinux/txt.cfg",
    ]


def test_grub_entries_get_the_arguments_before_the_dashes() -> None:
    text = "menuentry 'a' {\n  linux /casper/vmlinuz quiet ---\n  initrd /casper/initrd\n}\nset timeout=30\n"
    made = unattended(text, UBUNTU.arguments, grub=True)
    assert "  linux /casper/vmlinuz quiet autoinstall ds=nocloud\\;s=/cdrom/autoinstall/ ---" in made
    assert "set timeout=5" in made
    assert unattended(made, UBUNTU.arguments, grub=True) == made


def test_isolinux_entries_too_and_it_does_not_wait_for_ever() -> None:
    options = "vga=788 initrd=/install.amd/initrd.gz"
    text = f"timeout 0\nlabel i\n\tkernel /install.amd/vmlinuz\n\tappend {options} --- quiet\n"
    made = unattended(text, DEBIAN.arguments, grub=False)
    assert f"append {options} {DEBIAN.arguments} --- quiet" in made
    assert made.startswith("timeout 50\n")


def test_the_speech_installer_does_not_begin_by_itself() -> None:
    kernel = "/install.amd/vmlinuz"
    options = "vga=788 initrd=/install.amd/gtk/initrd.gz speakup.synth=soft --- quiet"
    text = (
        "label spkgtk\n\tmenu label Install with ^speech synthesis\n"
        f"\tkernel {kernel}\n\tappend {options}\n"
        "menu autoboot Press a key, otherwise speech synthesis will be started in # second{,s}...\n"
        f"timeout 300\nontimeout {kernel} {options}\n"
    )
    made = unattended(text, DEBIAN.arguments, grub=False)
    assert made == (
        "label spkgtk\n\tmenu label Install with ^speech synthesis\n"
        f"\tkernel {kernel}\n\tappend {options.replace('---', f'{DEBIAN.arguments} ---')}\n"
        "timeout 50\n"
    )
    assert unattended(made, DEBIAN.arguments, grub=False) == made


def test_what_chooses_between_kernels_keeps_its_own_arguments() -> None:
    """A medium for two architectures: labels for the one program, a menu for the other."""
    text = (
        "label archdetect\n kernel ifcpu64.c32\n append amd64 -- i386\n"
        "label amd64\n kernel vesamenu.c32\n append menu.cfg\ndefault archdetect\nprompt 0\ntimeout 0\n"
    )
    made = unattended_menu("/isolinux/isolinux.cfg", text, DEBIAN.arguments)
    assert made == text.replace("timeout 0", "timeout 50")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (
            "/isolinux/rqtxt.cfg",
            "\tappend vga=788 initrd=/install.amd/initrd.gz rescue/enable=true --- quiet ",
        ),
        ("/boot/grub/grub.cfg", "    linux    /install.amd/vmlinuz vga=788 rescue/enable=true --- quiet"),
    ],
)
def test_rescue_mode_gets_no_answers(path: str, line: str) -> None:
    assert line in unattended_menu(path, f"{line}\n", DEBIAN.arguments).splitlines()


def test_help_waits_for_its_reader() -> None:
    """Though the menu that it includes, for what can be typed there, has a timeout by now."""
    path = "/isolinux/prompt.cfg"
    text = "prompt 1\ndisplay f1.txt\ntimeout 0\ninclude menu.cfg\n\nf1 f1.txt\n"
    made = unattended_menu(path, text, DEBIAN.arguments)
    assert made == text.replace("timeout 0\n", "") + "timeout 0\n"
    assert unattended_menu(path, made, DEBIAN.arguments) == made


def medium(tmp_path: Path, name: str = "vendor.iso") -> Path:
    """A hybrid medium in the layout of Debian's: CD and disk, BIOS and UEFI."""
    tree = tmp_path / "tree"
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "install.amd").mkdir()
    (tree / "boot/grub/grub.cfg").write_text(
        "menuentry 'Install' {\n linux /install.amd/vmlinuz --- quiet\n}\n"
    )
    (tree / "boot/grub/boot.img").write_bytes(b"boot" * 2048)
    (tree / "install.amd/vmlinuz").write_bytes(b"kernel" * 1000)
    (tree / "it's").write_text("a name to quote")
    sums = [
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  ./{path.relative_to(tree)}\n"
        for path in (tree / "boot/grub/grub.cfg", tree / "install.amd/vmlinuz")
    ]
    (tree / "md5sum.txt").write_text("".join(sums))
    (tmp_path / "mbr").write_bytes(b"\xeb\x63" + b"m" * 444)
    (tmp_path / "esp").write_bytes(b"efi " * 65536)
    target = tmp_path / name
    RUNNER.run(
        (
            "xorriso", "-no_rc", "-as", "mkisofs", "-quiet", "-r", "--grub2-mbr", tmp_path / "mbr",
            "-partition_offset", "16", "-append_partition", "2", "0xef", tmp_path / "esp",
            "-appended_part_as_gpt", "-b", "boot/grub/boot.img", "-no-emul-boot", "-boot-load-size", "4",
            "-boot-info-table", "--grub2-boot-info", "-eltorito-alt-boot", "-e",
            "--interval:appended_partition_2:all::", "-no-emul-boot", "-o", target, tree,
        )
    )  # fmt: skip
    return target


needs_xorriso = pytest.mark.needs("xorriso")


@needs_xorriso
def test_the_new_medium_boots_as_the_old_one_and_has_the_answers(tmp_path: Path) -> None:
    iso, target = medium(tmp_path), tmp_path / "new.iso"
    before = iso.read_bytes()
    found = remaster(iso, target, "debian", PRESEED, runner=RUNNER)
    assert found.describe() == "CD BIOS, CD UEFI, disk, GPT"
    assert kept(equipment(iso, RUNNER), equipment(target, RUNNER))
    assert iso.read_bytes() == before
    out = tmp_path / "out"
    RUNNER.run(("xorriso", "-no_rc", "-osirrox", "on", "-indev", target, "-extract", "/", out))
    assert (out / "preseed.cfg").read_text() == PRESEED
    assert DEBIAN.arguments in (out / "boot/grub/grub.cfg").read_text()
    assert (out / "install.amd/vmlinuz").read_bytes() == b"kernel" * 1000
    for line in (out / "md5sum.txt").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.md5((out / name).read_bytes()).hexdigest() == digest
    # The EFI partition and the boot code of a disk are there, byte for byte.
    data = target.read_bytes()
    assert b"efi " * 65536 in data and data[:BOOT] == before[:BOOT]


BOOT = 400


@needs_xorriso
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    iso, target = medium(tmp_path), tmp_path / "new.iso"
    with pytest.raises(UsageError, match="a medium of Debian, and the answers are for Ubuntu"):
        remaster(iso, target, "ubuntu", "", runner=RUNNER)
    with pytest.raises(UsageError, match="vendor's ISO itself"):
        remaster(iso, iso, "debian", PRESEED, runner=RUNNER)
    live = tmp_path / "live.iso"
    (tmp_path / "tree/live").mkdir()
    RUNNER.run(("xorriso", "-no_rc", "-as", "mkisofs", "-quiet", "-r", "-o", live, tmp_path / "tree"))
    with pytest.raises(UsageError, match="live medium"):
        remaster(live, target, "debian", PRESEED, runner=RUNNER)
    none = tmp_path / "none.iso"
    none.write_bytes(b"x" * 100_000)
    for path, message in ((none, "no ISO image"), (tmp_path / "missing", "no file")):
        with pytest.raises(UsageError, match=message):
            check_iso(path)
    truncated = tmp_path / "short.iso"
    truncated.write_bytes(iso.read_bytes()[:40_000])
    with pytest.raises((BuildError, UsageError)):
        remaster(truncated, target, "debian", PRESEED, runner=RUNNER)
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@needs_xorriso
def test_names_are_unquoted(tmp_path: Path) -> None:
    assert "/it's" in files_of(medium(tmp_path), RUNNER)


def test_the_list_of_sums_follows_the_changes() -> None:
    listed = f"{'0' * 32}  ./a\n{'1' * 32}  ./b\n"
    assert digests(listed, {"/b": "x"}) == f"{'0' * 32}  ./a\n{hashlib.md5(b'x').hexdigest()}  ./b\n"
