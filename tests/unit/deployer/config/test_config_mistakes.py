"""Mistakes in a configuration: errors with file, line and key, and what to write instead."""

from __future__ import annotations

import pytest

from deployer.config.supported import Refusal
from freehold.errors import ConfigError
from tests.unit.deployer.config.project import Project, place

MINIMAL = "service: app\nservers: [a]\n"


def test_no_file(project: Project) -> None:
    error = project.error()
    assert str(error) == "config/deploy.yml: no such file"
    assert "freehold init" in error.hint


@pytest.mark.parametrize(
    ("text", "line", "key", "message", "hint"),
    [
        ("service: app\nsevers: [a]\n", 2, "severs", "unknown key 'severs'", "did you mean 'servers'?"),
        ("servers: [a]\n", 1, "", "the key 'service' is missing", "Name of the service"),
        ("service: my app\nservers: [a]\n", 1, "service", "does not have the right form", ""),
        (MINIMAL + "proxy:\n  app_prt: 3000\n", 4, "proxy.app_prt", "unknown key", "'app_port'"),
        (MINIMAL + "proxy:\n  app_port: http\n", 4, "proxy.app_port", "expected a whole number", ""),
        (MINIMAL + "proxy:\n  port: 3000\n", 4, "proxy.port", "unknown key 'port'", "app_port"),
        (MINIMAL + "proxy:\n  ssl: true\n", 4, "proxy.ssl", "'ssl' needs a 'host'", "ssl: false"),
        (
            MINIMAL + "proxy:\n  host: '*.a.test'\n  ssl: true\n",
            5,
            "proxy.ssl",
            "no certificate can be had automatically for *.a.test",
            "certificate_pem",
        ),
        (
            MINIMAL + "proxy:\n  host: a.test\n  ssl: true\n  ssl_on_demand: /ask\n",
            6,
            "proxy.ssl_on_demand",
            "no meaning where every host is named",
            "*.example.com",
        ),
        (
            MINIMAL + "proxy:\n  ssl_on_demand: /ask\n",
            4,
            "proxy.ssl_on_demand",
            "'ssl_on_demand' needs ssl: true",
            "",
        ),
        (
            MINIMAL + "proxy:\n  redirect_from: www.a.test\n",
            4,
            "proxy.redirect_from",
            "leads to the first host, and none is no name",
            "canonical name first",
        ),
        (
            MINIMAL + "proxy:\n  hosts: ['*.a.test', b.test]\n  redirect_from: www.a.test\n",
            5,
            "proxy.redirect_from",
            "*.a.test is no name to lead to",
            "canonical name first",
        ),
        (
            MINIMAL + "proxy:\n  host: a.test\n  redirect_from: [www.a.test, '*.a.test']\n",
            5,
            "proxy.redirect_from[1]",
            "expected a host name, found '*.a.test'",
            "no wildcard",
        ),
        (
            MINIMAL + "proxy:\n  host: a.test,b.test\n  redirect_from: [b.test]\n",
            5,
            "proxy.redirect_from[0]",
            "b.test is named twice",
            "take it out",
        ),
        (
            "service: a\nproxy: {host: a.test, redirect_from: www.a.test}\n"
            "servers: {web: [a], api: {hosts: [a], proxy: {host: www.a.test, redirect_from: []}}}\n",
            3,
            "servers.api.proxy",
            "on a, www.a.test is a.test by the role 'web', and www.a.test by 'api'",
            "[] takes nothing over",
        ),
        (MINIMAL + "proxy: {host: a.b, hosts: [c.d]}\n", 3, "proxy.hosts", "not both", "hosts"),
        (MINIMAL + "retain_containers: 0\n", 3, "retain_containers", "too small", ""),
        (MINIMAL + "deploy_timeout: soon\n", 3, "deploy_timeout", "a duration", "for example"),
        (
            "service: app\nservers:\n  web:\n    hosts: [a]\n    cmd: echo it's\n",
            5,
            "servers.web.cmd",
            "is no command line: No closing quotation",
            "quotes come in pairs",
        ),
        (
            MINIMAL + "accessories:\n  db:\n    image: x\n    host: a\n    cmd: echo \\\n",
            7,
            "accessories.db.cmd",
            "is no command line: No escaped character",
            "",
        ),
        (MINIMAL + "env: {clear: {A: [1]}}\n", 3, "env.clear.A", "expected one value", ""),
        (MINIMAL + "env: {secret: [A], B: c}\n", 3, "env.B", "beside 'clear' and 'secret'", "under 'clear'"),
        (MINIMAL + "env: {secret: [A b]}\n", 3, "env.secret", "right form", ""),
        (MINIMAL + "labels: {role: x}\n", 3, "labels.role", "set by Freehold itself", "another name"),
        (
            MINIMAL + "labels: {freehold.address: x}\n",
            3,
            "labels.freehold.address",
            "set by Freehold itself",
            "another name",
        ),
        (
            "service: a\nservers: {web: {hosts: [a], options: {label: [a=b, service=x]}}}\n",
            2,
            "servers.web.options.label[1]",
            "the label 'service' is set by Freehold itself",
            "another name",
        ),
        (
            MINIMAL + "accessories:\n  db:\n    image: x\n    host: a\n    options: {name: db}\n",
            7,
            "accessories.db.options.name",
            "the name of a container is given by Freehold itself",
            "'service'",
        ),
        (MINIMAL + "aliases: {deploy: app exec}\n", 3, "aliases.deploy", "would hide", "another name"),
        (MINIMAL + "aliases: {Up: app exec}\n", 3, "aliases.Up", "no name for an alias", "lowercase"),
        (MINIMAL + "primary_role: job\n", 3, "primary_role", "is not among the servers", "web"),
        (MINIMAL + "minimum_version: 3.0.0\n", 3, "minimum_version", "needs Kamal 3.0.0", "lower"),
        (MINIMAL + "hooks: {pre-deploy: x}\n", 3, "hooks", "hooks are files", ".freehold/hooks/pre-deploy"),
        (MINIMAL + "hooks_output: loud\n", 3, "hooks_output", "expected quiet or verbose", ""),
        (
            MINIMAL + "hooks_output: {pre-deplo: quiet}\n",
            3,
            "hooks_output.pre-deplo",
            "unknown key",
            "pre-deploy",
        ),
        (MINIMAL + "builder: {arch: amd64, local: false}\n", 3, "builder", "needs a 'remote'", ""),
        (MINIMAL + "builder: {cache: {type: s3}}\n", 3, "builder.cache.type", "one of gha, registry", ""),
        (MINIMAL + "boot: {limit: 0}\n", 3, "boot.limit", "too small", ""),
        (MINIMAL + "boot: {limit: half}\n", 3, "boot.limit", "right form", ""),
        (MINIMAL + "ssh: {port: 70000}\n", 3, "ssh.port", "a port from 1 to 65535", ""),
        (MINIMAL + "ssh: {log_level: loud}\n", 3, "ssh", "'log_level' is one of", ""),
        (MINIMAL + "registry: {password: [A, B]}\n", 3, "registry.password", "name of one secret", "- NAME"),
        (
            MINIMAL + "accessories: {db: {image: x}}\n",
            3,
            "accessories.db",
            "does not say where",
            "host, hosts",
        ),
        (
            MINIMAL + "accessories: {db: {image: x, host: a, role: web}}\n",
            3,
            "accessories.db",
            "says host and role",
            "one of",
        ),
        (
            MINIMAL + "accessories: {db: {image: x, role: wev}}\n",
            3,
            "accessories.db.role",
            "there is no role 'wev'",
            "there are: web",
        ),
        (
            MINIMAL + "accessories: {db: {image: x, host: a, directories: [data]}}\n",
            3,
            "accessories.db.directories[0]",
            "expected local:remote",
            "absolute",
        ),
        (
            MINIMAL + "accessories: {db: {image: x, host: a, tag: y}}\n",
            3,
            "accessories.db",
            "says host and tag",
            "one of",
        ),
        ("service: a\nservers: {web: []}\n", 2, "servers.web", "the role 'web' has no hosts", "hosts"),
        ("service: a\nservers: {web: {hosts: [http://x]}}\n", 2, "servers.web.hosts[0]", "is a URL", "alone"),
        ("service: a\nservers: {web: {cmd: x}}\n", 2, "servers.web", "has no hosts", "hosts"),
        (
            "service: a\nservers:\n  192.0.2.1: x y\n",
            3,
            "servers.192.0.2.1",
            "is no name for a role",
            "into a list",
        ),
        (
            "service: a\nservers: {web: {hosts: [a], options: {restart: no}}}\n",
            2,
            "servers.web.options.restart",
            "a restart policy is text",
            '"no"',
        ),
        (
            "service: a\nservers: {web: {hosts: [a], options: {restart: never}}}\n",
            2,
            "servers.web.options.restart",
            "no restart policy",
            "unless-stopped",
        ),
        (
            "service: a\nservers: {web: {hosts: [a], env: {tags: {x: {}}}}}\n",
            2,
            "servers.web.env.tags",
            "top",
            "",
        ),
        (
            "service: a\nservers: {web: {hosts: [a], proxy: maybe}}\n",
            2,
            "servers.web.proxy",
            "true, false",
            "",
        ),
        ("service: a\nservers: [a: {b: c}]\n", 2, "servers[0].a", "expected one value", ""),
        (
            "service: a\nservers: {web: [a], api: {hosts: [a], proxy: true}}\n",
            2,
            "servers",
            "both serve",
            "host",
        ),
        (
            "service: a\nproxy: {host: a.test, ssl: true, path_prefix: /a}\n"
            "servers: {web: [a], api: {hosts: [a], proxy: {path_prefix: /b, ssl: false}}}\n",
            3,
            "servers.api.proxy.ssl",
            "'web' and 'api' want HTTPS in two ways for a.test on a",
            "the same ssl",
        ),
        (
            "service: a\nproxy: {host: a.test, ssl: true, ssl_redirect: false}\n"
            "servers: {web: [a], api: {hosts: [a, b], proxy: {path_prefix: /b, ssl: false}}}\n",
            3,
            "servers.api.proxy.ssl",
            "'web' and 'api' want HTTPS in two ways for a.test on a",
            "the same ssl",
        ),
        ("- a\n", 1, "", "expected keys such as service", ""),
        ("", 0, "", "the file is empty", "freehold init"),
        ("service: a\n\tservers: b\n", 2, "", "not valid YAML", "spaces"),
    ],
)
def test_mistakes(project: Project, text: str, line: int, key: str, message: str, hint: str) -> None:
    error = project.error(text)
    assert message in error.message
    assert error.where is not None
    assert (error.where.file, error.where.line) == ("config/deploy.yml", line)
    assert error.where.key.startswith(key)
    assert hint in error.hint


