"""Real hosts for tests: systemd, sshd, Docker Engine and the proxy, booted in network namespaces.

A rig is a small internet of its own: a namespace for the operator ("control"), one for each host and
one that holds the bridge between them. Nothing of it touches the machine's own network.
"""

from tests.rig.errors import BootFailed, RigError
from tests.rig.host import Host, HostSpec
from tests.rig.needs import missing
from tests.rig.request import Response
from tests.rig.rig import Rig

__all__ = ["BootFailed", "Host", "HostSpec", "Response", "Rig", "RigError", "missing"]
