"""Loading: the founding example, destinations, shorthands, and errors with file, line and key."""

from __future__ import annotations

import pytest

from deployer.config.supported import REFUSED, Refusal
from freehold.errors import ConfigError
from freehold.secret import Secret
from tests.unit.deployer.config.project import Project, place

FOUNDING = """\
service: myapp

image: myregistry/myapp

servers:
  web:
    - 192.168.1.1
    - 192.168.1.2
  job:
    hosts:
      - 192.168.1.3
    cmd: bin/jobs

proxy:
  ssl: true
  host: myapp.com

env:
  secret:
    - RAILS_MASTER_KEY
    - DATABASE_URL

healthcheck:
  path: /up
  port: 3000
  max_attempts: 10
  interval: 1s
"""

MINIMAL = "service: app\nservers: [a]\n"


def test_the_founding_example(project: Project) -> None:
    project.write(".kamal/secrets", "RAILS_MASTER_KEY=abc\nDATABASE_URL=postgres://db\n")
    config = project.load(FOUNDING, unsupported=REFUSED)
    web, job = config.roles
    assert config.hosts == ("192.168.1.1", "192.168.1.2", "192.168.1.3")
    assert (config.primary_role, config.primary_host) == (web, "192.168.1.1")
    assert web.proxy is not None
    assert (web.proxy.names, web.proxy.ssl, web.proxy.app_port) == (("myapp.com",), True, 80)
    check = web.proxy.healthcheck
    assert (check.path, check.port, check.max_attempts, check.interval) == ("/up", 3000, 10, 1.0)
    assert (job.cmd, job.proxy) == ("bin/jobs", None)
    assert config.env_for(web) == (
        {},
        {"RAILS_MASTER_KEY": Secret("abc"), "DATABASE_URL": Secret("postgres://db")},
    )
    assert config.image_name("v1") == "myregistry/myapp:v1"
    assert config.container_name(job, "v1") == "myapp-job-v1"
    (old,) = config.warnings
    assert "config/deploy.yml:23" in old
    assert "Kamal 1" in old
    assert config.sharing == {"myapp.com": web.hosts}


def test_defaults_are_those_of_kamal(project: Project) -> None:
    config = project.load(MINIMAL)
    assert config.image == "app"
    assert (config.deploy_timeout, config.drain_timeout, config.readiness_delay) == (30, 30, 7)
    assert (config.retain_containers, config.ssh.user, config.ssh.port) == (5, "root", 22)
    assert config.primary_role.proxy is not None
    assert config.primary_role.restart == "unless-stopped"
    assert config.logging.arguments() == ("--log-opt", "max-size=10m")
    assert config.warnings == ()


def test_a_destination_is_merged_deeply_and_keeps_places(project: Project) -> None:
    project.write(
        "config/deploy.staging.yml",
        "env:\n  clear:\n    B: 3\nproxy:\n  host: staging.example.com\nservers:\n  web: [b]\n",
    )
    base = (
        "service: app\nservers:\n  web: {hosts: [a], cmd: x}\n  job: {hosts: [j]}\n"
        "proxy: {ssl: true, host: example.com}\nenv:\n  clear: {A: 1, B: 2}\n"
    )
    config = project.load(base, destination="staging")
    assert config.env_for(config.roles[0])[0] == {"A": "1", "B": "3"}
    assert config.roles[0].proxy is not None
    assert (config.roles[0].proxy.names, config.roles[0].proxy.ssl) == (("staging.example.com",), True)
    # A list replaces a map, as Ruby's deep merge does.
    assert (config.roles[0].hosts, config.roles[0].cmd) == (("b",), None)
    assert (config.name, config.container_prefix(config.roles[0])) == ("app-staging", "app-web-staging")
    project.write("config/deploy.staging.yml", "env:\n  clear:\n    A: 1\n  sekret: [X]\n")
    assert place(project.error(destination="staging")) == ("config/deploy.staging.yml", 4, "env.sekret")


def test_an_unknown_destination_names_those_that_exist(project: Project) -> None:
    project.write("config/deploy.staging.yml", "labels: {a: b}\n")
    error = project.error(MINIMAL, destination="stagin")
    assert "there is no destination 'stagin'" in error.message
    assert error.hint == "did you mean 'staging'?"


def test_a_destination_may_be_required(project: Project) -> None:
    project.write("config/deploy.eu.yml", "labels: {a: b}\n")
    error = project.error(MINIMAL + "require_destination: true\n")
    assert place(error) == ("config/deploy.yml", 3, "require_destination")
    assert "eu" in error.hint
    assert project.load(destination="eu").destination == "eu"


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
        (MINIMAL + "proxy: {host: a.b, hosts: [c.d]}\n", 3, "proxy.hosts", "not both", "hosts"),
        (MINIMAL + "retain_containers: 0\n", 3, "retain_containers", "too small", ""),
        (MINIMAL + "deploy_timeout: soon\n", 3, "deploy_timeout", "a duration", "for example"),
        (MINIMAL + "env: {clear: {A: [1]}}\n", 3, "env.clear.A", "expected one value", ""),
        (MINIMAL + "env: {secret: [A], B: c}\n", 3, "env.B", "beside 'clear' and 'secret'", "under 'clear'"),
        (MINIMAL + "env: {secret: [A b]}\n", 3, "env.secret", "right form", ""),
        (MINIMAL + "labels: {role: x}\n", 3, "labels.role", "set by Freehold itself", "another name"),
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