def test_a_key_that_is_not_honoured_is_refused_by_name(project: Project) -> None:
    with pytest.raises(ConfigError) as caught:
        project.load(
            MINIMAL + "proxy:\n  buffering: {requests: true}\n",
            unsupported={"proxy.buffering": Refusal("why", "do so")},
        )
    assert caught.value.message == "'proxy.buffering' has no meaning here: why"
    assert caught.value.hint == "do so"
    assert place(caught.value) == ("config/deploy.yml", 4, "proxy.buffering")
    with pytest.raises(ConfigError, match=r"'servers.job.logging' has no meaning here"):
        project.load(
            "service: a\nservers: {web: [a], job: {hosts: [a], logging: {driver: local}}}\n",
            unsupported={"servers.*.logging": Refusal("why", "do so")},
        )


def test_kamal_1_is_told_what_to_write(project: Project) -> None:
    error = project.error(
        "service: a\nservers:\n  web:\n    hosts: [h]\n    labels:\n"
        "      traefik.http.routers.a.rule: Host(`a.example.com`) || Host(`b.example.com`)\n"
        "      traefik.http.routers.a.tls: true\n"
        "traefik: {args: {x: y}}\nhealthcheck: {path: /health, port: 4000, cord: false}\n"
        "builder: {multiarch: false}\n"
    )
    assert error.message == "the file is written for Kamal 1 (traefik, builder.multiarch, healthcheck.cord)"
    text = "\n".join(error.details)
    assert "config/deploy.yml:10 builder.multiarch" in text
    assert text.endswith(
        "proxy:\n  hosts:\n    - a.example.com\n    - b.example.com\n  ssl: true\n  app_port: 4000\n"
        "  healthcheck:\n    path: /health"
    )
