"""What was built before is built on, unless somebody asks for every layer anew: each command that builds."""

from __future__ import annotations

from tests.conftest import Control
from tests.integration.app.project import Project
from tests.rig import Host, Rig

# Another number each time that the layer is made.
DOCKERFILE = """\
FROM freehold/shop:v1
RUN ["python3", "-c", "import os; open('/srv/made', 'w').write(os.urandom(8).hex())"]
"""


def test_every_layer_is_built_anew_where_that_is_asked_for(
    rig: Rig, hosts: tuple[Host, Host], control: Control
) -> None:
    project = Project(rig, hosts[:1], control.directory)
    host = hosts[0]
    project.config["servers"]["web"]["hosts"] = [host.name]
    project.config["builder"] = {"context": ".", "remote": f"ssh://{host.name}", "local": False}
    project.save()
    (project.directory / "Dockerfile").write_text(DOCKERFILE)
    project.image("v1")

    def made(version: str, *words: str) -> str:
        """What is in the container of a version that serves."""
        project.freehold(*words, "--version", version, timeout=300)
        return host.exec(f"docker exec shop-web-{version} cat /srv/made").stdout

    first = made("one", "setup", "--no-cache")
    assert len(first) == 16
    assert made("two", "setup") == made("three", "redeploy") == made("four", "deploy") == first
    second = made("five", "redeploy", "--no-cache")
    third = made("six", "setup", "--no-cache")
    fourth = made("seven", "deploy", "--no-cache")
    assert len({first, second, third, fourth}) == 4
    assert made("eight", "redeploy") == fourth