def test_anchors_extensions_and_empty_sections(project: Project) -> None:
    config = project.load(
        "x-env: &env {A: 1, B: 2}\nservice: a\nservers: [h]\nenv:\n  clear:\n    <<: *env\n    B: 3\n"
        "  secret:\nlabels:\nvolumes:\nproxy:\nbuilder:\n  args:\n"
    )
    assert config.env_for(config.roles[0])[0] == {"A": "1", "B": "3"}


def test_values_keep_the_text_that_was_written(project: Project) -> None:
    config = project.load(
        MINIMAL
        + "env:\n  clear: {PORT: 4001:4001, V: 1.10, MODE: 0644, OFF_: OFF, N: 10_000, E: , T: 22:22}\n"
    )
    assert config.env_for(config.roles[0])[0] == {
        "PORT": "4001:4001",
        "V": "1.10",
        "MODE": "0644",
        "OFF_": "false",
        "N": "10000",
        "E": "",
        "T": "22:22",
    }


def test_env_may_be_flat_or_a_list(project: Project) -> None:
    flat = project.load(MINIMAL + "env: {A: 1, B: x}\n")
    assert flat.env_for(flat.roles[0])[0] == {"A": "1", "B": "x"}
    listed = project.load(MINIMAL + "env:\n  clear:\n    - A: 1\n    - B=x=y\n")
    assert listed.env_for(listed.roles[0])[0] == {"A": "1", "B": "x=y"}


def test_a_password_in_the_file_is_warned_of_and_works(project: Project) -> None:
    config = project.load(MINIMAL + "registry: {server: r.example, username: u, password: hunter22}\n")
    assert config.registry is not None
    assert config.registry.password is not None
    assert config.registry.password.value(config.secrets).reveal() == "hunter22"
    assert "hunter22" not in repr(config)
    assert any("config/deploy.yml:3" in warning and "password" in warning for warning in config.warnings)


def test_a_computed_password_is_in_order(project: Project) -> None:
    config = project.load(MINIMAL + "registry:\n  username: AWS\n  password: <%= `echo tok; echo` %>\n")
    assert config.registry is not None
    assert config.registry.password is not None
    assert config.registry.password.value(config.secrets).reveal() == "tok"
    assert config.warnings == ()


def test_an_empty_variable_in_a_template_is_named(project: Project) -> None:
    error = project.error("service: a\nservers:\n  - <%= ENV['HOST_IP'] %>\n")
    assert "HOST_IP is not set" in error.message
    assert place(error)[:2] == ("config/deploy.yml", 3)
    assert "set HOST_IP" in error.hint


def test_a_variable_that_is_missing_inside_a_text_is_warned_of(project: Project) -> None:
    config = project.load(MINIMAL + "# <%= ENV['IN_COMMENT'] %>\nlabels:\n  at: x-<%= ENV['NO'] %>-y\n")
    assert config.labels == {"at": "x--y"}
    assert config.warnings == (
        "config/deploy.yml:5 the environment variable NO is not set; its place is empty",
    )


def test_hooks_of_kamal_1_are_renamed(project: Project) -> None:
    project.write(".kamal/hooks/pre-traefik-reboot", "#!/bin/sh\n", 0o755)
    error = project.error(MINIMAL)
    assert str(error) == ".kamal/hooks/pre-traefik-reboot: the hook pre-traefik-reboot is Kamal 1's"
    assert "pre-proxy-reboot" in error.hint


def test_secrets_path_hooks_and_version(project: Project) -> None:
    project.write("etc/secrets", "A=1\n")
    project.write(".kamal/hooks/pre-deploy", "#!/bin/sh\n", 0o755)
    config = project.load(MINIMAL + "secrets_path: etc/secrets\nenv: {secret: [A]}\n", version="v7")
    assert config.env_for(config.roles[0])[1] == {"A": Secret("1")}
    assert (config.hooks_path, config.version) == (".kamal/hooks", "v7")
    project.environ["VERSION"] = "v8"
    assert project.load().version == "v8"


def test_the_run_directory_is_no_place_here_and_that_is_said(project: Project) -> None:
    config = project.load(MINIMAL + "run_directory: /etc/kamal\n")
    (warning,) = config.warnings
    assert warning.startswith("config/deploy.yml:3")
    assert "no effect" in warning and "/var/lib/freehold/apps/" in warning
    assert project.load(MINIMAL).warnings == ()
