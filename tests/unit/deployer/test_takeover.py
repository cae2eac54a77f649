"""What an upgrade finds on a host of Kamal's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from deployer.commands import upgrade
from deployer.commands.upgrade import OldProxy, Ports
from deployer.takeover import HostPlan
from tests.unit.deployer import samples
from tests.unit.deployer.standin import StandIn

RUNNING = "proxy\tkamal-proxy\tbasecamp/kamal-proxy\trunning\t0.0.0.0:80->80/tcp"


def test_other_applications_behind_the_old_proxy_are_named(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    host.program("systemctl", "#!/bin/sh\nexit 1\n")
    host.program(
        "docker",
        f"""#!/bin/sh
case "$*" in
*publish*) printf '{RUNNING}\\n' ;;
*label=role*) printf 'other\\t%s\\n' 'shop\t' 'shop\tstaging' 'blog\t' 'blog\t' ;;
esac
""",
    )
    config = samples.config(tmp_path)
    ports = upgrade.parse_look(host.words(upgrade.look_step(config).shell).stdout.splitlines())
    assert ports.others == ("blog", "shop-staging")
    plan = HostPlan("web-1", ports, prepared=True)
    assert plan.deserted == ("blog", "shop-staging")
    assert "nobody reaches blog, shop-staging then" in plan.lines()[0]
    # Once it has stopped, they are behind nothing of Kamal's.
    stopped = dataclasses.replace(ports, proxies=())
    assert HostPlan("web-1", stopped, prepared=True).deserted == ()


def test_what_an_upgrade_stopped_that_came_to_no_end_is_known() -> None:
    """Kamal's application runs with nobody in front: its own proxy is the way back, and no older one."""
    waiting = Ports(
        (OldProxy("traefik", "traefik:2", "exited"), OldProxy("kamal-proxy", "kamal:2", "exited"))
    )
    plan = HostPlan("web-1", waiting, prepared=True, version="abc")
    assert (plan.old, [proxy.name for proxy in plan.stopped]) == ((), ["kamal-proxy"])
    assert HostPlan("web-1", waiting, prepared=True).stopped == ()
    running = Ports((*waiting.proxies[:1], OldProxy("kamal-proxy", "kamal:2", "running")))
    assert HostPlan("web-1", running, prepared=True, version="abc").stopped == ()
