"""Registries: when one is used, and what a client is told, with the password out of every command line."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from deployer.commands.registry import (
    HUB,
    HUB_DOMAIN,
    HUB_HOST,
    Access,
    access,
    argument,
    client_file,
    login_fragment,
    login_script,
    logout_fragment,
    podman_file,
    pull_script,
)
from deployer.commands.registry import logged_in as logged_in_there
from deployer.config import DeployConfig
from deployer.config.delivery import Credential, Registry
from deployer.engine.private import followed
from deployer.images.push import logged_in, push_error
from deployer.pulling import uses_registry
from freehold.errors import BuildError, ConfigError, ProcessError, UsageError
from freehold.secret import Secret
from tests.unit.deployer import samples

LOGIN = Access("ghcr.io", Secret("me"), Secret("it's $ecret"))


def with_registry(tmp_path: Path, registry: Registry | None) -> DeployConfig:
    config = samples.config(tmp_path)
    return dataclasses.replace(config, registry=registry, secrets=lambda name: Secret(f"value of {name}"))


@pytest.mark.parametrize(
    ("registry", "asked", "lab", "used"),
    [
        (None, None, False, False),
        (Registry(server="localhost:5555"), None, False, False),
        (Registry(server="ghcr.io"), None, False, True),
        (Registry(password=Credential(name="P")), None, False, True),
        (Registry(server="ghcr.io"), None, True, False),
        (Registry(server="ghcr.io"), True, True, True),
        (Registry(server="ghcr.io"), False, False, False),
    ],
)
def test_when_a_registry_is_used(
    tmp_path: Path, registry: Registry | None, asked: bool | None, lab: bool, used: bool
) -> None:
    assert uses_registry(with_registry(tmp_path, registry), asked=asked, lab=lab) is used


@pytest.mark.parametrize("registry", [None, Registry(server="localhost:5555")])
def test_a_registry_that_is_not_there(tmp_path: Path, registry: Registry | None) -> None:
    with pytest.raises(UsageError, match="names none"):
        uses_registry(with_registry(tmp_path, registry), asked=True, lab=False)


def test_the_credentials(tmp_path: Path) -> None:
    both = Registry("ghcr.io", Credential(literal=Secret("me")), Credential(name="PASSWORD"))
    found = access(with_registry(tmp_path, both))
    assert found == Access("ghcr.io", Secret("me"), Secret("value of PASSWORD"))
    assert access(with_registry(tmp_path, Registry(server="ghcr.io"))) is None
    with pytest.raises(ConfigError, match="has no username") as caught:
        access(with_registry(tmp_path, Registry(password=Credential(name="P"))))
    assert "--no-registry" in caught.value.hint


@pytest.mark.parametrize(
    ("server", "key"),
    [
        (None, (HUB, HUB_DOMAIN)),
        (HUB_DOMAIN, (HUB, HUB_DOMAIN)),
        (f"https://{HUB_DOMAIN}/v2/", (HUB, HUB_DOMAIN)),
        (HUB, (HUB, HUB_DOMAIN, HUB_HOST)),
        (f"own{HUB_DOMAIN}", (f"own{HUB_DOMAIN}",)),
        ("ghcr.io", ("ghcr.io",)),
        ("registry.example.com/group/project", ("registry.example.com",)),
        ("https://reg.example.com:5000/v2", ("reg.example.com:5000",)),
    ],
)
def test_what_clients_call_a_registry(server: str | None, key: tuple[str, ...]) -> None:
    assert Access(server, Secret("a"), Secret("b")).keys == key


@pytest.mark.parametrize("server", [None, HUB_DOMAIN, HUB_HOST, HUB])
def test_the_login_of_dockers_own_registry_is_where_it_is_looked_for(server: str | None) -> None:
    login = Access(server, Secret("me"), Secret("it's $ecret"))
    words = 'docker() { cat "$DOCKER_CONFIG/config.json"; }\n' + logged_in_there("docker", login)
    written = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True).stdout
    auth = {"auth": base64.b64encode(b"me:it's $ecret").decode()}
    for text in (written, client_file("", login, lambda _: False)):
        assert json.loads(text)["auths"][HUB] == auth
    theirs = {"auths": {HUB_DOMAIN: {"auth": "somebody else's"}}, "credHelpers": {HUB: "store"}}
    found = json.loads(podman_file([json.dumps(theirs)], dataclasses.replace(login, server=HUB_DOMAIN)))
    assert found == {"auths": {HUB: auth, HUB_DOMAIN: auth}, "credHelpers": {}}
    # `docker login` with a server would keep it under that name, where an image's name does not lead.
    assert "--password-stdin <<" in login_fragment(login) and logout_fragment(server) == "docker logout"
    assert argument(server, program="podman") == [HUB_DOMAIN]


def test_the_clients_own_file_is_kept_and_the_login_added() -> None:
    own = {
        "auths": {"other.io": {"auth": "x"}},
        "credsStore": "desktop",
        "credHelpers": {"ghcr.io": "gh", "ecr": "ecr"},
        "currentContext": "far",
    }
    asked: list[str] = []

    def missing(program: str) -> bool:
        asked.append(program)
        return False

    found = json.loads(client_file(json.dumps(own), LOGIN, missing))
    assert base64.b64decode(found["auths"]["ghcr.io"]["auth"]).decode() == "me:it's $ecret"
    assert found["auths"]["other.io"] and found["currentContext"] == "far"
    assert "credsStore" not in found and found["credHelpers"] == {"ecr": "ecr"}
    assert asked == ["docker-credential-desktop"]
    found = json.loads(client_file(json.dumps(own), LOGIN, lambda _: True))
    assert found["credsStore"] == "desktop" and found["credHelpers"] == {"ecr": "ecr", "ghcr.io": ""}
    assert json.loads(client_file("", LOGIN, missing))["auths"].keys() == {"ghcr.io"}


def test_what_podman_reads_holds_the_logins_of_all_files() -> None:
    clients = {
        "auths": {"a.io": {"auth": "x"}, "b.io": {"auth": "x"}},
        "credsStore": "desktop",
        "credHelpers": {"ghcr.io": "gh"},
    }
    own = {"auths": {"b.io": {"auth": "y"}, "ghcr.io": {"auth": "y"}}}
    found = json.loads(podman_file([json.dumps(clients), "", json.dumps(own)], LOGIN))
    assert found.keys() == {"auths", "credHelpers"} and found["credHelpers"] == {}
    assert {name: entry["auth"] for name, entry in found["auths"].items()} == {
        "a.io": "x",
        "b.io": "y",
        "ghcr.io": base64.b64encode(b"me:it's $ecret").decode(),
    }


def test_a_login_lasts_as_long_as_it_is_needed(tmp_path: Path) -> None:
    own = tmp_path / ".docker"
    (own / "contexts").mkdir(parents=True)
    (own / "config.json").write_text('{"currentContext": "far"}')
    with logged_in(LOGIN, {"HOME": str(tmp_path)}) as env:
        folder = Path(env["DOCKER_CONFIG"])
        for name in ("config.json", "auth.json"):
            assert (folder / name).stat().st_mode & 0o777 == 0o600
        assert (folder / "contexts").resolve() == own / "contexts"
        # Builders that are made with the login outlive it.
        assert env["BUILDX_CONFIG"] == str(own / "buildx")
    assert not folder.exists()
    with logged_in(LOGIN, {"HOME": str(tmp_path), "BUILDX_CONFIG": "/else"}) as env:
        assert env["BUILDX_CONFIG"] == "/else"
    assert (own / "config.json").read_text() == '{"currentContext": "far"}'
    with logged_in(None, {"HOME": str(tmp_path)}) as env:
        assert env == {}
    theirs = tmp_path / ".config" / "containers" / "auth.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"auths": {"b.io": {"auth": "y"}}}')
    with logged_in(LOGIN, {"HOME": str(tmp_path)}) as env:
        assert json.loads(Path(env["REGISTRY_AUTH_FILE"]).read_text())["auths"].keys() == {"b.io", "ghcr.io"}
    for file in (own / "config.json", theirs):
        file.write_text("{")
        with pytest.raises(BuildError, match=f"{file} is no JSON"), logged_in(LOGIN, {"HOME": str(tmp_path)}):
            pass
        file.unlink()


def test_no_password_stands_in_a_command(tmp_path: Path) -> None:
    """Of a line of the script only what begins a process counts: here-documents and words of bash do not."""
    config = with_registry(tmp_path, None)
    pull = pull_script(config, "ghcr.io/own/shop:v1", LOGIN).render()
    login = login_script(LOGIN).render()
    for text in (pull, login):
        for line in text.splitlines():
            if "docker " in line:
                assert "ecret" not in line
    assert "auth=$(printf %s 'me:it'\"'\"'s $ecret' | base64 -w 0)" in pull
    assert "--password-stdin ghcr.io <<'FREEHOLD_END'\nit's $ecret\n" in login
    assert "docker pull --quiet ghcr.io/own/shop:v1" in pull and '"$label" != shop' in pull
    assert "DOCKER_CONFIG" not in pull_script(config, "own/shop:v1", None).render()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("unauthorized: authentication required", "registry.password"),
        ("denied: requested access to the resource is denied", "does the repository exist"),
        ("http: server gave HTTP response to HTTPS client", "insecure-registries"),
        ("dial tcp: lookup nowhere.example: no such host", "registry.server"),
        ("something else", ""),
    ],
)
def test_why_a_push_failed(said: str, hint: str) -> None:
    error = push_error("ghcr.io/own/shop:v1", ProcessError("docker failed", stderr=said, details=[said]))
    assert error.details == (said,) and hint in error.hint and bool(error.hint) is bool(hint)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"insecure-registries": ["a:5000"], "data-root": "/x"}', {"insecure-registries": ["a:5000"]}),
        ('{"registry-mirrors": ["https://m"]}', {"registry-mirrors": ["https://m"]}),
        ("[]", {}),
        ("{", {}),
    ],
)
def test_what_the_private_engine_takes_over(text: str, found: dict[str, object]) -> None:
    assert followed(text) == found
