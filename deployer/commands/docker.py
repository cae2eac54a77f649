"""`docker run` and its companions for application containers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from deployer.commands import assets, layout
from deployer.config import DeployConfig, Role
from deployer.config.logs import Logging
from deployer.script import heredoc
from freehold.secret import Secret


def run_argv(
    config: DeployConfig, role: Role, version: str, host: str, *, by_name: Sequence[str] = ()
) -> list[str]:
    """`docker run` of a role's container, up to the image.

    The environment comes from a file, except for the variables `by_name`, whose values hold line
    breaks: Docker's env files cannot, so they are taken from the command's own environment.
    """
    # The image has been delivered; a registry that happens to have one of this name is not asked.
    argv = ["docker", "run", "--detach", "--pull", "never", "--restart", role.restart]
    argv += ["--name", config.container_name(role, version)]
    if "network" not in role.options:
        argv += ["--network", layout.NETWORK]
    argv += ["--env-file", layout.env_file(config.name, version, role.name)]
    for name in by_name:
        argv += ["--env", name]
    for name, value in identity(config, role, version, host).items():
        argv += ["--env", f"{name}={value}"]
    argv += logging_argv(role.logging, role.options)
    if role.stop_timeout is not None and "stop-timeout" not in role.options:
        # Docker keeps to it too when the host shuts down.
        argv += ["--stop-timeout", str(round(role.stop_timeout))]
    for volume in config.volumes:
        argv += ["--volume", volume]
    argv += assets.volume(config, role, version)
    labels = {
        "service": config.service,
        "role": role.name,
        "destination": config.destination or "",
        "version": version,
        **config.labels,
        **role.labels,
    }
    for name, value in labels.items():
        argv += ["--label", f"{name}={value}"]
    return argv + options_argv({name: value for name, value in role.options.items() if name != "restart"})


def logging_argv(logging: Logging, options: Mapping[str, object]) -> list[str]:
    """The arguments of `logging`; what `options` say about it goes on top, as in Kamal."""
    chosen = dict(logging.options)
    given = options.get("log-opt", ())
    for item in (given,) if isinstance(given, str) else given if isinstance(given, list | tuple) else ():
        chosen.pop(str(item).partition("=")[0], None)
    if "log-driver" in options:
        # The options belong to the driver that they stand beside.
        return []
    if not logging.driver and not logging.options and given:
        return []
    if not logging.driver and not logging.options:
        return list(logging.arguments())
    driver = ["--log-driver", logging.driver] if logging.driver else []
    return [*driver, *(word for key, value in chosen.items() for word in ("--log-opt", f"{key}={value}"))]


def attach_flags(*, terminal: bool, stdin: bool) -> list[str]:
    """The flags of `docker exec` and `docker run` for a terminal, or for standard input without one."""
    return [*(["--tty"] if terminal else []), *(["--interactive"] if terminal or stdin else [])]


def manner(config: DeployConfig, role: Role, version: str, host: str) -> list[str]:
    """How a role's container is run, an option with its value a line, without version and environment."""
    own, assets_of = layout.everything(config.name, version)
    lines: list[str] = []
    for word in run_argv(config, role, version, host)[2:]:
        if word.startswith("--") or not lines:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    kept = [
        line.replace(own, layout.version(config.name, "VERSION")).replace(
            assets_of, layout.everything(config.name, "VERSION")[1]
        )
        for line in lines
        if not line.startswith(("--env ", "--env-file ", "--name ", "--label version="))
    ]
    return [line.replace("\n", " ") for line in [*kept, *([f"command {role.cmd}"] if role.cmd else [])]]


def identity(config: DeployConfig, role: Role, version: str, host: str) -> dict[str, str]:
    """What a container is told about itself; the names are Kamal's."""
    found = {
        "KAMAL_CONTAINER_NAME": config.container_name(role, version),
        "KAMAL_VERSION": version,
        "KAMAL_HOST": host,
        "KAMAL_ROLE": role.name,
    }
    if config.destination:
        found["KAMAL_DESTINATION"] = config.destination
    return found


def options_argv(options: Mapping[str, object]) -> list[str]:
    """Docker options as Kamal writes them: `memory: 2g`, `add-host: [a, b]`, `init: true`."""
    argv: list[str] = []
    for name, value in options.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is True:
                argv.append(f"--{name}")
            elif item is False:
                # Some are on by themselves: `oom-kill-disable`, `no-healthcheck`, `sig-proxy`.
                argv.append(f"--{name}=false")
            elif item is not None:
                argv += [f"--{name}", str(item)]
    return argv


def with_line_breaks(clear: Mapping[str, str], secret: Mapping[str, Secret]) -> dict[str, str]:
    """The variables whose value holds a line break."""
    values = {**clear, **{name: value.reveal() for name, value in secret.items()}}
    return {name: value for name, value in sorted(values.items()) if "\n" in value}


def env_fragment(path: str, clear: Mapping[str, str], secret: Mapping[str, Secret]) -> str:
    """Write an env file, 0600, and beside it (`.multi`) the values that hold a line break."""
    many = with_line_breaks(clear, secret)
    values = {**clear, **{name: value.reveal() for name, value in secret.items()}}
    plain = "".join(f"{name}={value}\n" for name, value in sorted(values.items()) if name not in many)
    lines = ["umask 077", f"cat >{shlex.quote(path)} {heredoc(plain)}"]
    if many:
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in many.items())
        lines.append(f"cat >{shlex.quote(path + '.multi')} {heredoc(exports)}")
    return "\n".join(lines)


def start_fragment(config: DeployConfig, role: Role, version: str, host: str, image: str) -> str:
    """Start a role's container at a version; one of the same name steps aside first.

    A proxied container gets a fixed address, so that its target stays true after a restart.
    """
    clear, secret = config.env_for(role, host)
    many = with_line_breaks(clear, secret)
    lines: list[str] = []
    if many:
        lines.append(f". {shlex.quote(layout.env_file(config.name, version, role.name) + '.multi')}")
    name = shlex.quote(config.container_name(role, version))
    run = shlex.join(run_argv(config, role, version, host, by_name=list(many)))
    if role.proxy is None or "network" in role.options:
        lines.append(f"step_aside {name}")
    else:
        lines.append(f"free_address {name}")
        run += " --ip $address --label freehold.address=$address"
    lines.append(f"{run} {shlex.join([image, *(shlex.split(role.cmd) if role.cmd else [])])}")
    return "\n".join(lines)


def health_fragment(config: DeployConfig, role: Role, version: str) -> str:
    """Wait until a container is ready, or say why it is not: state, probe, last log lines."""
    name = config.container_name(role, version)
    if role.proxy is None:
        numbers = (max(0, round(config.readiness_delay)), round(config.deploy_timeout))
        return shlex.join(["wait_worker", name, *map(str, numbers)])
    check = role.proxy.healthcheck
    return shlex.join(
        [
            "wait_web",
            name,
            str(check.port or role.proxy.app_port),
            check.path,
            f"{check.interval:g}",
            f"{check.timeout:g}",
            str(round(config.deploy_timeout)),
            str(check.max_attempts or 0),
        ]
    )
