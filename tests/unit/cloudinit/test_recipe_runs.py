"""Steps of the recipe as they run, with this user in root's place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.parts.base import SWAP_PROGRAM
from cloudinit.parts.extras import PROGRAM
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.recipe import Recipe, make_recipe
from cloudinit.script import as_script, parse_event
from cloudinit.steps import File, Step

HELD = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"


def run_here(
    steps: tuple[Step, ...], tmp_path: Path, *, offline: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run steps for real, with this user in root's place and the state below `tmp_path`."""
    script = as_script(Recipe(steps, ()), offline=offline)
    script = script.replace("/var/lib/freehold-bootstrap", str(tmp_path / "state"))
    script = script.replace('[ "$(id -u)" = 0 ]', "true").replace("[ -e /etc/debian_version ]", "true")
    script = script.replace(" root root", ' "$(id -un)" "$(id -gn)"')
    return subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, timeout=60)


def test_a_second_run_changes_nothing_and_a_changed_file_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/motd"
    content = "one\nEND\n$(touch /nonexistent) `x` '\r\n# a\fb\x85c\u2028d\u2029e\vf\rEND\n\n"
    steps = (Step("motd", "it's a title", files=(File(str(path), content, 0o640),)),)
    first = run_here(steps, tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert path.read_bytes() == content.encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert "@@freehold motd changed" in first.stdout
    second = run_here(steps, tmp_path)
    assert "changed" not in second.stdout
    assert "@@freehold motd ok" in second.stdout
    path.chmod(0o666)
    assert "changed: mode of" in run_here(steps, tmp_path).stdout
    path.write_text("tampered\n")
    assert f"changed: wrote {path}" in run_here(steps, tmp_path).stdout
    assert path.read_bytes() == content.encode()


def test_a_file_may_stand_at_the_root(tmp_path: Path) -> None:
    text = f"""
FREEHOLD_OFFLINE=1
mktemp() {{ echo {tmp_path}/new; }}
mkdir() {{ command mkdir "$@" && echo "$@" >>{tmp_path}/made; }}
mv() {{ echo "$@" >>{tmp_path}/made; }}
file /freehold-rescue.sh 755 "$(id -un)" "$(id -gn)" <<<x
"""
    assert in_library(text, tmp_path) == "changed: wrote /freehold-rescue.sh\n0\n"
    made = (tmp_path / "made").read_text().splitlines()
    assert (made[0], made[-1]) == ("-p -- /", f"-f -- {tmp_path}/new /freehold-rescue.sh")


@pytest.mark.parametrize("there", [True, False])
def test_a_user_takes_the_group_of_its_name_where_there_is_one(tmp_path: Path, there: bool) -> None:
    (step,) = [step for step in make_recipe(parse_profile("users: [web]")).steps if step.name == "user-web"]
    text = f"""
getent() {{ case $* in "group web") {str(there).lower()} ;; *) echo "x:::::/home/web:/bin/bash" ;; esac; }}
id() {{ case $1 in -u) return 1 ;; *) echo docker freehold sudo ;; esac; }}
useradd() {{ echo "$@" >{tmp_path}/asked; }}
{step.before}
"""
    assert "changed: user web\n" in in_library(text, tmp_path)
    group = "--gid=web" if there else "--user-group"
    assert (tmp_path / "asked").read_text() == f"--create-home {group} --shell /bin/bash web\n"


def test_what_a_check_refuses_does_not_take_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    for text, taken in (("[1]", "[1]\n"), ("[1", "[1]\n"), ("[1", "[1]\n"), ("[2]", "[2]\n")):
        item = File(str(path), text, check="python3 -m json.tool")
        done = run_here((Step("numbers", "Numbers", files=(item,)),), tmp_path, offline=False)
        assert (done.returncode == 0) is (f"{text}\n" == taken), done.stdout + done.stderr
        assert path.read_text() == taken
        assert "@@freehold numbers ok" not in done.stdout
        assert done.returncode == 0 or f"python3 refuses what {path} would hold" in done.stdout
        assert [left.name for left in tmp_path.iterdir() if left.is_file()] == ["numbers.json"]


def test_a_failing_step_ends_the_script_and_is_named(tmp_path: Path) -> None:
    steps = (
        Step("good", "Good", script="true"),
        Step("bad", "Bad", script='false\nsay "went on"'),
        Step("late", "Late", script="true"),
    )
    done = run_here(steps, tmp_path)
    events = [event for line in done.stdout.splitlines() if (event := parse_event(line))]
    assert done.returncode != 0
    assert [(event.step, event.state) for event in events] == [
        ("good", "start"),
        ("good", "ok"),
        ("bad", "start"),
        ("bad", "failed"),
    ]
    assert "went on" not in done.stdout


def test_files_may_leave_the_profile_and_come_again(tmp_path: Path) -> None:
    path = tmp_path / "motd"
    path.write_text("theirs\n")
    given = f"files: [{{path: {path}, content: ours}}]"
    for text, now in ((given, "ours"), ("", "theirs"), (given, "ours"), ("", "theirs")):
        step = next(step for step in make_recipe(parse_profile(text)).steps if step.name == "files")
        done = run_here((step,), tmp_path, offline=False)
        assert (done.returncode, path.read_text()) == (0, f"{now}\n"), done.stdout + done.stderr


def commands_step(text: str, tmp_path: Path) -> Step:
    """The commands of a profile; their program and unit are placed below `tmp_path`."""
    step = next(step for step in make_recipe(parse_profile(text)).steps if step.name == "commands")
    program, unit = (replace(item, path=f"{tmp_path}{item.path}") for item in step.files)
    return replace(step, files=(program, unit), live=step.live.replace(PROGRAM, program.path))


def test_a_command_of_the_profile_runs_once(tmp_path: Path) -> None:
    step = commands_step(f'commands: ["echo done >> {tmp_path}/ran"]', tmp_path)
    first, second = (run_here((step,), tmp_path, offline=False) for _ in range(2))
    assert "@@freehold commands changed" in first.stdout
    assert "@@freehold commands ok" in second.stdout
    assert (tmp_path / "ran").read_text() == "done\n"


def test_a_command_that_reads_its_input_leaves_the_rest_of_its_lines(tmp_path: Path) -> None:
    step = commands_step(f'commands: ["cat >/dev/null\\necho done >> {tmp_path}/ran"]', tmp_path)
    assert run_here((step,), tmp_path, offline=False).returncode == 0
    assert (tmp_path / "ran").read_text() == "done\n"


def test_a_command_that_fails_runs_again_and_those_before_it_do_not(tmp_path: Path) -> None:
    lines = [f"echo one >>{tmp_path}/ran", f"test -e {tmp_path}/there", f"echo three >>{tmp_path}/ran"]
    step = commands_step(json.dumps({"commands": lines}), tmp_path)
    assert run_here((step,), tmp_path, offline=False).returncode != 0
    (tmp_path / "there").touch()
    assert run_here((step,), tmp_path, offline=False).returncode == 0
    assert (tmp_path / "ran").read_text() == "one\nthree\n"


def test_the_commands_of_an_image_wait_for_its_hosts(tmp_path: Path) -> None:
    step = commands_step(f'commands: ["echo done >> {tmp_path}/ran"]', tmp_path)
    enabled = f'systemctl() {{ echo "$@" >>{tmp_path}/asked; }}\n{step.script}'
    assert run_here((replace(step, script=enabled),), tmp_path).returncode == 0
    assert (tmp_path / "asked").read_text().endswith("--quiet enable -- freehold-commands.service\n")
    assert not (tmp_path / "ran").exists()
    program = Path(step.files[0].path)
    assert program.stat().st_mode & 0o777 == 0o700
    # As the unit runs it, and then a recipe over SSH.
    text = program.read_text().replace("/var/lib/freehold-bootstrap", str(tmp_path / "state"))
    subprocess.run(["bash", "-c", text], check=True, timeout=60)
    assert "@@freehold commands ok" in run_here((step,), tmp_path, offline=False).stdout
    assert (tmp_path / "ran").read_text() == "done\n"


@pytest.mark.needs("mkswap")
def test_the_swap_file_is_whole_or_absent_and_made_anew_for_another_size(tmp_path: Path) -> None:
    """Whether the kernel takes it only a machine can tell: `swapon` notes what it is given."""
    (tmp_path / "bin").mkdir()
    swapon = tmp_path / "bin/swapon"
    swapon.write_text(f'#!/bin/sh\nblkid -p -o value -s TYPE "$1" >>{tmp_path}/noted\n')
    swapon.chmod(0o755)
    path = tmp_path / "swap"

    def run(size: int, before: str = "") -> int:
        words = ["sh", "-c", before + SWAP_PROGRAM, "swap", str(path), str(size)]
        environment = {"PATH": f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(words, env=environment, capture_output=True, timeout=60).returncode

    assert run(2**20) == 0
    made = path.stat()
    assert (made.st_size, made.st_mode & 0o777) == (2**20, 0o600)
    # A power cut before the file is whole: there is none, and the next boot makes it.
    assert run(2**21, "mkswap() { exit 9; }\n") == 9
    assert not path.exists()
    assert run(2**21) == 0
    assert path.stat().st_size == 2**21
    made = path.stat()
    assert run(2**21) == 0
    assert path.stat().st_ino == made.st_ino
    assert (tmp_path / "noted").read_text() == "swap\n" * 3
    # More than the disk has: the former file serves on.
    assert run(2**50) == 1
    assert path.stat().st_ino == made.st_ino
    assert (tmp_path / "noted").read_text() == "swap\n" * 4
    # A disk that fills up meanwhile, and a file system that cannot set blocks aside.
    for said, status in (("No space left on device", 1), ("Operation not supported", 0)):
        fallocate = f"fallocate() {{ echo 'fallocate: {said}' >&2; return 1; }}\n"
        assert run(2**20 + 4096, fallocate) == status
        assert not Path(f"{path}.new").exists()
    assert path.stat().st_size == 2**20 + 4096


def test_a_script_that_arrives_cut_off_does_nothing(tmp_path: Path) -> None:
    script = as_script(make_recipe(HostProfile()), offline=True)
    cut = script[: script.rindex("run_step finish")]
    done = subprocess.run(["bash", "-s"], input=cut, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert done.stdout == ""


def test_what_a_step_has_just_started_is_not_started_anew(tmp_path: Path) -> None:
    library = Path("cloudinit/data/library.sh").read_text()
    text = f"""{library}
systemctl() {{
    case $* in *is-active*) grep -qx "${{!#}}" {tmp_path}/runs 2>/dev/null; return ;; esac
    echo "$*" >>{tmp_path}/asked
    case $1 in start) echo "${{!#}}" >>{tmp_path}/runs ;; esac
}}
echo old.service >{tmp_path}/runs
step_one() {{ notify restart new.service; notify restart old.service; start new.service old.service; }}
run_step one
"""
    environ = {
        "FREEHOLD_OFFLINE": "0",
        "FREEHOLD_STATE": str(tmp_path),
        "FREEHOLD_WORK": str(tmp_path / "work"),
    }
    (tmp_path / "work").mkdir()
    done = subprocess.run(["bash", "-c", text], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line for line in asked if line != "daemon-reload"] == [
        "start -- new.service",
        "restart -- old.service",
    ]


def in_library(text: str, tmp_path: Path) -> str:
    """What `text` prints that calls the library's words; its status is the last line."""
    library = "".join(Path(f"cloudinit/data/{name}.sh").read_text() for name in ("library", "lists"))
    environ = {"FREEHOLD_OFFLINE": "0", "FREEHOLD_STATE": str(tmp_path), "FREEHOLD_WORK": str(tmp_path)}
    words = ["bash", "-c", f"{library}\n(set -euo pipefail\n{text}\n)\necho $?"]
    return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60).stdout


def test_the_lists_of_packages_are_waited_for_while_another_program_has_them(tmp_path: Path) -> None:
    apt = f"""
sleep() {{ :; }}
apt-get() {{ echo x >>{tmp_path}/tries; [ "$(wc -l <{tmp_path}/tries)" -gt 3 ] || {{ echo '{HELD}' >&2; return 100; }}; }}
update_lists
"""  # noqa: E501 - one shell function a line
    assert in_library(apt, tmp_path) == "another program has apt's lists; waiting for it\n0\n"
    assert (tmp_path / "tries").read_text() == "x\n" * 4
    ever = f"sleep() {{ :; }}\napt-get() {{ echo '{HELD}' >&2; return 100; }}\nupdate_lists"
    assert in_library(ever, tmp_path).endswith(f"{HELD}\n1\n")
    other = "apt-get() { echo 'E: The repository has no Release file' >&2; return 100; }\nupdate_lists"
    assert in_library(other, tmp_path) == "E: The repository has no Release file\n1\n"


def test_what_dpkg_was_broken_off_in_is_ended_before_packages_are_installed(tmp_path: Path) -> None:
    text = f"""
ls() {{ :; }}
sleep() {{ :; }}
dpkg-query() {{ echo unpacked; }}
dpkg() {{
    case $* in
    --audit) cat {tmp_path}/audit 2>/dev/null || true ;;
    *) echo "dpkg $*" >>{tmp_path}/asked
        if [ -e {tmp_path}/held ]; then rm {tmp_path}/held; echo "dpkg frontend lock was locked by another process"; return 2; fi ;;
    esac
}}
apt-get() {{ echo "apt-get $*" >>{tmp_path}/asked; }}
install_packages htop
"""  # noqa: E501 - one shell function a line

    def asked() -> list[str]:
        assert in_library(text, tmp_path).endswith("changed: installed htop\n0\n")
        lines = (tmp_path / "asked").read_text().splitlines()
        (tmp_path / "asked").unlink()
        return [f"{line.split()[0]} {line.rpartition(' ')[2]}" for line in lines]

    assert asked() == ["apt-get update", "apt-get htop"]
    (tmp_path / "audit").write_text("half done\n")
    whole = ["dpkg -a", "apt-get update", "apt-get --fix-broken", "apt-get htop"]
    assert asked() == whole
    (tmp_path / "held").touch()
    assert asked() == ["dpkg -a", *whole]


APT = """\
Dir "{0}";
Dir::State::status "{0}/var/lib/dpkg/status";
Dir::Bin::dpkg "/usr/bin/dpkg";
APT::Sandbox::User "";
Dpkg::Options {{ "--root={0}"; "--log={0}/log"; "--force-not-root"; "--force-bad-path"; }};
"""
HOLD = """\
import fcntl, sys
held = open(sys.argv[1], "w")
fcntl.lockf(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def own_packages(root: Path) -> str:
    """An apt and a dpkg of their own below `root`, with one package to install; how a shell uses them."""
    for name in (
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/log/apt",
        "package/DEBIAN",
    ):
        (root / name).mkdir(parents=True)
    for name in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/apt.conf.d").mkdir(parents=True)
    (root / "apt.conf").write_text(APT.format(root))
    fields = "Package: probe\nVersion: 1\nArchitecture: all\nMaintainer: me\nDescription: probe\n"
    (root / "package/DEBIAN/control").write_text(fields)
    package = root / "probe_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", root / "package", package], check=True, stdout=subprocess.DEVNULL)
    listed = f"{fields}Filename: ./{package.name}\nSize: {package.stat().st_size}\n"
    listed += f"SHA256: {hashlib.sha256(package.read_bytes()).hexdigest()}\n"
    (root / "Packages").write_text(listed)
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{root} ./\n")
    return f"""
export APT_CONFIG={root}/apt.conf
broken_off() {{ return 1; }}
dpkg-query() {{ command dpkg-query --admindir={root}/var/lib/dpkg "$@"; }}
"""


@pytest.mark.needs("apt-get", "dpkg-deb")
@pytest.mark.parametrize(
    "lock",
    [
        "var/lib/apt/lists/lock",
        "var/cache/apt/archives/lock",
        "var/lib/dpkg/lock-frontend",
        "var/lib/dpkg/lock",
    ],
)
def test_packages_are_installed_once_other_programs_let_go_of_apts_locks(tmp_path: Path, lock: str) -> None:
    """apt itself, and a lock that it is refused at least once."""
    root = tmp_path / "root"
    use = own_packages(root)
    with subprocess.Popen(
        ["python3", "-c", HOLD, root / lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # The recipe waits by `sleep`; apt says that it does, on dpkg's locks.
        text = f"""{use}
let_go() {{ kill {holder.pid} 2>/dev/null || true; }}
sleep() {{ let_go; command sleep 0.1; }}
: >{tmp_path}/said
( until grep -q "Waiting for cache lock" {tmp_path}/said {tmp_path}/apt; do command sleep 0.1; done; let_go ) 2>/dev/null &
trap "kill $! 2>/dev/null || true" EXIT
install_packages probe | tee {tmp_path}/said
"""  # noqa: E501 - one shell command a line
        said = in_library(text, tmp_path)
    assert said.endswith("changed: installed probe\n0\n"), said
    assert ("waiting for it" in said) is ("dpkg" not in lock)
    assert "Status: install ok installed" in (root / "var/lib/dpkg/status").read_text()


def test_one_run_waits_for_the_other_and_not_for_what_that_one_started(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    step = Step("one", "One", script=f"sleep 20 >/dev/null 2>&1 & echo $! >{tmp_path}/left")
    with (tmp_path / "state/lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        inode = os.fstat(held.fileno()).st_ino

        def release() -> None:
            end = time.monotonic() + 50
            while not re.search(rf"-> FLOCK .*:{inode} ", Path("/proc/locks").read_text()):
                if time.monotonic() > end:
                    break
                time.sleep(0.05)
            held.close()

        waiter = threading.Thread(target=release)
        waiter.start()
        first = run_here((step,), tmp_path, offline=False)
        waiter.join()
    os.kill(int((tmp_path / "left").read_text()), 0)
    second = run_here((Step("two", "Two"),), tmp_path, offline=False)
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)
    events = [event.step for line in first.stdout.splitlines() if (event := parse_event(line))]
    assert events[:3] == ["another-run", "another-run", "one"]
    assert "another-run" not in second.stdout
    assert second.returncode == first.returncode == 0
