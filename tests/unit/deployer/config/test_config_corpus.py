"""Every real configuration in the corpus loads, or fails with the error that its own mistake deserves."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
import yaml

from deployer.config.load import DEFAULT_FILE, read_files
from deployer.config.reference import schema
from deployer.config.template.world import local_world
from freehold.errors import ConfigError
from freehold.process import LocalRunner
from tests.unit.deployer.config.project import Project

BESIDE = Path(__file__).parents[5] / "shared" / "corpus" / "kamal"
CORPUS = Path(os.environ.get("FREEHOLD_CORPUS") or BESIDE)

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"the corpus of real configuration files is absent ({CORPUS})"
)


@dataclass(frozen=True)
class Case:
    """A file of the corpus with a destination; `fails` is a part of the error, with its line.

    `overlay` stands in for a destination's file that the corpus lacks; `files` for files of the project.
    """

    name: str
    destination: str | None = None
    fails: str | None = None
    line: int = 0
    overlay: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    roles: int = 1
    accessories: int = 0


def hosts(*roles: str) -> str:
    """A destination's file that gives roles a host."""
    return "servers:\n" + "".join(f"  {role}:\n    hosts: [198.51.100.7]\n" for role in roles)


def ok(
    name: str,
    destination: str | None = None,
    roles: int = 1,
    accessories: int = 0,
    overlay: str | None = None,
) -> Case:
    return Case(name, destination, roles=roles, accessories=accessories, overlay=overlay)


def bad(name: str, line: int, fails: str, destination: str | None = None) -> Case:
    return Case(name, destination, fails, line)


TENANTS = """\
production:
  one: {admin_host: a.example.org, members_host: m.example.org}
  two: {admin_host: b.example.org}
"""

CASES = (
    bad("001-fizzy", 5, "the role 'jobs' has no hosts"),
    ok("001-fizzy", "beta", roles=2, accessories=1),
    ok("001-fizzy", "production", roles=2, accessories=1),
    bad("002-laravel", 42, "the role 'horizon' has no hosts"),
    ok("002-laravel", "production", roles=3, accessories=2),
    ok("003-astro", roles=2),
    ok("003-astro", "staging", roles=2),
    ok("004-phoenix-dating"),
    ok("004-phoenix-dating", "demo"),
    ok("005-drupal", accessories=1),
    bad("006-clojure-k1", 23, "Kamal 1 (traefik, builder.remote, healthcheck.exposed_port)"),
    bad("007-csa-tenants", 37, "config/tenant.yml: No such file or directory"),
    Case("007-csa-tenants", roles=2, accessories=2, files=(("config/tenant.yml", TENANTS),)),
    bad("008-janus", 18, "'ssl' needs a 'host'"),
    bad("009-fleet", 14, "the role 'web' has no hosts"),
    Case(
        "009-fleet",
        "x",
        roles=3,
        accessories=3,
        overlay=hosts("web", "worker", "discord_bot")
        + "proxy: {host: a.example.com}\n"
        + "accessories: {db: {host: d}, redis: {host: d}, db-backup: {host: d}}\n",
    ),
    ok("010-django-scout"),
    bad("011-blog-k1", 37, "Kamal 1 (builder.multiarch)"),
    ok("012-anycable-k1", roles=2, accessories=3),
    ok("013-consul", accessories=1),
    ok("014-multi-host-remote"),
    bad("015-erb-heavy-geo", 21, "a destination is required"),
    ok("015-erb-heavy-geo", "dev1", roles=4, accessories=3, overlay="labels: {x: y}\n"),
    bad("016-minecraft-k1", 64, "Kamal 1 (traefik)"),
    ok("017-keycloak-placeholders"),
    ok("018-anchors-prefixes", roles=2, accessories=2),
    ok("019-vaultwarden"),
    ok("020-cms-caddy-front"),
    ok("021-dotnet-saas"),
    ok("021-dotnet-saas", "postgres", accessories=1),
    bad("022-cloakman-ldap", 3, "a destination is required"),
    ok("022-cloakman-ldap", "staging", accessories=2),
    ok("023-review-staging-erb", roles=3),
    ok("024-clickhouse-dest", roles=2, accessories=2),
    bad("024-clickhouse-dest", 18, "the accessory 'clickhouse' has no image", "production"),
    bad("025-custom-cert", 10, "the role 'web' has no hosts"),
    bad("025-custom-cert", 10, "the role 'web' has no hosts", "staging"),
    ok(
        "025-custom-cert",
        "x",
        roles=2,
        accessories=1,
        overlay=hosts("web", "job_worker") + "accessories: {db: {host: d}}\n",
    ),
    ok("026-remote-builder"),
    bad("027-quarkus", 4, "no servers are named"),
    ok("027-quarkus", "staging"),
    bad("028-argo", 48, "the role 'web' has no hosts"),
    ok("028-argo", "prod", roles=2),
    ok("029-registry-cache", roles=2, accessories=1),
    ok("030-roles-accessory", accessories=1),
    bad("031-coap-boot-misplaced", 69, "the ports of the proxy do not stand under 'boot'"),
    ok("032-service-template"),
    ok("033-many-accessories", accessories=16),
    bad("034-mrsk-demo", 27, "unknown key 'files'"),
    ok("035-staffplan-k1", accessories=1),
    ok("036-django-localreg", roles=2),
    ok("037-cron-merge-key", roles=2, accessories=1),
    bad("038-hackathons-k1", 43, "Kamal 1 (traefik, builder.multiarch)"),
    bad("039-budgie-bind-ips", 20, "a destination is required"),
    ok("039-budgie-bind-ips", "x", accessories=1, overlay=hosts("web") + "accessories: {db: {host: d}}\n"),
    ok("040-arch-list-backups", accessories=2),
    ok("041-nextjs-minimal"),
    ok("042-four-databases", accessories=4),
    bad("043-phoenix-oban", 14, "'env' is no option of docker run"),
    ok("044-go-sqlite-vector", accessories=1),
    ok("045-java-gitlab-registry"),
    ok("046-rails8-default"),
    bad("047-proxy-run-ports", 22, "a destination is required"),
    ok("047-proxy-run-ports", "staging", overlay=hosts("web")),
    ok("048-fastapi-celery", roles=3, accessories=1),
    bad("049-udp-host-network", 5, "a destination is required"),
    ok(
        "049-udp-host-network",
        "eu",
        roles=4,
        overlay=hosts("web", "sidekiq", "discord_bot", "logdaemon") + "proxy: {host: a.example.com}\n",
    ),
    ok("050-multiarch-list"),
    ok("051-boot-limit-dam", roles=2, accessories=2),
    bad("052-duplicate-proxy-key", 25, "the key 'proxy' stands twice (first on line 9)"),
)


