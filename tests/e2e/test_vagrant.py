"""The golden image as a Vagrant box, brought up by the real vagrant-libvirt with our own Vagrantfile."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.formats import make_format
from builder.image import build_image
from builder.spec import GiB, ImageSpec
from freehold.console import Console
from freehold.process import LocalRunner
from tests.e2e.ownlibvirt import check_needs, run_inside

ROOT = Path(__file__).parents[2]
# One host by name, one by an address, which it keeps.
DEPLOY = (
    "service: shop\nimage: shop\nservers: {web: [web-1.example.com], job: {hosts: [203.0.113.8], cmd: x}}\n"
)
LAB = "name: shop\nmemory: 1000M\ndeadline: 1500\nmachines:\n  job-1: {disks: [3G]}\n"
STORY = """\
vagrant box add --name freehold "$1"
vagrant up --provider libvirt
look='hostname; sudo docker info --format {{.ServerVersion}}'
for machine in web-1 job-1; do
    echo "at $machine: $(vagrant ssh "$machine" -c "$look" | xargs)"
done
ask='curl -s -m 60 -o /dev/null -w "%{remote_ip} " http://job-1/ http://203.0.113.8/ -o /dev/null'
echo "between: $(vagrant ssh web-1 -c "$ask")"
echo "data: $(vagrant ssh job-1 -c 'sudo blockdev --getsize64 /dev/disk/by-id/virtio-data-1')"
vagrant destroy --force
export LIBVIRT_DEFAULT_URI=qemu:///system
# Not inside of echo, which would succeed without an answer.
virsh -q list --all --name > left
virsh -q vol-list default >> left
echo "left: $(grep -v box_ left | xargs)"
"""


def test_the_box_comes_up_as_the_labs_machines(tmp_path: Path) -> None:
    check_needs("vagrant")
    image = build_image(ImageSpec(), runner=LocalRunner(), console=Console(quiet=True))
    project = tmp_path / "shop"
    (project / "config").mkdir(parents=True)
    (project / "config" / "lab.yml").write_text(LAB)
    (project / "config" / "deploy.yml").write_text(DEPLOY)
    shutil.copy(ROOT / "vagrant" / "Vagrantfile", project)
    box = make_format(image, "vagrant", runner=LocalRunner(), console=Console(quiet=True))
    # Boxes are unpacked there: not in this user's own.
    with TemporaryDirectory(prefix="fh-vagrant") as home:
        env = {"VAGRANT_HOME": home, "FREEHOLD": str(Path(sys.executable).parent / "freehold")}
        done = run_inside(STORY, str(box), cwd=project, env=env, timeout=3600)
    said = done.stdout[-6000:]
    assert done.returncode == 0, said
    lines = {key: value.split() for key, _, value in (line.partition(": ") for line in said.splitlines())}
    assert lines["at web-1"][0] == "web-1"
    assert lines["at job-1"][0] == "job-1"
    assert lines["at web-1"][1][0].isdigit()
    assert lines["between"] == ["198.18.0.12", "203.0.113.8"]
    assert lines["data"] == [str(3 * GiB)]
    assert lines["left"] == []
