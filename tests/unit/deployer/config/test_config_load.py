"""Loading: the founding example, destinations, shorthands, values as they were written."""

from __future__ import annotations

from deployer.config.supported import REFUSED
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


def test_a_build_argument_without_a_value_is_the_environments(project: Project) -> None:
    project.environ["RUBY_VERSION"] = "3.4"
    config = project.load(
        "service: shop\nimage: own/shop\nservers: [web-1]\n"
        "builder: {arch: amd64, args: {RUBY_VERSION: , NODE_VERSION: , A: b}}\n"
    )
    assert config.builder.args == {"RUBY_VERSION": "3.4", "NODE_VERSION": "", "A": "b"}


def test_what_a_template_sets_reaches_later_files_and_secrets(project: Project) -> None:
    """Kamal's files share one ENV: `Dotenv.load` in deploy.yml serves the destination and the secrets."""
    project.write(".env", "REGISTRY_TOKEN=t0ken\nPATH=/nowhere\n")
    project.write(
        ".kamal/secrets.eu", "KAMAL_REGISTRY_PASSWORD=$REGISTRY_TOKEN\nREGION=$(echo $REGION | tr a-z A-Z)\n"
    )
    project.write("config/deploy.eu.yml", "labels:\n  tail: <%= ENV['REGISTRY_TOKEN'][-3..] %>\n")
    config = project.load(
        '# <% require "dotenv"; Dotenv.load(".env"); ENV["REGION"] = ENV["KAMAL_DESTINATION"] %>\n'
        'service: shop\nimage: own/shop\nservers: [web-1]\n# <% ENV["VERSION"] = "abc" %>\n',
        destination="eu",
    )
    assert config.secret("KAMAL_REGISTRY_PASSWORD").reveal() == "t0ken"
    assert config.secret("REGION").reveal() == "EU"
    assert config.labels["tail"] == "ken"
    assert config.version == "abc"
    assert config.environ["REGISTRY_TOKEN"] == "t0ken"
    assert config.environ["PATH"] == project.environ["PATH"]
    assert "REGISTRY_TOKEN" not in project.environ
