"""Every command and flag of Kamal 2.12 is understood here, under its own name."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from deployer.cli.main import cli
from deployer.cli.options import lock_wait

EVERYWHERE = "-v -q --version -p -h -r -c -d -H"
LOGS = f"-s -n -g -f -T {EVERYWHERE}"
LOCKED = f"{EVERYWHERE} --lock-wait --lock-wait-timeout --lock-wait-interval"
KAMALS = {
    "setup deploy redeploy": f"-P --no-cache {LOCKED}",
    "rollback": LOCKED,
    "details audit config": EVERYWHERE,
    "docs version": "-v -q",
    "init": "--bundle",
    "remove": f"-y {LOCKED}",
    "upgrade": f"-y --rolling {LOCKED}",
    "accessory: boot upload directories reboot start stop restart pull_image remove_container "
    "remove_image remove_service_directory": LOCKED,
    "accessory: details": EVERYWHERE,
    "accessory: exec": f"-i --reuse --raw {EVERYWHERE}",
    "accessory: logs": f"--grep-options {LOGS}",
    "accessory: remove": f"-y {LOCKED}",
    "accessory: upgrade": f"--rolling -y {LOCKED}",
    "app: boot start stop live remove remove_container remove_containers remove_images "
    "remove_app_directories": LOCKED,
    "app: details containers images version": EVERYWHERE,
    "app: exec": f"-i --reuse -e --detach --raw {EVERYWHERE}",
    "app: stale_containers": f"-s {EVERYWHERE}",
    "app: logs": f"--grep-options --container-id {LOGS}",
    "app: maintenance": f"--drain-timeout --message {LOCKED}",
    "build: deliver pull create remove details": EVERYWHERE,
    "build: push dev": f"--output --no-cache {EVERYWHERE}",
    "lock: status release": EVERYWHERE,
    "lock: acquire": f"-m {EVERYWHERE}",
    "proxy: boot start stop restart remove_container remove_image remove_proxy_directory": LOCKED,
    "proxy: boot_config details": EVERYWHERE,
    "proxy: reboot upgrade": f"--rolling -y {LOCKED}",
    "proxy: logs": LOGS,
    "proxy: remove": f"--force {LOCKED}",
    "prune: all images": LOCKED,
    "prune: containers": f"--retain {LOCKED}",
    "registry: setup remove login logout": f"-L -R {EVERYWHERE}",
    "secrets: fetch": "-a --account --from",
    "secrets: extract": "-v -q",
    "secrets: print": "-d",
    "server: exec": f"-i --raw {EVERYWHERE}",
    "server: bootstrap": EVERYWHERE,
}


@pytest.mark.parametrize("names", KAMALS)
def test_a_command_takes_the_flags_that_it_has_in_kamal(names: str) -> None:
    above, _, below = names.rpartition(": ")
    group = below_of(cli, above) if above else cli
    for name in below.split():
        flags = {flag for option in below_of(group, name).params for flag in option.opts}
        assert set(KAMALS[names].split()) <= flags, name


def below_of(group: click.Command, name: str) -> click.Command:
    assert isinstance(group, click.Group)
    found = group.get_command(click.Context(group), name)
    assert found is not None, name
    return found


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("", 0),
        ("--lock-wait", 900),
        ("--lock-wait --lock-wait-timeout 60 --lock-wait-interval 5", 60),
        ("--lock_wait --lock_wait_timeout=60", 60),
        ("--lock-wait 30", 30),
        ("--lock-wait-timeout 60", 0),
    ],
)
def test_how_long_the_lock_is_waited_for(words: str, seconds: int) -> None:
    @click.command()
    @lock_wait
    def show(lock_wait: int) -> None:
        click.echo(lock_wait)

    settings = cli.context_settings
    done = CliRunner().invoke(show, words.split(), token_normalize_func=settings["token_normalize_func"])
    assert done.output == f"{seconds}\n"
