"""The schema and the reference come out of the same declarations as validation."""

from __future__ import annotations

import sys
from subprocess import run

import jsonschema
import pytest
import yaml

from deployer.cli.init import HOST
from deployer.config.document import Document
from deployer.config.reference import FILES, NAMES, SECTIONS, schema, section
from deployer.config.supported import REFUSED
from freehold.errors import UsageError
from freehold.settings import keys_of
from tests.unit.deployer.config.test_config_load import FOUNDING
from tests.unit.deployer.config.test_config_model import FLEET

# Every key at the top of Kamal 2.12's configuration.
KAMAL = [
    "service",
    "image",
    "labels",
    "volumes",
    "registry",
    "servers",
    "env",
    "asset_path",
    "hooks_path",
    "hooks_output",
    "secrets_path",
    "error_pages_path",
    "require_destination",
    "primary_role",
    "allow_empty_roles",
    "retain_containers",
    "minimum_version",
    "readiness_delay",
    "deploy_timeout",
    "drain_timeout",
    "stop_timeout",
    "run_directory",
    "ssh",
    "builder",
    "accessories",
    "proxy",
    "sshkit",
    "boot",
    "logging",
    "output",
    "aliases",
]


def test_every_key_of_kamal_is_declared() -> None:
    assert set(KAMAL) <= set(keys_of(Document))


@pytest.mark.parametrize("text", [FOUNDING, FLEET], ids=["founding", "fleet"])
def test_the_schema_accepts_what_loads(text: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(text), schema())


@pytest.mark.parametrize(
    "text",
    [
        "servers: [a]",
        "{service: a, severs: [a]}",
        "{service: a, proxy: {app_port: http}}",
        "{service: a, servers: {web: {hosts: [a], cdm: x}}}",
        "{service: a, accessories: {db: {host: h}}}",
        "{service: a, env: {secret: X}}",
        "{service: a, builder: {cache: {type: s3}}}",
    ],
)
def test_the_schema_refuses_what_does_not_load(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema())


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    texts = {
        "configuration": FOUNDING,
        "destination": "accessories: {db: {host: a}}\nproxy: {host: b}\nx-own: 1\n",
        "host": HOST,
        "lab": "machines: {web-1: {memory: 2G, disk: 20G, disks: [10G]}}\n",
    }
    jsonschema.validate(yaml.safe_load(texts[name]), schema(name))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"x-own": {}, "no-such-key": 1}, schema(name))


def test_what_may_be_left_out_may_not_be_wrong() -> None:
    for text in ("{accessories: {db: {imgae: x}}}", "{proxy: {app_port: http}}", "{env: {secret: X}}"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), schema("destination"))
    with pytest.raises(UsageError) as caught:
        schema("proxy")
    assert caught.value.hint == "there are: configuration, destination, host, lab"


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_every_section_has_help(name: str) -> None:
    rows = section(name)
    assert rows
    assert all(row.help.endswith((".", "…")) and row.type for row in rows), rows


def test_a_section_shows_what_may_be_written() -> None:
    rows = {row.path: row for name in NAMES for row in section(name)}
    assert rows["registry.password"].type == "text or list of text"
    assert rows["accessories.NAME.files"].type == "list of text or map"
    # Of the files beside the deploy file, too.
    assert (rows["memory"].type, rows["memory"].default) == ("a size", "1280M")
    assert rows["firewall.open"].type == "text or list of text"
    assert [row.path for row in section("hooks")] == ["hooks_path", "hooks_output"]


def test_an_unknown_section_has_a_near_miss() -> None:
    with pytest.raises(UsageError) as caught:
        section("prxy")
    assert caught.value.hint == "did you mean 'proxy'?"


def test_what_is_refused_is_declared() -> None:
    """A line of the table of unsupported keys that names no key would refuse nothing."""
    known = {row.path for name in SECTIONS for row in section(name)}
    # The proxy of a role or an accessory takes the keys of the root's.
    known |= {
        f"{owner}.*.{p}" for owner in ("servers", "accessories") for p in known if p.startswith("proxy.")
    }
    shapes = {path.replace("ROLE", "*").replace("NAME", "*") for path in known} | set(keys_of(Document))
    assert set(REFUSED) <= shapes


def test_loading_the_package_loads_no_template_engine() -> None:
    script = (
        "import sys; import deployer.config, deployer.secrets; "
        "print([m for m in ('jinja2', 'fabric', 'paramiko', 'jsonschema', 'rich') if m in sys.modules])"
    )
    done = run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
