"""The Docker networks of a container: the application's, and those that its `options` add, as with Kamal.

`docker run` takes several from Docker 25 on. A container with more than one is made, connected and then
started instead, which every Docker can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.commands import hostvalues, layout
from deployer.config.shorthand import OptionValue

KAMAL = "kamal"
"""What Kamal calls the network in which containers find one another; here it is `layout.NETWORK`."""
OPTIONS = ("network", "net")
_ALONE = ("host", "none", "bridge", "default")


@dataclass(frozen=True)
class Network:
    """A network as `options` name it: `name`, or `name=…,alias=…` with what else is said of it."""

    name: str
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def alone(self) -> bool:
        """Whether Docker joins it with no other: `host`, `none`, `container:…`."""
        return self.name in _ALONE or self.name.startswith("container:")

    @property
    def own_names(self) -> bool:
        """Whether a container in it has a host name and an /etc/hosts of its own."""
        return self.name != "host" and not self.name.startswith("container:")

    @property
    def text(self) -> str:
        """It for `--network`."""
        pairs = (("name", self.name), *self.fields)
        return ",".join(f"{key}={value}" for key, value in pairs) if self.fields else self.name


APPLICATION = Network(layout.NETWORK)


def of(options: Mapping[str, OptionValue], own: str = KAMAL) -> tuple[Network, ...]:
    """The networks of a container, its own first; one that stands alone is the only one."""
    found: dict[str, Network] = {}
    for text in (own, *_given(options)):
        network = _read(text)
        found[network.name] = network
    alone = [network for network in found.values() if network.alone]
    return tuple(alone[-1:] or found.values())


def _given(options: Mapping[str, OptionValue]) -> list[str]:
    values = [options[key] for key in OPTIONS if key in options]
    return [
        str(item) for value in values for item in (value if isinstance(value, tuple) else [value]) if item
    ]


def _read(text: str) -> Network:
    words = [field.partition("=") for field in text.split(",")] if "=" in text else [("name", "=", text)]
    pairs = [(key, value) for key, _, value in words]
    name = dict(pairs).get("name", text)
    return Network(layout.NETWORK if name == KAMAL else name, tuple(p for p in pairs if p[0] != "name"))


def rest(options: Mapping[str, OptionValue], *others: str) -> dict[str, OptionValue]:
    """The options without networks, and without others that are said elsewhere."""
    return {name: value for name, value in options.items() if name not in (*OPTIONS, *others)}


def connect(network: Network, container: str, *flags: str) -> str:
    """A shell line that lets a container into a further network; `container` and flags are shell words."""
    words = [f"--{key} {hostvalues.word(value)}" for key, value in network.fields]
    return " ".join(["docker network connect", *flags, *words, hostvalues.word(network.name), container])


def start(run: Sequence[str], tail: str, further: Sequence[Network], name: str) -> list[str]:
    """Shell lines that run a container in the background, in further networks too.

    `run` begins with `docker run --detach`, `tail` is shell words from the image on or before it.
    """
    if not further:
        return [f"{hostvalues.join(run)} {tail}"]
    make = hostvalues.join(["docker", "create", *run[3:]])
    return [f"{make} {tail}", *(connect(network, name) for network in further), f"docker start {name}"]


def attached(
    words: str, further: Sequence[Network], *, detach: bool = False, interactive: bool = False
) -> str:
    """Shell text that becomes `docker run` with these words, or `docker start` with the same effect."""
    if not further:
        return f"exec docker run {'--detach ' if detach else ''}{words}"
    connects = " && ".join(connect(network, '"$id"') for network in further)
    flags = "" if detach else "--attach --interactive " if interactive else "--attach "
    return f"""id=$(docker create {words}) || exit 125
{{ {connects}; }} || {{ docker rm --force "$id" >/dev/null; exit 125; }}
exec docker start {flags}"$id\""""
