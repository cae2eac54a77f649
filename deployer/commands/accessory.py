"""Accessories on a host: run, start, stop, remove. An accessory has one container.

To the proxy and to the state directory an accessory is a service of its own (`as_service`), so that
routes, targets and certificates work for it as they do for a role.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

from deployer.commands import certificates, docker, hostvalues, layout, networks, proxy
from deployer.config import Accessory, DeployConfig, Role
from deployer.script import Step
from freehold.shellwords import split_words

VERSION = "accessory"
"""Accessories have no versions; their files lie where those of a version would."""
STOP_GRACE = 10


def as_service(config: DeployConfig, accessory: Accessory) -> DeployConfig:
    """The accessory as a service with one role without a name, so that its prefix is its own name."""
    role = Role(name="", hosts=accessory.hosts, proxy=accessory.proxy, options=accessory.options)
    return dataclasses.replace(
        config,
        service=accessory.service,
        destination=None,
        roles=(role,),
        accessories=(),
        volumes=accessory.volumes,
        error_pages={},
        primary_role_name="",
    )


def networks_of(accessory: Accessory) -> tuple[networks.Network, ...]:
    """Its Docker networks: `network` takes the place of the application's, `options` add to it."""
    return networks.of(accessory.options, accessory.network)


def env_file(accessory: Accessory) -> str:
    """Its environment, 0600."""
    return layout.env_file(accessory.service, VERSION, VERSION)


def home_path(path: str) -> str:
    """A path for the shell; one that is not absolute is below the home of the user, as Kamal has it."""
    return shlex.quote(path) if path.startswith("/") else f'"$HOME"/{shlex.quote(path)}'


# -- running ----------------------------------------------------------------------------------


def run_argv(
    config: DeployConfig, accessory: Accessory, host: str, *, by_name: Sequence[str] = ()
) -> list[str]:
    """`docker run` of its container without mounts, up to the image."""
    argv = ["docker", "run", "--detach", "--pull", "never"]
    argv += ["--restart", str(accessory.options.get("restart", "unless-stopped"))]
    argv += ["--name", accessory.service, "--network", networks_of(accessory)[0].text]
    argv += docker.logging_argv(accessory.logging, accessory.options)
    if accessory.publish:
        argv += ["--publish", accessory.publish]
    argv += ["--env-file", env_file(accessory)]
    for name in by_name:
        argv += ["--env", name]
    argv += ["--env", f"KAMAL_HOST={host}"]
    labels = {
        **accessory.labels,
        "freehold.accessory": accessory.name,
        "freehold.service": config.service,
    }
    for name, value in labels.items():
        argv += ["--label", f"{name}={value}"]
    return argv + docker.options_argv(networks.rest(accessory.options, "restart"))


def mounts(accessory: Accessory) -> str:
    """The `--volume` arguments as shell words, with the user's home in them."""
    parts = [f"--volume {hostvalues.word(volume)}" for volume in accessory.volumes]
    for mount in accessory.files:
        parts.append(_volume(accessory.file_path(mount), mount.remote, mount.options))
    for mount in accessory.directories:
        parts.append(_volume(accessory.directory_path(mount), mount.remote, mount.options))
    return " ".join(parts)


def _volume(local: str, remote: str, options: str | None) -> str:
    tail = f":{remote}" + (f":{options}" if options else "")
    return f"--volume {home_path(local)}{shlex.quote(tail)}"


def env_step(config: DeployConfig, accessory: Accessory) -> Step:
    """Its environment as a file."""
    clear, secret = config.accessory_env(accessory)
    path = env_file(accessory)
    shell = f"mkdir -p {shlex.quote(path.rsplit('/', 1)[0])}\n{docker.env_fragment(path, clear, secret)}"
    return Step(f"env-{accessory.name}", shell, f"environment of {accessory.name}")


def start_step(config: DeployConfig, accessory: Accessory, host: str) -> Step:
    """Run its container. One that is there stops and steps aside first: two on the same data do harm.

    One that the proxy reaches gets a fixed address in the network of the application.
    """
    clear, secret = config.accessory_env(accessory)
    named = docker.by_name(clear, secret)
    name = shlex.quote(accessory.service)
    lines = [
        f'if [ -n "$(container_id {name})" ]; then {stop_command(accessory)} >/dev/null; fi',
        f"step_aside {name}",
    ]
    if named:
        lines.append(f". {shlex.quote(env_file(accessory) + '.multi')}")
    run = run_argv(config, accessory, host, by_name=named)
    image = shlex.join([accessory.image, *(split_words(accessory.cmd) if accessory.cmd else [])])
    first, *further = networks_of(accessory)
    address, joined = "", ""
    if accessory.proxy is not None and first.name != "host":
        lines.append("free_address")
        address = "--label freehold.address=$address "
        if first.name == layout.NETWORK:
            address += "--ip $address "
        else:
            ours = next((one for one in further if one.name == layout.NETWORK), networks.APPLICATION)
            further = [one for one in further if one is not ours]
            joined = networks.connect(ours, name, "--ip $address")
    lines += networks.start(run, f"{mounts(accessory)} {address}{image}", further, name)
    if joined:
        lines.append(joined)
    return Step(f"start-{accessory.name}", "\n".join(lines), f"start {accessory.name}")


