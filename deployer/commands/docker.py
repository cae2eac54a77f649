"""`docker run` and its companions for application containers."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence

from deployer.commands import assets, hostvalues, layout, networks
from deployer.config import DeployConfig, Proxy, Role
from deployer.config.logs import Logging
from deployer.script import heredoc
from freehold.secret import Secret
from freehold.shellwords import split_words

NAMES_APART = r"sed -n 's/^export \([^ =]*\)=.*/\1/p; s/^export -n \([^ =]*\)$/\1/p'"
"""Prints which variables the file beside an env file tells of."""
_NAMED = {"hostname", "uts"}
"""Options beside which Docker takes no other name of the host."""


def run_argv(
    config: DeployConfig, role: Role, version: str, host: str, *, by_name: Sequence[str] = ()
) -> list[str]:
    """`docker run` of a role's container, up to the image.

    The environment comes from a file, except for the variables `by_name`, which Docker takes from the
    command's own environment.
    """
    # The image has been delivered; a registry that happens to have one of this name is not asked.
    argv = ["docker", "run", "--detach", "--pull", "never", "--restart", role.restart]
    argv += ["--name", config.container_name(role, version)]
    network = networks.of(role.options)[0]
    argv += ["--network", network.text]
    if network.own_names and not _NAMED & set(role.options):
        argv += ["--hostname", hostname(host, config.container_name(role, version))]
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
    return argv + options_argv(networks.rest(role.options, "restart"))


def named(name: str, more: str = "$") -> str:
    """The value of `--filter` for containers of a name, with whatever `more`, an expression, may follow."""
    # Docker takes an expression, in which the dots of a version would be any sign.
    return f"name=^/?{name.replace('.', '[.]')}{more}"


def hostname(host: str, container: str) -> str:
    """What a container takes for its host's name: the host with a mark of the container, as with Kamal.

    Logs and queues show it, and tell containers apart by it.
    """
    start = re.sub(r"[^A-Za-z0-9.-]", "-", host)[:51].strip(".-")
    return f"{start}-{hashlib.sha256(container.encode()).hexdigest()[:12]}"


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
    label = f"--label version={version}"
    # By themselves these say nothing of how a version is run.
    left_out = ["--env ", "--env-file ", "--name "]
    if "hostname" not in role.options:
        left_out.append("--hostname ")
    kept = [
        line.replace(own, layout.version(config.name, "VERSION")).replace(
            assets_of, layout.everything(config.name, "VERSION")[1]
        )
        for line in lines
        if line != label and not line.startswith(tuple(left_out))
    ]
    kept += [f"--network {network.text}" for network in networks.of(role.options)[1:]]
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


def environment(clear: Mapping[str, str], secret: Mapping[str, Secret]) -> dict[str, str]:
    """The variables that a container gets: clear ones without a value are left out, as by Kamal."""
    given = {name: value for name, value in sorted(clear.items()) if value.strip()}
    return {**given, **{name: value.reveal() for name, value in sorted(secret.items())}}


def by_name(clear: Mapping[str, str], secret: Mapping[str, Secret]) -> list[str]:
    """The variables for `--env NAME`, once a shell has read the file beside the env file (`.multi`).

    Those with a line break have their value from there. Those that are left out have none there, and Docker
    takes them from what the image sets, too.
    """
    return [name for name, _ in _apart(clear, secret)]


def _apart(clear: Mapping[str, str], secret: Mapping[str, Secret]) -> list[tuple[str, str | None]]:
    """What an env file cannot say: values with a line break, and None for what is left out."""
    values = environment(clear, secret)
    absent = [name for name in sorted(clear) if name not in values and name.isidentifier()]
    many = [(name, value) for name, value in values.items() if "\n" in value]
    return [*many, *((name, None) for name in absent)]


def env_fragment(path: str, clear: Mapping[str, str], secret: Mapping[str, Secret]) -> str:
    """Write an env file, 0600, and beside it (`.multi`) what it cannot say.

    `${NAME}` in a clear value is the host's as the file is written, or with a line break as it is read.
    """
    values, apart = environment(clear, secret), _apart(clear, secret)
    filled = {name for name, value in clear.items() if name not in secret and hostvalues.names([value])}
    lined = [(name, value) for name, value in values.items() if "\n" not in value]
    plain = "".join(f"{name}={value}\n" for name, value in lined if name not in filled)
    quoted, beside = shlex.quote(path), shlex.quote(path + ".multi")
    # What is there may be another user's, who alone may write it.
    lines = ["umask 077", f"rm -f {quoted} {beside}", f"cat >{quoted} {heredoc(plain)}"]
    for name, value in lined:
        if name in filled:
            # Each variable is one line there, whatever the host has.
            word = hostvalues.word(f"{name}={value}")
            lines.append(f"printf '%s' {word} | tr '\\n' ' ' >>{quoted}\necho >>{quoted}")
    if apart:
        exports = "".join(
            f"export -n {name}\n"
            if value is None
            else f"export {name}={hostvalues.word(value) if name in filled else shlex.quote(value)}\n"
            for name, value in apart
        )
        lines.append(f"cat >{beside} {heredoc(exports)}")
    return "\n".join(lines)


def start_fragment(config: DeployConfig, role: Role, version: str, host: str, image: str) -> str:
    """Start a role's container at a version; one of the same name steps aside first.

    A proxied container gets a fixed address, so that its target stays true after a restart.
    """
    clear, secret = config.env_for(role, host)
    named = by_name(clear, secret)
    lines: list[str] = []
    if named:
        lines.append(f". {shlex.quote(layout.env_file(config.name, version, role.name) + '.multi')}")
    name = shlex.quote(config.container_name(role, version))
    run = run_argv(config, role, version, host, by_name=named)
    first, *further = networks.of(role.options)
    tail = shlex.join([image, *(split_words(role.cmd) if role.cmd else [])])
    if role.proxy is None or first.alone:
        lines.append(f"step_aside {name}")
    else:
        lines.append(f"free_address {name}")
        tail = f"--ip $address --label freehold.address=$address {tail}"
    return "\n".join([*lines, *networks.start(run, tail, further, name)])


def health_fragment(config: DeployConfig, role: Role, version: str) -> str:
    """Wait until a container is ready, or say why it is not: state, probe, last log lines."""
    name = config.container_name(role, version)
    if role.proxy is None:
        numbers = (max(0, round(config.readiness_delay)), round(config.deploy_timeout))
        return shlex.join(["wait_worker", name, *map(str, numbers)])
    return wait_web(name, role.proxy, config.deploy_timeout)


def wait_web(name: str, proxy: Proxy, deadline: float) -> str:
    """Wait until a container answers the probe of its proxy.

    It is asked as visitors come, so that one that insists on HTTPS need not exempt the probe.
    """
    check = proxy.healthcheck
    words = [name, str(check.port or proxy.app_port), check.path, f"{check.interval:g}", f"{check.timeout:g}"]
    words += [str(round(deadline)), str(check.max_attempts or 0)]
    return shlex.join(["wait_web", *words, "https" if proxy.ssl else "http", *proxy.names])
