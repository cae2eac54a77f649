"""Ubuntu's autoinstall: which keys there are, and what each may hold.

Facts from the schema that the installer checks against, and from its reference:
https://canonical-subiquity.readthedocs-hosted.com/en/latest/reference/autoinstall-schema.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.settings import setting

Commands = tuple[str | tuple[str, ...], ...]
_USERNAME = r"[a-z_][a-z0-9_-]{0,31}"


@dataclass(frozen=True)
class Identity:
    """The first user."""

    hostname: str = setting(pattern=r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", help="Name of the machine.")
    username: str = setting(pattern=_USERNAME, help="Login name.", example="deploy")
    password: str = setting(help="Hash of the password.")
    realname: str = setting("", help="Full name.")


@dataclass(frozen=True)
class SshServer:
    """OpenSSH on the installed system."""

    install_server: bool = setting(False, key="install-server", help="Whether it is installed.")
    authorized_keys: tuple[str, ...] = setting((), key="authorized-keys", help="Keys of the first user.")
    allow_pw: bool = setting(False, key="allow-pw", help="Whether passwords are taken.")


@dataclass(frozen=True)
class Keyboard:
    """The layout of the keyboard."""

    layout: str = setting(help="XKB layout.")
    variant: str = setting("", help="XKB variant.")
    toggle: str | None = setting(None, help="Keys that change layouts.")


@dataclass(frozen=True)
class RefreshInstaller:
    """Whether the installer replaces itself first."""

    update: bool = setting(False, help="Whether it does.")
    channel: str = setting("", help="The channel.")


@dataclass(frozen=True)
class Source:
    """Which system of the medium is installed."""

    id: str = setting("", help="Its name.")
    search_drivers: bool = setting(False, help="Whether drivers are looked for.")


@dataclass(frozen=True)
class Wanted:
    """Codecs, drivers."""

    install: bool = setting(False, help="Whether they are installed.")


@dataclass(frozen=True)
class Oem:
    """Packages of the machine's maker."""

    install: bool | Literal["auto"] = setting("auto", help="Whether they are installed.")


@dataclass(frozen=True)
class Kernel:
    """Another kernel than the usual one."""

    package: str | None = setting(None, help="Its package.")
    flavor: str | None = setting(None, help="Its flavour.")

    def __post_init__(self) -> None:
        if (self.package is None) == (self.flavor is None):
            raise ValueError("a kernel is said by one of package and flavor")


@dataclass(frozen=True)
class CrashDumps:
    """Dumps of a kernel that crashed."""

    enabled: bool | None = setting(help="Whether they are kept.")


@dataclass(frozen=True)
class Snap:
    """A snap to install."""

    name: str = setting(help="Its name.")
    channel: str = setting("stable", help="Its channel.")
    classic: bool = setting(False, help="Without confinement.")


@dataclass(frozen=True)
class Autoinstall:
    """What stands below `autoinstall:`. Storage, network and apt are read by programs of their own."""

    version: int = setting(minimum=1, maximum=1, help="1.")
    interactive_sections: tuple[str, ...] = setting((), key="interactive-sections", help="What is asked.")
    early_commands: Commands = setting((), key="early-commands", help="Run first.")
    locale: str = setting("", help="Locale.")
    refresh_installer: RefreshInstaller | None = setting(None, key="refresh-installer", help="Newer first.")
    keyboard: Keyboard | None = setting(None, help="Keyboard.")
    source: Source | None = setting(None, help="What is installed.")
    network: Mapping[str, Any] | None = setting(None, help="netplan's configuration.")
    proxy: str | None = setting(None, help="Proxy for the installation and for apt.")
    apt: Mapping[str, Any] | None = setting(None, help="curtin's apt configuration.")
    storage: Mapping[str, Any] | None = setting(None, help="Disks.")
    identity: Identity | None = setting(None, help="The first user.")
    active_directory: Mapping[str, Any] | None = setting(None, key="active-directory", help="Domain to join.")
    ubuntu_pro: Mapping[str, Any] | None = setting(None, key="ubuntu-pro", help="Ubuntu Pro.")
    ssh: SshServer | None = setting(None, help="OpenSSH.")
    codecs: Wanted | None = setting(None, help="Codecs.")
    drivers: Wanted | None = setting(None, help="Drivers.")
    oem: Oem | None = setting(None, help="Packages of the maker.")
    snaps: tuple[Snap, ...] = setting((), help="Snaps.")
    debconf_selections: str = setting("", key="debconf-selections", help="Answers for packages.")
    packages: tuple[str, ...] = setting((), help="Further packages.")
    kernel: Kernel | None = setting(None, help="Another kernel.")
    kernel_crash_dumps: CrashDumps | None = setting(None, key="kernel-crash-dumps", help="Crash dumps.")
    kernel_cmdline: Any = setting(None, key="kernel-cmdline", help="Kernel arguments.")
    timezone: str = setting("", help="Time zone; geoip asks where the machine is.")
    updates: Literal["security", "all"] = setting("security", help="Updates during the installation.")
    shutdown: Literal["reboot", "poweroff"] = setting("reboot", help="What comes after it.")
    late_commands: Commands = setting((), key="late-commands", help="Run last.")
    error_commands: Commands = setting((), key="error-commands", help="Run where it fails.")
    reporting: Mapping[str, Mapping[str, Any]] | None = setting(None, help="Who is told.")
    user_data: Mapping[str, Any] | None = setting(None, key="user-data", help="cloud-config for the result.")
    zdevs: tuple[Mapping[str, Any], ...] = setting((), help="Devices of IBM Z.")