def ready_steps(config: DeployConfig, accessory: Accessory, host: str) -> list[Step]:
    """Wait until it runs, and is healthy where something can be asked; then let requests reach it."""
    if accessory.proxy is None:
        wait = shlex.join(["wait_worker", accessory.service, "1", str(round(config.deploy_timeout))])
        return [Step(f"ready-{accessory.name}", wait, f"{accessory.name} runs")]
    wait = docker.wait_web(accessory.service, accessory.proxy, config.deploy_timeout)
    service = as_service(config, accessory)
    role = service.roles[0]
    prefix, app_port = service.container_prefix(role), str(accessory.proxy.app_port)
    store = proxy.store_fragment(service, VERSION, proxy.files(service, service.roles, host))
    pairs = certificates.store_fragment(list(certificates.pairs(service, service.roles).values()))
    store = f"{store}\n( :\n{pairs}\n)" if pairs else store
    switch = shlex.join(["switch_to", accessory.service, prefix, app_port])
    return [
        Step(f"ready-{accessory.name}", wait, f"{accessory.name} is healthy"),
        Step(f"switch-{accessory.name}", switch, f"traffic to {accessory.name}"),
        Step(f"routes-{accessory.name}", f"{store}\n{proxy.activate_fragment(service, VERSION)}", "routes"),
    ]


def settle_step(accessory: Accessory) -> Step:
    """The new container runs: what stepped aside for it goes."""
    aside = f"docker ps --all --quiet --filter {shlex.quote(docker.named(accessory.service, '_replaced_'))}"
    return Step(f"settle-{accessory.name}", f"{aside} | xargs -r docker rm --force", "remove the old one")


def put_back_step(accessory: Accessory) -> Step:
    """The new container did not come up: the old one gets its name and its work again."""
    name, aside = shlex.quote(accessory.service), shlex.quote(docker.named(accessory.service, "_replaced_"))
    shell = f"""\
old=$(docker ps --all --quiet --filter {aside} | head -n 1)
if [ -n "$old" ]; then
    docker rm --force {name} >/dev/null 2>&1 || true
    put_back {name}
    docker start {name}
fi"""
    return Step(f"back-{accessory.name}", shell, f"{accessory.name} as it was")


# -- handling ---------------------------------------------------------------------------------


def stop_command(accessory: Accessory) -> str:
    """`docker stop`; a stop-timeout among its options is Docker's to know."""
    return shlex.join(["docker", "stop", accessory.service])


def exists_guard(accessory: Accessory) -> str:
    """Fail in words where it has no container."""
    name = shlex.quote(accessory.service)
    missing = f"failed: there is no container {accessory.service}"
    return f'[ -n "$(container_id {name})" ] || {{ echo {shlex.quote(missing)}; exit 1; }}'


def start_again_steps(config: DeployConfig, accessory: Accessory, host: str) -> list[Step]:
    """Start its stopped container."""
    shell = f"{exists_guard(accessory)}\n{shlex.join(['docker', 'start', accessory.service])}"
    return [
        Step(f"start-{accessory.name}", shell, f"start {accessory.name}"),
        *ready_steps(config, accessory, host),
    ]


def stop_step(accessory: Accessory) -> Step:
    """Stop its container, where there is one."""
    shell = (
        f'if [ -n "$(container_id {shlex.quote(accessory.service)})" ]; then {stop_command(accessory)}; fi'
    )
    return Step(f"stop-{accessory.name}", shell, f"stop {accessory.name}")


def connect_step(accessory: Accessory) -> Step:
    """Let the application's containers find one that Kamal has started; it goes on running."""
    name = shlex.quote(accessory.service)
    shell = f"docker network connect --alias {name} {layout.NETWORK} {name}"
    return Step(f"connect-{accessory.name}", shell, f"{accessory.name} into the network {layout.NETWORK}")


def remove_steps(
    config: DeployConfig,
    accessory: Accessory,
    *,
    container: bool = True,
    image: bool = True,
    directory: bool = True,
) -> list[Step]:
    """Take it off a host: route, container, image, its directory below the home. Other paths stay."""
    steps = []
    name = accessory.name
    if container and accessory.proxy is not None:
        service = as_service(config, accessory)
        target = shlex.quote(layout.target(service.container_prefix(service.roles[0])))
        shell = f"{proxy.activate_fragment(service, None)}\nrm -f {target}"
        steps.append(Step(f"routes-{name}", shell, f"no more traffic to {name}"))
    if container:
        mine = shlex.quote(docker.named(accessory.service, "(_replaced_[0-9]+)?$"))
        ps = f"docker ps --all --quiet --filter {mine}"
        shell = f"{ps} | xargs -r docker stop >/dev/null\n{ps} | xargs -r docker rm --force"
        steps.append(Step(f"remove-{name}", shell, f"remove {name}"))
    if directory:
        # Asked of the image, which may be the only one that may remove what its container wrote.
        shell = f"remove_tree {home_path(accessory.service)} {shlex.quote(accessory.image)}"
        shell += f"\nrm -rf {shlex.quote(layout.app(accessory.service))}"
        steps.append(Step(f"directory-{name}", shell, f"remove the directory of {name}"))
    if image:
        shell = f"docker image rm {shlex.quote(accessory.image)} 2>&1 || true"
        steps.append(Step(f"image-{name}", shell, f"remove the image of {name}"))
    return steps