def stub_environment(text: str) -> dict[str, str]:
    """A plausible value for every environment variable that a template asks for."""
    found = {}
    for name in re.findall(r"ENV(?:\.fetch\(|\[)\s*['\"](\w+)['\"]", text):
        value = name.lower().replace("_", "-")
        if "PORT" in name:
            value = "4000"
        elif "TIMEOUT" in name:
            value = "60"
        elif re.search("IP|HOST|SERVER", name):
            value = f"{value}.example.com"
        elif "PATH" in name:
            value = "/x"
        found[name] = value
    return found


def lay_out(project: Project, case: Case) -> None:
    """Write the files of a case into the project."""
    text = (CORPUS / f"{case.name}.yml").read_text()
    project.write("config/deploy.yml", text)
    for overlay in CORPUS.glob(f"{case.name}.*.yml"):
        text += overlay.read_text()
        project.write(f"config/deploy.{overlay.name.split('.')[1]}.yml", overlay.read_text())
    if case.overlay is not None:
        project.write(f"config/deploy.{case.destination}.yml", case.overlay)
    for name, content in case.files:
        project.write(name, content)
    secrets = CORPUS / f"{case.name}.secrets"
    if secrets.exists():
        project.write(".kamal/secrets-common", secrets.read_text())
    project.write(".ruby-version", "3.4.1\n")
    project.write("registry_password.sh", "#!/bin/sh\necho token\n", 0o755)
    project.program("aws", "echo token")
    project.environ.update(stub_environment(text))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.destination or 'plain'}")
def test_corpus(project: Project, case: Case) -> None:
    lay_out(project, case)
    if case.fails is not None:
        with pytest.raises(ConfigError) as caught:
            project.load(destination=case.destination)
        assert case.fails in caught.value.message
        assert caught.value.where is not None
        assert caught.value.where.line == case.line
        assert caught.value.hint
        return
    config = project.load(destination=case.destination)
    assert (len(config.roles), len(config.accessories)) == (case.roles, case.accessories)
    assert all(role.hosts for role in config.roles) or case.name == "001-fizzy"
    assert all(item.hosts for item in config.accessories)
    assert (
        config.primary_role.proxy is not None
        or "proxy: false" in (CORPUS / f"{case.name}.yml").read_text()
        or case.destination == "demo"
    )
    editors_have_nothing_to_say(project, case)


@functools.cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(name))


def editors_have_nothing_to_say(project: Project, case: Case) -> None:
    """What loads fits the schemas that `docs --schema` prints: each file, and both as they are merged."""
    world = local_world(project.root, project.environ, LocalRunner())
    loaded = read_files(project.root, DEFAULT_FILE, case.destination, world)
    texts = {
        "configuration" if name == str(DEFAULT_FILE) else "destination": yaml.safe_load(rendered.text)
        for name, rendered in loaded.rendered.items()
    }
    if case.destination is not None:
        # Something that a base may lack, as its destinations say it.
        texts["configuration"] = {"service": "x", **texts["configuration"]}
    found = [(name, text) for name, text in (*texts.items(), ("configuration", loaded.node.plain()))]
    complaints = [
        f"{case.name} {name} {error.json_path}: {error.message}"
        for name, text in found
        for error in validator(name).iter_errors(text)
    ]
    assert complaints == []


def test_the_table_names_every_file() -> None:
    files = {path.stem for path in CORPUS.glob("*.yml") if path.name.count(".") == 1}
    overlays = {tuple(path.stem.split(".")) for path in CORPUS.glob("*.*.yml")}
    assert {case.name for case in CASES} == files
    assert overlays <= {(case.name, case.destination) for case in CASES}
